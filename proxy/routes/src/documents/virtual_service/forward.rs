//! `route`: the split, and where each of its parts goes.

use super::fault::Fault;
use super::rewrite::Rewrite;
use crate::decode::{Decoded, Item};
use crate::documents::destination_rule::subset_name;
use crate::documents::header_changes::HeaderOperations;
use crate::documents::host::check_wildcard_domain;
use crate::encode::Fields;
use serde_json::Value;
use std::net::IpAddr;

/// Sends the request to one of the destinations.
#[derive(Clone, Debug, PartialEq)]
pub struct Forward {
    /// The split.
    pub destinations: Destinations,
    /// What is changed on the way.
    pub rewrite: Rewrite,
    /// What is done to it before, to see how clients take it.
    pub fault: Option<Fault>,
}

/// The destinations of a split: at least one, and if several, not all of weight 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Destinations(Vec<WeightedDestination>);

/// Why a list of destinations is no split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeightError {
    /// The list is empty.
    #[error("a route needs at least one destination")]
    NoDestination,
    /// Several destinations, and nothing to tell them apart by.
    #[error("total destination weight = 0: give at least one of the destinations a weight above 0")]
    AllZero,
}

impl Destinations {
    /// Checks the list. A single destination gets everything, whatever its weight, as in Istio.
    pub fn new(destinations: Vec<WeightedDestination>) -> Result<Self, WeightError> {
        match destinations.as_slice() {
            [] => Err(WeightError::NoDestination),
            [_] => Ok(Self(destinations)),
            several if several.iter().all(|d| d.weight == 0) => Err(WeightError::AllZero),
            _ => Ok(Self(destinations)),
        }
    }

    /// The destinations, in the document's order.
    pub fn as_slice(&self) -> &[WeightedDestination] {
        &self.0
    }
}

/// A destination and its share.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightedDestination {
    /// Where to.
    pub destination: Destination,
    /// Relative share, at most 2^31 - 1; the sum is free.
    pub weight: u32,
    /// On request and response, for this destination only.
    pub headers: HeaderOperations,
}

/// A service, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// In lower case as written: a short name counts in the VirtualService's own namespace.
    pub host: String,
    /// A subset of a DestinationRule.
    pub subset: Option<String>,
    /// Needed for a service with several ports.
    pub port: Option<u16>,
}

pub(super) fn decode_destinations(item: &Item<'_>) -> Decoded<Destinations> {
    let destinations = item.each(WeightedDestination::decode)?;
    Destinations::new(destinations).map_err(|error| item.error(error.to_string()))
}

impl WeightedDestination {
    fn decode(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        let destination = object.required("destination").and_then(|item| Destination::decode(&item));
        let weight = object.field_or_default("weight", |item| item.unsigned(0..=i64::from(i32::MAX)));
        let headers = object.field_or_default("headers", HeaderOperations::decode);
        object.finish();
        Ok(Self { destination: destination?, weight: weight?, headers: headers? })
    }

    pub(super) fn encode(&self) -> Value {
        Fields::new()
            .field("destination", self.destination.encode())
            .some("weight", Some(self.weight).filter(|weight| *weight != 0))
            .some("headers", self.headers.encode())
            .into()
    }
}

impl Destination {
    pub(in crate::documents) fn decode(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        let host = object.required("host").and_then(|item| {
            let host = item.string()?.to_ascii_lowercase();
            if host == "*" {
                return Err(item.advise("every host is no destination", "write the host of one service"));
            }
            check_wildcard_domain(&host).map_err(|error| match host.parse::<IpAddr>() {
                Ok(_) => item
                    .advise(error.to_string(), "give the address to an endpoint of a ServiceEntry, and write its host"),
                Err(_) => item.error(error.to_string()),
            })?;
            Ok(host)
        });
        let subset = object.field_or_default("subset", |item| match item.filled()? {
            Some(_) => subset_name(item).map(Some),
            None => Ok(None),
        });
        let port = object.field("port", |item| {
            let mut object = item.object()?;
            let number = object.required("number").and_then(|item| item.port());
            object.finish();
            number
        });
        object.finish();
        Ok(Self { host: host?, subset: subset?, port: port? })
    }

    pub(in crate::documents) fn encode(&self) -> Value {
        Fields::new()
            .field("host", self.host.as_str())
            .some("subset", self.subset.as_deref())
            .some("port", self.port.map(|port| Fields::new().field("number", port)))
            .into()
    }
}
