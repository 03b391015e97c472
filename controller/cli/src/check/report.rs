//! What a check found, in the order in which it was looked at.

use crate::terminal::{Marks, bold, paint};
use clap::builder::styling::AnsiColor;
use serde_json::{Value, json};
use std::borrow::Cow;

/// All that was found.
#[derive(Debug, Default)]
pub(super) struct Report(Vec<Finding>);

#[derive(Debug)]
struct Finding {
    subject: &'static str,
    verdict: Verdict,
    text: String,
    hint: Cow<'static, str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Passed,
    Warning,
    Failed,
}

impl Report {
    /// It is as it should be.
    pub(super) fn pass(&mut self, subject: &'static str, text: impl Into<String>) {
        self.0.push(Finding { subject, verdict: Verdict::Passed, text: text.into(), hint: "".into() });
    }

    /// Somebody may want to look, or it could not be looked at.
    pub(super) fn warn(&mut self, subject: &'static str, text: impl Into<String>, hint: impl Into<Cow<'static, str>>) {
        self.0.push(Finding { subject, verdict: Verdict::Warning, text: text.into(), hint: hint.into() });
    }

    /// It is wrong.
    pub(super) fn fail(&mut self, subject: &'static str, text: impl Into<String>, hint: impl Into<Cow<'static, str>>) {
        self.0.push(Finding { subject, verdict: Verdict::Failed, text: text.into(), hint: hint.into() });
    }

    /// Nothing failed.
    pub(super) fn is_well(&self) -> bool {
        self.count(Verdict::Failed) == 0
    }

    /// How many findings are more than a pass.
    pub(super) fn troubles(&self) -> usize {
        self.0.len() - self.count(Verdict::Passed)
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.0.iter().filter(|finding| finding.verdict == verdict).count()
    }

    /// Under each subject its lines, and below each what to do.
    pub(super) fn text(&self, marks: Marks) -> String {
        let mut lines = Vec::new();
        let mut subjects: Vec<&str> = Vec::new();
        for finding in &self.0 {
            if !subjects.contains(&finding.subject) {
                subjects.push(finding.subject);
            }
        }
        for subject in subjects {
            lines.push(bold(subject));
            for finding in self.0.iter().filter(|finding| finding.subject == subject) {
                let (color, mark) = match finding.verdict {
                    Verdict::Passed => (AnsiColor::Green, marks.passed),
                    Verdict::Warning => (AnsiColor::Yellow, marks.warning),
                    Verdict::Failed => (AnsiColor::Red, marks.failed),
                };
                lines.push(format!("{} {}", paint(color, mark), finding.text));
                if !finding.hint.is_empty() {
                    lines.push(format!("    hint: {}", finding.hint));
                }
            }
            lines.push(String::new());
        }
        let [passed, warnings, failed] = [Verdict::Passed, Verdict::Warning, Verdict::Failed].map(|it| self.count(it));
        lines.push(format!("passed: {passed}, warnings: {warnings}, failed: {failed}"));
        lines.join("\n")
    }

    pub(super) fn to_json(&self) -> Value {
        let finding = |finding: &Finding| {
            let verdict = match finding.verdict {
                Verdict::Passed => "passed",
                Verdict::Warning => "warning",
                Verdict::Failed => "failed",
            };
            let hint = Some(&finding.hint).filter(|hint| !hint.is_empty());
            json!({ "subject": finding.subject, "verdict": verdict, "text": finding.text, "hint": hint })
        };
        json!({ "well": self.is_well(), "findings": self.0.iter().map(finding).collect::<Vec<_>>() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anstream::adapter::strip_str;

    #[test]
    fn findings_stand_under_their_subject_and_only_failures_make_it_unwell() {
        let mut report = Report::default();
        report.pass("one", "a");
        report.warn("two", "b", "do this");
        report.pass("one", "c");
        assert!(report.is_well());
        let expected = "one\n√ a\n√ c\n\ntwo\n‼ b\n    hint: do this\n\npassed: 2, warnings: 1, failed: 0";
        assert_eq!(strip_str(&report.text(Marks::UNICODE)).to_string(), expected);
        report.fail("two", "d", "do that");
        assert!(!report.is_well());
        assert!(strip_str(&report.text(Marks::ASCII)).to_string().contains("\nx d\n    hint: do that\n"));
        assert_eq!(report.to_json()["findings"][3]["verdict"], "failed");
    }
}
