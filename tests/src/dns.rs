//! A DNS server on loopback that says what a test wants to hear: addresses with a time to live, "no such name", a
//! failure, or nothing at all. It answers A questions; every other type has no records. An answer that is too long for
//! UDP is cut short there, and whole over TCP (RFC 7766, 5).
//!
//! What it says can be changed at any time, and it counts what it was asked.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

/// What the server says about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// These addresses, with this time to live in seconds.
    Addresses(Vec<Ipv4Addr>, u32),
    /// The name does not exist (NXDOMAIN).
    NoSuchName,
    /// The server failed (SERVFAIL).
    Failure,
    /// Nothing is sent back.
    Silence,
}

/// A running server; dropped, it falls silent. Names that it was told nothing about do not exist.
#[derive(Debug)]
pub struct DnsServer {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    _serving: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Zone {
    answers: HashMap<String, Answer>,
    asked: HashMap<String, usize>,
    asked_over_tcp: HashMap<String, usize>,
}

/// Where a question came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Udp,
    Tcp,
}

/// The longest answer over UDP (RFC 1035, 4.2.1).
const UDP_LIMIT: usize = 512;
/// The flag TC in the first byte of flags.
const TRUNCATED: u8 = 2;

/// Type A (RFC 1035, 3.2.2).
const TYPE_A: [u8; 2] = [0, 1];
const NO_ERROR: u8 = 0;
const SERVER_FAILURE: u8 = 2;
const NAME_ERROR: u8 = 3;

impl DnsServer {
    /// Starts a server that knows no name.
    pub async fn start() -> io::Result<Self> {
        let (socket, listener) = bind_both().await?;
        let address = listener.local_addr()?;
        let zone = Arc::new(Mutex::new(Zone::default()));
        let mut serving = JoinSet::new();
        serving.spawn(serve_udp(socket, Arc::clone(&zone)));
        serving.spawn(serve_tcp(listener, Arc::clone(&zone)));
        Ok(Self { address, zone, _serving: serving })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what is said about a name.
    pub fn say(&self, name: &str, answer: Answer) {
        lock(&self.zone).answers.insert(name.to_owned(), answer);
    }

    /// How often the name's addresses were asked for.
    pub fn asked(&self, name: &str) -> usize {
        lock(&self.zone).asked.get(name).copied().unwrap_or_default()
    }

    /// How often over TCP.
    pub fn asked_over_tcp(&self, name: &str) -> usize {
        lock(&self.zone).asked_over_tcp.get(name).copied().unwrap_or_default()
    }
}

/// One port of both kinds. The system chooses it for one, and it may be taken for the other: then another is tried.
async fn bind_both() -> io::Result<(UdpSocket, TcpListener)> {
    let mut tries = 20;
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        match UdpSocket::bind(listener.local_addr()?).await {
            Ok(socket) => return Ok((socket, listener)),
            Err(taken) if tries == 0 => return Err(taken),
            Err(_) => tries -= 1,
        }
    }
}

fn lock(zone: &Mutex<Zone>) -> MutexGuard<'_, Zone> {
    zone.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve_udp(socket: UdpSocket, zone: Arc<Mutex<Zone>>) {
    let mut query = [0; 1500];
    loop {
        let Ok((length, client)) = socket.recv_from(&mut query).await else { continue };
        let response = Question::read(&query[..length]).and_then(|question| question.answer(&zone, Transport::Udp));
        if let Some(response) = response {
            // A client that is gone does not miss it.
            let _ = socket.send_to(&response, client).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, zone: Arc<Mutex<Zone>>) {
    let mut serving = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let zone = Arc::clone(&zone);
        // A client that is gone asks no more.
        serving.spawn(async move { serve_stream(stream, &zone).await.unwrap_or_default() });
    }
}

/// Each message has its length before it (RFC 1035, 4.2.2).
async fn serve_stream(mut stream: TcpStream, zone: &Mutex<Zone>) -> io::Result<()> {
    loop {
        let mut query = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut query).await?;
        let response = Question::read(&query).and_then(|question| question.answer(zone, Transport::Tcp));
        let Some(response) = response else { continue };
        stream.write_u16(u16::try_from(response.len()).map_err(io::Error::other)?).await?;
        stream.write_all(&response).await?;
    }
}

/// The only question of a query.
struct Question<'q> {
    id: &'q [u8],
    /// Lower case, without the last dot.
    name: String,
    kind: &'q [u8],
    /// Name, type and class, as they came.
    bytes: &'q [u8],
}

impl<'q> Question<'q> {
    fn read(query: &'q [u8]) -> Option<Self> {
        let mut labels = Vec::new();
        let mut at = 12;
        loop {
            let length = usize::from(*query.get(at)?);
            at += 1;
            if length == 0 {
                break;
            }
            labels.push(String::from_utf8_lossy(query.get(at..at + length)?).to_lowercase());
            at += length;
        }
        Some(Self {
            id: query.get(..2)?,
            name: labels.join("."),
            kind: query.get(at..at + 2)?,
            bytes: query.get(12..at + 4)?,
        })
    }

    /// The response, unless the server is to be silent.
    fn answer(&self, zone: &Mutex<Zone>, transport: Transport) -> Option<Vec<u8>> {
        let mut zone = lock(zone);
        let is_a = self.kind == TYPE_A;
        if is_a {
            *zone.asked.entry(self.name.clone()).or_default() += 1;
            if transport == Transport::Tcp {
                *zone.asked_over_tcp.entry(self.name.clone()).or_default() += 1;
            }
        }
        let response = match zone.answers.get(&self.name).unwrap_or(&Answer::NoSuchName) {
            Answer::Addresses(addresses, ttl) if is_a => Some(self.response(NO_ERROR, addresses, *ttl)),
            Answer::Addresses(..) => Some(self.response(NO_ERROR, &[], 0)),
            Answer::NoSuchName => Some(self.response(NAME_ERROR, &[], 0)),
            Answer::Failure => Some(self.response(SERVER_FAILURE, &[], 0)),
            Answer::Silence => None,
        };
        response.map(|response| if transport == Transport::Udp { self.cut(response) } else { response })
    }

    /// An answer that is too long loses all its records, and says so.
    fn cut(&self, response: Vec<u8>) -> Vec<u8> {
        if response.len() <= UDP_LIMIT {
            return response;
        }
        let mut response = self.response(NO_ERROR, &[], 0);
        response[2] |= TRUNCATED;
        response
    }

    /// RFC 1035, 4.1.
    fn response(&self, code: u8, addresses: &[Ipv4Addr], ttl: u32) -> Vec<u8> {
        let [high, low] = u16::try_from(addresses.len()).unwrap_or(u16::MAX).to_be_bytes();
        let mut response = self.id.to_vec();
        // A response, recursion wanted and available; one question, `count` answers.
        response.extend_from_slice(&[0x81, 0x80 | code, 0, 1, high, low, 0, 0, 0, 0]);
        response.extend_from_slice(self.bytes);
        for address in addresses {
            // The name is the question's, at offset 12; type A, class IN.
            response.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1]);
            response.extend_from_slice(&ttl.to_be_bytes());
            response.extend_from_slice(&[0, 4]);
            response.extend_from_slice(&address.octets());
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, DnsServer};
    use std::net::Ipv4Addr;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpStream, UdpSocket};

    /// The question for type A of `a.b`, with the id 7.
    const QUERY: &[u8] = b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x01B\x00\x00\x01\x00\x01";

    #[tokio::test]
    async fn it_says_what_it_was_told() {
        let server = DnsServer::start().await.expect("loopback has free ports");
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has free ports");
        client.connect(server.address()).await.expect("loopback is there");
        let table: [(Answer, u8, u8, &[u8]); 3] = [
            (Answer::Addresses(vec![Ipv4Addr::new(127, 0, 0, 2)], 9), 0, 1, &[0, 0, 0, 9, 0, 4, 127, 0, 0, 2]),
            (Answer::NoSuchName, 3, 0, &[0, 1, 0, 1]),
            (Answer::Failure, 2, 0, &[0, 1, 0, 1]),
        ];
        for (answer, code, count, end) in table {
            server.say("a.b", answer.clone());
            client.send(QUERY).await.expect("the server is there");
            let mut response = [0; 512];
            let length = client.recv(&mut response).await.expect("the server answers");
            let response = &response[..length];
            assert_eq!((response[1], response[3] & 15, response[7]), (7, code, count), "{answer:?}");
            assert!(response.ends_with(end), "{answer:?}: {response:?}");
        }
        assert_eq!(server.asked("a.b"), 3);
    }

    #[tokio::test]
    async fn a_long_answer_is_whole_over_tcp_alone() {
        let server = DnsServer::start().await.expect("loopback has free ports");
        server.say("a.b", Answer::Addresses(vec![Ipv4Addr::LOCALHOST; 300], 0));
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has free ports");
        client.send_to(QUERY, server.address()).await.expect("the server is there");
        let mut response = [0; 512];
        let length = client.recv(&mut response).await.expect("the server answers");
        assert_eq!((length, response[2] & 2, response[6..8].to_vec()), (QUERY.len(), 2, vec![0, 0]));

        let mut client = TcpStream::connect(server.address()).await.expect("the server listens");
        client.write_u16(u16::try_from(QUERY.len()).expect("it is short")).await.expect("the server reads");
        client.write_all(QUERY).await.expect("the server reads");
        let mut response = vec![0; usize::from(client.read_u16().await.expect("the server answers"))];
        client.read_exact(&mut response).await.expect("the server answers");
        assert_eq!(
            (response.len(), response[2] & 2, response[6..8].to_vec()),
            (QUERY.len() + 300 * 16, 0, vec![1, 44])
        );
        assert_eq!((server.asked("a.b"), server.asked_over_tcp("a.b")), (2, 1));
    }
}
