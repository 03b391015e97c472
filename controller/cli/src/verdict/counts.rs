//! Counts as people and other meshes have them: how many requests of either model failed, and of how many. They are one
//! epoch of the evidence that is judged.

use crate::output::thousands;
use anyhow::Context as _;
use serde::Serialize;
use turnout_verdict::evidence::{Arm, Epoch, Failures};
use turnout_verdict::judge::Finding;
use turnout_verdict::relative_risk::Interval;

/// Larger counts are no whole numbers any more, where they are computed with as such.
const MOST: u64 = 1 << 53;

/// The failures of one model, and its requests if they were counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Counted {
    pub(super) failures: u64,
    pub(super) requests: Option<u64>,
}

impl Counted {
    /// No more can have failed than were asked.
    pub(super) fn new(failures: u64, requests: Option<u64>) -> Result<Self, String> {
        match requests {
            Some(requests) if failures > requests => {
                Err(format!("{failures} failures are more than {requests} requests"))
            }
            _ if failures.max(requests.unwrap_or(0)) > MOST => Err(format!("a count is at most {MOST}")),
            _ => Ok(Self { failures, requests }),
        }
    }

    fn arm(self) -> Arm {
        let failures = Failures { status: self.failures, ..Failures::default() };
        Arm { requests: self.requests.unwrap_or(0), failures, ..Arm::default() }
    }
}

/// Reads `12/10000`, or `12` alone.
pub(super) fn parse_counted(text: &str) -> Result<Counted, String> {
    let number = |digits: &str| {
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let number = is_number.then(|| digits.parse::<u64>().ok()).flatten();
        number.ok_or_else(|| {
            format!("`{digits}` is no count; write FAILURES/REQUESTS, such as 12/10000, or FAILURES alone")
        })
    };
    match text.split_once('/') {
        Some((failures, requests)) => Counted::new(number(failures)?, Some(number(requests)?)),
        None => Counted::new(number(text)?, None),
    }
}

/// Reads a part of all: `10%` or `0.1`.
pub(super) fn parse_part(text: &str) -> Result<f64, String> {
    let (digits, unit) = text.strip_suffix('%').map_or((text, 1.0), |digits| (digits.trim_end(), 100.0));
    let part = digits.parse::<f64>().ok().map(|number| number / unit).filter(|part| *part > 0.0 && *part < 1.0);
    part.ok_or_else(|| format!("`{text}` is not above 0 and below 1; write it as 10% or 0.1"))
}

/// What is judged: one time, with one share.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Counts {
    stable: Counted,
    candidate: Counted,
    /// The candidate's, 0 to 1.
    share: f64,
}

impl Counts {
    /// The share is the one that is given, else that of the requests.
    pub(super) fn new(stable: Counted, candidate: Counted, share: Option<f64>) -> anyhow::Result<Self> {
        let of_requests = || Some(of_requests(stable.requests?, candidate.requests?));
        let share = share.or_else(of_requests);
        let share =
            share.context("--share, the candidate's part of the requests, is needed where not both are counted")?;
        Ok(Self { stable, candidate, share })
    }

    pub(super) fn has_requests(&self) -> bool {
        self.stable.requests.is_some() && self.candidate.requests.is_some()
    }

    pub(super) fn epoch(&self) -> Epoch {
        let (stable, candidate) = (self.stable.arm(), self.candidate.arm());
        Epoch { candidate_share: self.share, stable, candidate, ..Epoch::default() }
    }

    /// What was found of the failures alone: the finding's own sentence begins with parts of requests, which are not known.
    pub(super) fn sentence(&self, finding: &Finding) -> String {
        let (candidate, stable) = (thousands(self.candidate.failures), thousands(self.stable.failures));
        let share = (self.share * 10_000.0).round() / 100.0;
        let ratio = match finding.ratio {
            Some(Interval { low, high: Some(high) }) => format!(": {low:.1} to {high:.1} times as often"),
            Some(Interval { low, high: None }) if low > 0.0 => format!(": {low:.1} times as often or more"),
            _ => String::new(),
        };
        let whole = finding.to_string();
        let found = whole.split_once("; ").map_or(whole.as_str(), |(_, found)| found);
        format!(
            "with {share} % of the requests the candidate failed {candidate} times, stable {stable} times{ratio}; {found}"
        )
    }
}

/// Nothing follows from it where there are none.
#[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
fn of_requests(stable: u64, candidate: u64) -> f64 {
    if stable + candidate == 0 { 0.5 } else { candidate as f64 / (stable + candidate) as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_whole_numbers_and_no_more_fail_than_are_asked() {
        let check = |text: &str, expected: Result<(u64, Option<u64>), &str>| {
            let counted = parse_counted(text);
            match expected {
                Ok((failures, requests)) => assert_eq!(counted, Ok(Counted { failures, requests }), "{text}"),
                Err(said) => assert!(counted.as_ref().is_err_and(|error| error.contains(said)), "{text}: {counted:?}"),
            }
        };
        check("12/10000", Ok((12, Some(10_000))));
        check("12", Ok((12, None)));
        check("0/0", Ok((0, Some(0))));
        check("10/10", Ok((10, Some(10))));
        check("11/10", Err("11 failures are more than 10 requests"));
        check("9007199254740993", Err("a count is at most"));
        for bad in
            ["-1", "1.5", "NaN", "inf", "", "/", "1/", "/1", "1/2/3", "+1", "1e3", "99999999999999999999", "twelve"]
        {
            check(bad, Err("is no count"));
        }
    }

    #[test]
    fn a_part_is_above_nothing_and_below_all() {
        let check = |text: &str, expected: Option<f64>| assert_eq!(parse_part(text).ok(), expected, "{text}");
        check("0.1", Some(0.1));
        check("10%", Some(0.1));
        check("0.5 %", Some(0.005));
        for bad in ["0", "1", "10", "100%", "0%", "-0.1", "NaN", "inf", "", "%", "a"] {
            check(bad, None);
        }
    }

    #[test]
    fn the_share_is_the_given_one_or_that_of_the_requests() {
        let share = |stable: &str, candidate: &str, share: Option<f64>| {
            let counted = |text| parse_counted(text).expect(text);
            Counts::new(counted(stable), counted(candidate), share).ok().map(|counts| counts.share)
        };
        assert_eq!(share("1/900", "1/100", None), Some(0.1));
        assert_eq!(share("1/900", "1/100", Some(0.5)), Some(0.5));
        assert_eq!(share("1", "1", Some(0.25)), Some(0.25));
        assert_eq!(share("1", "1/100", None), None);
        assert_eq!(share("0/0", "0/0", None), Some(0.5));
        assert_eq!(share("0/10", "0/0", None), Some(0.0));
    }
}
