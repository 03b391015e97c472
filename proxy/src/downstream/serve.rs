//! One client's connection, from the accepted socket to its end: TLS if the port has it, then HTTP/1 or HTTP/2, until
//! the client, a limit or the drain ends it.

use super::client_io::ClientIo;
use super::ending::ConnectionError;
use super::opening::Opening;
use super::protocols::{Protocol, http1, http2};
use super::tls::{Handshake, TlsAcceptor};
use crate::client::{Client, ClientLimits, End, TlsInfo};
use crate::drain::{Drain, Phase};
use crate::gateway::Gateway;
use crate::settings::{ConnectionSettings, RequestSettings};
use crate::snapshot::Snapshots;
use hyper_util::rt::TokioIo;
use slab::Slab;
use std::cell::RefCell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use turnout_routes::router::PortKind;

/// How long a connection without a request keeps what only one with a request needs.
const REST_AFTER: Duration = Duration::from_secs(1);

/// What every connection of a worker is served with.
pub(super) struct Server {
    pub(super) gateway: Rc<Gateway>,
    pub(super) snapshots: Arc<Snapshots>,
    pub(super) tls: TlsAcceptor,
    pub(super) settings: Arc<ConnectionSettings>,
    pub(super) requests: Arc<RequestSettings>,
    pub(super) drain: Arc<Drain>,
    /// Of the connections that are past their handshake, if they have one.
    pub(super) clients: RefCell<Slab<Rc<Client>>>,
}

impl Server {
    /// Serves a connection to its end. What few connections need is boxed: each of the many others would hold room for it.
    pub(super) async fn serve(
        &self,
        stream: std::net::TcpStream,
        peer: SocketAddr,
        port: u16,
    ) -> Result<(), ConnectionError> {
        let stream = TcpStream::from_std(stream)?;
        stream.set_nodelay(true)?;
        // The snapshot itself is let go: a connection outlives many of them.
        let kind = self.snapshots.current().map_or(PortKind::Unknown, |snapshot| snapshot.router.port_kind(port));
        match kind {
            PortKind::Plain | PortKind::Unknown => {
                let (client, _known) = self.client(peer, port, None, false);
                let mut io = self.io(stream, &client);
                match self.opening(io.inner_mut(), &client, self.settings.cleartext_http2).await? {
                    Some(Opening::Http1) => self.serve_http1(io, &client).await,
                    Some(Opening::Http2) => {
                        client.speaks_http2();
                        client.drain(self.drain.phase());
                        Box::pin(self.serve_http2(io, &client)).await
                    }
                    None => Ok(()),
                }
            }
            PortKind::Tls => Box::pin(self.serve_tls(stream, peer, port)).await,
        }
    }

    async fn serve_tls(&self, stream: TcpStream, peer: SocketAddr, port: u16) -> Result<(), ConnectionError> {
        let Handshake { stream, client, is_http2 } =
            self.tls.accept(stream, &self.snapshots, port, self.settings.tls_handshake_timeout).await?;
        let (client, _known) = self.client(peer, port, Some(client), is_http2);
        let mut io = self.io(stream, &client);
        if is_http2 {
            return self.serve_http2(io, &client).await;
        }
        match self.opening(io.inner_mut(), &client, false).await? {
            Some(_) => self.serve_http1(io, &client).await,
            None => Ok(()),
        }
    }

    fn limits(&self, rest: Option<Duration>) -> ClientLimits {
        ClientLimits { idle: self.settings.idle_timeout, rest, head: self.settings.head_timeout }
    }

    /// A client, which is told of the gateway's end while it is known.
    fn client(&self, peer: SocketAddr, port: u16, tls: Option<TlsInfo>, is_http2: bool) -> (Rc<Client>, Known<'_>) {
        let max_requests = self.settings.max_requests.map(NonZeroUsize::get);
        let client = Rc::new(Client::new(peer, port, tls, is_http2, max_requests));
        let known = Known::new(self, &client);
        (client, known)
    }

    fn io<T>(&self, stream: T, client: &Rc<Client>) -> TokioIo<ClientIo<T>> {
        TokioIo::new(ClientIo::new(stream, self.requests.stall_timeout, client, &self.gateway))
    }

    /// Serves HTTP/1 until it ends. hyper holds two buffers for a connection that may be written and read at any moment;
    /// one that has had no request for a while does without them, and is taken up again with the next head.
    async fn serve_http1<T>(&self, mut io: TokioIo<ClientIo<T>>, client: &Rc<Client>) -> Result<(), ConnectionError>
    where
        T: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let limits = self.limits(Some(REST_AFTER));
        loop {
            let mut connection = http1(io, (&*self.settings, self.requests.max_headers), &self.gateway, client);
            match run(Pin::new(&mut connection), client, limits).await {
                Ok(Ran::Ended) => {
                    // hyper is over with an answer that the client has not taken yet, and would lose it.
                    let successor = client.take_successor().filter(|_| !client.writes_wait());
                    if let Some(successor) = successor {
                        let parts = connection.into_parts();
                        let (socket, ahead) = parts.io.into_inner().into_parts(&parts.read_buf);
                        successor(Box::new(socket), ahead).await;
                    }
                    return Ok(());
                }
                Err(ConnectionError::Head) => {
                    Box::pin(connection.into_parts().io.inner_mut().refuse_late_head()).await?;
                    return Err(ConnectionError::Head);
                }
                Err(error) => return Err(error),
                Ok(Ran::Rests) => {
                    let parts = connection.into_parts();
                    io = parts.io;
                    io.inner_mut().read_again(parts.read_buf);
                }
            }
            if self.opening(io.inner_mut(), client, false).await?.is_none() {
                return Ok(());
            }
        }
    }

    /// Waits for what the client begins with. None if the connection ends before.
    async fn opening<T>(
        &self,
        io: &mut ClientIo<T>,
        client: &Client,
        may_be_http2: bool,
    ) -> Result<Option<Opening>, ConnectionError>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let limits = self.limits(None);
        let mut timer = pin!(tokio::time::sleep(limits.idle.min(limits.head)));
        let opening = poll_fn(|context| {
            loop {
                if let Poll::Ready(opening) = io.poll_opening(may_be_http2, context) {
                    return Poll::Ready(opening.map(Ok));
                }
                match client.poll_end(&limits, timer.as_mut(), context) {
                    Poll::Pending => return Poll::Pending,
                    // With the request that is on its way.
                    Poll::Ready(End::Politely) if client.is_sending_head() => {}
                    Poll::Ready(end) => return Poll::Ready(Ok(Err(end))),
                }
            }
        });
        match opening.await? {
            Ok(Some(opening)) => {
                client.drain(self.drain.phase());
                return Ok(Some(opening));
            }
            Err(End::HeadTimeout) => {
                Box::pin(io.refuse_late_head()).await?;
                return Err(ConnectionError::Head);
            }
            Ok(None) | Err(_) => {}
        }
        // What says farewell says it now, as TLS does.
        io.shutdown().await?;
        Ok(None)
    }

    async fn serve_http2<T>(&self, io: TokioIo<ClientIo<T>>, client: &Rc<Client>) -> Result<(), ConnectionError>
    where
        T: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let mut connection = pin!(http2(io, &self.settings, &self.gateway, client));
        run(connection.as_mut(), client, self.limits(None)).await.map(drop)
    }

    /// Tells every connection how far the end of the gateway has come.
    pub(super) fn drain(&self, phase: Phase) {
        for (_, client) in &*self.clients.borrow() {
            client.drain(phase);
        }
    }
}

/// What became of a connection.
enum Ran {
    Ended,
    /// It has had no request for a while.
    Rests,
}

/// Drives a connection until it ends, as it is told to or by itself, or may be put to rest.
async fn run<C: Protocol>(
    mut connection: Pin<&mut C>,
    client: &Client,
    limits: ClientLimits,
) -> Result<Ran, ConnectionError> {
    let mut timer = pin!(tokio::time::sleep(limits.idle.min(limits.head)));
    let mut told_to_go = false;
    poll_fn(|context| {
        loop {
            if let Poll::Ready(ended) = connection.as_mut().poll(context) {
                return Poll::Ready(ended.map(|()| Ran::Ended).map_err(ConnectionError::from));
            }
            match client.poll_end(&limits, timer.as_mut(), context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(End::Rest) => return Poll::Ready(Ok(Ran::Rests)),
                // HTTP/2 waits for the client's word, which one that has vanished does not give.
                Poll::Ready(End::Idle) if told_to_go => return Poll::Ready(Ok(Ran::Ended)),
                Poll::Ready(end @ (End::Politely | End::Idle)) => {
                    told_to_go |= end == End::Idle;
                    connection.as_mut().graceful_shutdown();
                }
                Poll::Ready(End::Abused) => return Poll::Ready(Err(ConnectionError::Abuse)),
                Poll::Ready(End::HeadTimeout) => return Poll::Ready(Err(ConnectionError::Head)),
            }
        }
    })
    .await
}

/// A connection among those that are told of the gateway's end, until it is dropped.
struct Known<'s> {
    server: &'s Server,
    key: usize,
}

impl<'s> Known<'s> {
    fn new(server: &'s Server, client: &Rc<Client>) -> Self {
        // In case it came late.
        client.drain(server.drain.phase());
        Self { server, key: server.clients.borrow_mut().insert(Rc::clone(client)) }
    }
}

impl Drop for Known<'_> {
    fn drop(&mut self) {
        let client = self.server.clients.borrow_mut().remove(self.key);
        drop(client.take_successor());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<'s, F: Future>(_: impl FnOnce(&'s Server, std::net::TcpStream, SocketAddr, u16) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_connection_takes_little_room() {
        let size = size(Server::serve);
        println!("a connection: {size} bytes");
        assert!(size < 2048, "{size} bytes");
    }
}
