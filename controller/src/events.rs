//! What people hear of: an Event of Kubernetes beside the log line. That an Event cannot be written changes nothing.

use crate::names::FIELD_MANAGER;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use turnout_rollout::Severity;

/// The longest note that the API server takes, in bytes.
const MAX_NOTE_BYTES: usize = 1024;

/// Writes Events.
pub struct Events {
    recorder: Recorder,
}

impl Events {
    /// Events in the name of this replica.
    pub fn new(client: Client, identity: &str) -> Self {
        let reporter = Reporter { controller: FIELD_MANAGER.to_owned(), instance: Some(identity.to_owned()) };
        Self { recorder: Recorder::new(client, reporter) }
    }

    /// Tells of something that happened to an object.
    pub async fn tell(&self, about: &ObjectReference, severity: Severity, reason: &str, message: &str) {
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
        if let Err(error) = self.recorder.publish(&event, about).await {
            tracing::debug!(object, reason, "the Event could not be written: {error}");
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
