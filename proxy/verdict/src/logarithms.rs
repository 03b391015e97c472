//! Means and sums of what is so large or small that only its logarithm can be held.

/// Of the sum of those whose logarithms these are.
pub(crate) fn sum(logarithms: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = logarithms.clone().fold(f64::NEG_INFINITY, f64::max);
    if largest.is_infinite() {
        return largest;
    }
    largest + logarithms.map(|logarithm| (logarithm - largest).exp()).sum::<f64>().ln()
}

/// Of the mean of those whose logarithms these are; of none it is that of 1, which is no evidence.
pub(crate) fn mean(logarithms: &[f64]) -> f64 {
    if logarithms.is_empty() {
        return 0.0;
    }
    sum(logarithms.iter().copied()) - count(logarithms.len() as u64).ln()
}

#[expect(clippy::cast_precision_loss, reason = "beyond 2^53 the last digits do not matter")]
pub(crate) fn count(number: u64) -> f64 {
    number as f64
}
