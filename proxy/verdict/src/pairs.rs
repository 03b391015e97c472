//! Pairs: one request, answered by both models, and by stable a second time where the noise is asked for.
//!
//! **Whether the candidate differs more than stable from itself.** In a *discordant* pair exactly one of the candidate's
//! answer and stable's second one differs from the live one. If they differ equally often, it is either with probability
//! 1/2: relative risk with that share.
//!
//! **To which side numbers differ.** Somebody bets on each difference `d`, -1 to 1, against the hypothesis that its mean is
//! `m` or more, and keeps `1 + y` of each unit, `y = l (m - d) / (1 - m)`. The stake `l` is one of four, below 1, that do
//! not change, so the mean of their four capitals is an e-value (Waudby-Smith and Ramdas, *Estimating means of bounded
//! random variables by betting*, JRSSB 2024, who let the stake follow the past, which takes the order of the differences).
//! `ln(1 + y) >= y - y^2/2 + y^3/3 - c y^4` for `y >= -l`, where `c` makes both sides equal at `y = -l`; so the sums of four
//! powers of the differences tell no more than the capital, and nearly all of it.

use crate::evidence::Bias;
use crate::logarithms;
use crate::relative_risk::{Counts, FAILURES, more_often};

const STAKES: [f64; 4] = [0.75, 0.375, 0.1875, 0.09375];
/// Each power was rounded to a millionth.
const ROUNDING: f64 = 0.5e-6;

/// What [`crate::relative_risk`] is asked for pairs.
pub fn discordant(candidate: f64, noise: f64) -> [Counts; 1] {
    [Counts { share: 0.5, candidate, stable: noise }]
}

/// Evidence that the candidate differs more often than stable from itself.
pub fn differs_more(candidate: f64, noise: f64) -> f64 {
    more_often(&discordant(candidate, noise), 1.0, FAILURES)
}

/// Evidence that the mean difference is nearer to 0 than `margin`, in units of the scale, 0 to 1: each side is shown.
/// `times` is how many times these differences are taken to have been seen.
pub fn no_bias(bias: &Bias, margin: f64, times: f64) -> f64 {
    let below = capital(bias, margin, 1.0, times);
    below.min(capital(bias, margin, -1.0, times))
}

/// Evidence that the mean difference is farther from 0 than `margin`, in units of the scale, 0 to 1.
pub fn is_biased(bias: &Bias, margin: f64, times: f64) -> f64 {
    logarithms::mean(&[capital(bias, -margin, 1.0, times), capital(bias, -margin, -1.0, times)])
}

/// The logarithm of what is left of the bets against "the mean, times `side`, is `least` or more".
fn capital(bias: &Bias, least: f64, side: f64, times: f64) -> f64 {
    if least.abs() >= 1.0 {
        return 0.0;
    }
    let [first, second, third, fourth] = bias.sums();
    let sums = [side * first, second, side * third, fourth];
    let capitals = STAKES.map(|stake| {
        let cubic = stake + stake * stake / 2.0 + stake.powi(3) / 3.0;
        let c = -((-stake).ln_1p() + cubic) / stake.powi(4);
        // y = a + b d
        let (a, b) = (stake * least / (1.0 - least), -stake / (1.0 - least));
        let constant = a - a.powi(2) / 2.0 + a.powi(3) / 3.0 - c * a.powi(4);
        let factors = [
            b * (1.0 - a + a.powi(2) - 4.0 * c * a.powi(3)),
            b.powi(2) * (a - 0.5 - 6.0 * c * a.powi(2)),
            b.powi(3) * (1.0 / 3.0 - 4.0 * c * a),
            -c * b.powi(4),
        ];
        let rounding = ROUNDING * factors.iter().map(|factor| factor.abs()).sum::<f64>();
        let bets: f64 = factors.iter().zip(sums).map(|(factor, sum)| factor * sum).sum();
        times * (bets + logarithms::count(bias.count()) * (constant - rounding))
    });
    logarithms::mean(&capitals)
}
