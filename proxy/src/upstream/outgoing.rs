//! A request as it is to be sent, whatever protocol its backend speaks. It knows whether it may be sent again: its head is
//! used up by a try, unless another may follow, and its body by more than can be kept.

use crate::body::replay::{RequestBody, TryBody};
use crate::raw_target::RawBytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Version};

/// See the module.
pub(crate) struct Outgoing {
    /// The host to send.
    pub(crate) authority: HeaderValue,
    /// What the head's target lacks.
    pub(super) raw: RawBytes,
    /// Whether its sender said of an empty body that it is one.
    pub(crate) says_empty: bool,
    pub(crate) asks_for: Asked,
    /// Whether an endpoint has it, or some of it, and has not answered yet.
    pub(super) is_under_way: bool,
    pub(crate) body: RequestBody,
    /// What makes it the same as others, where a hash chooses the endpoint.
    pub(crate) hash: Option<u64>,
    /// What its client speaks.
    pub(crate) client_version: Version,
    /// None while a try has it, or once one has used it up.
    head: Option<OutgoingHead>,
    /// Whether a try may follow one that was sent, or one that may come back unsent: only then is the head copied for it.
    keeps_head: bool,
}

/// What a request is sent for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Answer,
    /// One whose head may say in a header of gRPC what became of it.
    GrpcAnswer,
    /// The connection is to go on as one.
    Tunnel,
}

/// What a try takes with it.
#[derive(Clone, Debug)]
pub(crate) struct OutgoingHead {
    pub(crate) method: Method,
    pub(crate) target: PathAndQuery,
    pub(crate) headers: HeaderMap,
}

impl Outgoing {
    pub(crate) fn new(
        head: OutgoingHead,
        authority: HeaderValue,
        body: RequestBody,
        says_empty: bool,
        keeps_head: bool,
    ) -> Self {
        Self {
            authority,
            raw: RawBytes::default(),
            says_empty,
            asks_for: Asked::Answer,
            is_under_way: false,
            body,
            hash: None,
            client_version: Version::HTTP_11,
            head: Some(head),
            keeps_head,
        }
    }

    /// The same request with this body; none once a try has used its head up.
    pub(crate) fn copy(&self, body: RequestBody) -> Option<Self> {
        let head = self.head.clone()?;
        let (authority, raw) = (self.authority.clone(), self.raw.clone());
        Some(Self {
            authority,
            raw,
            says_empty: self.says_empty,
            asks_for: self.asks_for,
            is_under_way: false,
            body,
            hash: None,
            client_version: self.client_version,
            head: Some(head),
            keeps_head: false,
        })
    }

    /// The target is sent with these bytes in place of their stand-ins.
    pub(crate) fn with_raw(self, raw: RawBytes) -> Self {
        Self { raw, ..self }
    }

    pub(crate) fn asks_tunnel(&self) -> bool {
        self.asks_for == Asked::Tunnel
    }

    /// Escapes what only HTTP/1 can carry of the target as it is, and says whether it is a target then: it may be too long.
    pub(super) fn encode_raw(&mut self) -> bool {
        let Some(head) = self.head.as_mut().filter(|_| !self.raw.is_empty()) else { return true };
        let Some(target) = self.raw.encoded(&head.target) else { return false };
        (head.target, self.raw) = (target, RawBytes::default());
        true
    }

    /// The headers of tries to come; none once they are used up.
    pub(crate) fn headers_mut(&mut self) -> Option<&mut HeaderMap> {
        self.head.as_mut().map(|head| &mut head.headers)
    }

    /// What the next try sends; none if an earlier one has used it up.
    pub(crate) fn head(&self) -> Option<&OutgoingHead> {
        self.head.as_ref()
    }

    /// Whether another try can send all of it.
    pub(crate) fn may_be_sent_again(&self) -> bool {
        self.head.is_some() && self.body.is_replayable()
    }

    /// A try may follow one that was given to a connection.
    pub(super) fn keep_head(&mut self) {
        self.keeps_head = true;
    }

    /// The next try.
    pub(super) fn next_try(&mut self) -> Option<(OutgoingHead, TryBody)> {
        let head = if self.keeps_head { self.head.clone() } else { self.head.take() }?;
        Some((head, self.body.next_try()))
    }

    /// A try has not touched its head: another may have it.
    pub(super) fn put_back(&mut self, head: OutgoingHead) {
        self.head = Some(head);
    }
}
