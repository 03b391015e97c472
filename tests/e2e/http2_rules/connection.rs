//! What holds for the connection: preface, frames and their sizes, SETTINGS, PING, GOAWAY, windows.

use super::heads::bad;
use super::{GoAway, Http1, Last, MOST_STREAMS, Nothing, Reset, Rule, Status, get, held, post, rule};
use h2::Reason;
use turnout_tests::frames::{ACK, Frame, PREFACE, kind, setting};

/// As long as a frame may be.
const LONGEST: usize = 16_384;
const LARGEST_WINDOW: u32 = (1 << 31) - 1;

const ONE_CODE: &str = "FRAME_SIZE_ERROR is asked for: the library has one code for what it cannot read";

pub(super) fn rules() -> Vec<Rule> {
    let sections =
        [preface(), frames(), sizes(), settings(), settings_values(), pings_and_goaway(), windows(), floods()];
    sections.into_iter().flatten().collect()
}

fn preface() -> Vec<Rule> {
    let settings = Frame::new(kind::SETTINGS, 0).to_bytes();
    let whole = [PREFACE, &settings].concat();
    vec![
        rule("3.4 the preface is followed by settings", &[get(1)], Status(200)).opening(&whole),
        rule("3.4 a preface that is another", &[], Http1(400)).opening(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r"),
        rule("3.4 a preface that breaks off and goes on as HTTP/1.1", &[], Http1(400))
            .opening(b"PRI * HTTP/2.0\r\nHost: a\r\n\r\n"),
        rule("3.4 no settings before the first request", &[get(1)], Status(200)).opening(PREFACE).although(
            "PROTOCOL_ERROR is asked for: settings that do not come are those that every connection begins with",
        ),
        rule("3.4 a frame before the settings", &[Frame::new(kind::PING, 0).payload(&[0; 8]), get(1)], Status(200))
            .opening(PREFACE)
            .although("PROTOCOL_ERROR is asked for: the same"),
        rule("3.4 rubbish behind the preface", &[], GoAway(Reason::FRAME_SIZE_ERROR))
            .opening(&[PREFACE, b"GET / HTTP/1.1\r\n\r\n"].concat()),
    ]
}

fn frames() -> Vec<Rule> {
    let unknown = |kind, stream| Frame::new(kind, stream).flags(0xff).payload(&[0xff; 20]);
    let mut reserved = get(1);
    reserved.stream |= 1 << 31;
    let [head, rest] = super::streams::in_two(&get(1));
    vec![
        rule("4.1 an unknown frame", &[unknown(0x16, 0), unknown(0xff, 1), get(1)], Status(200)),
        rule("4.1 unknown flags", &[Frame { flags: get(1).flags | 0xd2, ..get(1) }], Status(200)),
        rule("4.1 unknown flags of a ping", &[Frame::new(kind::PING, 0).flags(0xfe).payload(&[0; 8])], Nothing),
        rule("4.1 the reserved bit", &[reserved], Status(200)),
        rule("5.5 an unknown frame in a head", &[head, unknown(0x16, 1), rest], GoAway(Reason::PROTOCOL_ERROR)),
        rule("5.3 a priority", &[priority(3, 1), priority(1, 0), get(1)], Status(200)),
        rule("5.3 a priority of a stream by itself", &[get(1), priority(1, 1)], Reset(Reason::PROTOCOL_ERROR))
            .although("RFC 9113 knows no priorities any more; RFC 7540 (5.3.1) has this code"),
        rule("6.3 a priority of the connection", &[priority(0, 1)], GoAway(Reason::PROTOCOL_ERROR)),
        rule("6.3 a priority that is too short", &[Frame::new(kind::PRIORITY, 1)], GoAway(Reason::PROTOCOL_ERROR))
            .although(ONE_CODE),
        rule("6.6 a push", &[push(1)], GoAway(Reason::PROTOCOL_ERROR)),
        rule("6.6 a push on a request", &[held(1, false), push(1)], GoAway(Reason::PROTOCOL_ERROR)),
    ]
}

fn priority(stream: u32, on: u32) -> Frame {
    Frame::new(kind::PRIORITY, stream).payload(&[&on.to_be_bytes()[..], &[9]].concat())
}

fn push(stream: u32) -> Frame {
    let promised = [&2_u32.to_be_bytes()[..], &get(2).payload].concat();
    Frame { kind: kind::PUSH_PROMISE, payload: promised, ..get(stream) }
}

/// The header of a frame that is too long: of one that came whole the end might not be told.
fn announced(frame: &Frame, length: usize) -> Vec<u8> {
    let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [&length[1..], &frame.to_bytes()[3..9]].concat()
}

fn sizes() -> Vec<Rule> {
    let too_long = |says, frame: &Frame| {
        let sends = announced(frame, LONGEST + 1);
        Rule { sends, ..rule(says, &[], GoAway(Reason::FRAME_SIZE_ERROR)) }
    };
    let body = |length: usize| [post(1), Frame::data(1, &vec![b'x'; length], true)];
    vec![
        rule("4.2 the longest DATA", &body(LONGEST), Status(200)),
        too_long("4.2 DATA that is too long", &Frame::data(1, &[], false)),
        too_long("4.2 HEADERS that are too long", &get(1)),
        too_long("4.2 CONTINUATION that is too long", &Frame::new(kind::CONTINUATION, 1)),
        too_long("4.2 SETTINGS that are too long", &Frame::new(kind::SETTINGS, 0)),
        too_long("4.2 an unknown frame that is too long", &Frame::new(0x16, 0)),
        rule("6.4 RST_STREAM of 3", &[held(1, true), sized(kind::RST_STREAM, 1, 3)], GoAway(Reason::PROTOCOL_ERROR))
            .although(ONE_CODE),
        rule("6.5 SETTINGS of 5", &[sized(kind::SETTINGS, 0, 5)], GoAway(Reason::PROTOCOL_ERROR)).although(ONE_CODE),
        rule("6.7 PING of 6", &[sized(kind::PING, 0, 6)], GoAway(Reason::PROTOCOL_ERROR)).although(ONE_CODE),
        rule("6.7 PING of 9", &[sized(kind::PING, 0, 9)], GoAway(Reason::PROTOCOL_ERROR)).although(ONE_CODE),
        rule("6.8 GOAWAY of 7", &[sized(kind::GOAWAY, 0, 7)], GoAway(Reason::PROTOCOL_ERROR)).although(ONE_CODE),
        rule("6.9 WINDOW_UPDATE of 3", &[sized(kind::WINDOW_UPDATE, 0, 3)], GoAway(Reason::PROTOCOL_ERROR))
            .although(ONE_CODE),
    ]
}

fn sized(kind: u8, stream: u32, length: usize) -> Frame {
    Frame::new(kind, stream).payload(&vec![0; length])
}

fn settings() -> Vec<Rule> {
    let acknowledgement = Frame::new(kind::SETTINGS, 0).flags(ACK);
    vec![
        rule("6.5 settings", &[Frame::setting_of(setting::MAX_CONCURRENT_STREAMS, 0), get(1)], Status(200)),
        rule("6.5 settings of a stream", &[Frame::new(kind::SETTINGS, 1)], GoAway(Reason::PROTOCOL_ERROR)),
        rule(
            "6.5 an acknowledgement of 6",
            &[acknowledgement.clone().payload(&[0; 6])],
            GoAway(Reason::PROTOCOL_ERROR),
        )
        .although(ONE_CODE),
        rule("6.5.3 an acknowledgement of nothing", &[acknowledgement], GoAway(Reason::PROTOCOL_ERROR))
            .although("nothing is said of it"),
        rule("6.5.2 an unknown setting", &[Frame::setting_of(0xff, u32::MAX), get(1)], Status(200)),
    ]
}

fn settings_values() -> Vec<Rule> {
    let table = [
        ("6.5.2 no push", setting::ENABLE_PUSH, 0, Status(200)),
        ("6.5.2 a push", setting::ENABLE_PUSH, 1, Status(200)),
        ("6.5.2 a push of 2", setting::ENABLE_PUSH, 2, GoAway(Reason::PROTOCOL_ERROR)),
        ("6.5.2 the largest window", setting::INITIAL_WINDOW_SIZE, LARGEST_WINDOW, Status(200)),
        ("6.5.2 a larger window", setting::INITIAL_WINDOW_SIZE, 1 << 31, GoAway(Reason::PROTOCOL_ERROR)),
        ("6.5.2 the smallest frames", setting::MAX_FRAME_SIZE, 1 << 14, Status(200)),
        ("6.5.2 smaller frames", setting::MAX_FRAME_SIZE, (1 << 14) - 1, GoAway(Reason::PROTOCOL_ERROR)),
        ("6.5.2 the largest frames", setting::MAX_FRAME_SIZE, (1 << 24) - 1, Status(200)),
        ("6.5.2 larger frames", setting::MAX_FRAME_SIZE, 1 << 24, GoAway(Reason::PROTOCOL_ERROR)),
        ("6.5.2 no table", setting::HEADER_TABLE_SIZE, 0, Status(200)),
        ("6.5.2 a large table", setting::HEADER_TABLE_SIZE, u32::MAX, Status(200)),
        ("RFC 8441, 3: no word of a client", setting::ENABLE_CONNECT_PROTOCOL, 1, Status(200)),
    ];
    let rows = table.map(|(says, id, value, expects)| {
        let row = rule(says, &[Frame::setting_of(id, value), get(1)], expects);
        // A window is the one value whose error is another.
        let another = id == setting::INITIAL_WINDOW_SIZE && expects != Status(200);
        if another {
            row.although("FLOW_CONTROL_ERROR is asked for: the library has one code for bad values")
        } else {
            row
        }
    });
    rows.into()
}

fn pings_and_goaway() -> Vec<Rule> {
    let ping = |bytes: [u8; 8]| Frame::new(kind::PING, 0).payload(&bytes);
    // What the library sends itself, before a polite end and to see that somebody is there.
    let own = [[0x0b, 0x7b, 0xa2, 0xf0, 0x8b, 0x9b, 0xfe, 0x54], [0x3b, 0x7c, 0xdb, 0x7a, 0x0b, 0x87, 0x16, 0xb4]];
    let answers: Vec<Frame> =
        own.iter().map(|bytes| ping(*bytes).flags(ACK)).chain([ping([1; 8]).flags(ACK)]).collect();
    let (no_error, error) = (u32::from(Reason::NO_ERROR), GoAway(Reason::PROTOCOL_ERROR));
    vec![
        rule("6.7 answers to pings that nobody sent", &answers, Nothing),
        rule("6.7 a ping of a stream", &[Frame { stream: 1, ..ping([0; 8]) }], GoAway(Reason::PROTOCOL_ERROR)),
        rule("6.8 a farewell of a stream", &[sized(kind::GOAWAY, 1, 8)], GoAway(Reason::PROTOCOL_ERROR)),
        rule("6.8 a farewell", &[Frame::goaway(0, no_error)], GoAway(Reason::NO_ERROR)),
        rule("6.8 a farewell with an error", &[Frame::goaway(0, 0xff)], GoAway(Reason::NO_ERROR)),
        rule("6.8 what was asked before a farewell", &[get(1), Frame::goaway(0, no_error)], Last(200)),
        rule(
            "6.8 a farewell that takes another back",
            &[held(1, true), Frame::goaway(2, 0), Frame::goaway(4, 0)],
            error,
        ),
    ]
}

fn windows() -> Vec<Rule> {
    let none = |stream| Frame::window_update(stream, 0);
    let mut reserved = Frame::window_update(0, 1);
    reserved.payload[0] |= 0x80;
    let most = Frame::window_update;
    // A stream's window is 64 KiB here, the connection's 1 MiB.
    let four = |stream| std::iter::repeat_n(Frame::data(stream, &[b'x'; LONGEST], false), 4);
    let filled = |stream| std::iter::once(held(stream, false)).chain(four(stream));
    let stream_overflow: Vec<Frame> = filled(1).chain([Frame::data(1, b"x", false)]).collect();
    let streams = (0..16).flat_map(|number| filled(2 * number + 1));
    let connection_overflow: Vec<Frame> = streams.chain([held(33, false), Frame::data(33, b"x", false)]).collect();
    let initial = |size| Frame::setting_of(setting::INITIAL_WINDOW_SIZE, size);
    vec![
        rule("6.9 no more room", &[none(0)], GoAway(Reason::PROTOCOL_ERROR)),
        rule("6.9 no more room for a stream", &[held(1, true), none(1)], GoAway(Reason::PROTOCOL_ERROR))
            .although("a stream may be spared: the library spares none that says what makes no sense"),
        rule("6.9 the reserved bit", &[reserved, get(1)], Status(200)),
        rule("6.9.1 too much room", &[most(0, LARGEST_WINDOW)], GoAway(Reason::FLOW_CONTROL_ERROR)),
        rule(
            "6.9.1 too much room for a stream",
            &[held(1, true), most(1, LARGEST_WINDOW)],
            Reset(Reason::FLOW_CONTROL_ERROR),
        ),
        rule(
            "6.9.2 too much room by settings",
            &[held(1, true), most(1, 1 << 30), initial(1 << 30)],
            GoAway(Reason::FLOW_CONTROL_ERROR),
        ),
        rule(
            "6.9 room for a stream that is over",
            &[held(1, true), Frame::reset(1, 8), most(1, 1), get(3)],
            Status(200),
        )
        .about(3),
        rule("6.9.1 more than a stream's room", &stream_overflow, Reset(Reason::FLOW_CONTROL_ERROR)),
        rule("6.9.1 more than the connection's room", &connection_overflow, GoAway(Reason::FLOW_CONTROL_ERROR)),
    ]
}

/// Each of these is allowed, but not so many.
fn floods() -> Vec<Rule> {
    let calm = GoAway(Reason::ENHANCE_YOUR_CALM);
    let empty = std::iter::once(held(1, false)).chain(std::iter::repeat_n(Frame::data(1, &[], false), 2000));
    let tiny = std::iter::once(held(1, false)).chain(std::iter::repeat_n(Frame::data(1, b"x", false), 60_000));
    let overflow = |stream| [held(stream, true), Frame::window_update(stream, LARGEST_WINDOW)];
    let overflows: Vec<Frame> = (0..300).flat_map(|number| overflow(2 * number + 1)).collect();
    let malformed: Vec<Frame> = (0..120).map(|number| bad(2 * number + 1, &[("te", "gzip")])).collect();
    let refused: Vec<Frame> = (0..MOST_STREAMS + 200).map(|number| held(2 * number + 1, true)).collect();
    let pings: Vec<Frame> = std::iter::repeat_n(Frame::new(kind::PING, 0).payload(&[0; 8]), 3000).collect();
    let settings: Vec<Frame> = std::iter::repeat_n(Frame::new(kind::SETTINGS, 0), 3000).collect();
    let priorities: Vec<Frame> = (0..3000).map(|number| priority(2 * number + 1, 0)).collect();
    vec![
        rule("10.5 empty DATA", &empty.collect::<Vec<_>>(), calm),
        rule("10.5 tiny DATA that nobody takes", &tiny.collect::<Vec<_>>(), calm),
        rule("10.5 streams that the gateway has to reset", &overflows, calm),
        rule("10.5 heads that the gateway has to reset", &malformed, calm),
        rule("10.5 streams that it has to refuse", &refused, calm).about(u32::MAX),
        rule("10.5 pings", &pings, Nothing),
        rule("10.5 settings", &settings, Nothing),
        rule("10.5 priorities", &priorities, Nothing),
    ]
}
