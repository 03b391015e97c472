//! Asking webhooks, beside the rounds: a round says what is to be asked, and later ones read what was answered. Each
//! question has a task while it is asked; what is no more wanted to be known is forgotten.

use crate::outbound::{Outbound, Post};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{AbortHandle, Id, JoinSet};
use turnout_rollout::{Question, Reply, Timestamp};

/// So much of an answer's text is told, in characters.
const LONGEST_TEXT: usize = 200;

/// The questions of all rollouts.
#[derive(Debug, Default)]
pub(crate) struct Webhooks {
    /// By rollout and question.
    asked: BTreeMap<(String, String), Asked>,
    tasks: JoinSet<Reply>,
    now: Timestamp,
}

#[derive(Debug)]
struct Asked {
    /// While it is asked.
    task: Option<AbortHandle>,
    reply: Option<Reply>,
    /// When it is asked again.
    again: Timestamp,
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
        let Some(asked) = self.asked.values_mut().find(is_it) else { return };
        asked.task = None;
        asked.again = self.now.plus(asked.interval_seconds.into());
        asked.reply = Some(reply);
    }

    /// What was answered last to the questions of a rollout, by their ids.
    pub(crate) fn replies(&self, rollout: &str) -> BTreeMap<String, Reply> {
        let own = self.asked.iter().filter(|((of, _), _)| of == rollout);
        own.filter_map(|((_, id), asked)| Some((id.clone(), asked.reply.clone()?))).collect()
    }

    /// Asks these questions of the rollout and no others, and returns at once.
    pub(crate) fn ask<'a>(
        &mut self,
        rollout: &str,
        questions: impl Iterator<Item = &'a Question>,
        outbound: &Arc<dyn Outbound>,
    ) {
        let mut wanted = BTreeSet::new();
        for Question { id, webhook, body } in questions {
            wanted.insert(id.clone());
            let interval_seconds = webhook.interval_seconds;
            let new = Asked { task: None, reply: None, again: self.now, interval_seconds };
            let asked = self.asked.entry((rollout.to_owned(), id.clone())).or_insert(new);
            if asked.task.is_none() && self.now >= asked.again {
                let post = Post {
                    url: webhook.url.clone(),
                    ca_bundle: webhook.ca_bundle.clone(),
                    body: body.to_string(),
                    timeout: Duration::from_secs(webhook.timeout_seconds.into()),
                };
                asked.task = Some(self.tasks.spawn(ask(outbound.clone(), post)));
            }
        }
        self.forget(|(of, id)| of == rollout && !wanted.contains(id));
    }

    /// How long the next round may wait for the questions of a rollout, which it cannot be told of; none without any.
    pub(crate) fn pause(&self, rollout: &str, while_asked: Duration) -> Option<Duration> {
        let own = self.asked.iter().filter(|((of, _), _)| of == rollout);
        let pause = |asked: &Asked| match asked.task {
            Some(_) => while_asked,
            None => Duration::from_secs(asked.again.seconds_since(self.now)),
        };
        own.map(|(_, asked)| pause(asked)).min()
    }

    /// Forgets the questions of rollouts that have gone.
    pub(crate) fn keep(&mut self, present: impl Fn(&str) -> bool) {
        self.forget(|(of, _)| !present(of));
    }

    fn forget(&mut self, which: impl Fn(&(String, String)) -> bool) {
        for (_, asked) in self.asked.extract_if(.., |key, _| which(key)) {
            if let Some(task) = asked.task {
                task.abort();
            }
        }
    }
}

async fn ask(outbound: Arc<dyn Outbound>, post: Post) -> Reply {
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
