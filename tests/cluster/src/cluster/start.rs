//! Starting a cluster: in which order, and what waits for what.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};

use super::handle::Keeper;
use super::{Cluster, Daemon, NODE, Options, credentials, daemons, dns, eventually};
use crate::build::{Image, Programs, prepare_host};
use crate::control::Order;
use crate::step::reached;

/// Far longer than any of the steps takes on a busy machine.
const DEADLINE: Duration = Duration::from_mins(2);

pub(super) fn up(options: &Options) -> Result<Cluster> {
    prepare_host()?;
    let programs = Programs::build()?;
    let images = archives(&programs, &options.images)?;

    let started = Instant::now();
    let (keeper, description) = Keeper::start(options.index)?;
    let programs_file = description.workshop.join(format!("run{}/programs", description.index));
    fs::write(&programs_file, programs.folder().as_os_str().as_encoded_bytes()).context("cannot note the programs")?;
    let cluster = Cluster::of(&description, Some(keeper))?;
    match start(&cluster, &programs, &images, options, started) {
        Ok(()) => Ok(cluster),
        Err(error) => bail!("{error:#}\n{}", cluster.diagnosis()),
    }
}

/// Everything from the namespaces to a DNS server that answers.
fn start(
    cluster: &Cluster,
    programs: &Programs,
    images: &[PathBuf],
    options: &Options,
    started: Instant,
) -> Result<()> {
    let site = &cluster.own()?.site;
    credentials::write(site)?;
    daemons::write_settings(site)?;
    let run = |daemon: Daemon| {
        let command = daemon.command(site, programs);
        cluster.order(&Order::Run { name: daemon.name().to_owned(), command })
    };
    for daemon in [Daemon::Etcd, Daemon::Containerd, Daemon::ApiServer] {
        run(daemon)?;
    }
    thread::scope(|scope| {
        let loading = scope.spawn(|| load(cluster, images));
        cluster.wait_for_api(DEADLINE)?;
        reached("the API server is ready", started);
        for daemon in [Daemon::ControllerManager, Daemon::Scheduler, Daemon::Proxy] {
            run(daemon)?;
        }
        // A pod whose image is missing waits long before it tries again, and the sandbox of every pod is an image.
        loading.join().map_err(|_| anyhow!("loading the images panicked"))?
    })?;
    run(Daemon::Kubelet)?;
    cluster.apply_as_named(&dns::objects(options.dns, site.addresses()).to_string())?;
    eventually("the node is ready", DEADLINE, || node_is_ready(cluster))?;
    reached("the node is ready", started);
    eventually("CoreDNS is ready", DEADLINE, || cluster.is_rolled_out(dns::NAMESPACE, "deployment", dns::NAME))?;
    reached(&format!("cluster {} is up", site.index()), started);
    Ok(())
}

/// Two suites may want the same image, and every cluster has two of its own.
fn archives(programs: &Programs, wanted: &[Image]) -> Result<Vec<PathBuf>> {
    let mut images = vec![Image::Pause, Image::CoreDns];
    for image in wanted {
        if !images.contains(image) {
            images.push(*image);
        }
    }
    images.into_iter().map(|image| programs.image(image)).collect()
}

fn load(cluster: &Cluster, images: &[PathBuf]) -> Result<()> {
    eventually("containerd answers", DEADLINE, || cluster.exec(&["ctr", "version"]))?;
    images.iter().try_for_each(|image| cluster.load_image(image))
}

fn node_is_ready(cluster: &Cluster) -> Result<()> {
    let node = cluster.get("default", "node", NODE)?;
    let conditions = node["status"]["conditions"].as_array().context("the node has no conditions")?;
    let ready =
        conditions.iter().find(|condition| condition["type"] == "Ready").context("the node is not known yet")?;
    if ready["status"] != "True" {
        bail!("{}", ready["message"]);
    }
    Ok(())
}
