//! Why a request that was chosen has no pair of answers: a closed set of words, for counts and metrics.

use crate::body::copy::Incomplete;
use crate::upstream::SendError;
use turnout_routes::router::Failure;

/// See the module. The comments say of which side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Skipped {
    /// The policy does not say that asking twice is harmless.
    Method,
    /// What became of it is said in trailers.
    Grpc,
    RequestTooLarge,
    /// The client did not send all of it.
    RequestIncomplete,
    /// `maxInFlight`.
    InFlight,
    /// All bodies together.
    Memory,
    /// No destination, or none that DNS or the documents have an address of.
    NoEndpoints,
    /// Half of its limits are used: what is left is for those who are waited for.
    Busy,
    Connect,
    /// The candidate ended the connection, or the stream.
    Reset,
    /// It answered with what is no HTTP.
    Protocol,
    Timeout,
    /// Either's.
    AnswerTooLarge,
    /// The candidate's.
    AnswerIncomplete,
    /// Either's is compressed.
    Encoded,
    /// The backend gave none.
    LiveFailed,
    /// It broke off, or its client did.
    LiveIncomplete,
    /// It took longer than the copy may.
    LiveLate,
    /// Too many pairs wait.
    Comparing,
}

impl Skipped {
    pub(crate) const ALL: [Self; 19] = [
        Self::Method,
        Self::Grpc,
        Self::RequestTooLarge,
        Self::RequestIncomplete,
        Self::InFlight,
        Self::Memory,
        Self::NoEndpoints,
        Self::Busy,
        Self::Connect,
        Self::Reset,
        Self::Protocol,
        Self::Timeout,
        Self::AnswerTooLarge,
        Self::AnswerIncomplete,
        Self::Encoded,
        Self::LiveFailed,
        Self::LiveIncomplete,
        Self::LiveLate,
        Self::Comparing,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Grpc => "grpc",
            Self::RequestTooLarge => "request_too_large",
            Self::RequestIncomplete => "request_incomplete",
            Self::InFlight => "in_flight",
            Self::Memory => "memory",
            Self::NoEndpoints => "no_endpoints",
            Self::Busy => "busy",
            Self::Connect => "connect",
            Self::Reset => "reset",
            Self::Protocol => "protocol",
            Self::Timeout => "timeout",
            Self::AnswerTooLarge => "answer_too_large",
            Self::AnswerIncomplete => "answer_incomplete",
            Self::Encoded => "encoded",
            Self::LiveFailed => "live_failed",
            Self::LiveIncomplete => "live_incomplete",
            Self::LiveLate => "live_late",
            Self::Comparing => "comparing",
        }
    }

    /// Of a request's body.
    pub(crate) fn of_request(incomplete: Incomplete) -> Self {
        match incomplete {
            Incomplete::TooLarge => Self::RequestTooLarge,
            Incomplete::NoRoom => Self::Memory,
            Incomplete::Aborted => Self::RequestIncomplete,
        }
    }

    /// Of an answer's.
    pub(crate) fn of_answer(incomplete: Incomplete) -> Self {
        match incomplete {
            Incomplete::TooLarge => Self::AnswerTooLarge,
            Incomplete::NoRoom => Self::Memory,
            Incomplete::Aborted => Self::AnswerIncomplete,
        }
    }

    /// Of a copy that was sent.
    pub(crate) fn of_failure(error: SendError) -> Self {
        match error {
            SendError::NoEndpoints => Self::NoEndpoints,
            SendError::Overflow => Self::Busy,
            SendError::Body => Self::RequestIncomplete,
            SendError::Failed(Failure::Connect) => Self::Connect,
            SendError::Failed(Failure::AfterRequest | Failure::Refused | Failure::StreamReset) => Self::Reset,
            SendError::Failed(Failure::PerTryTimeout) => Self::Timeout,
            SendError::Failed(Failure::Protocol) | SendError::Target => Self::Protocol,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_reason_has_a_place_and_a_word_of_its_own() {
        for (at, skipped) in Skipped::ALL.into_iter().enumerate() {
            assert_eq!(skipped as usize, at, "{skipped:?}");
        }
        assert_eq!(Skipped::ALL.map(Skipped::as_str).into_iter().collect::<BTreeSet<_>>().len(), Skipped::ALL.len());
    }
}
