//! What several unit tests need.

use std::time::Duration;
use tokio::runtime::{Builder, LocalOptions};

/// Runs a test as a worker runs its connections: on one thread, with local tasks; the clock only moves while all wait.
pub(crate) fn in_paused_time<T>(test: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build_local(LocalOptions::default());
    runtime.expect("a runtime").block_on(test)
}

/// The same in real time, for tests that talk to a socket. One that stops the clock afterwards bounds the rest by itself.
pub(crate) fn on_a_worker<T>(test: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    runtime.expect("a runtime").block_on(test)
}

/// What takes longer than this in real time never ends.
pub(crate) async fn bounded<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), test).await.expect("it ends")
}
