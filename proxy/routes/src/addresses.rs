//! A set of addresses as one number, by which a gateway tells which endpoints it knows and a driver compares that with
//! those that there are, without either showing the addresses.

use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The same for the same addresses, in whatever order and however often. It has 48 bits, so that a gauge, which is a
/// floating-point number, holds it exactly; 0 stands for no address.
pub fn address_digest(addresses: impl IntoIterator<Item = IpAddr>) -> u64 {
    let addresses: BTreeSet<IpAddr> = addresses.into_iter().collect();
    if addresses.is_empty() {
        return 0;
    }
    let mut hash = Sha256::new();
    for address in addresses {
        hash.update(address.to_string());
        hash.update([0]);
    }
    let digest = hash.finalize();
    digest.iter().take(6).fold(0, |number, byte| number << 8 | u64::from(*byte)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_tells_sets_apart_and_not_orders() {
        let of = |texts: &[&str]| address_digest(texts.iter().map(|text| text.parse().expect("an address")));
        assert_eq!(of(&[]), 0);
        assert_eq!(of(&["10.0.0.1", "10.0.0.2"]), of(&["10.0.0.2", "10.0.0.1", "10.0.0.1"]));
        assert_ne!(of(&["10.0.0.1", "10.0.0.2"]), of(&["10.0.0.1"]));
        assert_ne!(of(&["10.0.0.1"]), of(&["::ffff:10.0.0.1"]));
        assert!(of(&["fd00::1"]) < 1 << 48);
    }
}
