//! Hints that files may have changed. Directories are watched, never files: kubelet swaps links, editors rename. Events
//! of our own reading are not hints, or a reload would cause the next. A system that has no more watches to give is no
//! reason not to serve: whoever waits for hints looks more often then.

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::Notify;

/// Watched directories.
pub(super) struct Watch {
    watcher: Option<RecommendedWatcher>,
    hint: Arc<Notify>,
    /// The routes' own.
    routes: PathBuf,
    /// Whether all that should be watched is.
    complete: bool,
}

impl Watch {
    /// Watches a directory, or the directory of a file.
    pub(super) fn new(path: &Path) -> Self {
        let hint = Arc::new(Notify::new());
        let hinted = Arc::clone(&hint);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // An error (a full queue) says that something was missed: look.
            if !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
                hinted.notify_one();
            }
        });
        let watcher = watcher.map_err(|error| tracing::warn!(%error, "no watches: looking every second")).ok();
        let directory = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
        let routes = if directory.as_os_str().is_empty() { Path::new(".") } else { directory }.to_owned();
        let mut watch = Self { watcher, hint, routes, complete: false };
        watch.refresh(&BTreeSet::new());
        watch
    }

    /// Watches the routes' directory and these. Watching one again costs little, and one that was replaced by another
    /// of its name is watched no longer, so it is done for all of them, every time.
    pub(super) fn refresh(&mut self, others: &BTreeSet<PathBuf>) {
        let Some(watcher) = &mut self.watcher else { return };
        let mut watch = |directory: &Path| watcher.watch(directory, RecursiveMode::NonRecursive).is_ok();
        self.complete = watch(&self.routes);
        for folder in others {
            // A folder that is not there yet is no fault of the watch: its credential has a warning of its own.
            self.complete &= watch(folder) || !folder.exists();
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Returns when something may have changed since the last return.
    pub(super) async fn hint(&self) {
        self.hint.notified().await;
    }
}
