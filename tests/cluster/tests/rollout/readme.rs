//! README's section "On a cluster", run as it is printed: its shell blocks line by line, with its files beside them. Only
//! what README says is the reader's own is another: the registry, the tag, and the model's image.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use turnout_cluster::{Cluster, Image, client, release};
use turnout_rollout::{Backend, ModelRollout};

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const SECTION: &str = "\n## On a cluster\n";
const NAMESPACE: &str = "abtesting";
const ROLLOUT: &str = "model";
/// Marks a command that ends by Ctrl-C alone, and so is no part of a script.
const ENDLESS: &str = "# until Ctrl-C";
const DEADLINE: Duration = Duration::from_mins(3);

pub(crate) fn the_readme_runs_as_printed(cluster: &Cluster) -> Result<()> {
    clear(cluster)?;
    let readme = fs::read_to_string(Path::new(REPOSITORY).join("README.md"))?;
    let folder = tempfile::tempdir()?;
    std::os::unix::fs::symlink(Path::new(REPOSITORY).join("charts"), folder.path().join("charts"))?;
    for file in blocks(&readme, "yaml") {
        let Some(name) = file.lines().next().and_then(|line| line.strip_prefix("# ")) else { continue };
        fs::write(folder.path().join(name), of_this_cluster(file))?;
    }
    let section = readme.split_once(SECTION).context("README has no such section")?.1;
    let section = section.split_once("\n### ").map_or(section, |(own, _)| own);
    let commands: Vec<String> = blocks(section, "sh").flat_map(commands).collect();
    ensure!(commands.len() > 10, "README has only {commands:#?}");
    // The cloud gives the gateway an address while helm waits for it.
    let given = thread::scope(|scope| {
        let cloud = scope.spawn(|| give_address(cluster));
        commands.iter().try_for_each(|command| run(cluster, folder.path(), command))?;
        cloud.join().map_err(|_| anyhow::anyhow!("the cloud panicked"))?
    });
    is_where_it_says(cluster, given?.into())?;
    clear(cluster)
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

fn of_this_cluster(text: &str) -> String {
    let arguments = "args: [--revision, r1, --listen, '0.0.0.0:5001']";
    let model = format!("image: {}\n        {arguments}", Image::Model.reference());
    text.replace("image: REGISTRY/model:r1", &model).replace("REGISTRY", &Image::registry()).replace("=TAG", "=dev")
}

fn run(cluster: &Cluster, folder: &Path, line: &str) -> Result<()> {
    let (kubectl, helm, turnout) = (cluster.kubectl_command(), cluster.helm_command(), Image::CommandLine.program()?);
    let programs = [Path::new(kubectl.get_program()), Path::new(helm.get_program()), &turnout];
    let folders = programs.into_iter().filter_map(Path::parent).map(Path::to_owned);
    let own = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(folders.chain(env::split_paths(&own)))?;
    let mut command = Command::new("bash");
    command.args(["-e", "-o", "pipefail", "-c", line]).current_dir(folder).env("PATH", path);
    for (name, value) in kubectl.get_envs().chain(helm.get_envs()) {
        command.env(name, value.unwrap_or_default());
    }
    let ran = command.output().context("cannot run bash")?;
    let (said, complained) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    println!("$ {line}\n{said}");
    ensure!(ran.status.success(), "{line}\nended with {}: {said}{complained}", ran.status);
    Ok(())
}

fn give_address(cluster: &Cluster) -> Result<std::net::Ipv4Addr> {
    cluster.wait_until("the gateway's Service is there", DEADLINE, || {
        cluster.find(release::NAMESPACE, "service", release::GATEWAY)?.context("it is not there yet").map(drop)
    })?;
    cluster.give_address(release::NAMESPACE, release::GATEWAY)
}

/// At the last stage, after one rollback, with nothing that needs blue, and served by the new model.
fn is_where_it_says(cluster: &Cluster, gateway: std::net::IpAddr) -> Result<()> {
    let rollout: ModelRollout = serde_json::from_value(cluster.get(NAMESPACE, "modelrollout", ROLLOUT)?)?;
    let status = rollout.status;
    let passed: Vec<_> = status.history.iter().map(|transition| transition.to.to_string()).collect();
    let expected = ["Blue_0", "Blue_50", "Rollback", "Blue_0", "Blue_50", "Blue_100", "Blue_Green", "Green_100"];
    ensure!(passed == expected, "{passed:?}");
    ensure!(status.stable_revision.as_deref() == Some("r2"), "{status:#?}");
    ensure!(status.safe_to_remove == [Backend::Blue], "{status:#?}");
    let answer = client::request((gateway, 80).into(), "POST", "/score", &[], r#"{"data": [1]}"#)?;
    ensure!(answer.status == 200 && answer.header("x-revision") == Some("r2"), "{answer:?}");
    Ok(())
}

/// The commands make what they need themselves.
fn clear(cluster: &Cluster) -> Result<()> {
    if cluster.find(release::NAMESPACE, "deployment", release::CONTROLLER)?.is_some() {
        release::uninstall(cluster)?;
    }
    [NAMESPACE, release::NAMESPACE].iter().try_for_each(|namespace| cluster.delete_namespace(namespace))
}
