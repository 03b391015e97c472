//! `turnout-bench instructions`: what a request costs Turnout in instructions, counted by valgrind's callgrind. They are nearly
//! the same in every run and on every machine of an architecture, so a change of one in a hundred shows.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};
use turnout_bench::{Pace, Protocol, Total};

use crate::bed::{self, Bed, Peer, configuration};
use crate::work::{self, SECURE, SMALL, Steady};

/// Counts the instructions of a request.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Compare with the counts in this file: a difference of more than --tolerance is a failure, and so is another build than
    /// theirs. --turnout has to be where Cargo has put it, in TARGET_DIR/TRIPLE/PROFILE.
    #[arg(long, value_name = "PATH", requires = "turnout")]
    budget: Option<PathBuf>,
    /// Write the counts, and of which build they are, to that file.
    #[arg(long, requires = "budget")]
    write: bool,
    /// Percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 5.0)]
    tolerance: f64,
    #[command(flatten)]
    bed: bed::Machine,
}

#[derive(Deserialize, Serialize)]
struct Budget {
    /// Which build they are of: FOLDER/TRIPLE/PROFILE.
    build: String,
    instructions: BTreeMap<String, u64>,
}

struct Case {
    name: &'static str,
    work: Steady,
    /// How many routes there are besides, on a tenth as many hosts.
    routes: usize,
}

/// One request at a time: how many are found at once would differ from run to run.
const CONNECTIONS: usize = 1;
const PLAIN: Steady = Steady { connections: CONNECTIONS, ..SMALL };
const CASES: [Case; 5] = [
    Case { name: "HTTP/1.1", work: PLAIN, routes: 0 },
    Case { name: "HTTP/2", work: Steady { protocol: Protocol::Http2, ..PLAIN }, routes: 0 },
    Case { name: "TLS 1.3", work: Steady { connections: CONNECTIONS, ..SECURE }, routes: 0 },
    Case { name: "HTTP/1.1 with 100 routes more", work: PLAIN, routes: 100 },
    Case { name: "HTTP/1.1 with 10,000 routes more", work: PLAIN, routes: 10_000 },
];
/// What is counted is the difference of two runs in the thread that has more to do in the second one, the worker: so neither
/// the start nor the end is in it.
const REQUESTS: [u64; 2] = [500, 2500];
const DOCUMENTS: &str = "turnout.yaml";

/// Counts case by case; whether all are within the budget.
pub(crate) async fn run(arguments: Arguments) -> Result<bool> {
    let bed = Bed::set(&arguments.bed, &[Peer::Turnout]).await?;
    if let Some(why) = bed.missing.values().next() {
        bail!("{why}");
    }
    let budget = arguments.budget.as_deref();
    let budget = budget.map(|path| anyhow::Ok((path, build_of(bed.program(Peer::Turnout))?))).transpose()?;
    let known = match &budget {
        Some((path, build)) if !arguments.write => Some(Budget::read(path, build)?),
        _ => None,
    };
    let mut instructions = BTreeMap::new();
    for case in &CASES {
        let count = count(&bed, case).await.with_context(|| case.name.to_owned())?;
        println!("{:<34} {count:>7} instructions for each request", case.name);
        instructions.insert(case.name.to_owned(), count);
    }
    if let Some(known) = known {
        return known.holds(&instructions, arguments.tolerance);
    }
    if let Some((path, build)) = budget {
        let text = serde_json::to_string_pretty(&Budget { build, instructions })? + "\n";
        fs::write(path, text).context("cannot write the budget")?;
    }
    Ok(true)
}

async fn count(bed: &Bed, case: &Case) -> Result<u64> {
    let [few, many] = REQUESTS;
    let (before, after) = (totals(bed, case, few).await?, totals(bed, case, many).await?);
    let more =
        after.iter().map(|(thread, total)| total.saturating_sub(before.get(thread).copied().unwrap_or_default()));
    Ok(more.max().context("valgrind has counted nothing")? / (many - few))
}

/// What each thread has executed at the end of so many requests. The first one is left out: it looks at the routes now and
/// then, however many requests there are.
async fn totals(bed: &Bed, case: &Case, requests: u64) -> Result<BTreeMap<String, u64>> {
    write_documents(bed.folder.path(), case.routes)?;
    let folder = tempfile::tempdir()?;
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (counts, log) = (format!("--callgrind-out-file={}", file("counts")), format!("--log-file={}", file("log")));
    let options = ["--tool=callgrind", "--separate-threads=yes", &counts, &log];
    let proxy = bed.start_under("valgrind", &options).await?;
    let run = work::start(bed, Peer::Turnout, &case.work, Pace::ClosedLoop, Total::Requests(requests))?;
    work::check(Peer::Turnout, &case.work, &run.report().await)?;
    drop(proxy);
    let mut totals = BTreeMap::new();
    for entry in fs::read_dir(folder.path())? {
        let path = entry?.path();
        let text = fs::read_to_string(&path)?;
        let of = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        if let (Some(thread), Some(total)) = (of("thread:"), of("totals:"))
            && thread != "1"
        {
            totals.insert(thread.to_owned(), total.parse()?);
        }
    }
    Ok(totals)
}

/// The documents of every measurement, and so many routes of other hosts.
fn write_documents(folder: &Path, routes: usize) -> Result<()> {
    let mut documents = fs::read_to_string(configuration(DOCUMENTS))?;
    for host in 0..routes / 10 {
        write!(
            documents,
            "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: h{host}}}\n"
        )?;
        write!(documents, "spec:\n  hosts: [\"h{host}.example.com\"]\n  gateways: [scoring]\n  http:\n")?;
        for route in 0..10 {
            let rule = "route: [{destination: {host: green.example.com}}]";
            writeln!(documents, "  - {{match: [{{uri: {{prefix: /score/{route}}}}}], {rule}}}")?;
        }
    }
    fs::write(folder.join(DOCUMENTS), documents)?;
    Ok(())
}

/// What the path says of it: the program itself says nothing. The folder of targets is named, too, since the flags of the
/// compiler are one's own there.
fn build_of(program: &Path) -> Result<String> {
    let names: Option<Vec<_>> =
        program.ancestors().skip(1).take(3).map(|folder| folder.file_name()?.to_str()).collect();
    match names.as_deref() {
        Some([profile, triple, folder]) if triple.contains("-linux-") => Ok(format!("{folder}/{triple}/{profile}")),
        _ => bail!("{} is not where `cargo build --target TRIPLE` puts it, in TRIPLE/PROFILE", program.display()),
    }
}

impl Budget {
    /// An error if it is that of another build: the counts of two say nothing of each other.
    fn read(path: &Path, build: &str) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let known: Self =
            serde_json::from_str(&text).with_context(|| format!("{} holds no counts of a build", path.display()))?;
        ensure!(known.build == build, "{} has the counts of {}, and this is {build}", path.display(), known.build);
        Ok(known)
    }

    /// Whether all counts are as they were. What has become less is to be written down, or it could be lost again unseen.
    fn holds(&self, counts: &BTreeMap<String, u64>, tolerance: f64) -> Result<bool> {
        ensure!(self.instructions.keys().eq(counts.keys()), "the budget has other cases: write it anew");
        let mut holds = true;
        for (name, count) in counts {
            let more = (work::as_f64(*count) / work::as_f64(self.instructions[name]) - 1.0) * 100.0;
            let verdict = match more {
                _ if more > tolerance => ", too many",
                _ if more < -tolerance => ": write the new counts with --write",
                _ => "",
            };
            println!("{name:<34} {more:>+6.1} % of its budget{verdict}");
            holds &= verdict.is_empty();
        }
        Ok(holds)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;

    #[test]
    fn the_path_of_a_program_says_its_build() {
        let check =
            |path: &str, expected: Option<&str>| assert_eq!(build_of(Path::new(path)).ok().as_deref(), expected);
        check("/a/target/static/aarch64-unknown-linux-gnu/quick/p", Some("static/aarch64-unknown-linux-gnu/quick"));
        check("/a/target/release/p", None);
        check("/usr/bin/p", None);
        check("p", None);
    }

    #[test]
    fn a_budget_holds_for_its_build_within_the_tolerance_in_both_directions() {
        let counts = |name: &str, count| BTreeMap::from([(name.to_owned(), count)]);
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, r#"{"build": "static/t/quick", "instructions": {"HTTP/1.1": 1000}}"#).unwrap();
        assert!(Budget::read(file.path(), "target/t/quick").is_err());
        let budget = Budget::read(file.path(), "static/t/quick").unwrap();
        for (count, holds) in [(1000, true), (1049, true), (1051, false), (951, true), (949, false)] {
            assert_eq!(budget.holds(&counts("HTTP/1.1", count), 5.0).unwrap(), holds, "{count}");
        }
        assert!(budget.holds(&counts("HTTP/2", 1000), 5.0).is_err());
    }
}
