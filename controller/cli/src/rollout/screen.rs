//! One rollout on one screen: the tree of its stages, what is wanted and what is seen, and why it waits. And the same in
//! one line, for logs. Both are pure: what was read and seen goes in, with the time and the marks of the terminal.

use super::text::{NONE, or_none, stage};
use crate::client::standing::{answer, is_answered};
use crate::client::view::{GatewayState, View, short};
use crate::output::columns;
use crate::suggest::Suggest;
use crate::terminal::{Marks, bold, paint};
use clap::builder::styling::AnsiColor;
use turnout_rollout::duration::write_roughly;
use turnout_rollout::{
    Backend, Condition, ConditionStatus, ConditionType, Leave, Mode, ModelRollout, Plan, Stage, Target, Timestamp,
    WaitReason,
};

/// The whole screen.
pub(super) fn screen(rollout: &ModelRollout, view: &View, now: Timestamp, marks: Marks, suggest: &Suggest) -> String {
    let mut parts = vec![heading(rollout, view, now, marks, suggest), stages(rollout, marks), backends(rollout, view)];
    if rollout.spec.mode == Mode::Istio {
        parts.push("Istio has the weights, and does not say when its proxies have taken them.".to_owned());
    } else {
        parts.push(gateways(view));
    }
    parts.push(view.notes.iter().map(|note| format!("note: {note}")).collect::<Vec<_>>().join("\n"));
    parts.retain(|part| !part.is_empty());
    parts.join("\n\n")
}

/// The rollout in one line.
pub(super) fn line(rollout: &ModelRollout, view: &View, now: Timestamp) -> String {
    let status = &rollout.status;
    let wanted = status.weights.map_or_else(|| "as in the documents".to_owned(), |weights| weights.to_string());
    let of_both = |what: &dyn Fn(Backend) -> String| {
        Backend::BOTH.map(|backend| format!("{backend} {}", what(backend))).join(", ")
    };
    let seen = of_both(&|backend| seen(view, backend));
    let ready = of_both(&|backend| ready(view, backend));
    let place = stage(status.stage);
    let notes = view.notes.iter().map(String::as_str);
    let message = message(rollout, view);
    let lines: Vec<&str> = std::iter::once(message.as_str()).chain(notes).collect();
    let message = lines.join("; note: ");
    let phase = status.phase.as_str();
    format!("{now} {phase} {place} wanted {wanted}; seen {seen}; ready {ready}: {message}")
}

/// What it is, where it is, why it waits, and what is wrong.
fn heading(rollout: &ModelRollout, view: &View, now: Timestamp, marks: Marks, suggest: &Suggest) -> String {
    let status = &rollout.status;
    let since = status.stage_since.map(|since| format!(" for {}", write_roughly(now.seconds_since(since))));
    let place = status.stage.map(|stage| format!("  {stage}{}", since.unwrap_or_default())).unwrap_or_default();
    let moving = status.moving_to.map(|to| format!("  {} {to}", marks.entering)).unwrap_or_default();
    let phase = match status.phase {
        phase if phase.is_bad() => paint(AnsiColor::Red, &format!("{} {}", marks.failed, phase.as_str())),
        phase => phase.as_str().to_owned(),
    };
    let mut lines = vec![format!("{}  {phase}{place}{moving}", bold(&rollout.id()))];
    let message = message(rollout, view);
    if !message.is_empty() {
        lines.push(format!("  {message}"));
    }
    if let Some(waiting) = &status.waiting {
        let until = waiting.until.map(|until| match until.0.checked_sub(now.0) {
            Some(left) => format!(", {} left", write_roughly(left)),
            None => format!(", {} over its time", write_roughly(now.seconds_since(until))),
        });
        let since = write_roughly(now.seconds_since(waiting.since));
        lines.push(format!(
            "  waiting for {since}{}{}",
            until.unwrap_or_default(),
            hint(rollout, waiting.reason, suggest)
        ));
    }
    let requirements = status.requirements.iter();
    lines.extend(requirements.map(|one| format!("  {:?}: {}: {}", one.state, one.requirement, one.message)));
    let revision = |name: &str, revision: Option<&str>| format!("{name} {}", or_none(revision));
    let candidate = status.candidate.as_ref().map(|candidate| candidate.revision.as_str());
    let mut facts = vec![
        revision("stable", status.stable_revision.as_deref()),
        revision("candidate", candidate),
        revision("previous", status.previous_revision.as_deref()),
    ];
    if !status.safe_to_remove.is_empty() {
        let backends: Vec<String> = status.safe_to_remove.iter().map(ToString::to_string).collect();
        facts.push(format!("safe to remove: {}", backends.join(", ")));
    }
    lines.push(format!("  {}", facts.join(", ")));
    let troubles = status.conditions.iter().filter(|condition| is_trouble(condition));
    lines.extend(troubles.map(|condition| {
        let text = format!("{} {:?}: {}: {}", marks.warning, condition.kind, condition.reason, condition.message);
        format!("  {}", paint(AnsiColor::Yellow, &text))
    }));
    lines.join("\n")
}

/// Why it waits: what the rollout says, and the pod that it waits for.
fn message(rollout: &ModelRollout, view: &View) -> String {
    let trouble = view.trouble(rollout).map(|trouble| format!("; {trouble}")).unwrap_or_default();
    format!("{}{trouble}", answer(rollout))
}

/// What people can do about what is waited for.
fn hint(rollout: &ModelRollout, reason: WaitReason, suggest: &Suggest) -> String {
    let verb = match reason {
        _ if !is_answered(rollout) || rollout.spec.target == Some(Target::Rollback) => return String::new(),
        WaitReason::Promotion => "rollout promote",
        WaitReason::Resume => "rollout resume",
        _ => return String::new(),
    };
    format!("; to go on: {}", suggest.command(verb, rollout))
}

fn is_trouble(condition: &Condition) -> bool {
    let trouble = match condition.kind {
        ConditionType::Accepted | ConditionType::Confirmed | ConditionType::Healthy | ConditionType::Operational => {
            ConditionStatus::False
        }
        ConditionType::WaitingForStableImage | ConditionType::Stalled => ConditionStatus::True,
        // That it does not progress is no trouble of its own: it says why where it waits. The others say the same to
        // GitOps tools.
        ConditionType::Progressing | ConditionType::Ready | ConditionType::Reconciling => return false,
    };
    condition.status == trouble
}

/// The stages, in order, and where the rollout is among them.
fn stages(rollout: &ModelRollout, marks: Marks) -> String {
    let Ok(plan) = Plan::of(rollout) else { return String::new() };
    let mut rows = vec![["", "STAGE", "GREEN", "BLUE", "REQUIRES", "REACHED"].map(str::to_owned).to_vec()];
    for &row in plan.stages().stages() {
        let weights = row.weights();
        let requires = match plan.leave(row) {
            Leave::WhenPromoted if row == Stage::Green100 => String::new(),
            Leave::WhenPromoted => "promotion".to_owned(),
            Leave::When(required) => required.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        };
        let is_target = plan.target() == Some(Target::Stage(row)) && rollout.status.in_progress();
        let mut reached = reached_at(rollout, Target::Stage(row)).map_or_else(String::new, |at| at.to_string());
        if is_target && rollout.status.stage != Some(Target::Stage(row)) {
            reached.push_str("(target)");
        }
        let mark = mark_of(rollout, row, marks);
        let [green, blue] = Backend::BOTH.map(|backend| weights.text(backend));
        rows.push(vec![mark, row.to_string(), green, blue, requires, reached]);
    }
    if let Some(rollback) = &rollout.status.rollback {
        let mark = if rollout.status.stage == Some(Target::Rollback) { marks.here } else { marks.entering };
        let at = reached_at(rollout, Target::Rollback).map_or_else(String::new, |at| format!("{at} "));
        let why = format!("{at}from {}: {}", rollback.from, rollback.reason);
        let empty = String::new;
        rows.push(vec![paint(AnsiColor::Yellow, mark), "Rollback".to_owned(), empty(), empty(), empty(), why]);
    }
    columns(&rows)
}

fn mark_of(rollout: &ModelRollout, row: Stage, marks: Marks) -> String {
    let status = &rollout.status;
    if let Some(rollback) = &status.rollback {
        return if row <= rollback.from { marks.passed } else { marks.ahead }.to_owned();
    }
    if status.moving_to == Some(Target::Stage(row)) {
        return paint(AnsiColor::Cyan, marks.entering);
    }
    match status.stage.and_then(Target::stage) {
        Some(reached) if row == reached && row != Stage::Green100 => paint(AnsiColor::Cyan, marks.here),
        Some(reached) if row <= reached => paint(AnsiColor::Green, marks.passed),
        _ => marks.ahead.to_owned(),
    }
}

/// When the present rollout reached it. The history has older ones as well: each begins at Blue_0, or straight at
/// Green_100 with the very first.
fn reached_at(rollout: &ModelRollout, target: Target) -> Option<Timestamp> {
    let status = &rollout.status;
    status.stage?;
    let begins = |to: Target| to == Target::Stage(Stage::BLUE_0);
    let length = status.history.iter().rposition(|transition| begins(transition.to)).unwrap_or(0);
    let present = &status.history[length..];
    present.iter().rev().find(|transition| transition.to == target).map(|transition| transition.at)
}

fn backends(rollout: &ModelRollout, view: &View) -> String {
    let heading = ["BACKEND", "WANTED", "SEEN", "IN FLIGHT", "READY", "REVISION"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for backend in Backend::BOTH {
        let wanted = rollout.status.weights.map(|weights| weights.of(backend).to_string());
        let in_flight = view.in_flight(backend).map(|count| count.to_string());
        let revisions = view.backend(backend).map(|seen| seen.revisions.join(", ")).filter(|text| !text.is_empty());
        rows.push(vec![
            backend.to_string(),
            or_none(wanted.as_deref()),
            seen(view, backend),
            or_none(in_flight.as_deref()),
            ready(view, backend),
            or_none(revisions.as_deref()),
        ]);
    }
    columns(&rows)
}

/// The weight that the gateways give to a backend: one number where they agree.
fn seen(view: &View, backend: Backend) -> String {
    let mut counts: Vec<(Option<u32>, usize)> = Vec::new();
    for weight in view.seen(backend) {
        match counts.iter_mut().find(|(known, _)| *known == weight) {
            Some((_, count)) => *count += 1,
            None => counts.push((weight, 1)),
        }
    }
    let text = |weight: Option<u32>| weight.map_or_else(|| NONE.to_owned(), |weight| weight.to_string());
    match counts.as_slice() {
        [] => NONE.to_owned(),
        [(weight, _)] => text(*weight),
        several => {
            several.iter().map(|(weight, count)| format!("{} at {count}", text(*weight))).collect::<Vec<_>>().join(", ")
        }
    }
}

fn ready(view: &View, backend: Backend) -> String {
    view.backend(backend).map_or_else(|| NONE.to_owned(), |seen| format!("{}/{}", seen.ready, seen.replicas))
}

fn gateways(view: &View) -> String {
    if view.gateways.is_empty() {
        return String::new();
    }
    let published = view.published.as_deref();
    let mut rows = vec![["GATEWAY", "ROUTES", ""].map(str::to_owned).to_vec()];
    rows.extend(view.gateways.iter().map(|gateway| {
        let state = gateway.state(published);
        let color = match state {
            GatewayState::AsPublished | GatewayState::Unknown => AnsiColor::Green,
            GatewayState::Behind | GatewayState::Empty => AnsiColor::Yellow,
            GatewayState::Rejects(_) | GatewayState::Silent(_) | GatewayState::Fails(_) => AnsiColor::Red,
        };
        let said = paint(color, &state.to_string());
        vec![gateway.report.id().to_owned(), or_none(gateway.report.active().map(short)), said]
    }));
    columns(&rows)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;
    use crate::client::view::testing::{backends, documents, rollout};
    use crate::client::view::{BackendView, GatewayView};
    use anstream::adapter::strip_str;
    use serde_json::{Value, json};

    const NOW: Timestamp = Timestamp(1_767_225_790);

    fn holding(more: Value) -> ModelRollout {
        let mut rollout = rollout(&json!({"revision": "v2", "target": "Blue_100"}));
        let mut status = json!({
            "phase": "Holding", "message": "Blue_50: promote to go on", "stage": "Blue_50",
            "stageSince": "2026-01-01T00:01:40Z", "weights": {"green": 50, "blue": 50}, "stableRevision": "v1",
            "candidate": {"revision": "v2"}, "observedGeneration": 1,
            "waiting": {"reason": "Promotion", "since": "2026-01-01T00:01:40Z"},
            "history": [
                {"to": "Blue_50", "at": "2025-01-01T00:00:00Z", "confirmedBy": [], "reason": "older"},
                {"to": "Blue_0", "at": "2026-01-01T00:00:10Z", "confirmedBy": [], "reason": ""},
                {"to": "Blue_50", "at": "2026-01-01T00:01:40Z", "confirmedBy": [], "reason": ""},
            ],
        });
        let Value::Object(more) = more else { panic!("an object") };
        more.into_iter().for_each(|(name, value)| status[name] = value);
        rollout.status = serde_json::from_value(status).unwrap();
        rollout
    }

    fn view() -> View {
        let gateway = |name: &str, active: &str, blue: u32| {
            let revision = json!({"active": active}).to_string();
            let page = backends(Some(active), 100 - blue, blue);
            let mut gateway = GatewayView::read(name.to_owned(), revision.as_bytes(), page.as_bytes());
            gateway.observe(&documents(), &rollout(&json!({})));
            gateway
        };
        let backend = |ready, revision: &str| BackendView {
            replicas: 2,
            ready,
            revisions: vec![revision.to_owned()],
            troubles: vec![format!("pod {revision}: Why"); 2 - ready],
        };
        View {
            backends: [Some(backend(2, "v1")), Some(backend(1, "v2"))],
            gateways: vec![
                gateway("gateway-a", "3f2a61d09be4ffff", 50),
                gateway("gateway-b", "3f2a61d09be4ffff", 50),
                gateway("gateway-c", "0000", 0),
                GatewayView::silent("gateway-d".to_owned(), "no answer".to_owned()),
            ],
            published: Some("3f2a61d09be4ffff".to_owned()),
            notes: vec!["this is one".to_owned()],
        }
    }

    fn plain(text: &str) -> String {
        strip_str(text).to_string()
    }

    #[test]
    fn a_condition_is_trouble_by_what_it_means() {
        let check = |kind: &str, trouble: Option<&str>| {
            for status in ["True", "False", "Unknown"] {
                let condition = json!({"type": kind, "status": status, "reason": "Why", "message": "said",
                                       "lastTransitionTime": "2026-01-01T00:00:00Z"});
                let text = screen(
                    &holding(json!({"conditions": [condition]})),
                    &view(),
                    NOW,
                    Marks::UNICODE,
                    &Suggest::default(),
                );
                assert_eq!(plain(&text).contains("Why: said"), trouble == Some(status), "{kind} {status}");
            }
        };
        for kind in ["Accepted", "Confirmed", "Healthy", "Operational"] {
            check(kind, Some("False"));
        }
        for kind in ["WaitingForStableImage", "Stalled"] {
            check(kind, Some("True"));
        }
        for kind in ["Progressing", "Ready", "Reconciling"] {
            check(kind, None);
        }
    }

    #[test]
    fn the_screen_has_the_stages_what_is_wanted_and_seen_and_why_it_waits() {
        let text = plain(&screen(&holding(json!({})), &view(), NOW, Marks::UNICODE, &Suggest::default()));
        let expected = "\
ns/model  Holding  Blue_50 for 1m30s
  Blue_50: promote to go on
  waiting for 1m30s; to go on: turnout rollout promote model
  stable v1, candidate v2, previous –

   STAGE       GREEN  BLUE  REQUIRES   REACHED
√  Blue_0      100    0     promotion  2026-01-01T00:00:10Z
●  Blue_50     50     50    promotion  2026-01-01T00:01:40Z
○  Blue_100    0      100   promotion  (target)
○  Blue_Green  0      100   promotion
○  Green_100   100    0

BACKEND  WANTED  SEEN                      IN FLIGHT  READY  REVISION
green    50      50 at 2, 100 at 1, – at 1  9          2/2    v1
blue     50      50 at 2, 0 at 1, – at 1    9          1/2    v2

GATEWAY    ROUTES
gateway-a  3f2a61d09be4  as published
gateway-b  3f2a61d09be4  as published
gateway-c  0000          not what is published
gateway-d  –             does not answer: no answer

note: this is one";
        let expected = expected.replace("SEEN                      IN", "SEEN                       IN");
        assert_eq!(text, expected, "\n{text}");
    }

    #[test]
    fn the_tree_shows_where_a_rollout_is_and_where_it_goes() {
        let check = |more: Value, expected: &[&str]| {
            let text = plain(&stages(&holding(more), Marks::ASCII));
            let rows: Vec<String> =
                text.lines().skip(1).map(|row| row.split_whitespace().take(2).collect::<Vec<_>>().join(" ")).collect();
            assert_eq!(rows, expected, "{text}");
        };
        check(json!({}), &["+ Blue_0", "* Blue_50", "- Blue_100", "- Blue_Green", "- Green_100"]);
        let entering = json!({"movingTo": "Blue_100"});
        check(entering, &["+ Blue_0", "* Blue_50", "> Blue_100", "- Blue_Green", "- Green_100"]);
        let complete = json!({"stage": "Green_100", "candidate": null});
        check(complete, &["+ Blue_0", "+ Blue_50", "+ Blue_100", "+ Blue_Green", "+ Green_100"]);
        check(json!({"stage": null}), &["- Blue_0", "- Blue_50", "- Blue_100", "- Blue_Green", "- Green_100"]);
        let rollback = json!({"from": "Blue_50", "reason": "Requested", "since": "2026-01-01T00:02:00Z"});
        let back = json!({"rollback": rollback, "movingTo": "Rollback"});
        check(back, &["+ Blue_0", "+ Blue_50", "- Blue_100", "- Blue_Green", "- Green_100", "> Rollback"]);
        let back = json!({"rollback": rollback, "stage": "Rollback"});
        check(back, &["+ Blue_0", "+ Blue_50", "- Blue_100", "- Blue_Green", "- Green_100", "* Rollback"]);
    }

    #[test]
    fn troubles_and_times_stand_in_the_heading() {
        let check = |more: Value, expected: &str| {
            let text = plain(&heading(&holding(more), &view(), NOW, Marks::ASCII, &Suggest::default()));
            assert!(text.contains(expected), "{expected}: {text}");
        };
        let condition = |kind: &str, status: &str| {
            json!({"conditions": [{"type": kind, "status": status, "reason": "Why", "message": "so",
                                   "lastTransitionTime": "2026-01-01T00:00:00Z"}]})
        };
        check(condition("Confirmed", "False"), "  ! Confirmed: Why: so");
        check(condition("WaitingForStableImage", "True"), "  ! WaitingForStableImage: Why: so");
        check(json!({"phase": "Invalid"}), "ns/model  x Invalid  Blue_50 for 1m30s");
        let pause = json!({"requirement": "pause 10m", "state": "Waiting", "message": "until noon"});
        check(json!({"requirements": [pause]}), "  Waiting: pause 10m: until noon");
        check(json!({"observedGeneration": 0}), "the newest change is not taken up yet");
        check(json!({"safeToRemove": ["blue"]}), "safe to remove: blue");
        let waiting = |until: &str| json!({"waiting": {"reason": "Confirmation", "since": "2026-01-01T00:02:40Z", "until": until}});
        check(waiting("2026-01-01T00:04:10Z"), "waiting for 30s, 1m left");
        check(waiting("2026-01-01T00:03:00Z"), "waiting for 30s, 10s over its time");
        let for_pods = json!({"waiting": {"reason": "CandidateReady", "since": "2026-01-01T00:02:40Z"}});
        check(for_pods, "Blue_50: promote to go on; pod v2: Why");
        for (kind, status) in [("Progressing", "False"), ("Healthy", "True"), ("Confirmed", "Unknown")] {
            let text =
                heading(&holding(condition(kind, status)), &View::default(), NOW, Marks::ASCII, &Suggest::default());
            assert!(!text.contains("Why"), "{text}");
        }
    }

    #[test]
    fn a_line_has_it_all_for_logs() {
        let expected = "2026-01-01T00:03:10Z Holding Blue_50 wanted green 50, blue 50; \
                        seen green 50 at 2, 100 at 1, – at 1, blue 50 at 2, 0 at 1, – at 1; ready green 2/2, blue 1/2: \
                        Blue_50: promote to go on; note: this is one";
        assert_eq!(line(&holding(json!({})), &view(), NOW), expected);
        let nothing = line(&rollout(&json!({})), &View::default(), NOW);
        assert!(
            nothing.contains("Idle – wanted as in the documents; seen green –, blue –; ready green –, blue –"),
            "{nothing}"
        );
    }
}
