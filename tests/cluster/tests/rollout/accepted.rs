//! What the API server itself says: of good and bad ModelRollouts, and of everything that the chart renders.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use turnout_cluster::scene::Scene;
use turnout_cluster::{Cluster, release};

/// That of the examples.
const NAMESPACE: &str = "abtesting";
const DEADLINE: Duration = Duration::from_mins(1);
/// What is rendered for: helm asks no cluster.
const KUBERNETES: &str = "1.34.0";

/// What the chart renders of the values of its tests, and of those that it comes with, with a server-side dry run. The
/// cluster does not know the kinds of Prometheus' operator, so these are not rendered.
pub(crate) fn every_rendering_of_the_chart_is_accepted(cluster: &Cluster) -> Result<()> {
    for namespace in ["turnout-system", NAMESPACE, "forecasting"] {
        cluster.create_namespace(namespace)?;
    }
    // The pod of `helm test` stays for its logs, and what a pod runs cannot be changed.
    let test = format!("{}-test", release::NAME);
    cluster.kubectl(&["delete", "pod", &test, "--namespace", release::NAMESPACE, "--ignore-not-found"])?;
    let chart = Path::new(release::chart()?);
    let others = ["values-aks-automatic.yaml", "../kind/values.yaml"].map(|file| chart.join(file));
    for values in files("tests/charts/values")?.into_iter().chain(others) {
        let values = values.to_str().context("a path is text")?;
        let mut words = vec!["template", release::NAME, release::chart()?, "--namespace", "turnout-system"];
        words.extend(["--kube-version", KUBERNETES, "--values", values]);
        let file = tempfile::NamedTempFile::new()?;
        fs::write(file.path(), cluster.helm(&words)?)?;
        let path = file.path().to_str().context("a path is text")?;
        let accepted = cluster.kubectl(&["apply", "--dry-run=server", "--output", "name", "--filename", path]);
        let accepted = accepted.with_context(|| format!("{values} is refused"))?;
        println!("{values}: {} objects accepted", accepted.lines().count());
        ensure!(accepted.lines().count() > 5, "{accepted}");
    }
    Ok(())
}

/// A GatewayClass as AKS's application routing has it. The API server wants to be told of a group of Kubernetes' own.
const DEFINITION: &str = "gatewayclasses.gateway.networking.k8s.io";
const GATEWAY_CLASS: &str = r"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: gatewayclasses.gateway.networking.k8s.io
  annotations: {api-approved.kubernetes.io: 'unapproved, for a test'}
spec:
  group: gateway.networking.k8s.io
  scope: Cluster
  names: {kind: GatewayClass, listKind: GatewayClassList, plural: gatewayclasses, singular: gatewayclass}
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

/// That routing is an Istio, which does not start beside Istio's definitions. Only a real API server can be asked for a
/// GatewayClass: what helm renders without one is refused nothing. A cluster that somebody uses may have the kind for real.
pub(crate) fn istios_definitions_are_refused_beside_aks_routing(cluster: &Cluster) -> Result<()> {
    cluster.create_namespace(release::NAMESPACE)?;
    install_istios(cluster, true).context("without a GatewayClass")?;
    let beside = with_gateway_class(cluster);
    cluster.kubectl(&["delete", "crd", DEFINITION, "--ignore-not-found", "--timeout", "60s"])?;
    let (with, without) = beside?;
    without.context("without Istio's definitions")?;
    let said = format!("{:#}", with.err().context("Istio's definitions are accepted beside it")?);
    ensure!(said.contains("approuting-istio") && said.contains("documents.source=configmap"), "{said}");
    Ok(())
}

/// What helm says beside a GatewayClass: with Istio's definitions, and without.
fn with_gateway_class(cluster: &Cluster) -> Result<(Result<()>, Result<()>)> {
    cluster.apply_as_named(GATEWAY_CLASS)?;
    cluster.kubectl(&["wait", "--for=condition=Established", &format!("crd/{DEFINITION}"), "--timeout", "60s"])?;
    let metadata = json!({ "name": "approuting-istio" });
    let class = json!({ "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": metadata });
    cluster.wait_until("the kind is served", DEADLINE, || cluster.apply_as_named(&class.to_string()))?;
    Ok((install_istios(cluster, true), install_istios(cluster, false)))
}

fn install_istios(cluster: &Cluster, wanted: bool) -> Result<()> {
    let mut words = vec!["upgrade", release::NAME, release::chart()?, "--install", "--namespace", release::NAMESPACE];
    let wanted = format!("crds.istio.install={wanted}");
    words.extend(["--dry-run=server", "--set", &wanted]);
    cluster.helm(&words).map(drop)
}

/// The hook of `helm test` asks without a pin and for both versions, and says what it got, each time anew.
pub(crate) fn the_chart_tests_itself(cluster: &Cluster) -> Result<()> {
    Scene::set(cluster, "selftest", &["test.host=selftest.example"])?;
    for _ in 0..2 {
        let said =
            cluster.helm(&["test", release::NAME, "--namespace", release::NAMESPACE, "--timeout", "2m", "--logs"])?;
        ensure!(said.contains("x-api-version: blue"), "{said}");
    }
    Ok(())
}

/// The good and the bad ones of the controller's own tests, in the order in which a user would apply the documents of a
/// file. The last one of a bad file is refused, in the words of its first line.
pub(crate) fn model_rollouts_are_accepted_and_refused(cluster: &Cluster) -> Result<()> {
    cluster.create_namespace(NAMESPACE)?;
    let (good, bad) = (files("controller/tests/crd/good")?, files("controller/tests/crd/bad")?);
    for file in &good {
        apply_all(cluster, &fs::read_to_string(file)?).with_context(|| file.display().to_string())?;
    }
    for file in &bad {
        let text = fs::read_to_string(file)?;
        let expected = text.lines().next().and_then(|line| line.strip_prefix("# refused: "));
        let expected = expected.with_context(|| format!("{} does not say why", file.display()))?;
        let refusal = apply_all(cluster, &text).err().with_context(|| format!("{} is accepted", file.display()))?;
        let said = format!("{refusal:#}");
        let (field, words) = expected.split_once(": ").context("a refusal names a field")?;
        ensure!(said.contains(field) && said.contains(words), "{}: {said}", file.display());
    }
    println!("{} good ones accepted, {} bad ones refused", good.len(), bad.len());
    Ok(())
}

/// Applies the documents of a file, one after the other, each with its status; in the end the objects are gone.
fn apply_all(cluster: &Cluster, text: &str) -> Result<()> {
    let applied = text.split("\n---\n").try_for_each(|document| {
        cluster.apply(NAMESPACE, document)?;
        let Some((_, status)) = document.split_once("\nstatus:") else { return Ok(()) };
        let patch = format!("status:{status}");
        let words = ["patch", "modelrollout", "model", "--subresource", "status", "--type", "merge", "--patch"];
        cluster.kubectl(&[words.as_slice(), &[patch.as_str(), "--namespace", NAMESPACE]].concat()).map(drop)
    });
    cluster.kubectl(&["delete", "modelrollouts", "--all", "--namespace", NAMESPACE])?;
    applied
}

fn files(folder: &str) -> Result<Vec<PathBuf>> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(folder);
    let listed = fs::read_dir(&folder).with_context(|| format!("no folder {}", folder.display()))?;
    let mut files: Vec<PathBuf> = listed.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    Ok(files)
}
