//! The hash by which keys are assigned: XXH3 with 64 bits. Fixed once: another one would move everybody.

use std::hash::Hasher;
use std::net::IpAddr;
use twox_hash::xxhash3_64::{RawHasher, SecretBuffer};

/// `xxh3_64(salt, 0x00, key)` with the seed 0.
pub(super) fn hash_of_key(salt: &[u8], key: &[u8]) -> u64 {
    let mut hasher = RawHasher::new(SecretBuffer::default());
    hasher.write(salt);
    hasher.write(&[0]);
    hasher.write(key);
    hasher.finish()
}

/// An address as a key: its 4 or 16 bytes, those of an IPv4 client that came over IPv6, too.
pub(super) fn hash_of_address(salt: &[u8], address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => hash_of_key(salt, &address.octets()),
        IpAddr::V6(address) => hash_of_key(salt, &address.octets()),
    }
}

/// The texts with 0x00 between them, with a seed.
pub(super) fn keyed(seed: u64, texts: &[&str]) -> u64 {
    twox_hash::XxHash3_64::oneshot_with_seed(seed, texts.join("\0").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// Another implementation's.
    const VECTORS: &str = include_str!("../../tests/vectors/assignment.json");

    #[test]
    fn keys_are_hashed_as_published() {
        let vectors: Value = serde_json::from_str(VECTORS).expect("JSON");
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        for row in vectors["keys"].as_array().expect("a list") {
            let hash = hash_of_key(text(&row["salt"]).as_bytes(), text(&row["key"]).as_bytes());
            assert_eq!(format!("{hash:016x}"), text(&row["hash"]), "{row}");
        }
        for row in vectors["addresses"].as_array().expect("a list") {
            let address = text(&row["address"]).parse().expect("an address");
            let hash = hash_of_address(text(&row["salt"]).as_bytes(), address);
            assert_eq!(format!("{hash:016x}"), text(&row["hash"]), "{row}");
        }
    }
}
