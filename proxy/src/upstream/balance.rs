//! The choice among endpoints: two at random, the one with fewer of this worker's requests (Istio's default,
//! LEAST_REQUEST). An endpoint that could not be connected to is avoided for a while, never excluded: when all are
//! avoided, all are tried.

use super::lease::WorkerEndpoint;
use crate::random::Random;
use std::net::SocketAddr;
use std::rc::Rc;

/// What a choice may depend on besides the endpoints.
#[derive(Clone, Copy)]
pub(crate) struct PickContext<'a> {
    /// Endpoints that have failed this request.
    pub(crate) tried: &'a [SocketAddr],
}

/// The endpoint to use, if there is any. Two are looked at, and all only if one of those is to be avoided.
pub(super) fn pick<'e>(
    endpoints: &'e [Rc<WorkerEndpoint>],
    random: &Random,
    context: PickContext<'_>,
) -> Option<&'e Rc<WorkerEndpoint>> {
    match endpoints {
        [] => None,
        [only] => Some(only),
        several => {
            let (one, other) = two(several.len(), random);
            let (one, other) = (&several[one], &several[other]);
            let is_fresh = |endpoint: &WorkerEndpoint| !context.tried.contains(&endpoint.shared.address);
            if [one, other].iter().all(|endpoint| is_fresh(endpoint) && endpoint.shared.is_preferred()) {
                return Some(less_loaded(one, other));
            }
            // In order of preference: neither tried nor avoided, not tried, any.
            let classes: [&dyn Fn(&WorkerEndpoint) -> bool; 3] =
                [&|e| is_fresh(e) && e.shared.is_preferred(), &|e| is_fresh(e), &|_| true];
            classes.into_iter().find_map(|class| {
                let candidates: Vec<_> = several.iter().filter(|endpoint| class(endpoint)).collect();
                match candidates.as_slice() {
                    [] => None,
                    [only] => Some(*only),
                    _ => {
                        let (one, other) = two(candidates.len(), random);
                        Some(less_loaded(candidates[one], candidates[other]))
                    }
                }
            })
        }
    }
}

/// Two different indexes below `of`, which is 2 or more.
fn two(of: usize, random: &Random) -> (usize, usize) {
    let first = random.below(of);
    let second = random.below(of - 1);
    (first, if second >= first { second + 1 } else { second })
}

fn less_loaded<'e>(one: &'e Rc<WorkerEndpoint>, other: &'e Rc<WorkerEndpoint>) -> &'e Rc<WorkerEndpoint> {
    if other.load() < one.load() { other } else { one }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::EndpointSet;
    use crate::upstream::lease::AtEndpoint;

    fn endpoints(ports: &[u16]) -> Vec<Rc<WorkerEndpoint>> {
        EndpointSet::at_ports(ports).as_slice().iter().map(|endpoint| Rc::new(WorkerEndpoint::new(endpoint))).collect()
    }

    fn picks(endpoints: &[Rc<WorkerEndpoint>], tried: &[SocketAddr]) -> Vec<usize> {
        let random = Random::seeded(7);
        let mut counts = vec![0; endpoints.len()];
        for _ in 0..1000 {
            let picked = pick(endpoints, &random, PickContext { tried }).expect("there are endpoints");
            counts[endpoints.iter().position(|endpoint| Rc::ptr_eq(endpoint, picked)).expect("one of them")] += 1;
        }
        counts
    }

    #[test]
    fn an_idle_endpoint_beats_a_busy_one() {
        let endpoints = endpoints(&[1, 2]);
        let _load = AtEndpoint::new(&endpoints[0]);
        assert_eq!(picks(&endpoints, &[]), [0, 1000]);
    }

    #[test]
    fn equal_endpoints_share_alike() {
        let counts = picks(&endpoints(&[1, 2, 3, 4]), &[]);
        assert!(counts.iter().all(|count| (200..300).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_failed_endpoint_is_avoided_until_nothing_else_is_left() {
        let endpoints = endpoints(&[1, 2]);
        endpoints[0].shared.avoid_for_a_while();
        assert_eq!(picks(&endpoints, &[]), [0, 1000]);
        assert_eq!(picks(&endpoints, &[endpoints[1].shared.address]), [1000, 0]);
        endpoints[1].shared.avoid_for_a_while();
        assert!(picks(&endpoints, &[]).iter().all(|count| *count > 0));
        endpoints[0].shared.prefer_again();
        assert_eq!(picks(&endpoints, &[]), [1000, 0]);
    }

    #[test]
    fn no_endpoints_is_no_pick() {
        assert!(pick(&[], &Random::seeded(1), PickContext { tried: &[] }).is_none());
    }
}
