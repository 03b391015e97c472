//! Who lives in the cluster, and how they write their objects.

use crate::api::store::Key;
use serde_json::{Value, json};
use turnout_rollout::{Backend, Weights};

/// The namespace of the first models and their rollouts.
pub(crate) const MODELS: &str = "abtesting";
/// Another one, which is governed where a model of the history lives there.
pub(crate) const OTHERS: &str = "ranking";
/// The release's own namespace.
pub(crate) const SYSTEM: &str = "turnout-system";
/// All of them.
pub(crate) const NAMESPACES: [&str; 3] = [MODELS, OTHERS, SYSTEM];
/// The ConfigMap that gateways mount.
pub(crate) const ROUTES: &str = "turnout-routes";
/// The ConfigMap of the users' documents, where that is the source.
pub(crate) const DOCUMENTS: &str = "documents";
pub(crate) const GATEWAYS: &str = "turnout-gateway";
pub(crate) const STATUS_PORT: u16 = 15021;
/// Where a model listens.
pub(crate) const MODEL_PORT: u16 = 5001;

/// A model with its rollout, its VirtualService and its two backends. There are three of them, two of one namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct App(pub(crate) usize);

impl App {
    pub(crate) const COUNT: usize = 3;
    pub(crate) const ALL: [Self; Self::COUNT] = [Self(0), Self(1), Self(2)];

    pub(crate) fn name(self) -> &'static str {
        ["model", "rank", "guess"][self.0]
    }

    pub(crate) fn namespace(self) -> &'static str {
        [MODELS, MODELS, OTHERS][self.0]
    }

    pub(crate) fn rollout(self) -> Key {
        Key::new("modelrollouts", self.namespace(), self.name())
    }

    pub(crate) fn virtual_service(self) -> Key {
        Key::new("virtualservices", self.namespace(), self.name())
    }

    pub(crate) fn service(self, backend: Backend) -> Key {
        Key::new("services", self.namespace(), &format!("{}-svc-{backend}", self.name()))
    }

    pub(crate) fn deployment(self, backend: Backend) -> Key {
        Key::new("deployments", self.namespace(), &format!("{}-{backend}", self.name()))
    }

    pub(crate) fn host(self, backend: Backend) -> String {
        format!("{}-svc-{backend}.{}.svc.cluster.local", self.name(), self.namespace())
    }

    /// What gateways call a backend in their metrics.
    pub(crate) fn upstream(self, backend: Backend) -> String {
        format!("{}:{MODEL_PORT}", self.host(backend))
    }

    fn labels(self, backend: Backend) -> Value {
        json!({"app": self.name(), "version": backend})
    }
}

pub(crate) fn published() -> Key {
    Key::new("configmaps", SYSTEM, ROUTES)
}

/// The Service of a model, as its Helm release has it.
pub(crate) fn model_service(app: App, backend: Backend) -> Value {
    json!({
        "metadata": {"labels": {"team": "scoring"}},
        "spec": {
            "selector": app.labels(backend),
            "ports": [{"name": "http", "port": MODEL_PORT, "targetPort": MODEL_PORT}],
        },
    })
}

/// The Deployment of a model. Not every chart labels its pods with the revision; then only the image tells.
pub(crate) fn model_deployment(app: App, backend: Backend, revision: &str, replicas: u32, labelled: bool) -> Value {
    let mut labels = app.labels(backend);
    if labelled {
        labels["turnout.dev/revision"] = json!(revision);
    }
    json!({
        "metadata": {"labels": {"team": "scoring"}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": app.labels(backend)},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "model", "image": image(app, revision)}]},
            },
        },
    })
}

/// The template of a managed model.
pub(crate) fn template(app: App, number: u8) -> Value {
    json!({
        "metadata": {"labels": {"team": "scoring"}},
        "spec": {"containers": [{
            "name": "model",
            "image": image(app, &revision_name(number)),
            "ports": [{"containerPort": MODEL_PORT}],
            "readinessProbe": {"tcpSocket": {"port": MODEL_PORT}},
            "resources": {"limits": {"cpu": "0.5"}},
        }]},
    })
}

pub(crate) fn revision_name(number: u8) -> String {
    format!("v{number}")
}

/// The name that somebody gives a template of a managed rollout.
pub(crate) fn own_name(number: u8) -> String {
    format!("r{number}")
}

/// Pods of this one are never ready.
pub(crate) const BROKEN: u8 = 9;

/// What is behind the colon of the first container's image, in a pod or a template.
pub(crate) fn tag(pod: &Value) -> Option<String> {
    let image = pod["spec"]["containers"][0]["image"].as_str()?;
    Some(image.rsplit_once(':')?.1.to_owned())
}

pub(crate) fn image(app: App, revision: &str) -> String {
    format!("registry/{}:{revision}", app.name())
}

pub(crate) fn gateway_service() -> Value {
    json!({
        "metadata": {},
        "spec": {"selector": {"app": GATEWAYS}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    })
}

/// Where in a VirtualService the rule is that has both backends and nothing else as its destinations, and its weights.
pub(crate) fn split(object: &Value, app: App) -> Option<(usize, Weights)> {
    let rules = object["spec"]["http"].as_array()?;
    rules.iter().enumerate().find_map(|(place, rule)| {
        let route = rule["route"].as_array().filter(|route| route.len() == 2)?;
        let weight = |backend: Backend| {
            let entry = route.iter().find(|entry| entry["destination"]["host"] == app.host(backend))?;
            entry["weight"].as_u64().and_then(|weight| u32::try_from(weight).ok())
        };
        Some((place, Weights { green: weight(Backend::Green)?, blue: weight(Backend::Blue)? }))
    })
}

/// What an author of documents may do to a VirtualService.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edit {
    /// Another header.
    Header(u8),
    /// A rule in front of the split, so that its index is another.
    RuleInFront,
    /// The weights of the split, which a rollout decides: what GitOps puts back again and again.
    Weights(u32),
    /// A misspelt field.
    Misspelt,
    /// Good routes, and no rule for a rollout.
    Misfit(Misfit),
    /// As it was at first.
    Original,
}

/// How good routes have no rule for a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// The split has a third destination.
    ThirdDestination,
    /// It has a host that nobody is called.
    MisspeltHost,
    /// It has one destination.
    OneDestination,
}

/// The state of a VirtualService's document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Draft {
    pub(crate) weights: Weights,
    header: u8,
    rule_in_front: bool,
    pub(crate) misspelt: bool,
    pub(crate) misfit: Option<Misfit>,
}

impl Draft {
    pub(crate) const fn original() -> Self {
        let weights = Weights { green: 70, blue: 30 };
        Self { weights, header: 0, rule_in_front: false, misspelt: false, misfit: None }
    }

    pub(crate) fn edit(&mut self, edit: Edit) {
        match edit {
            Edit::Header(value) => self.header = value,
            Edit::RuleInFront => self.rule_in_front = !self.rule_in_front,
            Edit::Weights(blue) => self.weights = Weights { green: 100 - blue, blue },
            Edit::Misspelt => self.misspelt = true,
            Edit::Misfit(misfit) => self.misfit = Some(misfit),
            Edit::Original => *self = Self::original(),
        }
    }

    pub(crate) fn is_good(&self) -> bool {
        !self.misspelt
    }

    pub(crate) fn virtual_service(&self, app: App) -> Value {
        let destination = |backend: Backend| json!({"host": app.host(backend), "port": {"number": MODEL_PORT}});
        let mut route = vec![
            json!({"destination": destination(Backend::Green), "weight": self.weights.green}),
            json!({"destination": destination(Backend::Blue), "weight": self.weights.blue}),
        ];
        match self.misfit {
            None => {}
            Some(Misfit::ThirdDestination) => {
                let elsewhere = json!({"host": "elsewhere.example.com", "port": {"number": 80}});
                route.push(json!({"destination": elsewhere, "weight": 5}));
            }
            Some(Misfit::MisspeltHost) => route[0]["destination"]["host"] = json!("gren"),
            Some(Misfit::OneDestination) => route.truncate(1),
        }
        let pinned = json!({
            "match": [{"headers": {"x-api-version": {"exact": "blue"}}}],
            "route": [{"destination": destination(Backend::Blue)}],
        });
        let mut split = json!({"route": route});
        if self.header > 0 {
            split["headers"] = json!({"response": {"set": {"x-draft": self.header.to_string()}}});
        }
        if self.misspelt {
            split["retires"] = json!({"attempts": 1});
        }
        let mut http = vec![pinned, split];
        if self.rule_in_front {
            http.insert(0, json!({"match": [{"uri": {"exact": "/ping"}}], "directResponse": {"status": 200}}));
        }
        json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "metadata": {"name": app.name(), "namespace": app.namespace(), "labels": {"team": "scoring"}},
            "spec": {"hosts": [format!("{}.example.com", app.name())], "http": http},
        })
    }
}
