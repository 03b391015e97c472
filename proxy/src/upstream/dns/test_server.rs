//! A DNS server on loopback for the unit tests of this folder's neighbours: UDP and TCP on one port, truncating what
//! does not fit what the question announces. It remembers what it was asked.

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What the server says of a name.
#[derive(Clone, Debug)]
pub(in crate::upstream) enum Answer {
    /// Those of the family that is asked for, with this time to live in seconds.
    Addresses(Vec<IpAddr>, u32),
    NoSuchName,
    Failure,
}

/// A question that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::upstream) struct Asked {
    name: String,
    ipv6: bool,
    pub(in crate::upstream) over_tcp: bool,
}

/// A running server; dropped, it is gone. Names that it was told nothing of do not exist.
pub(in crate::upstream) struct TestServer {
    pub(in crate::upstream) address: SocketAddr,
    zone: Arc<Zone>,
    _serving: JoinSet<()>,
}

#[derive(Default)]
struct Zone {
    answers: Mutex<HashMap<(String, bool), Answer>>,
    asked: watch::Sender<Vec<Asked>>,
}

impl TestServer {
    pub(in crate::upstream) async fn start() -> io::Result<Self> {
        let (udp, tcp) = bind().await?;
        let address = udp.local_addr()?;
        let zone = Arc::new(Zone::default());
        let mut serving = JoinSet::new();
        serving.spawn(serve_udp(udp, Arc::clone(&zone)));
        serving.spawn(serve_tcp(tcp, Arc::clone(&zone)));
        Ok(Self { address, zone, _serving: serving })
    }

    /// What is said of a name from now on, whichever family is asked for.
    pub(in crate::upstream) fn say(&self, name: &str, answer: &Answer) {
        self.say_of(name, false, answer);
        self.say_of(name, true, answer);
    }

    pub(in crate::upstream) fn say_of(&self, name: &str, ipv6: bool, answer: &Answer) {
        let mut answers = self.zone.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.insert((name.to_owned(), ipv6), answer.clone());
    }

    /// The questions for a name's IPv4 addresses so far.
    pub(in crate::upstream) fn asked(&self, name: &str) -> Vec<Asked> {
        self.zone.asked.borrow().iter().filter(|asked| asked.name == name && !asked.ipv6).cloned().collect()
    }

    /// Returns when a name's IPv4 addresses have been asked for so many times.
    pub(in crate::upstream) async fn was_asked(&self, name: &str, times: usize) {
        let enough = |asked: &Vec<Asked>| asked.iter().filter(|a| a.name == name && !a.ipv6).count() >= times;
        self.zone.asked.subscribe().wait_for(enough).await.expect("the server lives");
    }
}

/// One port for both; another is tried where TCP's is taken.
async fn bind() -> io::Result<(UdpSocket, TcpListener)> {
    loop {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        match UdpSocket::bind(tcp.local_addr()?).await {
            Ok(udp) => return Ok((udp, tcp)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
        }
    }
}

async fn serve_udp(socket: UdpSocket, zone: Arc<Zone>) {
    let mut bytes = [0; 4096];
    loop {
        let (length, client) = socket.recv_from(&mut bytes).await.expect("loopback works");
        let question = Message::from_vec(&bytes[..length]).expect("the resolver asks properly");
        let answer = zone.answer(&question, false);
        let mut bytes = answer.to_vec().expect("answers can be written");
        if bytes.len() > usize::from(question.max_payload()) {
            bytes = answer.truncate().to_vec().expect("answers can be written");
        }
        socket.send_to(&bytes, client).await.expect("loopback works");
    }
}

async fn serve_tcp(listener: TcpListener, zone: Arc<Zone>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("loopback works");
        connections.spawn(serve_connection(stream, Arc::clone(&zone)));
    }
}

/// Messages behind their length (RFC 1035, 4.2.2), until the client has enough.
async fn serve_connection(mut stream: TcpStream, zone: Arc<Zone>) {
    while let Ok(length) = stream.read_u16().await {
        let mut bytes = vec![0; length.into()];
        stream.read_exact(&mut bytes).await.expect("a question comes whole");
        let question = Message::from_vec(&bytes).expect("the resolver asks properly");
        let answer = zone.answer(&question, true).to_vec().expect("answers can be written");
        stream.write_u16(answer.len().try_into().expect("answers fit")).await.expect("the client waits");
        stream.write_all(&answer).await.expect("the client waits");
    }
}

impl Zone {
    fn answer(&self, question: &Message, over_tcp: bool) -> Message {
        let query = &question.queries[0];
        let name = query.name().to_ascii().trim_end_matches('.').to_owned();
        let ipv6 = query.query_type() == RecordType::AAAA;
        let known = self.answers.lock().unwrap_or_else(PoisonError::into_inner).get(&(name.clone(), ipv6)).cloned();
        self.asked.send_modify(|asked| asked.push(Asked { name, ipv6, over_tcp }));
        let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
        answer.add_query(query.clone());
        match known.unwrap_or(Answer::NoSuchName) {
            Answer::Addresses(addresses, ttl) => {
                let asked_for = addresses.into_iter().filter(|address| address.is_ipv6() == ipv6);
                answer.add_answers(asked_for.map(|a| Record::from_rdata(query.name().clone(), ttl, RData::from(a))));
            }
            Answer::NoSuchName => answer.metadata.response_code = ResponseCode::NXDomain,
            Answer::Failure => answer.metadata.response_code = ResponseCode::ServFail,
        }
        answer
    }
}
