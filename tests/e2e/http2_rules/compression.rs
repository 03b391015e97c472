//! HPACK (RFC 7541), as far as a client can break it: indices, integers, strings, sizes of the table.

use super::{GoAway, Rule, Status, get, rule};
use h2::Reason;
use turnout_tests::frames::{END_HEADERS, END_STREAM, Frame, block, kind};

/// COMPRESSION_ERROR is what RFC 9113 (4.3) asks for.
const ONE_CODE: &str = "COMPRESSION_ERROR is asked for: the library has one code for what it cannot read";

/// GET, http, / of the static table; then the authority, as a literal.
const REQUEST: [u8; 6] = [0x82, 0x86, 0x84, 0x01, 1, b'a'];

fn head(stream: u32, block: &[u8]) -> Frame {
    Frame::new(kind::HEADERS, stream).flags(END_HEADERS | END_STREAM).payload(block)
}

/// Behind a whole head.
fn broken(says: &'static str, field: &[u8]) -> Rule {
    rule(says, &[head(1, &[&REQUEST, field].concat())], GoAway(Reason::PROTOCOL_ERROR)).although(ONE_CODE)
}

fn passes(says: &'static str, before: &[u8], field: &[u8]) -> Rule {
    rule(says, &[head(1, &[before, &REQUEST, field].concat())], Status(200))
}

pub(super) fn rules() -> Vec<Rule> {
    [indices(), strings_and_integers(), tables(), state()].into_iter().flatten().collect()
}

fn indices() -> Vec<Rule> {
    vec![
        passes("6.1 a field of the static table", &[], &[0x90]),
        broken("6.1 the index 0", &[0x80]),
        broken("2.3.3 an index behind the tables", &[0xbe]),
        broken("2.3.3 an index far behind the tables", &[0xff, 0xff, 0x7f]),
        broken("2.3.3 a name behind the tables", &[0x7e, 1, b'a']),
        broken("6.2 a name behind the tables, not to be kept", &[0x0f, 0x2f, 1, b'a']),
        passes("6.2.1 a field that is kept", &[], &[0x40, 1, b'a', 1, b'b']),
        passes("6.2.2 a field that is not kept", &[], &[0x00, 1, b'a', 1, b'b']),
        passes("6.2.3 a field that nobody may keep", &[], &[0x10, 1, b'a', 1, b'b']),
        passes("2.3.2 a field that was kept before", &[], &[0x40, 1, b'a', 1, b'b', 0xbe]),
    ]
}

fn strings_and_integers() -> Vec<Rule> {
    vec![
        broken("5.1 an integer that does not end", &[0xff]),
        broken("5.1 an integer beyond all", &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
        broken("5.2 a name that is longer than the block", &[0x40, 5, b'a']),
        broken("5.2 a value that is longer than the block", &[0x40, 1, b'a', 9, b'b']),
        broken("5.2 no value", &[0x40, 1, b'a']),
        broken("5.2 a length beyond all", &[0x40, 0x7f, 0xff, 0xff, 0xff, 0xff, 0x7f]),
        // a is 00011, and 1s fill the byte up.
        passes("5.2 a value in Huffman's code", &[], &[0x40, 1, b'a', 0x81, 0x1f]),
        broken("5.2 more than seven bits to fill up", &[0x40, 1, b'a', 0x82, 0x1f, 0xff]),
        broken("5.2 0s that fill up", &[0x40, 1, b'a', 0x81, 0x18]),
        broken("5.2 the end of strings in a string", &[0x40, 1, b'a', 0x84, 0xff, 0xff, 0xff, 0xff]),
    ]
}

fn tables() -> Vec<Rule> {
    // 4096 is 31 + 97 + 31 * 128.
    let (whole, larger) = ([0x3f, 0xe1, 0x1f], [0x3f, 0xe2, 0x1f]);
    let kept = [0x40, 1, b'a', 1, b'b'];
    let over = |size: &[u8]| {
        rule("", &[head(1, &[size, &REQUEST].concat())], GoAway(Reason::PROTOCOL_ERROR)).although(ONE_CODE)
    };
    vec![
        passes("6.3 no table", &[0x20], &[]),
        passes("6.3 a whole table", &whole, &[]),
        passes("4.2 two sizes", &[0x20, 0x3f, 0xe1, 0x1f], &[]),
        Rule { says: "6.3 a table that is too large", ..over(&larger) },
        Rule { says: "6.3 a table that is much too large", ..over(&[0x3f, 0xff, 0xff, 0xff, 0x0f]) },
        broken("4.2 a size behind a field", &[0x20]),
        passes("4.4 a field that does not fit in the table", &[0x20], &kept),
        rule(
            "4.3 a field of a table that was emptied",
            &[head(1, &[&REQUEST[..], &kept].concat()), head(3, &[&[0x20][..], &REQUEST, &[0xbe]].concat())],
            GoAway(Reason::PROTOCOL_ERROR),
        )
        .about(u32::MAX)
        .although(ONE_CODE),
    ]
}

/// What one head keeps is there for the next, whatever becomes of the first.
fn state() -> Vec<Rule> {
    let kept = [0x40, 2, b't', b'e', 8, b't', b'r', b'a', b'i', b'l', b'e', b'r', b's'];
    let refers = |stream| head(stream, &[&REQUEST[..], &[0xbe]].concat());
    let malformed = head(1, &[&block(&[("connection", "close")])[..], &REQUEST, &kept].concat());
    let on_itself = Frame { payload: [&1_u32.to_be_bytes()[..], &[9], &REQUEST, &kept].concat(), ..head(1, &[]) };
    let on_itself = Frame { flags: on_itself.flags | turnout_tests::frames::PRIORITIZED, ..on_itself };
    vec![
        rule("2.2 of a request", &[head(1, &[&REQUEST[..], &kept].concat()), refers(3)], Status(200)).about(3),
        rule("RFC 9113, 4.3: of a malformed request", &[malformed, refers(3)], Status(200)).about(3),
        rule(
            "RFC 9113, 4.3: of a stream that depends on itself",
            &[on_itself, refers(3)],
            GoAway(Reason::PROTOCOL_ERROR),
        )
        .about(3)
        .although("the library does not read such a head, and loses what it keeps: of that client's connection alone"),
        rule(
            "RFC 9113, 4.3: of a stream that is over",
            &[super::held(1, false), Frame::reset(1, 8), get(3)],
            Status(200),
        )
        .about(3),
    ]
}
