//! The arguments that several verbs share: where rollouts are, and where Turnout is installed.

use crate::client::access::{Access, Installation};
use crate::client::directory::Directory;
use crate::client::place::Place;
#[cfg(feature = "cluster")]
use crate::output::Output;
use crate::suggest::Suggest;
use anyhow::bail;
use clap::Args;
use std::path::PathBuf;

/// Where rollouts are.
#[derive(Args, Clone)]
pub(crate) struct PlaceArguments {
    /// The directory of `turnout local --dir DIR`, instead of a cluster.
    #[arg(long, value_name = "DIR", env = "TURNOUT_LOCAL", global = true)]
    local: Option<PathBuf>,

    #[command(flatten)]
    access: AccessArguments,
}

/// Which cluster, and which of its namespaces.
#[derive(Args, Clone)]
pub(crate) struct AccessArguments {
    /// The kubeconfig file [default: those of the variable KUBECONFIG, else ~/.kube/config, else the service account of
    /// the pod that this runs in].
    #[arg(long, value_name = "FILE", env = "TURNOUT_KUBECONFIG", global = true, help_heading = "Cluster")]
    kubeconfig: Option<PathBuf>,

    /// The context of the kubeconfig [default: its current one].
    #[arg(long, value_name = "NAME", env = "TURNOUT_CONTEXT", global = true, help_heading = "Cluster")]
    context: Option<String>,

    /// The namespace of the rollouts [default: that of the context].
    #[arg(short = 'n', long, value_name = "NAME", env = "TURNOUT_NAMESPACE", global = true, help_heading = "Cluster")]
    namespace: Option<String>,
}

/// Where Turnout itself is installed in the cluster.
#[derive(Args, Clone)]
pub(crate) struct InstallationArguments {
    /// The namespace where Turnout is installed: its gateways and its controller [default: all that you may look into].
    #[arg(long, value_name = "NAME", env = "TURNOUT_GATEWAY_NAMESPACE", help_heading = "Cluster")]
    gateway_namespace: Option<String>,
}

/// What a verb needs that looks at an installation.
#[derive(Args)]
#[cfg(feature = "cluster")]
pub(crate) struct ClusterArguments {
    #[command(flatten)]
    pub(crate) access: AccessArguments,

    #[command(flatten)]
    pub(crate) installation: InstallationArguments,

    /// How to print the result.
    #[arg(short = 'o', long, value_enum, env = "TURNOUT_OUTPUT", default_value = "text")]
    pub(crate) output: Output,
}

impl PlaceArguments {
    /// The place, or what to do without one.
    pub(crate) fn open(&self) -> anyhow::Result<Place> {
        let AccessArguments { kubeconfig, context, namespace } = &self.access;
        let Some(path) = &self.local else { return Place::of_cluster(&self.access.access()) };
        if kubeconfig.is_some() || context.is_some() || namespace.is_some() {
            bail!(
                "--local names a directory; --kubeconfig, --context and --namespace are for clusters: give one or the \
                 other (TURNOUT_LOCAL and the other variables count as well)"
            );
        }
        Ok(Place::Local(Directory::existing(path)?))
    }

    /// How commands are suggested that are to reach this place.
    pub(crate) fn suggest(&self, place: &Place) -> Suggest {
        match &self.local {
            Some(path) => Suggest::new(&[("--local", "TURNOUT_LOCAL", Some(path.as_os_str()))], None),
            None => self.access.suggest(place.context_namespace()),
        }
    }
}

impl AccessArguments {
    /// As a client takes it.
    pub(crate) fn access(&self) -> Access {
        let Self { kubeconfig, context, namespace } = self.clone();
        Access { kubeconfig, context, namespace }
    }

    /// As [`PlaceArguments::suggest`].
    pub(crate) fn suggest(&self, context_namespace: Option<&str>) -> Suggest {
        let kubeconfig = self.kubeconfig.as_ref().map(|path| path.as_os_str());
        let context = self.context.as_ref().map(AsRef::as_ref);
        let given = [("--kubeconfig", "TURNOUT_KUBECONFIG", kubeconfig), ("--context", "TURNOUT_CONTEXT", context)];
        Suggest::new(&given, context_namespace)
    }
}

impl InstallationArguments {
    /// As a client takes it.
    pub(crate) fn installation(&self) -> Installation {
        Installation { gateway_namespace: self.gateway_namespace.clone() }
    }
}

#[derive(Args)]
pub(crate) struct Name {
    /// The rollout [default: the only one].
    name: Option<String>,
}

impl Name {
    /// The name that was given, or that of the only rollout.
    pub(crate) async fn of(&self, place: &Place) -> anyhow::Result<String> {
        match &self.name {
            Some(name) => Ok(name.clone()),
            None => place.only_name().await,
        }
    }
}
