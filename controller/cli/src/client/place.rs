//! Where rollouts are: in a cluster, or in a directory on this machine. The verbs know only [`Place`]; what each of them
//! is in the one and in the other stands here side by side.
//!
//! This file, `access.rs`, `client.rs` and `main.rs` alone know whether the build has access to clusters.

use super::access::{Access, Change, Installation};
#[cfg(feature = "cluster")]
use super::cluster::Cluster;
use super::directory::Directory;
use super::view::View;
use super::{look, observe::check_revision};
use anyhow::bail;
use std::time::Duration;
use turnout_rollout::{CommandError, ModelRollout};

/// How often a directory is looked at by those who wait: reading it costs next to nothing.
const LOCAL_TICK: Duration = Duration::from_millis(50);

/// Where rollouts are.
#[derive(Debug)]
pub(crate) enum Place {
    /// In a directory on this machine.
    Local(Directory),
    /// In a cluster.
    #[cfg(feature = "cluster")]
    Cluster(Cluster),
}

#[cfg(feature = "cluster")]
impl Place {
    /// The cluster that this gives access to.
    pub(crate) fn of_cluster(access: &Access) -> anyhow::Result<Self> {
        Cluster::connect(access).map(Self::Cluster)
    }
}

#[cfg(not(feature = "cluster"))]
impl Place {
    /// There is none.
    pub(crate) fn of_cluster(_: &Access) -> anyhow::Result<Self> {
        bail!("this build has no access to clusters: give --local DIR, the directory of `turnout local --dir DIR`")
    }
}

impl Place {
    /// Every rollout, and of each that cannot be read, why; of the namespace, unless they are asked for `everywhere`.
    #[cfg_attr(not(feature = "cluster"), expect(clippy::unused_async, reason = "as with access to clusters"))]
    pub(crate) async fn list(&self, everywhere: bool) -> anyhow::Result<Vec<anyhow::Result<ModelRollout>>> {
        match self {
            Self::Local(_) if everywhere => bail!("--all-namespaces is for clusters: a directory has no namespaces"),
            Self::Local(directory) => {
                Ok(directory.rollout_names()?.iter().map(|name| directory.read_rollout(name)).collect())
            }
            #[cfg(feature = "cluster")]
            Self::Cluster(cluster) => Ok(cluster.list_rollouts(everywhere).await?),
        }
    }

    /// The name of the only rollout.
    #[cfg_attr(not(feature = "cluster"), expect(clippy::unused_async, reason = "as with access to clusters"))]
    pub(crate) async fn only_name(&self) -> anyhow::Result<String> {
        let names = match self {
            Self::Local(directory) => directory.rollout_names()?,
            #[cfg(feature = "cluster")]
            Self::Cluster(_) => {
                let listed = self.list(false).await?.into_iter();
                listed.map(|rollout| Ok(rollout?.metadata.name)).collect::<anyhow::Result<_>>()?
            }
        };
        match names.as_slice() {
            [only] => Ok(only.clone()),
            [] => bail!("there is no rollout in {}", self.title()),
            several => bail!("there are several rollouts in {}, name one: {}", self.title(), several.join(", ")),
        }
    }

    /// A rollout with its status.
    #[cfg_attr(not(feature = "cluster"), expect(clippy::unused_async, reason = "as with access to clusters"))]
    pub(crate) async fn read(&self, name: &str) -> anyhow::Result<ModelRollout> {
        match self {
            Self::Local(directory) => directory.read_rollout(name),
            #[cfg(feature = "cluster")]
            Self::Cluster(cluster) => cluster.read_rollout(name).await,
        }
    }

    /// Changes the spec of a rollout, and returns the rollout with what was done. What the rollout does not allow is a
    /// [`CommandError`]; see [`Place::refusal`].
    #[cfg_attr(not(feature = "cluster"), expect(clippy::unused_async, reason = "as with access to clusters"))]
    pub(crate) async fn edit(&self, name: &str, change: &mut Change<'_>) -> anyhow::Result<(ModelRollout, String)> {
        match self {
            Self::Local(directory) => directory.edit_rollout(name, |rollout| Ok(change(rollout)?)),
            #[cfg(feature = "cluster")]
            Self::Cluster(cluster) => cluster.edit_rollout(name, change).await,
        }
    }

    /// Whether a revision can be rolled out here. In a cluster its models need not carry it as a label.
    pub(crate) fn check_revision(&self, revision: &str) -> anyhow::Result<()> {
        match self {
            Self::Local(_) => check_revision(revision),
            #[cfg(feature = "cluster")]
            Self::Cluster(_) => Ok(()),
        }
    }

    /// What is there around a rollout.
    pub(crate) async fn look(&self, rollout: &ModelRollout, installation: &Installation) -> anyhow::Result<View> {
        match self {
            Self::Local(_) if installation.gateway_namespace.is_some() => {
                bail!("--gateway-namespace is for clusters: a directory has no namespaces")
            }
            Self::Local(directory) => look::around(directory, rollout).await,
            #[cfg(feature = "cluster")]
            Self::Cluster(cluster) => Ok(cluster.look_around(rollout, installation).await),
        }
    }

    /// What keeps a pod from being ready that the rollout waits for. A directory says it as a problem.
    #[cfg_attr(not(feature = "cluster"), expect(clippy::unused_async, reason = "as with access to clusters"))]
    pub(crate) async fn trouble(&self, rollout: &ModelRollout) -> Option<String> {
        match self {
            Self::Local(_) => {
                let _ = rollout;
                None
            }
            #[cfg(feature = "cluster")]
            Self::Cluster(cluster) => cluster.trouble(rollout).await,
        }
    }

    /// Returns when the rollout may have changed, at the latest after `patience`.
    pub(crate) async fn changed(&self, rollout: &ModelRollout, patience: Duration) {
        match self {
            Self::Local(_) => {
                let _ = rollout;
                tokio::time::sleep(LOCAL_TICK.min(patience)).await;
            }
            #[cfg(feature = "cluster")]
            Self::Cluster(cluster) => cluster.rollout_changed(rollout, patience).await,
        }
    }

    /// What keeps a directory's driver from doing as the files say. A cluster's controller says that in the status.
    pub(crate) fn problems(&self) -> Vec<String> {
        match self {
            Self::Local(directory) => directory.problems(),
            #[cfg(feature = "cluster")]
            Self::Cluster(_) => Vec::new(),
        }
    }

    /// Whether a directory has a driver. Whether a cluster has a controller is for `turnout check` to say.
    #[cfg_attr(not(feature = "cluster"), expect(clippy::unnecessary_wraps, reason = "as with access to clusters"))]
    pub(crate) fn is_driven(&self) -> Option<bool> {
        match self {
            Self::Local(directory) => Some(directory.is_driven()),
            #[cfg(feature = "cluster")]
            Self::Cluster(_) => None,
        }
    }

    /// What to do if a directory has no driver.
    pub(crate) fn advice(&self) -> Option<String> {
        match self {
            Self::Local(directory) => directory.advice(),
            #[cfg(feature = "cluster")]
            Self::Cluster(_) => None,
        }
    }

    /// The namespace that a command takes which names none. A directory has no namespaces.
    pub(crate) fn context_namespace(&self) -> Option<&str> {
        match self {
            Self::Local(_) => None,
            #[cfg(feature = "cluster")]
            Self::Cluster(cluster) => Some(&cluster.context_namespace),
        }
    }

    /// For messages.
    pub(crate) fn title(&self) -> String {
        match self {
            Self::Local(directory) => directory.root().display().to_string(),
            #[cfg(feature = "cluster")]
            Self::Cluster(cluster) => cluster.title(),
        }
    }

    /// Why a rollout does not allow what was asked, if the error is that.
    pub(crate) fn refusal(error: &anyhow::Error) -> Option<String> {
        #[cfg(feature = "cluster")]
        if let Some(failure) = error.downcast_ref::<super::cluster::Failure>().filter(|failure| failure.is_refusal()) {
            return Some(failure.to_string());
        }
        error.downcast_ref::<CommandError>().map(ToString::to_string)
    }

    /// Whether an error may be over in a moment, as while an API server starts again: who waits goes on waiting.
    pub(crate) fn is_passing(error: &anyhow::Error) -> bool {
        #[cfg(feature = "cluster")]
        if let Some(failure) = error.downcast_ref::<super::cluster::Failure>() {
            return failure.is_passing();
        }
        let _ = error;
        false
    }
}
