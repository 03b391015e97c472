//! What stands in a ConfigMap or an object, as routes.

use super::table::Table;
use serde_json::Value;
use std::collections::BTreeMap;
use std::rc::Rc;
use turnout_routes::documents::Document;
use turnout_routes::{Source, parse};

/// What a gateway would make of a ConfigMap.
pub(crate) fn table_of(config_map: &Value) -> Option<Rc<Table>> {
    let data = config_map["data"].as_object()?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mount: BTreeMap<String, String> = data.iter().map(|(name, value)| (name.clone(), text(value))).collect();
    Table::load(&mount).ok()
}

pub(super) fn only_document(object: &Value) -> Document {
    let text = object.to_string();
    let parsed = parse(&[Source { name: "document", bytes: text.as_bytes() }]).expect("it is good");
    parsed.documents.into_iter().next().expect("it is one")
}

/// The document without what its author does not decide: the weights of splits and what the API server adds.
pub(crate) fn normal_form(document: &Document) -> Document {
    use turnout_routes::documents::{Action, Destinations};
    let mut document = document.clone();
    if let Document::VirtualService(service) = &mut document {
        service.metadata.creation_timestamp = None;
        for rule in &mut service.http {
            if let Action::Forward(forward) = &mut rule.action {
                let mut all = forward.destinations.as_slice().to_vec();
                for one in &mut all {
                    one.weight = 1;
                }
                forward.destinations = Destinations::new(all).expect("the weights are 1");
            }
        }
    }
    document
}
