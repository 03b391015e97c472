//! One answer as it is gathered, to be compared.

use super::Skipped;
use crate::body::copy::{CopyRoom, Share};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use std::sync::Arc;
use turnout_verdict::answers::Answer;

/// See the module.
#[derive(Debug)]
pub(crate) struct Reply {
    status: StatusCode,
    content_type: Option<HeaderValue>,
    pub(super) body: Vec<u8>,
    is_encoded: bool,
    share: Share,
}

impl Reply {
    /// One of which nothing has come but its head, and of whose body at most so many bytes are gathered.
    pub(crate) fn new(status: StatusCode, headers: &HeaderMap, room: &Arc<CopyRoom>, most: u64) -> Self {
        let is_coding = |coding: &HeaderValue| !coding.as_bytes().eq_ignore_ascii_case(b"identity");
        Self {
            status,
            content_type: headers.get(header::CONTENT_TYPE).cloned(),
            body: Vec::new(),
            is_encoded: headers.get_all(header::CONTENT_ENCODING).iter().any(is_coding),
            share: Share::new(room, most),
        }
    }

    /// More of it has come.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Result<(), Skipped> {
        self.share.grow(piece.len()).map_err(Skipped::of_answer)?;
        self.body.extend_from_slice(piece);
        Ok(())
    }

    /// All of it has come. What is compressed cannot be compared.
    pub(crate) fn whole(self) -> Result<Self, Skipped> {
        if self.is_encoded { Err(Skipped::Encoded) } else { Ok(self) }
    }

    pub(super) fn answer(&self) -> Answer<'_> {
        let content_type = self.content_type.as_ref().and_then(|value| value.to_str().ok());
        Answer { status: self.status.as_u16(), content_type, body: &self.body }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_gathered_within_its_bounds_if_it_is_not_compressed() {
        let room = CopyRoom::new(10);
        let check = |most: u64, coding: Option<&'static str>, pieces: &[&[u8]], expected: Result<&[u8], Skipped>| {
            let coding = coding.map(|coding| (header::CONTENT_ENCODING, HeaderValue::from_static(coding)));
            let headers: HeaderMap = coding.into_iter().collect();
            let mut reply = Reply::new(StatusCode::OK, &headers, &room, most);
            let gathered = pieces.iter().try_for_each(|piece| reply.push(piece)).and_then(|()| reply.whole());
            assert_eq!(gathered.as_ref().map(|reply| &*reply.body).map_err(|skipped| *skipped), expected);
        };
        check(5, None, &[], Ok(b""));
        check(5, None, &[b"12", b"345"], Ok(b"12345"));
        check(5, None, &[b"12", b"3456"], Err(Skipped::AnswerTooLarge));
        check(50, None, &[b"12", b"345678901"], Err(Skipped::Memory));
        check(50, Some("Identity"), &[b"1234567890"], Ok(b"1234567890"));
        check(5, Some("gzip"), &[b"12"], Err(Skipped::Encoded));
    }
}
