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
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => "; give another address, or end what listens there",
            _ => "",
        };
        io::Error::new(error.kind(), format!("{flag}: cannot listen on {address}: {error}{advice}"))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::Credentials;
    use crate::downstream::worker::Shared;
    use crate::drain::Phase;
    use crate::pairs::Pairs;
    use crate::settings::Arguments;
    use crate::telemetry::access_log::AccessLog;
    use crate::telemetry::metrics::SourceNames;
    use clap::Parser;
    use std::io::{Read, Write};

    fn shared() -> Shared {
        let routes = std::env::temp_dir().into_os_string();
        let arguments = Arguments::try_parse_from(["turnout-proxy".into(), "--routes".into(), routes]);
        let settings = arguments.expect("arguments").into_settings().expect("settings");
        let source = SourceNames { workload: "gateway".into(), namespace: "default".into() };
        let metrics = Arc::new(Metrics::new(source).expect("every name is used once"));
        Shared {
            pairs: Pairs::new(&metrics).0,
            snapshots: Arc::default(),
            access_log: AccessLog::off(metrics.access_log_dropped.clone()),
            metrics,
            credentials: Arc::new(Credentials::new(None)),
            drain: Arc::new(Drain::new()),
            requests: Arc::new(settings.requests),
            connections: Arc::new(settings.connections),
        }
    }

    #[test]
    fn a_worker_whose_thread_has_ended_is_given_no_connection() {
        let (ending, serving) = (shared(), shared());
        let (ended, thread) = WorkerHandle::start(0, ending.clone()).expect("a thread");
        ending.drain.advance(Phase::Ended);
        thread.join().expect("it ends in peace");
        let (worker, thread) = WorkerHandle::start(1, serving.clone()).expect("a thread");
        let acceptor = Acceptor {
            // The first has fewer connections than the other from the second connection on.
            workers: vec![ended.clone(), worker.clone()],
            places: Places::new(&serving.metrics),
            metrics: Arc::clone(&serving.metrics),
            settings: Arc::clone(&serving.connections),
            drain: Arc::clone(&serving.drain),
        };
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let clients = [(); 3].map(|()| {
            let mut client = TcpStream::connect(address).expect("connected");
            let (stream, peer) = listener.accept().expect("accepted");
            stream.set_nonblocking(true).expect("a socket");
            acceptor.hand_over(stream, peer, 80);
            client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").expect("writable");
            client.read_exact(&mut [0]).expect("an answer");
            client
        });
        assert_eq!((ended.connections(), worker.connections(), acceptor.places.taken()), (0, 3, 3));
        drop(clients);
        serving.drain.advance(Phase::Ended);
        thread.join().expect("it ends in peace");
        assert_eq!((worker.connections(), acceptor.places.taken()), (0, 0));
        // Where all have ended, a connection is let go.
        let mut client = TcpStream::connect(address).expect("connected");
        let (stream, peer) = listener.accept().expect("accepted");
        acceptor.hand_over(stream, peer, 80);
        assert_eq!(client.read(&mut [0]).expect("closed"), 0);
        assert_eq!(acceptor.places.taken(), 0);
    }
}
