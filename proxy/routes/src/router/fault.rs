//! Which of a rule's faults a request gets.

use crate::documents::{AbortWith, Fault};
use std::time::Duration;

/// What is done to one request: first the delay, then the abort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Injected {
    /// It waits so long.
    pub delay: Option<Duration>,
    /// It goes no further, and is answered with this.
    pub abort: Option<AbortWith>,
}

/// Chooses by two numbers, each drawn for itself and uniform over its whole range.
pub fn inject(fault: &Fault, draws: [u64; 2]) -> Injected {
    let delay = fault.delay.as_ref().filter(|delay| delay.percent.includes(draws[0]));
    let abort = fault.abort.as_ref().filter(|abort| abort.percent.includes(draws[1]));
    Injected { delay: delay.and_then(|delay| delay.fixed), abort: abort.and_then(|abort| abort.with) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::Action;
    use crate::router::testing::rule;

    #[test]
    fn each_fault_is_drawn_for_itself_and_one_that_says_nothing_does_nothing() {
        let check = |fault: &str, expected: [(Option<u64>, bool); 4]| {
            let rule = rule(&format!("fault: {fault}, route: [{{destination: {{host: m}}}}]"));
            let Action::Forward(forward) = &rule.action else { panic!("{rule:?}") };
            let fault = forward.fault.as_ref().expect("a fault");
            let (low, high) = (0, u64::MAX);
            let draws = [[low, low], [low, high], [high, low], [high, high]];
            let got = draws
                .map(|draws| inject(fault, draws))
                .map(|injected| (injected.delay.map(|delay| delay.as_secs()), injected.abort.is_some()));
            assert_eq!(got, expected, "{fault:?}");
        };
        let half = "percentage: {value: 50}";
        check(
            &format!("{{delay: {{fixedDelay: 1s, {half}}}}}"),
            [(Some(1), false), (Some(1), false), (None, false), (None, false)],
        );
        check(
            &format!("{{abort: {{httpStatus: 500, {half}}}}}"),
            [(None, true), (None, false), (None, true), (None, false)],
        );
        check(
            &format!("{{delay: {{fixedDelay: 1s, percent: 50}}, abort: {{grpcStatus: UNAVAILABLE, {half}}}}}"),
            [(Some(1), true), (Some(1), false), (None, true), (None, false)],
        );
        check("{delay: {fixedDelay: 1s}, abort: {httpStatus: 500}}", [(None, false); 4]);
        check("{delay: {percentage: {value: 100}}, abort: {percentage: {value: 100}}}", [(None, false); 4]);
    }
}
