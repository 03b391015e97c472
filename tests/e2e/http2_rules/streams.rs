//! What holds for a stream: its number, its states, its frames, and heads in several frames.

use super::{GoAway, MOST_STREAMS, Nothing, Reset, Rule, Status, get, held, post, rule};
use h2::Reason;
use turnout_tests::frames::{CANCEL, END_HEADERS, END_STREAM, Frame, PADDED, PRIORITIZED, kind};

const PROTOCOL: super::Expects = GoAway(Reason::PROTOCOL_ERROR);

const WHOLE_CONNECTION: &str = "STREAM_CLOSED is asked for: the library ends the connection with PROTOCOL_ERROR";
const RESET_LATELY: &str = "what was on its way when the stream ended is thrown away, for a while";

pub(super) fn rules() -> Vec<Rule> {
    [idle(), numbers(), half_closed(), closed(), data(), headers(), resets(), continuations()]
        .into_iter()
        .flatten()
        .collect()
}

/// The same head in two frames.
pub(super) fn in_two(head: &Frame) -> [Frame; 2] {
    let (first, second) = head.payload.split_at(5);
    let flags = head.flags & !END_HEADERS;
    [
        Frame::new(head.kind, head.stream).flags(flags).payload(first),
        Frame::new(kind::CONTINUATION, head.stream).flags(END_HEADERS).payload(second),
    ]
}

fn idle() -> Vec<Rule> {
    vec![
        rule("5.1 DATA of an idle stream", &[Frame::data(1, b"x", true)], PROTOCOL),
        rule("5.1 RST_STREAM of an idle stream", &[Frame::reset(1, CANCEL)], PROTOCOL),
        rule("5.1 WINDOW_UPDATE of an idle stream", &[Frame::window_update(1, 1)], PROTOCOL),
        rule("6.10 CONTINUATION of an idle stream", &[Frame::new(kind::CONTINUATION, 1)], PROTOCOL),
        rule("5.1 DATA of a stream that was passed over", &[get(3), Frame::data(1, b"x", true), get(5)], Status(200))
            .about(5)
            .although("STREAM_CLOSED of the stream is said, which nobody has: it was closed by the next (5.1.1)"),
    ]
}

fn numbers() -> Vec<Rule> {
    let many = (0..=MOST_STREAMS).map(|number| held(2 * number + 1, true));
    let over = 2 * MOST_STREAMS + 1;
    let room_again = (0..MOST_STREAMS).map(|number| Frame::reset(2 * number + 1, CANCEL));
    let many: Vec<Frame> = many.chain(room_again).collect();
    vec![
        rule("5.1.1 an even number", &[get(2)], PROTOCOL),
        rule("5.1.1 a smaller number", &[get(5), get(3)], PROTOCOL).about(3),
        rule("5.1.1 the same number, while it is asked", &[held(1, true), get(1)], PROTOCOL).although(WHOLE_CONNECTION),
        rule("5.1.1 numbers may be passed over", &[get(9)], Status(200)).about(9),
        rule("5.1.2 one stream too many", &many, Reset(Reason::REFUSED_STREAM)).about(over),
    ]
}

fn half_closed() -> Vec<Rule> {
    vec![
        rule("5.1 DATA behind the end", &[held(1, true), Frame::data(1, b"x", true)], PROTOCOL)
            .although(WHOLE_CONNECTION),
        rule("5.1 a head behind the end", &[held(1, true), trailers(&[("x-a", "1")])], PROTOCOL)
            .although(WHOLE_CONNECTION),
        rule("5.1 room behind the end", &[held(1, true), Frame::window_update(1, 1)], Nothing),
        rule("5.1 a reset behind the end", &[held(1, true), Frame::reset(1, CANCEL)], Nothing),
        rule(
            "5.1 DATA behind trailers",
            &[held(1, false), trailers(&[("x-a", "1")]), Frame::data(1, b"x", true)],
            PROTOCOL,
        )
        .although(WHOLE_CONNECTION),
    ]
}

fn closed() -> Vec<Rule> {
    let reset = [held(1, false), Frame::reset(1, CANCEL)];
    let then = |last: Frame| [&reset[..], &[last]].concat();
    vec![
        rule("5.1 DATA behind a reset", &then(Frame::data(1, b"x", true)), Reset(Reason::STREAM_CLOSED)),
        rule("5.1 a head behind a reset", &then(get(1)), PROTOCOL).although(WHOLE_CONNECTION),
        rule("5.1 a second reset", &then(Frame::reset(1, CANCEL)), Nothing),
        rule("5.1 room behind a reset", &then(Frame::window_update(1, 1)), Nothing),
        rule("5.1 a priority behind a reset", &then(Frame::new(kind::PRIORITY, 1).payload(&[0; 5])), Nothing),
        rule(
            "5.1 DATA on its way to a stream that the gateway has reset",
            &[held(1, false), Frame::window_update(1, (1 << 31) - 1), Frame::data(1, b"x", true)],
            Reset(Reason::FLOW_CONTROL_ERROR),
        )
        .although(RESET_LATELY),
    ]
}

fn data() -> Vec<Rule> {
    let padded = |padding: &[u8]| [post(1), Frame::new(kind::DATA, 1).flags(END_STREAM | PADDED).payload(padding)];
    vec![
        rule("6.1 a body", &[post(1), Frame::data(1, b"x", false), Frame::data(1, b"y", true)], Status(200)),
        rule("6.1 an empty body", &[post(1), Frame::data(1, b"", true)], Status(200)),
        rule("6.1 DATA of the connection", &[Frame::data(0, b"x", true)], PROTOCOL),
        rule("6.1 padding", &padded(&[3, b'x', 0, 0, 0]), Status(200)),
        rule("6.1 padding alone", &padded(&[3, 0, 0, 0]), Status(200)),
        rule("6.1 padding that is not 0", &padded(&[3, b'x', 1, 1, 1]), Status(200)),
        rule("6.1 as much padding as payload", &padded(&[3, 0, 0]), PROTOCOL),
        rule("6.1 no length of the padding", &padded(&[]), PROTOCOL),
    ]
}

fn headers() -> Vec<Rule> {
    let padded = |length: u8, zeros: usize| {
        let payload = [&[length][..], &get(1).payload, &vec![0; zeros]].concat();
        Frame { flags: get(1).flags | PADDED, payload, ..get(1) }
    };
    let on = |stream: u32| {
        let payload = [&stream.to_be_bytes()[..], &[9], &get(1).payload].concat();
        Frame { flags: get(1).flags | PRIORITIZED, payload, ..get(1) }
    };
    vec![
        rule("6.2 a head of the connection", &[get(0)], PROTOCOL),
        rule("6.2 padding", &[padded(9, 9)], Status(200)),
        rule("6.2 more padding than payload", &[padded(255, 0)], PROTOCOL),
        rule(
            "6.2 no length of the padding",
            &[Frame { payload: vec![], flags: PADDED | END_HEADERS, ..get(1) }],
            PROTOCOL,
        ),
        rule("6.2 a priority", &[on(3)], Status(200)),
        rule("6.2 a priority of four bytes", &[Frame { payload: vec![0; 4], ..on(3) }], PROTOCOL)
            .although("FRAME_SIZE_ERROR is asked for: the library has one code for what it cannot read"),
        rule("6.2 a stream that depends on itself", &[on(1)], Reset(Reason::PROTOCOL_ERROR))
            .although("RFC 9113 knows no priorities any more; RFC 7540 (5.3.1) has this code"),
        rule("6.2 an empty head", &[Frame { payload: vec![], ..get(1) }], Reset(Reason::PROTOCOL_ERROR)),
    ]
}

fn resets() -> Vec<Rule> {
    vec![
        rule("6.4 a reset", &[held(1, true), Frame::reset(1, CANCEL)], Nothing),
        rule("6.4 a reset with an unknown code", &[held(1, true), Frame::reset(1, 0xff)], Nothing),
        rule("6.4 a reset without an error", &[held(1, true), Frame::reset(1, 0)], Nothing),
        rule("6.4 a reset of the connection", &[Frame::reset(0, CANCEL)], PROTOCOL),
        rule("8.7 a refusal by a client", &[held(1, true), Frame::reset(1, 7)], Nothing),
    ]
}

/// A second head.
pub(super) fn trailers(fields: &[(&str, &str)]) -> Frame {
    Frame::headers(1, fields, true)
}

fn continuations() -> Vec<Rule> {
    let [head, rest] = in_two(&get(1));
    let [first, second] = in_two(&rest);
    let second = Frame { flags: END_HEADERS, ..second };
    let first = Frame { kind: kind::CONTINUATION, flags: 0, ..first };
    let empty = Frame::new(kind::CONTINUATION, 1);
    let flood: Vec<Frame> = std::iter::once(head.clone()).chain(std::iter::repeat_n(empty.clone(), 1000)).collect();
    let endless = Frame { payload: turnout_tests::frames::block(&[("x-a", &"a".repeat(16_000))]), ..empty.clone() };
    let whole = Frame { flags: END_STREAM, ..get(1) };
    let endless: Vec<Frame> = std::iter::once(whole).chain(std::iter::repeat_n(endless, 100)).collect();
    let between = |frame: Frame| [head.clone(), frame, rest.clone()];
    vec![
        rule("6.10 a head in two", &[head.clone(), rest.clone()], Status(200)),
        rule("6.10 a head in three", &[head.clone(), first, second], Status(200)),
        rule("6.10 an empty piece", &between(empty), Status(200)),
        rule("6.10 a piece behind the end of a head", &[get(1), rest.clone()], PROTOCOL),
        rule("6.10 a piece of the connection", &between(Frame { stream: 0, ..rest.clone() }), PROTOCOL),
        rule("6.10 a piece of another stream", &between(Frame { stream: 3, ..rest.clone() }), PROTOCOL),
        rule("6.10 DATA in a head", &between(Frame::data(1, b"x", false)), PROTOCOL),
        rule("6.10 another head in a head", &between(get(3)), PROTOCOL),
        rule("6.10 SETTINGS in a head", &between(Frame::new(kind::SETTINGS, 0)), PROTOCOL),
        rule("6.10 PING in a head", &between(Frame::new(kind::PING, 0).payload(&[0; 8])), PROTOCOL),
        rule("10.5 empty pieces without end", &flood, GoAway(Reason::ENHANCE_YOUR_CALM)),
        rule("10.5 a head without end", &endless, GoAway(Reason::ENHANCE_YOUR_CALM)),
    ]
}
