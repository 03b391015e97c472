//! A thread with a runtime of its own, on which nothing needs to be sendable.

use std::io;
use std::thread::JoinHandle;
use tokio::runtime::{Builder, LocalOptions};

/// Starts one that runs this to its end. Fails if the system gives no thread or no runtime.
pub(crate) fn start<F: Future<Output = ()>>(
    name: String,
    run: impl FnOnce() -> F + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let (started, is_started) = std::sync::mpsc::channel();
    // The runtime belongs to the thread that makes it.
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
            Ok(runtime) => {
                let _ = started.send(Ok(()));
                runtime.block_on(run());
            }
            Err(error) => drop(started.send(Err(error))),
        }
    })?;
    is_started.recv().map_err(io::Error::other)??;
    Ok(thread)
}
