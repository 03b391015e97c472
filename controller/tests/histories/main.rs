//! The controller's own reconcile code, through the real `kube::Client`, against an API server in memory that fails in
//! every way that real ones do, in a cluster where everything else goes on.
//!
//! A history is made from a seed, so it is the same each time. `cargo test --test histories` lives the first hundred;
//! before it, in the environment,
//!
//! - `TURNOUT_SLOW=1` lives 2,000 and `TURNOUT_SLOW=full` 10,000, one thread per core: add `--profile quick`;
//! - `TURNOUT_HISTORIES=500` lives as many as it says;
//! - `TURNOUT_SEED=123` lives that one and, if it breaks a law, prints it made short, with all that happened in it.
//!
//! The seed also chooses the shape (`history/shape.rs`): external or managed workloads, gateway or Istio mode, one or two
//! namespaces. A run of a hundred or more fails where histories of some shape did not get far enough to show anything.
//!
//! Watches are not simulated: they are only hints that wake the loop, so a watch that drops or repeats events is a round
//! that comes late, or once more, and rounds come here whenever the history says.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod api;
mod history;
mod laws;
mod process;
mod scale;
mod trace;
mod wire;
mod world;

use history::{Failure, History, Shape};
use laws::Seen;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// A history is made of small objects that come and go.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// They are always the same, from the seed 0 on.
fn usual_histories() -> u64 {
    match std::env::var("TURNOUT_SLOW").as_deref() {
        Ok("full") => 10_000,
        Ok(_) => 2_000,
        Err(_) => 100,
    }
}

fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

/// What became of many histories.
#[derive(Default)]
struct Outcome {
    /// By shape, how many histories there were and what they have shown.
    seen: BTreeMap<Shape, (u64, Seen)>,
    /// By law, the seeds that break it.
    broken: BTreeMap<&'static str, BTreeSet<u64>>,
}

/// Lives the histories of many seeds, on all cores, and adds up what they have shown.
fn live_all(seeds: u64) -> Outcome {
    let (next, total) = (AtomicU64::new(0), Mutex::new(Outcome::default()));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        let work = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds {
                    break;
                }
                let history = history::history(seed);
                let result = history::live(&history, false);
                let mut total = total.lock().unwrap();
                match result {
                    Ok(seen) => {
                        let (count, total) = total.seen.entry(history.shape).or_default();
                        *count += 1;
                        total.add(seen);
                    }
                    Err(failure) => drop(total.broken.entry(failure.broken.law).or_default().insert(seed)),
                }
            }
        };
        (0..threads).for_each(|_| drop(scope.spawn(work)));
    });
    total.into_inner().unwrap()
}

/// Which laws were broken by which seeds, and the whole story of the first one.
fn tell_all(broken: &BTreeMap<&'static str, BTreeSet<u64>>) -> String {
    let mut text = String::new();
    for (law, seeds) in broken {
        let some: Vec<String> = seeds.iter().take(8).map(u64::to_string).collect();
        let _ = writeln!(text, "{law}: broken by {} histories, seeds {} ...", seeds.len(), some.join(", "));
    }
    let first = broken.values().filter_map(|seeds| seeds.first()).min().copied().unwrap_or_default();
    let history = history::history(first);
    match history::live(&history, false) {
        Err(failure) => text.push_str(&tell(first, &history, &failure)),
        Ok(_) => text.push_str("and none when it is lived once more: a history must not depend on anything else"),
    }
    text
}

/// The failing history, made short, with all that happened in it.
fn tell(seed: u64, history: &History, failure: &Failure) -> String {
    let (shortest, failure) = history::shrink(history, failure);
    let trace = failure.trace.join("\n");
    let steps: Vec<String> = shortest.steps.iter().map(|step| format!("  {step:?}")).collect();
    let broken = &failure.broken;
    format!(
        "seed {seed}: {:?}\nskew {} s\n{}\n\n{trace}\nseed {seed} breaks a law: {}: {}\n",
        shortest.beginning,
        shortest.skew_seconds,
        steps.join("\n"),
        broken.law,
        broken.detail,
    )
}

/// A law that nothing came near to holds of nothing: histories of every shape must have got somewhere. Of few histories
/// what is rare is asked of all shapes together.
fn check_seen(shape: Shape, all: &BTreeMap<Shape, (u64, Seen)>, is_few: bool) {
    let Some((_, seen)) = all.get(&shape) else { panic!("no history with {shape}") };
    let ends = ["Blue_0", "Blue_50", "Blue_100", "Blue_Green", "Green_100", "Rollback"];
    let missing: Vec<_> = ends.into_iter().filter(|end| !seen.reached.contains(*end)).collect();
    assert!(missing.is_empty(), "no history with {shape} reached {missing:?}");
    let was_seen =
        |what: &&str| all.iter().any(|(of, (_, seen))| (is_few || *of == shape) && seen.counts.contains_key(what));
    let never = shape.events().into_iter().filter(|what| !was_seen(what)).collect::<Vec<_>>();
    assert!(never.is_empty(), "in no history with {shape} there were {never:?}");
}

#[test]
fn no_history_breaks_a_law_and_every_history_arrives() {
    if let Some(seed) = number_from("TURNOUT_SEED") {
        let history = history::history(seed);
        match history::live(&history, true) {
            Ok(seen) => println!("seed {seed}: {seen:#?}"),
            Err(failure) => panic!("{}", tell(seed, &history, &failure)),
        }
        return;
    }
    let histories = number_from("TURNOUT_HISTORIES").unwrap_or_else(usual_histories);
    let Outcome { seen, broken } = live_all(histories);
    assert!(broken.is_empty(), "{}", tell_all(&broken));
    for (shape, (count, seen)) in &seen {
        println!("{count} histories with {shape}: {seen:?}");
    }
    if histories >= 100 {
        for shape in Shape::all() {
            check_seen(shape, &seen, histories < 1_000);
        }
    }
}
