//! Whether weights are in effect: published, and reported by every live gateway. "Written" is not "in effect".

use super::Draft;
use crate::observation::GatewayObservation;
use crate::resource::{Mode, WaitReason};
use crate::weights::Weights;

/// How long Istio's proxies may take, which report nothing, in seconds.
const ISTIO_SETTLE_SECONDS: u64 = 15;
/// So many gateways are named in a message.
const NAMED_GATEWAYS: usize = 3;
/// So much of a revision is told.
const SHORT_REVISION: usize = 8;

/// Whether weights are in effect.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Confirmation {
    /// These gateways report them: all that live.
    Confirmed(Vec<String>),
    /// Nobody reports, and the settle time is over.
    Settled,
    /// Not all do.
    Pending(String),
    /// A gateway refuses what is published.
    Rejected(String),
}

impl Confirmation {
    /// Why they are not in effect, as far as is known.
    pub(super) fn pending(self) -> Option<String> {
        match self {
            Self::Pending(reason) | Self::Rejected(reason) => Some(reason),
            Self::Confirmed(_) | Self::Settled => None,
        }
    }
}

impl Draft<'_> {
    pub(super) fn confirmation(&self, weights: Weights) -> Confirmation {
        let Some(published) = &self.observed.published else {
            return Confirmation::Pending(format!("{weights} is not yet published"));
        };
        if published.weights != weights {
            return Confirmation::Pending(format!("{} is published, {weights} is wanted", published.weights));
        }
        match self.spec.mode {
            Mode::Gateway => reports(&self.observed.gateways, &published.revision),
            Mode::Istio => self.settling(weights),
        }
    }

    /// The gateways that have the weights, if all do; nobody is named in Istio mode.
    pub(super) fn confirmed(&self, weights: Weights) -> Result<Vec<String>, (WaitReason, String)> {
        match self.confirmation(weights) {
            Confirmation::Confirmed(by) => Ok(by),
            Confirmation::Settled => Ok(Vec::new()),
            Confirmation::Pending(text) | Confirmation::Rejected(text) => {
                Err((WaitReason::Confirmation, format!("waiting for confirmation: {text}")))
            }
        }
    }

    fn settling(&self, weights: Weights) -> Confirmation {
        let since = self.before.weights_since.filter(|_| self.before.weights == Some(weights));
        if since.is_some_and(|since| self.observed.now.seconds_since(since) >= ISTIO_SETTLE_SECONDS) {
            return Confirmation::Settled;
        }
        Confirmation::Pending(format!(
            "Istio reports nothing, so weights count as settled {ISTIO_SETTLE_SECONDS} s after they were published"
        ))
    }
}

fn reports(gateways: &[GatewayObservation], revision: &str) -> Confirmation {
    let gateways: Vec<_> = gateways.iter().filter(|gateway| gateway.serving).collect();
    if gateways.is_empty() {
        return Confirmation::Pending(format!("no live gateway, revision {} is published", short(revision)));
    }
    let has_it = |gateway: &&GatewayObservation| gateway.active.as_deref() == Some(revision);
    let (confirmed, others): (Vec<_>, Vec<_>) = gateways.iter().copied().partition(has_it);
    if others.is_empty() {
        return Confirmation::Confirmed(confirmed.into_iter().map(|gateway| gateway.id.clone()).collect());
    }
    let mut parts =
        vec![format!("{} of {} gateways report revision {}", confirmed.len(), gateways.len(), short(revision))];
    parts.extend(others.iter().take(NAMED_GATEWAYS).map(|gateway| lag(gateway, revision)));
    if others.len() > NAMED_GATEWAYS {
        parts.push(format!("and {} more", others.len() - NAMED_GATEWAYS));
    }
    let text = parts.join(", ");
    if others.iter().any(|gateway| rejection(gateway, revision).is_some()) {
        Confirmation::Rejected(text)
    } else {
        Confirmation::Pending(text)
    }
}

fn lag(gateway: &GatewayObservation, revision: &str) -> String {
    let id = &gateway.id;
    match (rejection(gateway, revision), &gateway.active) {
        (Some(reason), _) => format!("{id} refuses it ({reason})"),
        (None, Some(active)) => format!("{id} still has {}", short(active)),
        (None, None) => format!("{id} reports none"),
    }
}

fn rejection<'a>(gateway: &'a GatewayObservation, revision: &str) -> Option<&'a str> {
    let rejected = gateway.rejected.as_ref().filter(|rejected| rejected.revision == revision);
    rejected.map(|rejected| rejected.reason.as_str())
}

/// The beginning of a revision, for messages.
fn short(revision: &str) -> String {
    match revision.char_indices().nth(SHORT_REVISION) {
        Some((end, _)) => format!("{}…", &revision[..end]),
        None => revision.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::{Load, Rejection};

    const WANTED: &str = "3f2a61d09be4";
    const OTHER: &str = "9c1b77aa0213";

    fn gateway(index: usize, active: Option<&str>, rejected: Option<&str>) -> GatewayObservation {
        let rejection =
            |revision: &str| Rejection { revision: revision.to_owned(), reason: "document 2: bad".to_owned() };
        GatewayObservation {
            id: format!("gateway-{index}"),
            serving: true,
            answers: true,
            active: active.map(str::to_owned),
            rejected: rejected.map(rejection),
            green: Load::default(),
            blue: Load::default(),
        }
    }

    fn check(gateways: &[(Option<&str>, Option<&str>)], expected: Result<usize, &str>) {
        let gateways: Vec<_> =
            gateways.iter().enumerate().map(|(index, (active, rejected))| gateway(index, *active, *rejected)).collect();
        let actual = match reports(&gateways, WANTED) {
            Confirmation::Confirmed(by) => Ok(by.len()),
            other => Err(other.pending().unwrap_or_default()),
        };
        assert_eq!(actual.as_ref().map(|by| *by).map_err(String::as_str), expected, "{gateways:?}");
    }

    #[test]
    fn only_all_live_gateways_together_confirm() {
        let (wanted, other) = (Some(WANTED), Some(OTHER));
        check(&[(wanted, None)], Ok(1));
        check(&[(wanted, None), (wanted, other)], Ok(2));
        check(&[], Err("no live gateway, revision 3f2a61d0… is published"));
        check(
            &[(wanted, None), (other, None)],
            Err("1 of 2 gateways report revision 3f2a61d0…, gateway-1 still has 9c1b77aa…"),
        );
        check(&[(None, None)], Err("0 of 1 gateways report revision 3f2a61d0…, gateway-0 reports none"));
        check(
            &[(other, wanted), (wanted, None)],
            Err("1 of 2 gateways report revision 3f2a61d0…, gateway-0 refuses it (document 2: bad)"),
        );
        check(
            &[(other, None), (None, None), (None, None), (None, None), (None, None)],
            Err("0 of 5 gateways report revision 3f2a61d0…, gateway-0 still has 9c1b77aa…, gateway-1 reports none, \
                 gateway-2 reports none, and 2 more"),
        );
    }

    #[test]
    fn a_short_revision_is_told_whole() {
        assert_eq!(
            (short("r1"), short("rév12345"), short("rév123456")),
            ("r1".into(), "rév12345".into(), "rév12345…".into())
        );
    }
}
