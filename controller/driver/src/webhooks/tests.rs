//! Against real servers on loopback, with and without TLS, driven round by round.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use super::*;
use crate::outbound::{Answering, Call, Direct, Posting};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use turnout_rollout::Webhook;

/// A server that answers each connection with these bytes, and hangs without any.
#[derive(Clone, Default)]
struct Server {
    answer: Arc<Mutex<String>>,
    asked: Arc<Mutex<Vec<String>>>,
    /// Connections.
    open: Arc<AtomicUsize>,
}

impl Server {
    async fn start(tls: Option<TlsAcceptor>) -> (Self, SocketAddr) {
        let server = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (server, tls) = (serving.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => server.answer(stream).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                server.answer(stream).await;
                            }
                        }
                    }
                });
            }
        });
        (server, address)
    }

    async fn answer(self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let mut request = String::new();
        while !request.ends_with('}') {
            let mut piece = [0; 4096];
            let length = stream.read(&mut piece).await.unwrap_or(0);
            if length == 0 {
                return;
            }
            request.push_str(&String::from_utf8_lossy(&piece[..length]));
        }
        self.asked.lock().unwrap().push(request);
        let answer = self.answer.lock().unwrap().clone();
        if answer.is_empty() {
            self.open.fetch_add(1, Ordering::SeqCst);
            let _ = stream.read(&mut [0]).await;
            self.open.fetch_sub(1, Ordering::SeqCst);
            return;
        }
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
    }

    fn answers(&self, answer: &str) {
        answer.clone_into(&mut self.answer.lock().unwrap());
    }

    fn times_asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

fn http(status: u16, text: &str) -> String {
    format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{text}", text.len())
}

fn question(id: &str, url: &str) -> Question {
    let webhook = serde_json::from_value(serde_json::json!({"url": url, "timeoutSeconds": 1})).unwrap();
    Question { id: id.to_owned(), webhook, body: serde_json::json!({"stage": "Blue_50"}) }
}

/// Rounds that ask one question.
struct Rounds {
    webhooks: Webhooks,
    question: Question,
    outbound: Arc<dyn Outbound>,
    now: u64,
}

impl Rounds {
    fn new(url: &str) -> Self {
        Self { webhooks: Webhooks::default(), question: question("1", url), outbound: Arc::new(Direct), now: 1000 }
    }

    fn round(&mut self) -> Option<Reply> {
        self.webhooks.collect(Timestamp(self.now));
        self.webhooks.ask("rollout", "ns", std::iter::once(&self.question), &self.outbound);
        self.webhooks.replies("rollout").remove(&self.question.id)
    }

    /// Rounds, without that time passes for the driver, until a reply has come that is not `before`.
    async fn reply(&mut self, before: Option<&Reply>) -> Reply {
        for _ in 0..10_000 {
            if let Some(reply) = self.round().filter(|reply| Some(reply) != before) {
                return reply;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("no reply");
    }
}

async fn reply_of(url: &str, change: impl FnOnce(&mut Webhook)) -> Reply {
    let mut rounds = Rounds::new(url);
    change(&mut rounds.question.webhook);
    rounds.reply(None).await
}

fn answer(status: u16, text: &str) -> Reply {
    Reply::Answer { status, text: text.to_owned() }
}

#[tokio::test]
async fn it_is_asked_by_a_post_and_its_status_and_text_are_told_in_one_line() {
    let (server, address) = Server::start(None).await;
    let url = format!("http://{address}/allow?x=1");
    let long = "ä".repeat(300);
    let cases = [
        (http(200, ""), answer(200, "")),
        (http(403, "not\r\n\tthis\u{7} one "), answer(403, "not this one")),
        (http(503, &long), answer(503, &format!("{}…", "ä".repeat(200)))),
        (
            "HTTP/1.1 301 X\r\nlocation: http://elsewhere/\r\ncontent-length: 0\r\n\r\n".to_owned(),
            answer(301, "it leads to http://elsewhere/, which is not followed: write that URL"),
        ),
    ];
    for (raw, expected) in cases {
        server.answers(&raw);
        assert_eq!(reply_of(&url, |_| {}).await, expected);
    }
    let asked = server.asked.lock().unwrap()[0].clone();
    assert!(asked.starts_with("POST /allow?x=1 HTTP/1.1\r\n"), "{asked}");
    assert!(
        asked.contains(&format!("host: {address}\r\n")) && asked.ends_with("\r\n\r\n{\"stage\":\"Blue_50\"}"),
        "{asked}"
    );
}

#[tokio::test]
async fn one_that_hangs_or_lies_has_not_answered_and_says_why() {
    let (server, address) = Server::start(None).await;
    let url = format!("http://{address}/");
    let huge = 100_000;
    let cases = [
        (String::new(), "nothing within 1s"),
        ("no HTTP\r\n\r\n".to_owned(), "no HTTP with 127.0.0.1"),
        ("HTTP/1.1 200 X\r\ncontent-length: 9\r\n\r\nhalf".to_owned(), "no HTTP with 127.0.0.1"),
        (http(200, &"x".repeat(huge)), "no HTTP with 127.0.0.1: length limit exceeded"),
    ];
    for (raw, expected) in cases {
        server.answers(&raw);
        let reply = reply_of(&url, |_| {}).await;
        assert!(matches!(&reply, Reply::None(why) if why.starts_with(expected)), "{expected}: {reply:?}");
    }
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for (url, expected) in [
        (format!("http://{closed}/"), format!("cannot connect to {closed}")),
        ("http://no-such-name.invalid/".to_owned(), "no-such-name.invalid cannot be looked up".to_owned()),
        ("http://169.254.169.254/metadata".to_owned(), "169.254.169.254 leads to 169.254.169.254".to_owned()),
        ("http://[::ffff:169.254.169.254]/".to_owned(), "::ffff:169.254.169.254 leads to".to_owned()),
        ("http://168.63.129.16/".to_owned(), "168.63.129.16 leads to 168.63.129.16".to_owned()),
        ("http://100.100.100.200/latest".to_owned(), "100.100.100.200 leads to".to_owned()),
        ("http://[fd00:ec2::254]/latest".to_owned(), "fd00:ec2::254 leads to fd00:ec2::254".to_owned()),
        ("http://[fd20:ce::254]/".to_owned(), "fd20:ce::254 leads to".to_owned()),
    ] {
        let reply = reply_of(&url, |_| {}).await;
        assert!(matches!(&reply, Reply::None(why) if why.starts_with(&expected)), "{expected}: {reply:?}");
    }
}

#[tokio::test]
async fn a_server_with_tls_must_have_a_certificate_of_the_authority_and_of_its_name() {
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![leaf.der().clone()], key).unwrap();
    let (server, address) = Server::start(Some(TlsAcceptor::from(Arc::new(config)))).await;
    server.answers(&http(200, ""));
    let bundle = authority.pem();
    let of = |host: &str| format!("https://{host}:{}/", address.port());
    let trusting = |bundle: &str| {
        let bundle = Some(bundle.to_owned());
        move |webhook: &mut Webhook| webhook.ca_bundle = bundle
    };
    assert_eq!(reply_of(&of("localhost"), trusting(&bundle)).await, answer(200, ""));
    let fails = async |url: String, bundle: Option<&str>, expected: &str| {
        let reply = reply_of(&url, |webhook| webhook.ca_bundle = bundle.map(str::to_owned)).await;
        assert!(matches!(&reply, Reply::None(why) if why.starts_with(expected)), "{expected}: {reply:?}");
    };
    fails(of("localhost"), None, "no TLS with localhost: invalid peer certificate: UnknownIssuer").await;
    fails(of("127.0.0.1"), Some(&bundle), "no TLS with 127.0.0.1: invalid peer certificate").await;
    fails(of("localhost"), Some("nothing"), "caBundle cannot be used: there is no certificate in it").await;
    assert_eq!(server.times_asked(), 1);
}

#[tokio::test]
async fn it_is_asked_again_after_its_interval_and_no_sooner_and_the_reply_stands_until_then() {
    let (server, address) = Server::start(None).await;
    server.answers(&http(202, "wait"));
    let mut rounds = Rounds::new(&format!("http://{address}/"));
    let first = rounds.reply(None).await;
    assert_eq!(first, answer(202, "wait"));
    server.answers(&http(200, ""));
    for _ in 0..20 {
        assert_eq!(rounds.round().as_ref(), Some(&first));
    }
    assert_eq!(
        (server.times_asked(), rounds.webhooks.pause("rollout", Duration::ZERO)),
        (1, Some(Duration::from_secs(10)))
    );
    rounds.now += 10;
    assert_eq!(rounds.round(), Some(first.clone()));
    assert_eq!(rounds.webhooks.pause("rollout", Duration::from_millis(5)), Some(Duration::from_millis(5)));
    assert_eq!(rounds.reply(Some(&first)).await, answer(200, ""));
    assert_eq!(server.times_asked(), 2);
}

#[tokio::test]
async fn what_is_asked_no_more_is_forgotten_and_given_up() {
    let (server, address) = Server::start(None).await;
    let mut rounds = Rounds::new(&format!("http://{address}/"));
    rounds.round();
    while server.times_asked() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let outbound = rounds.outbound.clone();
    rounds.webhooks.ask("rollout", "ns", std::iter::empty(), &outbound);
    rounds.round();
    rounds.webhooks.keep(|rollout| rollout != "rollout");
    assert_eq!(rounds.webhooks.pause("rollout", Duration::ZERO), None);
    // It would wait for an answer that does not come.
    while rounds.webhooks.tasks.join_next().await.is_some() {}
    server.answers(&http(200, ""));
    assert_eq!(rounds.reply(None).await, answer(200, ""), "the same question is another one later");
}

#[tokio::test]
async fn a_question_that_is_due_and_not_asked_calls_for_no_round() {
    let (server, address) = Server::start(None).await;
    server.answers(&http(202, ""));
    let mut rounds = Rounds::new(&format!("http://{address}/"));
    rounds.reply(None).await;
    rounds.now += 10;
    // As where the status could not be written, or the rollout is being deleted: nothing asks in this round.
    rounds.webhooks.collect(Timestamp(rounds.now));
    assert_eq!(rounds.webhooks.pause("rollout", Duration::ZERO), None);
}

#[tokio::test]
async fn an_interval_that_is_edited_counts_at_once() {
    let (server, address) = Server::start(None).await;
    server.answers(&http(202, "wait"));
    let mut rounds = Rounds::new(&format!("http://{address}/"));
    rounds.question.webhook.interval_seconds = 86_400;
    let first = rounds.reply(None).await;
    server.answers(&http(200, ""));
    rounds.now += 10;
    rounds.round();
    rounds.question.webhook.interval_seconds = 10;
    assert_eq!(rounds.reply(Some(&first)).await, answer(200, ""));
}

/// Asks, and counts who is asked at a time.
#[derive(Default)]
struct Counting {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Outbound for Counting {
    fn send(&self, call: Call) -> Answering<'_> {
        Direct.send(call)
    }

    fn post(&self, post: Post) -> Posting<'_> {
        Box::pin(async move {
            self.most.fetch_max(self.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let answer = Direct.post(post).await;
            self.now.fetch_sub(1, Ordering::SeqCst);
            answer
        })
    }
}

/// Servers that hang, of more rollouts than may ask at a time: in the end each was asked, and no connection is left. Those
/// of another namespace wait for none of them.
#[tokio::test]
async fn however_many_hang_connections_are_bounded_and_another_namespace_is_asked() {
    let (hanging, address) = Server::start(None).await;
    let (server, other) = Server::start(None).await;
    server.answers(&http(200, ""));
    let (hangs, answers) = (question("1", &format!("http://{address}/")), question("1", &format!("http://{other}/")));
    let (mut webhooks, counting) = (Webhooks::default(), Arc::new(Counting::default()));
    let outbound: Arc<dyn Outbound> = counting.clone();
    let many = 2 * MOST_AT_A_TIME;
    let mut asked_before = None;
    while hanging.times_asked() < many {
        webhooks.collect(Timestamp(1000));
        for number in 0..many {
            webhooks.ask(&number.to_string(), "one", std::iter::once(&hangs), &outbound);
        }
        webhooks.ask("other", "two", std::iter::once(&answers), &outbound);
        if !webhooks.replies("other").is_empty() {
            asked_before.get_or_insert(hanging.times_asked());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(asked_before.is_some_and(|asked| asked <= MOST_AT_A_TIME), "{asked_before:?}");
    // Those of the one, and that of the other.
    assert!(counting.most.load(Ordering::SeqCst) <= MOST_AT_A_TIME + 1);
    webhooks.keep(|_| false);
    while hanging.open.load(Ordering::SeqCst) > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
