//! `override`: from where a request may pick its version by a header that rules match.

use crate::decode::{Decoded, Item, quoted};
use crate::documents::header_changes::header_name;
use crate::encode::Fields;
use http::HeaderName;
use ipnet::IpNet;
use serde_json::Value;
use std::net::IpAddr;

/// `override`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The header that picks one.
    pub header: HeaderName,
    /// Whose counts: addresses of clients. None: everybody's. A request from elsewhere is routed as if it had no such
    /// header, by all rules of the VirtualService that is served.
    pub from: Option<Vec<IpNet>>,
}

impl Override {
    /// Whether a client may pick.
    pub(crate) fn admits(&self, client: IpAddr) -> bool {
        // An IPv4 client may come by a socket for both.
        self.from.as_ref().is_none_or(|from| from.iter().any(|net| net.contains(&client.to_canonical())))
    }

    pub(super) fn decode(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        let header = object.required("header").and_then(|item| {
            let name = header_name(item.string()?, &item)?;
            if name == http::header::HOST {
                return Err(item.advise("the host is always looked at", "write the header that picks a version"));
            }
            Ok(name)
        });
        let from = object.field("from", |item| match item.each(decode_network)? {
            from if from.is_empty() => {
                Err(item.advise("from nowhere: nobody could pick a version", "write networks, or leave it out"))
            }
            from => Ok(from),
        });
        object.finish();
        Ok(Self { header: header?, from: from? })
    }

    pub(super) fn encode(&self) -> Value {
        let from = self.from.iter().flatten().map(ToString::to_string);
        Fields::new().field("header", self.header.as_str()).list("from", from).into()
    }
}

/// An address alone is one of itself.
fn decode_network(item: &Item<'_>) -> Decoded<IpNet> {
    let text = item.string()?;
    let of_address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse().or_else(|_| of_address()).map_err(|_| {
        item.advise(format!("{} is not a network", quoted(text)), "write it as 10.0.0.0/8, 2001:db8::/32 or an address")
    })
}
