//! What the API server itself says: of good and bad ModelRollouts, and of everything that the chart renders.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use turnout_cluster::scene::Scene;
use turnout_cluster::{Cluster, release};

/// That of the examples.
const NAMESPACE: &str = "abtesting";
/// What is rendered for: helm asks no cluster.
const KUBERNETES: &str = "1.34.0";

/// What the chart renders of the values of its tests, and of those that it comes with, with a server-side dry run. The
/// cluster does not know the kinds of Prometheus' operator, so these are not rendered.
pub(crate) fn every_rendering_of_the_chart_is_accepted(cluster: &Cluster) -> Result<()> {
    for namespace in ["turnout-system", NAMESPACE, "forecasting"] {
        cluster.create_namespace(namespace)?;
    }
    let aks = Path::new(release::chart()?).join("values-aks-automatic.yaml");
    for values in files("tests/charts/values")?.into_iter().chain([aks]) {
        let name = values.file_stem().unwrap_or_default().to_string_lossy();
        let values = values.to_str().context("a path is text")?;
        let mut words = vec!["template", release::NAME, release::chart()?, "--namespace", "turnout-system"];
        words.extend(["--kube-version", KUBERNETES, "--values", values]);
        let file = tempfile::NamedTempFile::new()?;
        fs::write(file.path(), cluster.helm(&words)?)?;
        let path = file.path().to_str().context("a path is text")?;
        let accepted = cluster.kubectl(&["apply", "--dry-run=server", "--output", "name", "--filename", path]);
        let accepted = accepted.with_context(|| format!("{name} is refused"))?;
        println!("{name}: {} objects accepted", accepted.lines().count());
        ensure!(accepted.lines().count() > 5, "{accepted}");
    }
    Ok(())
}

/// The hook of `helm test` asks without a pin and for both versions.
pub(crate) fn the_chart_tests_itself(cluster: &Cluster) -> Result<()> {
    Scene::set(cluster, "selftest", &["test.host=selftest.example"])?;
    cluster.helm(&["test", release::NAME, "--namespace", release::NAMESPACE, "--timeout", "2m"]).map(drop)
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
