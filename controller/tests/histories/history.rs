//! A history: what happens to a cluster and its controllers, as a list of steps made from a seed; and how it is lived.

mod calm;
mod generate;
mod run;
mod shape;
mod shrink;

pub(crate) use generate::history;
pub(crate) use run::{Failure, live, respond};
pub(crate) use shape::Shape;
pub(crate) use shrink::shrink;

use crate::world::{Beginning, Happening};

/// A whole history.
#[derive(Clone, Debug)]
pub(crate) struct History {
    pub(crate) shape: Shape,
    pub(crate) beginning: Beginning,
    /// By how many seconds the second controller's clock is ahead, or behind.
    pub(crate) skew_seconds: i64,
    pub(crate) steps: Vec<Step>,
}

/// One step of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// A controller goes on with its round, or begins one.
    Round(Trip),
    World(Happening),
}

/// How a controller's round goes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Trip {
    /// Which of the two.
    pub(crate) controller: usize,
    pub(crate) ending: Ending,
    /// By the number of the request, counted from where the trip begins.
    pub(crate) disturbances: Vec<(usize, Disturbance)>,
    /// Gateways take what is published as soon as it is.
    pub(crate) gateways_follow: bool,
    /// Which of several requests that wait at once is delivered: not always the first.
    pub(crate) shuffle: usize,
}

impl Trip {
    /// Nothing comes between, and gateways follow.
    pub(crate) fn undisturbed(controller: usize) -> Self {
        Self { controller, ending: Ending::Whole, disturbances: Vec::new(), gateways_follow: true, shuffle: 0 }
    }
}

/// Where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Whole,
    /// The process dies before a request is sent, or right after its effect.
    Crash {
        request: usize,
        after_effect: bool,
    },
    /// The process sleeps there, until a later trip wakes it.
    Sleep {
        request: usize,
    },
    /// It sleeps where it is about to write an object of this kind.
    SleepBefore(&'static str),
}

/// What comes between.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Disturbance {
    Fault(Fault),
    /// From this request on, so many are lost.
    Partition(usize),
    Happening(Happening),
}

/// What becomes of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The server answers so, and does nothing.
    Refused(u16),
    /// The connection breaks before the request arrives.
    LostBefore,
    /// The request is done, and the answer is lost.
    LostAfter,
    /// A read shows what was, so many changes of the kind ago.
    Stale(usize),
}
