//! Which cluster is asked, where Turnout is in it, and what may be changed there.

use std::path::PathBuf;
use turnout_rollout::{CommandError, ModelRollout};

/// Which cluster, and which of its namespaces; what is not named is what kubectl would take.
#[derive(Clone, Debug, Default)]
#[cfg_attr(not(feature = "cluster"), expect(dead_code, reason = "as with access to clusters"))]
pub(crate) struct Access {
    /// The kubeconfig file.
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig.
    pub(crate) context: Option<String>,
    /// The namespace of the rollouts.
    pub(crate) namespace: Option<String>,
}

/// Where Turnout itself is installed in the cluster; everywhere that one may look into, if nothing says that.
#[derive(Clone, Debug, Default)]
pub(crate) struct Installation {
    /// The namespace of its gateways and its controller.
    pub(crate) gateway_namespace: Option<String>,
}

/// A change of a spec: what was done, in words, or why it cannot be done. It is made anew from what is there whenever
/// somebody else was faster.
pub(crate) type Change<'a> = dyn FnMut(&mut ModelRollout) -> Result<String, CommandError> + 'a;
