//! ModelRollouts in a cluster: read whole, and changed by as little as possible.
//!
//! A change is a merge patch of the fields of the spec that differ, and nothing else, under a field manager of its own: so
//! GitOps, which owns the other fields, does not fight it. It names the version that it was made from; if somebody else
//! was faster, it is made anew from what is there.

use super::{Cluster, Failure};
use crate::client::access::Change;
use crate::client::slip::no_rollout;
use anyhow::{Context as _, bail};
use futures::TryStreamExt as _;
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, ValidationDirective, WatchEvent, WatchParams};
use serde_json::{Map, Value, json};
use std::pin::pin;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout_at};
use turnout_controller::kube_api::rollout_kind;
use turnout_rollout::{API_VERSION, KIND, ModelRollout};

/// Who writes, as the API server records it.
const FIELD_MANAGER: &str = "turnout";
/// How often a change is attempted while others are faster, and how long it is waited before the second time; then a bit
/// longer each time.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(20);

impl Cluster {
    fn rollouts(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &rollout_kind())
    }

    /// Every rollout of the namespace, or of all; and of each that cannot be read, why.
    pub(crate) async fn list_rollouts(&self, everywhere: bool) -> Result<Vec<anyhow::Result<ModelRollout>>, Failure> {
        let api = if everywhere { Api::all_with(self.client.clone(), &rollout_kind()) } else { self.rollouts() };
        let place = if everywhere { "all namespaces".to_owned() } else { format!("namespace {}", self.namespace) };
        let doing = format!("list the rollouts of {place}");
        let listed = api.list(&ListParams::default()).await.map_err(self.failure(doing))?;
        Ok(listed.items.into_iter().map(parse).collect())
    }

    /// A rollout with its status.
    pub(crate) async fn read_rollout(&self, name: &str) -> anyhow::Result<ModelRollout> {
        let place = format!("{}/{name}", self.namespace);
        match self.rollouts().get(name).await.map_err(self.failure(format!("read the rollout {place}"))) {
            Ok(object) => parse(object),
            Err(failure) if failure.is_missing() => {
                // Who may not list them hears that there is none of this name.
                let listed = self.rollouts().list(&ListParams::default()).await;
                let names: Vec<String> = listed.into_iter().flatten().map(|rollout| rollout.name_any()).collect();
                Err(no_rollout(name, &self.title(), &names))
            }
            Err(failure) => Err(failure.into()),
        }
    }

    /// Changes the spec.
    pub(crate) async fn edit_rollout(
        &self,
        name: &str,
        change: &mut Change<'_>,
    ) -> anyhow::Result<(ModelRollout, String)> {
        let parameters = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            // A field that an older CRD does not have would be dropped without a word.
            field_validation: Some(ValidationDirective::Strict),
            ..PatchParams::default()
        };
        for attempt in 1..=ATTEMPTS {
            let before = self.read_rollout(name).await?;
            let mut after = before.clone();
            let done = change(&mut after)?;
            let Some(patch) = spec_patch(&before, &after)? else { return Ok((before, done)) };
            let doing = format!("change the rollout {}", before.id());
            match self.rollouts().patch(name, &parameters, &Patch::Merge(patch)).await.map_err(self.failure(doing)) {
                Ok(object) => return Ok((parse(object)?, done)),
                // Neither of the two was done, not even in part.
                Err(failure) if matches!(failure.code(), Some(409 | 429)) => tokio::time::sleep(PAUSE * attempt).await,
                Err(failure) => return Err(failure.into()),
            }
        }
        bail!("the rollout {}/{name} is changed by others all the time: try again", self.namespace)
    }

    /// Returns when the rollout is another than this one, at the latest after `patience`. Who may not watch gets the
    /// latter.
    pub(crate) async fn rollout_changed(&self, rollout: &ModelRollout, patience: Duration) {
        let deadline = Instant::now() + patience;
        if !timeout_at(deadline, self.sees_change(rollout)).await.unwrap_or(true) {
            sleep_until(deadline).await;
        }
    }

    /// Returns whether there was a change, or nothing can be seen of one.
    async fn sees_change(&self, rollout: &ModelRollout) -> bool {
        let version = rollout.metadata.other.get("resourceVersion").and_then(Value::as_str);
        let Some(version) = version else { return false };
        let only = WatchParams::default().fields(&format!("metadata.name={}", rollout.metadata.name));
        let Ok(events) = self.rollouts().watch(&only.disable_bookmarks(), version).await else { return false };
        let event = pin!(events).try_next().await;
        matches!(event, Ok(Some(WatchEvent::Added(_) | WatchEvent::Modified(_) | WatchEvent::Deleted(_))))
    }
}

fn parse(object: DynamicObject) -> anyhow::Result<ModelRollout> {
    let title = format!(
        "{}/{}",
        object.metadata.namespace.as_deref().unwrap_or_default(),
        object.metadata.name.as_deref().unwrap_or_default()
    );
    let mut value = serde_json::to_value(object).context("the API server's answer cannot be read")?;
    value["apiVersion"] = json!(API_VERSION);
    value["kind"] = json!(KIND);
    if let Some(metadata) = value["metadata"].as_object_mut() {
        // As kubectl does: nobody reads it, and it is longer than the rest.
        metadata.remove("managedFields");
    }
    serde_json::from_value(value)
        .with_context(|| format!("this turnout cannot read the rollout {title}: is it older than the cluster's CRD?"))
}

/// The fields of the spec that differ, with the version that they differ from; none if there are none.
fn spec_patch(before: &ModelRollout, after: &ModelRollout) -> anyhow::Result<Option<Value>> {
    let fields = |rollout: &ModelRollout| -> anyhow::Result<Map<String, Value>> {
        match serde_json::to_value(&rollout.spec).context("cannot write the spec as JSON")? {
            Value::Object(fields) => Ok(fields),
            _ => bail!("a spec is an object"),
        }
    };
    let (former, newer) = (fields(before)?, fields(after)?);
    let names = former.keys().chain(newer.keys()).filter(|&name| former.get(name) != newer.get(name));
    let changed: Map<String, Value> =
        names.map(|name| (name.clone(), newer.get(name).cloned().unwrap_or(Value::Null))).collect();
    if changed.is_empty() {
        return Ok(None);
    }
    let version = before.metadata.other.get("resourceVersion");
    Ok(Some(json!({ "metadata": { "resourceVersion": version }, "spec": changed })))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;
    use crate::client::view::testing::rollout;
    use turnout_rollout::Stage;

    fn read(spec: &Value) -> ModelRollout {
        let mut rollout = rollout(spec);
        rollout.metadata.other.insert("resourceVersion".to_owned(), json!("7"));
        rollout
    }

    #[test]
    fn a_patch_has_the_fields_that_differ_and_the_version_that_they_differ_from() {
        let before = read(&json!({"target": "Rollback", "approval": {"revision": "A", "stage": "Blue_50"}}));
        let mut after = before.clone();
        assert_eq!(spec_patch(&before, &after).unwrap(), None);
        after.start("B", None).unwrap();
        let expected = json!({
            "metadata": {"resourceVersion": "7"},
            "spec": {"target": null, "approval": null, "revision": "B"},
        });
        assert_eq!(spec_patch(&before, &after).unwrap(), Some(expected));
        let mut paused = before.clone();
        paused.pause();
        let expected = json!({"metadata": {"resourceVersion": "7"}, "spec": {"paused": true}});
        assert_eq!(spec_patch(&before, &paused).unwrap(), Some(expected));
    }

    #[test]
    fn an_approval_is_written_whole() {
        let mut before =
            read(&json!({"revision": "B", "approval": {"revision": "A", "attempt": 4, "stage": "Blue_100"}}));
        let status = json!({"stage": "Blue_50", "stableRevision": "A", "candidate": {"revision": "B"}});
        before.status = serde_json::from_value(status).unwrap();
        let mut after = before.clone();
        after.promote(Some(Stage::BLUE_100), false).unwrap();
        let expected = json!({"revision": "B", "attempt": 0, "stage": "Blue_50", "skipRequirements": false});
        assert_eq!(spec_patch(&before, &after).unwrap().unwrap()["spec"]["approval"], expected);
    }

    #[test]
    fn an_object_of_the_api_is_read_without_its_managed_fields() {
        let object: DynamicObject = serde_json::from_value(json!({
            "metadata": {"name": "model", "namespace": "ns", "resourceVersion": "7", "managedFields": []},
            "spec": {"route": {"virtualService": "v"}, "green": {"host": "g"}, "blue": {"host": "b"}},
        }))
        .unwrap();
        let rollout = parse(object.clone()).unwrap();
        assert_eq!(rollout.metadata.other.keys().collect::<Vec<_>>(), ["resourceVersion"]);
        let mut newer = object;
        newer.data["spec"]["later"] = json!(1);
        let error = format!("{:#}", parse(newer).unwrap_err());
        assert!(error.contains("this turnout cannot read the rollout ns/model: is it older"), "{error}");
        assert!(error.contains("unknown field `later`"), "{error}");
    }
}
