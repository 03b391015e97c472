//! Listening sockets: bound once at start, accepted from by one thread, and handed to the worker that has the fewest
//! connections, so that long-lived connections are spread evenly.

use super::accepted::Accepted;
use super::places::Places;
use super::worker::WorkerHandle;
use crate::drain::Drain;
use crate::settings::{ConnectionSettings, ListenerSettings};
use crate::telemetry::metrics::Metrics;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
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
        let serving = self.workers.iter().filter(|worker| worker.is_serving());
        if let Some(worker) = serving.min_by_key(|worker| worker.connections()) {
            worker.serve(Accepted { stream, peer, gateway_port, place });
        }
    }
}
