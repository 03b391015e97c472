//! The pod template of a managed rollout: whether a backend can be made from it, what its revision is called, and the form
//! in which a revision's template outlives the next change of the spec.

use super::owner;
use crate::names::{FIELD_MANAGER, GROUP, MANAGED_BY, REVISION, ROLLOUT};
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::{Container, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use turnout_rollout::{FieldError, InvalidRollout, ModelRollout};

const TEMPLATE: &str = "spec.template";
/// So many digits of a hash are a revision.
const REVISION_DIGITS: usize = 10;
/// The longest name of an object that may be a label's value, too.
const MAX_NAME_LENGTH: usize = 63;
/// So many digits of a hash tell names apart that were cut.
const NAME_DIGITS: usize = 8;

/// The revision of a template: the same for the same content, however its fields are ordered. It can be a label's value.
pub fn template_revision(template: &Value) -> String {
    hash(&[&sorted(template).to_string()], REVISION_DIGITS)
}

/// The template as Kubernetes has it; or all that keeps a backend from being made from it, each with its field.
pub fn parse_template(template: &Value) -> Result<PodTemplateSpec, InvalidRollout> {
    let parsed: PodTemplateSpec = serde_json::from_value(template.clone())
        .map_err(|error| InvalidRollout(vec![problem(&culprit(template), error.to_string())]))?;
    let mut problems = Vec::new();
    find_unknown(TEMPLATE, template, &serde_json::to_value(&parsed).unwrap_or_default(), &mut problems);
    let labels = parsed.metadata.as_ref().and_then(|metadata| metadata.labels.as_ref());
    for label in labels.into_iter().flat_map(|labels| labels.keys()) {
        if label.starts_with(&format!("{GROUP}/")) {
            problems.push(problem(
                &format!("{TEMPLATE}.metadata.labels"),
                format!("{label} is the controller's: remove it"),
            ));
        }
    }
    let containers = parsed.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    if containers.is_empty() {
        problems.push(problem(&format!("{TEMPLATE}.spec.containers"), "has no container"));
    } else if !tells_readiness(containers) {
        let text =
            "no container that listens has a readinessProbe: without one requests go to a model before it is loaded";
        problems.push(problem(&format!("{TEMPLATE}.spec.containers"), text));
    }
    if problems.is_empty() { Ok(parsed) } else { Err(InvalidRollout(problems)) }
}

/// A template as it is kept for the revision. Its name begins with those of the rollout and the revision, for people; the
/// hash behind them keeps `a` at `b-c` and `a-b` at `c` apart, and a rollout from one of the same name before it. Its
/// number is the generation of the rollout that it was stored from.
pub fn stored_template(
    rollout: &ModelRollout,
    revision: &str,
    template: &Value,
    owner_uid: &str,
) -> ControllerRevision {
    let labels = [(MANAGED_BY, FIELD_MANAGER), (ROLLOUT, &rollout.metadata.name), (REVISION, revision)];
    ControllerRevision {
        metadata: ObjectMeta {
            name: Some(stored_name(rollout, revision, owner_uid)),
            namespace: Some(rollout.metadata.namespace.clone()),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            owner_references: Some(vec![owner(rollout, owner_uid)]),
            ..ObjectMeta::default()
        },
        data: Some(RawExtension(template.clone())),
        revision: rollout.metadata.generation.unwrap_or(0),
    }
}

/// The name of the object that keeps the revision's template.
pub(super) fn stored_name(rollout: &ModelRollout, revision: &str, owner_uid: &str) -> String {
    let readable = format!("{}-{revision}", rollout.metadata.name).to_ascii_lowercase();
    // Names take fewer characters than labels do.
    let readable = readable.replace(|character: char| !character.is_ascii_alphanumeric(), "-");
    let kept: String = readable.chars().take(MAX_NAME_LENGTH - NAME_DIGITS - 1).collect();
    format!("{kept}-{}", hash(&[owner_uid, revision], NAME_DIGITS))
}

/// Pods that send no word of their own readiness count as ready as soon as they run. A container without ports, as one
/// that ships logs, need not say anything where another one does.
fn tells_readiness(containers: &[Container]) -> bool {
    let listens = |container: &&Container| container.ports.as_ref().is_some_and(|ports| !ports.is_empty());
    let listening: Vec<_> = containers.iter().filter(listens).collect();
    let serving = if listening.is_empty() { containers.iter().collect() } else { listening };
    serving.iter().any(|container| container.readiness_probe.is_some())
}

/// Fields that did not come through: Kubernetes has none of that name, or not in the version that is known here.
fn find_unknown(path: &str, written: &Value, known: &Value, problems: &mut Vec<FieldError>) {
    match (written, known) {
        (Value::Object(written), Value::Object(known)) => {
            for (name, value) in written.iter().filter(|(_, value)| !value.is_null()) {
                let path = format!("{path}.{name}");
                match known.get(name) {
                    Some(known) => find_unknown(&path, value, known, problems),
                    None => problems.push(problem(&path, "is no field of a pod template: correct or remove it")),
                }
            }
        }
        (Value::Array(written), Value::Array(known)) => {
            for (index, (written, known)) in written.iter().zip(known).enumerate() {
                find_unknown(&format!("{path}[{index}]"), written, known, problems);
            }
        }
        _ => {}
    }
}

/// The field without which the template could be read; all of it, if there is no single one.
fn culprit(template: &Value) -> String {
    let mut places = Vec::new();
    collect_places(TEMPLATE, "", template, &mut places);
    let is_culprit = |pointer: &str| {
        let mut without = template.clone();
        if let Some(value) = without.pointer_mut(pointer) {
            *value = Value::Null;
        }
        serde_json::from_value::<PodTemplateSpec>(without).is_ok()
    };
    places.into_iter().find(|(_, pointer)| is_culprit(pointer)).map_or_else(|| TEMPLATE.to_owned(), |(path, _)| path)
}

/// Path and pointer of every value, those inside another before it.
fn collect_places(path: &str, pointer: &str, value: &Value, places: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let escaped = name.replace('~', "~0").replace('/', "~1");
                collect_places(&format!("{path}.{name}"), &format!("{pointer}/{escaped}"), value, places);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                collect_places(&format!("{path}[{index}]"), &format!("{pointer}/{index}"), value, places);
            }
        }
        _ => {}
    }
    places.push((path.to_owned(), pointer.to_owned()));
}

fn problem(path: &str, message: impl Into<String>) -> FieldError {
    FieldError { path: path.to_owned(), message: message.into() }
}

/// The same value with the fields of every object in the order of their names.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| *name);
            Value::Object(fields.into_iter().map(|(name, value)| (name.clone(), sorted(value))).collect::<Map<_, _>>())
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

/// The first digits, at most 16, of the SHA-256 of texts that hold no zero byte.
fn hash(texts: &[&str], digits: usize) -> String {
    let digest = Sha256::digest(texts.join("\0"));
    let first = digest.first_chunk().expect("a SHA-256 has 32 bytes");
    format!("{:016x}", u64::from_be_bytes(*first))[..digits].to_owned()
}
