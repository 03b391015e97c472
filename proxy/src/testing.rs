//! What several unit tests need.

use tokio::runtime::{Builder, LocalOptions};

/// Runs a test as a worker runs its connections: on one thread, with local tasks; the clock only moves while all wait.
pub(crate) fn in_paused_time<T>(test: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build_local(LocalOptions::default());
    runtime.expect("a runtime").block_on(test)
}
