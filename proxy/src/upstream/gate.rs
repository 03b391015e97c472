//! The waker of a connection that is driven by the request that uses it. hyper wakes a connection when a message is handed
//! to it or taken from it; where the same task does both, it is awake, and would only be polled once more for nothing.
//! A [`Gate`] lets through what the socket says, and nothing that happens while it is shut. It remembers whether something
//! came through: a task is polled for other reasons, too, and the connection then has nothing to do.

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
    /// Whether something came through that nobody has asked about.
    passed: AtomicBool,
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.shut.load(Ordering::Relaxed) {
            self.passed.store(true, Ordering::Release);
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

    /// There is something to do, of which nobody has to be woken.
    pub(super) fn pass(&self) {
        self.0.passed.store(true, Ordering::Relaxed);
    }

    /// Whether something came through since this was asked last. To be asked after [`Self::lead_to`]: what comes through
    /// later wakes whom it leads to.
    pub(super) fn was_passed(&self) -> bool {
        self.0.passed.swap(false, Ordering::Acquire)
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

    #[test]
    fn what_came_through_is_told_once_and_what_happens_while_it_is_shut_never() {
        let gate = Gate::new();
        let waker = gate.waker();
        assert!(!gate.was_passed());
        gate.shut_during(|| waker.wake_by_ref());
        assert!(!gate.was_passed());
        waker.wake_by_ref();
        waker.wake_by_ref();
        assert_eq!([gate.was_passed(), gate.was_passed()], [true, false]);
        gate.pass();
        assert_eq!([gate.was_passed(), gate.was_passed()], [true, false]);
    }
}
