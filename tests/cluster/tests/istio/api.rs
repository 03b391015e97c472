//! The API server in plain HTTP, by way of `kubectl proxy`: what is sent and what comes back is seen byte for byte, which
//! kubectl itself would read and write anew.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use turnout_cluster::{Cluster, client};

/// A `kubectl proxy` that ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Api {
    address: SocketAddr,
    _process: Process,
}

/// A process that ends when this is dropped.
#[derive(Debug)]
struct Process(Child);

impl Api {
    pub(crate) fn start(cluster: &Cluster) -> Result<Self> {
        let mut command = cluster.kubectl_command();
        command.args(["proxy", "--address", "127.0.0.1", "--port", "0"]).stdout(Stdio::piped());
        let mut process = Process(command.spawn().context("cannot start kubectl proxy")?);
        let stdout = process.0.stdout.take().context("a piped process has a standard output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).context("kubectl proxy says nothing")?;
        // `Starting to serve on 127.0.0.1:40000`
        let address = line.trim().rsplit(' ').next().and_then(|word| word.parse().ok());
        let address = address.with_context(|| format!("kubectl proxy does not say where it listens: {line}"))?;
        Ok(Self { address, _process: process })
    }

    /// The text at this path.
    pub(crate) fn text(&self, path: &str) -> Result<String> {
        let response = client::get(self.address, path)?;
        ensure!(response.status == 200, "{path}: {}: {}", response.status, response.body);
        Ok(response.body)
    }

    /// A VirtualService as the API server has it, a line for each of its leaves.
    pub(crate) fn virtual_service(&self, namespace: &str, name: &str) -> Result<String> {
        self.text(&format!("{}?pretty=true", virtual_service_path(namespace, name)))
    }

    /// Sends a JSON Patch (RFC 6902) for a VirtualService, and returns the status of the answer and its text.
    pub(crate) fn patch(&self, namespace: &str, name: &str, operations: &Value) -> Result<(u16, String)> {
        let path = virtual_service_path(namespace, name);
        let headers = [("content-type", "application/json-patch+json")];
        let response = client::request(self.address, "PATCH", &path, &headers, &operations.to_string())?;
        Ok((response.status, response.body))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn virtual_service_path(namespace: &str, name: &str) -> String {
    format!("/apis/networking.istio.io/v1/namespaces/{namespace}/virtualservices/{name}")
}
