//! A server in the test's process. It ends with the value.

use axum::Router;
use axum::serve::Listener;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Server {
    /// Serves on a free port of this machine.
    pub(crate) fn start(router: Router) -> Self {
        Self::start_on(router, |listener| listener)
    }

    /// As [`Server::start`], on what is made of the listener.
    pub(crate) fn start_on<L: Listener<Addr = SocketAddr>>(
        router: Router,
        wrap: impl FnOnce(TcpListener) -> L,
    ) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = wrap(listener);
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { address, runtime: Some(runtime) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
