//! What the verdicts promise, computed: exactly where all that can happen can be enumerated, else by simulation with fixed
//! seeds.
//!
//! `cargo test --test kernel` takes seconds; before it, in the environment, `TURNOUT_SLOW=full` simulates twenty times as
//! many rollouts and ten times as many comparisons. `-- --nocapture` prints the figures.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

mod counts;
mod exact;
mod figures;
mod merged;
mod rollouts;
mod simulated;
mod verdicts;

/// How often something is simulated: so often, or in the long run so often.
fn repeats(usual: u32, long: u32) -> u32 {
    if std::env::var("TURNOUT_SLOW").is_ok_and(|size| size == "full") { long } else { usual }
}

/// Prints the figure, and fails where it is not within a tenth of what is expected.
fn within_a_tenth(what: &str, figure: f64, expected: f64) {
    println!("{what}: {figure:.4}, expected {expected}");
    assert!((figure / expected - 1.0).abs() <= 0.1, "{what}: {figure} is not {expected}");
}
