//! Asks a real Istio and the gateway the same at random: documents that Istio takes, and requests that come close to their
//! rules. What is answered, which backend was asked and what it was asked must be the same.
//!
//! It needs a real Istio: `TURNOUT_ORACLE` names a command that, as `COMMAND load FILE`, has one serve these documents and
//! no others on 127.0.0.1, at the ports that their Gateways name, and that returns once it does. A line of its output that
//! begins with `refused` is a document that Istio does not take. `TURNOUT_SEED` makes other documents, `TURNOUT_PAIRS`
//! says how many pairs of documents and a request must agree.

// The pairs that the router and its second opinion are compared on.
#[expect(dead_code, reason = "here a case has more")]
#[path = "../../proxy/routes/tests/second_opinion/cases.rs"]
mod cases;
mod documents;
mod outcome;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use proptest::strategy::Strategy as _;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use tempfile::NamedTempFile;
use tokio::process::Command;
use turnout_routes::{Source, parse};
use turnout_tests::echo::Backends;
use turnout_tests::gateway::{Gateway, GatewayCommand};
use turnout_tests::mount::KubeletMount;

use crate::exchange::exchange;
use crate::family::{Placeholders, Send, fill_in};
use documents::{Asked, Case};
use outcome::{Outcomes, differ, outcome};

const ORACLE: &str = "TURNOUT_ORACLE";

/// At most so many requests are asked of one set of documents: to load them takes longer than to ask.
const REQUESTS: usize = 89;

/// The ports that documents name. Istio listens there.
const PORTS: [u16; 2] = [80, 81];

/// Each backend, and what documents call its port.
const BACKENDS: [(&str, &str); 8] = [
    ("green", "GREEN_HTTP"),
    ("blue", "BLUE_HTTP"),
    ("red", "RED_HTTP"),
    ("grey", "GREY_HTTP"),
    ("green-other", "GREEN_OTHER"),
    ("blue-other", "BLUE_OTHER"),
    ("red-other", "RED_OTHER"),
    ("grey-other", "GREY_OTHER"),
];

/// How often a request is sent, and how many standard deviations a share may be away then. Only what is away is sent more
/// often, as is what has several outcomes.
const FEW: usize = 5;
const SOME: (usize, f64) = (60, 3.0);
const MANY: (usize, f64) = (1000, 5.0);

fn number<T: std::str::FromStr>(variable: &str, usual: T) -> T {
    let number = |text: String| text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}"));
    env::var(variable).map_or(usual, number)
}

#[test]
fn what_comes_at_random_is_answered_as_in_istio() {
    let Some(oracle) = env::var_os(ORACLE) else {
        // Past the harness, which keeps to itself what passing tests print.
        let _ = writeln!(std::io::stderr(), "left out: documents at random, for {ORACLE} names no Istio to ask");
        return;
    };
    let (seed, pairs) = (number("TURNOUT_SEED", 1_u64), number("TURNOUT_PAIRS", 5_000_u32));
    println!("TURNOUT_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let bed = RefCell::new(runtime.block_on(Bed::start(oracle)).expect("a bed"));
    let config = Config { failure_persistence: None, max_shrink_iters: 300, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let cases = documents::case(REQUESTS);
    while bed.borrow().agreed < pairs {
        let tree = cases.new_tree(&mut runner).expect("a case");
        match runner.run_one(tree, |case| runtime.block_on(bed.borrow_mut().compare(&case))) {
            Ok(_) => {}
            Err(TestError::Fail(reason, _)) => panic!("TURNOUT_SEED={seed}: {reason}"),
            Err(aborted) => panic!("TURNOUT_SEED={seed}: {aborted}"),
        }
    }
    let Bed { agreed, seen, served_sets, refused_sets, .. } = bed.into_inner();
    println!(
        "{agreed} pairs agree, of {served_sets} sets of documents; {refused_sets} more both refuse. Outcomes: {seen:?}"
    );
}

/// A real Istio, a gateway, and backends for both.
struct Bed {
    oracle: OsString,
    mount: KubeletMount,
    gateway: Gateway,
    backends: Backends,
    placeholders: Placeholders,
    /// The documents that both serve.
    served: String,
    /// How many pairs agreed, ...
    agreed: u32,
    /// ... and how often each status was an outcome of one.
    seen: BTreeMap<String, u32>,
    served_sets: u32,
    refused_sets: u32,
}

impl Bed {
    async fn start(oracle: OsString) -> anyhow::Result<Self> {
        let backends = Backends::start_named(&BACKENDS.map(|(name, _)| name)).await?;
        let port = |(name, placeholder)| (placeholder, backends.address(name).port().to_string());
        let placeholders = BACKENDS.into_iter().map(port).collect();
        let mount = KubeletMount::new(&[])?;
        let command = GatewayCommand::new(mount.path());
        let command = PORTS.into_iter().fold(command, GatewayCommand::listen);
        let gateway =
            command.args(&["--workers", "2", "--envoy-headers", "--namespace", "istio-system"]).start().await?;
        let (served, seen, [agreed, served_sets, refused_sets]) = (String::new(), BTreeMap::new(), [0; 3]);
        Ok(Self { oracle, mount, gateway, backends, placeholders, served, agreed, seen, served_sets, refused_sets })
    }

    async fn compare(&mut self, case: &Case) -> Result<(), TestCaseError> {
        let told = |error: anyhow::Error| TestCaseError::fail(format!("{error:#} with\n{}", case.documents));
        if !self.serve(&fill_in(&case.documents, &self.placeholders)).await.map_err(told)? {
            self.refused_sets += 1;
            return Ok(());
        }
        self.served_sets += 1;
        for asked in &case.requests {
            if let Some([want, got]) = self.ask(asked).await {
                let (want, got, Asked { port, send }) = (shown(&want), shown(&got), asked);
                let shown = format!("port {port} {send}\nIstio: {want}\n\nthe gateway: {got}\n\n{}", case.documents);
                return Err(TestCaseError::fail(shown));
            }
            self.agreed += 1;
        }
        Ok(())
    }

    /// Has both serve these documents. False if both refuse them.
    async fn serve(&mut self, documents: &str) -> anyhow::Result<bool> {
        if self.served == documents {
            return Ok(true);
        }
        self.served.clear();
        let file = NamedTempFile::new()?;
        std::fs::write(file.path(), documents)?;
        let mut load = Command::new(&self.oracle);
        let loaded = load.arg("load").arg(file.path()).output();
        let refused = parse(&[Source { name: "routes.yaml", bytes: documents.as_bytes() }]).err();
        let loaded = loaded.await.with_context(|| format!("running {load:?}"))?;
        let said = String::from_utf8_lossy(&loaded.stdout);
        match (said.lines().any(|line| line.starts_with("refused")), refused) {
            (true, Some(_)) => return Ok(false),
            (true, None) => anyhow::bail!("Istio alone refuses: {said}"),
            (false, Some(problems)) => anyhow::bail!("the gateway alone refuses: {problems}"),
            (false, None) => {}
        }
        anyhow::ensure!(loaded.status.success(), "{load:?}: {said}{}", String::from_utf8_lossy(&loaded.stderr));
        let before = self.gateway.revisions().await?.active;
        if self.mount.swap(&[("routes.yaml", documents.as_bytes())])? {
            self.gateway.wait_for_revision_after(before.as_deref()).await?;
        }
        documents.clone_into(&mut self.served);
        Ok(true)
    }

    /// What Istio and the gateway do, if that is not the same.
    async fn ask(&mut self, asked: &Asked) -> Option<[Outcomes; 2]> {
        let mut seen = self.both(asked, FEW).await;
        if seen[0].len() > 1 || seen[0] != seen[1] {
            for (times, deviations) in [SOME, MANY] {
                seen = self.both(asked, times).await;
                if !differ(&seen, deviations) {
                    break;
                }
                if times == MANY.0 || !seen[0].keys().any(|outcome| seen[1].contains_key(outcome)) {
                    return Some(seen);
                }
            }
        }
        for outcome in seen[0].keys() {
            let status = outcome.split(' ').next().unwrap_or_default();
            *self.seen.entry(status.to_owned()).or_default() += 1;
        }
        None
    }

    async fn both(&self, asked: &Asked, times: usize) -> [Outcomes; 2] {
        let send: Send = serde_json::from_value(asked.send.clone()).expect("the fields are known");
        let istio = SocketAddr::from((Ipv4Addr::LOCALHOST, asked.port));
        [self.outcomes(istio, &send, times).await, self.outcomes(self.gateway.address(asked.port), &send, times).await]
    }

    async fn outcomes(&self, address: SocketAddr, send: &Send, times: usize) -> Outcomes {
        let (mut outcomes, mut connection) = (Outcomes::new(), None);
        for _ in 0..times {
            self.backends.clear();
            let (exchange, open) = exchange(address, send, connection.take(), None).await;
            connection = open;
            *outcomes.entry(outcome(&exchange, &self.backends.received())).or_default() += 1;
        }
        outcomes
    }
}

fn shown(outcomes: &Outcomes) -> String {
    let shown = outcomes.iter().map(|(outcome, count)| format!("{count} times {outcome}"));
    shown.collect::<Vec<_>>().join("\n")
}
