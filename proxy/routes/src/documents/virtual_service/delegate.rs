//! `delegate`: the rules of another VirtualService, one without hosts, in the place of a rule.

use super::direct_response::DirectResponse;
use super::fault::Fault;
use super::rewrite::Rewrite;
use crate::decode::{Decoded, Item, Object};
use crate::documents::metadata;
use crate::encode::Fields;

/// Whose rules take the place of this one. What the rule has beside its matches counts for those of them that have no
/// such part of their own.
#[derive(Clone, Debug, PartialEq)]
pub struct Delegate {
    /// Of the VirtualService; where the document names none, its own.
    pub namespace: String,
    /// Of the VirtualService.
    pub name: String,
    /// `rewrite`.
    pub rewrite: Rewrite,
    /// `fault`.
    pub fault: Option<Fault>,
    /// `directResponse`: as in Istio it answers what the rules would forward, too.
    pub direct_response: Option<DirectResponse>,
}

impl Delegate {
    /// `object` is the rule.
    pub(super) fn decode(item: &Item<'_>, object: &mut Object<'_>, own_namespace: &str) -> Decoded<Self> {
        let mut misplaced = Ok(());
        for name in ["route", "redirect"] {
            if let Some(item) = object.optional(name) {
                let message = format!("delegate excludes {name}");
                misplaced = Err(item.advise(message, "write it in the VirtualService that is delegated to"));
            }
        }
        let rewrite = object.field_or_default("rewrite", Rewrite::decode);
        let fault = object.field("fault", Fault::decode);
        let direct_response = object.field("directResponse", DirectResponse::decode);
        let mut reference = item.object()?;
        let name = reference.required("name").and_then(|item| metadata::name(&item));
        let namespace = reference.field_or_default("namespace", |item| match item.filled()? {
            Some(_) => metadata::namespace(item).map(Some),
            None => Ok(None),
        });
        reference.finish();
        misplaced?;
        Ok(Self {
            namespace: namespace?.unwrap_or_else(|| own_namespace.to_owned()),
            name: name?,
            rewrite: rewrite?,
            fault: fault?,
            direct_response: direct_response?,
        })
    }

    pub(super) fn encode(&self, fields: Fields) -> Fields {
        let reference = Fields::new().field("name", self.name.as_str()).field("namespace", self.namespace.as_str());
        fields
            .field("delegate", reference)
            .some("rewrite", self.rewrite.encode())
            .some("fault", self.fault.as_ref().map(Fault::encode))
            .some("directResponse", self.direct_response.as_ref().map(DirectResponse::encode))
    }
}
