//! Sends what one entry of a case's requests asks for, and keeps everything that client and backends saw.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use turnout_tests::echo::{Backends, Received};

use crate::exchange::{Exchange, exchange};
use crate::family::{Request, Send};

/// From this many requests on, several connections share them unless the case says otherwise.
const MANY: usize = 100;

/// How many connections share [`MANY`] requests.
const CONNECTIONS_FOR_MANY: usize = 4;

/// Copies have come when backends have received nothing for so long, ...
const QUIET: Duration = Duration::from_millis(300);

/// ... which is waited for no longer than this.
const QUIET_DEADLINE: Duration = Duration::from_secs(20);

/// What was seen of one entry of the requests.
#[derive(Debug)]
pub(crate) struct Observation {
    /// One for each request of a `count`, in no order.
    pub(crate) exchanges: Vec<Exchange>,
    /// What the backends received.
    pub(crate) received: Vec<Received>,
}

/// Where each of the gateway's ports listens, by the name that cases give it.
pub(crate) type Ports = BTreeMap<&'static str, SocketAddr>;

/// Performs one entry of the requests.
pub(crate) async fn perform(request: &Request, ports: &Ports, backends: &Backends) -> anyhow::Result<Observation> {
    tokio::time::sleep(Duration::from_secs_f64(request.send.wait)).await;
    let send = &request.send;
    let address = ports.get(send.port.as_str());
    let address = *address.ok_or_else(|| anyhow::anyhow!("the case has no port {}", send.port))?;
    backends.clear();
    let exchanges = if send.count == 1 {
        vec![exchange(address, send, None, request.expect.closed).await.0]
    } else {
        exchange_many(address, send).await?
    };
    if request.expect.is_of_copies() {
        quiet(backends).await;
    }
    Ok(Observation { exchanges, received: backends.received() })
}

async fn quiet(backends: &Backends) {
    let received = || backends.received().iter().map(|received| 1 + received.body.len()).sum::<usize>();
    let (mut before, start) = (usize::MAX, Instant::now());
    while before != received() && start.elapsed() < QUIET_DEADLINE {
        before = received();
        tokio::time::sleep(QUIET).await;
    }
}

async fn exchange_many(address: SocketAddr, send: &Send) -> anyhow::Result<Vec<Exchange>> {
    let many = send.count >= MANY;
    let keep = send.keepalive.unwrap_or(many);
    let connections = send.concurrency.unwrap_or(if many { CONNECTIONS_FOR_MANY } else { 1 });
    let next = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..connections {
        let (send, next) = (send.clone(), Arc::clone(&next));
        clients.spawn(async move {
            let mut exchanges = Vec::new();
            let mut connection = None;
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= send.count {
                    return exchanges;
                }
                tokio::time::sleep(Duration::from_secs_f64(send.pause)).await;
                let (exchange, open) = exchange(address, &varied(&send, index), connection, None).await;
                exchanges.push(exchange);
                connection = open.filter(|_| keep);
            }
        });
    }
    let mut exchanges = Vec::new();
    while let Some(client) = clients.join_next().await {
        exchanges.extend(client?);
    }
    Ok(exchanges)
}

/// The request number `index` of a `count`.
fn varied(send: &Send, index: usize) -> Send {
    let mut send = send.clone();
    if let Some(name) = send.vary_header.take() {
        send.headers.push((name, format!("v{index}")));
    }
    if let Some(name) = send.vary_query.take() {
        send.path = format!("{}?{name}=v{index}", send.path);
    }
    send
}

#[cfg(test)]
mod tests {
    use super::{Send, varied};
    use serde_json::json;

    #[test]
    fn requests_of_a_count_vary_as_asked() {
        let send = json!({"path": "/a", "vary_header": "x-u", "vary_query": "q"});
        let send: Send = serde_json::from_value(send).expect("the fields are known");
        let varied = varied(&send, 7);
        assert_eq!(
            (varied.path.as_str(), &varied.headers[..]),
            ("/a?q=v7", &[("x-u".to_owned(), "v7".to_owned())][..])
        );
    }
}
