//! How a cluster is told what to do: one line of JSON for each order and each reply, over a socket that only the keeper
//! of that cluster holds.
//!
//! The socket has a name of the abstract kind (unix(7)): it is there exactly as long as the keeper, so it is also the
//! lock on the cluster's index and what tells whether a cluster is up.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

/// What somebody wants of the cluster.
#[derive(Debug, Deserialize, Serialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub(crate) enum Order {
    /// Where is it?
    Describe,
    /// Keep this command running as the daemon `name`.
    Run { name: String, command: Vec<String> },
    /// Kill the daemon, and keep it down.
    Stop { name: String },
    /// Let it come back.
    Start { name: String },
    /// Take the cluster down.
    Down,
}

/// What comes back.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Reply {
    /// Why the order was not carried out.
    pub(crate) error: Option<String>,
    /// To `Describe`.
    pub(crate) cluster: Option<Description>,
}

/// A running cluster.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Description {
    pub(crate) index: u8,
    /// The first process in the cluster's namespaces, by its number out here.
    pub(crate) node: u32,
    /// The folder of all clusters.
    pub(crate) workshop: PathBuf,
}

impl Reply {
    pub(crate) fn failure(error: &impl ToString) -> Self {
        Self { error: Some(error.to_string()), cluster: None }
    }
}

/// Takes the index; fails while another cluster has it.
pub(crate) fn claim(index: u8) -> std::io::Result<UnixListener> {
    UnixListener::bind_addr(&address(index)?)
}

/// Gives an order to the cluster with this index and waits for the reply.
pub(crate) fn ask(index: u8, order: &Order) -> Result<Reply> {
    let unreachable = || format!("no cluster with the index {index} is up");
    let mut stream = UnixStream::connect_addr(&address(index)?).with_context(unreachable)?;
    writeln!(stream, "{}", serde_json::to_string(order)?).context("the keeper of the cluster does not listen")?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).context("the keeper of the cluster does not answer")?;
    let reply: Reply = serde_json::from_str(&line).context("the keeper of the cluster is gone")?;
    if let Some(error) = reply.error {
        bail!("{error}");
    }
    if matches!(order, Order::Down) {
        // The end of the connection is the end of the keeper.
        let _ = reader.read_to_end(&mut Vec::new());
    }
    Ok(reply)
}

fn address(index: u8) -> std::io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("turnout-cluster-{index}"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;

    #[test]
    fn an_index_has_one_owner() {
        let first = claim(255).unwrap();
        assert_eq!(claim(255).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
        drop(first);
        claim(255).unwrap();
    }

    #[test]
    fn orders_survive_the_way() {
        let order = Order::Run { name: "etcd".to_owned(), command: vec!["etcd".to_owned(), "--flag".to_owned()] };
        let line = serde_json::to_string(&order).unwrap();
        assert_eq!(line, r#"{"order":"run","name":"etcd","command":["etcd","--flag"]}"#);
        assert!(matches!(serde_json::from_str(&line).unwrap(), Order::Run { command, .. } if command.len() == 2));
    }
}
