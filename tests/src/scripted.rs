//! A backend that answers byte for byte what a test wants, right or wrong. It reads heads and no bodies, and remembers
//! which connection each request came on.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::wire::{Head, WireReader};

/// What one request is answered with.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The bytes, in one write.
    pub bytes: Vec<u8>,
    /// Whether the connection is closed behind them.
    pub closes: bool,
}

/// A running backend; dropped, it closes everything.
#[derive(Debug)]
pub struct ScriptedBackend {
    address: SocketAddr,
    targets: Arc<Mutex<Vec<(usize, String)>>>,
    _accepting: JoinSet<()>,
}

impl ScriptedBackend {
    /// Answers each request as `script` says by its head.
    pub async fn start<S>(script: S) -> io::Result<Self>
    where
        S: Fn(&Head) -> Answer + Send + Sync + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let targets = Arc::default();
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, Arc::new(script), Arc::clone(&targets)));
        Ok(Self { address, targets, _accepting: accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The connections, counted from 1, on which requests for this target came, in their order.
    pub fn connections_of(&self, target: &str) -> Vec<usize> {
        let targets = lock(&self.targets);
        targets.iter().filter(|(_, own)| own == target).map(|(connection, _)| *connection).collect()
    }
}

fn lock(targets: &Mutex<Vec<(usize, String)>>) -> MutexGuard<'_, Vec<(usize, String)>> {
    targets.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept<S>(listener: TcpListener, script: Arc<S>, targets: Arc<Mutex<Vec<(usize, String)>>>)
where
    S: Fn(&Head) -> Answer + Send + Sync + 'static,
{
    let mut serving = JoinSet::new();
    for connection in 1.. {
        let Ok((stream, _)) = listener.accept().await else { return };
        let (script, targets) = (Arc::clone(&script), Arc::clone(&targets));
        serving.spawn(async move {
            // A gateway that is gone does not miss its answer.
            let _ = serve(WireReader::new(stream), connection, script.as_ref(), &targets).await;
        });
    }
}

async fn serve(
    mut reader: WireReader<TcpStream>,
    connection: usize,
    script: &(impl Fn(&Head) -> Answer + Sync),
    targets: &Mutex<Vec<(usize, String)>>,
) -> io::Result<()> {
    loop {
        let head = reader.head().await?;
        lock(targets).push((connection, head.target().to_owned()));
        let answer = script(&head);
        reader.stream_mut().write_all(&answer.bytes).await?;
        if answer.closes {
            return reader.stream_mut().shutdown().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, ScriptedBackend};
    use crate::client::{RawConnection, RawRequest};
    use std::time::Duration;

    #[tokio::test]
    async fn it_answers_as_the_script_says_and_closes_when_it_says_so() {
        let backend = ScriptedBackend::start(|head| {
            let closes = head.target() == "/last";
            Answer { bytes: b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec(), closes }
        });
        let backend = backend.await.expect("loopback has free ports");
        for _ in 0..2 {
            let mut client = RawConnection::open(backend.address()).await.expect("it listens");
            for target in ["/", "/last"] {
                assert_eq!(client.exchange(&RawRequest::get(target)).await.expect("it answers").text(), "ok");
            }
            assert!(client.is_closed_within(Duration::from_mins(1)).await);
        }
        assert_eq!(backend.connections_of("/last"), [1, 2]);
    }
}
