//! The revision of a routes file: what the gateway reports as active and the controller waits for.

use crate::parse::Source;
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// The SHA-256 (FIPS 180-4) over the sources in the order of their names' bytes, in lower-case hexadecimal. Of each source
/// goes in: the length of its name as 8 bytes, most significant first; the name; the length of its bytes likewise; the
/// bytes. So neither moving bytes between sources nor renaming one keeps the revision.
pub fn revision(sources: &[Source<'_>]) -> String {
    let mut sorted: Vec<&Source<'_>> = sources.iter().collect();
    sorted.sort_by_key(|source| source.name);
    let mut hash = Sha256::new();
    for source in sorted {
        for part in [source.name.as_bytes(), source.bytes] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
    }
    let digest = hash.finalize();
    digest.iter().fold(String::with_capacity(2 * digest.len()), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source<'a>(name: &'a str, bytes: &'a [u8]) -> Source<'a> {
        Source { name, bytes }
    }

    #[test]
    fn the_format_is_as_documented() {
        // printf '\0\0\0\0\0\0\0\1a\0\0\0\0\0\0\0\2xy' | sha256sum
        let expected = "72537a55d218ea5ba1d356d39a01f13b10c277da97d6a8fdeff1cfeed191f100";
        assert_eq!(revision(&[source("a", b"xy")]), expected);
        assert_eq!(revision(&[]), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    #[test]
    fn order_does_not_count_and_everything_else_does() {
        let revision_of = |sources: &[(&'static str, &'static str)]| {
            let sources: Vec<_> = sources.iter().map(|(name, text)| source(name, text.as_bytes())).collect();
            revision(&sources)
        };
        let first = revision_of(&[("a", "x"), ("b", "y")]);
        assert_eq!(revision_of(&[("b", "y"), ("a", "x")]), first);
        for others in [
            [("a", "y"), ("b", "x")],
            [("a", "xb"), ("", "y")],
            [("a", "x"), ("c", "y")],
            [("a", "xy"), ("b", "")],
            [("ax", ""), ("b", "y")],
        ] {
            assert_ne!(revision_of(&others), first, "{others:?}");
        }
    }
}
