//! `turnout model`: one scoring server as a process, started by `demo` and `local`, or a container. It prints the address
//! that it listens on as its first and only line, and ends gently on SIGTERM and when the process that started it has
//! gone, which closes the pipe of its standard input.

use crate::model::{ScoringModel, serve};
use anyhow::Context as _;
use clap::Args;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt as _;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use turnout_rollout::Backend;

/// Runs a scoring server that always gives the same answer.
#[derive(Args)]
pub(crate) struct Arguments {
    /// What it answers, as `New Model A`.
    #[arg(long)]
    name: String,

    /// Which backend it is: green or blue.
    #[arg(long, value_parser = parse_backend)]
    backend: Backend,

    /// Where it listens; port 0 takes a free one.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,

    /// How long it takes to answer, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    delay_ms: u64,
}

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<u8> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    runtime.block_on(run_server(arguments))?;
    Ok(crate::output::DONE)
}

async fn run_server(arguments: Arguments) -> anyhow::Result<()> {
    let listen = arguments.listen;
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let address = listener.local_addr().context("the listener has no address")?;
    writeln!(io::stdout(), "{address}").context("cannot tell the address")?;
    let model = ScoringModel {
        name: arguments.name,
        backend: arguments.backend.to_string(),
        delay: Duration::from_millis(arguments.delay_ms),
    };
    let mut terminated = signal(SignalKind::terminate()).context("cannot wait for signals")?;
    let told_to_stop = async move {
        tokio::select! {
            () = parent_gone() => {}
            _ = terminated.recv() => {}
        }
    };
    serve(listener, model, told_to_stop).await.context("the scoring server failed")
}

/// Returns when the pipe of standard input closes. Where it is none, as in a container, nobody goes.
async fn parent_gone() {
    if !std::fs::metadata("/dev/stdin").is_ok_and(|input| input.file_type().is_fifo()) {
        return std::future::pending().await;
    }
    let (closed, is_closed) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        let _ = closed.send(());
    });
    let _ = is_closed.await;
}

/// Reads `green` or `blue`.
pub(crate) fn parse_backend(text: &str) -> Result<Backend, String> {
    let backend = Backend::BOTH.into_iter().find(|backend| backend.to_string() == text);
    backend.ok_or_else(|| format!("`{text}` is no backend: write green or blue"))
}
