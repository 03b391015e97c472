//! What a table costs grows with what is written in its documents, not with the product of their parts: a rule is
//! compiled once, however many hosts it serves, and what is read of the table at every scrape was made when it was
//! compiled. Counted in allocations, which are the same on every machine.

use allocation_counter::measure;
use turnout_routes::documents::Document;
use turnout_routes::router::{Identity, Router, compile};
use turnout_routes::{Source, parse};

/// A VirtualService with so many rules on so many hosts, a hundredth of which are wildcards.
fn documents(rules: usize, hosts: usize) -> Vec<Document> {
    let host =
        |n: usize| if n.is_multiple_of(100) { format!("'*.h{n}.example.com'") } else { format!("h{n}.example.com") };
    let hosts: Vec<String> = (0..hosts).map(host).collect();
    let rule = |n| {
        format!("{{match: [{{uri: {{exact: /{n}}}}}], route: [{{destination: {{host: m{n}, port: {{number: 80}}}}}}]}}")
    };
    let rules: Vec<String> = (0..rules).map(rule).collect();
    let text = format!(
        "{{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {{name: v}},\n spec: {{hosts: [{}], http: [{}]}}}}",
        hosts.join(", "),
        rules.join(",\n"),
    );
    let parsed = parse(&[Source { name: "routes.yaml", bytes: text.as_bytes() }]);
    parsed.unwrap_or_else(|problems| panic!("refused:\n{problems}")).documents
}

/// The router of so many rules and hosts, and how many allocations it took.
fn compiled(rules: usize, hosts: usize) -> (Router, u64) {
    let documents = documents(rules, hosts);
    let mut router = Router::default();
    let counted = measure(|| router = compile(&documents, &Identity::default()));
    (router, counted.count_total)
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
