//! What a gateway makes of a mounted routes file, by the code that real gateways use: the revision, the weights of each
//! split, and where each backend's endpoints are. Tables are kept by revision: many gateways in many histories read the
//! same text.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use turnout_controller::names::GOVERNED_KEY;
use turnout_routes::documents::{Action, Document, EndpointAddress};
use turnout_routes::router::{Identity, compile};
use turnout_routes::{Source, parse, revision};

/// So many are kept.
const CACHED: usize = 4096;

/// A compiled routes file.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) revision: String,
    pub(crate) documents: Vec<Document>,
    /// Of each rule that forwards: its name, and the backends with their weights.
    pub(crate) splits: Vec<(String, Vec<(String, u32)>)>,
    /// By name: the names and addresses to look up.
    pub(crate) upstreams: BTreeMap<String, Vec<EndpointAddress>>,
    /// The largest share that a rule with several destinations gives each of them.
    shares: BTreeMap<String, u32>,
}

/// What became of a routes file.
pub(crate) type Loaded = Result<Rc<Table>, (String, String)>;

thread_local! {
    static TABLES: RefCell<HashMap<String, Loaded>> = RefCell::default();
}

impl Table {
    /// Loads the keys of a mount. What is refused has its revision and the reason.
    pub(crate) fn load(mount: &BTreeMap<String, String>) -> Loaded {
        // Gateways read no other files.
        let routes = mount.iter().filter(|(name, _)| *name != GOVERNED_KEY);
        let sources: Vec<Source<'_>> = routes.map(|(name, text)| Source { name, bytes: text.as_bytes() }).collect();
        let revision = revision(&sources);
        TABLES.with_borrow_mut(|tables| {
            if tables.len() > CACHED {
                tables.clear();
            }
            tables.entry(revision.clone()).or_insert_with(|| compiled(&sources, revision)).clone()
        })
    }

    /// The largest share that any rule gives a backend. A rule with one destination pins requests to it, which is no
    /// share.
    pub(crate) fn weight(&self, upstream: &str) -> u32 {
        self.shares.get(upstream).copied().unwrap_or(0)
    }

    /// Gateways look the name of this Service up.
    pub(crate) fn looks_up(&self, service: &str) -> bool {
        let is_it = |address: &EndpointAddress| match address {
            EndpointAddress::Name(name) => name.split('.').next() == Some(service),
            EndpointAddress::Ip(_) => false,
        };
        self.upstreams.values().flatten().any(is_it)
    }

    /// Some rule sends requests to it, whatever the weight.
    pub(crate) fn names(&self, upstream: &str) -> bool {
        self.splits.iter().any(|(_, targets)| targets.iter().any(|(name, _)| name == upstream))
    }
}

fn compiled(sources: &[Source<'_>], revision: String) -> Loaded {
    let documents = match parse(sources) {
        Ok(parsed) => parsed.documents,
        Err(problems) => return Err((revision, problems.to_string())),
    };
    let router = compile(&documents, &Identity::default());
    let mut splits = Vec::new();
    for (origin, split) in router.splits() {
        let targets = split.targets().iter().map(|target| (target.name.clone(), target.weight)).collect();
        splits.push((origin.to_string(), targets));
    }
    let addresses = |backend: &turnout_routes::router::Backend| {
        backend.endpoints.iter().map(|source| source.address.clone()).collect()
    };
    let upstreams = router.backends().iter().map(|backend| (backend.to_string(), addresses(backend))).collect();
    let shares = shares(&documents);
    Ok(Rc::new(Table { revision, documents, splits, upstreams, shares }))
}

fn shares(documents: &[Document]) -> BTreeMap<String, u32> {
    let mut shares = BTreeMap::new();
    let services = documents.iter().filter_map(|document| match document {
        Document::VirtualService(service) => Some(service),
        _ => None,
    });
    for rule in services.flat_map(|service| &service.http) {
        let Action::Forward(forward) = &rule.action else { continue };
        for target in forward.destinations.as_slice().iter().filter(|_| forward.destinations.as_slice().len() > 1) {
            let name = format!("{}:{}", target.destination.host, target.destination.port.unwrap_or_default());
            let share = shares.entry(name).or_insert(0);
            *share = target.weight.max(*share);
        }
    }
    shares
}
