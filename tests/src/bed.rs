//! A gateway with echo backends behind it, made of a few lines of YAML: what most end-to-end tests begin with.
//!
//! Every backend is a service of its own name in the namespace `default`, with a ServiceEntry; `dead` refuses
//! connections and `empty` has no endpoints.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::client::{self, RawConnection, RawRequest, RawResponse};
use crate::echo::{Backends, NAMES};
use crate::eventually;
use crate::gateway::{Gateway, GatewayCommand};
use crate::mount::KubeletMount;

/// The Gateway port of the documents that a bed makes by itself.
pub const PORT: u16 = 80;

/// The key of the mounted ConfigMap that holds the documents.
pub const KEY: &str = "routes.yaml";

/// A rule that sends everything to green.
pub const TO_GREEN: &str = "- route: [{destination: {host: green}}]";

/// A running gateway, its backends, and the ConfigMap that it reads.
#[derive(Debug)]
pub struct Bed {
    /// The backends, all started.
    pub backends: Backends,
    /// The gateway, ready.
    pub gateway: Gateway,
    /// Its routes.
    pub routes: KubeletMount,
}

impl Bed {
    /// Serves these http rules (a YAML list) for every host, by a gateway with these arguments.
    pub async fn start(http: &str, arguments: &[&str]) -> anyhow::Result<Self> {
        let backends = Backends::start().await?;
        let documents = documents(&backends, http);
        Self::over(backends, &documents, &[PORT], arguments).await
    }

    /// Serves these documents, with a listener for each of these Gateway ports.
    pub async fn over(backends: Backends, documents: &str, ports: &[u16], arguments: &[&str]) -> anyhow::Result<Self> {
        let routes = KubeletMount::new(&[(KEY, documents.as_bytes())])?;
        let command = GatewayCommand::new(routes.path()).args(arguments);
        let command = ports.iter().fold(command, |command, port| command.listen(*port));
        let gateway = command.start().await?;
        Ok(Self { backends, gateway, routes })
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.gateway.address(PORT)
    }

    /// Opens a client connection.
    pub async fn open(&self) -> io::Result<RawConnection> {
        RawConnection::open(self.address()).await
    }

    /// Sends one request over a connection of its own.
    pub async fn send(&self, request: &RawRequest) -> io::Result<RawResponse> {
        client::send(self.address(), request).await
    }

    /// Replaces the documents and waits until they serve.
    pub async fn publish(&mut self, documents: &str) -> anyhow::Result<String> {
        let before = self.gateway.revisions().await?.active;
        self.routes.swap(&[(KEY, documents.as_bytes())])?;
        self.gateway.wait_for_revision_after(before.as_deref()).await
    }

    /// The sum of a metric's series with these labels; 0 if there is none.
    pub async fn count(&self, name: &str, labels: &[(&str, &str)]) -> anyhow::Result<f64> {
        Ok(self.gateway.metrics().await?.sum(name, labels).unwrap_or_default())
    }

    /// Waits until so many requests are in flight.
    pub async fn in_flight(&self, expected: f64) -> anyhow::Result<()> {
        eventually(Duration::from_secs(15), || async {
            let seen = self.count("turnout_requests_in_flight", &[]).await?;
            anyhow::ensure!(seen.total_cmp(&expected).is_eq(), "{seen} in flight, not {expected}");
            Ok(())
        })
        .await
    }

    /// How many requests the backends received since they were cleared.
    pub fn received(&self) -> usize {
        self.backends.received().len()
    }
}

/// A ServiceEntry for every backend, and these http rules for every host.
pub fn documents(backends: &Backends, http: &str) -> String {
    format!("{}{}", services(backends), virtual_service(http))
}

/// A ServiceEntry for every backend that [`Backends::start`] starts, for `dead` and for `empty`.
pub fn services(backends: &Backends) -> String {
    let mut documents = String::new();
    for name in NAMES {
        documents.push_str(&service(name, &[backends.address(name)]));
    }
    documents.push_str(&service("dead", &[backends.refusing_address()]));
    documents.push_str(&service("empty", &[]));
    documents
}

/// A ServiceEntry for `NAME.default.svc.cluster.local:5001`, whose endpoints carry labels that name them in metrics.
pub fn service(name: &str, endpoints: &[SocketAddr]) -> String {
    let mut document = format!(
        "apiVersion: networking.istio.io/v1\n\
         kind: ServiceEntry\n\
         metadata: {{name: {name}, namespace: default}}\n\
         spec:\n  hosts: [{name}.default.svc.cluster.local]\n  location: MESH_INTERNAL\n  resolution: STATIC\n  \
         ports: [{{number: 5001, name: http, protocol: HTTP}}]\n  endpoints:\n"
    );
    for endpoint in endpoints {
        let (ip, port) = (endpoint.ip(), endpoint.port());
        let labels = format!("{{app: model, version: {name}, workload: model-{name}}}");
        // Writing to a string does not fail.
        let _ = writeln!(document, "  - {{address: \"{ip}\", ports: {{http: {port}}}, labels: {labels}}}");
    }
    if endpoints.is_empty() {
        document = document.replace("endpoints:\n", "endpoints: []\n");
    }
    document + "---\n"
}

/// A Gateway for every host on [`PORT`], and a VirtualService that binds these http rules to it.
pub fn virtual_service(http: &str) -> String {
    let http = http.trim_end().replace('\n', "\n  ");
    format!(
        "apiVersion: networking.istio.io/v1\n\
         kind: Gateway\n\
         metadata: {{name: gateway, namespace: default}}\n\
         spec:\n  selector: {{istio: ingressgateway}}\n  servers:\n  \
         - {{port: {{number: {PORT}, name: http, protocol: HTTP}}, hosts: [\"*\"]}}\n\
         ---\n\
         apiVersion: networking.istio.io/v1\n\
         kind: VirtualService\n\
         metadata: {{name: scoring, namespace: default}}\n\
         spec:\n  hosts: [\"*\"]\n  gateways: [gateway]\n  http:\n  {http}\n"
    )
}
