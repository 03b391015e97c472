//! Which revision a backend serves: known, or not known, and never guessed.
//!
//! Pods that carry the label `turnout.dev/revision` say it themselves. What pods without it run is told by a fingerprint,
//! their images' digests and a hash of what their containers are told to do. A rollout remembers which fingerprints it
//! has met under which revision; the one that it met first, a green that was there before any rollout, it calls by the
//! fingerprint. So the first rollout over pods that nobody labelled can go back as well as any other.

use crate::resource::RolloutStatus;
use crate::stage::{Stage, Target};
use serde::{Deserialize, Serialize};

/// So many fingerprints a rollout remembers.
const REMEMBERED: usize = 12;
/// The label by which pods say what they serve.
pub const REVISION_LABEL: &str = "turnout.dev/revision";
/// As much of a hash as tells two apart.
const SHORT: usize = 12;

/// What a pod without a label runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Fingerprint {
    /// The images' digest: that of the image, or, of several, a hash of theirs.
    pub images: String,
    /// A hash of the commands, arguments, variables and volumes of its containers.
    pub template: String,
}

/// A fingerprint, and the revision that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct KnownRun {
    /// The revision.
    pub revision: String,
    /// What its pods run.
    #[serde(flatten)]
    pub runs: Fingerprint,
}

/// What the ready pods of a backend show of what they serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// All carry this label.
    Label(String),
    /// None carries a label, and all run this.
    Unlabelled(Fingerprint),
    /// There are none.
    Absent,
    /// Nothing follows from them, and why.
    Unclear(String),
}

/// What a backend serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The revision, if it is known. One that no rollout has met is called by its fingerprint.
    pub revision: Option<String>,
    /// What its pods run, where they carry no label.
    pub runs: Option<Fingerprint>,
    /// Why it is not known, or not what it may be taken for.
    pub doubt: Option<String>,
}

impl Fingerprint {
    /// What it is called where nobody has given it a name.
    pub fn name(&self) -> String {
        let short = |text: &str| text.chars().take(SHORT).collect::<String>();
        format!("image-{}-{}", short(&self.images), short(&self.template).chars().take(SHORT / 2).collect::<String>())
    }
}

/// What green and blue serve, by what their pods show and what the status remembers.
pub fn identify(status: &RolloutStatus, green: Evidence, blue: Evidence) -> [Identity; 2] {
    let is_labelled = |evidence: &Evidence| matches!(evidence, Evidence::Label(_));
    // Where one says what it serves, the other could as well: that it does not is no hint at what it is.
    let candidate = status.candidate.as_ref().map(|candidate| candidate.revision.as_str());
    let is_declared = !is_labelled(&green) && !is_exposed(status);
    let mut of_blue = identity(status, blue);
    // The name that it got from its fingerprint is nobody's once it is not the stable one: people give it their own.
    let is_own =
        |known: &KnownRun| Some(&known.revision) == of_blue.revision.as_ref() && known.runs.name() == known.revision;
    let is_nameless = status.known.iter().any(is_own);
    if is_nameless && of_blue.revision != status.stable_revision && of_blue.revision.as_deref() != candidate {
        of_blue.revision = None;
    }
    let of_blue = match (of_blue, candidate.filter(|_| is_declared)) {
        // Blue is where people put what they want to be rolled out. Before it has weight, what runs there and was never
        // met is that; from then on it is what it was.
        (Identity { revision: None, runs: Some(runs), .. }, Some(candidate)) if !is_run_by(&green, &runs) => {
            Identity { revision: Some(candidate.to_owned()), runs: Some(runs), doubt: None }
        }
        (found, _) => found,
    };
    [named(identity(status, green)), named(of_blue)]
}

/// By its label, or by what the rollout has met.
fn identity(status: &RolloutStatus, evidence: Evidence) -> Identity {
    match evidence {
        Evidence::Label(revision) => Identity { revision: Some(revision), ..Identity::default() },
        Evidence::Absent => Identity::default(),
        Evidence::Unclear(why) => Identity { doubt: Some(why), ..Identity::default() },
        Evidence::Unlabelled(runs) => {
            let revision = met_as(&status.known, &runs).map(str::to_owned);
            let doubt = format!("its pods carry no label {REVISION_LABEL}");
            Identity { revision, runs: Some(runs), doubt: Some(doubt) }
        }
    }
}

/// The revision under which these pods, or others with the same images, were met. Images alone tell revisions apart only
/// where each has its own.
fn met_as<'a>(known: &'a [KnownRun], runs: &Fingerprint) -> Option<&'a str> {
    if let Some(same) = known.iter().rev().find(|known| known.runs == *runs) {
        return Some(&same.revision);
    }
    let mut with_images = known.iter().filter(|known| known.runs.images == runs.images);
    let first = with_images.next()?;
    with_images.all(|other| other.revision == first.revision).then_some(first.revision.as_str())
}

/// What nobody has met is called by its fingerprint.
fn named(mut identity: Identity) -> Identity {
    if identity.revision.is_none() {
        identity.revision = identity.runs.as_ref().map(Fingerprint::name);
    }
    identity
}

fn is_run_by(evidence: &Evidence, runs: &Fingerprint) -> bool {
    matches!(evidence, Evidence::Unlabelled(other) if other.images == runs.images)
}

/// Blue has got weight on the way that the rollout goes.
fn is_exposed(status: &RolloutStatus) -> bool {
    let from = status.rollback.as_ref().map(|rollback| rollback.from);
    let stage = status.position().and_then(Target::stage).or(from);
    stage.is_some_and(|stage| stage > Stage::BLUE_0)
}

impl RolloutStatus {
    /// Remembers what the pods of a revision run.
    pub(crate) fn meet(&mut self, revision: &str, runs: &Fingerprint) {
        let met = KnownRun { revision: revision.to_owned(), runs: runs.clone() };
        if !self.known.contains(&met) {
            self.known.push(met);
            let surplus = self.known.len().saturating_sub(REMEMBERED);
            self.known.drain(..surplus);
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;
    use serde_json::{Value, json};

    fn runs(images: &str, template: &str) -> Fingerprint {
        Fingerprint { images: images.to_owned(), template: template.to_owned() }
    }

    fn pods(images: &str, template: &str) -> Evidence {
        Evidence::Unlabelled(runs(images, template))
    }

    fn label(revision: &str) -> Evidence {
        Evidence::Label(revision.to_owned())
    }

    /// A rollout of `r2` over a green that was there before, at this stage.
    fn status(stage: &str, more: Value) -> RolloutStatus {
        let mut status = json!({
            "stage": stage, "stableRevision": "image-a-x", "candidate": {"revision": "r2"},
            "known": [{"revision": "image-a-x", "images": "a", "template": "x"}],
        });
        let Value::Object(more) = more else { panic!("an object") };
        more.into_iter().for_each(|(name, value)| status[name] = value);
        serde_json::from_value(status).unwrap()
    }

    fn check(status: &RolloutStatus, green: Evidence, blue: Evidence, expected: [&str; 2]) {
        let case = format!("{green:?} {blue:?}");
        let found = identify(status, green, blue).map(|identity| identity.revision.unwrap_or_default());
        assert_eq!(found, expected, "{case}");
    }

    #[test]
    fn a_green_that_was_there_before_is_called_by_its_fingerprint() {
        let empty = RolloutStatus::default();
        check(&empty, pods("sha", "told"), pods("other", "told"), ["image-sha-told", "image-other-told"]);
        check(&empty, pods("sha", "told"), label("r2"), ["image-sha-told", "r2"]);
        let long = Fingerprint { images: "0123456789abcdef".to_owned(), template: "0123456789abcdef".to_owned() };
        assert_eq!(long.name(), "image-0123456789ab-012345");
    }

    #[test]
    fn before_it_has_weight_blue_is_the_candidate_unless_it_was_met_or_runs_what_green_runs() {
        let status = status("Blue_0", json!({}));
        check(&status, pods("a", "x"), pods("b", "x"), ["image-a-x", "r2"]);
        check(&status, pods("a", "x"), pods("a", "x"), ["image-a-x", "image-a-x"]);
        check(&status, pods("a", "x"), pods("a", "y"), ["image-a-x", "image-a-x"]);
        check(&status, label("r1"), pods("b", "x"), ["r1", "image-b-x"]);
        check(&status, pods("a", "x"), label("r2"), ["image-a-x", "r2"]);
        check(&status, pods("a", "x"), label("r3"), ["image-a-x", "r3"]);
    }

    #[test]
    fn beside_a_label_nothing_unlabelled_is_taken_for_the_candidate() {
        for stage in ["Blue_0", "Blue_50", "Blue_100", "Blue_Green", "Green_100"] {
            let status = status(stage, json!({}));
            let [green, blue] = identify(&status, pods("b", "x"), label("r2"));
            assert_eq!(
                (green.revision.as_deref(), blue.revision.as_deref()),
                (Some("image-b-x"), Some("r2")),
                "{stage}"
            );
            assert_eq!(green.doubt.as_deref(), Some("its pods carry no label turnout.dev/revision"), "{stage}");
            let [_, blue] = identify(&status, label("r1"), pods("b", "x"));
            assert_eq!(blue.revision.as_deref(), Some("image-b-x"), "{stage}");
        }
    }

    #[test]
    fn once_it_has_weight_blue_is_what_it_was_and_green_becomes_it_by_the_same_image() {
        let known = json!([
            {"revision": "image-a-x", "images": "a", "template": "x"}, {"revision": "r2", "images": "b", "template": "x"},
        ]);
        let status = status("Blue_Green", json!({"known": known}));
        check(&status, pods("a", "x"), pods("b", "x"), ["image-a-x", "r2"]);
        check(&status, pods("b", "x"), pods("b", "x"), ["r2", "r2"]);
        check(&status, pods("b", "resources"), pods("b", "x"), ["r2", "r2"]);
        check(&status, pods("a", "resources"), pods("c", "x"), ["image-a-x", "image-c-x"]);
    }

    #[test]
    fn images_tell_revisions_apart_only_where_each_has_its_own() {
        let known = json!([
            {"revision": "r1", "images": "a", "template": "x"}, {"revision": "r2", "images": "a", "template": "y"},
        ]);
        let status = status("Blue_Green", json!({"known": known, "stableRevision": "r1"}));
        check(&status, pods("a", "y"), pods("a", "y"), ["r2", "r2"]);
        check(&status, pods("a", "x"), pods("a", "y"), ["r1", "r2"]);
        check(&status, pods("a", "z"), pods("a", "y"), ["image-a-z", "r2"]);
    }

    #[test]
    fn what_another_rollout_has_left_at_blue_is_not_the_next_candidate() {
        let known = json!([
            {"revision": "r1", "images": "a", "template": "x"}, {"revision": "r2", "images": "b", "template": "x"},
        ]);
        let status = status("Blue_0", json!({"known": known, "stableRevision": "r1", "candidate": {"revision": "r3"}}));
        check(&status, pods("a", "x"), pods("b", "x"), ["r1", "r2"]);
        check(&status, pods("a", "x"), pods("c", "x"), ["r1", "r3"]);
    }

    #[test]
    fn what_ran_before_any_rollout_may_come_back_under_its_own_name_or_anothers() {
        let known = json!([
            {"revision": "image-a-x", "images": "a", "template": "x"}, {"revision": "r2", "images": "b", "template": "x"},
        ]);
        for candidate in ["r1", "image-a-x"] {
            let more = json!({"known": known, "stableRevision": "r2", "candidate": {"revision": candidate}});
            check(&status("Blue_0", more.clone()), pods("b", "x"), pods("a", "x"), ["r2", candidate]);
            check(&status("Blue_0", more), pods("b", "x"), pods("a", "other arguments"), ["r2", candidate]);
        }
    }

    #[test]
    fn only_so_many_are_remembered_and_each_once() {
        let mut status = RolloutStatus::default();
        for number in 0..20 {
            for _ in 0..2 {
                status.meet("r", &runs(&number.to_string(), "x"));
            }
        }
        assert_eq!(status.known.len(), REMEMBERED);
        assert_eq!(status.known.last().unwrap().runs.images, "19");
    }
}
