//! Answers, and the one way by which all of them leave: the gateway's own, a rule's, a backend's.

use super::format::OfAnswer;
use super::request::Inbound;
use super::response_body::{Closing, Passing, ResponseBody};
use super::tunnel::Tunnel;
use super::{Gateway, grpc, headers};
use crate::body::client::ClientBody;
use crate::error::{ErrorFormat, Flag, Flags, GatewayError};
use crate::grpc_status::GRPC_STATUS;
use crate::upstream::UpstreamBody;
use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version, header};
use turnout_routes::documents::{AbortWith, DirectResponse};
use turnout_routes::router::{HeaderChangeList, Redirection};

/// What a client is to be answered.
pub(super) struct Answer<'s> {
    pub(super) parts: Parts,
    pub(super) content: Content,
    /// What the rule does to the headers of its responses.
    pub(super) changes: Option<&'s HeaderChangeList>,
    pub(super) flags: Flags,
    /// Whether a client of gRPC is told it in gRPC's words, where it is the gateway's own.
    pub(super) is_convertible: bool,
}

/// The body of an answer.
pub(super) enum Content {
    /// Made here. What is left of the request was not read.
    Local { body: Bytes, unread: Option<ClientBody> },
    /// A backend's.
    Passing(Box<Passing>),
    /// There is none: what follows is a tunnel's.
    Tunnel(Box<Tunnel>),
}

impl<'s> Answer<'s> {
    fn local(response: Response<Bytes>, flags: Flags) -> Self {
        let (parts, body) = response.into_parts();
        Self { parts, content: Content::Local { body, unread: None }, changes: None, flags, is_convertible: true }
    }

    pub(super) fn error(error: GatewayError, request_id: &HeaderValue, format: ErrorFormat) -> Self {
        Self::local(error.response(request_id.to_str().unwrap_or_default(), format), Flags::of(error.flag()))
    }

    /// A fault was injected; the words are Envoy's, for whoever looks for them.
    pub(super) fn aborted(with: AbortWith, to_grpc: bool) -> Self {
        let mut response = Response::new(Bytes::from_static(b"fault filter abort"));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        match with {
            AbortWith::Http(status @ (StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)) => {
                response = Response::new(Bytes::new());
                *response.status_mut() = status;
            }
            AbortWith::Http(status) => *response.status_mut() = status,
            AbortWith::Grpc(number) if to_grpc => {
                response.headers_mut().insert(GRPC_STATUS, HeaderValue::from(u16::from(number)));
            }
            AbortWith::Grpc(_) => {}
        }
        Self::local(response, Flags::of(Flag::FaultInjected))
    }

    /// The answer to a page that asks what it may do.
    pub(super) fn preflight(headers: HeaderMap) -> Self {
        let mut response = Response::new(Bytes::new());
        *response.headers_mut() = headers;
        Self::local(response, Flags::NONE).of_no_grpc()
    }

    pub(super) fn redirect(redirection: &Redirection) -> Self {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = redirection.status;
        match HeaderValue::from_str(&redirection.location) {
            Ok(location) => {
                response.headers_mut().insert(header::LOCATION, location);
            }
            // Path, query and authority were checked to be graphic ASCII, so this does not happen.
            Err(_) => *response.status_mut() = StatusCode::BAD_REQUEST,
        }
        Self::local(response, Flags::NONE)
    }

    pub(super) fn direct(direct: &DirectResponse) -> Self {
        let mut response = Response::new(direct.body.clone());
        *response.status_mut() = direct.status;
        if !direct.body.is_empty() {
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        }
        Self::local(response, Flags::NONE)
    }

    pub(super) fn passing(response: Response<UpstreamBody>, passing: impl FnOnce(UpstreamBody) -> Passing) -> Self {
        let (parts, body) = response.into_parts();
        let content = Content::Passing(Box::new(passing(body)));
        Self { parts, content, changes: None, flags: Flags::NONE, is_convertible: false }
    }

    pub(super) fn tunnel(response: Response<UpstreamBody>, tunnel: impl FnOnce(UpstreamBody) -> Tunnel) -> Self {
        let (parts, body) = response.into_parts();
        let content = Content::Tunnel(Box::new(tunnel(body)));
        Self { parts, content, changes: None, flags: Flags::NONE, is_convertible: false }
    }

    /// What a rule, or the destination that it chose, does to responses is done to it, too.
    pub(super) fn governed_by(self, changes: &'s HeaderChangeList) -> Self {
        Self { changes: Some(changes), ..self }
    }

    /// It is none of gRPC's, whoever asks.
    fn of_no_grpc(self) -> Self {
        Self { is_convertible: false, ..self }
    }

    /// It was given before this was read of the request.
    pub(super) fn leaving(mut self, body: Option<ClientBody>) -> Self {
        if let Content::Local { unread, .. } = &mut self.content {
            *unread = body;
        }
        self
    }
}

impl Gateway {
    /// Whatever is done to every answer is done here.
    pub(super) fn finish(&self, answer: Answer<'_>, inbound: &Inbound, mut closing: Closing) -> Response<ResponseBody> {
        let Answer { mut parts, content, changes, flags, is_convertible } = answer;
        if let Some(changes) = changes {
            let (status, is_local) = (parts.status, matches!(content, Content::Local { .. }));
            let context = OfAnswer { inbound, record: &closing.record, status, flags, is_local };
            changes.apply(&mut parts.headers, &context);
        }
        if let Some(intervention) = &inbound.intervention {
            intervention.finish(&mut parts.headers, !matches!(content, Content::Local { .. }));
        }
        if !inbound.takes_trailers {
            parts.headers.remove(header::TRAILER);
        }
        let version = inbound.parts.version;
        let is_tunnel = matches!(content, Content::Tunnel(_));
        let is_last = self.drain.is_leaving() || inbound.client.is_used_up();
        let says_close = is_last && version != Version::HTTP_2 && !is_tunnel;
        headers::finish_response(&mut parts.headers, self.settings.headers, says_close);
        // HTTP/1 is written as the client's connection has it; hyper takes HTTP/1.0 here for a wish to close.
        parts.version = if version == Version::HTTP_2 { Version::HTTP_2 } else { Version::HTTP_11 };
        closing.open.answered = true;
        let body = match content {
            Content::Local { mut body, unread } => {
                if is_convertible && closing.record.grpc {
                    grpc::convert(&mut parts, &mut body);
                } else if body.is_empty() {
                    // Whatever a rule says of what is not there.
                    parts.headers.remove(header::CONTENT_TYPE);
                }
                closing.record.answer(parts.status, flags);
                closing.record.read_grpc_status(&parts.headers);
                if closing.record.is_head() && !body.is_empty() {
                    // HTTP/2 would send the body of an answer to HEAD; only its length is meant.
                    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
                    body = Bytes::new();
                }
                ResponseBody::local(body, unread, closing)
            }
            Content::Passing(passing) => {
                closing.record.answer(parts.status, flags);
                closing.record.read_grpc_status(&parts.headers);
                ResponseBody::passing(*passing, closing)
            }
            Content::Tunnel(tunnel) => {
                closing.record.answer(parts.status, flags);
                inbound.client.set_successor(tunnel.successor(closing.record));
                ResponseBody::nothing(closing.open)
            }
        };
        Response::from_parts(parts, body)
    }
}
