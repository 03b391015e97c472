//! What a person would look at first when something does not happen.

use std::fmt::Write as _;
use std::fs;

use anyhow::Result;

use super::{Cluster, Daemon};

const EVENTS: usize = 30;
const LOG_LINES: &str = "25";
const DAEMON_LOG_LINES: usize = 8;
/// More than these do not say more.
const PODS_WITH_LOGS: usize = 6;

impl Cluster {
    /// All pods, the last events, and the last lines of those pods' logs that are not ready; or, where the API server
    /// does not answer, those of the daemons.
    pub fn diagnosis(&self) -> String {
        let mut text = String::new();
        if let Err(error) = self.describe_pods(&mut text) {
            let _ = writeln!(text, "{error:#}");
            self.describe_daemons(&mut text);
        }
        text
    }

    fn describe_pods(&self, text: &mut String) -> Result<()> {
        let everywhere = ["get", "pods", "--all-namespaces", "--output", "wide"];
        writeln!(text, "--- pods\n{}", self.kubectl(&everywhere)?)?;
        let events = self.kubectl(&["get", "events", "--all-namespaces", "--sort-by", ".lastTimestamp"])?;
        let events: Vec<&str> = events.lines().collect();
        let last = events.len().saturating_sub(EVENTS);
        writeln!(text, "--- the last events\n{}", events[last..].join("\n"))?;
        let unready = self.kubectl(&[
            "get",
            "pods",
            "--all-namespaces",
            "--output",
            r#"jsonpath={range .items[*]}{.metadata.namespace} {.metadata.name} {.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}"#,
        ])?;
        let unready = unready.lines().filter(|line| !line.ends_with("True"));
        for line in unready.take(PODS_WITH_LOGS) {
            let mut words = line.split(' ');
            let (Some(namespace), Some(pod)) = (words.next(), words.next()) else { continue };
            let arguments = ["logs", "--namespace", namespace, pod, "--all-containers", "--tail", LOG_LINES];
            let log = self.kubectl(&arguments).unwrap_or_else(|error| format!("{error:#}"));
            writeln!(text, "--- the log of {namespace}/{pod}, which is not ready\n{log}")?;
        }
        Ok(())
    }

    fn describe_daemons(&self, text: &mut String) {
        let Ok(logs) = self.logs() else { return };
        for daemon in Daemon::ALL {
            let Ok(log) = fs::read_to_string(logs.join(format!("{daemon}.log"))) else { continue };
            let lines: Vec<&str> = log.lines().collect();
            let last = lines.len().saturating_sub(DAEMON_LOG_LINES);
            // Writing to a string cannot fail.
            let _ = writeln!(text, "--- the log of {daemon}\n{}", lines[last..].join("\n"));
        }
    }
}
