//! The end of a rollout object: somebody deleted it, and the weights of its rule become those of the document again.

use super::Draft;
use crate::observation::Observation;
use crate::resource::ModelRollout;
use crate::weights::{Availability, Backend, Weights};

/// What follows for a rollout that is being deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departure {
    /// The weights to publish for its rule meanwhile; none if it governs no rule.
    pub weights: Option<Weights>,
    /// Nothing keeps the object any more.
    pub done: bool,
    /// In one line, what goes on.
    pub message: String,
}

/// What to do for a rollout that is being deleted. Its rule gets the document's weights once every backend that they
/// name can take its share; until then the law of the weights goes on, so that no request is lost by a deletion.
///
/// Without the rollout nobody moves weight away from a backend that is not there, so it stays as long as that would cost
/// requests, and says what it waits for and what else ends the wait. Where no backend has ready endpoints, or no gateway
/// serves, there is nothing to lose: a namespace that is deleted with all that is in it must not wait for backends that
/// never come back.
pub fn depart(rollout: &ModelRollout, observed: &Observation) -> Departure {
    let Ok(documents) = observed.route else {
        let message = "deleted: it governs no rule".to_owned();
        return Departure { weights: None, done: true, message };
    };
    if !Backend::BOTH.into_iter().any(|backend| observed.backend(backend).is_ready()) {
        let message = "deleted: no backend has ready endpoints, so no request can be lost".to_owned();
        return Departure { weights: Some(documents), done: true, message };
    }
    let draft = Draft::new(rollout, observed);
    let is_short =
        |backend: &Backend| documents.of(*backend) > 0 && draft.availability(*backend) < Availability::Usable;
    if let Some(backend) = Backend::BOTH.into_iter().find(is_short) {
        let message = format!(
            "deleted: waiting until {backend}, to which the document gives weight {}, has endpoints that every gateway \
             sees; or change the document's weights",
            documents.of(backend)
        );
        let weights = draft.weights().or(observed.published.as_ref().map(|published| published.weights));
        return Departure { weights: weights.or(Some(documents)), done: false, message };
    }
    let is_published = observed.published.as_ref().is_some_and(|published| published.weights == documents);
    if is_published && !observed.gateways.iter().any(|gateway| gateway.serving) {
        let message = format!("deleted: the document's weights are published, and no gateway serves: {documents}");
        return Departure { weights: Some(documents), done: true, message };
    }
    if let Some(pending) = draft.confirmation(documents).pending() {
        let message = format!("deleted: the document's weights are being published: {pending}");
        return Departure { weights: Some(documents), done: false, message };
    }
    let message = format!("deleted: the document's weights are in effect: {documents}");
    Departure { weights: Some(documents), done: true, message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::RouteSelectionError;
    use crate::resource::RolloutStatus;
    use crate::testing::{absent, observation, rollout, unready};
    use serde_json::json;

    const HALVES: Weights = Weights { green: 50, blue: 50 };
    const BLUE: Weights = Weights { green: 0, blue: 100 };

    /// At Blue_100, published and confirmed, with documents that say half and half.
    fn deleted() -> (ModelRollout, Observation) {
        let mut rollout = rollout(json!({"revision": "v2"}));
        let status = json!({"stage": "Blue_100", "stableRevision": "v1", "candidate": {"revision": "v2"}});
        rollout.status = serde_json::from_value::<RolloutStatus>(status).expect("a status");
        let mut observed = observation(BLUE.green, BLUE.blue);
        observed.route = Ok(HALVES);
        (rollout, observed)
    }

    #[test]
    fn the_documents_weights_return_once_they_can_be_served_and_are_confirmed() {
        let (rollout, observed) = deleted();
        let departure = depart(&rollout, &observed);
        assert_eq!((departure.weights, departure.done), (Some(HALVES), false), "{departure:?}");
        let departure = depart(&rollout, &observation(HALVES.green, HALVES.blue));
        assert_eq!((departure.weights, departure.done), (Some(HALVES), true), "{departure:?}");
    }

    #[test]
    fn a_backend_that_is_not_ready_gets_no_weight_by_a_deletion() {
        let (rollout, mut observed) = deleted();
        observed.green = unready();
        let departure = depart(&rollout, &observed);
        assert_eq!((departure.weights, departure.done), (Some(BLUE), false), "{departure:?}");
    }

    #[test]
    fn where_nothing_is_served_nobody_is_held_up() {
        let (rollout, mut observed) = deleted();
        (observed.green, observed.blue) = (absent(), unready());
        let departure = depart(&rollout, &observed);
        assert_eq!((departure.weights, departure.done), (Some(HALVES), true), "{departure:?}");
    }

    #[test]
    fn without_gateways_it_is_enough_that_the_weights_are_published() {
        let (rollout, mut observed) = deleted();
        observed.gateways.clear();
        assert!(!depart(&rollout, &observed).done, "other weights are published");
        let mut observed = observation(HALVES.green, HALVES.blue);
        observed.gateways.clear();
        assert!(depart(&rollout, &observed).done);
    }

    #[test]
    fn a_rollout_without_a_rule_holds_up_nobody() {
        let (rollout, mut observed) = deleted();
        observed.route = Err(RouteSelectionError::VirtualServiceNotFound("abtesting/model".to_owned()));
        assert!(depart(&rollout, &observed).done);
    }
}
