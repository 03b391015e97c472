//! The names that the controller, the command line and the charts share.

/// The API group of [`KIND`].
pub const GROUP: &str = "turnout.dev";
/// Its version.
pub const VERSION: &str = "v1alpha1";
/// The kind of a rollout.
pub use turnout_rollout::KIND;
/// In URLs and roles.
pub const PLURAL: &str = "modelrollouts";

/// What an earlier version has left on rollouts. It is taken away: none may wait for a controller that is gone.
pub const FINALIZER: &str = "turnout.dev/weights";

/// Who writes, as the API server records it.
pub const FIELD_MANAGER: &str = "turnout-controller";

/// On everything that the controller makes, with the value [`FIELD_MANAGER`].
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// On a headless twin: the Service that it stands beside.
pub const TWIN_OF: &str = "turnout.dev/twin-of";

/// On a model's pods: what they serve.
pub use turnout_rollout::REVISION_LABEL as REVISION;
/// On the pods of managed workloads: the rollout that they belong to.
pub const ROLLOUT: &str = "turnout.dev/rollout";
/// On the pods of managed workloads: `green` or `blue`.
pub const BACKEND: &str = "turnout.dev/backend";

/// The key of the published ConfigMap that gateways read.
pub const ROUTES_KEY: &str = "routes.yaml";
/// Another key of it, which gateways do not read: what rollouts govern. Where they cannot be read, or are gone, this says
/// what must stay.
pub const GOVERNED_KEY: &str = "governed.json";
/// On the published ConfigMap: changes with the position of every rollout, so that whoever decided from an older one
/// cannot write any more.
pub const FENCE: &str = "turnout.dev/fence";
/// On the published ConfigMap and the Lease: the release goes, and every controller stands still.
pub const UNINSTALLING: &str = "turnout.dev/uninstalling";
/// On the gateways' pods: a new value makes kubelet sync the pod, and with it the mounted routes, at once.
pub const NUDGE: &str = "turnout.dev/nudge";
