//! Hints that files may have changed. Directories are watched, never files: kubelet swaps links, editors rename. Events
//! of our own reading are not hints, or a reload would cause the next.

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::Notify;

/// Watched directories.
pub(super) struct Watch {
    watcher: RecommendedWatcher,
    hint: Arc<Notify>,
    /// Besides the routes' own.
    others: BTreeSet<PathBuf>,
}

impl Watch {
    /// Watches a directory, or the directory of a file.
    pub(super) fn new(path: &Path) -> Result<Self, notify::Error> {
        let hint = Arc::new(Notify::new());
        let hinted = Arc::clone(&hint);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // An error (a full queue) says that something was missed: look.
            if !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
                hinted.notify_one();
            }
        })?;
        let directory = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        watcher.watch(directory, RecursiveMode::NonRecursive)?;
        Ok(Self { watcher, hint, others: BTreeSet::new() })
    }

    /// Watches these directories, too, and no longer those of an earlier call. One that does not exist yet is tried
    /// again by the next call, which comes at least every few seconds.
    pub(super) fn also(&mut self, directories: &BTreeSet<PathBuf>) {
        for gone in self.others.difference(directories) {
            // A directory that was removed is not watched any more already.
            let _ = self.watcher.unwatch(gone);
        }
        let watched = directories.iter().filter(|directory| {
            self.others.contains(*directory) || self.watcher.watch(directory, RecursiveMode::NonRecursive).is_ok()
        });
        self.others = watched.cloned().collect();
    }

    /// Returns when something may have changed since the last return.
    pub(super) async fn hint(&self) {
        self.hint.notified().await;
    }
}
