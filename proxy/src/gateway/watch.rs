//! Stands beside a response whose client may take nothing of it: ends it when the rule's time is over or the client has
//! taken nothing for too long, and frees the backend.

use super::deadline::Deadline;
use super::held::Held;
use crate::client::StreamEnd;
use crate::error::Flag;
use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::time::Duration;
use tokio::task::AbortHandle;

/// How long a client may take nothing of a response over HTTP/2, and what ends its stream then.
pub(super) struct Stall {
    pub(super) timeout: Duration,
    pub(super) stream: Rc<StreamEnd>,
}

/// See the module. Dropped with its response.
pub(super) struct Watch(AbortHandle);

impl Watch {
    pub(super) fn start(held: Weak<RefCell<Held>>, deadline: Option<Deadline>, stall: Option<Stall>) -> Self {
        Self(tokio::task::spawn_local(watch(held, deadline, stall)).abort_handle())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn watch(held: Weak<RefCell<Held>>, deadline: Option<Deadline>, stall: Option<Stall>) {
    let mut deadline = deadline.unwrap_or_else(|| Box::pin(std::future::pending()));
    let never = Duration::MAX;
    let timeout = stall.as_ref().map_or(never, |stall| stall.timeout);
    loop {
        let time_is_over = tokio::select! {
            () = &mut deadline => true,
            // Looked at now and then: a stall is seen at the latest when it is twice as long as allowed.
            () = tokio::time::sleep(timeout) => false,
        };
        let Some(held) = held.upgrade() else { return };
        let is_stalled = held.borrow().handed_out.is_some_and(|since| since.elapsed() >= timeout);
        if time_is_over || is_stalled {
            held.borrow_mut().cut(if time_is_over { Flag::Timeout } else { Flag::StreamIdle });
            if let Some(stall) = &stall {
                // hyper would ask for the rest only when the client had room for it.
                stall.stream.reset();
            }
            return;
        }
    }
}
