//! The choice among endpoints, in the way that the policy says (Istio's default is LEAST_REQUEST: of two at random the one
//! with fewer of this worker's requests). Those that outlier detection has ejected are left out. An endpoint that could
//! not be connected to is avoided for a while, and so is one that has failed this request, but neither is excluded: when
//! all are avoided, all are tried.

use super::UpstreamState;
use super::clock::clock_ms;
use super::lease::WorkerEndpoint;
use crate::random::Random;
use std::cell::Cell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use tokio::time::Instant;
use turnout_routes::documents::{Balancing, Warmup};

/// What a choice may depend on besides the endpoints.
#[derive(Clone, Copy, Default)]
pub(crate) struct PickContext<'a> {
    /// Endpoints that have failed this request.
    pub(crate) tried: &'a [SocketAddr],
    /// What makes the request the same as others, where the policy asks for it.
    pub(crate) hash: Option<u64>,
}

/// The newest state of an upstream that a worker has seen.
pub(super) struct Current {
    pub(super) state: Arc<UpstreamState>,
    /// The worker's side of the state's endpoints, in their order.
    pub(super) endpoints: Vec<Rc<WorkerEndpoint>>,
    /// Whether nothing but the endpoints' requests counts: so it nearly always is.
    is_plain: bool,
    /// Whose turn was last, on the clock of [`WorkerEndpoint::turn`].
    clock: Cell<f64>,
}

impl Current {
    /// A state, with what the worker had already of each endpoint that is in it.
    pub(super) fn new(state: &Arc<UpstreamState>, before: Option<&Self>, random: &Random) -> Self {
        let clock = before.map_or(0.0, |before| before.clock.get());
        let before = before.map_or(&[][..], |before| &before.endpoints);
        let before: HashMap<u64, &Rc<WorkerEndpoint>> = before.iter().map(|known| (known.shared.id, known)).collect();
        let endpoints = state.endpoints.as_slice().iter().enumerate().map(|(place, endpoint)| {
            before.get(&endpoint.id).map_or_else(
                || {
                    let made = WorkerEndpoint::new(endpoint);
                    // Not all workers begin with the same one.
                    made.turn.set(clock + random.share() / f64::from(state.endpoints.weight(place)));
                    Rc::new(made)
                },
                |known| Rc::clone(known),
            )
        });
        let policy = &state.policy;
        Self {
            is_plain: policy.balancing == Balancing::LeastRequest
                && policy.warmup.is_none()
                && !state.endpoints.is_weighted(),
            endpoints: endpoints.collect(),
            clock: Cell::new(clock),
            state: Arc::clone(state),
        }
    }

    /// The endpoint to use, if there is any. Nearly always two are looked at; all only if one of those is to be avoided, or
    /// where the policy asks for more.
    pub(super) fn pick(&self, random: &Random, context: &PickContext<'_>) -> Option<&Rc<WorkerEndpoint>> {
        let is_fresh = |endpoint: &WorkerEndpoint| !context.tried.contains(&endpoint.shared.address);
        let is_good = |endpoint: &WorkerEndpoint| is_fresh(endpoint) && endpoint.shared.is_preferred();
        let outliers = self.state.policy.outliers.as_ref();
        let now_ms = outliers.map_or(0, |_| clock_ms());
        let is_ejected = |endpoint: &WorkerEndpoint| outliers.is_some() && endpoint.shared.health.is_ejected(now_ms);
        if self.is_plain {
            match self.endpoints.as_slice() {
                [] => return None,
                [only] if outliers.is_none() => return Some(only),
                [_] => {}
                several => {
                    let (one, other) = two(several.len(), random);
                    let both = [&several[one], &several[other]];
                    if both.iter().all(|endpoint| is_good(endpoint) && !is_ejected(endpoint)) {
                        return Some(less_loaded(both[0], both[1]));
                    }
                }
            }
        }
        let leaves_out = outliers.is_some_and(|policy| self.state.endpoints.leaves_out(policy, now_ms));
        let is_left = |endpoint: &WorkerEndpoint| !(leaves_out && is_ejected(endpoint));
        // In order of preference: neither tried nor avoided, not tried, any.
        let classes: [&dyn Fn(&WorkerEndpoint) -> bool; 3] = [&is_good, &is_fresh, &|_| true];
        classes.into_iter().find_map(|class| self.choose(random, context.hash, &|e| is_left(e) && class(e)))
    }

    /// One of those that may be chosen.
    fn choose(
        &self,
        random: &Random,
        hash: Option<u64>,
        may_be: &dyn Fn(&WorkerEndpoint) -> bool,
    ) -> Option<&Rc<WorkerEndpoint>> {
        if !self.endpoints.iter().any(|endpoint| may_be(endpoint)) {
            return None;
        }
        if let (Some(table), Some(hash)) = (&self.state.table, hash) {
            let chosen = table.from(hash).map(|place| &self.endpoints[place]).find(|endpoint| may_be(endpoint));
            // A small table may not hold all of them.
            if chosen.is_some() {
                return chosen;
            }
        }
        let candidates: Vec<usize> =
            (0..self.endpoints.len()).filter(|place| may_be(&self.endpoints[*place])).collect();
        let chosen = match (candidates.as_slice(), &self.state.policy.balancing) {
            ([], _) => return None,
            ([only], _) => *only,
            (several, Balancing::Random | Balancing::Hash(_)) => several[random.below(several.len())],
            (several, Balancing::LeastRequest) if !self.is_uneven() => {
                let (one, other) = two(several.len(), random);
                return Some(less_loaded(&self.endpoints[several[one]], &self.endpoints[several[other]]));
            }
            (several, Balancing::LeastRequest) => self.next_in_turn(several, |endpoint| f64::from(endpoint.load() + 1)),
            (several, Balancing::RoundRobin) => self.next_in_turn(several, |_| 1.0),
        };
        Some(&self.endpoints[chosen])
    }

    /// Whether some endpoints are to get more than others, at this moment.
    fn is_uneven(&self) -> bool {
        let warms_up = |warmup: &Warmup| self.endpoints.iter().any(|e| e.shared.since.elapsed() < warmup.duration);
        self.state.endpoints.is_weighted() || self.state.policy.warmup.as_ref().is_some_and(warms_up)
    }

    /// Whose turn it is: everyone's comes as often as its weight says, of which `burden` is a divisor. Looks at all of them.
    fn next_in_turn(&self, candidates: &[usize], burden: impl Fn(&WorkerEndpoint) -> f64) -> usize {
        let step = |place: usize| {
            let endpoint = &self.endpoints[place];
            burden(endpoint) / (f64::from(self.state.endpoints.weight(place)) * self.warmth(endpoint))
        };
        // Who was left out for a while has no turns in hand, and who was cold does not wait for what it was then.
        let turn = |place: usize| {
            let clock = self.clock.get();
            self.endpoints[place].turn.get().clamp(clock, clock + step(place))
        };
        let next = candidates.iter().copied().min_by(|one, other| turn(*one).total_cmp(&turn(*other)));
        let next = next.unwrap_or_default();
        let now = turn(next);
        self.clock.set(now);
        self.endpoints[next].turn.set(now + step(next));
        next
    }

    /// The share of its weight that an endpoint has already.
    fn warmth(&self, endpoint: &WorkerEndpoint) -> f64 {
        let warmth = |warmup: &Warmup| {
            let age = Instant::now().saturating_duration_since(endpoint.shared.since).as_secs_f64();
            let linear = (age / warmup.duration.as_secs_f64()).min(1.0);
            linear.powf(1.0 / warmup.aggression).max(warmup.minimum_percent / 100.0).max(LEAST_WARMTH)
        };
        self.state.policy.warmup.as_ref().map_or(1.0, warmth)
    }
}

/// With a minimum of 0 per cent it would never have a turn.
const LEAST_WARMTH: f64 = 0.001;

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
    use crate::upstream::health::tests::POLICY;
    use crate::upstream::lease::AtEndpoint;
    use std::time::Duration;
    use turnout_routes::documents::{ConsistentHash, HashTable};
    use turnout_routes::router::BackendPolicy;

    fn current(endpoints: EndpointSet, policy: BackendPolicy) -> Current {
        Current::new(&Arc::new(UpstreamState::new(endpoints, policy)), None, &Random::seeded(7))
    }

    fn least_request(ports: &[u16]) -> Current {
        current(EndpointSet::at_ports(ports), BackendPolicy::default())
    }

    fn balanced(ports: &[u16], balancing: Balancing) -> Current {
        current(EndpointSet::at_ports(ports), BackendPolicy { balancing, ..BackendPolicy::default() })
    }

    fn place(current: &Current, context: &PickContext<'_>, random: &Random) -> Option<usize> {
        let picked = current.pick(random, context)?;
        current.endpoints.iter().position(|endpoint| Rc::ptr_eq(endpoint, picked))
    }

    fn picks(current: &Current, tried: &[SocketAddr]) -> Vec<usize> {
        let random = Random::seeded(7);
        let mut counts = vec![0; current.endpoints.len()];
        for _ in 0..1000 {
            counts[place(current, &PickContext { tried, hash: None }, &random).expect("there are endpoints")] += 1;
        }
        counts
    }

    #[test]
    fn an_idle_endpoint_beats_a_busy_one() {
        let current = least_request(&[1, 2]);
        let _load = AtEndpoint::new(&current.endpoints[0]);
        assert_eq!(picks(&current, &[]), [0, 1000]);
    }

    #[test]
    fn equal_endpoints_share_alike() {
        for balancing in [Balancing::LeastRequest, Balancing::Random, Balancing::RoundRobin] {
            let counts = picks(&balanced(&[1, 2, 3, 4], balancing.clone()), &[]);
            assert!(counts.iter().all(|count| (200..300).contains(count)), "{balancing:?}: {counts:?}");
        }
        assert_eq!(picks(&balanced(&[1, 2, 3, 4], Balancing::RoundRobin), &[]), [250; 4]);
    }

    #[test]
    fn a_failed_endpoint_is_avoided_until_nothing_else_is_left() {
        let hash = Balancing::Hash(ConsistentHash { key: None, table: HashTable::Maglev { size: 1021 } });
        for balancing in [Balancing::LeastRequest, Balancing::Random, Balancing::RoundRobin, hash] {
            let current = balanced(&[1, 2], balancing);
            let endpoints = &current.endpoints;
            endpoints[0].shared.avoid_for_a_while();
            assert_eq!(picks(&current, &[]), [0, 1000]);
            assert_eq!(picks(&current, &[endpoints[1].shared.address]), [1000, 0]);
            endpoints[1].shared.avoid_for_a_while();
            assert!(picks(&current, &[]).iter().all(|count| *count > 0));
            endpoints[0].shared.prefer_again();
            assert_eq!(picks(&current, &[]), [1000, 0]);
        }
    }

    #[test]
    fn no_endpoints_is_no_pick() {
        assert!(least_request(&[]).pick(&Random::seeded(1), &PickContext::default()).is_none());
    }

    #[test]
    fn weights_count_but_where_the_choice_is_random() {
        let weighed = |balancing: Balancing| {
            let policy = BackendPolicy { balancing, ..BackendPolicy::default() };
            picks(&current(EndpointSet::at_ports(&[1, 2]).weighing(&[4, 1]), policy), &[])
        };
        assert_eq!(weighed(Balancing::RoundRobin), [800, 200]);
        assert_eq!(weighed(Balancing::LeastRequest), [800, 200]);
        assert!(weighed(Balancing::Random)[1] > 400);
    }

    #[test]
    fn requests_in_flight_make_a_weight_lighter() {
        let current = current(EndpointSet::at_ports(&[1, 2]).weighing(&[4, 1]), BackendPolicy::default());
        let _load = [(); 3].map(|()| AtEndpoint::new(&current.endpoints[0]));
        assert_eq!(picks(&current, &[]), [500, 500]);
    }

    #[test]
    fn the_same_hash_is_the_same_endpoint_unless_that_is_avoided() {
        let hash = Balancing::Hash(ConsistentHash { key: None, table: HashTable::Ring { minimum_size: 1024 } });
        let current = balanced(&[1, 2, 3], hash);
        let random = Random::seeded(1);
        for hash in 0..50_u64 {
            let context = PickContext { hash: Some(hash << 58), ..PickContext::default() };
            let first = place(&current, &context, &random).expect("there are endpoints");
            assert_eq!(place(&current, &context, &random), Some(first));
            let tried = [current.endpoints[first].shared.address];
            let second = place(&current, &PickContext { tried: &tried, ..context }, &random);
            assert_eq!(place(&current, &PickContext { tried: &tried, ..context }, &random), second);
            assert_ne!(second, Some(first));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_endpoint_gets_more_and_more_of_its_share() {
        let warmup = Some(Warmup { duration: Duration::from_secs(100), minimum_percent: 10.0, aggression: 1.0 });
        let policy = BackendPolicy { balancing: Balancing::RoundRobin, warmup, ..BackendPolicy::default() };
        let old = EndpointSet::at_ports(&[1]);
        tokio::time::advance(Duration::from_secs(200)).await;
        let current = current(EndpointSet::at_ports(&[1, 2]).keeping(&old), policy);
        let share = || (picks(&current, &[])[1] + 5) / 10;
        assert_eq!(share(), 9, "1 to 10");
        tokio::time::advance(Duration::from_secs(50)).await;
        assert_eq!(share(), 33, "1 to 2");
        tokio::time::advance(Duration::from_secs(50)).await;
        assert_eq!(share(), 50);
    }

    #[tokio::test(start_paused = true)]
    async fn an_ejected_endpoint_is_left_out_until_its_time_is_over() {
        let policy = BackendPolicy { outliers: Some(POLICY), ..BackendPolicy::default() };
        let current = current(EndpointSet::at_ports(&[1, 2]), policy);
        let eject = |place: usize| current.endpoints[place].shared.health.eject(&POLICY, clock_ms());
        eject(0);
        assert_eq!(picks(&current, &[]), [0, 1000]);
        assert_eq!(picks(&current, &[current.endpoints[1].shared.address]), [0, 1000], "tried before ejected");
        eject(1);
        assert!(current.pick(&Random::seeded(1), &PickContext::default()).is_none(), "nobody is left");
        tokio::time::advance(Duration::from_secs(31)).await;
        assert!(picks(&current, &[]).iter().all(|count| *count > 0));
    }
}
