//! What follows once somebody has deleted a rollout: the weights of its rule become those of the document again.

use super::Draft;
use crate::observation::Observation;
use crate::resource::ModelRollout;
use crate::weights::{Availability, Backend, Weights, in_effect};

/// What follows for a rollout that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departure {
    /// The weights to publish for its rule meanwhile; none if it governs no rule.
    pub weights: Option<Weights>,
    /// What comes next.
    pub next: Next,
    /// In one line, what goes on.
    pub message: String,
}

/// What comes next for a rollout that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Somebody has to make a backend ready, or to change the document: that may take for ever.
    Somebody,
    /// Gateways take up what is new to them, of which nobody tells.
    Gateways,
    /// Nothing needs to be known of it any more.
    Nothing,
}

/// What to do for a rollout that is gone. Its rule gets the document's weights once every backend that they name can take
/// its share; until then the weights that are published stay, under the law of the weights, so that no request is lost by a
/// deletion. That holds also while no backend is ready, or none can be read: they may come back one by one.
pub fn depart(rollout: &ModelRollout, observed: &Observation) -> Departure {
    let Ok(documents) = observed.route else {
        let message = "deleted: it governs no rule".to_owned();
        return Departure { weights: None, next: Next::Nothing, message };
    };
    let draft = Draft::new(rollout, observed);
    let [green, blue] = Backend::BOTH.map(|backend| draft.availability(backend));
    let is_short =
        |backend: &Backend| documents.of(*backend) > 0 && [green, blue][backend.index()] < Availability::Usable;
    let short = Backend::BOTH.into_iter().find(is_short);
    let published = observed.published.as_ref().map_or(documents, |published| published.weights);
    let weights = if short.is_some() { in_effect(published, green, blue) } else { documents };
    let answer = |next, message: String| Departure { weights: Some(weights), next, message };
    if let Some(backend) = short.filter(|_| weights != documents) {
        let next = if draft.observed.backend(backend).is_ready() { Next::Gateways } else { Next::Somebody };
        let message = format!(
            "deleted: its rule keeps the weights {weights} until {backend}, to which the document gives {}, has endpoints \
             that every gateway sees; or change the document's weights",
            documents.of(backend)
        );
        return answer(next, message);
    }
    let is_published = observed.published.as_ref().is_some_and(|published| published.weights == documents);
    if is_published && !observed.gateways.iter().any(|gateway| gateway.serving) {
        let message = format!("deleted: the document's weights are published, and no gateway serves: {documents}");
        return answer(Next::Nothing, message);
    }
    if let Some(pending) = draft.confirmation(documents).pending() {
        return answer(Next::Gateways, format!("deleted: the document's weights are being published: {pending}"));
    }
    answer(Next::Nothing, format!("deleted: the document's weights are in effect: {documents}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::BackendObservation;
    use crate::render::RouteSelectionError;
    use crate::resource::RolloutStatus;
    use crate::testing::{absent, observation, rollout, unready};
    use serde_json::json;

    const HALVES: Weights = Weights { green: 50, blue: 50 };
    const QUARTER: Weights = Weights { green: 75, blue: 25 };
    const BLUE: Weights = Weights { green: 0, blue: 100 };
    const GREEN: Weights = Weights { green: 100, blue: 0 };

    /// As it stays known beside what is published, where blue has everything; the documents say half and half.
    fn deleted() -> (ModelRollout, Observation) {
        let mut rollout = rollout(json!({}));
        rollout.status = RolloutStatus { governs: Some(rollout.governs()), ..RolloutStatus::default() };
        let mut observed = observation(BLUE.green, BLUE.blue);
        observed.route = Ok(HALVES);
        (rollout, observed)
    }

    /// What follows where the backends are so, and these weights are published.
    fn check(backends: [BackendObservation; 2], published: Weights, weights: Weights, next: Next) {
        let (rollout, mut observed) = deleted();
        [observed.green, observed.blue] = backends;
        observed.published.as_mut().expect("it is published").weights = published;
        let departure = depart(&rollout, &observed);
        assert_eq!((departure.weights, departure.next), (Some(weights), next), "{departure:?}");
    }

    #[test]
    fn the_documents_weights_return_once_they_can_be_served_and_are_confirmed() {
        let (rollout, observed) = deleted();
        let ready = [observed.green, observed.blue];
        check(ready, BLUE, HALVES, Next::Gateways);
        let departure = depart(&rollout, &observation(HALVES.green, HALVES.blue));
        assert_eq!((departure.weights, departure.next), (Some(HALVES), Next::Nothing), "{departure:?}");
    }

    #[test]
    fn a_backend_that_is_not_ready_gets_no_weight_by_a_deletion() {
        let ready = observation(0, 100).blue;
        for green in [absent(), unready()] {
            check([green.clone(), ready.clone()], BLUE, BLUE, Next::Somebody);
            // Weight leaves what is lost, as before.
            check([green, ready.clone()], GREEN, BLUE, Next::Somebody);
        }
    }

    #[test]
    fn what_serves_again_after_all_were_away_has_its_weight() {
        for published in [BLUE, GREEN, QUARTER] {
            check([absent(), unready()], published, published, Next::Somebody);
        }
    }

    #[test]
    fn where_the_document_says_what_is_published_nobody_is_waited_for() {
        check([absent(), unready()], HALVES, HALVES, Next::Nothing);
    }

    #[test]
    fn without_gateways_it_is_enough_that_the_weights_are_published() {
        let (rollout, mut observed) = deleted();
        observed.gateways.clear();
        assert_eq!(depart(&rollout, &observed).next, Next::Gateways, "other weights are published");
        let mut observed = observation(HALVES.green, HALVES.blue);
        observed.gateways.clear();
        assert_eq!(depart(&rollout, &observed).next, Next::Nothing);
    }

    #[test]
    fn a_rollout_without_a_rule_holds_up_nobody() {
        let (rollout, mut observed) = deleted();
        observed.route = Err(RouteSelectionError::VirtualServiceNotFound("abtesting/model".to_owned()));
        assert_eq!(depart(&rollout, &observed).next, Next::Nothing);
    }
}
