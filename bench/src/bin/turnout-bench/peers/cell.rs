//! The cells of the table, and what is sent in each.

use turnout_bench::Protocol;

use crate::models::LARGE_BYTES;
use crate::work::{HANDSHAKES, SECURE, SMALL, Steady};

/// One kind of work, for every peer that can do it.
pub(super) struct Cell {
    /// What `--cells` takes.
    pub(super) id: &'static str,
    pub(super) name: &'static str,
    pub(super) work: Work,
}

pub(super) enum Work {
    /// Requests all the time.
    Steady(Steady),
    /// What a connection holds in memory whose client says nothing.
    Idle(Idle),
    /// Requests all the time, while Turnout's routes are swapped.
    Swaps(Steady),
    /// How long it takes from the start to the first answer.
    StartUp,
}

/// How far a client has come that says nothing more.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Idle {
    Answered,
    AnsweredOverTls,
    /// In the middle of the head of its first request.
    InAHead,
}

pub(super) const CELLS: [Cell; 15] = [
    steady("1", "HTTP/1.1, 64 connections, 1 KiB in, 200 B out", SMALL),
    steady("2", "1 connection", Steady { connections: 1, ..SMALL }),
    steady("3", "1,024 connections", Steady { connections: 1024, ..SMALL }),
    // The relay would pass the end on to the client.
    steady("4", "models that close after each answer", Steady { path: "/score/closing", has_relay: false, ..SMALL }),
    steady(
        "5",
        "1 MiB in, 1 MiB out, 16 connections",
        Steady { path: "/score/large", connections: 16, request_bytes: LARGE_BYTES, ..SMALL },
    ),
    steady(
        "6",
        "HTTP/2, 64 connections of 10 streams",
        Steady { protocol: Protocol::Http2, streams: 10, has_relay: false, ..SMALL },
    ),
    steady("7", "TLS 1.3, 64 connections", SECURE),
    steady("8a", "full TLS handshakes, one request each", HANDSHAKES),
    steady("8b", "resumed TLS handshakes, one request each", Steady { resumes: true, ..HANDSHAKES }),
    idle("9a", "idle connections after a request", Idle::Answered),
    idle("9b", "idle TLS connections after a request", Idle::AnsweredOverTls),
    idle("9c", "connections in the middle of a head", Idle::InAHead),
    Cell { id: "11", name: "the routes are swapped every 100 ms", work: Work::Swaps(SMALL) },
    Cell { id: "12", name: "from the start to the first answer", work: Work::StartUp },
    steady("13", "two workers, on both processors", Steady { workers: 2, ..SMALL }),
];

const fn steady(id: &'static str, name: &'static str, work: Steady) -> Cell {
    Cell { id, name, work: Work::Steady(work) }
}

const fn idle(id: &'static str, name: &'static str, work: Idle) -> Cell {
    Cell { id, name, work: Work::Idle(work) }
}
