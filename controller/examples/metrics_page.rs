//! The controller's metrics page over a directory of `turnout local`, whose driver has none: what reads the page can be
//! tested by it where there is no cluster. `metrics_page DIR` prints its address and serves until its standard input ends.

use anyhow::Context as _;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::{fs, io};
use tokio::net::TcpListener;
use turnout_controller::telemetry::Telemetry;
use turnout_controller::view::View;
use turnout_rollout::ModelRollout;

fn main() -> anyhow::Result<()> {
    let directory = PathBuf::from(std::env::args_os().nth(1).context("which directory?")?);
    std::thread::spawn(|| {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        std::process::exit(0);
    });
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(directory))
}

async fn serve(directory: PathBuf) -> anyhow::Result<()> {
    let telemetry = Telemetry::default();
    telemetry.leads(true);
    let page = async move || match rollouts(&directory) {
        Ok(rollouts) => {
            telemetry.record(&View::default(), rollouts.iter());
            (StatusCode::OK, telemetry.text())
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")),
    };
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("{}", listener.local_addr()?);
    Ok(axum::serve(listener, Router::new().route("/metrics", get(page))).await?)
}

/// The rollouts with their statuses, as the API server would have them in one object.
fn rollouts(directory: &Path) -> anyhow::Result<Vec<ModelRollout>> {
    let mut rollouts = Vec::new();
    for entry in fs::read_dir(directory.join("rollouts"))? {
        let mut rollout: ModelRollout = read(&entry?.path())?;
        rollout.status = read(&directory.join("status").join(&rollout.metadata.name).with_extension("json"))?;
        rollouts.push(rollout);
    }
    Ok(rollouts)
}

/// JSON is YAML, too.
fn read<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let text = fs::read(path).with_context(|| path.display().to_string())?;
    serde_yaml::from_slice(&text).with_context(|| path.display().to_string())
}
