//! Whether a name that nothing here has is another one, misspelt. Strict, since it may as well be a name that only the
//! cluster or DNS knows, and names that stand side by side differ in little on purpose: `v1` and `v2`, `order` and
//! `orders`, `model-a` and `model-b`.

use std::cell::Cell;

/// Names that are compared for one table: a hint must not keep a reload waiting.
const MAX_COMPARED: usize = 1_000_000;
/// The shortest word that a slip is seen in.
const SHORTEST_WORD: usize = 4;

/// Looks for the name that was meant.
pub(super) struct Slips {
    left: Cell<usize>,
}

impl Slips {
    pub(super) fn new() -> Self {
        Self { left: Cell::new(MAX_COMPARED) }
    }

    /// The name, of those that there are, that was probably meant.
    pub(super) fn meant<'n>(&self, written: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
        let compared = known.take_while(|_| {
            let left = self.left.get();
            self.left.set(left.saturating_sub(1));
            left > 0
        });
        compared.filter(|known| is_slip(written, known)).min()
    }
}

/// Whether one letter is too many, missing, another one, or has changed places with the next. Within a word: at its end,
/// or with a digit, it is rather a name of its own.
fn is_slip(written: &str, meant: &str) -> bool {
    let (a, b) = (written.as_bytes(), meant.as_bytes());
    if a.len().abs_diff(b.len()) > 1 {
        return false;
    }
    let start = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let end = a[start..].iter().rev().zip(b[start..].iter().rev()).take_while(|(a, b)| a == b).count();
    let (before, after) = (&a[..start], &a[a.len() - end..]);
    let (written, meant) = (&a[start..a.len() - end], &b[start..b.len() - end]);
    let is_swap = matches!((written, meant), ([a, b], [c, d]) if (a, b) == (d, c));
    let is_one = written.len().max(meant.len()) == 1;
    let letters_before = before.iter().rev().take_while(|b| b.is_ascii_alphabetic()).count();
    let letters_after = after.iter().take_while(|b| b.is_ascii_alphabetic()).count();
    let word = letters_before + written.len().max(meant.len()) + letters_after;
    (is_swap || (is_one && letters_after > 0))
        && word >= SHORTEST_WORD
        && !written.iter().chain(meant).any(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_told_from_a_name_of_its_own() {
        let check = |written: &str, meant: &str, expected: bool| {
            assert_eq!(is_slip(written, meant), expected, "{written} {meant}");
            assert_eq!(is_slip(meant, written), expected, "{meant} {written}");
        };
        for slip in ["model-svc-bleu", "mdoel-svc-blue", "modl-svc-blue", "moddel-svc-blue", "modal-svc-blue"] {
            check(slip, "model-svc-blue", true);
        }
        check("modelsvc-blue", "model-svc-blue", true);
        check("ab/abtest-gatway", "ab/abtest-gateway", true);
        for (one, other) in [
            ("model", "model"),
            ("model-v1", "model-v2"),
            ("model", "model2"),
            ("model-12", "model-21"),
            ("order", "orders"),
            ("model-a", "model-b"),
            ("modela", "modelb"),
            ("eu-east", "eu-west"),
            ("gateway-int", "gateway-ext"),
            ("score-gpu", "score-cpu"),
            ("ingress", "egress"),
            ("blue", "green"),
            ("", "a"),
        ] {
            check(one, other, false);
        }
    }

    #[test]
    fn what_is_compared_has_a_bound() {
        let slips = Slips { left: Cell::new(2) };
        assert_eq!(slips.meant("bleu", ["red", "blue"].into_iter()), Some("blue"));
        assert_eq!(slips.meant("bleu", ["blue"].into_iter()), None);
    }
}
