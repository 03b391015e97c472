//! Asking webhooks, beside the rounds: a round says what is to be asked, and later ones read what was answered. Each
//! question has a task while it is asked; what is no more wanted to be known is forgotten.

use crate::outbound::{Outbound, Post};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, Id, JoinSet};
use turnout_rollout::{Question, Reply, Timestamp};

/// So much of an answer's text is told, in characters.
const LONGEST_TEXT: usize = 200;
/// So many of one namespace are asked at a time: servers that hang must not use up the connections that everything else
/// needs, nor keep another namespace's from being asked.
const MOST_AT_A_TIME: usize = 64;

/// The questions of all rollouts.
#[derive(Debug, Default)]
pub(crate) struct Webhooks {
    /// By rollout, then by question.
    asked: BTreeMap<String, BTreeMap<String, Asked>>,
    /// By namespace: who may ask now.
    places: BTreeMap<String, Arc<Semaphore>>,
    tasks: JoinSet<Reply>,
    now: Timestamp,
}

#[derive(Debug, Default)]
struct Asked {
    /// While it is asked.
    task: Option<AbortHandle>,
    reply: Option<Reply>,
    /// When that came.
    answered: Option<Timestamp>,
    /// As the spec has it now.
    interval_seconds: u32,
}

impl Webhooks {
    /// A round begins: takes over what was answered since the last one.
    pub(crate) fn collect(&mut self, now: Timestamp) {
        self.now = now;
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            match ended {
                Ok((id, reply)) => self.answered(id, reply),
                Err(error) if error.is_cancelled() => {}
                Err(error) => self.answered(error.id(), Reply::None(error.to_string())),
            }
        }
    }

    fn answered(&mut self, id: Id, reply: Reply) {
        let is_it = |asked: &&mut Asked| asked.task.as_ref().is_some_and(|task| task.id() == id);
        let Some(asked) = self.asked.values_mut().flat_map(BTreeMap::values_mut).find(is_it) else { return };
        asked.task = None;
        (asked.reply, asked.answered) = (Some(reply), Some(self.now));
    }

    /// What was answered last to the questions of a rollout, by their ids.
    pub(crate) fn replies(&self, rollout: &str) -> BTreeMap<String, Reply> {
        let own = self.asked.get(rollout).into_iter().flatten();
        own.filter_map(|(id, asked)| Some((id.clone(), asked.reply.clone()?))).collect()
    }

    /// Asks these questions of the rollout and no others, and returns at once.
    pub(crate) fn ask<'a>(
        &mut self,
        rollout: &str,
        namespace: &str,
        questions: impl Iterator<Item = &'a Question>,
        outbound: &Arc<dyn Outbound>,
    ) {
        let mut former = self.asked.remove(rollout).unwrap_or_default();
        let mut own = BTreeMap::new();
        for Question { id, webhook, body } in questions {
            let asked = own.entry(id.clone()).or_insert(former.remove(id).unwrap_or_default());
            asked.interval_seconds = webhook.interval_seconds;
            if asked.task.is_none() && asked.seconds_left(self.now) == 0 {
                let post = Post {
                    url: webhook.url.clone(),
                    ca_bundle: webhook.ca_bundle.clone(),
                    body: body.to_string(),
                    timeout: Duration::from_secs(webhook.timeout_seconds.into()),
                };
                let places = self.places.entry(namespace.to_owned()).or_insert_with(all_free);
                asked.task = Some(self.tasks.spawn(ask(places.clone(), outbound.clone(), post)));
            }
        }
        give_up(former);
        if !own.is_empty() {
            self.asked.insert(rollout.to_owned(), own);
        }
    }

    /// Nothing of the rollout is wanted to be known.
    pub(crate) fn stop(&mut self, rollout: &str) {
        give_up(self.asked.remove(rollout).unwrap_or_default());
    }

    /// How long the next round may wait for the questions of a rollout, which it cannot be told of; none without any. One
    /// that is due and was not asked in this round waits for something else, and that has its own time.
    pub(crate) fn pause(&self, rollout: &str, while_asked: Duration) -> Option<Duration> {
        let pause = |asked: &Asked| match asked.task {
            Some(_) => Some(while_asked),
            None => Some(Duration::from_secs(asked.seconds_left(self.now))).filter(|left| !left.is_zero()),
        };
        self.asked.get(rollout)?.values().filter_map(pause).min()
    }

    /// Forgets the questions of rollouts that have gone.
    pub(crate) fn keep(&mut self, present: impl Fn(&str) -> bool) {
        for (_, gone) in self.asked.extract_if(.., |rollout, _| !present(rollout)) {
            give_up(gone);
        }
        self.places.retain(|_, places| Arc::strong_count(places) > 1);
    }
}

impl Asked {
    /// Until it is asked again.
    fn seconds_left(&self, now: Timestamp) -> u64 {
        self.answered.map_or(0, |at| at.plus(self.interval_seconds.into()).seconds_since(now))
    }
}

fn all_free() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(MOST_AT_A_TIME))
}

fn give_up(asked: BTreeMap<String, Asked>) {
    for task in asked.into_values().filter_map(|asked| asked.task) {
        task.abort();
    }
}

async fn ask(places: Arc<Semaphore>, outbound: Arc<dyn Outbound>, post: Post) -> Reply {
    // It is never closed; the time that an answer may take begins when it is asked.
    let _place = places.acquire().await;
    match outbound.post(post).await {
        Ok(answer) => Reply::Answer { status: answer.status, text: in_one_line(&answer.body) },
        Err(error) => Reply::None(error.to_string()),
    }
}

/// What people can read of it, in one line and not long.
fn in_one_line(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|it| !it.is_empty()).collect();
    let line = words.join(" ");
    match line.char_indices().nth(LONGEST_TEXT) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests;
