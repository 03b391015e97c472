//! The tasks of one HTTP/2 connection's streams. hyper takes a request and at once has the task made that answers it, so
//! the two are brought together here: whoever answers can end the stream.

use crate::client::StreamEnd;
use std::cell::RefCell;
use std::rc::Rc;

/// Runs hyper's tasks on the worker's own thread.
#[derive(Clone, Default)]
pub(super) struct Streams {
    /// Of the request whose task has not been made yet.
    next: Rc<RefCell<Option<Rc<StreamEnd>>>>,
}

impl Streams {
    /// What ends the stream of the request that has just come.
    pub(super) fn begin(&self) -> Rc<StreamEnd> {
        let end = Rc::<StreamEnd>::default();
        *self.next.borrow_mut() = Some(Rc::clone(&end));
        end
    }
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output: 'static> + 'static,
{
    fn execute(&self, future: F) {
        let task = tokio::task::spawn_local(future);
        if let Some(end) = self.next.borrow_mut().take() {
            end.runs_in(task.abort_handle());
        }
    }
}
