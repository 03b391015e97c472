//! What a managed backend is made of, and what counts as a difference.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use super::deployment::changed;
use super::template::stored_name;
use super::*;
use std::collections::BTreeSet;

fn rollout(spec: Value) -> ModelRollout {
    let mut object = json!({
        "apiVersion": "turnout.dev/v1alpha1",
        "kind": "ModelRollout",
        "metadata": {"name": "model", "namespace": "abtesting", "generation": 4},
        "spec": {
            "route": {"virtualService": "model"},
            "green": {"host": "model-svc-green"},
            "blue": {"host": "model-svc-blue"},
            "workload": "Managed",
        },
    });
    let Value::Object(fields) = spec else { panic!("a spec is an object") };
    for (name, value) in fields {
        object["spec"][name] = value;
    }
    serde_json::from_value(object).unwrap()
}

fn template() -> Value {
    json!({
        "metadata": {"labels": {"app": "model", "team": "scoring"}},
        "spec": {"containers": [{
            "name": "model",
            "image": "registry.example/scoring:2",
            "ports": [{"containerPort": 5001}],
            "readinessProbe": {"httpGet": {"path": "/", "port": 5001}},
            "resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}},
        }]},
    })
}

fn labels<const N: usize>(labels: [(&str, &str); N]) -> Labels {
    labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

fn blue(rollout: &ModelRollout, revision: &str, template: &Value) -> Deployment {
    let selector = labels([("app", "scoring"), ("slot", "blue")]);
    deployment(rollout, "uid-1", Backend::Blue, revision, template, &selector).unwrap()
}

/// As an API server stores it.
fn stored(deployment: &Deployment) -> Deployment {
    let mut object = serde_json::to_value(deployment).unwrap();
    let spec = &mut object["spec"];
    if spec["replicas"].is_null() {
        spec["replicas"] = json!(1);
    }
    let pod = &mut spec["template"]["spec"];
    pod["restartPolicy"] = json!("Always");
    pod["terminationGracePeriodSeconds"] = json!(30);
    pod["containers"][0]["imagePullPolicy"] = json!("IfNotPresent");
    pod["containers"][0]["readinessProbe"]["periodSeconds"] = json!(10);
    pod["containers"][0]["resources"]["limits"] = json!({"cpu": "500m", "memory": "1Gi"});
    object["metadata"]["resourceVersion"] = json!("17");
    object["status"] = json!({"readyReplicas": 1});
    serde_json::from_value(object).unwrap()
}

#[test]
fn a_deployment_belongs_to_its_rollout_and_its_pods_to_their_service() {
    let Deployment { metadata, spec, .. } = blue(&rollout(json!({"replicas": 3})), "v2", &template());
    let spec = spec.unwrap();
    assert_eq!((metadata.name.as_deref(), metadata.namespace.as_deref()), (Some("model-blue"), Some("abtesting")));
    let own = [("turnout.dev/rollout", "model"), ("turnout.dev/backend", "blue")];
    assert_eq!(spec.selector.match_labels, Some(labels(own)), "the same in every revision");
    let pods = labels([
        ("app", "scoring"),
        ("slot", "blue"),
        ("team", "scoring"),
        ("turnout.dev/backend", "blue"),
        ("turnout.dev/revision", "v2"),
        ("turnout.dev/rollout", "model"),
        ("version", "blue"),
    ]);
    assert_eq!(spec.template.metadata.unwrap().labels, Some(pods));
    assert_eq!(metadata.labels.unwrap()["app.kubernetes.io/managed-by"], "turnout-controller");
    let owner = serde_json::to_value(&metadata.owner_references.unwrap()[0]).unwrap();
    let expected = json!({
        "apiVersion": "turnout.dev/v1alpha1",
        "kind": "ModelRollout",
        "name": "model",
        "uid": "uid-1",
        "controller": true,
        "blockOwnerDeletion": false,
    });
    assert_eq!(owner, expected);
    let strategy = serde_json::to_value(spec.strategy).unwrap();
    assert_eq!(strategy, json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}));
    assert_eq!((spec.replicas, spec.progress_deadline_seconds), (Some(3), Some(600)));
}

#[test]
fn a_version_that_somebody_chose_stays() {
    let mut template = template();
    template["metadata"]["labels"]["version"] = json!("v2");
    let made = blue(&rollout(json!({})), "v2", &template);
    assert_eq!(made.spec.unwrap().template.metadata.unwrap().labels.unwrap()["version"], "v2");
    let selector = labels([("version", "candidate")]);
    let made = deployment(&rollout(json!({})), "uid-1", Backend::Blue, "v2", &template, &selector).unwrap();
    assert_eq!(
        made.spec.unwrap().template.metadata.unwrap().labels.unwrap()["version"],
        "candidate",
        "or no pod is found"
    );
}

#[test]
fn a_service_that_cannot_find_the_pods_is_a_problem() {
    let check = |selector: Labels, expected: &str| {
        let made = deployment(&rollout(json!({})), "uid-1", Backend::Blue, "v2", &template(), &selector);
        assert_eq!(made.unwrap_err().to_string(), expected);
    };
    check(labels([]), "spec.blue.host: its Service selects no pods: give it a selector");
    check(
        labels([("turnout.dev/revision", "v1")]),
        "spec.blue.host: its Service selects turnout.dev/revision=v1, these pods have v2: select by other labels",
    );
}

#[test]
fn pods_that_the_other_service_selects_are_found() {
    let made = blue(&rollout(json!({})), "v2", &template());
    assert!(is_selected_by(&made, &labels([("app", "scoring")])));
    assert!(!is_selected_by(&made, &labels([("app", "scoring"), ("slot", "green")])));
}

#[test]
fn a_template_that_makes_no_backend_is_refused_with_the_field() {
    let check = |change: &dyn Fn(&mut Value), expected: &str| {
        let mut template = template();
        change(&mut template);
        assert_eq!(parse_template(&template).unwrap_err().to_string(), expected, "{template}");
    };
    check(&|it| it["spec"] = json!({}), "spec.template.spec.containers: has no container");
    check(
        &|it| it["spec"]["containers"][0]["readinesProbe"] = json!({"exec": {}}),
        "spec.template.spec.containers[0].readinesProbe: is no field of a pod template: correct or remove it",
    );
    check(
        &|it| it["metadata"]["labels"]["turnout.dev/revision"] = json!("v9"),
        "spec.template.metadata.labels: turnout.dev/revision is the controller's: remove it",
    );
    check(
        &|it| it["spec"]["containers"][0]["ports"][0]["containerPort"] = json!("http"),
        "spec.template.spec.containers[0].ports[0].containerPort: \
         invalid type: string \"http\", expected i32",
    );
    let unready = "spec.template.spec.containers: no container that listens has a readinessProbe: \
                   without one requests go to a model before it is loaded";
    check(&|it| it["spec"]["containers"][0]["readinessProbe"] = Value::Null, unready);
    check(
        &|it| {
            let probe = it["spec"]["containers"][0]["readinessProbe"].take();
            let shipper = json!({"name": "logs", "image": "logs", "readinessProbe": probe});
            it["spec"]["containers"].as_array_mut().unwrap().push(shipper);
        },
        unready,
    );
}

#[test]
fn a_container_that_does_not_listen_need_not_tell_its_readiness() {
    let mut template = template();
    template["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "logs", "image": "logs"}));
    assert!(parse_template(&template).is_ok());
    template["spec"]["containers"][0]["ports"] = json!([]);
    assert!(parse_template(&template).is_ok(), "nothing tells which of them listens");
}

#[test]
fn a_revision_depends_on_the_content_alone() {
    let template = template();
    let reordered: Value = serde_json::from_str(
        r#"{"spec": {"containers": [{"resources": {"limits": {"memory": "1024Mi", "cpu": 0.5}},
            "readinessProbe": {"httpGet": {"port": 5001, "path": "/"}}, "ports": [{"containerPort": 5001}],
            "image": "registry.example/scoring:2", "name": "model"}]},
            "metadata": {"labels": {"team": "scoring", "app": "model"}}}"#,
    )
    .unwrap();
    let revision = template_revision(&template);
    assert_eq!(revision, template_revision(&reordered));
    assert!(revision.len() == 10 && revision.bytes().all(|byte| byte.is_ascii_hexdigit()), "{revision}");
    let mut other = template;
    other["spec"]["containers"][0]["image"] = json!("registry.example/scoring:3");
    assert_ne!(revision, template_revision(&other));
}

#[test]
fn the_template_of_the_spec_is_kept_under_its_name_or_its_own_revision() {
    let own = template_revision(&template());
    let check = |name: Value, superseded_by: Option<&str>, revision: &str, expected: bool| {
        let mut rollout = rollout(json!({"template": template(), "revision": name.clone()}));
        let named = json!({"named": {"revision": name, "template": "t1", "supersededBy": superseded_by}});
        rollout.status = serde_json::from_value(if name.is_null() { json!({}) } else { named }).unwrap();
        let found = template_of_spec(&rollout, &rollout.status, revision);
        assert_eq!(found.is_some(), expected, "{name} {superseded_by:?} {revision}");
    };
    check(Value::Null, None, &own, true);
    check(Value::Null, None, "v2", false);
    check(json!("v2"), None, "v2", true);
    check(json!("v2"), None, &own, false);
    check(json!("v2"), Some(&own), "v2", false);
    check(json!("v2"), Some(&own), &own, true);
}

#[test]
fn stored_templates_have_names_that_never_meet() {
    let named = |name: &str, revision: &str, uid: &str| {
        let mut rollout = rollout(json!({}));
        name.clone_into(&mut rollout.metadata.name);
        stored_name(&rollout, revision, uid)
    };
    let names = [
        named("a", "b-c", "1"),
        named("a-b", "c", "2"),
        named("a", "b-c", "3"),
        named("a", "B-c", "1"),
        named("a", "b_c", "1"),
        named(&"m".repeat(57), &"r".repeat(63), "1"),
        named(&"m".repeat(57), &format!("{}s", "r".repeat(62)), "1"),
    ];
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
    for name in &names {
        let is_valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        assert!(name.len() <= 63 && name.bytes().all(is_valid), "{name}");
    }
    assert!(names[0].starts_with("a-b-c-"), "{}", names[0]);
}

#[test]
fn a_stored_template_is_read_back_as_it_was() {
    let kept = stored_template(&rollout(json!({})), "v2", &template(), "uid-1");
    assert_eq!(kept.data.unwrap().0, template());
    assert_eq!((kept.metadata.labels.unwrap()["turnout.dev/revision"].as_str(), kept.revision), ("v2", 4));
    assert!(kept.metadata.owner_references.unwrap().iter().any(|owner| owner.uid == "uid-1"));
}

#[test]
fn a_deployment_that_is_as_wanted_is_not_written_again() {
    let rollout = rollout(json!({}));
    let wanted = blue(&rollout, "v2", &template());
    let mut live = stored(&wanted);
    assert_eq!(changed(&live, wanted.clone()), None);
    live.spec.as_mut().unwrap().replicas = Some(7);
    assert_eq!(changed(&live, wanted), None, "an autoscaler may have changed the number");
}

#[test]
fn what_is_not_as_wanted_is_put_right_and_nothing_else_is() {
    let scaled = rollout(json!({"replicas": 3}));
    let mut live = stored(&blue(&scaled, "v1", &template()));
    live.metadata.labels.get_or_insert_default().insert("owner".to_owned(), "scoring".to_owned());
    live.spec.as_mut().unwrap().replicas = Some(7);
    let next = changed(&live, blue(&scaled, "v2", &template())).unwrap();
    assert_eq!(next.metadata.resource_version.as_deref(), Some("17"), "it is written over what was read");
    let meta = next.metadata.labels.unwrap();
    assert_eq!((meta["owner"].as_str(), meta["turnout.dev/revision"].as_str()), ("scoring", "v2"));
    assert_eq!(next.spec.unwrap().replicas, Some(3));

    let unscaled = rollout(json!({}));
    let mut live = stored(&blue(&unscaled, "v2", &template()));
    let spec = live.spec.as_mut().unwrap();
    spec.replicas = Some(7);
    spec.template.spec.as_mut().unwrap().containers[0].image = Some("registry.example/other:1".to_owned());
    let spec = changed(&live, blue(&unscaled, "v2", &template())).unwrap().spec.unwrap();
    assert_eq!(spec.template.spec.unwrap().containers[0].image.as_deref(), Some("registry.example/scoring:2"));
    assert_eq!(spec.replicas, Some(7));
}

#[test]
fn only_what_the_rollout_controls_is_its_own() {
    let rollout = rollout(json!({}));
    let own = blue(&rollout, "v2", &template());
    let mut of_a_former_rollout = own.clone();
    of_a_former_rollout.metadata.owner_references.as_mut().unwrap()[0].uid = "uid-0".to_owned();
    let mut of_nobody = own.clone();
    of_nobody.metadata.owner_references = None;
    let mut elsewhere = own.clone();
    elsewhere.metadata.namespace = Some("other".to_owned());
    let check = |deployment: &Deployment, expected: &str| {
        let found = match Found::among(std::slice::from_ref(deployment), &rollout, "uid-1", Backend::Blue) {
            Found::Absent => "absent".to_owned(),
            Found::Owned(_) => "owned".to_owned(),
            Found::Foreign(live) => foreign(title(live), &live.metadata).to_string(),
        };
        assert_eq!(found, expected);
    };
    check(&own, "owned");
    check(&elsewhere, "absent");
    let of = |owner: &str| {
        format!(
            "deployments abtesting/model-blue belongs to {owner} and is left alone: remove it, or give the rollout another name"
        )
    };
    check(&of_a_former_rollout, &of("ModelRollout model"));
    check(&of_nobody, &of("somebody else"));
}
