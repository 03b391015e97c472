//! What formats in header values name: of a request, while it is made ready to be sent, and of its answer. Few rules have
//! any that needs the request as it was sent, so only their requests carry it.

use super::intervention::Sent;
use super::request::Inbound;
use crate::error::Flags;
use crate::telemetry::record::Record;
use http::{HeaderMap, StatusCode, Version};
use std::fmt::Display;
use std::io::Write as _;
use turnout_routes::documents::Variable;
use turnout_routes::router::{FormatContext, Transport};

/// A request that is made ready to be sent.
pub(super) struct OfRequest<'c>(pub(super) &'c Inbound);

/// An answer that is given.
pub(super) struct OfAnswer<'c> {
    pub(super) inbound: &'c Inbound,
    pub(super) record: &'c Record,
    pub(super) status: StatusCode,
    pub(super) flags: Flags,
    /// No backend gave it: then Envoy has no code yet when it writes the headers.
    pub(super) is_local: bool,
}

impl FormatContext for OfRequest<'_> {
    fn request_headers(&self) -> Option<&HeaderMap> {
        None
    }

    fn append(&self, variable: Variable, to: &mut Vec<u8>) {
        match variable {
            Variable::ResponseCode => to.push(b'0'),
            Variable::ResponseFlags => to.push(b'-'),
            other => of_request(self.0, other, to),
        }
    }
}

impl OfAnswer<'_> {
    fn sent(&self) -> Option<&Sent> {
        self.inbound.intervention.as_ref()?.sent.as_ref()
    }
}

impl FormatContext for OfAnswer<'_> {
    fn request_headers(&self) -> Option<&HeaderMap> {
        Some(self.sent().map_or(&self.inbound.parts.headers, |sent| &sent.headers))
    }

    fn append(&self, variable: Variable, to: &mut Vec<u8>) {
        match (variable, self.sent()) {
            (Variable::Path, Some(sent)) => to.extend_from_slice(sent.target.as_bytes()),
            (Variable::Authority, Some(sent)) => to.extend_from_slice(sent.authority.as_bytes()),
            (Variable::Status, _) => display(&self.status.as_u16(), to),
            (Variable::ResponseCode, _) => display(&if self.is_local { 0 } else { self.status.as_u16() }, to),
            (Variable::ResponseFlags, _) => display(&self.record.flags(self.flags), to),
            (Variable::UpstreamHost, _) => {
                if let Some(endpoint) = &self.record.destination.endpoint {
                    display(endpoint, to);
                }
            }
            (other, _) => of_request(self.inbound, other, to),
        }
    }
}

/// What is so of the request on either way.
fn of_request(inbound: &Inbound, variable: Variable, to: &mut Vec<u8>) {
    let (client, peer) = (&inbound.client, inbound.client.peer);
    match variable {
        Variable::Authority => to.extend_from_slice(inbound.head.authority().as_bytes()),
        Variable::Method => to.extend_from_slice(inbound.parts.method.as_str().as_bytes()),
        Variable::Path => to.extend_from_slice(inbound.head.target(&inbound.parts.uri).as_bytes()),
        Variable::Scheme => to.extend_from_slice(inbound.scheme.as_str().as_bytes()),
        Variable::Protocol => to.extend_from_slice(protocol_name(inbound.parts.version).as_bytes()),
        Variable::Client => display(&peer, to),
        Variable::ClientAddress => display(&peer.ip(), to),
        Variable::ClientPort => display(&peer.port(), to),
        Variable::LocalPort => display(&client.gateway_port, to),
        Variable::ServerName => {
            if let Transport::Tls { server_name: Some(name) } = client.transport() {
                to.extend_from_slice(name.as_bytes());
            }
        }
        // Of a request there is no answer yet; and its backend's name was known when the rule was compiled.
        Variable::Status
        | Variable::ResponseCode
        | Variable::ResponseFlags
        | Variable::UpstreamCluster
        | Variable::UpstreamHost => {}
    }
}

fn display(value: &dyn Display, to: &mut Vec<u8>) {
    // Writing to memory does not fail.
    let _ = write!(to, "{value}");
}

/// As Envoy's `%PROTOCOL%` writes it.
fn protocol_name(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}
