//! What has been said of pairs, added up.

use super::{Compared, Comparison, MAX_FIELDS, OTHERS, STATUS};
use crate::evidence::{Bias, Field, Shadow};

/// The most names of schema changes; others are counted as [`OTHERS`].
const MAX_SCHEMA_CHANGES: usize = 64;

/// Adds what is said of a pair: of the candidate's answer and, where stable was asked a second time, of that answer, both
/// compared with the live one. A schema change that stable shows against itself is none.
///
/// The order in which pairs are added does not matter, but for which fields and names come to be [`OTHERS`].
pub fn tally(shadow: &mut Shadow, candidate: &Comparison, second: Option<&Comparison>) {
    count(&mut shadow.pairs, true);
    count(&mut shadow.noise_pairs, second.is_some());
    // Of all that is beyond the most fields: whether the candidate agrees, and whether stable does with itself.
    let mut others: Option<(bool, Option<bool>)> = None;
    for field in &candidate.fields {
        let noise = second.and_then(|second| second.field(&field.path)).map(|field| field.agrees);
        if let Some(place) = place(shadow, field) {
            add(place, field, noise);
            continue;
        }
        count(&mut shadow.fields_left_out, true);
        let (agrees, of_noise) = others.unwrap_or((true, None));
        let of_noise = noise.map(|agrees| agrees && of_noise.unwrap_or(true)).or(of_noise);
        others = Some((agrees && field.agrees, of_noise));
    }
    if let Some((agrees, noise)) = others {
        let field = Compared::without_numbers(OTHERS, agrees);
        if let Some(place) = place(shadow, &field) {
            add(place, &field, noise);
        }
    }
    add_schema_changes(shadow, candidate, second);
}

/// Where a field is counted, unless there are too many others.
fn place<'a>(shadow: &'a mut Shadow, field: &Compared) -> Option<&'a mut Field> {
    let known = shadow.fields.binary_search_by(|known| {
        known.path.as_str().cmp(&field.path).then(known.bias.scale().total_cmp(&field.scale))
    });
    let at = match known {
        Ok(at) => at,
        Err(at) => {
            let most = if field.has_rule { 2 * MAX_FIELDS } else { MAX_FIELDS };
            if shadow.fields.len() >= most && ![OTHERS, STATUS].contains(&&*field.path) {
                return None;
            }
            let new = Field { path: field.path.clone(), bias: Bias::new(field.scale), ..Field::default() };
            shadow.fields.insert(at, new);
            at
        }
    };
    Some(&mut shadow.fields[at])
}

fn add(place: &mut Field, field: &Compared, noise: Option<bool>) {
    count(&mut place.compared, true);
    count(&mut place.differ, !field.agrees);
    if let Some((live, candidate)) = field.numbers {
        place.bias.record(live, candidate);
    }
    if let Some(noise_agrees) = noise {
        count(&mut place.noise_compared, true);
        count(&mut place.noise_differ, !noise_agrees);
        count(&mut place.discordant_candidate, !field.agrees && noise_agrees);
        count(&mut place.discordant_noise, field.agrees && !noise_agrees);
    }
}

fn add_schema_changes(shadow: &mut Shadow, candidate: &Comparison, second: Option<&Comparison>) {
    let (mut has_any, mut has_others) = (false, false);
    for change in &candidate.schema_changes {
        if second.is_some_and(|second| second.schema_changes.contains(change)) {
            continue;
        }
        has_any = true;
        let name = change.to_string();
        if let Some(pairs) = shadow.schema_changes.get_mut(&name) {
            count(pairs, true);
        } else if shadow.schema_changes.len() < MAX_SCHEMA_CHANGES {
            shadow.schema_changes.insert(name, 1);
        } else {
            has_others = true;
        }
    }
    count(&mut shadow.schema_changed, has_any);
    if has_others {
        count(shadow.schema_changes.entry(OTHERS.to_owned()).or_default(), true);
    }
}

fn count(counter: &mut u64, counts: bool) {
    *counter = counter.saturating_add(u64::from(counts));
}
