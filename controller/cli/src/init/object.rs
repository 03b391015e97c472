//! The ModelRollout of a VirtualService, pure: which rule, which destination is green, and the text. The VirtualService is
//! taken as the API has it, because a rollout in Istio mode may govern one that the gateways refuse.

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use std::fmt::Write as _;
use turnout_controller::crd::{LONGEST_HTTP_NAME, MAX_NAME_LENGTH};
use turnout_rollout::{API_VERSION, KIND, Mode, ModelRollout, Plan, full_host, istio};

/// The stages, for people to take the comment signs off.
const STEPS: &str = "\
\u{20} # The stages, and what each requires before it is left, all of it. Without steps they are Blue_0, Blue_50, Blue_100,
  # Blue_Green and Green_100, and each is left when it is promoted.
  # steps:
  # - stage: Blue_0
  #   require: [{approval: {}}]
  # - stage: Blue_5
  #   require: [{pause: 10m}, {webhook: {url: \"https://pipelines.example.com/allow\"}}]
  # - stage: Blue_50
  # - stage: Blue_100
";

/// What people say of it.
pub(super) struct Wishes<'a> {
    /// The name of the rule.
    pub(super) http: Option<&'a str>,
    /// `HOST` or `HOST/SUBSET`.
    pub(super) green: Option<&'a str>,
    pub(super) mode: Mode,
}

/// A ModelRollout as it is to be applied.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) text: String,
    pub(super) rollout: ModelRollout,
    /// What was decided and may be meant otherwise.
    pub(super) notes: Vec<String>,
}

/// A destination of the rule.
struct Destination<'a> {
    host: &'a str,
    subset: Option<&'a str>,
    port: Option<u64>,
    weight: u64,
}

/// Writes it, or says what is needed.
pub(super) fn write(object: &Value, wishes: &Wishes<'_>) -> anyhow::Result<Written> {
    let of_metadata = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    let (name, namespace) = (of_metadata("name"), of_metadata("namespace"));
    let rules = object["spec"]["http"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rule = choose(rules, wishes.http).with_context(|| format!("VirtualService {namespace}/{name}"))?;
    check_weights(rule).with_context(|| format!("VirtualService {namespace}/{name}"))?;
    let [first, second] =
        destinations(rule).try_into().map_err(|_| anyhow::anyhow!("the rule has no two destinations"))?;
    let mut notes = Vec::new();
    let own_name = rollout_name(name);
    if own_name != name {
        notes.push(format!("the ModelRollout is called {own_name}: its name may have {MAX_NAME_LENGTH} letters"));
    }
    let is_first = first_is_green(&first, &second, namespace, wishes.green, &mut notes)?;
    let (green, blue) = if is_first { (first, second) } else { (second, first) };
    // A backend is told by host and subset; the port is needed where these are the same.
    let needs_port = full_host(green.host, namespace) == full_host(blue.host, namespace) && green.subset == blue.subset;
    let mut text = format!("apiVersion: {API_VERSION}\nkind: {KIND}\nmetadata:\n");
    let _ = write!(text, "  name: {}\n  namespace: {}\nspec:\n", scalar(own_name), scalar(namespace));
    let _ = writeln!(text, "  route:\n    virtualService: {}", scalar(name));
    // What the definition takes for a name; a rule without one is found by its destinations.
    let is_only_one = |name: &&str| {
        (1..=LONGEST_HTTP_NAME).contains(&name.len()) && rules.iter().filter(|rule| rule["name"] == **name).count() == 1
    };
    if let Some(http) = rule["name"].as_str().filter(is_only_one) {
        let _ = writeln!(text, "    http: {}", scalar(http));
    }
    let of = |title: &str, one: &Destination<'_>, what: &str| {
        let subset = one.subset.map(|subset| format!("    subset: {}\n", scalar(subset))).unwrap_or_default();
        let port = one.port.filter(|_| needs_port).map(|port| format!("    port: {port}\n")).unwrap_or_default();
        format!(
            "  {title}:    # {what}; it has weight {} now\n    host: {}\n{subset}{port}",
            one.weight,
            scalar(one.host)
        )
    };
    text += &of("green", &green, "serves the stable version");
    text += &of("blue", &blue, "where a new version is tried");
    if wishes.mode == Mode::Istio {
        text += "  mode: Istio\n";
    }
    text += STEPS;
    let rollout: ModelRollout = serde_yaml::from_str(&text).context("this rule cannot be governed")?;
    Plan::of(&rollout).context("this rule cannot be governed")?;
    istio::observe(object, &rollout).context("this rule cannot be governed")?;
    Ok(Written { text, rollout, notes })
}

/// The rule with two destinations: the one that is named, else the only one.
fn choose<'a>(rules: &'a [Value], wanted: Option<&str>) -> anyhow::Result<&'a Value> {
    let all: Vec<(usize, &Value)> = rules.iter().enumerate().collect();
    let splits: Vec<_> = all.iter().filter(|(_, rule)| destinations(rule).len() == 2).copied().collect();
    let named: Vec<_> =
        splits.iter().filter(|(_, rule)| wanted.is_none_or(|name| rule["name"] == *name)).copied().collect();
    match (named.as_slice(), wanted) {
        (&[(_, rule)], _) => Ok(rule),
        (_, _) if splits.is_empty() => bail!(
            "no http rule has two destinations, only {}; a rollout needs one such as\n\
             - name: split\n  route:\n  - {{destination: {{host: GREEN}}, weight: 100}}\n  - {{destination: {{host: BLUE}}, weight: 0}}",
            listed(&all)
        ),
        ([], Some(name)) => bail!("no http rule with two destinations is named {name}: there is {}", listed(&splits)),
        _ => bail!(
            "several http rules have two destinations: name one by --http (one that has no name needs one first): {}",
            listed(&splits)
        ),
    }
}

fn listed(rules: &[(usize, &Value)]) -> String {
    let one = |(index, rule): &(usize, &Value)| {
        let name = rule["name"].as_str().map(|name| format!(" {name}")).unwrap_or_default();
        let hosts: Vec<String> = destinations(rule).iter().map(Destination::title).collect();
        let hosts = if hosts.is_empty() { "no destination".to_owned() } else { hosts.join(" and ") };
        format!("spec.http[{index}]{name} ({hosts})")
    };
    if rules.is_empty() { "none at all".to_owned() } else { rules.iter().map(one).collect::<Vec<_>>().join(", ") }
}

fn destinations(rule: &Value) -> Vec<Destination<'_>> {
    let entries = rule["route"].as_array().map(Vec::as_slice).unwrap_or_default();
    entries.iter().map(Destination::of).collect()
}

impl<'a> Destination<'a> {
    fn of(entry: &'a Value) -> Self {
        let destination = &entry["destination"];
        Self {
            host: destination["host"].as_str().unwrap_or_default(),
            subset: destination["subset"].as_str().filter(|subset| !subset.is_empty()),
            port: destination["port"]["number"].as_u64(),
            weight: entry["weight"].as_u64().unwrap_or(0),
        }
    }

    fn title(&self) -> String {
        self.subset.map_or_else(|| self.host.to_owned(), |subset| format!("{}/{subset}", self.host))
    }

    /// Whether people mean it by `HOST` or `HOST/SUBSET`.
    fn is_called(&self, name: &str, namespace: &str) -> bool {
        let (host, subset) = name.split_once('/').map_or((name, None), |(host, subset)| (host, Some(subset)));
        full_host(host, namespace) == full_host(self.host, namespace) && (subset.is_none() || subset == self.subset)
    }
}

fn first_is_green(
    first: &Destination<'_>,
    second: &Destination<'_>,
    namespace: &str,
    wanted: Option<&str>,
    notes: &mut Vec<String>,
) -> anyhow::Result<bool> {
    let Some(name) = wanted else {
        if first.weight == second.weight {
            notes.push(format!(
                "both destinations have weight {}: green is the first, {}; --green {} is the other way round",
                first.weight,
                first.title(),
                second.title()
            ));
        }
        return Ok(first.weight >= second.weight);
    };
    match (first.is_called(name, namespace), second.is_called(name, namespace)) {
        (true, false) => Ok(true),
        (false, true) => Ok(false),
        (true, true) => bail!("--green {name} is both destinations: write {} or {}", first.title(), second.title()),
        (false, false) => bail!("--green {name} is none of the destinations {} and {}", first.title(), second.title()),
    }
}

/// What is no whole number would count as none, and the wrong destination as the stable one.
fn check_weights(rule: &Value) -> anyhow::Result<()> {
    for entry in rule["route"].as_array().into_iter().flatten() {
        let weight = &entry["weight"];
        if !weight.is_null() && !weight.is_u64() {
            bail!("{} has the weight {weight}: write a whole number", Destination::of(entry).title());
        }
    }
    Ok(())
}

/// That of the VirtualService, as far as a rollout may have it.
fn rollout_name(name: &str) -> &str {
    let end = name.char_indices().nth(MAX_NAME_LENGTH).map_or(name.len(), |(end, _)| end);
    if end == name.len() { name } else { name[..end].trim_end_matches(['-', '.']) }
}

/// A text as every reader of YAML takes it for one: kubectl reads `no` as false.
fn scalar(text: &str) -> String {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(is_letter);
    let is_word = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    if is_plain && !is_word.contains(&text.to_ascii_lowercase().as_str()) {
        text.to_owned()
    } else {
        json!(text).to_string()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;
    use turnout_rollout::{Weights, route_weights};
    use turnout_routes::{Source, parse};

    const PINNED: &str = "{match: [{headers: {x-api-version: {exact: blue}}}], route: [{destination: {host: m-blue}}]}";
    const SAMPLE: &str = "{name: split, route: [{destination: {host: m-green.ns.svc.cluster.local, port: {number: 80}}, \
                          weight: 70}, {destination: {host: m-blue, port: {number: 80}}, weight: 30}]}";
    const SUBSETS: &str = "{route: [{destination: {host: m, subset: '1'}, weight: 0}, {destination: {host: m, subset: v2}, weight: 100}]}";
    const PORTS: &str = "{route: [{destination: {host: m, port: {number: 1}}, weight: 1}, \
                         {destination: {host: m, port: {number: 2}}, weight: 1}]}";
    const ONE: &str = "{route: [{destination: {host: m}}]}";
    const THREE: &str = "{name: three, route: [{destination: {host: a}, weight: 1}, {destination: {host: b}, weight: 1}, \
                         {destination: {host: c}, weight: 1}]}";

    fn text(rules: &[&str]) -> String {
        format!(
            "{{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {{name: m, namespace: ns}}, \
             spec: {{hosts: [m], http: [{}]}}}}",
            rules.join(", ")
        )
    }

    fn written(rules: &[&str], http: Option<&str>, green: Option<&str>, mode: Mode) -> anyhow::Result<Written> {
        write(&serde_yaml::from_str(&text(rules)).unwrap(), &Wishes { http, green, mode })
    }

    /// What is written fits the document and the state machine, as it is and with its example of steps; it names this as
    /// green and blue, and its weights are these.
    fn check(rules: &[&str], http: Option<&str>, green: Option<&str>, expected: [&str; 2], weights: (u32, u32)) {
        for mode in [Mode::Gateway, Mode::Istio] {
            let Written { text: yaml, rollout, .. } = written(rules, http, green, mode).unwrap();
            let document = text(rules);
            let documents = parse(&[Source { name: "v", bytes: document.as_bytes() }]).unwrap().documents;
            let weights = Weights { green: weights.0, blue: weights.1 };
            assert_eq!(route_weights(&documents, &rollout), Ok(weights), "{yaml}");
            let backend = |one: &turnout_rollout::BackendRef| serde_json::to_string(one).unwrap();
            assert_eq!([backend(&rollout.spec.green), backend(&rollout.spec.blue)], expected);
            assert_eq!((rollout.spec.mode, rollout.id()), (mode, "ns/m".to_owned()));
            let (head, steps) = yaml.split_once("  # steps:").unwrap();
            let with_steps = format!("{head}  steps:{}", steps.replace("\n  # ", "\n  "));
            let with_steps: ModelRollout = serde_yaml::from_str(&with_steps).unwrap();
            assert_eq!(with_steps.spec.steps.as_ref().map(Vec::len), Some(4));
            Plan::of(&with_steps).unwrap();
        }
    }

    #[test]
    fn what_is_written_fits_the_rule_that_it_was_made_from() {
        let (green, blue) = (r#"{"host":"m-green.ns.svc.cluster.local"}"#, r#"{"host":"m-blue"}"#);
        check(&[SAMPLE], None, None, [green, blue], (70, 30));
        check(&[PINNED, SAMPLE], None, None, [green, blue], (70, 30));
        check(&[PINNED, SAMPLE], None, Some("m-blue"), [blue, green], (30, 70));
        let (one, two) = (r#"{"host":"m","subset":"1"}"#, r#"{"host":"m","subset":"v2"}"#);
        check(&[SUBSETS, ONE], None, None, [two, one], (100, 0));
        check(&[SUBSETS], None, Some("m.ns.svc.cluster.local/1"), [one, two], (0, 100));
        check(&[SAMPLE, SUBSETS], Some("split"), None, [green, blue], (70, 30));
        check(&[PORTS], None, None, [r#"{"host":"m","port":1}"#, r#"{"host":"m","port":2}"#], (1, 1));
        check(&[THREE, SAMPLE], None, None, [green, blue], (70, 30));
    }

    #[test]
    fn where_it_cannot_be_told_what_is_meant_it_says_what_to_write() {
        let refused = |rules: &[&str], http: Option<&str>, green: Option<&str>, said: &str| {
            let error = format!("{:#}", written(rules, http, green, Mode::Gateway).unwrap_err());
            assert!(error.contains(said), "{error}");
        };
        refused(&[ONE], None, None, "ns/m: no http rule has two destinations, only spec.http[0] (m); a rollout needs");
        refused(&[THREE], None, None, "only spec.http[0] three (a and b and c); a rollout needs one such as\n- name");
        refused(&["{redirect: {uri: /}}"], None, None, "only spec.http[0] (no destination)");
        refused(&[], None, None, "no http rule has two destinations, only none at all");
        let several = "name one by --http (one that has no name needs one first): spec.http[0] split (m-green.ns.svc";
        refused(&[SAMPLE, SUBSETS], None, None, several);
        refused(&[SAMPLE], Some("other"), None, "no http rule with two destinations is named other: there is spec");
        refused(&[SUBSETS], None, Some("m"), "--green m is both destinations: write m/1 or m/v2");
        let same = SAMPLE.replace("m-blue", "m-green");
        refused(&[&same], None, None, "spec.blue: is the same destination as spec.green: they must differ in host");
        for weight in ["'90'", "99.5", "-5", "true"] {
            let rule = SAMPLE.replace("weight: 70", &format!("weight: {weight}"));
            refused(&[&rule], None, None, "VirtualService ns/m: m-green.ns.svc.cluster.local has the weight ");
        }
        refused(&[SAMPLE], None, Some("m"), "--green m is none of the destinations m-green.ns.svc.cluster.local and");
    }

    /// Names that the definition does not take, and words that some readers of YAML take for something else.
    #[test]
    fn whatever_the_names_are_what_is_written_is_accepted() {
        let long = "model-".repeat(20);
        for (name, http, green, own) in [
            ("no", "off", "yes", "no"),
            ("123", "1e3", "0x1", "123"),
            ("a.v1", "", "null", "a.v1"),
            (long.as_str(), long.as_str(), "~", "model-model-model-model-model-model-model-model-model-mod"),
            ("b", &"x".repeat(300), "1_000", "b"),
            ("c", "two\nlines: 'and' \"more\" # {", "m: 1", "c"),
        ] {
            let object = json!({
                "metadata": {"name": name, "namespace": "on"},
                "spec": {"http": [{"name": http, "route": [
                    {"destination": {"host": green, "subset": "n"}, "weight": 2},
                    {"destination": {"host": "m", "subset": "y"}, "weight": 1},
                ]}]},
            });
            let written = write(&object, &Wishes { http: None, green: None, mode: Mode::Istio }).unwrap();
            let spec = &written.rollout.spec;
            let kept = [&written.rollout.metadata.name, &spec.route.virtual_service, &spec.green.host];
            assert_eq!(kept, [own, name, green]);
            assert_eq!(written.notes.len(), usize::from(own != name));
            assert_eq!(spec.route.http.as_deref(), Some(http).filter(|http| (1..=253).contains(&http.len())));
            for word in ["no", "off", "yes", "null", "y", "n", "on", "123", "1e3", "0x1", "~", "1_000"] {
                let bare = format!(": {word}\n");
                assert!(!written.text.contains(&bare), "{bare}: {}", written.text);
            }
        }
    }

    #[test]
    fn a_split_in_halves_is_said_to_be_undecided() {
        let notes = written(&[PORTS], None, None, Mode::Gateway).unwrap().notes;
        assert!(notes[0].starts_with("both destinations have weight 1: green is the first, m; "), "{notes:?}");
        assert!(written(&[SAMPLE], None, None, Mode::Gateway).unwrap().notes.is_empty());
    }
}
