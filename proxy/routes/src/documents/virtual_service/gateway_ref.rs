//! `gateways`: by which Gateways a document or a match is served.

use crate::decode::{Decoded, Item, Reported, quoted};
use crate::documents::host::is_label;

/// A reference to a Gateway document.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum GatewayRef {
    /// `mesh`: sidecars, never this gateway.
    Mesh,
    /// `name` (in the document's own namespace, filled in here) or `namespace/name`.
    Named {
        /// The Gateway's namespace.
        namespace: String,
        /// The Gateway's name.
        name: String,
    },
}

impl GatewayRef {
    fn decode(item: &Item<'_>, own_namespace: &str) -> Decoded<Self> {
        let text = item.string()?;
        let named =
            |namespace: &str, name: &str| Ok(Self::Named { namespace: namespace.to_owned(), name: name.to_owned() });
        match text.split_once('/') {
            None if text == "mesh" => Ok(Self::Mesh),
            None if is_label(text) => named(own_namespace, text),
            None => match text.split_once('.') {
                Some((name, namespace)) if is_label(name) && is_label(namespace) => {
                    item.warn("an old form of a Gateway's name", format!("write {namespace}/{name}"));
                    named(namespace, name)
                }
                _ => Err(not_a_gateway(item, text)),
            },
            Some((namespace, name)) if is_label(namespace) && is_label(name) => named(namespace, name),
            Some(_) => Err(not_a_gateway(item, text)),
        }
    }

    pub(super) fn encode(&self) -> String {
        match self {
            Self::Mesh => "mesh".to_owned(),
            Self::Named { namespace, name } => format!("{namespace}/{name}"),
        }
    }
}

fn not_a_gateway(item: &Item<'_>, text: &str) -> Reported {
    item.advise(format!("{} is not the name of a Gateway", quoted(text)), "write namespace/name")
}

/// The Gateways of a VirtualService or of a `match`.
pub(super) fn decode_gateways(item: &Item<'_>, own_namespace: &str) -> Decoded<Vec<GatewayRef>> {
    item.each(|item| GatewayRef::decode(item, own_namespace))
}
