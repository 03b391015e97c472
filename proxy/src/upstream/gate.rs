//! The waker of a connection that is driven by the request that uses it. hyper wakes a connection when a message is handed
//! to it or taken from it; where the same task does both, it is awake, and would only be polled once more for nothing.
//! A [`Gate`] lets through what the socket says, and nothing that happens while it is shut.

use atomic_waker::AtomicWaker;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(super) struct Gate(Arc<Shared>);

#[derive(Default)]
struct Shared {
    behind: AtomicWaker,
    shut: AtomicBool,
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.shut.load(Ordering::Relaxed) {
            self.behind.wake();
        }
    }
}

impl Gate {
    pub(super) fn new() -> Self {
        Self(Arc::default())
    }

    /// The waker to drive the connection with.
    pub(super) fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.0))
    }

    /// Whom it leads to from now on.
    pub(super) fn lead_to(&self, waker: &Waker) {
        self.0.behind.register(waker);
    }

    /// Leads to nobody: no request uses the connection.
    pub(super) fn lead_nowhere(&self) {
        self.0.behind.take();
    }

    /// Does something that would wake the connection. Whoever does it polls the connection afterwards, or has what he
    /// wanted from it.
    pub(super) fn shut_during<R>(&self, act: impl FnOnce() -> R) -> R {
        self.0.shut.store(true, Ordering::Relaxed);
        let result = act();
        self.0.shut.store(false, Ordering::Relaxed);
        result
    }
}
