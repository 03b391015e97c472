//! The program `turnout-cluster`: a cluster for people, and the processes of which every cluster is made.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::build::{Image, Programs};
use crate::cluster::{Cluster, Daemon, Dns, Options};
use crate::guide::Guide;
use crate::{drivers, istio, keeper, load};

/// A real Kubernetes node on this machine, in namespaces of its own, without a registry. Needs root.
#[derive(Parser)]
#[command(name = "turnout-cluster", version, arg_required_else_help = true, max_term_width = 110)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Starts a cluster that stays up until `down`, and prints what makes a shell use it, for `eval`, and what is there.
    Up {
        #[command(flatten)]
        which: Which,
        /// How long DNS answers live, in the server's cache too.
        #[arg(long, value_enum, default_value_t = DnsArgument::Fresh)]
        dns: DnsArgument,
        /// The images of this workspace to build and load, with commas.
        #[arg(long, value_delimiter = ',', value_enum, default_values_t = ImageArgument::ALL)]
        images: Vec<ImageArgument>,
    },
    /// Takes a cluster down and leaves no trace of it.
    Down {
        #[command(flatten)]
        which: Which,
    },
    /// Runs a command on the node: in the cluster's network, mount and process namespaces.
    Exec {
        #[command(flatten)]
        which: Which,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        words: Vec<String>,
    },
    /// Runs kubectl.
    Kubectl {
        #[command(flatten)]
        which: Which,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Runs helm.
    Helm {
        #[command(flatten)]
        which: Which,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Loads an image from an archive (an OCI layout, or of docker).
    Load {
        #[command(flatten)]
        which: Which,
        archive: PathBuf,
    },
    /// Kills a daemon and keeps it down.
    Stop {
        #[command(flatten)]
        which: Which,
        #[arg(value_parser = parse_daemon)]
        daemon: Daemon,
    },
    /// Lets a stopped daemon come back.
    Start {
        #[command(flatten)]
        which: Which,
        #[arg(value_parser = parse_daemon)]
        daemon: Daemon,
    },
    /// Builds the programs and images, and prints where they are.
    Build {
        /// The images of this workspace to build, with commas.
        #[arg(long, value_delimiter = ',', value_enum, default_values_t = ImageArgument::ALL)]
        images: Vec<ImageArgument>,
        /// Istio's programs too.
        #[arg(long)]
        istio: bool,
        /// Argo Rollouts, Flagger and Prometheus too.
        #[arg(long)]
        drivers: bool,
    },
    #[command(hide = true)]
    Keep {
        #[arg(long)]
        index: Option<u8>,
        #[arg(long)]
        workshop: PathBuf,
    },
    #[command(hide = true)]
    Node {
        #[arg(long)]
        index: u8,
        #[arg(long)]
        workshop: PathBuf,
    },
    #[command(hide = true)]
    Generate,
}

#[derive(Args)]
struct Which {
    /// Which of the clusters that run side by side.
    #[arg(long, default_value_t = 0)]
    index: u8,
}

#[derive(Clone, Copy, ValueEnum)]
enum DnsArgument {
    /// 5 seconds, and no cache.
    Fresh,
    /// 30 seconds, as on AKS.
    Cached,
}

#[derive(Clone, Copy, ValueEnum)]
enum ImageArgument {
    Proxy,
    Controller,
    CommandLine,
    Model,
}

impl ImageArgument {
    const ALL: [Self; 4] = [Self::Proxy, Self::Controller, Self::CommandLine, Self::Model];

    fn image(self) -> Image {
        match self {
            Self::Proxy => Image::Proxy,
            Self::Controller => Image::Controller,
            Self::CommandLine => Image::CommandLine,
            Self::Model => Image::Model,
        }
    }
}

/// The whole program.
pub fn main() -> ExitCode {
    match run(Arguments::parse().verb) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("turnout-cluster: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::Up { which, dns, images } => up(which.index, dns, &images)?,
        Verb::Down { which } => Cluster::down_by_index(which.index)?,
        Verb::Exec { which, words } => {
            let (program, arguments) = words.split_first().context("no command")?;
            return replace(Cluster::attach(which.index)?.node_command(program)?.args(arguments));
        }
        Verb::Kubectl { which, words } => return replace(Cluster::attach(which.index)?.kubectl_command().args(words)),
        Verb::Helm { which, words } => return replace(Cluster::attach(which.index)?.helm_command().args(words)),
        Verb::Load { which, archive } => Cluster::attach(which.index)?.load_image(&archive)?,
        Verb::Stop { which, daemon } => Cluster::attach(which.index)?.stop(daemon)?,
        Verb::Start { which, daemon } => Cluster::attach(which.index)?.start(daemon)?,
        Verb::Build { images, istio, drivers } => {
            build(&images)?;
            if istio {
                istio::build()?;
            }
            if drivers {
                drivers::build()?;
            }
        }
        Verb::Keep { index, workshop } => block_on(keeper::run(index, &workshop))?,
        Verb::Node { index, workshop } => block_on(keeper::run_node(index, &workshop))?,
        Verb::Generate => block_on(load::generate())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn up(index: u8, dns: DnsArgument, images: &[ImageArgument]) -> Result<()> {
    let dns = match dns {
        DnsArgument::Fresh => Dns::Fresh,
        DnsArgument::Cached => Dns::Cached,
    };
    let images: Vec<Image> = images.iter().map(|image| image.image()).collect();
    let cluster = Cluster::up(&Options { index: Some(index), images: images.clone(), dns })?;
    let guide = Guide::of(&cluster, &images)?;
    cluster.leave_running()?;
    print!("{}", guide.text());
    Ok(())
}

fn build(images: &[ImageArgument]) -> Result<()> {
    let programs = Programs::build()?;
    for program in ["kubectl", "helm"] {
        println!("{}", programs.path(program).display());
    }
    for image in images.iter().map(|image| image.image()) {
        println!("{} {}", programs.image(image)?.display(), image.reference());
    }
    Ok(())
}

/// Becomes another program, so that the terminal and the exit status are its own.
fn replace(command: &mut Command) -> Result<ExitCode> {
    use std::os::unix::process::CommandExt as _;
    let program = Path::new(command.get_program()).display().to_string();
    let error = command.exec();
    bail!("cannot start {program}: {error}")
}

fn block_on(work: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the runtime")?.block_on(work)
}

fn parse_daemon(name: &str) -> Result<Daemon, String> {
    let names = Daemon::ALL.map(Daemon::name).join(", ");
    Daemon::from_name(name).ok_or_else(|| format!("there are {names}"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Arguments;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }
}
