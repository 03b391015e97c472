//! Finding the virtual host of a request, and in it the route. A host that matches never falls back to a wider one
//! (observed on Istio).

use super::host_map::HostMap;
use super::request::{RequestHead, without_port};
use super::rule::Route;
use crate::documents::Override;
use std::borrow::Cow;
use std::sync::Arc;

/// The hosts of one listener.
pub(super) type HostTable = HostMap<VirtualHost>;

/// What one host serves.
#[derive(Debug, Default)]
pub(super) struct VirtualHost {
    /// Clear text is sent to HTTPS.
    pub(super) https_redirect: bool,
    /// Of each VirtualService that names the host, in the order in which they count.
    pub(super) services: Vec<Arc<Routes>>,
}

/// The routes of one VirtualService behind one server. All hosts of the two share them.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// In the document's order.
    pub(super) specific: Vec<Route>,
    /// What follows it in the document no request can reach.
    pub(super) catch_all: Option<Route>,
    /// Whose headers count for nothing here.
    pub(super) pinning: Vec<Override>,
}

impl Routes {
    pub(super) fn is_empty(&self) -> bool {
        self.specific.is_empty() && self.catch_all.is_none()
    }
}

impl HostTable {
    pub(super) fn find(&self, authority: &str) -> Option<&VirtualHost> {
        if self.holds_any_alone() {
            return self.any();
        }
        // Documents write an IPv6 address without its brackets.
        self.get(&lower_case(without_port(authority).trim_start_matches('[').trim_end_matches(']')))
    }
}

impl VirtualHost {
    /// The first route that matches; where several VirtualServices share the host, their catch-alls come last, as in
    /// Istio.
    pub(super) fn find(&self, request: &RequestHead<'_>) -> Option<&Route> {
        let services = || self.services.iter();
        let specific = services().flat_map(|routes| routes.specific.iter().map(|route| (route, &routes.pinning)));
        let catch_alls = services().filter_map(|routes| Some((routes.catch_all.as_ref()?, &routes.pinning)));
        let mut all = specific.chain(catch_alls);
        all.find(|(route, pinning)| route.matcher.matches(request, pinning)).map(|(route, _)| route)
    }

    /// Who may pick a version.
    pub(super) fn pinning(&self) -> impl Iterator<Item = &Override> {
        self.services.iter().flat_map(|routes| &routes.pinning)
    }
}

fn lower_case(host: &str) -> Cow<'_, str> {
    if host.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::HostPattern;

    #[test]
    fn a_host_is_found_without_its_port_its_brackets_and_its_case() {
        let mut table = HostTable::default();
        for host in ["a.example.com", "2001:db8::1"] {
            table.entry(HostPattern::Exact(host.to_owned()), VirtualHost::default);
        }
        let check =
            |authority: &str, expected: bool| assert_eq!(table.find(authority).is_some(), expected, "{authority}");
        check("a.example.com:99", true);
        check("A.Example.com", true);
        check("[2001:db8::1]:99", true);
        check("b.example.com", false);
    }
}
