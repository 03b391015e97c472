//! What metrics call the workload of an endpoint: the Deployment that owns its pods.

use super::*;

/// The workloads of every backend, as `NAMESPACE/NAME`.
fn workloads(text: &str, facts: &ServiceFacts, by: EndpointsBy) -> Vec<Vec<String>> {
    let documents = documents(text);
    let published = publish(&registry(&documents, std::slice::from_ref(facts), by).join(&documents), &[]).unwrap();
    let router = compile(&super::documents(&published), &Identity::default());
    let name = |source: &turnout_routes::router::EndpointSource| {
        format!("{}/{}", source.workload.namespace, source.workload.workload)
    };
    router.backends().iter().map(|backend| backend.endpoints.iter().map(name).collect()).collect()
}

fn labels(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split_whitespace().filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// The Service `model`, which selects `app=model`, and Deployments as their names and the labels of their pods.
fn model_with(deployments: &[(&str, &str)]) -> ServiceFacts {
    let deployments = deployments.iter().map(|(name, pods)| ((*name).to_owned(), labels(pods))).collect();
    ServiceFacts { deployments, ..model() }
}

#[test]
fn a_service_is_called_what_its_one_deployment_is() {
    let check = |facts: &ServiceFacts, expected: &str| {
        for by in [EndpointsBy::Twins, EndpointsBy::ClusterIp] {
            assert_eq!(workloads(&routes(&["{host: model}"]), facts, by), [[expected]], "{facts:?}");
        }
    };
    check(&model_with(&[("scorer", "app=model version=v1")]), "ns/scorer");
    let headless = |facts| ServiceFacts { cluster_ip: Some("None".to_owned()), ..facts };
    check(&headless(model_with(&[("scorer", "app=model")])), "ns/scorer");
    // Two that share it, a StatefulSet, or ReplicaSets of Argo Rollouts: none can be named.
    check(&model_with(&[("scorer-v1", "app=model version=v1"), ("scorer-v2", "app=model version=v2")]), "ns/model");
    check(&model_with(&[]), "ns/model");
    let labelled = ServiceFacts { selector: labels("app=model workload=w"), ..model() };
    check(&labelled, "ns/w");
    // What selects nothing has no pods that a Deployment could own.
    let external = ServiceFacts { external_name: Some("m.example".to_owned()), ..model() };
    let deployments = model_with(&[("scorer", "app=model")]).deployments;
    check(&ServiceFacts { deployments: deployments.clone(), ..external }, "ns/model");
    check(&ServiceFacts { deployments, selector: BTreeMap::new(), ..model() }, "ns/model");
}

#[test]
fn a_subset_is_called_what_its_own_deployment_is() {
    let text = routes(&["{host: model, subset: v1}", "{host: model, subset: v2}", "{host: model}"])
        + &rule("model", &format!("{}, {}", version("v1"), version("v2")));
    let check = |deployments: &[(&str, &str)], expected: [&str; 3]| {
        let [v1, v2, whole] = expected;
        let found = workloads(&text, &model_with(deployments), EndpointsBy::Twins);
        assert_eq!(found, [vec![v1], vec![v2], vec![v1, v2, whole]], "{deployments:?}");
    };
    let (first, second) = (("scorer-v1", "app=model version=v1"), ("scorer-v2", "app=model version=v2"));
    check(&[first, second], ["ns/scorer-v1", "ns/scorer-v2", "ns/model"]);
    check(&[first], ["ns/scorer-v1", "ns/model-v2", "ns/scorer-v1"]);
    let other_zone = ("scorer-v1-b", "app=model version=v1 zone=b");
    check(&[first, second, other_zone], ["ns/model-v1", "ns/scorer-v2", "ns/model"]);
    // The subsets of Argo Rollouts select by a hash that no Deployment knows.
    check(&[("scorer", "app=model")], ["ns/model-v1", "ns/model-v2", "ns/scorer"]);
}
