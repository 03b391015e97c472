//! Whether a model fails more often than a limit, or less: the only gate that can be passed where nothing fails. The
//! evidence is the mean likelihood ratio of all rates beyond the limit, each as likely as the other, to the limit itself:
//! for `k` failures of `n` requests
//!
//! ```text
//! B(k+1, n-k+1) I_p(k+1, n-k+1) / (p^(k+1) (1-p)^(n-k))
//! ```
//!
//! with the beta function B and the regularised incomplete one, I. Unlike relative risk it takes failures to come
//! independently of one another at one rate.

/// Evidence that it fails less often than `limit`, 0 to 1: against "at least that often".
pub fn less_often(failures: f64, requests: f64, limit: f64) -> f64 {
    // A limit that nobody can keep, or break.
    if limit <= 0.0 || limit >= 1.0 {
        return 0.0;
    }
    // There may be more failures than requests only where two numbers were not read at the same time.
    let successes = (requests - failures).max(0.0);
    let (own, other) = (failures + 1.0, successes + 1.0);
    if limit * (own + other) < own {
        // I_p = p^a (1-p)^b fraction / (a B): nearly all of it cancels out.
        return ((1.0 - limit) / own).ln() + fraction(own, other, limit).ln();
    }
    let beta = libm::lgamma(own) + libm::lgamma(other) - libm::lgamma(own + other);
    let whole = beta - own * limit.ln() - successes * (-limit).ln_1p();
    let beyond = ((1.0 - limit) / other).ln() + fraction(other, own, 1.0 - limit).ln();
    whole + (-(beyond - whole).exp()).max(-1.0).ln_1p()
}

/// Evidence that it fails more often than `limit`, 0 to 1: against "at most that often".
pub fn more_often(failures: f64, requests: f64, limit: f64) -> f64 {
    less_often((requests - failures).max(0.0), requests, 1.0 - limit)
}

/// The rate that is not reached, at any time, with probability 1 - alpha; 1 where nothing is known.
pub fn upper_limit(failures: f64, requests: f64, alpha: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..40 {
        let middle = f64::midpoint(low, high);
        // Above the observed rate the evidence against a limit grows with the limit.
        if middle * requests > failures && less_often(failures, requests, middle) >= -alpha.ln() {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

/// The continued fraction of the incomplete beta function (DLMF 8.17.22) by Lentz's method. It ends after some multiple of
/// the root of the larger parameter, where `x` is below `a / (a + b)` as here.
fn fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut below = 1.0 / away(1.0 - (a + b) * x / (a + 1.0));
    let (mut above, mut value) = (1.0, below);
    for index in 1..1_000_000_u32 {
        let index = f64::from(index);
        let twice = a + 2.0 * index;
        let even = index * (b - index) * x / ((twice - 1.0) * twice);
        let odd = -(a + index) * (a + b + index) * x / (twice * (twice + 1.0));
        let mut step = 1.0;
        for term in [even, odd] {
            below = 1.0 / away(1.0 + term * below);
            above = away(1.0 + term / above);
            step = above * below;
            value *= step;
        }
        if (step - 1.0).abs() < 1e-15 {
            break;
        }
    }
    value
}
