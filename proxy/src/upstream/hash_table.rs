//! From a hash to an endpoint, so that every worker and every gateway comes to the same one, and that few hashes change
//! theirs when an endpoint comes or goes. Both tables are laid out as Envoy lays them out: whoever comes from there keeps
//! the endpoints that clients had.

use super::EndpointSet;
use turnout_routes::documents::HashTable as Kind;
use twox_hash::XxHash64;

/// A bound on the entries of a ring, whatever its weights (Envoy's).
const MAX_RING_SIZE: f64 = (8 << 20) as f64;

/// See the module. Endpoints are known by their place in the set that it was made for.
#[derive(Debug)]
pub(super) enum HashTable {
    /// In the order of the hashes.
    Ring(Vec<(u64, usize)>),
    Maglev(Vec<usize>),
}

/// What a text is worth.
pub(crate) fn hash(text: &[u8]) -> u64 {
    hash_of_all(&[text])
}

/// What several are worth together, in this order.
pub(crate) fn hash_of_all(texts: &[&[u8]]) -> u64 {
    texts.iter().fold(0, |seed, text| XxHash64::oneshot(seed, text))
}

impl HashTable {
    pub(super) fn new(kind: Kind, endpoints: &EndpointSet) -> Self {
        let names: Vec<String> = endpoints.as_slice().iter().map(|endpoint| endpoint.address.to_string()).collect();
        let weights: Vec<f64> = (0..names.len()).map(|place| endpoints.weight(place).into()).collect();
        match kind {
            Kind::Ring { minimum_size } => Self::Ring(ring(minimum_size, &names, &weights)),
            Kind::Maglev { size } => Self::Maglev(maglev(size as usize, &names, &weights)),
        }
    }

    /// The endpoint of a hash, and then, each as often as it comes, those that follow it.
    pub(super) fn from(&self, hash: u64) -> impl Iterator<Item = usize> {
        let (len, start) = match self {
            Self::Ring(ring) => (ring.len(), ring.partition_point(|(at, _)| *at < hash)),
            Self::Maglev(table) => (table.len(), usize::try_from(hash % table.len().max(1) as u64).unwrap_or(0)),
        };
        (start..start + len).map(move |at| match self {
            Self::Ring(ring) => ring[at % len].1,
            Self::Maglev(table) => table[at % len],
        })
    }
}

/// Each endpoint is on the ring as often as its weight says, the lightest a whole number of times.
fn ring(minimum_size: u32, names: &[String], weights: &[f64]) -> Vec<(u64, usize)> {
    let sum: f64 = weights.iter().sum();
    let lightest = weights.iter().copied().fold(f64::INFINITY, f64::min) / sum;
    let scale = ((lightest * f64::from(minimum_size)).ceil() / lightest).min(MAX_RING_SIZE);
    let (mut ring, mut due) = (Vec::new(), 0.0);
    for (place, (name, weight)) in names.iter().zip(weights).enumerate() {
        due += scale * weight / sum;
        for number in 0_u32.. {
            #[expect(clippy::cast_precision_loss, reason = "a ring has at most some millions of entries")]
            if ring.len() as f64 >= due {
                break;
            }
            ring.push((hash(format!("{name}_{number}").as_bytes()), place));
        }
    }
    ring.sort_unstable();
    ring
}

/// Endpoints take turns, as often as their weights say; each takes the next free place of a sequence of its own.
fn maglev(size: usize, names: &[String], weights: &[f64]) -> Vec<usize> {
    struct Taking {
        place: usize,
        next: usize,
        step: usize,
        weight: f64,
        due: f64,
    }
    const FREE: usize = usize::MAX;
    if names.is_empty() {
        return Vec::new();
    }
    let below = |hash: u64, bound: usize| usize::try_from(hash % bound as u64).unwrap_or(0);
    let heaviest = weights.iter().copied().fold(0.0, f64::max);
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_unstable_by_key(|place| &names[*place]);
    let takings = order.into_iter().map(|place| {
        let name = names[place].as_bytes();
        let (next, step) = (below(hash(name), size), below(XxHash64::oneshot(1, name), size - 1) + 1);
        Taking { place, next, step, weight: weights[place], due: 0.0 }
    });
    let (mut takings, mut table, mut free, mut round) = (takings.collect::<Vec<_>>(), vec![FREE; size], size, 1.0);
    loop {
        for taking in &mut takings {
            if round * taking.weight < taking.due {
                continue;
            }
            taking.due += heaviest;
            while table[taking.next] != FREE {
                taking.next = (taking.next + taking.step) % size;
            }
            table[taking.next] = taking.place;
            free -= 1;
            if free == 0 {
                return table;
            }
        }
        round += 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RING: Kind = Kind::Ring { minimum_size: 1024 };
    const MAGLEV: Kind = Kind::Maglev { size: 65_537 };

    fn chosen(table: &HashTable, key: u64) -> usize {
        table.from(hash(&key.to_le_bytes())).next().expect("there are endpoints")
    }

    /// What Envoy 1.40 chose for `user-0` to `user-15`, asked with the same addresses, weights and tables.
    #[test]
    fn the_endpoint_of_a_key_is_the_one_that_envoy_chooses() {
        const SMALL: Kind = Kind::Maglev { size: 1021 };
        let check = |kind: Kind, weights: &[u32], expected: [usize; 16]| {
            let table = HashTable::new(kind, &EndpointSet::at_ports(&[18101, 18102, 18103]).weighing(weights));
            let of = |user: usize| table.from(hash(format!("user-{user}").as_bytes())).next();
            let chosen: Vec<_> = (0..16).filter_map(of).collect();
            assert_eq!(chosen, expected, "{kind:?} {weights:?}");
        };
        check(RING, &[1, 1, 1], [0, 0, 0, 2, 2, 0, 2, 0, 1, 1, 0, 1, 0, 2, 1, 2]);
        check(RING, &[1, 2, 5], [0, 2, 2, 2, 2, 2, 2, 0, 1, 1, 2, 1, 2, 2, 1, 2]);
        check(SMALL, &[1, 1, 1], [1, 1, 0, 0, 1, 0, 2, 0, 1, 2, 2, 1, 1, 1, 2, 2]);
        check(SMALL, &[1, 2, 5], [2, 1, 0, 2, 1, 2, 2, 0, 2, 2, 2, 1, 1, 2, 2, 2]);
    }

    #[test]
    fn every_endpoint_gets_the_share_that_its_weight_says() {
        for kind in [RING, MAGLEV] {
            let table = HashTable::new(kind, &EndpointSet::at_ports(&[1, 2, 3, 4]).weighing(&[1, 1, 2, 4]));
            let mut counts = [0; 4];
            (0..8000).for_each(|key| counts[chosen(&table, key)] += 1);
            for (count, wanted) in counts.into_iter().zip([1000, 1000, 2000, 4000]) {
                assert!((wanted * 8 / 10..wanted * 12 / 10).contains(&count), "{kind:?}: {counts:?}");
            }
        }
    }

    #[test]
    fn an_endpoint_that_goes_takes_few_other_keys_with_it() {
        let (before, after) = (EndpointSet::at_ports(&[1, 2, 3, 4]), EndpointSet::at_ports(&[1, 3, 4]));
        let name = |set: &EndpointSet, place: usize| set.as_slice()[place].address.port();
        // The others are more often on the ring than before; of Maglev a few move for the sake of even shares.
        for (kind, may_move) in [(RING, 900), (MAGLEV, 200)] {
            let (old, new) = (HashTable::new(kind, &before), HashTable::new(kind, &after));
            let moved = (0..4000).filter(|key| {
                let was = name(&before, chosen(&old, *key));
                was != 2 && was != name(&after, chosen(&new, *key))
            });
            let moved = moved.count();
            assert!(moved < may_move, "{kind:?}: {moved} of about 3000");
        }
    }

    #[test]
    fn whoever_follows_is_in_the_end_everybody() {
        for kind in [RING, MAGLEV] {
            let table = HashTable::new(kind, &EndpointSet::at_ports(&[1, 2, 3]));
            let mut followers: Vec<usize> = table.from(u64::MAX).collect();
            followers.sort_unstable();
            followers.dedup();
            assert_eq!(followers, [0, 1, 2], "{kind:?}");
            assert_eq!(HashTable::new(kind, &EndpointSet::default()).from(7).count(), 0);
        }
    }
}
