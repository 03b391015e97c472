//! What a table costs grows with what is written in its documents, not with the product of their parts: a rule is
//! compiled once, however many hosts it serves, and what is read of the table at every scrape was made when it was
//! compiled. Counted in allocations, which are the same on every machine.

use allocation_counter::measure;
use turnout_routes::documents::Document;
use turnout_routes::router::{Identity, Router, compile};
use turnout_routes::{Source, parse};

fn parsed(text: &str) -> Vec<Document> {
    let parsed = parse(&[Source { name: "routes.yaml", bytes: text.as_bytes() }]);
    parsed.unwrap_or_else(|problems| panic!("refused:\n{problems}")).documents
}

fn document(kind: &str, name: &str, spec: &str) -> String {
    format!(
        "---\n{{apiVersion: networking.istio.io/v1, kind: {kind}, metadata: {{name: {name}}},\n spec: {{{spec}}}}}\n"
    )
}

/// A VirtualService with so many rules on so many hosts, a hundredth of which are wildcards.
fn documents(rules: usize, hosts: usize) -> Vec<Document> {
    let host =
        |n: usize| if n.is_multiple_of(100) { format!("'*.h{n}.example.com'") } else { format!("h{n}.example.com") };
    let hosts: Vec<String> = (0..hosts).map(host).collect();
    let rule = |n| {
        format!("{{match: [{{uri: {{exact: /{n}}}}}], route: [{{destination: {{host: m{n}, port: {{number: 80}}}}}}]}}")
    };
    let rules: Vec<String> = (0..rules).map(rule).collect();
    let spec = format!("hosts: [{}], http: [{}]", hosts.join(", "), rules.join(",\n"));
    parsed(&document("VirtualService", "v", &spec))
}

/// The router of these documents, and how many allocations it took.
fn counted(documents: &[Document]) -> (Router, u64) {
    let mut router = Router::default();
    let counted = measure(|| router = compile(documents, &Identity::default()));
    (router, counted.count_total)
}

/// The router of so many rules and hosts, and how many allocations it took.
fn compiled(rules: usize, hosts: usize) -> (Router, u64) {
    counted(&documents(rules, hosts))
}

#[test]
fn a_host_more_costs_the_same_however_many_rules_it_has() {
    let cost_of_hosts = |rules| compiled(rules, 400).1 - compiled(rules, 200).1;
    let (with_few, with_many) = (cost_of_hosts(10), cost_of_hosts(1000));
    assert!(with_many <= with_few + 10, "200 hosts more: {with_few} allocations with 10 rules, {with_many} with 1000");
}

#[test]
fn a_rule_more_costs_the_same_however_many_rules_there_are() {
    let cost_of_rules = |rules| compiled(rules + 500, 10).1 - compiled(rules, 10).1;
    let (first, later) = (cost_of_rules(500), cost_of_rules(3500));
    assert!(later <= first + first / 10, "500 rules more: {first} allocations after 500, {later} after 3500");
}

#[test]
fn what_a_scrape_reads_was_made_when_the_table_was_compiled() {
    let (router, _) = compiled(4000, 100);
    let mut read = (0, 0, 0);
    let counted = measure(|| read = (router.rules().len(), router.splits().count(), router.weights().len()));
    assert_eq!(read, (4000, 4000, 4000));
    assert_eq!(counted.count_total, 0);
}

/// A rule for each of so many, with this action.
fn missing(count: usize, action: impl Fn(usize) -> String) -> String {
    let rule = |n| format!("{{match: [{{uri: {{exact: /{n}}}}}], {}}}", action(n));
    let rules: Vec<String> = (0..count).map(rule).collect();
    document("VirtualService", "v", &format!("hosts: [h], http: [{}]", rules.join(",\n")))
}

#[test]
fn a_missing_name_costs_the_same_however_many_there_are() {
    let of_delegates = |known: usize, unknown: usize| {
        let answer = "http: [{directResponse: {status: 200}}]";
        let delegates: String = (0..known).map(|n| document("VirtualService", &format!("d{n}"), answer)).collect();
        missing(unknown, |n| format!("delegate: {{name: missing-{n}}}")) + &delegates
    };
    let of_subsets = |known: usize, unknown: usize| {
        let subsets: Vec<String> = (0..known).map(|n| format!("{{name: s{n}}}")).collect();
        let to = |n| format!("route: [{{destination: {{host: m, port: {{number: 80}}, subset: missing-{n}}}}}]");
        let rule = document("DestinationRule", "m", &format!("host: m, subsets: [{}]", subsets.join(", ")));
        missing(unknown, to) + &rule
    };
    let check = |what: &str, documents: &dyn Fn(usize, usize) -> String| {
        let cost = |known, unknown| counted(&parsed(&documents(known, unknown))).1;
        let cost_of_missing = |known| cost(known, 400) - cost(known, 200);
        let (with_few, with_many) = (cost_of_missing(10), cost_of_missing(1000));
        assert!(
            with_many <= with_few + 10,
            "200 {what} more that are missing: {with_few} allocations beside 10 that are there, {with_many} beside 1000"
        );
    };
    check("delegates", &of_delegates);
    check("subsets", &of_subsets);
}
