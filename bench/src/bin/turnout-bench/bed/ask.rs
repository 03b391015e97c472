//! One request on a connection of its own, for looking at a proxy.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::HOST;

const PATIENCE: Duration = Duration::from_secs(10);

/// The answer to a GET, head and body; an error unless its status is 200 and it comes whole in ten seconds.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Result<String> {
    timeout(PATIENCE, answer(address, path)).await.with_context(|| format!("{address} gives no answer"))?
}

async fn answer(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.context("the answer is no text")?;
    ensure!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    Ok(answer)
}
