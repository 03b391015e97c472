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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_gate_leads_to_one_task_at_a_time_and_only_while_it_is_open() {
        let (gate, counts) = (Gate::new(), [Arc::<Count>::default(), Arc::default()]);
        let waker = gate.waker();
        let check = |expected: [usize; 2]| {
            waker.wake_by_ref();
            assert_eq!([0, 1].map(|of| counts[of].0.load(Ordering::Relaxed)), expected);
        };
        check([0, 0]);
        gate.lead_to(&Waker::from(Arc::clone(&counts[0])));
        gate.shut_during(|| check([0, 0]));
        check([1, 0]);
        check([1, 0]);
        gate.lead_to(&Waker::from(Arc::clone(&counts[0])));
        gate.lead_to(&Waker::from(Arc::clone(&counts[1])));
        check([1, 1]);
        gate.lead_to(&Waker::from(Arc::clone(&counts[0])));
        gate.lead_nowhere();
        check([1, 1]);
    }
}
