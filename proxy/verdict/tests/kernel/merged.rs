//! What several processes have counted is, to the bit, what one would have: whoever counted it, whoever was asked first.

use proptest::prelude::*;
use std::collections::BTreeMap;
use turnout_verdict::evidence::{Arm, Bias, Epoch, Failures, Field, Page, PolicyEvidence, Shadow, total};
use turnout_verdict::judge::{AbsoluteRequirement, ComparisonRequirement, Requirements, State, Verdict, judge};

/// One thing that a gateway counts.
#[derive(Clone, Debug)]
struct Event {
    replica: usize,
    stage: usize,
    is_candidate: bool,
    fails: bool,
    bucket: usize,
    /// The live answer and the candidate's.
    pair: Option<(f64, f64)>,
}

const SHARES: [f64; 4] = [0.0, 0.1, 0.5, 0.9];

fn event() -> impl Strategy<Value = Event> {
    let pair = prop::option::of((-1e3..1e3, -1e3..1e3));
    (0_usize..5, 0_usize..4, any::<bool>(), any::<bool>(), 0_usize..161, pair).prop_map(
        |(replica, stage, is_candidate, fails, bucket, pair)| Event {
            replica,
            stage,
            is_candidate,
            fails,
            bucket,
            pair,
        },
    )
}

fn epoch(event: &Event) -> Epoch {
    let mut arm = Arm { requests: 1, ..Arm::default() };
    arm.failures = Failures { timeout: u64::from(event.fails), ..Failures::default() };
    arm.latency.record(event.bucket, 40);
    let mut epoch = Epoch {
        revision: format!("revision-{}", event.stage),
        candidate_share: SHARES[event.stage],
        ..Epoch::default()
    };
    if event.is_candidate { &mut epoch.candidate } else { &mut epoch.stable }.add(&arm);
    epoch.shadow = event.pair.map(|(live, candidate)| {
        let mut bias = Bias::new(f64::from(u8::try_from(event.stage).unwrap()) * 100.0);
        bias.record(live, candidate);
        let field = Field {
            path: format!("/{}", event.bucket % 3),
            compared: 1,
            differ: u64::from(event.fails),
            noise_compared: 1,
            discordant_candidate: u64::from(event.fails),
            bias,
            ..Field::default()
        };
        Shadow {
            copies: 1,
            pairs: 1,
            fields: vec![field],
            skipped: BTreeMap::from([(format!("reason {}", event.replica), 1)]),
            ..Shadow::default()
        }
    });
    epoch
}

fn pages(events: &[Event], replica: impl Fn(&Event) -> usize) -> Vec<Page> {
    let mut pages: BTreeMap<usize, Page> = BTreeMap::new();
    for event in events {
        let own = replica(event);
        let page = pages.entry(own).or_insert_with(|| Page {
            instance: own.to_string(),
            policies: vec![PolicyEvidence { policy: "default/split".to_owned(), ..PolicyEvidence::default() }],
        });
        page.policies[0].add(&PolicyEvidence { epochs: vec![epoch(event)], ..PolicyEvidence::default() });
    }
    pages.into_values().collect()
}

fn verdict(pages: &[Page]) -> (Verdict, State) {
    let comparison = ComparisonRequirement { agreement: Some(0.9), excess: Some(2.0), ..Default::default() };
    let requirements = Requirements {
        absolute: Some(AbsoluteRequirement::default()),
        comparison: Some(comparison),
        ..Requirements::standard()
    };
    let mut state = State::default();
    (judge(&requirements, &mut state, &total(pages)[0].epochs), state)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn replicas_give_the_verdict_of_one(events in prop::collection::vec(event(), 1..60)) {
        let one = verdict(&pages(&events, |_| 0));
        let mut replicas = pages(&events, |event| event.replica);
        prop_assert_eq!(&verdict(&replicas), &one);
        replicas.reverse();
        prop_assert_eq!(&verdict(&replicas), &one);
        // Equal floats are the same to the bit, since JSON writes the shortest text that is one of them alone.
        let text = serde_json::to_string(&one.0).unwrap();
        prop_assert_eq!(serde_json::to_string(&verdict(&replicas).0).unwrap(), text);
    }

    #[test]
    fn a_page_is_read_as_it_was_written(events in prop::collection::vec(event(), 0..20)) {
        for page in pages(&events, |event| event.replica) {
            let text = serde_json::to_string(&page).unwrap();
            prop_assert_eq!(serde_json::from_str::<Page>(&text).unwrap(), page);
        }
    }

    #[test]
    fn a_state_is_read_as_it_was_written(events in prop::collection::vec(event(), 20..60)) {
        let (_, state) = verdict(&pages(&events, |_| 0));
        let read: State = serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();
        prop_assert_eq!(read.latency, state.latency);
        prop_assert!((read.highest - state.highest).abs() < 1e-9);
    }
}
