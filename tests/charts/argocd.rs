//! What Argo CD is told of ModelRollouts, run by the Lua that it has, on statuses that the state machine writes.

use mlua::{Lua, LuaSerdeExt as _};
use serde_json::{Value, json};
use turnout_rollout::{RolloutStatus, Timestamp};

fn settings() -> Value {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/turnout/argocd.yaml");
    serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// What Argo CD makes of it.
fn health(object: &Value) -> (String, String) {
    let script =
        settings()["data"]["resource.customizations.health.turnout.dev_ModelRollout"].as_str().unwrap().to_owned();
    let lua = Lua::new();
    lua.globals().set("obj", lua.to_value(object).unwrap()).unwrap();
    let health: Value = lua.from_value(lua.load(script).eval().unwrap()).unwrap();
    let text = |field: &str| health[field].as_str().unwrap().to_owned();
    (text("status"), text("message"))
}

#[test]
fn argo_cd_sees_how_a_rollout_does() {
    let check = |phase: &str, expected: &str| {
        let status = json!({"phase": phase, "message": format!("it is {phase}"), "observedGeneration": 3});
        let mut status: RolloutStatus = serde_json::from_value(status).unwrap();
        status.sum_up(Timestamp(1));
        let object = |generation: u64| json!({"metadata": {"generation": generation}, "status": status});
        assert_eq!(health(&object(3)), (expected.to_owned(), format!("it is {phase}")));
        assert_eq!(health(&object(4)).0, "Progressing", "{phase}: the newest change is not answered");
    };
    for phase in ["Idle", "Complete", "RolledBack"] {
        check(phase, "Healthy");
    }
    for phase in ["Progressing", "RollingBack"] {
        check(phase, "Progressing");
    }
    for phase in ["Holding", "Paused"] {
        check(phase, "Suspended");
    }
    for phase in ["Invalid", "Failed", "Stalled"] {
        check(phase, "Degraded");
    }
    assert_eq!(health(&json!({"metadata": {"generation": 1}})).0, "Progressing");
}

#[test]
fn argo_cd_leaves_what_others_write() {
    let data = settings()["data"].as_object().unwrap().clone();
    for (key, text) in data.iter().filter(|(key, _)| key.contains("ignoreDifferences")) {
        let ignored: Value = serde_yaml::from_str(text.as_str().unwrap()).unwrap();
        let known = ["managedFieldsManagers", "jqPathExpressions"];
        assert!(ignored.as_object().unwrap().keys().all(|field| known.contains(&field.as_str())), "{key}");
    }
    assert_eq!(data.len(), 3);
}
