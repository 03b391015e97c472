//! What is kept of the evidence of a rollout: enough to judge it all after the gateways that counted it are gone, and after
//! whoever drives the rollout is.
//!
//! A process counts from its beginning to its end, and its page says all of it each time. So of each process the newest page
//! counts, told apart by its instance id, and nothing counts twice. What differs by the candidate's share alone is one to the
//! judge, and is added up here always, so that it makes no difference how much of it was.

use crate::observation::Gathered;
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use turnout_verdict::evidence::{Arm, Epoch};
use turnout_verdict::judge::State;

/// Of so many processes the counts are kept apart, if there is room.
const KEPT_APART: usize = 20;
/// So much room there is for that, in bytes.
const ROOM: usize = 256 * 1024;
/// So many processes whose counts were added up are remembered: one of them that is asked late is not counted anew.
const REMEMBERED: usize = 256;

/// What gateways have counted of the candidate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EvidenceStatus {
    /// What gateways keep it under: it tells this candidate and this attempt from others.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub salt: String,
    /// When it was begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// When it was written down last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// What the judge remembers.
    #[serde(skip_serializing_if = "is_default")]
    pub judge: State,
    /// What it has shown to hold: that stands at each later stage, whatever comes then.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shown: Vec<Shown>,
    /// The sums of processes that are gone, by the candidate's share.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<Epoch>,
    /// The instance ids of those, the latest last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gone_instances: Vec<String>,
    /// What each other process had counted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub instances: Vec<InstanceEvidence>,
}

/// That something was shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Shown {
    /// Of what was asked for.
    pub digest: String,
    /// How it was told.
    pub message: String,
}

/// What one process has counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InstanceEvidence {
    /// Of the process.
    pub instance: String,
    /// The gateway that it was.
    pub gateway: String,
    /// What it has counted.
    pub epochs: Vec<Epoch>,
}

fn is_default(state: &State) -> bool {
    *state == State::default()
}

impl EvidenceStatus {
    /// Takes in what gateways say.
    pub(crate) fn take_in(&mut self, seen: &[Gathered]) {
        for page in seen.iter().filter(|page| !self.gone_instances.contains(&page.instance)) {
            let place = self.instances.iter().position(|known| known.instance == page.instance);
            let place = place.unwrap_or_else(|| {
                self.instances
                    .push(InstanceEvidence { instance: page.instance.clone(), ..InstanceEvidence::default() });
                self.instances.len() - 1
            });
            let known = &mut self.instances[place];
            known.gateway.clone_from(&page.gateway);
            // What is only remembered of one that is gone may be older than what somebody else wrote down of it.
            if page.is_current || requests(&page.epochs) > requests(&known.epochs) {
                let former = std::mem::replace(&mut known.epochs, page.epochs.clone());
                let is_told =
                    |epoch: &Epoch| page.epochs.iter().any(|own| own.revision == epoch.revision && is_same(own, epoch));
                // A gateway forgets old revisions.
                for epoch in former.iter().filter(|epoch| !is_told(epoch)) {
                    add_to(&mut self.gone, epoch);
                }
            }
        }
        self.instances.sort_by(|one, other| one.instance.cmp(&other.instance));
    }

    /// Where little room is left, those processes are added up whose gateway is gone, or is another process now.
    pub(crate) fn bound(&mut self, seen: &[Gathered], is_there: impl Fn(&str) -> bool) {
        if self.instances.len() > KEPT_APART || self.room() > ROOM {
            self.add_up(seen, is_there);
        }
        // Those that live say it again.
        while self.room() > ROOM {
            self.instances.pop();
        }
    }

    fn add_up(&mut self, seen: &[Gathered], is_there: impl Fn(&str) -> bool) {
        let is_current = |instance: &str| seen.iter().any(|page| page.is_current && page.instance == instance);
        let is_replaced = |gateway: &str| seen.iter().any(|page| page.is_current && page.gateway == gateway);
        for known in std::mem::take(&mut self.instances) {
            let is_gone = !is_current(&known.instance) && (!is_there(&known.gateway) || is_replaced(&known.gateway));
            if is_gone {
                for epoch in &known.epochs {
                    add_to(&mut self.gone, epoch);
                }
                self.gone_instances.push(known.instance);
            } else {
                self.instances.push(known);
            }
        }
        let surplus = self.gone_instances.len().saturating_sub(REMEMBERED);
        self.gone_instances.drain(..surplus);
    }

    fn room(&self) -> usize {
        serde_json::to_string(&self.instances).map_or(0, |text| text.len())
    }

    /// All that was counted, by the candidate's share.
    pub(crate) fn total(&self) -> Vec<Epoch> {
        let mut total = self.gone.clone();
        for epoch in self.instances.iter().flat_map(|known| &known.epochs) {
            add_to(&mut total, epoch);
        }
        total.sort_by(|one, other| one.candidate_share.total_cmp(&other.candidate_share));
        total
    }
}

fn is_same(one: &Epoch, other: &Epoch) -> bool {
    one.candidate_share.total_cmp(&other.candidate_share).is_eq()
}

fn add_to(sums: &mut Vec<Epoch>, epoch: &Epoch) {
    match sums.iter_mut().find(|sum| is_same(sum, epoch)) {
        Some(sum) => sum.add(epoch),
        None => sums.push(Epoch { revision: String::new(), ..epoch.clone() }),
    }
}

fn requests(epochs: &[Epoch]) -> u64 {
    let of = |arm: &Arm| arm.requests.saturating_add(arm.not_eligible);
    let all = epochs.iter().map(|epoch| {
        let copies = epoch.shadow.as_ref().map_or(0, |shadow| shadow.copies.saturating_add(shadow.pairs));
        of(&epoch.stable).saturating_add(of(&epoch.candidate)).saturating_add(copies)
    });
    all.fold(0, u64::saturating_add)
}
