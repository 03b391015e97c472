//! What the cases have in common: a namespace as the sample has it, models as images that are named by their digests, and
//! the pipeline, which asks for the approval of each stage.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::json;
use tempfile::TempDir;
use turnout_cluster::scene::{PRE_STOP_SECONDS, ROLLOUT};
use turnout_cluster::{
    Cluster, HEADER, LoadProcess, LoadSpec, RequestKind, SplitLoad, client, readme, release, repository,
    write_model_image,
};
use turnout_rollout::{ModelRollout, Phase, Weights};

pub(crate) const GREEN: Weights = Weights { green: 100, blue: 0 };
pub(crate) const HALF: Weights = Weights { green: 50, blue: 50 };
pub(crate) const BLUE: Weights = Weights { green: 0, blue: 100 };

/// The sample's charts serve any.
const HOST: &str = "any.example";
/// The file of values, unless a run has others.
const VALUES: &str = "values";
/// What a model asks for.
pub(crate) const CPU: &str = "10m";
/// Where it listens.
pub(crate) const PORT: u16 = 5001;
/// No variable besides.
pub(crate) const NOTHING: (&str, &str) = ("MODEL_DELAY_MS", "0");
/// For a check that no answer satisfies.
pub(crate) const WRONG: &str = "CHECK_EXPECT=what nobody says";
const PINNED_RATE: NonZeroU32 = NonZeroU32::new(100).expect("100 is above 0");

/// A team with a pipeline: its namespace, which the release governs.
pub(crate) struct Team<'cluster> {
    pub(crate) cluster: &'cluster Cluster,
    pub(crate) namespace: &'static str,
    gateway: SocketAddr,
    files: TempDir,
    /// What the runner needs.
    tools: PathBuf,
}

/// A model as it comes out of a build.
pub(crate) struct Built {
    /// What its answers say.
    pub(crate) revision: &'static str,
    /// By its digest.
    pub(crate) image: String,
}

/// How a run of the pipeline ended.
#[derive(Deserialize)]
pub(crate) struct Ended {
    pub(crate) stages: BTreeMap<String, String>,
    #[serde(skip)]
    said: String,
}

impl<'cluster> Team<'cluster> {
    /// Nothing is there but the release.
    pub(crate) fn new(cluster: &'cluster Cluster, namespace: &'static str) -> Result<Self> {
        let installed = Command::new(repository().join("tests/pipelines/install")).stderr(Stdio::inherit()).output()?;
        ensure!(installed.status.success(), "tests/pipelines/install ended with {}", installed.status);
        cluster.create_namespace(namespace)?;
        release::install(cluster, namespace, &["documents.source=objects", "crds.istio.install=true"])?;
        let team = Self {
            cluster,
            namespace,
            gateway: release::gateway(cluster)?,
            files: tempfile::tempdir()?,
            tools: PathBuf::from(String::from_utf8(installed.stdout)?.trim()),
        };
        team.write_values(VALUES, CPU, PORT)?;
        Ok(team)
    }

    /// Values of both models, in a file of this name: what `--at` takes to have them.
    pub(crate) fn write_values(&self, name: &str, cpu: &str, port: u16) -> Result<String> {
        let backend = json!({ "fieldRef": { "fieldPath": "metadata.labels['model_version']" } });
        let values = json!({ "deployment": {
            "container": { "port": port },
            "env": [{ "name": "MODEL_BACKEND", "valueFrom": backend }],
            "drain": { "preStopSleepSeconds": PRE_STOP_SECONDS, "timeoutSeconds": 5 },
            "resources": { "requests": { "cpu": cpu, "memory": "16Mi" }, "limits": { "memory": "256Mi" } },
        } });
        std::fs::write(self.file(name), values.to_string())?;
        Ok(format!("MODEL_VALUES={}", self.file(name).display()))
    }

    /// A program in place of helm: what `--at` takes to have it.
    pub(crate) fn write_program(&self, name: &str, text: &str) -> Result<String> {
        let path = self.file(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n"))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
        Ok(format!("HELM={}", path.display()))
    }

    /// Where a file of this name is.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// Makes a model that listens there, with one more variable, and lets the node have it.
    pub(crate) fn build(&self, revision: &'static str, port: u16, more: (&str, &str)) -> Result<Built> {
        let (listen, answer) = (format!("0.0.0.0:{port}"), format!("New Model {revision}"));
        let own = [("MODEL_LISTEN", listen.as_str()), ("MODEL_ANSWER", &answer), ("MODEL_REVISION", revision), more];
        let archive = self.file(&format!("{revision}.tar"));
        let image = write_model_image("scoring", &own, &archive)?;
        self.cluster.load_image(&archive)?;
        Ok(Built { revision, image })
    }

    /// Green and the routes as they are before any rollout, of this chart of models. Its values name the image and its
    /// digest each for itself, as those of older samples do the tag. Returns when it answers.
    pub(crate) fn begin_with(&self, chart: &Path, model: &Built) -> Result<()> {
        let image = model.image.replace('@', ",deployment.image.digest=");
        let set = format!(
            "deployment.name=model-green,deployment.bluegreen=green,deployment.image.name={image},namespace={}",
            self.namespace
        );
        let values = self.file(VALUES);
        let [chart, values] = [chart, &values].map(|path| path.to_str().context("a path is text"));
        self.helm(&["model-green", chart?, "--values", values?, "--set", &set, "--wait", "--timeout", "3m"])?;
        let routes = charts().join("abtest-istio");
        let routes = routes.to_str().context("a path is text")?;
        self.helm(&["abtest-istio", routes, "--set", &format!("namespace={}", self.namespace)])?;
        release::await_answers(self.cluster, "green answers", |gateway| is_served_by(gateway, model.revision))
    }

    fn helm(&self, arguments: &[&str]) -> Result<()> {
        let line = ["upgrade", "--install", "--namespace", self.namespace];
        self.cluster.helm(&[line.as_slice(), arguments].concat()).map(drop)
    }

    /// Users who name no version, and those that name one of these.
    pub(crate) fn users(&self, pins: &[&str]) -> Result<SplitLoad<'cluster>> {
        SplitLoad::with_pins(self.cluster, self.gateway, HOST, pins)
    }

    /// Users who ask for blue, which has to be there as long.
    pub(crate) fn users_of_blue(&self) -> Result<LoadProcess> {
        let kind = RequestKind::pinned("blue", HEADER, "blue").host(HOST);
        LoadProcess::start(self.cluster, &LoadSpec::new(self.gateway).at_rate(PINNED_RATE).with(kind))
    }

    /// Runs the pipeline for a model. `at` is what `--at` takes; `approve` is asked before each stage that is due.
    pub(crate) fn run(
        &self,
        model: &Built,
        at: &[[&str; 2]],
        mut approve: impl FnMut(&str) -> Result<bool>,
    ) -> Result<Ended> {
        let mut command = self.command("tests/pipelines/pipeline", model)?;
        command.args(["run", ".pipelines/abtest.yml", "--ask", "--without", ".pipelines/login.sh"]);
        // A busy machine keeps an answer for seconds.
        for parameter in [&format!("image={}", model.image), "requests=20", "maxP99=20000"] {
            command.args(["--parameter", parameter]);
        }
        for [stage, setting] in at {
            command.args(["--at", stage, setting]);
        }
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut answers = process.stdin.take().context("a piped process has a standard input")?;
        let printed = process.stdout.take().context("a piped process has a standard output")?;
        let mut said = String::new();
        let mut last = String::new();
        let mut refusal = Ok(());
        for line in BufReader::new(printed).lines() {
            last = line?;
            said.extend([last.as_str(), "\n"]);
            let Some(stage) = last.strip_prefix("? ") else { continue };
            // Whoever has failed approves of nothing more, so that the run ends.
            let is_given = refusal.is_ok()
                && approve(stage).unwrap_or_else(|error| {
                    refusal = Err(error.context(format!("before {stage}")));
                    false
                });
            writeln!(answers, "{}", if is_given { "yes" } else { "no" })?;
        }
        process.wait()?;
        refusal.with_context(|| said.clone())?;
        let ended: Ended = serde_json::from_str(&last).with_context(|| said.clone())?;
        Ok(Ended { said, ..ended })
    }

    /// Runs a script of the pipeline by hand, for a model; it ends with this code.
    pub(crate) fn script(&self, line: &str, model: &Built, more: &[(&str, &str)], code: i32) -> Result<String> {
        let mut command = self.command("bash", model)?;
        command.args(["-c", line]).env("IMAGE", &model.image).envs(more.iter().copied());
        let Output { status, stdout, stderr } = command.output()?;
        let said = String::from_utf8([stdout, stderr].concat())?;
        ensure!(status.code() == Some(code), "{line} ended with {status}: {said}");
        Ok(said)
    }

    fn command(&self, program: &str, model: &Built) -> Result<Command> {
        let program = if program.contains('/') { repository().join(program) } else { program.into() };
        let mut command = Command::new(program);
        readme::give_programs(self.cluster, &mut command)?;
        let own = command.get_envs().find(|(name, _)| *name == "PATH").and_then(|(_, path)| path);
        let mut path = self.tools.clone().into_os_string();
        path.push(":");
        path.push(own.context("the programs are on a path")?);
        command.current_dir(repository()).env("PATH", path).env("MODEL_VALUES", self.file(VALUES));
        command.env("K8S_AB_NAMESPACE", self.namespace).env("RESULTS", self.file("results"));
        command.env("TURNOUT_TIMEOUT", "3m").env("CHECK_PAUSE", "0");
        command.env("CHECK_EXPECT", format!("New Model {}", model.revision));
        Ok(command)
    }

    /// What helm has installed here.
    pub(crate) fn releases(&self) -> Result<Vec<String>> {
        let listed = self.cluster.helm(&["list", "--namespace", self.namespace, "--short"])?;
        Ok(listed.lines().map(str::to_owned).collect())
    }

    /// The rollout as it is.
    pub(crate) fn rollout(&self) -> Result<ModelRollout> {
        Ok(serde_json::from_value(self.cluster.get(self.namespace, "modelrollout", ROLLOUT)?)?)
    }

    /// The rollout is over, blue has gone, and green is this model, with everything.
    pub(crate) fn is_over(&self, load: &mut SplitLoad<'_>, model: &Built, phase: Phase) -> Result<()> {
        let status = self.rollout()?.status;
        ensure!(status.phase == phase, "{status:#?}");
        let releases = self.releases()?;
        ensure!(releases == ["abtest-istio", "model-green"], "{releases:?}");
        ensure!(self.cluster.find(self.namespace, "deployment", "model-blue")?.is_none(), "blue is there");
        is_served_by(self.gateway, model.revision)?;
        load.check("at the end", GREEN)
    }

    /// Takes the namespace away, so that the next case has the machine for itself.
    pub(crate) fn leave(self) -> Result<()> {
        self.cluster.delete_namespace(self.namespace)
    }
}

impl Ended {
    /// Fails unless these stages have not succeeded, but ended so, and all others have.
    pub(crate) fn is(&self, others: &[(&str, &str)]) -> Result<()> {
        let others: BTreeMap<_, _> = others.iter().copied().collect();
        for (stage, result) in &self.stages {
            let expected = others.get(stage.as_str()).copied().unwrap_or("Succeeded");
            ensure!(result == expected, "{stage} is {result}, not {expected}: {:?}\n{}", self.stages, self.said);
        }
        Ok(())
    }

    /// Whether a line of it contains this.
    pub(crate) fn says(&self, text: &str) -> Result<()> {
        ensure!(self.said.contains(text), "nobody says {text}:\n{}", self.said);
        Ok(())
    }
}

/// Ends a load of one kind, of which nothing has failed.
pub(crate) fn finish(load: LoadProcess) -> Result<()> {
    let all = load.finish()?;
    println!("who asked for blue: {:?}; {} of {} failed", all.statuses, all.failed, all.sent);
    ensure!(all.failed == 0 && all.pins_wrong == 0 && all.sent > 0, "{all:#?}");
    Ok(())
}

/// The charts of this checkout.
pub(crate) fn charts() -> PathBuf {
    repository().join("charts")
}

/// Fails unless green answers there as this revision.
fn is_served_by(gateway: SocketAddr, revision: &str) -> Result<()> {
    let answer = client::request(gateway, "POST", "/score", &[], "{}")?;
    let is_so = answer.status == 200 && answer.header("x-served-by-model") == Some("green");
    ensure!(is_so && answer.header("x-revision") == Some(revision), "{answer:?}");
    Ok(())
}
