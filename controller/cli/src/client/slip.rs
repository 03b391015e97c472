//! Names that nothing has: those that there are, and the one that was probably meant.

use std::fmt::Write as _;

/// So many names are read at a glance.
const FEW: usize = 5;
/// From 0 to 1, how much alike two names must be: as for flags that are misspelt.
const ALIKE: f64 = 0.7;

/// That `place` has no rollout of this name, but these.
pub(super) fn no_rollout(name: &str, place: &str, names: &[String]) -> anyhow::Error {
    let likeness = |known: &&String| strsim::jaro(name, known);
    let alike = names.iter().filter(|known| likeness(known) > ALIKE);
    let meant = alike.max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
    let mut text = format!("there is no rollout {name} in {place}");
    if (1..=FEW).contains(&names.len()) {
        let _ = write!(text, ", only {}", names.join(", "));
    }
    if let Some(meant) = meant {
        let _ = write!(text, "; did you mean {meant}?");
    }
    anyhow::Error::msg(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_was_meant_is_told_and_those_that_there_are_if_they_are_few() {
        let check = |names: &[&str], expected: &str| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(
                no_rollout("modle", "ns", &names).to_string(),
                format!("there is no rollout modle in ns{expected}")
            );
        };
        check(&[], "");
        check(&["model"], ", only model; did you mean model?");
        check(&["scoring"], ", only scoring");
        check(&["scoring", "models", "model"], ", only scoring, models, model; did you mean model?");
        check(&["a", "b", "c", "d", "e", "model"], "; did you mean model?");
        check(&["a", "b", "c", "d", "e", "f"], "");
    }
}
