//! Durations as people write and read them: hours, minutes and seconds, as `1h30m`.

/// More is taken for a typing error.
const LONGEST_SECONDS: u64 = 365 * 86_400;

/// With their seconds. Days are only written: they are no part of a specification.
const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];

/// The seconds of a text with hours, minutes and seconds, in this order, each at most once; or what is wrong with it. A
/// number alone is none: it could be of anything.
pub fn read(text: &str) -> Result<u64, String> {
    match seconds_of(text) {
        Some(seconds) if seconds <= LONGEST_SECONDS => Ok(seconds),
        Some(_) => Err(format!("`{text}` is longer than a year")),
        None => Err(format!("`{text}` is no duration: write 90s, 10m or 1h30m")),
    }
}

fn seconds_of(text: &str) -> Option<u64> {
    let (mut seconds, mut rest, mut units) = (0_u64, text, &UNITS[1..]);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = (&rest[..digits], rest[digits..].chars().next()?);
        let position = units.iter().position(|(name, _)| *name == unit)?;
        let counted = number.parse::<u64>().ok()?.checked_mul(units[position].1)?;
        seconds = seconds.checked_add(counted)?;
        (units, rest) = (&units[position + 1..], &rest[digits + 1..]);
    }
    (!text.is_empty()).then_some(seconds)
}

/// As [`read`] reads it.
pub fn write(seconds: u64) -> String {
    largest(seconds, &UNITS[1..], UNITS.len())
}

/// For those who only look: the two largest units, which may be days.
pub fn write_roughly(seconds: u64) -> String {
    largest(seconds, &UNITS, 2)
}

/// At most `count` of the units, from the first one that there is any of; those without any are left out.
fn largest(mut seconds: u64, units: &[(char, u64)], count: usize) -> String {
    let first = units.iter().position(|(_, size)| seconds >= *size).unwrap_or(units.len() - 1);
    let mut text = String::new();
    for (name, size) in units.iter().skip(first).take(count) {
        if seconds >= *size || text.is_empty() {
            text.push_str(&(seconds / size).to_string());
            text.push(*name);
        }
        seconds %= size;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_read_and_written() {
        for (text, seconds) in [("90s", 90), ("10m", 600), ("1h30m", 5_400), ("2h5s", 7_205), ("0s", 0), ("0h1m", 60)] {
            assert_eq!(read(text), Ok(seconds), "{text}");
        }
        for (seconds, text) in [(0, "0s"), (59, "59s"), (90, "1m30s"), (3_600, "1h"), (7_205, "2h5s")] {
            assert_eq!((write(seconds), read(text)), (text.to_owned(), Ok(seconds)));
        }
        assert_eq!(read("8760h"), Ok(31_536_000));
        assert_eq!(read("8760h1s"), Err("`8760h1s` is longer than a year".to_owned()));
        let wrong = [
            "",
            "10",
            "m",
            "10 m",
            "1.5h",
            "-1s",
            "+1s",
            "10m1h",
            "1m2m",
            "10M",
            "1d",
            "10mü",
            "99999999999999999999s",
        ];
        for text in wrong {
            let expected = format!("`{text}` is no duration: write 90s, 10m or 1h30m");
            assert_eq!(read(text), Err(expected));
        }
    }

    #[test]
    fn who_only_looks_sees_the_two_largest_units() {
        let expected = [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (90, "1m30s"),
            (3600, "1h"),
            (3605, "1h"),
            (3661, "1h1m"),
            (90_061, "1d1h"),
        ];
        for (seconds, text) in expected {
            assert_eq!(write_roughly(seconds), text);
        }
    }
}
