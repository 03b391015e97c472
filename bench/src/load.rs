//! What load to send, and starting it: the target, the mix of requests, how many and how fast.
//!
//! A [`Load`] is plain data with sensible values from [`Load::new`]; [`Load::start`] checks it once and turns it into a [`Run`].
//! After that nothing about the load can be wrong, so the lanes that send it have no such cases.

mod alarm;
mod answer;
mod connection;
mod lane;
mod run;
mod turns;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body_util::Full;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use thiserror::Error;

pub use answer::{Answer, AnswerHook, Label, LabelFunction};
pub use run::{Handle, Run};

/// The load that one run sends to one address.
#[derive(Clone)]
pub struct Load {
    /// Where to connect; the name that requests carry is [`Variant::authority`].
    pub target: SocketAddr,
    /// The version of HTTP.
    pub protocol: Protocol,
    /// How connections are secured; without it they are plain.
    pub tls: Option<Tls>,
    /// Connections at the same time, at least 1.
    pub connections: usize,
    /// How long a connection is used.
    pub reuse: Reuse,
    /// Requests in flight on each connection, at least 1. HTTP/1.1 has always one.
    pub streams: usize,
    /// How many requests.
    pub total: Total,
    /// How fast.
    pub pace: Pace,
    /// No request starts later than this after the first; those in flight then have [`Load::timeout`] to finish.
    pub max_duration: Duration,
    /// The longest that one request may take, from opening its connection to the last byte of its response.
    pub timeout: Duration,
    /// The kinds of request and their shares.
    pub variants: Vec<Variant>,
    /// How a response tells which backend answered.
    pub label: Label,
    /// Called with every complete response, on the task that received it; a panic in it ends the run and comes out of
    /// [`Run::report`].
    pub on_response: Option<AnswerHook>,
}

/// How the connections of a load are secured.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Whom to trust, and which versions and protocols (ALPN) to offer.
    pub config: Arc<ClientConfig>,
    /// The name of the server, for SNI and against its certificate.
    pub name: ServerName<'static>,
    /// Whether a connection resumes the session of the one before it in its place. No place takes another's tickets.
    pub resumes: bool,
}

/// How long a connection is used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reuse {
    /// Until the server closes it.
    KeepAlive,
    /// For one request; over HTTP/1.1 only.
    Never,
}

/// The version of HTTP that all connections of a load speak.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// HTTP/1.1 with keep-alive, without pipelining.
    Http1,
    /// HTTP/2; without TLS with prior knowledge (RFC 9113 3.3).
    Http2,
}

/// When a load is complete.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Total {
    /// After exactly this many requests.
    Requests(u64),
    /// When [`Handle::stop`] is called, and at the latest after this many requests.
    UntilStopped {
        /// The hard limit.
        max_requests: u64,
    },
}

/// When the next request is sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pace {
    /// Each lane (a connection, or a stream of one) sends its next request as soon as it has the response to the last. Latency
    /// counts from the moment a request is handed to an open connection. A slow server slows the load down, which hides queueing.
    ClosedLoop,
    /// Requests are due at a constant rate. Latency counts from the moment a request is due, so the time that it waited for a
    /// free lane is in it (there is no coordinated omission). Late requests are sent, none is skipped.
    OpenLoop {
        /// Requests a second, over all connections.
        requests_per_second: NonZeroU32,
    },
}

/// One kind of request in the mix.
#[derive(Clone, Debug)]
pub struct Variant {
    /// What reports call it; no other variant of a load has the same.
    pub name: String,
    /// The method; not CONNECT.
    pub method: Method,
    /// The path and query.
    pub path: PathAndQuery,
    /// The `Host` header or `:authority`; without one it is the target's address.
    pub authority: Option<Authority>,
    /// Further headers. `Host` among them is overwritten by the authority.
    pub headers: HeaderMap,
    /// The body; its length is announced by `Content-Length`.
    pub body: Bytes,
    /// Its weight in the mix, relative to the other variants; 0 sends none.
    pub share: u32,
    /// The statuses that are no failure.
    pub expected: RangeInclusive<u16>,
}

/// Why a load cannot start.
#[derive(Debug, Error)]
pub enum LoadError {
    /// There is nothing to send.
    #[error("no variant has a share above 0: give at least one kind of request a share")]
    NothingToSend,
    /// There is nowhere to send it.
    #[error("a load needs at least 1 connection with at least 1 stream")]
    NoConnections,
    /// Reports could not tell two variants apart.
    #[error("two variants are named {0:?}: give each a name of its own")]
    DuplicateName(String),
    /// An open loop needs a timer of the system.
    #[error("the system has no timer to give: {0}")]
    Timer(std::io::Error),
    /// A variant has no valid authority.
    #[error("variant {variant:?} has no valid authority: {source}")]
    Authority {
        /// The name of the variant.
        variant: String,
        /// What is wrong with it.
        source: http::Error,
    },
}

impl Load {
    /// A closed loop of HTTP/1.1 on 8 connections, for at most 60 seconds, with 30 seconds for each request.
    pub fn new(target: SocketAddr, total: Total, variants: Vec<Variant>) -> Self {
        Self {
            target,
            protocol: Protocol::Http1,
            tls: None,
            connections: 8,
            reuse: Reuse::KeepAlive,
            streams: 1,
            total,
            pace: Pace::ClosedLoop,
            max_duration: Duration::from_mins(1),
            timeout: Duration::from_secs(30),
            variants,
            label: Label::Nothing,
            on_response: None,
        }
    }

    /// Starts the load on the current tokio runtime, which must have its I/O and time drivers enabled.
    pub fn start(self) -> Result<Run, LoadError> {
        if self.variants.iter().all(|variant| variant.share == 0) {
            return Err(LoadError::NothingToSend);
        }
        if self.connections == 0 || self.streams == 0 {
            return Err(LoadError::NoConnections);
        }
        let mut requests = Vec::with_capacity(self.variants.len());
        for (index, variant) in self.variants.iter().enumerate() {
            if self.variants[..index].iter().any(|earlier| earlier.name == variant.name) {
                return Err(LoadError::DuplicateName(variant.name.clone()));
            }
            let invalid = |source| LoadError::Authority { variant: variant.name.clone(), source };
            requests.push(variant.request(&self).map_err(invalid)?);
        }
        Run::start(self, requests).map_err(LoadError::Timer)
    }

    fn lanes_per_connection(&self) -> usize {
        match self.protocol {
            Protocol::Http1 => 1,
            Protocol::Http2 => self.streams,
        }
    }
}

impl Tls {
    /// The same with sessions of its own.
    fn apart(mut self) -> Self {
        let resumption = if self.resumes { Resumption::in_memory_sessions(1) } else { Resumption::disabled() };
        Arc::make_mut(&mut self.config).resumption = resumption;
        self
    }
}

impl Total {
    fn limit(self) -> u64 {
        match self {
            Self::Requests(count) | Self::UntilStopped { max_requests: count } => count,
        }
    }
}

impl Variant {
    /// A GET of `path`, with share 1, that expects a status from 200 to 399.
    pub fn get(name: impl Into<String>, path: PathAndQuery) -> Self {
        Self {
            name: name.into(),
            method: Method::GET,
            path,
            authority: None,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            share: 1,
            expected: 200..=399,
        }
    }

    /// A POST of a JSON text to `path`, with share 1, that expects a status from 200 to 399.
    pub fn post_json(name: impl Into<String>, path: PathAndQuery, body: impl Into<Bytes>) -> Self {
        let post = Self { method: Method::POST, body: body.into(), ..Self::get(name, path) };
        post.with_header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
    }

    /// The same with one more header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// The same with another share.
    #[must_use]
    pub fn with_share(self, share: u32) -> Self {
        Self { share, ..self }
    }

    /// The request as it is sent, made once; each sending clones it, which copies neither the path nor the body.
    fn request(&self, load: &Load) -> Result<Request<Full<Bytes>>, http::Error> {
        let authority = match &self.authority {
            Some(authority) => authority.clone(),
            None => load.target.to_string().parse()?,
        };
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.headers_mut() = self.headers.clone();
        match load.protocol {
            Protocol::Http1 => {
                request.headers_mut().insert(header::HOST, HeaderValue::from_str(authority.as_str())?);
                *request.uri_mut() = Uri::from(self.path.clone());
            }
            Protocol::Http2 => {
                request.headers_mut().remove(header::HOST);
                *request.version_mut() = http::Version::HTTP_2;
                let mut parts = http::uri::Parts::default();
                parts.scheme = Some(if load.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP });
                parts.authority = Some(authority);
                parts.path_and_query = Some(self.path.clone());
                *request.uri_mut() = Uri::from_parts(parts)?;
            }
        }
        Ok(request)
    }
}
