//! The pairs that differ most, for people who want to see what a candidate does: in memory alone, and without what the policy
//! wants nobody to see.

use super::{Pair, Reply};
use serde_json::{Value, json};
use turnout_verdict::answers::{Comparison, Redaction};

/// What is shown of a body, in bytes.
const SHOWN: usize = 16 << 10;

/// See the module.
#[derive(Default)]
pub(super) struct Worst {
    most: usize,
    /// The worst first, each with how bad it is.
    pairs: Vec<(f64, Value)>,
}

impl Worst {
    /// How many are kept from now on.
    pub(super) fn limit(&mut self, most: usize) {
        self.most = most;
        self.pairs.truncate(most);
    }

    /// Whether any are.
    pub(super) fn keeps(&self) -> bool {
        self.most > 0
    }

    /// Whether one that is as bad is among them.
    pub(super) fn admits(&self, severity: f64) -> bool {
        self.pairs.len() < self.most || self.pairs.last().is_some_and(|(least, _)| severity > *least)
    }

    pub(super) fn keep(&mut self, severity: f64, pair: Value) {
        let at = self.pairs.partition_point(|(own, _)| *own >= severity);
        self.pairs.insert(at, (severity, pair));
        self.pairs.truncate(self.most);
    }

    pub(super) fn told(&self) -> Vec<&Value> {
        self.pairs.iter().map(|(_, pair)| pair).collect()
    }
}

/// A pair as people see it.
pub(super) fn told(pair: &Pair, comparison: &Comparison, redaction: Option<&Redaction>) -> Value {
    let request = &pair.request;
    let differ = comparison.fields.iter().filter(|field| !field.agrees).map(|field| &field.path);
    json!({
        "requestId": request.id.as_ref().map(|id| String::from_utf8_lossy(id.as_bytes())),
        "method": request.method.as_str(),
        "path": request.path,
        "fields": differ.collect::<Vec<_>>(),
        "schemaChanges": comparison.schema_changes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "live": reply(&pair.live, redaction),
        "candidate": reply(&pair.candidate, redaction),
    })
}

/// Where something is to be hidden, a body in which nobody knows where it is has none.
fn reply(reply: &Reply, redaction: Option<&Redaction>) -> Value {
    let mut body = redaction.and_then(|redaction| redaction.apply(&reply.body));
    let is_cut = body.as_ref().is_some_and(|body| body.len() > SHOWN);
    if let Some(body) = &mut body {
        body.truncate(body.floor_char_boundary(SHOWN));
    }
    let answer = reply.answer();
    json!({ "status": answer.status, "contentType": answer.content_type, "body": body, "isCut": is_cut })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_are_kept_and_no_more_than_wanted() {
        let mut worst = Worst::default();
        assert!(!worst.admits(1000.0) && !worst.keeps());
        worst.limit(2);
        for severity in [1.0, 3.0, 2.0] {
            assert!(worst.admits(severity));
            worst.keep(severity, json!(severity));
        }
        assert!(!worst.admits(2.0), "those that were first stay");
        assert_eq!(worst.told(), [&json!(3.0), &json!(2.0)]);
        worst.limit(1);
        assert_eq!(worst.told(), [&json!(3.0)]);
    }
}
