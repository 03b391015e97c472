//! What people hear of: an Event of Kubernetes beside the log line. That an Event cannot be written changes nothing, and
//! keeps nobody waiting: it is waited for a moment, and after one that was not answered none is tried for a while.

use crate::names::FIELD_MANAGER;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use std::time::Duration;
use tokio::time::{Instant, timeout};
use turnout_rollout::Severity;

/// The longest note that the API server takes, in bytes.
const MAX_NOTE_BYTES: usize = 1024;

/// How long an Event may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// For how long none is tried after one that took longer.
const REST: Duration = Duration::from_secs(30);

/// Writes Events.
pub struct Events {
    recorder: Recorder,
    resting: Option<Instant>,
}

impl Events {
    /// Events in the name of this replica.
    pub fn new(client: Client, identity: &str) -> Self {
        let reporter = Reporter { controller: FIELD_MANAGER.to_owned(), instance: Some(identity.to_owned()) };
        Self { recorder: Recorder::new(client, reporter), resting: None }
    }

    /// Tells of something that happened to an object.
    pub async fn tell(&mut self, about: &ObjectReference, severity: Severity, reason: &str, message: &str) {
        let object = format!(
            "{} {}/{}",
            about.kind.as_deref().unwrap_or_default(),
            about.namespace.as_deref().unwrap_or_default(),
            about.name.as_deref().unwrap_or_default()
        );
        let type_ = match severity {
            Severity::Normal => {
                tracing::info!(object, reason, "{message}");
                EventType::Normal
            }
            Severity::Warning => {
                tracing::warn!(object, reason, "{message}");
                EventType::Warning
            }
        };
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(shortened(message)),
            action: reason.to_owned(),
            secondary: None,
        };
        if self.resting.is_some_and(|since| since.elapsed() < REST) {
            return;
        }
        match timeout(PATIENCE, self.recorder.publish(&event, about)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(object, reason, "the Event could not be written: {error}"),
            Err(_) => {
                tracing::warn!(object, reason, "the API server does not take Events; none is tried for {REST:?}");
                self.resting = Some(Instant::now());
            }
        }
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Events")
    }
}

fn shortened(message: &str) -> String {
    if message.len() <= MAX_NOTE_BYTES {
        return message.to_owned();
    }
    let end = (0..=MAX_NOTE_BYTES - 3).rev().find(|&end| message.is_char_boundary(end)).unwrap_or(0);
    format!("{}…", &message[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_as_long_as_the_api_server_takes() {
        assert_eq!(shortened("short"), "short");
        let long = shortened(&"ä".repeat(600));
        assert!(long.len() <= MAX_NOTE_BYTES && long.ends_with('…'), "{}", long.len());
    }
}
