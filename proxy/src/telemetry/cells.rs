//! One worker's counts of the requests that it has served. The request path touches nothing else; a scrape asks every
//! worker to add its counts to the shared series.

use super::metrics::{LocalSeries, Metrics, Outcome, Protocol, Sizes};
use crate::error::Flags;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ptr;
use std::sync::{Arc, Weak};
use turnout_routes::router::Workload;

/// One worker's cells, one for each kind of outcome at each workload. There are as many as were needed: a workload that
/// is gone takes its own with it.
pub(crate) struct WorkerMetrics {
    shared: Arc<Metrics>,
    cells: RefCell<HashMap<Key, Cell>>,
}

/// Requests that are counted together. A workload is known by its address, which no other has while its cell is there.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    workload: *const Workload,
    code: u16,
    flags: Flags,
    protocol: Protocol,
}

struct Cell {
    /// Keeps the address, not the workload; none for requests that went nowhere.
    workload: Option<Weak<Workload>>,
    series: LocalSeries,
}

impl WorkerMetrics {
    pub(crate) fn new(shared: &Arc<Metrics>) -> Self {
        Self { shared: Arc::clone(shared), cells: RefCell::default() }
    }

    pub(crate) fn shared(&self) -> &Arc<Metrics> {
        &self.shared
    }

    /// Counts a request that is over.
    pub(crate) fn request(&self, workload: Option<&Arc<Workload>>, outcome: Outcome, sizes: &Sizes) {
        let Outcome { code, flags, protocol } = outcome;
        let key = Key { workload: workload.map_or(ptr::null(), Arc::as_ptr), code, flags, protocol };
        let mut cells = self.cells.borrow_mut();
        let cell = cells.entry(key).or_insert_with(|| Cell {
            workload: workload.map(Arc::downgrade),
            series: self.shared.local_series(workload.map(|workload| &**workload), outcome),
        });
        cell.series.count(sizes);
    }

    /// Adds the cells to the shared series.
    pub(crate) fn flush(&self) {
        self.cells.borrow().values().for_each(|cell| cell.series.flush());
    }

    /// Lets go of the cells of workloads that are gone, after a last flush. Called about once a second.
    pub(crate) fn forget_gone(&self) {
        self.cells.borrow_mut().retain(|_, cell| {
            let gone = cell.workload.as_ref().is_some_and(|workload| workload.strong_count() == 0);
            if gone {
                cell.series.flush();
            }
            !gone
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::SourceNames;
    use crate::testing::workload;
    use std::time::Duration;

    fn worker() -> WorkerMetrics {
        let source = SourceNames { workload: "turnout-gateway".into(), namespace: "istio-system".into() };
        WorkerMetrics::new(&Arc::new(Metrics::new(source).expect("every name is used once")))
    }

    fn count(worker: &WorkerMetrics, workload: Option<&Arc<Workload>>, code: u16) {
        let sizes = Sizes {
            elapsed: Duration::from_millis(3),
            upstream: Duration::from_millis(2),
            request_bytes: 10,
            response_bytes: 20,
        };
        let outcome = Outcome { code, flags: Flags::NONE, protocol: Protocol::Http };
        worker.request(workload, outcome, &sizes);
    }

    /// The sum of the requests that a side reports, of those whose labels contain this text.
    fn reported(worker: &WorkerMetrics, reporter: &str, containing: &str) -> u64 {
        let text = worker.shared.render();
        let lines = text.lines().filter(|line| {
            line.starts_with("istio_requests_total{")
                && line.contains(&format!("reporter=\"{reporter}\""))
                && line.contains(containing)
        });
        lines.map(|line| line.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok()).expect("a count")).sum()
    }

    #[test]
    fn a_request_is_counted_once_and_reported_by_both_sides() {
        let worker = worker();
        for code in [200, 200, 200, 503] {
            count(&worker, None, code);
        }
        assert_eq!(reported(&worker, "source", "response_code=\"200\""), 0, "nothing is shared before a flush");
        worker.flush();
        worker.flush();
        for reporter in ["source", "destination"] {
            assert_eq!(reported(&worker, reporter, "response_code=\"200\""), 3, "{reporter}");
            assert_eq!(reported(&worker, reporter, "response_code=\"503\""), 1, "{reporter}");
        }
    }

    #[test]
    fn every_kind_of_outcome_at_every_workload_keeps_its_cell() {
        let worker = worker();
        let workloads: Vec<_> = (0..40).map(|version| workload(&version.to_string())).collect();
        for _round in 0..3 {
            for workload in &workloads {
                (200..240).for_each(|code| count(&worker, Some(workload), code));
            }
            worker.forget_gone();
            assert_eq!(worker.cells.borrow().len(), 1600);
        }
        assert_eq!(reported(&worker, "source", ""), 0, "no cell was flushed to make room for another");
        worker.flush();
        assert_eq!(reported(&worker, "source", ""), 4800);
        assert_eq!(reported(&worker, "source", "destination_version=\"7\""), 120);
    }

    #[test]
    fn a_workload_that_is_gone_takes_its_cells_with_it_and_loses_no_request() {
        let worker = worker();
        let (kept, gone) = (workload("1"), workload("2"));
        for workload in [None, Some(&kept), Some(&gone)] {
            count(&worker, workload, 200);
        }
        worker.forget_gone();
        assert_eq!(worker.cells.borrow().len(), 3);
        drop(gone);
        worker.forget_gone();
        assert_eq!(worker.cells.borrow().len(), 2);
        assert_eq!(reported(&worker, "source", "destination_version=\"2\""), 1);
        // One with the same names goes on where it ended, wherever in memory it is.
        count(&worker, Some(&workload("2")), 200);
        worker.forget_gone();
        assert_eq!(reported(&worker, "source", "destination_version=\"2\""), 2);
    }
}
