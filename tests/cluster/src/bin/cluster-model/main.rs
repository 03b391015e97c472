//! `cluster-model`: a scoring model in a pod, that answers, waits, and stops being ready as a test tells it to.
//!
//! `GET` and `POST /score` answer with the model's name, the pod and the revision; `/ready` is for the readiness probe.
//! Orders: `/control/ready?value=false`, `/control/delay?value=MS`, `/control/status?value=CODE`, `/control/count`, `/control/file?value=PATH`.
//! On SIGTERM it stops being ready, serves on for a while with `connection: close`, finishes what is in flight and ends.

mod server;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use server::Model;

/// A scoring model that does as a test tells it.
#[derive(Parser)]
#[command(name = "cluster-model", version)]
struct Arguments {
    /// What it answers, as `New Model A`.
    #[arg(long, env = "MODEL_ANSWER", default_value = "New Model A")]
    answer: String,

    /// Which backend it is: the header x-served-by.
    #[arg(long, env = "MODEL_BACKEND", default_value = "green")]
    backend: String,

    /// Which revision it is: the header x-revision.
    #[arg(long, env = "MODEL_REVISION", default_value = "r1")]
    revision: String,

    /// The name of its pod: the header x-pod.
    #[arg(long, env = "POD_NAME", default_value = "")]
    pod: String,

    /// Where it listens.
    #[arg(long, env = "MODEL_LISTEN", value_name = "ADDR:PORT", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,

    /// How long it takes to answer, in milliseconds.
    #[arg(long, env = "MODEL_DELAY_MS", value_name = "MS", default_value_t = 0)]
    delay_ms: u64,

    /// How long it takes to load before it listens, in milliseconds.
    #[arg(long, env = "MODEL_STARTUP_MS", value_name = "MS", default_value_t = 0)]
    startup_ms: u64,

    /// How long it goes on serving after SIGTERM, in milliseconds.
    #[arg(long, env = "MODEL_LINGER_MS", value_name = "MS", default_value_t = 1000)]
    linger_ms: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cluster-model: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    tokio::select! {
        () = tokio::time::sleep(Duration::from_millis(arguments.startup_ms)) => {}
        _ = terminate.recv() => return Ok(()),
    }
    let listen = arguments.listen;
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let model = Model::new(&arguments.answer, &arguments.backend, &arguments.revision, &arguments.pod)?;
    model.delay_by(arguments.delay_ms);
    println!("{} {} serves on {listen}", arguments.answer, arguments.revision);
    let linger = Duration::from_millis(arguments.linger_ms);
    let stopping = model.clone();
    let stop = async move {
        terminate.recv().await;
        println!("SIGTERM: serving on for {linger:?}");
        stopping.begin_to_stop();
        tokio::time::sleep(linger).await;
    };
    server::serve(listener, model, stop).await.context("the server failed")?;
    println!("stopped");
    Ok(())
}
