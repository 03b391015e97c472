//! A model server that dies and comes back under the same address, and knows exactly what had been written to it.
//!
//! Every request is in the [`Journal`] from the moment its head has been read. A model that dies politely says so (FIN),
//! then reads to the end whatever the gateway had written, answering nothing: nothing that was sent to it is missing
//! from the journal. One that dies hard resets its connections, so what lay unread in them is lost.

use std::collections::BTreeMap;
use std::future::ready;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use turnout_tests::eventually;
use turnout_tests::gateway::DEADLINE;
use turnout_tests::process::established_to;
use turnout_tests::wire::{WireReader, latin1};

/// The request header with the request's id.
pub(super) const ID_HEADER: &str = "x-id";

/// What follows the id in a body that is to be longer.
pub(super) const PADDING: char = '.';

/// How long a model works on a request, so that a death finds some that are not answered.
const WORK: Duration = Duration::from_millis(2);

/// What became of one request at one model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    /// How often its head arrived.
    pub(super) heads: usize,
    /// How often all of its body arrived.
    pub(super) wholes: usize,
    /// How often it was answered.
    pub(super) answers: usize,
}

/// What a model received, by the requests' ids.
#[derive(Debug, Default)]
pub(super) struct Journal {
    entries: Mutex<BTreeMap<String, Entry>>,
}

/// How a model dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Death {
    /// FIN on every connection; what was sent before that is known is read.
    Polite,
    /// RST on every connection.
    Hard,
}

/// What all connections of a model are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Serve,
    /// Close as soon as there is no request.
    CloseIdle,
    Die(Death),
}

/// A model server.
#[derive(Debug)]
pub(super) struct Model {
    address: SocketAddr,
    journal: Arc<Journal>,
    life: Option<Life>,
    /// Holds the address of a dead model, at which connections are refused: nobody else gets it meanwhile.
    grave: Option<TcpSocket>,
}

/// From a birth to a death.
#[derive(Debug)]
struct Life {
    orders: Arc<watch::Sender<Order>>,
    /// How many connections are open.
    open: Arc<watch::Sender<usize>>,
    stop_listening: oneshot::Sender<()>,
    /// Ends with the listener that nobody waits at any more.
    accepting: JoinHandle<io::Result<()>>,
}

impl Journal {
    pub(super) fn entries(&self) -> BTreeMap<String, Entry> {
        self.lock().clone()
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    fn note(&self, id: &str, what: impl FnOnce(&mut Entry)) {
        what(self.lock().entry(id.to_owned()).or_default());
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Model {
    pub(super) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let journal = Arc::new(Journal::default());
        let life = Some(Life::begin(listener, &journal));
        Ok(Self { address, journal, life, grave: None })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Stops listening, ends every connection, and returns how many there were; all are over when it returns.
    pub(super) async fn die(&mut self, death: Death) -> usize {
        let life = self.stop_listening().await;
        let open = *life.open.borrow();
        life.orders.send_replace(Order::Die(death));
        life.wait_until_none_is_open().await;
        open
    }

    /// Stops listening and closes every connection, none of which may have a request. The FINs lie at the gateway's side
    /// when it returns, and nothing waits for the gateway.
    pub(super) async fn vanish(&mut self) {
        let life = self.stop_listening().await;
        self.close_idle(&life).await;
    }

    /// Closes every connection, none of which may have a request, and goes on listening. The FINs lie at the gateway's
    /// side when it returns.
    pub(super) async fn close_idle_connections(&self) {
        self.close_idle(self.life.as_ref().expect("the model lives")).await;
    }

    async fn close_idle(&self, life: &Life) {
        life.orders.send_replace(Order::CloseIdle);
        life.wait_until_none_is_open().await;
        // A busy kernel may deliver what is sent later, by another core, before the FIN.
        let delivered = eventually(DEADLINE, || {
            ready(match established_to(self.address) {
                Ok(0) => Ok(()),
                count => Err(format!("{count:?} connections of the gateway have no FIN")),
            })
        });
        delivered.await.expect("FINs arrive");
    }

    /// Listens again at the same address.
    pub(super) fn revive(&mut self) -> io::Result<()> {
        let socket = self.grave.take().expect("only the dead are revived");
        self.life = Some(Life::begin(socket.listen(1024)?, &self.journal));
        Ok(())
    }

    async fn stop_listening(&mut self) -> Life {
        let mut life = self.life.take().expect("only the living die");
        let (unused, _) = oneshot::channel();
        let stop = std::mem::replace(&mut life.stop_listening, unused);
        stop.send(()).expect("the accepting task waits for it");
        let stopped = timeout(DEADLINE, &mut life.accepting).await.expect("it stops at once");
        stopped.expect("it does not panic").expect("the listener is an ordinary socket");
        self.grave = Some(bind_again(self.address).expect("the address is still free"));
        life
    }
}

impl Life {
    fn begin(listener: TcpListener, journal: &Arc<Journal>) -> Self {
        let orders = Arc::new(watch::Sender::new(Order::Serve));
        let open = Arc::new(watch::Sender::new(0));
        let (stop_listening, stopped) = oneshot::channel();
        let spawner = Spawner { orders: Arc::clone(&orders), open: Arc::clone(&open), journal: Arc::clone(journal) };
        let accepting = tokio::spawn(accept(listener, stopped, spawner));
        Self { orders, open, stop_listening, accepting }
    }

    async fn wait_until_none_is_open(&self) {
        let mut open = self.open.subscribe();
        let none = timeout(DEADLINE, open.wait_for(|open| *open == 0)).await;
        none.expect("the gateway closes its side").expect("the sender lives");
    }
}

/// A socket that does not listen yet.
fn bind_again(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// What a new connection needs.
struct Spawner {
    orders: Arc<watch::Sender<Order>>,
    open: Arc<watch::Sender<usize>>,
    journal: Arc<Journal>,
}

/// Accepts until it is told to stop and nobody waits to be accepted any more.
async fn accept(listener: TcpListener, mut stopped: oneshot::Receiver<()>, spawner: Spawner) -> io::Result<()> {
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                spawner.spawn(stream);
            }
            _ = &mut stopped => break,
        }
    }
    // The kernel is asked itself: the runtime may not have heard yet of a connection that has a request on it.
    let listener = listener.into_std()?;
    while let Ok((stream, _)) = listener.accept() {
        stream.set_nonblocking(true)?;
        spawner.spawn(TcpStream::from_std(stream)?);
    }
    Ok(())
}

impl Spawner {
    fn spawn(&self, stream: TcpStream) {
        let open = Arc::clone(&self.open);
        open.send_modify(|open| *open += 1);
        let (orders, journal) = (self.orders.subscribe(), Arc::clone(&self.journal));
        let connection = Connection { reader: WireReader::new(stream), orders, journal };
        tokio::spawn(async move {
            // A gateway that is gone is nothing to a model.
            let _ = connection.serve().await;
            open.send_modify(|open| *open -= 1);
        });
    }
}

struct Connection {
    reader: WireReader<TcpStream>,
    orders: watch::Receiver<Order>,
    journal: Arc<Journal>,
}

impl Connection {
    async fn serve(mut self) -> io::Result<()> {
        loop {
            let mut first = [0];
            tokio::select! {
                _ = self.orders.changed() => {
                    let order = *self.orders.borrow_and_update();
                    match order {
                        Order::Serve => continue,
                        Order::CloseIdle => return Ok(()),
                        Order::Die(death) => return self.die(death).await,
                    }
                }
                peeked = self.reader.stream_mut().peek(&mut first) => {
                    if peeked? == 0 {
                        return Ok(());
                    }
                }
            }
            let id = self.receive().await?;
            // Other orders wait until the request is answered.
            let mut orders = self.orders.clone();
            let told_to_die = orders.wait_for(|order| matches!(order, Order::Die(_)));
            let death = tokio::select! {
                order = told_to_die => order.ok().map(|order| *order),
                () = sleep(WORK) => None,
            };
            if let Some(Order::Die(death)) = death {
                return self.die(death).await;
            }
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{id}", id.len());
            // Before the client can know of it: whoever has an answer finds it in the journal.
            self.journal.note(&id, |entry| entry.answers += 1);
            self.reader.stream_mut().write_all(answer.as_bytes()).await?;
        }
    }

    /// Reads one request, and returns its id.
    async fn receive(&mut self) -> io::Result<String> {
        let head = self.reader.head().await?;
        let id = head.headers.first(ID_HEADER).unwrap_or("none").to_owned();
        self.journal.note(&id, |entry| entry.heads += 1);
        let mut body = Vec::new();
        if head.headers.has_token("transfer-encoding", "chunked") {
            self.reader.chunked_body(&mut body).await?;
        } else {
            let length = head.headers.first("content-length").and_then(|length| length.parse().ok());
            self.reader.sized_body(length.unwrap_or(0), &mut body).await?;
        }
        let body = latin1(&body);
        let id_in_body = body.split(PADDING).next().filter(|id| !id.is_empty());
        self.journal.note(id_in_body.unwrap_or(&id), |entry| entry.wholes += 1);
        Ok(id)
    }

    async fn die(mut self, death: Death) -> io::Result<()> {
        match death {
            // Closing with a linger time of zero sends RST in place of FIN.
            Death::Hard => self.reader.stream_mut().set_zero_linger(),
            Death::Polite => {
                self.reader.stream_mut().shutdown().await?;
                loop {
                    self.receive().await?;
                }
            }
        }
    }
}
