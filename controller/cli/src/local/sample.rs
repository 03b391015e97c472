//! The sample's routes and a rollout of it, as a new local directory begins with: what the charts install in a cluster,
//! with the addresses of two local processes instead of Services.

use crate::client::directory::{Directory, write_whole};
use anyhow::Context as _;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::{fs, io};
use turnout_rollout::Backend;
use turnout_rollout::REVISION_LABEL;

/// The rollout whose backends are the local models.
pub(crate) const ROLLOUT: &str = "model";
/// What green serves at first.
pub(crate) const FIRST_REVISION: &str = "A";
/// What blue serves at first, without weight.
pub(crate) const SECOND_REVISION: &str = "B";

const ROUTES: &str = r#"# The sample's routes. While a rollout governs the last rule, its stage decides the weights.
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: abtest-gateway, namespace: abtesting}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ["*"]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: abtest-virtualservice, namespace: abtesting}
spec:
  hosts: ["*"]
  gateways: [abtest-gateway]
  http:
  - match:
    - uri: {prefix: /score}
      headers: {x-api-version: {exact: blue}}
    route:
    - destination: {host: model-svc-blue.abtesting.svc.cluster.local, port: {number: 5001}}
      headers: {response: {set: {x-served-by-model: blue}}}
  - match:
    - uri: {prefix: /score}
      headers: {x-api-version: {exact: green}}
    route:
    - destination: {host: model-svc-green.abtesting.svc.cluster.local, port: {number: 5001}}
      headers: {response: {set: {x-served-by-model: green}}}
  - name: split
    route:
    - destination: {host: model-svc-green.abtesting.svc.cluster.local, port: {number: 5001}}
      headers: {response: {set: {x-served-by-model: green}}}
      weight: 100
    - destination: {host: model-svc-blue.abtesting.svc.cluster.local, port: {number: 5001}}
      headers: {response: {set: {x-served-by-model: blue}}}
      weight: 0
"#;

const MODEL_ROLLOUT: &str = "\
# The same object as in a cluster. `turnout rollout` edits it, and so may you.
apiVersion: turnout.dev/v1alpha1
kind: ModelRollout
metadata:
  name: model
  namespace: abtesting
spec:
  route:
    virtualService: abtest-virtualservice
  green:
    host: model-svc-green.abtesting.svc.cluster.local
  blue:
    host: model-svc-blue.abtesting.svc.cluster.local
";

/// Writes the sample's files where there are none.
pub(crate) fn write(directory: &Directory) -> anyhow::Result<()> {
    let routes = directory.documents().join("routes.yaml");
    if crate::client::directory::yaml_files(&directory.documents())?.is_empty() {
        write_whole(&routes, ROUTES.as_bytes())?;
    }
    if directory.rollout_names()?.is_empty() {
        write_whole(&directory.rollout_file(ROLLOUT), MODEL_ROLLOUT.as_bytes())?;
    }
    Ok(())
}

fn endpoint_file(directory: &Directory, backend: Backend) -> PathBuf {
    directory.documents().join(format!("endpoint-{backend}.yaml"))
}

/// Tells gateways and driver where a backend is and which revision it serves; without an endpoint it is gone.
pub(crate) fn write_endpoint(
    directory: &Directory,
    backend: Backend,
    endpoint: Option<(SocketAddr, &str)>,
) -> anyhow::Result<()> {
    let workload = format!("model-{backend}");
    let endpoint = endpoint.map(|(address, revision)| {
        let labels = json!({"app": "model", "version": backend, "workload": workload, REVISION_LABEL: revision});
        json!({"address": address.ip(), "ports": {"http": address.port()}, "labels": labels})
    });
    let document = json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"name": format!("model-svc-{backend}"), "namespace": "abtesting"},
        "spec": {
            "hosts": [format!("model-svc-{backend}.abtesting.svc.cluster.local")],
            "location": "MESH_INTERNAL",
            "resolution": "STATIC",
            "ports": [{"number": 5001, "name": "http", "protocol": "HTTP"}],
            "endpoints": Vec::from_iter(endpoint),
        },
    });
    let text = serde_yaml::to_string(&document).context("cannot write the endpoint as YAML")?;
    let comment = "# Written by `turnout local`: where the model process is.\n";
    write_whole(&endpoint_file(directory, backend), (comment.to_owned() + &text).as_bytes())
}

/// What a backend served when its endpoint was written last: none if it was gone; `default` if it was never written.
pub(crate) fn served_revision(
    directory: &Directory,
    backend: Backend,
    default: &str,
) -> anyhow::Result<Option<String>> {
    let path = endpoint_file(directory, backend);
    let text = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(default.to_owned())),
        read => read.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let document: Value = serde_yaml::from_slice(&text).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(document["spec"]["endpoints"][0]["labels"][REVISION_LABEL].as_str().map(str::to_owned))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;
    use crate::route_files::RouteTexts;
    use turnout_rollout::Plan;
    use turnout_routes::MAX_SOURCE_BYTES;

    #[test]
    fn the_sample_is_accepted_without_a_warning() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::make(root.path()).unwrap();
        write(&directory).unwrap();
        write_endpoint(&directory, Backend::Green, Some(("127.0.0.1:1".parse().unwrap(), "A"))).unwrap();
        write_endpoint(&directory, Backend::Blue, None).unwrap();
        let parsed = RouteTexts::read(&directory.documents(), MAX_SOURCE_BYTES).unwrap().parse().unwrap();
        assert_eq!((parsed.documents.len(), parsed.warnings), (4, Vec::new()));
        let rollout = directory.read_rollout(ROLLOUT).unwrap();
        assert!(Plan::of(&rollout).is_ok());
        assert!(turnout_rollout::route_weights(&parsed.documents, &rollout).is_ok());
    }

    #[test]
    fn what_a_backend_served_is_read_back() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::make(root.path()).unwrap();
        let read = || served_revision(&directory, Backend::Blue, "B").unwrap();
        assert_eq!(read().as_deref(), Some("B"));
        write_endpoint(&directory, Backend::Blue, Some(("127.0.0.1:1".parse().unwrap(), "C"))).unwrap();
        assert_eq!(read().as_deref(), Some("C"));
        write_endpoint(&directory, Backend::Blue, None).unwrap();
        assert_eq!(read(), None);
    }
}
