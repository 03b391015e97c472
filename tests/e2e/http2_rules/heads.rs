//! What a head and its body have to be: fields, pseudo-fields, lengths, trailers. What is malformed reaches no backend.

use super::streams::trailers;
use super::{End, GoAway, Reset, Rule, Status, get, rule};
use h2::Reason;
use turnout_tests::frames::Frame;

const MALFORMED: super::Expects = Reset(Reason::PROTOCOL_ERROR);
const BROKEN: super::Expects = GoAway(Reason::PROTOCOL_ERROR);
/// The library takes no name or value that HTTP has not.
const NO_FIELD: &str = "an error of the stream would do: the library finds it while it decompresses";
const ANSWERED: &str =
    "the gateway answers, and does not reset, what is malformed for HTTP and not for HTTP/2's own parser";
const PASSED_ON: &str = "it is malformed: a backend takes the blanks off, as HTTP/1.1 has them";

const HEAD: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "http"), (":path", "/bad"), (":authority", "a")];
const GOOD: [(&str, &str); 4] = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a")];

pub(super) fn rules() -> Vec<Rule> {
    let sections =
        [names(), connections(), pseudo(), missing(), paths_and_authorities(), lengths(), ends(), connect(), sizes()];
    sections.into_iter().flatten().collect()
}

/// A request of a whole head and these fields, which is to reach nobody.
pub(super) fn bad(stream: u32, more: &[(&str, &str)]) -> Frame {
    Frame::headers(stream, &[&HEAD, more].concat(), true)
}

/// One that is to be answered.
fn good(more: &[(&str, &str)]) -> Frame {
    Frame::headers(1, &[&GOOD, more].concat(), true)
}

/// A whole head with another value of one field.
fn with(name: &str, value: &str) -> Frame {
    let fields: Vec<_> = HEAD.iter().map(|field| if field.0 == name { (name, value) } else { *field }).collect();
    Frame::headers(1, &fields, true)
}

fn names() -> Vec<Rule> {
    let broken = |says, name, value| rule(says, &[bad(1, &[(name, value)])], BROKEN).although(NO_FIELD);
    vec![
        broken("8.2.1 a name in upper case", "X-Upper", "1"),
        broken("8.2.1 an empty name", "", "1"),
        broken("8.2.1 a blank in a name", "x a", "1"),
        broken("8.2.1 a colon in a name", "x:a", "1"),
        broken("8.2.1 a line in a name", "x\r\nx-b", "1"),
        broken("8.2.1 a control character in a name", "x\x7f", "1"),
        broken("8.2.1 NUL in a value", "x-a", "1\0"),
        broken("8.2.1 a line in a value", "x-a", "1\r\nx-b: 2"),
        broken("8.2.1 LF in a value", "x-a", "1\nx-b: 2"),
        broken("8.2.1 CR in a value", "x-a", "1\rx-b: 2"),
        rule("8.2.1 a blank before a value", &[good(&[("x-a", " 1")])], Status(200)).although(PASSED_ON),
        rule("8.2.1 a blank behind a value", &[good(&[("x-a", "1\t")])], Status(200)).although(PASSED_ON),
        rule("8.2.1 an empty value", &[good(&[("x-a", "")])], Status(200)),
        rule("8.2.3 cookies one by one", &[good(&[("cookie", "a=1"), ("cookie", "b=2")])], Status(200)),
    ]
}

fn connections() -> Vec<Rule> {
    let malformed = |says, name, value| rule(says, &[bad(1, &[(name, value)])], MALFORMED);
    vec![
        malformed("8.2.2 connection", "connection", "close"),
        malformed("8.2.2 connection that names another", "connection", "x-a"),
        malformed("8.2.2 keep-alive", "keep-alive", "timeout=5"),
        malformed("8.2.2 proxy-connection", "proxy-connection", "keep-alive"),
        malformed("8.2.2 transfer-encoding", "transfer-encoding", "chunked"),
        malformed("8.2.2 upgrade", "upgrade", "websocket"),
        malformed("8.2.2 te", "te", "gzip"),
        malformed("8.2.2 te and more", "te", "trailers, gzip"),
        rule("8.2.2 te: trailers", &[good(&[("te", "trailers")])], Status(200)),
    ]
}

fn pseudo() -> Vec<Rule> {
    let malformed = |says, more: &[(&str, &str)]| rule(says, &[bad(1, more)], MALFORMED);
    let late = |says, last: usize| {
        let mut fields = HEAD.to_vec();
        let moved = fields.remove(last);
        fields.extend([("x-a", "1"), moved]);
        rule(says, &[Frame::headers(1, &fields, true)], MALFORMED)
    };
    vec![
        malformed("8.3 a second :method", &[(":method", "GET")]),
        malformed("8.3 a second :scheme", &[(":scheme", "http")]),
        malformed("8.3 a second :path", &[(":path", "/other")]),
        malformed("8.3 a second :authority", &[(":authority", "b")]),
        malformed("8.3 :status of a request", &[(":status", "200")]),
        malformed("RFC 8441, 4: :protocol of another method", &[(":protocol", "websocket")]),
        rule("8.3 an unknown one", &[bad(1, &[(":other", "1")])], BROKEN).although(NO_FIELD),
        rule("8.3 an empty one", &[bad(1, &[(":", "1")])], BROKEN).although(NO_FIELD),
        late("8.3 :method behind a field", 0),
        late("8.3 :scheme behind a field", 1),
        late("8.3 :path behind a field", 2),
        late("8.3 :authority behind a field", 3),
        rule("8.3 in any order", &[Frame::headers(1, &[GOOD[3], GOOD[2], GOOD[0], GOOD[1]], true)], Status(200)),
    ]
}

fn missing() -> Vec<Rule> {
    let without = |says, name: &str, expects| {
        let fields: Vec<_> = HEAD.into_iter().filter(|field| field.0 != name).collect();
        rule(says, &[Frame::headers(1, &fields, true)], expects)
    };
    let host = [&GOOD[..3], &[("host", "a")]].concat();
    vec![
        without("8.3.1 no :method", ":method", MALFORMED),
        without("8.3.1 no :scheme", ":scheme", MALFORMED),
        without("8.3.1 no :path", ":path", MALFORMED),
        without("8.3.1 no :authority and no host", ":authority", Status(400)).although(ANSWERED),
        rule("8.3.1 host in the place of :authority", &[Frame::headers(1, &host, true)], Status(200)),
    ]
}

fn paths_and_authorities() -> Vec<Rule> {
    vec![
        rule("8.3.1 an empty path", &[with(":path", "")], MALFORMED),
        rule("8.3.1 a path without /", &[with(":path", "bad")], MALFORMED),
        rule("8.3.1 a query alone", &[with(":path", "?bad")], Status(400)).although(ANSWERED),
        rule("8.3.1 a path with a host", &[with(":path", "http://b/bad")], MALFORMED),
        rule("8.3.1 * for GET", &[with(":path", "*")], Status(404)).although(ANSWERED),
        rule("8.3.1 a blank in a path", &[with(":path", "/bad bad")], MALFORMED),
        rule("8.3.1 a line in a path", &[with(":path", "/bad\r\nx-b: 2")], MALFORMED),
        rule("8.3.1 an empty :method", &[with(":method", "")], BROKEN),
        rule("8.3.1 a blank in a :method", &[with(":method", "GET /bad")], BROKEN),
        rule("8.3.1 an empty :authority", &[with(":authority", "")], MALFORMED),
        rule("8.3.1 user information", &[with(":authority", "me@a")], Status(400)).although(ANSWERED),
        rule("8.3.1 a path in :authority", &[with(":authority", "a/bad")], MALFORMED),
        rule("8.3.1 a blank in :authority", &[with(":authority", "a b")], MALFORMED),
        rule(
            "8.3.1 an empty :scheme",
            &[Frame::headers(1, &[GOOD[0], (":scheme", ""), GOOD[2], GOOD[3]], true)],
            Status(200),
        )
        .although("it is malformed: a backend is told the scheme of the connection"),
        rule("8.3.1 a :scheme that is none", &[with(":scheme", "h p")], MALFORMED),
        rule("8.3.1 another host than :authority", &[good(&[("host", "b")])], Status(200))
            .although("it may be refused: it goes, and a backend has :authority alone"),
    ]
}

fn lengths() -> Vec<Rule> {
    let head = |length| Frame::headers(1, &[&HEAD[..], &[("content-length", length)]].concat(), false);
    let body = |bytes: &[u8]| Frame::data(1, bytes, true);
    let other = Frame::headers(1, &[&HEAD[..], &[("content-length", "1"), ("content-length", "2")]].concat(), false);
    let same = Frame::headers(1, &[&GOOD[..], &[("content-length", "1"), ("content-length", "1")]].concat(), false);
    let right = Frame::headers(1, &[&GOOD[..], &[("content-length", "3")]].concat(), false);
    vec![
        rule("8.1.1 the length", &[right.clone(), Frame::data(1, b"ab", false), body(b"c")], Status(200)),
        rule(
            "8.1.1 the length, and an end of its own",
            &[right, Frame::data(1, b"abc", false), body(b"")],
            Status(200),
        ),
        rule("8.1.1 the same length twice", &[same, body(b"a")], Status(200)),
        rule("8.1.1 two lengths", &[other, body(b"a")], MALFORMED),
        rule("8.1.1 less than the length", &[head("3"), body(b"ab")], MALFORMED),
        rule("8.1.1 more than the length", &[head("3"), body(b"abcd")], MALFORMED),
        rule("8.1.1 more than the length, in two", &[head("3"), Frame::data(1, b"ab", false), body(b"cd")], MALFORMED),
        rule("8.1.1 a length and no body", &[bad(1, &[("content-length", "1")])], MALFORMED),
        rule("8.1.1 a length and trailers alone", &[head("1"), trailers(&[("x-a", "1")])], MALFORMED),
        rule("8.1.1 a length that is no number", &[head("x"), body(b"a")], MALFORMED),
        rule("8.1.1 a length with a sign", &[head("+1"), body(b"a")], MALFORMED),
        rule("8.1.1 an empty length", &[head(""), body(b"a")], MALFORMED),
        rule("8.1.1 a length beyond all", &[head("99999999999999999999"), body(b"a")], MALFORMED),
    ]
}

fn ends() -> Vec<Rule> {
    let open = |path: &str| {
        let fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "a")];
        Frame::headers(1, &fields, false)
    };
    let second = Frame::headers(1, &[("x-a", "1")], false);
    vec![
        rule("8.1 trailers", &[open("/"), Frame::data(1, b"a", false), trailers(&[("x-a", "1")])], Status(200)),
        rule("8.1 trailers alone", &[open("/"), trailers(&[("x-a", "1")])], Status(200)),
        rule("8.1 empty trailers", &[open("/"), trailers(&[])], Status(200)),
        rule("8.1 trailers that are not the end", &[open("/bad"), second], MALFORMED),
        rule("8.1 pseudo-fields in trailers", &[open("/"), trailers(&[(":path", "/bad"), ("x-a", "1")])], Status(200))
            .although("it is malformed: the library forgets them, so they reach nobody"),
        rule("8.2.2 connection in trailers", &[open("/bad"), trailers(&[("connection", "close")])], MALFORMED),
        rule("8.2.1 upper case in trailers", &[open("/bad"), trailers(&[("X-A", "1")])], BROKEN).although(NO_FIELD),
    ]
}

fn connect() -> Vec<Rule> {
    let connect = |more: &[(&str, &str)], ends| {
        Frame::headers(1, &[&[(":method", "CONNECT"), (":authority", "a:1")], more].concat(), ends)
    };
    let websocket = [(":protocol", "websocket"), (":scheme", "http"), (":path", "/bad")];
    vec![
        rule("8.5 CONNECT", &[connect(&[], false)], Status(405)),
        rule("8.5 CONNECT with :scheme", &[connect(&[(":scheme", "http")], true)], MALFORMED),
        rule("8.5 CONNECT with :path", &[connect(&[(":path", "/bad")], true)], MALFORMED),
        rule("8.5 CONNECT with a length", &[connect(&[("content-length", "1")], false)], End)
            .although("the library ends the connection at once, which is the client's own"),
        rule("RFC 8441, 3: extended CONNECT that is not offered", &[connect(&websocket, false)], MALFORMED),
    ]
}

/// A head may have 16 KiB here, and 100 fields.
fn sizes() -> Vec<Rule> {
    let value = "v".repeat(4000);
    let names: Vec<String> = (0..101).map(|number| format!("x-{number}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
    let in_pieces = |count: usize| {
        let fields: Vec<(&str, &str)> = std::iter::repeat_n(("x-a", value.as_str()), count).collect();
        let whole = bad(1, &fields);
        let mut pieces: Vec<Frame> = whole
            .payload
            .chunks(16_000)
            .map(|piece| Frame::new(turnout_tests::frames::kind::CONTINUATION, 1).payload(piece))
            .collect();
        pieces[0].kind = whole.kind;
        pieces[0].flags = turnout_tests::frames::END_STREAM;
        if let Some(last) = pieces.last_mut() {
            last.flags |= turnout_tests::frames::END_HEADERS;
        }
        pieces
    };
    vec![
        rule("10.5.1 a large head", &[good(&[("x-a", &value), ("x-b", &value), ("x-c", &value)])], Status(200)),
        rule("10.5.1 a head that is too large", &in_pieces(5), Status(431)),
        rule("10.5.1 a head that is much too large", &in_pieces(20), GoAway(Reason::COMPRESSION_ERROR)),
        rule("10.5.1 too many fields", &[bad(1, &many)], Status(431)),
        rule("10.5.1 a request behind a head that is too large", &[&in_pieces(5)[..], &[get(3)]].concat(), Status(200))
            .about(3),
    ]
}
