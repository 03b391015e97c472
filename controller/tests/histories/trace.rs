//! What a write has changed, in a line for people who look for the fault.

use crate::api::Effect;
use crate::api::store::Part;
use crate::laws::weights;
use crate::world::cast::{App, published};
use crate::world::table_of;
use serde_json::Value;

pub(crate) fn effect(effect: &Effect) -> String {
    let Some(after) = effect.after.as_deref() else { return format!("      {} is gone", effect.key) };
    if effect.key == published() {
        let table = table_of(after);
        let of = |app: App| table.as_ref().map(|table| weights(table, app).to_string());
        let revision = table.as_ref().map(|table| table.revision[..8].to_owned());
        return format!("      published {revision:?}: {:?}", App::ALL.map(of));
    }
    if effect.part == Part::Status {
        let status = &after["status"];
        return format!(
            "      {}: {} stage {} moving {} weights {} safe {} candidate {} stable {} waits {}: {}",
            effect.key,
            status["phase"],
            status["stage"],
            status["movingTo"],
            status["weights"],
            status["safeToRemove"],
            status["candidate"]["revision"],
            status["stableRevision"],
            status["waiting"]["reason"],
            status["message"],
        ) + &others_changed(effect, status);
    }
    format!("      {}: {:?}", effect.key, after["metadata"]["annotations"])
}

/// The fields that the line above does not show, where they changed.
fn others_changed(effect: &Effect, status: &Value) -> String {
    const SHOWN: [&str; 9] =
        ["phase", "stage", "movingTo", "weights", "safeToRemove", "candidate", "stableRevision", "waiting", "message"];
    let before = effect.before.as_deref().map(|before| &before["status"]);
    let changed = status.as_object().into_iter().flatten().filter(|(name, value)| {
        !SHOWN.contains(&name.as_str()) && before.map(|before| &before[name.as_str()]) != Some(*value)
    });
    let lines: Vec<String> = changed.map(|(name, value)| format!("\n        {name}: {value}")).collect();
    lines.concat()
}
