//! The renderings that are committed, and what the rules need of one: its objects, and the pods among them.

use serde::Deserialize as _;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// The namespace of every rendered release.
pub(crate) const NAMESPACE: &str = "turnout-system";
/// The release's name.
pub(crate) const RELEASE: &str = "turnout";

/// One file of `values/`, and what is special of its rendering, in `golden/`: of `default` every object, of others those
/// that it has otherwise or not at all. Definitions are in none; `definitions.rs` has them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// What the API server has besides Kubernetes' own.
    pub(crate) group: Option<&'static str>,
}

/// Of the Prometheus operator.
pub(crate) const PROMETHEUS: &str = "monitoring.coreos.com/v1";
/// Of Azure's managed Prometheus.
pub(crate) const AZURE_PROMETHEUS: &str = "azmonitoring.coreos.com/v1";

pub(crate) const DEFAULT: Case = Case { name: "default", group: None };

/// The default comes first, since the others are compared with it.
pub(crate) const CASES: [Case; 8] = [
    DEFAULT,
    Case { name: "aks", group: Some(AZURE_PROMETHEUS) },
    Case { name: "tls", group: None },
    Case { name: "istio-only", group: None },
    Case { name: "managed", group: None },
    Case { name: "two-namespaces", group: None },
    Case { name: "prometheus", group: Some(PROMETHEUS) },
    Case { name: "bare", group: None },
];

/// What a chart renders.
pub(crate) struct Rendering {
    pub(crate) case: &'static str,
    pub(crate) objects: Vec<Value>,
}

/// A pod, and the object that makes it.
pub(crate) struct PodOf<'a> {
    /// As `Deployment turnout-system/turnout-gateway`.
    pub(crate) title: String,
    pub(crate) component: &'a str,
    pub(crate) metadata: &'a Value,
    pub(crate) spec: &'a Value,
}

/// The charts of the repository.
pub(crate) const CHARTS: [&str; 3] = ["turnout", "abtest-model", "abtest-istio"];

/// The directory of the chart that the renderings are of.
pub(crate) fn chart() -> PathBuf {
    chart_of("turnout")
}

/// The directory of one of [`CHARTS`].
pub(crate) fn chart_of(name: &str) -> PathBuf {
    root().join("charts").join(name)
}

/// The repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Fails with every place at once.
pub(crate) fn no_faults(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

impl Case {
    pub(crate) fn values(&self) -> PathBuf {
        root().join("tests/charts/values").join(self.name).with_extension("yaml")
    }

    pub(crate) fn golden(&self) -> PathBuf {
        root().join("tests/charts/golden").join(self.name).with_extension("yaml")
    }

    pub(crate) fn golden_notes(&self) -> PathBuf {
        root().join("tests/charts/golden").join(self.name).with_extension("notes.txt")
    }

    /// The committed rendering, without definitions.
    pub(crate) fn rendering(&self) -> Rendering {
        let mut objects = documents(&committed(self));
        if *self != DEFAULT {
            let absent = objects.remove(0);
            let is_here = |object: &Value| !objects.iter().any(|own| title(own) == title(object));
            let is_absent = |object: &Value| list(&absent, "/absent").iter().any(|other| *other == title(object));
            let common = documents(&committed(&DEFAULT));
            let common: Vec<_> = common.into_iter().filter(|object| is_here(object) && !is_absent(object)).collect();
            objects.splice(0..0, common);
        }
        Rendering { case: self.name, objects }
    }
}

/// A file of `golden/`.
pub(crate) fn committed(case: &Case) -> String {
    let path = case.golden();
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All committed renderings.
pub(crate) fn renderings() -> Vec<Rendering> {
    CASES.iter().map(Case::rendering).collect()
}

/// The committed rendering of one case.
pub(crate) fn rendering(name: &str) -> Rendering {
    CASES.iter().find(|case| case.name == name).unwrap().rendering()
}

/// The documents of a YAML text, without those that hold only comments.
pub(crate) fn documents(text: &str) -> Vec<Value> {
    let all = serde_yaml::Deserializer::from_str(text).map(|document| Value::deserialize(document).unwrap());
    all.filter(|document| !document.is_null()).collect()
}

/// A text field; empty where there is none.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The entries of a list; none where there is no list.
pub(crate) fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// As `Deployment turnout-system/turnout-gateway`, which tells it from all others.
pub(crate) fn title(object: &Value) -> String {
    let of = |field| text(object, field);
    format!("{} {}/{}", of("/kind"), of("/metadata/namespace"), of("/metadata/name"))
}

impl Rendering {
    /// The objects of a kind.
    pub(crate) fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.objects.iter().filter(move |object| object["kind"] == kind)
    }

    /// The object of a kind whose name ends so, if there is one.
    pub(crate) fn find(&self, kind: &str, name_ends: &str) -> Option<&Value> {
        self.of_kind(kind).find(|object| text(object, "/metadata/name").ends_with(name_ends))
    }

    /// Every pod that the chart makes, by whatever makes it.
    pub(crate) fn pods(&self) -> Vec<PodOf<'_>> {
        let with_pod = |object| {
            let template: &Value = match text(object, "/kind") {
                "Pod" => object,
                "Deployment" | "Job" => object.pointer("/spec/template").unwrap(),
                _ => return None,
            };
            let (metadata, spec) = (&template["metadata"], &template["spec"]);
            let component = metadata["labels"]["app.kubernetes.io/component"].as_str().unwrap();
            Some(PodOf { title: title(object), component, metadata, spec })
        };
        self.objects.iter().filter_map(with_pod).collect()
    }

    /// The pod of a component, if there is one.
    pub(crate) fn pod(&self, component: &str) -> Option<PodOf<'_>> {
        self.pods().into_iter().find(|pod| pod.component == component)
    }
}

impl PodOf<'_> {
    pub(crate) fn containers(&self) -> &[Value] {
        list(self.spec, "/containers")
    }

    /// The arguments of its only container.
    pub(crate) fn arguments(&self) -> Vec<&str> {
        assert_eq!(self.containers().len(), 1, "{}", self.title);
        list(&self.containers()[0], "/args").iter().map(|argument| argument.as_str().unwrap()).collect()
    }

    /// The values of a flag, written `--flag=value`.
    pub(crate) fn flag(&self, name: &str) -> Vec<&str> {
        let prefix = format!("--{name}=");
        self.arguments().into_iter().filter_map(|argument| argument.strip_prefix(prefix.as_str())).collect()
    }
}
