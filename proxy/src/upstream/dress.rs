//! A message in the dress of its protocol. For HTTP/1: what the protocol wants said of host and framing is put on a request, and taken off its
//! answer. An answer that contradicts itself about its length or its coding is no answer (RFC 9112, 6.3): a client could
//! not tell what it lacks.

use super::outgoing::{Outgoing, OutgoingHead};
use crate::body::replay::TryBody;
use crate::hop_by_hop::{is_hop_by_hop, remove_if};
use http::header::{self, HeaderValue};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body;
use hyper::body::Incoming;
use std::net::SocketAddr;

/// The request of a try.
pub(super) fn request(outgoing: &Outgoing, head: OutgoingHead, body: TryBody) -> Request<TryBody> {
    let OutgoingHead { method, target, mut headers } = head;
    headers.insert(header::HOST, outgoing.authority.clone());
    if body.is_chunked() {
        // The encoder must be told, or it would send no body for some methods.
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        // The encoder writes only those that are announced.
        for name in body.trailers().into_iter().flat_map(HeaderMap::keys) {
            headers.append(header::TRAILER, HeaderValue::from(name.clone()));
        }
    } else {
        headers.remove(header::TRAILER);
        if body.is_empty() && (outgoing.says_empty || may_have_content(&method)) {
            // The encoder says nothing of a body that is not there, but a POST without a length is refused by some.
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
    }
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = Uri::from(target);
    *request.version_mut() = Version::HTTP_11;
    *request.headers_mut() = headers;
    request
}

/// The request of a try over HTTP/2, in which framing and coding have no header; none if its host is none. One that has none,
/// which HTTP/1.0 allows, is for the endpoint itself.
pub(super) fn http2_request(
    outgoing: &Outgoing,
    head: OutgoingHead,
    body: TryBody,
    (scheme, endpoint): (Scheme, SocketAddr),
) -> Option<Request<TryBody>> {
    let OutgoingHead { method, target, mut headers } = head;
    let authority = match outgoing.authority.as_bytes() {
        b"" => Authority::try_from(endpoint.to_string()),
        authority => Authority::try_from(authority),
    };
    let authority = authority.ok()?;
    let wants_trailers = headers.get(header::TE).is_some_and(|te| te == "trailers");
    remove_if(&mut headers, is_hop_by_hop);
    // It is `:authority`.
    headers.remove(header::HOST);
    if wants_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    // hyper says it of methods that expect content.
    if outgoing.says_empty && body.is_empty() {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    let mut request = Request::new(body);
    let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(target);
    *request.uri_mut() = uri.build().ok()?;
    *request.method_mut() = method;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers;
    Some(request)
}

/// An answer over HTTP/2, whose framing the library has checked. None if it is no final one.
pub(super) fn http2_answer(mut response: Response<Incoming>) -> Option<Response<Incoming>> {
    *response.version_mut() = Version::HTTP_11;
    let status = response.status();
    remove_if(response.headers_mut(), |name| {
        is_hop_by_hop(name) || status == StatusCode::NO_CONTENT && name == header::CONTENT_LENGTH.as_str()
    });
    (!status.is_informational()).then_some(response)
}

/// Methods whose content means something, or might: their requests say so where there is none (RFC 9110, 8.6; that all
/// are but these was observed on Istio).
fn may_have_content(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::DELETE | Method::TRACE | Method::CONNECT)
}

/// What a request that was not sent leaves for another try.
pub(super) fn undressed(request: Request<TryBody>) -> Option<OutgoingHead> {
    let (parts, _) = request.into_parts();
    let target = parts.uri.into_parts().path_and_query?;
    Some(OutgoingHead { method: parts.method, target, headers: parts.headers })
}

/// Takes off an answer what belongs to its connection. What `Connection` names there stays, as observed on Istio: a
/// backend is trusted with its own headers. None if it is not clear what its body is; beside the answer, whether the
/// connection may be used again: not where two things were said of the length, whichever holds.
pub(super) fn answer(mut response: Response<Incoming>, to_head: bool) -> Option<(Response<Incoming>, bool)> {
    let status = response.status();
    // Nobody asked for it.
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return None;
    }
    let has_body = !to_head && !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    // One look at each header; most answers say no more than one length, which hyper has read, and `Connection`.
    let (mut lengths, mut is_plain, mut says_connection) = (0, true, false);
    for (name, value) in response.headers() {
        if *name == header::CONTENT_LENGTH {
            lengths += 1;
            is_plain &= has_body && lengths == 1 && value.as_bytes().iter().all(u8::is_ascii_digit);
        } else if *name == header::CONNECTION {
            says_connection = true;
        } else if *name == header::TRAILER || is_hop_by_hop(name.as_str()) {
            is_plain = false;
        }
    }
    if is_plain {
        if says_connection {
            response.headers_mut().remove(header::CONNECTION);
        }
        return Some((response, true));
    }
    let length = response.body().size_hint().exact();
    let headers = response.headers_mut();
    let is_coded = headers.contains_key(header::TRANSFER_ENCODING);
    if is_coded {
        if has_body && !is_only_chunked(headers) {
            return None;
        }
        headers.remove(header::CONTENT_LENGTH);
    } else {
        headers.remove(header::TRAILER);
        // Several that say the same were read as one; where there is no body, nobody has read them yet.
        let said = if has_body { length } else { said_length(headers) };
        if headers.remove(header::CONTENT_LENGTH).is_some()
            && let Some(said) = said.filter(|_| status != StatusCode::NO_CONTENT)
        {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(said));
        }
    }
    remove_if(headers, is_hop_by_hop);
    Some((response, !(is_coded && lengths > 0)))
}

/// The same of an answer that agrees to a tunnel; none if it names another protocol than was asked for.
pub(super) fn agreement(mut response: Response<Incoming>) -> Option<Response<Incoming>> {
    let headers = response.headers_mut();
    let mut protocols = headers.get_all(header::UPGRADE).iter();
    let protocol = protocols.next().filter(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))?.clone();
    if protocols.next().is_some() {
        return None;
    }
    remove_if(headers, |name| is_hop_by_hop(name) || matches!(name, "content-length" | "trailer"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, protocol);
    Some(response)
}

/// The only transfer coding that is undone here.
fn is_only_chunked(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    codings.next().is_some_and(|coding| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"))
        && codings.next().is_none()
}

/// The length that all of `Content-Length` says.
fn said_length(headers: &HeaderMap) -> Option<u64> {
    let said = headers.get_all(header::CONTENT_LENGTH).iter().flat_map(|value| value.as_bytes().split(|b| *b == b','));
    let mut lengths = said.map(|text| {
        let text = text.trim_ascii();
        let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        std::str::from_utf8(text).ok().filter(|_| digits).and_then(|text| text.parse::<u64>().ok())
    });
    let first = lengths.next()??;
    lengths.all(|length| length == Some(first)).then_some(first)
}
