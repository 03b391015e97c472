//! Routes files that tests write: documents whose table can be told from its responses, under the one key that a test
//! needs.
//!
//! Endpoints are addresses, so nothing here waits for a name to be looked up.

use std::fmt::Write as _;
use std::net::SocketAddr;

use turnout_routes::Source;

/// The key of the routes file.
pub const KEY: &str = "routes.yaml";

/// The response header by which a table names itself.
pub const TABLE_HEADER: &str = "x-table";

/// Documents that send every request to one Service with these endpoints, and set [`TABLE_HEADER`] to `table` in every
/// response. They are served on the Gateway port 80, for every host.
pub fn one_service(endpoints: &[SocketAddr], table: u32) -> String {
    let mut documents = service(endpoints);
    documents.push_str("---\n");
    documents.push_str(&gateway_and_route(table));
    documents
}

/// The Service of [`one_service`] alone: valid, and without any route.
pub fn service(endpoints: &[SocketAddr]) -> String {
    let mut document = "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: model, namespace: default}
spec:
  hosts: [model.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 5001, name: http, protocol: HTTP}]
  endpoints:
"
    .to_owned();
    for endpoint in endpoints {
        // Writing to a String cannot fail.
        let _ = writeln!(document, "  - {{address: {}, ports: {{http: {}}}}}", endpoint.ip(), endpoint.port());
    }
    document
}

/// The revision of a directory that holds these documents under [`KEY`].
pub fn revision(documents: &[u8]) -> String {
    turnout_routes::revision(&[Source { name: KEY, bytes: documents }])
}

fn gateway_and_route(table: u32) -> String {
    format!(
        "\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge, namespace: default}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
  - port: {{number: 80, name: http, protocol: HTTP}}
    hosts: ['*']
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: scoring, namespace: default}}
spec:
  hosts: ['*']
  gateways: [edge]
  http:
  - route:
    - destination: {{host: model.default.svc.cluster.local, port: {{number: 5001}}}}
      headers: {{response: {{set: {{{TABLE_HEADER}: '{table}'}}}}}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_are_accepted_and_tables_differ() {
        let endpoints = ["127.0.0.1:1001".parse().expect("an address"), "127.0.0.1:1002".parse().expect("an address")];
        for documents in [one_service(&endpoints, 1), service(&endpoints)] {
            let parsed = turnout_routes::parse(&[Source { name: KEY, bytes: documents.as_bytes() }]);
            parsed.unwrap_or_else(|problems| panic!("{problems}"));
        }
        let [first, second] = [1, 2].map(|table| revision(one_service(&endpoints, table).as_bytes()));
        assert_ne!(first, second);
    }
}
