//! What a write has changed, in a line for people who look for the fault.

use crate::api::Effect;
use crate::api::store::Part;
use crate::laws::weights;
use crate::world::cast::{App, published};
use crate::world::table_of;

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
        );
    }
    format!("      {}: {:?}", effect.key, after["metadata"]["annotations"])
}
