//! One worker's share of what is counted: nobody else touches it, so a request costs a few additions.

use super::{Arms, SharedEpoch};
use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;

/// All of one worker's shares.
#[derive(Default)]
pub(crate) struct WorkerEvidence(RefCell<Vec<Weak<WorkerEpoch>>>);

/// One worker's share of an epoch. It lasts as long as a request that the epoch's table has assigned.
#[derive(Debug)]
pub(crate) struct WorkerEpoch {
    pub(crate) shared: Arc<SharedEpoch>,
    pub(super) arms: RefCell<Arms>,
}

impl WorkerEvidence {
    /// This worker's shares of a table's epochs.
    pub(crate) fn of(&self, epochs: &[Option<Arc<SharedEpoch>>]) -> Vec<Option<Rc<WorkerEpoch>>> {
        let of = |shared: &Arc<SharedEpoch>| {
            let own = Rc::new(WorkerEpoch { shared: Arc::clone(shared), arms: RefCell::default() });
            self.0.borrow_mut().push(Rc::downgrade(&own));
            own
        };
        epochs.iter().map(|epoch| epoch.as_ref().map(of)).collect()
    }

    /// Adds up what was counted since the last time.
    pub(crate) fn flush(&self) {
        self.0.borrow_mut().retain(|epoch| epoch.upgrade().map(|epoch| epoch.flush()).is_some());
    }
}

impl WorkerEpoch {
    fn flush(&self) {
        let counted = self.arms.take();
        if counted != Arms::default() {
            self.shared.add(&counted);
        }
    }
}

impl Drop for WorkerEpoch {
    fn drop(&mut self) {
        self.flush();
    }
}
