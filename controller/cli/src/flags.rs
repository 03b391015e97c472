//! Flags that stand before their verb, as in `turnout -n abtesting rollout -o json status`. With kubectl a flag belongs to
//! the verb wherever it stands; clap wants it behind. So it is moved there, and the verb refuses what it does not take.

use clap::Command;
use std::ffi::OsString;

/// The command line as clap reads it. Without a verb the flags before it are dropped: help is what is left to give.
pub(crate) fn behind_the_verb(command: &Command, arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut rest = arguments.into_iter().peekable();
    let mut ordered: Vec<OsString> = rest.next().into_iter().collect();
    let (mut level, mut moved) = (command, Vec::new());
    while level.has_subcommands() {
        let Some(word) = rest.next_if(|word| word != "--") else { break };
        let text = word.to_string_lossy().into_owned();
        if !text.starts_with('-') {
            ordered.push(word);
            let Some(verb) = level.find_subcommand(&text) else { break };
            level = verb;
            continue;
        }
        let is_own = value_follows(level, &text, false).is_some();
        let Some(takes_next) = value_follows(level, &text, true) else {
            ordered.push(word);
            break;
        };
        let place = if is_own { &mut ordered } else { &mut moved };
        place.push(word);
        place.extend(rest.next_if(|_| takes_next));
    }
    if ordered.len() > 1 && !std::ptr::eq(level, command) {
        ordered.append(&mut moved);
    }
    ordered.extend(rest);
    ordered
}

/// Whether the value of a flag, or of the last of several short ones, is the next word. None if a flag is unknown to the
/// command, and, with `deep`, to all commands below it.
fn value_follows(command: &Command, word: &str, deep: bool) -> Option<bool> {
    if let Some(long) = word.strip_prefix("--") {
        let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
        let takes_value = takes_value(command, &|flag| flag.get_long() == Some(name), deep)?;
        return Some(takes_value && value.is_none());
    }
    let mut letters = word.chars().skip(1).peekable();
    while let Some(letter) = letters.next() {
        if takes_value(command, &|flag| flag.get_short() == Some(letter), deep)? {
            return Some(letters.peek().is_none());
        }
    }
    Some(false)
}

/// A flag takes a value with every command that has it, or with none; the tests hold that.
fn takes_value(command: &Command, is_it: &dyn Fn(&clap::Arg) -> bool, deep: bool) -> Option<bool> {
    let own = command.get_arguments().find(|flag| is_it(flag)).map(|flag| flag.get_action().takes_values());
    own.or_else(|| {
        let mut below = command.get_subcommands().filter(|_| deep);
        below.find_map(|verb| takes_value(verb, is_it, deep))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn flags_go_to_the_verb_and_keep_their_order_and_values() {
        let mut command = crate::command("turnout");
        command.build();
        let check = |line: &str, expected: &str| {
            let moved = behind_the_verb(&command, line.split(' ').map(OsString::from));
            let moved: Vec<String> = moved.iter().map(|word| word.to_string_lossy().into_owned()).collect();
            assert_eq!(moved.join(" "), expected);
        };
        check("turnout rollout status m -n x", "turnout rollout status m -n x");
        check("turnout rollout -n x status m", "turnout rollout -n x status m");
        check("turnout -n x rollout status m", "turnout rollout status -n x m");
        check("turnout -nx --context=c rollout -o json status m", "turnout rollout -o json status -nx --context=c m");
        check("turnout --watch -n x rollout status m", "turnout rollout status --watch -n x m");
        check("turnout -won rollout status", "turnout rollout status -won");
        check("turnout -wo json rollout status", "turnout rollout status -wo json");
        check("turnout -n rollout rollout list", "turnout rollout list -n rollout");
        check("turnout -n x lint f", "turnout lint -n x f");
        check("turnout -o json lint -", "turnout lint -o json -");
        // What clap says something about itself stays where it is.
        check("turnout --help", "turnout --help");
        check("turnout -n x --help", "turnout --help");
        check("turnout -n x", "turnout");
        check("turnout --unknown x rollout list", "turnout --unknown x rollout list");
        check("turnout -n x rolout list", "turnout rolout list");
        check("turnout -- -n x", "turnout -- -n x");
    }

    #[test]
    fn a_flag_takes_a_value_everywhere_or_nowhere() {
        let mut command = crate::command("turnout");
        command.build();
        let (mut pending, mut known) = (vec![&command], BTreeMap::new());
        while let Some(command) = pending.pop() {
            for flag in command.get_arguments() {
                let names = flag.get_long().map(|long| format!("--{long}")).into_iter();
                for name in names.chain(flag.get_short().map(|short| format!("-{short}"))) {
                    let takes_value = flag.get_action().takes_values();
                    assert_eq!(*known.entry(name.clone()).or_insert(takes_value), takes_value, "{name}");
                }
            }
            pending.extend(command.get_subcommands());
        }
        assert_eq!(known.get("--namespace"), Some(&true));
    }
}
