//! Listening sockets: bound once at start, accepted from by one thread, and handed to the worker that has the fewest
//! connections, so that long-lived connections are spread evenly.

use crate::downstream::worker::WorkerHandle;
use crate::drain::Drain;
use crate::settings::{ConnectionSettings, ListenerSettings};
use crate::telemetry::metrics::{Level, Metrics};
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;
/// After an error such as too many open files, which accepting again at once would only repeat.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(50);

/// A listening socket.
#[derive(Debug)]
pub(crate) struct Listener {
    /// The Gateway port that is served here.
    pub(crate) gateway_port: u16,
    /// Where it listens, with the port that was taken where none was given.
    pub(crate) address: SocketAddr,
    socket: TcpListener,
}

/// An accepted connection on its way to a worker.
pub(crate) struct Accepted {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) gateway_port: u16,
    /// Gives the connection's place back when it is over.
    pub(crate) place: Place,
}

/// Binds an address. The message of an error names it.
pub(crate) fn bind(settings: &ListenerSettings) -> io::Result<Listener> {
    let socket = bind_socket("--listen", settings.address)?;
    let address = socket.local_addr()?;
    let gateway_port = if settings.gateway_port == 0 { address.port() } else { settings.gateway_port };
    Ok(Listener { gateway_port, address, socket })
}

/// A non-blocking listening socket; `flag` is who asked for it.
pub(crate) fn bind_socket(flag: &str, address: SocketAddr) -> io::Result<TcpListener> {
    let bind = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // A gateway that restarts finds its port free although old connections linger; two running ones collide.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(TcpListener::from(socket))
    };
    bind().map_err(|error: io::Error| {
        io::Error::new(error.kind(), format!("{flag}: cannot listen on {address}: {error}"))
    })
}

/// Who is connected, and to whom connections go.
pub(crate) struct Acceptor {
    pub(crate) workers: Vec<WorkerHandle>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) settings: Arc<ConnectionSettings>,
    pub(crate) drain: Arc<Drain>,
    pub(crate) places: Arc<Places>,
}

impl Acceptor {
    /// Accepts until the gateway drains. Connections that wait to be accepted then are still taken, so that closing the
    /// socket resets nobody.
    pub(crate) async fn run(&self, listener: Listener) -> io::Result<()> {
        let socket = tokio::net::TcpListener::from_std(listener.socket)?;
        loop {
            let accepted = tokio::select! {
                biased;
                accepted = socket.accept() => accepted,
                () = self.drain.draining() => break,
            };
            // Back to a plain socket: it belongs to the accepting thread's runtime until the worker takes it.
            match accepted.and_then(|(stream, peer)| Ok((stream.into_std()?, peer))) {
                Ok((stream, peer)) => self.hand_over(stream, peer, listener.gateway_port),
                Err(error) => {
                    tracing::warn!(%error, address = %listener.address, "accept failed");
                    tokio::time::sleep(PAUSE_AFTER_ERROR).await;
                }
            }
        }
        let socket = socket.into_std()?;
        while let Ok((stream, peer)) = socket.accept() {
            match stream.set_nonblocking(true) {
                Ok(()) => self.hand_over(stream, peer, listener.gateway_port),
                Err(error) => tracing::warn!(%error, "a connection could not be used"),
            }
        }
        tracing::info!(address = %listener.address, "closed");
        Ok(())
    }

    fn hand_over(&self, stream: TcpStream, peer: SocketAddr, gateway_port: u16) {
        // A socket for both families gives IPv4 addresses in IPv6 form; everything else sees them as they are.
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let place = match self.places.take(peer.ip(), &self.settings) {
            Ok(place) => place,
            Err(limit) => {
                self.metrics.connections_refused.with_label_values(&[limit]).inc();
                return;
            }
        };
        self.metrics.connections_total.inc();
        if let Some(worker) = self.workers.iter().min_by_key(|worker| worker.connections()) {
            worker.serve(Accepted { stream, peer, gateway_port, place });
        }
    }
}

/// Counts connections, in all and by client address where that is limited.
#[derive(Debug)]
pub(crate) struct Places {
    metrics_open: Level,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_client: HashMap<IpAddr, usize>,
}

/// One connection's place.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    /// Whether it is counted under this address.
    client: Option<IpAddr>,
}

impl Places {
    pub(crate) fn new(metrics: &Metrics) -> Arc<Self> {
        Arc::new(Self { metrics_open: metrics.connections.clone(), taken: Mutex::default() })
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).all
    }

    /// Takes a place, or says which limit is reached.
    fn take(self: &Arc<Self>, client: IpAddr, settings: &ConnectionSettings) -> Result<Place, &'static str> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.all >= settings.max_connections {
            return Err("max-connections");
        }
        if let Some(max) = settings.max_per_client {
            let of_client = taken.by_client.entry(client).or_default();
            if *of_client >= max.get() {
                return Err("max-connections-per-client");
            }
            *of_client += 1;
        }
        taken.all += 1;
        self.metrics_open.inc();
        Ok(Place { places: Arc::clone(self), client: settings.max_per_client.map(|_| client) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        self.places.metrics_open.dec();
        if let Some(client) = self.client
            && let Some(of_client) = taken.by_client.get_mut(&client)
        {
            *of_client -= 1;
            if *of_client == 0 {
                taken.by_client.remove(&client);
            }
        }
    }
}
