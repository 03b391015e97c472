//! `SplitPolicy`: what Istio cannot say of a rule: who gets which of its destinations, which of them is on trial, and how
//! the two are compared. Each file here holds one part of it.

mod assign;
mod compare;
mod pinning;
mod rescue;
mod shadow;

use super::metadata::{Metadata, name};
use super::virtual_service::Destination;
use crate::decode::{Decoded, Item, quoted};
use crate::encode::Fields;
use serde_json::Value;

pub use assign::{Assign, AssignBy, Interval};
pub use compare::{CompareKind, CompareRule};
pub use pinning::Override;
pub use rescue::Rescue;
pub use shadow::Shadow;

/// Of a salt, in bytes: more than the UID and the attempt of a rollout take.
const LONGEST_SALT: usize = 128;

/// A `SplitPolicy` document.
#[derive(Clone, Debug, PartialEq)]
pub struct SplitPolicy {
    /// Of several for one rule the older counts, then the first by name.
    pub metadata: Metadata,
    /// The rule that it governs.
    pub route: PolicyRoute,
    /// What keys are hashed with and evidence is kept under, in printable ASCII: another one assigns anew. May be empty.
    pub salt: String,
    /// The destination of the rule that is on trial; a short host counts in the policy's own namespace. None: no
    /// destination has a role, and none is compared or judged.
    pub candidate: Option<Destination>,
    /// How a request gets its destination.
    pub assign: Assign,
    /// Who may pick one. None: everybody, as the rules say.
    pub pinning: Option<Override>,
    /// The candidate is asked beside the live answer.
    pub shadow: Option<Box<Shadow>>,
    /// Another answers what the candidate failed at.
    pub rescue: Option<Rescue>,
}

/// Where a rule stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyRoute {
    /// The VirtualService, in the policy's own namespace: the one that has the rule, also where others delegate to it.
    pub virtual_service: String,
    /// The rule's name. None: the only rule with two destinations.
    pub http: Option<String>,
}

impl SplitPolicy {
    pub(super) fn decode(spec: &Item<'_>, metadata: Metadata) -> Decoded<Self> {
        let mut object = spec.object()?;
        let route = object.required("route").and_then(|item| PolicyRoute::decode(&item));
        let salt = object.field_or_default("salt", decode_salt);
        let candidate = object.field("candidate", Destination::decode);
        let assign = object.field_or_default("assign", Assign::decode);
        let pinning = object.field("override", Override::decode);
        let has_candidate = object.has("candidate");
        let shadow = object.field("shadow", |item| {
            let shadow = Shadow::decode(item)?;
            match shadow.to {
                _ if has_candidate => Ok(Box::new(shadow)),
                None => Err(item.advise("nobody to ask: there is no candidate", "write spec.candidate")),
                // What stable answers is copied, and without a candidate none is stable.
                Some(_) => Err(item.advise(
                    "nothing is copied: there is no candidate, and so no stable destination either",
                    "write spec.candidate: the destination of the rule whose requests are not copied",
                )),
            }
        });
        let rescue = object.field("rescue", |item| {
            let rescue = Rescue::decode(item)?;
            if has_candidate {
                Ok(rescue)
            } else {
                Err(item.advise("nobody to be rescued: there is no candidate", "write spec.candidate"))
            }
        });
        object.finish();
        Ok(Self {
            metadata,
            route: route?,
            salt: salt?,
            candidate: candidate?,
            assign: assign?,
            pinning: pinning?,
            shadow: shadow?,
            rescue: rescue?,
        })
    }

    pub(super) fn encode(&self) -> Value {
        Fields::new()
            .field("route", self.route.encode())
            .some("salt", Some(self.salt.as_str()).filter(|salt| !salt.is_empty()))
            .some("candidate", self.candidate.as_ref().map(Destination::encode))
            .some("assign", self.assign.encode())
            .some("override", self.pinning.as_ref().map(Override::encode))
            .some("shadow", self.shadow.as_deref().map(Shadow::encode))
            .some("rescue", self.rescue.as_ref().map(Rescue::encode))
            .into()
    }
}

impl PolicyRoute {
    fn decode(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        let virtual_service = object.required("virtualService").and_then(|item| name(&item));
        let http = object.field_or_default("http", Item::filled);
        object.finish();
        Ok(Self { virtual_service: virtual_service?, http: http?.map(str::to_owned) })
    }

    fn encode(&self) -> Value {
        Fields::new().field("virtualService", self.virtual_service.as_str()).some("http", self.http.as_deref()).into()
    }
}

fn decode_salt(item: &Item<'_>) -> Decoded<String> {
    let text = item.string()?;
    if text.len() <= LONGEST_SALT && text.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    let advice = format!("write at most {LONGEST_SALT} letters, digits and signs of ASCII, without spaces");
    Err(item.advise(format!("{} is not a salt", quoted(text)), advice))
}
