//! A request as it came in, made fit to be decided on: what is malformed, hostile or not the client's to say is refused or
//! taken off before anything is matched.

use super::head::{Head, HeadLimits};
use super::headers::{self, RequestId};
use super::intervention::Intervention;
use super::{Gateway, grpc};
use crate::body::client::ClientBody;
use crate::client::Client;
use crate::error::GatewayError;
use crate::raw_target::RawBytes;
use crate::telemetry::record::Record;
use http::request::Parts;
use http::{Version, header};
use hyper::body::Incoming;
use std::rc::Rc;
use turnout_routes::documents::Scheme;
use turnout_routes::router::{Peer, RequestHead};

/// See the module.
pub(super) struct Inbound {
    pub(super) client: Rc<Client>,
    pub(super) parts: Parts,
    /// What the URI among them lacks of the target.
    raw: RawBytes,
    /// None once it is streamed, or handed on.
    pub(super) body: Option<ClientBody>,
    pub(super) head: Head,
    pub(super) request_id: RequestId,
    /// Whether the peer's word about its own clients counts.
    pub(super) trusted: bool,
    /// Whether the client takes trailers, and so may be promised some.
    pub(super) takes_trailers: bool,
    /// Whether the connection is to go on as a tunnel.
    pub(super) asks_tunnel: bool,
    pub(super) intervention: Option<Box<Intervention>>,
    /// By which the client asked: of the first proxy, if that is trusted.
    pub(super) scheme: Scheme,
}

impl Inbound {
    pub(super) fn new(gateway: &Gateway, client: &Rc<Client>, (parts, raw): (Parts, RawBytes), body: Incoming) -> Self {
        let settings = &gateway.settings;
        let trusted = settings.trusts(client.peer.ip());
        let awaits_continue = parts.headers.contains_key(header::EXPECT);
        let body = ClientBody::new(body, settings.body_idle_timeout, parts.version, awaits_continue);
        Self {
            request_id: RequestId::of(&parts.headers, trusted, || gateway.random.id()),
            scheme: Some(&parts.headers).filter(|_| trusted).and_then(headers::told_scheme).unwrap_or(client.scheme()),
            head: Head::default(),
            takes_trailers: false,
            asks_tunnel: false,
            intervention: None,
            client: Rc::clone(client),
            parts,
            raw,
            body: Some(body),
            trusted,
        }
    }

    /// Checks the head, and takes off what must not reach matching or a backend.
    pub(super) fn admit(&mut self, gateway: &Gateway, record: &mut Record) -> Result<(), GatewayError> {
        let settings = &gateway.settings;
        record.grpc = grpc::is_grpc(&self.parts.headers);
        if let Some(detail) = &mut record.detail {
            detail.request_id = Some(self.request_id.value());
            detail.target = self.raw.restore(&self.parts.uri).unwrap_or_default();
        }
        let limits = HeadLimits { max_target_bytes: settings.max_target_bytes, max_fields: settings.max_headers };
        self.head = Head::read(&self.parts, &self.raw, self.client.is_tls(), limits)?;
        let request = (&self.parts.method, self.parts.version);
        self.asks_tunnel = headers::sanitise_request(&mut self.parts.headers, request, self.trusted, settings.headers)?;
        self.takes_trailers = self.is_http2() || self.parts.headers.contains_key(header::TE);
        if self.is_http2() {
            headers::join_cookies(&mut self.parts.headers);
        }
        if let Some(detail) = &mut record.detail {
            self.head.authority().clone_into(&mut detail.authority);
        }
        Ok(())
    }

    /// Whether the client speaks it.
    pub(super) fn is_http2(&self) -> bool {
        self.parts.version == Version::HTTP_2
    }

    pub(super) fn routing_head(&self) -> RequestHead<'_> {
        RequestHead {
            port: self.client.gateway_port,
            transport: self.client.transport(),
            scheme: self.scheme,
            method: self.parts.method.as_str(),
            authority: self.head.authority(),
            path: self.head.path(&self.parts.uri),
            query: self.head.query(&self.parts.uri),
            headers: &self.parts.headers,
            peer: Some(Peer { address: self.client.peer.ip(), is_trusted: self.trusted }),
        }
    }
}
