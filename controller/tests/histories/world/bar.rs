//! What keeps controllers from one of the namespaces while all others are as they were.

use super::World;
use super::cast::App;
use crate::api::kinds::KINDS;
use crate::api::store::Key;

/// How controllers are kept from a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bar {
    /// Requests for this kind are refused; for everything if none is named.
    Forbidden(Option<&'static str>),
    /// They are not answered.
    Hangs(Option<&'static str>),
    /// It is being deleted. Its Roles went first.
    Deleted,
}

/// What becomes of a request for a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Barred {
    Refused,
    Held,
}

impl Bar {
    fn of(self, plural: &str) -> Option<Barred> {
        let is_it = |kind: Option<&str>| kind.is_none_or(|kind| kind == plural);
        match self {
            Self::Forbidden(kind) => is_it(kind).then_some(Barred::Refused),
            Self::Hangs(kind) => is_it(kind).then_some(Barred::Held),
            Self::Deleted => Some(Barred::Refused),
        }
    }
}

impl World {
    pub(crate) fn barred(&self, namespace: Option<&str>, plural: &str) -> Option<Barred> {
        self.bars.get(namespace?)?.of(plural)
    }

    pub(crate) fn is_barred(&self, app: App) -> bool {
        self.bars.contains_key(app.namespace())
    }

    /// Their rollouts are still seen, and may be decided on.
    pub(crate) fn is_half_barred(&self) -> bool {
        self.bars.values().any(|bar| matches!(bar, Bar::Forbidden(Some(_)) | Bar::Hangs(Some(_))))
    }

    pub(crate) fn is_deleted(&self, app: App) -> bool {
        self.bars.get(app.namespace()) == Some(&Bar::Deleted)
    }

    /// A namespace that was deleted comes back as it was at the beginning.
    pub(super) fn bar(&mut self, of: App, bar: Option<Bar>) {
        let former = match bar {
            Some(bar) => self.bars.insert(of.namespace(), bar),
            None => self.bars.remove(of.namespace()),
        };
        match (former, bar) {
            (Some(Bar::Deleted), None) => {
                for app in self.apps().into_iter().filter(|app| app.namespace() == of.namespace()) {
                    self.found(app);
                }
            }
            // It goes to its end.
            (Some(Bar::Deleted), _) => drop(self.bars.insert(of.namespace(), Bar::Deleted)),
            (_, Some(Bar::Deleted)) => self.clear(of.namespace()),
            _ => {}
        }
    }

    /// All that is in it goes; what has finalizers waits for whoever takes them away.
    fn clear(&mut self, namespace: &str) {
        for kind in &KINDS {
            let all = self.store.list(kind.plural, namespace).into_iter();
            let keys: Vec<Key> = all.map(|(key, _)| key.clone()).collect();
            for key in keys {
                self.store.remove(&key);
            }
        }
        self.pods_go();
        self.void_claims();
    }
}
