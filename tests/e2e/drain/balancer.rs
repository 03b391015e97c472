//! What stands before the gateways in a cluster, in the part that matters to a restart: like kube-proxy it sends each
//! new connection to one of the gateways that say they are ready, in turn, and leaves standing connections alone.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use turnout_tests::client::{self, RawRequest};
use turnout_tests::eventually;
use turnout_tests::gateway::{DEADLINE, Gateway};

/// Between two looks at a gateway's readiness.
const LOOK: Duration = Duration::from_millis(10);

/// Spreads connections over gateways. Dropping it ends them all.
#[derive(Debug)]
pub(super) struct Balancer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    tasks: JoinSet<()>,
}

#[derive(Debug, Default)]
struct State {
    gateways: Vec<Target>,
    next: usize,
    /// Connections that a gateway refused although it was ready, and those for which none was ready.
    not_served: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
struct Target {
    data: SocketAddr,
    status: SocketAddr,
    ready: bool,
    connections: usize,
}

impl Balancer {
    pub(super) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State::default()));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&state)));
        Ok(Self { address, state, tasks })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Adds a gateway, and waits until it is given connections.
    pub(super) async fn add(&mut self, gateway: &Gateway) {
        let (data, status) = (gateway.address(80), gateway.status_address());
        lock(&self.state).gateways.push(Target { data, status, ready: false, connections: 0 });
        self.tasks.spawn(watch_readiness(status, Arc::clone(&self.state)));
        self.wait_for(status, true).await;
    }

    /// Waits until a gateway has been given this many connections since it was added.
    pub(super) async fn wait_for_connections(&self, gateway: &Gateway, count: usize) {
        let status = gateway.status_address();
        let given = eventually(DEADLINE, || async {
            let connections = self.target(status).map(|target| target.connections);
            if connections >= Some(count) { Ok(()) } else { Err(format!("{connections:?} connections")) }
        });
        given.await.expect("the gateway is given connections");
    }

    /// Waits until the gateway is given no more connections.
    pub(super) async fn wait_until_left_out(&self, gateway: &Gateway) {
        self.wait_for(gateway.status_address(), false).await;
    }

    /// What could not be served, in words.
    pub(super) fn not_served(&self) -> Vec<String> {
        lock(&self.state).not_served.clone()
    }

    async fn wait_for(&self, status: SocketAddr, ready: bool) {
        let seen = eventually(DEADLINE, || async {
            let target = self.target(status);
            if target.is_some_and(|target| target.ready == ready) { Ok(()) } else { Err(format!("{target:?}")) }
        });
        seen.await.expect("the gateway's readiness is seen");
    }

    fn target(&self, status: SocketAddr) -> Option<Target> {
        lock(&self.state).gateways.iter().find(|target| target.status == status).copied()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends when the gateway is ready no longer: it does not come back under the same address.
async fn watch_readiness(status: SocketAddr, state: Arc<Mutex<State>>) {
    let request = RawRequest::new("GET", "/readyz").header("Host", "status").header("Connection", "close");
    loop {
        let answer = timeout(DEADLINE, client::send(status, &request)).await;
        let ready = answer.is_ok_and(|answer| answer.is_ok_and(|answer| answer.status == 200));
        let mut left = false;
        for target in lock(&state).gateways.iter_mut().filter(|target| target.status == status) {
            left = target.ready && !ready;
            target.ready = ready;
        }
        if left {
            return;
        }
        sleep(LOOK).await;
    }
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>) {
    let mut relays = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((client, _)) = accepted {
                    relays.spawn(relay(client, Arc::clone(&state)));
                }
            }
            Some(_) = relays.join_next() => {}
        }
    }
}

/// Bytes both ways until both sides have ended. A client that cannot be served is reset.
async fn relay(mut client: TcpStream, state: Arc<Mutex<State>>) {
    let target = lock(&state).choose();
    let gateway = match target {
        Some(target) => TcpStream::connect(target.data).await.map_err(|error| format!("{}: {error}", target.data)),
        None => Err("no gateway is ready".to_owned()),
    };
    match gateway {
        Ok(mut gateway) => {
            let _ = (client.set_nodelay(true), gateway.set_nodelay(true));
            // How it ends is seen by the client.
            let _ = tokio::io::copy_bidirectional(&mut client, &mut gateway).await;
        }
        Err(error) => {
            lock(&state).not_served.push(error);
            let _ = client.set_zero_linger();
        }
    }
}

impl State {
    fn choose(&mut self) -> Option<Target> {
        let mut ready: Vec<&mut Target> = self.gateways.iter_mut().filter(|target| target.ready).collect();
        if ready.is_empty() {
            return None;
        }
        self.next += 1;
        let chosen = self.next % ready.len();
        ready[chosen].connections += 1;
        Some(*ready[chosen])
    }
}
