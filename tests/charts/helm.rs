//! A real helm. It is found by TURNOUT_HELM, on the PATH, or where the cluster's test bed builds one
//! (`target/cluster/bin/helm`). Without one a test says that it was skipped; the slow tier (TURNOUT_SLOW=1) fails then.

use crate::cases::{Case, NAMESPACE, RELEASE, chart, root};
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the renderings are made for.
const KUBERNETES: &str = "1.34.0";

pub(crate) struct Helm(PathBuf);

impl Helm {
    /// The helm there is.
    pub(crate) fn find(test: &str) -> Option<Self> {
        let named = env::var_os("TURNOUT_HELM").map(PathBuf::from);
        let on_path = env::var_os("PATH").into_iter().flat_map(|path| {
            let folders: Vec<PathBuf> = env::split_paths(&path).collect();
            folders.into_iter().map(|folder| folder.join("helm"))
        });
        let mut places = named.into_iter().chain(on_path).chain([root().join("target/cluster/bin/helm")]);
        let found = places.find(|place| place.is_file()).map(Self);
        if found.is_none() {
            let hint = "name one by TURNOUT_HELM, or build the cluster's test bed";
            assert!(env::var_os("TURNOUT_SLOW").is_none(), "there is no helm: {hint}");
            eprintln!("{test}: skipped, there is no helm: {hint}");
        }
        found
    }

    /// What it prints, or why it refuses. The user's own configuration plays no part.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let home = tempfile::tempdir().unwrap();
        let mut command = Command::new(&self.0);
        for (key, _) in env::vars().filter(|(key, _)| key.starts_with("HELM_") || key == "KUBECONFIG") {
            command.env_remove(key);
        }
        let output = command.args(arguments).env("HOME", home.path()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr) + &text(output.stdout)) }
    }

    /// `helm template` of a chart with further arguments.
    pub(crate) fn template(&self, chart: &Path, arguments: &[&str]) -> Result<String, String> {
        self.template_as(RELEASE, NAMESPACE, chart, arguments)
    }

    /// The same for a release of another name and namespace.
    pub(crate) fn template_as(
        &self,
        release: &str,
        namespace: &str,
        chart: &Path,
        arguments: &[&str],
    ) -> Result<String, String> {
        let chart = chart.to_str().unwrap();
        let mut all = vec!["template", release, chart, "--namespace", namespace, "--kube-version", KUBERNETES];
        all.extend(arguments);
        self.run(&all)
    }

    /// The rendering of a case, by this chart or a copy of it.
    pub(crate) fn render(&self, chart: &Path, case: &Case, arguments: &[&str]) -> Result<String, String> {
        let values = case.values();
        let mut all = vec!["--values", values.to_str().unwrap()];
        all.extend(case.group.into_iter().flat_map(|group| ["--api-versions", group]));
        all.extend(arguments);
        self.template(chart, &all)
    }

    /// `helm lint --strict` with the values of a case.
    pub(crate) fn lint(&self, case: &Case) -> Result<String, String> {
        let (chart, values) = (chart(), case.values());
        let (chart, values) = (chart.to_str().unwrap(), values.to_str().unwrap());
        self.run(&["lint", "--strict", chart, "--values", values, "--kube-version", KUBERNETES])
    }
}
