//! Commands that people are told to run next: written so that they reach what this one has reached. What a command takes by
//! itself, from the environment or the kubeconfig, is left out.

use std::env;
use std::ffi::OsStr;
use turnout_rollout::ModelRollout;

/// How this command was told where rollouts are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Suggest {
    /// Each with a space before it.
    flags: String,
    /// The namespace that a command takes by itself; none where there are no namespaces.
    own_namespace: Option<String>,
}

impl Suggest {
    /// `given` are flags, their variables and values; in a cluster the context has a namespace.
    pub(crate) fn new(given: &[(&str, &str, Option<&OsStr>)], context_namespace: Option<&str>) -> Self {
        let differs = |variable: &str, value: &OsStr| env::var_os(variable).as_deref() != Some(value);
        let flags = given.iter().filter_map(|(flag, variable, value)| {
            let value = value.filter(|value| differs(variable, value))?;
            Some(format!(" {flag} {}", quoted(&value.to_string_lossy())))
        });
        let of_context = || context_namespace.map(str::to_owned);
        let own_namespace = context_namespace.and_then(|_| env::var("TURNOUT_NAMESPACE").ok());
        Self { flags: flags.collect(), own_namespace: own_namespace.or_else(of_context) }
    }

    /// `verb` is one with its words, as `rollout promote`.
    pub(crate) fn command(&self, verb: &str, rollout: &ModelRollout) -> String {
        self.command_for(verb, &rollout.metadata.namespace, &rollout.metadata.name)
    }

    /// Of an object of any kind.
    pub(crate) fn command_for(&self, verb: &str, namespace: &str, name: &str) -> String {
        let is_other = self.own_namespace.as_deref().is_some_and(|own| own != namespace);
        let namespace = if is_other { format!(" -n {namespace}") } else { String::new() };
        format!("{} {verb}{}{namespace} {name}", crate::program(), self.flags)
    }
}

/// As a shell takes it for one word.
fn quoted(text: &str) -> String {
    shlex::try_quote(text).map_or_else(|_| text.to_owned(), Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::view::testing::rollout;
    use serde_json::json;

    #[test]
    fn a_command_names_what_it_would_not_take_by_itself() {
        // What the environment of the tests has besides; cargo sets this one.
        let (known, set) = ("CARGO_PKG_NAME", env::var_os("CARGO_PKG_NAME").unwrap_or_default());
        let check = |given: &[(&str, &str, Option<&OsStr>)], context: Option<&str>, expected: &str| {
            let command = Suggest::new(given, context).command("rollout promote", &rollout(&json!({})));
            assert_eq!(command, expected, "{given:?} {context:?}");
        };
        check(&[], None, "turnout rollout promote model");
        check(&[], Some("ns"), "turnout rollout promote model");
        check(&[], Some("other"), "turnout rollout promote -n ns model");
        let context = ("--context", "TURNOUT_NO_SUCH", Some(OsStr::new("aks two")));
        check(&[context], Some("other"), "turnout rollout promote --context 'aks two' -n ns model");
        check(&[("--local", known, Some(&set))], None, "turnout rollout promote model");
        check(&[("--local", known, Some(OsStr::new("/a")))], None, "turnout rollout promote --local /a model");
        check(&[("--local", known, None)], None, "turnout rollout promote model");
    }
}
