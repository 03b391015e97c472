//! How connections end that do not end well.

use super::tls::HandshakeError;

/// Why a connection ended badly; a word for the metrics.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error(transparent)]
    Tls(#[from] HandshakeError),
    #[error("most requests were reset by the client")]
    Abuse,
    #[error("a request's head took too long")]
    Head,
    #[error("HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

impl ConnectionError {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Tls(error) => error.kind(),
            Self::Abuse => "abuse",
            Self::Head => "head_timeout",
            Self::Http(error) if error.is_parse() || error.is_parse_too_large() => "http_parse",
            Self::Http(_) => "http",
            Self::Io(_) => "io",
        }
    }
}
