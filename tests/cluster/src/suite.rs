//! A suite: named cases, run one after another on one cluster that is taken down at the end. It replaces the test
//! harness of Rust because a cluster has to outlive the cases and be gone after them, and because one that is left out
//! has to say so.
//!
//! It runs only where `TURNOUT_SLOW=1`, or with every repeat where `TURNOUT_SLOW=full`, and one of the long run only
//! there; a cluster that leaves a trace is a failure like any other.

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, anyhow};

use crate::cluster::{Cluster, EXISTING, Options};

/// Switches suites on: `1` at the size that finds a fault, `full` with every repeat.
const SLOW: &str = "TURNOUT_SLOW";

/// Whether every repeat is wanted, and the time that it takes.
pub fn is_full() -> bool {
    env::var(SLOW).as_deref() == Ok("full")
}

/// A case: it fails by an error or by a panic.
pub type Case = fn(&Cluster) -> Result<()>;

/// The cases of one `[[test]]` with `harness = false`.
#[derive(Debug)]
pub struct Suite {
    name: &'static str,
    options: Options,
    cases: Vec<Named>,
    is_of_the_long_run: bool,
}

#[derive(Debug)]
struct Named {
    name: &'static str,
    needs_node: bool,
    case: Case,
}

enum Outcome {
    Passed,
    Failed(anyhow::Error),
    LeftOut(String),
}

impl Suite {
    /// A suite without cases, for a cluster of this kind.
    pub fn new(name: &'static str, options: Options) -> Self {
        Self { name, options, cases: Vec::new(), is_of_the_long_run: false }
    }

    /// The same only where every repeat is wanted: what it is made of takes too long for the gate of every change.
    #[must_use]
    pub fn of_the_long_run(self) -> Self {
        Self { is_of_the_long_run: true, ..self }
    }

    /// With this case, which any cluster serves.
    #[must_use]
    pub fn case(self, name: &'static str, case: Case) -> Self {
        self.with(Named { name, needs_node: false, case })
    }

    /// With this case, which stops daemons or enters the node: it is left out on an existing cluster.
    #[must_use]
    pub fn node_case(self, name: &'static str, case: Case) -> Self {
        self.with(Named { name, needs_node: true, case })
    }

    fn with(mut self, named: Named) -> Self {
        self.cases.push(named);
        self
    }

    /// Runs the cases whose names contain one of the words on the command line, or all without any.
    pub fn run(self) -> ExitCode {
        let words: Vec<String> = env::args().skip(1).collect();
        if words.iter().any(|word| word == "--list") {
            self.cases.iter().for_each(|case| println!("{}: test", case.name));
            return ExitCode::SUCCESS;
        }
        if let Some(why) = self.why_left_out(env::var(SLOW).unwrap_or_default().as_str()) {
            println!("the suite {} is left out: {why}", self.name);
            return ExitCode::SUCCESS;
        }
        let chosen: Vec<&Named> = self.cases.iter().filter(|case| is_chosen(case.name, &words)).collect();
        if chosen.is_empty() {
            println!("the suite {} has no such case", self.name);
            return ExitCode::SUCCESS;
        }
        match Cluster::for_tests(&self.options) {
            Ok(cluster) => self.run_on(cluster, &chosen),
            Err(error) => {
                println!("the suite {} has no cluster: {error:#}", self.name);
                ExitCode::FAILURE
            }
        }
    }

    fn why_left_out(&self, slow: &str) -> Option<&'static str> {
        match slow {
            "full" => None,
            "1" if !self.is_of_the_long_run => None,
            "1" => Some("it belongs to the long run; set TURNOUT_SLOW=full"),
            _ if self.is_of_the_long_run => Some("it starts a cluster, as root; set TURNOUT_SLOW=full"),
            _ => Some("it starts a cluster, as root; set TURNOUT_SLOW=1"),
        }
    }

    fn run_on(&self, cluster: Cluster, cases: &[&Named]) -> ExitCode {
        let mut failed = Vec::new();
        let started = Instant::now();
        for case in cases {
            if !report(case.name, || run_case(case, &cluster)) {
                failed.push(case.name);
            }
        }
        let last = "the_cluster_leaves_no_trace";
        let down = || cluster.down().map_or_else(Outcome::Failed, |()| Outcome::Passed);
        if !report(last, down) {
            failed.push(last);
        }
        let seconds = started.elapsed().as_secs_f64();
        if failed.is_empty() {
            println!("the suite {} passed in {seconds:.1} s", self.name);
            return ExitCode::SUCCESS;
        }
        println!("the suite {} failed in {seconds:.1} s: {}", self.name, failed.join(", "));
        ExitCode::FAILURE
    }
}

/// Flags of Rust's own harness mean nothing here.
fn is_chosen(name: &str, words: &[String]) -> bool {
    let mut words = words.iter().filter(|word| !word.starts_with('-')).peekable();
    words.peek().is_none() || words.any(|word| name.contains(word.as_str()))
}

fn run_case(case: &Named, cluster: &Cluster) -> Outcome {
    if case.needs_node && !cluster.is_own() {
        return Outcome::LeftOut(format!("it needs a node of its own, and {EXISTING} names an existing cluster"));
    }
    match catch_unwind(AssertUnwindSafe(|| (case.case)(cluster))) {
        Ok(Ok(())) => Outcome::Passed,
        Ok(Err(error)) => Outcome::Failed(error),
        Err(_) => Outcome::Failed(anyhow!("it panicked, as said above")),
    }
}

fn report(name: &str, run: impl FnOnce() -> Outcome) -> bool {
    let started = Instant::now();
    let outcome = run();
    let seconds = started.elapsed().as_secs_f64();
    match outcome {
        Outcome::Passed => println!("test {name} ... ok ({seconds:.1} s)"),
        Outcome::LeftOut(why) => println!("test {name} ... left out: {why}"),
        Outcome::Failed(error) => {
            println!("test {name} ... FAILED ({seconds:.1} s)\n{error:#}");
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gate_leaves_out_what_belongs_to_the_long_run() {
        let check = |suite: &Suite, slow: &str, runs: bool| {
            assert_eq!(suite.why_left_out(slow).is_none(), runs, "{slow}: {suite:?}");
        };
        let suite = Suite::new("gate", Options::default());
        let long = Suite::new("long", Options::default()).of_the_long_run();
        for (slow, in_the_gate, in_the_long_run) in [("", false, false), ("1", true, false), ("full", true, true)] {
            check(&suite, slow, in_the_gate);
            check(&long, slow, in_the_long_run);
        }
    }

    #[test]
    fn cases_are_chosen_by_a_part_of_their_name() {
        let check = |words: &[&str], expected: bool| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(is_chosen("the_node_is_ready", &words), expected, "{words:?}");
        };
        check(&[], true);
        check(&["--nocapture"], true);
        check(&["node"], true);
        check(&["dns", "ready"], true);
        check(&["dns", "--exact"], false);
    }
}
