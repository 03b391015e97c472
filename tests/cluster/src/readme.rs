//! README's commands, run as they are printed. Only what README says is the reader's own is another: the registry, the
//! tag, and the model's image.

use std::env;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::build::{Image, repository};
use crate::cluster::Cluster;
use crate::model;
use crate::release;

/// Marks a command that ends by Ctrl-C alone, and so is no part of a script.
const ENDLESS: &str = "# until Ctrl-C";
const DEADLINE: Duration = Duration::from_mins(3);

/// The text.
#[derive(Debug)]
pub struct Readme(String);

impl Readme {
    /// As it stands in this checkout.
    pub fn read() -> Result<Self> {
        fs::read_to_string(repository().join("README.md")).map(Self).context("cannot read README")
    }

    /// All of it.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The commands under this heading, such as `## On a cluster`, a line each, up to the next heading. A variable is
    /// assigned anew in each line that uses it.
    pub fn commands(&self, heading: &str) -> Result<Vec<String>> {
        let section = self.0.split_once(&format!("\n{heading}\n"));
        let section = section.with_context(|| format!("README has no section {heading}"))?.1;
        let section = section.split_once("\n##").map_or(section, |(own, _)| own);
        let (mut assigned, mut all) = (Vec::new(), Vec::new());
        for line in blocks(section, "sh").flat_map(commands) {
            if let Some(name) = assigned_name(&line) {
                assigned.push((format!("${name}"), format!("{line}; ")));
            } else {
                let needed = assigned.iter().filter(|(variable, _)| line.contains(variable));
                all.push(needed.map(|(_, assignment)| assignment.as_str()).chain([line.as_str()]).collect());
            }
        }
        Ok(all)
    }

    /// Writes the files whose blocks begin with their name, and the chart, into a folder.
    pub fn write_files(&self, folder: &Path) -> Result<()> {
        std::os::unix::fs::symlink(repository().join("charts"), folder.join("charts"))?;
        for file in blocks(&self.0, "yaml") {
            let Some(name) = file.lines().next().and_then(|line| line.strip_prefix("# ")) else { continue };
            fs::write(folder.join(name), of_this_cluster(file))?;
        }
        Ok(())
    }
}

/// The blocks of one language that stand at the margin, in order.
fn blocks<'a>(text: &'a str, language: &str) -> impl Iterator<Item = &'a str> {
    text.split(&format!("\n```{language}\n"))
        .skip(1)
        .filter_map(|rest| rest.split("\n```").next())
        .collect::<Vec<_>>()
        .into_iter()
}

/// A line each, unless it goes on in the next one.
fn commands(block: &str) -> Vec<String> {
    let block = block.replace("\\\n", " ");
    block.lines().filter(|line| !line.contains(ENDLESS)).map(of_this_cluster).collect()
}

/// The name of `NAME=VALUE`, where that is all.
fn assigned_name(line: &str) -> Option<&str> {
    let is_of_a_name = |letter: char| letter.is_ascii_uppercase() || letter == '_';
    line.split_once('=').map(|(name, _)| name).filter(|name| !name.is_empty() && name.chars().all(is_of_a_name))
}

fn of_this_cluster(text: &str) -> String {
    let model = model::manifest_lines().join("\n        ");
    let text = text.replace("image: REGISTRY/model:r1", &model).replace("REGISTRY", &Image::registry());
    ['=', ':', '-'].iter().fold(text, |text, before| text.replace(&format!("{before}TAG"), &format!("{before}dev")))
}

/// Runs lines that install the release, while a cloud gives the gateway the address for which `helm --wait` waits;
/// returns that address.
pub fn run_in_a_cloud(cluster: &Cluster, folder: &Path, lines: &[String]) -> Result<Ipv4Addr> {
    thread::scope(|scope| {
        let cloud = scope.spawn(|| {
            cluster.wait_until("the gateway's Service is there", DEADLINE, || {
                cluster.find(release::NAMESPACE, "service", release::GATEWAY)?.context("it is not there yet").map(drop)
            })?;
            cluster.give_address(release::NAMESPACE, release::GATEWAY)
        });
        lines.iter().try_for_each(|line| run(cluster, folder, line).map(drop))?;
        cloud.join().map_err(|_| anyhow!("the cloud panicked"))?
    })
}

/// Runs a line in a folder, with the programs of this cluster on the search path; fails if it fails. Returns what it
/// prints.
pub fn run(cluster: &Cluster, folder: &Path, line: &str) -> Result<String> {
    let mut command = Command::new("bash");
    give_programs(cluster, &mut command)?;
    command.args(["-e", "-o", "pipefail", "-c", line]).current_dir(folder);
    let ran = command.output().context("cannot run bash")?;
    let (said, complained) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    println!("$ {line}\n{said}");
    ensure!(ran.status.success(), "{line}\nended with {}: {said}{complained}", ran.status);
    Ok(said.into_owned())
}

/// Lets a command find this cluster and its programs, as a user's shell does.
pub fn give_programs(cluster: &Cluster, command: &mut Command) -> Result<()> {
    let (kubectl, helm, turnout) = (cluster.kubectl_command(), cluster.helm_command(), Image::CommandLine.program()?);
    let programs = [Path::new(kubectl.get_program()), Path::new(helm.get_program()), &turnout];
    let folders = programs.into_iter().filter_map(Path::parent).map(Path::to_owned);
    let own = env::var_os("PATH").unwrap_or_default();
    command.env("PATH", env::join_paths(folders.chain(env::split_paths(&own)))?);
    for (name, value) in kubectl.get_envs().chain(helm.get_envs()) {
        command.env(name, value.unwrap_or_default());
    }
    Ok(())
}
