//! Whole rollouts in which the candidate is as good as stable, under what makes verdicts wrong: bursts of failures, clients
//! whose every tenth request fails, rates that rise, replicas that begin anew.

use crate::repeats;
use crate::simulated::normal;
use std::time::Duration;
use turnout_verdict::evidence::{Arm, Epoch, Histogram, Page, PolicyEvidence, total};
use turnout_verdict::judge::{
    Decision, FailureRequirement, LatencyRequirement, Requirements, State, evidence_against, judge,
};

/// The candidate's weight of each stage, of a hundred.
const STAGES: [u32; 6] = [5, 10, 25, 50, 75, 90];
const REQUESTS_OF_A_STAGE: u32 = 1_500;
const LOOK_EVERY: u32 = 30;

/// How the split deals out its tickets.
#[derive(Clone, Copy, PartialEq)]
enum Deal {
    /// In blocks, each in an order of its own.
    PermutedBlocks,
    /// The candidate's last in each block: of two, every other one.
    InTurn,
}

/// What may be wrong with the traffic of a rollout, or with those who serve it.
#[derive(Clone, Copy, PartialEq)]
enum Trouble {
    /// For some hundreds of requests, a third of them fails and all are slow.
    Bursts,
    /// Every tenth request fails: they come from one client over one connection.
    Period,
    /// Failures become fifty times as frequent, little by little.
    Ramp,
    /// A replica ends, and another begins to count.
    Restarts,
}

struct Replica {
    page: Page,
    tickets: u32,
}

struct Rollout {
    random: fastrand::Rng,
    seed: u64,
    deal: Deal,
    replicas: Vec<Replica>,
    gone: Vec<Page>,
    troubles: Vec<Trouble>,
    in_burst: bool,
    requests: u32,
}

fn divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { divisor(b, a % b) }
}

impl Rollout {
    fn new(seed: u64, deal: Deal) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let all = [Trouble::Bursts, Trouble::Period, Trouble::Ramp, Trouble::Restarts];
        let troubles = all.into_iter().filter(|_| random.bool()).collect();
        let replicas = 1 + random.u32(0..3);
        let mut rollout =
            Self { random, seed, deal, replicas: Vec::new(), gone: Vec::new(), troubles, in_burst: false, requests: 0 };
        rollout.replicas = (0..replicas).map(|_| rollout.replica()).collect();
        rollout
    }

    fn has(&self, trouble: Trouble) -> bool {
        self.troubles.contains(&trouble)
    }

    fn replica(&mut self) -> Replica {
        let policy = PolicyEvidence { policy: "default/split".to_owned(), ..PolicyEvidence::default() };
        Replica { page: Page { instance: self.random.u64(..).to_string(), policies: vec![policy] }, tickets: 0 }
    }

    /// Whether a ticket is the candidate's: the order of a block is that of its stage and number, as in every replica.
    fn is_candidate(&self, stage: usize, ticket: u32) -> bool {
        let (own, other) = (STAGES[stage], 100 - STAGES[stage]);
        let unit = divisor(own, other);
        let block = 100 / unit;
        let mut places: Vec<u32> = (0..block).collect();
        if self.deal == Deal::PermutedBlocks {
            let key = self.seed ^ (u64::from(ticket / block) << 8) ^ stage as u64;
            fastrand::Rng::with_seed(key.wrapping_mul(0x9e37_79b9_7f4a_7c15)).shuffle(&mut places);
        }
        places[(ticket % block) as usize] >= other / unit
    }

    /// Whether the next request fails, and how many milliseconds it takes, whoever answers it.
    fn outcome(&mut self) -> (bool, f64) {
        self.requests += 1;
        if self.has(Trouble::Bursts) && self.random.f64() < if self.in_burst { 0.01 } else { 0.001 } {
            self.in_burst = !self.in_burst;
        }
        let done = f64::from(self.requests) / f64::from(REQUESTS_OF_A_STAGE * 6);
        let usual = if self.has(Trouble::Ramp) { 0.001 + 0.05 * done } else { 0.01 };
        let rate = if self.in_burst { 0.3 } else { usual };
        let is_tenth = self.has(Trouble::Period) && self.requests.is_multiple_of(10);
        let slow = if self.in_burst || is_tenth { 4.0 } else { 1.0 };
        let millis = 50.0 * slow * (0.5 * normal(&mut self.random)).exp();
        (is_tenth || self.random.f64() < rate, millis)
    }

    fn request(&mut self, stage: usize, sum: &mut Epoch) {
        let (fails, millis) = self.outcome();
        let mut index = self.random.usize(..self.replicas.len());
        if self.has(Trouble::Period) {
            // A client keeps its connection.
            index = 0;
        }
        if self.has(Trouble::Restarts) && self.random.f64() < 0.000_5 {
            let new = self.replica();
            self.gone.push(std::mem::replace(&mut self.replicas[index], new).page);
        }
        let is_candidate = self.is_candidate(stage, self.replicas[index].tickets);
        let replica = &mut self.replicas[index];
        replica.tickets += 1;
        let epochs = &mut replica.page.policies[0].epochs;
        if epochs.last().is_none_or(|epoch| epoch.revision != sum.revision) {
            epochs.push(Epoch {
                revision: sum.revision.clone(),
                candidate_share: sum.candidate_share,
                ..Epoch::default()
            });
        }
        let own = epochs.last_mut().unwrap();
        for epoch in [own, sum] {
            let arm: &mut Arm = if is_candidate { &mut epoch.candidate } else { &mut epoch.stable };
            arm.requests += 1;
            arm.failures.status += u64::from(fails);
            arm.latency.record(Histogram::bucket(Duration::from_secs_f64(millis / 1e3)), 1);
        }
    }

    fn pages(&self) -> impl Iterator<Item = &Page> {
        self.gone.iter().chain(self.replicas.iter().map(|replica| &replica.page))
    }

    /// Whether it is ever rolled back. What the replicas show together is, at the end of each stage, what is judged here.
    fn ends_in_a_rollback(mut self, requirements: &Requirements) -> bool {
        let (mut state, mut epochs) = (State::default(), Vec::new());
        for (stage, weight) in STAGES.iter().enumerate() {
            let mut epoch = Epoch {
                revision: format!("revision-{stage}"),
                candidate_share: f64::from(*weight) / 100.0,
                ..Epoch::default()
            };
            self.replicas.iter_mut().for_each(|replica| replica.tickets = 0);
            for request in 1..=REQUESTS_OF_A_STAGE {
                self.request(stage, &mut epoch);
                if request.is_multiple_of(LOOK_EVERY) {
                    epochs.push(epoch);
                    let evidence = evidence_against(requirements, &mut state, &epochs);
                    epoch = epochs.pop().unwrap();
                    if evidence >= 20_f64.ln() {
                        return true;
                    }
                }
            }
            epochs.push(epoch);
            let of_replicas = judge(requirements, &mut state.clone(), &total(self.pages())[0].epochs);
            assert_eq!(of_replicas, judge(requirements, &mut state, &epochs));
            assert_ne!(of_replicas.decision, Decision::RollBack);
        }
        false
    }
}

fn failures() -> Requirements {
    Requirements { failures: Some(FailureRequirement::default()), ..Requirements::default() }
}

fn rolled_back(rollouts: u32, deal: Deal, requirements: &Requirements) -> u32 {
    let count =
        (0..rollouts).filter(|seed| Rollout::new(u64::from(*seed), deal).ends_in_a_rollback(requirements)).count();
    u32::try_from(count).unwrap()
}

#[test]
fn rollouts_without_a_difference_go_through() {
    let rollouts = repeats(500, 10_000);
    let requirements = Requirements { latency: Some(LatencyRequirement::default()), ..failures() };
    let count = rolled_back(rollouts, Deal::PermutedBlocks, &requirements);
    println!("{count} of {rollouts} rollouts without a difference were rolled back");
    assert!(count * 20 <= rollouts, "{count} of {rollouts}");
}

#[test]
fn rollouts_without_a_difference_go_through_by_their_failures() {
    let rollouts = repeats(500, 10_000);
    let count = rolled_back(rollouts, Deal::PermutedBlocks, &failures());
    println!("{count} of {rollouts} rollouts without a difference were rolled back for their failures");
    assert!(count * 20 <= rollouts, "{count} of {rollouts}");
}

/// Why the split is not dealt out in turn: one client's failures are then always the same model's.
#[test]
fn dealing_in_turn_would_make_verdicts_wrong() {
    let of_one_client = |deal| {
        let rollouts = repeats(100, 1_000);
        let mut count = 0;
        for seed in 0..rollouts {
            let mut rollout = Rollout::new(u64::from(seed), deal);
            rollout.troubles = vec![Trouble::Period];
            rollout.requests = rollout.random.u32(0..10);
            let mut epoch = Epoch { revision: "half".to_owned(), candidate_share: 0.5, ..Epoch::default() };
            let mut state = State::default();
            let is_rolled_back = (0..3_000_u32).any(|_| {
                rollout.request(3, &mut epoch);
                evidence_against(&failures(), &mut state, std::slice::from_ref(&epoch)) >= 20_f64.ln()
            });
            count += u32::from(is_rolled_back);
        }
        println!("every tenth request of one client fails: {count} of {rollouts} are rolled back");
        (count, rollouts)
    };
    let (in_turn, of) = of_one_client(Deal::InTurn);
    assert!(in_turn * 5 > of * 2, "{in_turn} of {of}");
    let (permuted, of) = of_one_client(Deal::PermutedBlocks);
    assert!(permuted * 20 <= of, "{permuted} of {of}");
}
