//! The chart `abtest-istio`: the documents, read by Turnout's own parser, and where requests go by them.

use super::{NAMESPACE, notes, only, rendered};
use crate::cases::{chart_of, documents, text};
use crate::helm::Helm;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use turnout_rollout::{ModelRollout, Plan, Weights, publish, route_weights};
use turnout_routes::documents::Document;
use turnout_routes::explain::{Explanation, Inquiry, explain};
use turnout_routes::router::{Identity, Router, compile};
use turnout_routes::{Parsed, Source, parse};
use turnout_tests::bed::{Bed, service};
use turnout_tests::client::RawRequest;
use turnout_tests::echo::Backends;

const CHART: &str = "abtest-istio";
const RELEASE: &str = "abtest-istio";

/// Where requests go: green and blue in percent.
type Shares = [f64; 2];
const GREEN: Shares = [100.0, 0.0];
const BLUE: Shares = [0.0, 100.0];

fn objects(helm: &Helm, values: &str) -> Vec<Value> {
    rendered(helm, RELEASE, CHART, values).unwrap_or_else(|error| panic!("{values}: {error}"))
}

/// The documents, as the gateway reads them; nothing is doubtful about them.
pub(super) fn read(objects: &[Value]) -> Vec<Document> {
    let is_route = |object: &&Value| text(object, "/apiVersion").starts_with("networking.istio.io/");
    let texts: Vec<String> = objects.iter().filter(is_route).map(|own| serde_yaml::to_string(own).unwrap()).collect();
    let text = texts.join("---\n");
    let Parsed { documents, warnings } = parse(&[Source { name: "routes.yaml", bytes: text.as_bytes() }]).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    documents
}

/// As a gateway of Turnout's chart sees them.
pub(super) fn router(documents: &[Document]) -> Router {
    let labels = BTreeMap::from([("istio".to_owned(), "ingressgateway".to_owned())]);
    compile(documents, &Identity { labels, namespace: "turnout-system".to_owned() })
}

/// Where a request goes; nothing where there is no rule.
pub(super) fn shares(router: &Router, inquiry: &Inquiry) -> Option<Shares> {
    let Explanation::Forward { backends, .. } = explain(router, inquiry) else { return None };
    let mut shares = [0.0; 2];
    for backend in backends {
        let colours = ["green", "blue"].map(|colour| format!("model-svc-{colour}.{NAMESPACE}.svc.cluster.local:5001"));
        let index = colours.iter().position(|own| *own == backend.backend);
        shares[index.unwrap_or_else(|| panic!("{backend:?}"))] += backend.share * 100.0;
    }
    Some(shares)
}

fn ask(router: &Router, method: &str, url: &str, version: Option<&str>) -> Option<Shares> {
    let header = version.map(|version| format!("x-api-version: {version}"));
    shares(router, &Inquiry::new(method, url, header.as_deref()).unwrap())
}

/// The sample began with 50/50, and a run that stopped there exposed the next image at once.
#[test]
fn nothing_is_exposed_unasked() {
    let Some(helm) = Helm::find("nothing_is_exposed_unasked") else { return };
    for values in ["svc.port=5001", "rollout.enabled=true", "uri.prefix=/predict"] {
        assert_eq!(ask(&router(&read(&objects(&helm, values))), "POST", "/score", None), Some(GREEN), "{values}");
    }
}

#[test]
fn the_lines_of_the_sample_set_its_weights() {
    let Some(helm) = Helm::find("the_lines_of_the_sample_set_its_weights") else { return };
    let table = [
        ("weight.blue=50,weight.green=50", [50.0, 50.0]),
        ("weight.blue=100,weight.green=0", BLUE),
        ("weight.blue=0,weight.green=100", GREEN),
        // One alone leaves the other the rest of 100; two are relative, as everywhere.
        ("weight.blue=20", [80.0, 20.0]),
        ("weight.green=0", BLUE),
        ("weight.green=3,weight.blue=1", [75.0, 25.0]),
    ];
    for (values, expected) in table {
        let objects = objects(&helm, values);
        assert_eq!(ask(&router(&read(&objects)), "GET", "/score", None), Some(expected), "{values}");
        // A release of the sample keeps its objects.
        assert_eq!(text(only(&objects, "VirtualService"), "/metadata/name"), "mlmodel-virtualservice");
        assert_eq!(text(only(&objects, "Gateway"), "/metadata/name"), "mlmodel-gateway");
        assert!(objects.iter().all(|object| object["metadata"]["namespace"] == NAMESPACE), "{values}");
    }
}

#[test]
fn requests_go_where_the_sample_sent_them() {
    let Some(helm) = Helm::find("requests_go_where_the_sample_sent_them") else { return };
    let table = [
        ("/score", Some("blue"), BLUE, BLUE),
        ("/score", Some("green"), GREEN, GREEN),
        ("/score/", Some("blue"), BLUE, BLUE),
        ("/score?x=1", Some("green"), GREEN, GREEN),
        // A plain prefix of the text.
        ("/scoreboard", Some("blue"), BLUE, BLUE),
        // Values mind their case, and unknown ones are split.
        ("/score", None, GREEN, BLUE),
        ("/score", Some("Blue"), GREEN, BLUE),
        ("/score", Some("red"), GREEN, BLUE),
        ("/score", Some(""), GREEN, BLUE),
        // Other paths are split whatever the header says.
        ("/", Some("blue"), GREEN, BLUE),
        ("/v1/score", Some("green"), GREEN, BLUE),
        ("/swagger.json", None, GREEN, BLUE),
    ];
    let routers = [0, 100].map(|blue| router(&read(&objects(&helm, &format!("weight.blue={blue}")))));
    for (url, version, at_green, at_blue) in table {
        for method in ["GET", "POST"] {
            for (router, expected) in routers.iter().zip([at_green, at_blue]) {
                assert_eq!(ask(router, method, url, version), Some(expected), "{method} {url} {version:?}");
            }
        }
    }
}

/// In the sample nothing read it.
#[test]
fn the_prefix_does_what_it_says() {
    let Some(helm) = Helm::find("the_prefix_does_what_it_says") else { return };
    let router = router(&read(&objects(&helm, "uri.prefix=/predict")));
    assert_eq!(ask(&router, "POST", "/predict", Some("blue")), Some(BLUE));
    assert_eq!(ask(&router, "POST", "/score", Some("blue")), Some(GREEN), "split");
}

#[test]
fn the_gateways_port_and_labels_are_those_that_are_named() {
    let Some(helm) = Helm::find("the_gateways_port_and_labels_are_those_that_are_named") else { return };
    let documents = read(&objects(&helm, "ingress.port=8080,ingress.hosts={models.example.com}"));
    let at = |url: &str| shares(&router(&documents), &Inquiry::new("GET", url, []).unwrap());
    assert_eq!(at("http://models.example.com:8080/score"), Some(GREEN));
    assert_eq!(at("http://models.example.com/score"), None);
    assert_eq!(at("http://other.example.com:8080/score"), None);
    let others = read(&objects(&helm, "ingress.selector.istio=internal"));
    assert_eq!(ask(&router(&others), "GET", "/score", None), None);
}

#[test]
fn the_api_is_the_newest_that_the_cluster_has() {
    let Some(helm) = Helm::find("the_api_is_the_newest_that_the_cluster_has") else { return };
    let kind = |version: &str| format!("networking.istio.io/{version}/VirtualService");
    for (known, expected) in [
        (vec![], "v1"),
        (vec!["v1alpha3"], "v1alpha3"),
        (vec!["v1alpha3", "v1beta1"], "v1beta1"),
        (vec!["v1alpha3", "v1", "v1beta1"], "v1"),
    ] {
        let known: Vec<String> =
            known.into_iter().flat_map(|version| ["--api-versions".into(), kind(version)]).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let rendered = helm.template_as(RELEASE, NAMESPACE, &chart_of(CHART), &known).unwrap();
        for object in documents(&rendered) {
            assert_eq!(object["apiVersion"], format!("networking.istio.io/{expected}"), "{known:?}");
        }
    }
}

#[test]
fn a_configmap_holds_the_same_documents() {
    let Some(helm) = Helm::find("a_configmap_holds_the_same_documents") else { return };
    let values = "weight.blue=30,rollout.enabled=true";
    let as_objects = objects(&helm, values);
    let others = objects(&helm, &format!("{values},as=configmap,configMap.namespace=gateways"));
    let map = only(&others, "ConfigMap");
    assert_eq!((text(map, "/metadata/name"), text(map, "/metadata/namespace")), ("abtest-documents", "gateways"));
    assert_eq!(read(&documents(text(map, "/data/routes.yaml"))), read(&as_objects));
    assert_eq!(only(&others, "ModelRollout"), only(&as_objects, "ModelRollout"));
    let told = notes(&helm, NAMESPACE, CHART, "as=configmap");
    assert!(
        told.contains("--set documents.existingConfigMap=abtest-documents --set 'namespaces={abtesting}'"),
        "{told}"
    );
}

#[test]
fn the_rollout_governs_the_split() {
    let Some(helm) = Helm::find("the_rollout_governs_the_split") else { return };
    assert_eq!(objects(&helm, "weight.blue=0").iter().filter(|object| object["kind"] == "ModelRollout").count(), 0);
    let steps = "rollout.spec.steps[0].stage=Blue_0,rollout.spec.steps[0].require[0].pause=10m";
    for mode in ["Gateway", "Istio"] {
        let objects = objects(&helm, &format!("rollout.enabled=true,rollout.mode={mode},weight.blue=5,{steps}"));
        let rollout: ModelRollout = serde_json::from_value(only(&objects, "ModelRollout").clone()).unwrap();
        assert_eq!((rollout.metadata.name.as_str(), rollout.metadata.namespace.as_str()), ("model", NAMESPACE));
        let plan = Plan::of(&rollout).unwrap();
        assert_ne!(plan, Plan::of(&ModelRollout { spec: without_steps(&rollout), ..rollout.clone() }).unwrap());
        let documents = read(&objects);
        assert_eq!(route_weights(&documents, &rollout).unwrap(), Weights { green: 95, blue: 5 }, "{mode}");
        // Whatever the values say, what is published are the weights of the stage.
        let published = publish(&documents, &[(&rollout, Weights { green: 50, blue: 50 })]).unwrap();
        assert_eq!(published.matches("x-served-by-model").count(), 4, "{published}");
        let router = router(&parse(&[Source { name: "routes.yaml", bytes: published.as_bytes() }]).unwrap().documents);
        assert_eq!(ask(&router, "POST", "/score", None), Some([50.0, 50.0]), "{mode}");
        assert_eq!(ask(&router, "POST", "/score", Some("blue")), Some(BLUE), "{mode}");
    }
}

fn without_steps(rollout: &ModelRollout) -> turnout_rollout::RolloutSpec {
    turnout_rollout::RolloutSpec { steps: None, ..rollout.spec.clone() }
}

/// The sample never said what becomes of `x-api-version: blue` once blue is gone.
#[tokio::test]
async fn each_answer_names_its_model_and_one_that_is_gone_is_never_the_other() {
    let Some(helm) = Helm::find("each_answer_names_its_model") else { return };
    let backends = Backends::start().await.unwrap();
    let green = of_backend(&backends, "model-svc-green");
    let documents = |blue: &str, values: &str| {
        let routes = objects(&helm, values).into_iter().map(|object| serde_yaml::to_string(&object).unwrap() + "---\n");
        format!("{green}{blue}{}", routes.collect::<String>())
    };
    let all = documents(&of_backend(&backends, "model-svc-blue"), "weight.blue=100");
    let mut bed = Bed::over(backends, &all, &[80], &[]).await.unwrap();
    for (version, expected) in [("blue", "blue"), ("green", "green"), ("", "blue")] {
        let response = bed.send(&RawRequest::get("/score").header("x-api-version", version)).await.unwrap();
        assert_eq!((response.status, response.backend()), (200, Some(expected)));
        assert_eq!(response.header("x-served-by-model"), Some(expected), "{response:?}");
    }
    // Green has all that names no version.
    bed.publish(&documents(&without_endpoints(), "weight.blue=0")).await.unwrap();
    let response = bed.send(&RawRequest::get("/score").header("x-api-version", "blue")).await.unwrap();
    assert_eq!((response.status, response.header("x-turnout-reason")), (503, Some("backend_absent")));
}

/// The ServiceEntry of a Service whose pod is the echo backend of that colour.
fn of_backend(backends: &Backends, name: &str) -> String {
    let colour = name.rsplit('-').next().unwrap();
    service(name, &[backends.address(colour)]).replace("default", NAMESPACE)
}

fn without_endpoints() -> String {
    service("model-svc-blue", &[]).replace("default", NAMESPACE)
}

#[test]
fn the_notes_say_who_gets_what() {
    let Some(helm) = Helm::find("the_notes_say_who_gets_what") else { return };
    let told = notes(&helm, NAMESPACE, CHART, "weight.blue=20,ingress.port=8080");
    for expected in ["green gets 80 and blue 20.", "x-served-by-model", "load_test.sh 10 http://$GATEWAY_IP:8080/score"]
    {
        assert!(told.contains(expected), "{told}");
    }
    for (host, header) in [("models.example.com", "models.example.com"), ("*.example.com", "any.example.com")] {
        let told = notes(&helm, NAMESPACE, CHART, &format!("ingress.hosts={{{host}}}"));
        let line = format!("load_test.sh 10 http://$GATEWAY_IP/score --header 'host: {header}'\n");
        assert!(told.contains(&line), "{told}");
    }
    let silent = objects(&helm, "servedByHeader=");
    let split = only(&silent, "VirtualService").pointer("/spec/http/2/route/0").unwrap();
    let host = format!("model-svc-green.{NAMESPACE}.svc.cluster.local");
    assert_eq!(*split, json!({"destination": {"host": host, "port": {"number": 5001}}, "weight": 100}));
}
