//! Names that endpoints stand behind. Each is looked up once for all who need it, and again and again for as long as
//! somebody does: the handle that they share is what keeps the look-ups going.

use super::Resolver;
use super::dns::Known;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;

/// Names that are looked up at the same time. The others wait: each look-up holds two sockets.
const MAX_LOOK_UPS: usize = 128;

/// All names that somebody needs.
pub(super) struct Names {
    resolver: Arc<Resolver>,
    turns: Arc<Semaphore>,
    needed: Mutex<HashMap<String, Weak<Name>>>,
}

/// A name that is kept looked up until the last handle is dropped.
#[derive(Debug)]
pub(super) struct Name {
    entry: Arc<Entry>,
    task: AbortHandle,
}

/// What the handles of a name share with the task that looks it up.
#[derive(Debug)]
struct Entry {
    name: String,
    /// None until the first look-up is over.
    addresses: watch::Sender<Option<Vec<IpAddr>>>,
    followers: Mutex<Vec<Weak<dyn Follower>>>,
}

/// Somebody who wants to know when a name has another answer.
pub(super) trait Follower: std::fmt::Debug + Send + Sync {
    fn name_answered(&self);
}

impl Names {
    pub(super) fn new(resolver: Resolver) -> Self {
        let turns = Arc::new(Semaphore::new(MAX_LOOK_UPS));
        Self { resolver: Arc::new(resolver), turns, needed: Mutex::default() }
    }

    /// The handle of a name, which is looked up from now on if it was not. Must run inside the control runtime.
    pub(super) fn need(&self, name: &str) -> Arc<Name> {
        let mut needed = self.needed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = needed.get(name).and_then(Weak::upgrade) {
            return known;
        }
        needed.retain(|_, name| name.strong_count() > 0);
        let addresses = watch::Sender::new(None);
        let entry = Arc::new(Entry { name: name.to_owned(), addresses, followers: Mutex::default() });
        let looking = keep_looked_up(Arc::clone(&entry), Arc::clone(&self.resolver), Arc::clone(&self.turns));
        let made = Arc::new(Name { entry, task: tokio::spawn(looking).abort_handle() });
        needed.insert(name.to_owned(), Arc::downgrade(&made));
        made
    }
}

impl Name {
    /// The last answer; no addresses before there was any.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        self.entry.addresses.borrow().clone().unwrap_or_default()
    }

    /// Returns when the first look-up is over, whatever came of it.
    pub(super) async fn answered(&self) {
        // The sender lives as long as `self`, so this does not fail.
        let _ = self.entry.addresses.subscribe().wait_for(Option::is_some).await;
    }

    /// Tells the follower of every other answer from now on.
    pub(super) fn tell(&self, follower: Weak<dyn Follower>) {
        let mut followers = self.entry.followers.lock().unwrap_or_else(PoisonError::into_inner);
        followers.retain(|known| known.strong_count() > 0 && !Weak::ptr_eq(known, &follower));
        followers.push(follower);
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Entry {
    fn answer(&self, addresses: &[IpAddr]) {
        let changed = self.addresses.send_if_modified(|known| {
            let changed = known.as_deref() != Some(addresses);
            if changed {
                // A first look-up that came to nothing has said so itself, or there is nothing to say.
                if known.is_some() || !addresses.is_empty() {
                    tracing::info!(name = self.name, ?addresses, "resolved");
                }
                *known = Some(addresses.to_vec());
            }
            changed
        });
        if changed {
            let followers = self.followers.lock().unwrap_or_else(PoisonError::into_inner).clone();
            followers.iter().filter_map(Weak::upgrade).for_each(|follower| follower.name_answered());
        }
    }
}

async fn keep_looked_up(entry: Arc<Entry>, resolver: Arc<Resolver>, turns: Arc<Semaphore>) {
    let mut known = Known::default();
    loop {
        let turn = turns.acquire().await;
        let refresh = resolver.look_up(&entry.name, &mut known).await;
        drop(turn);
        entry.answer(known.addresses());
        tokio::time::sleep(refresh).await;
    }
}
