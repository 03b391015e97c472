//! The test cluster: a real Kubernetes node on this machine, compiled from source, without a registry, for suites that
//! need one.
//!
//! Everything runs in network, mount and process namespaces of its own. This machine sees one network link, a few
//! routes, a cgroup and a folder, and none of them once the cluster is down, however the test ended.
//!
//! # A suite
//! A suite is a `[[test]]` with `harness = false` whose `main` runs a [`Suite`]: cases, one after another, on one
//! cluster. It runs where `TURNOUT_SLOW=1`, as root, and with every repeat where `TURNOUT_SLOW=full`; one of the long run
//! ([`Suite::of_the_long_run`]) only there:
//!
//! ```text
//! fn main() -> ExitCode {
//!     let options = Options { images: vec![Image::Proxy, Image::Model], dns: Dns::Cached, ..Options::default() };
//!     Suite::new("canary", options).case("a_canary_gets_its_share", a_canary_gets_its_share).run()
//! }
//!
//! fn a_canary_gets_its_share(cluster: &Cluster) -> anyhow::Result<()> {
//!     let green = Model::new("model-svc-green", "green", "New Model A", "r1");
//!     cluster.create_namespace("canary")?;
//!     cluster.apply("canary", &green.objects().to_string())?;
//!     cluster.wait_for_rollout("canary", "deployment", "model-svc-green", Duration::from_mins(1))?;
//!     cluster.helm(&["install", "turnout", "charts/turnout", "--namespace", "canary"])?;
//!     let address = cluster.give_address("canary", "turnout")?;
//!     let load = LoadProcess::start(cluster, &LoadSpec::new((address, 80).into()).with(RequestKind::split()))?;
//!     // ... and when everything has happened:
//!     let report = load.finish()?;
//!     assert_eq!(report.failed, 0, "{report:?}");
//!     Ok(())
//! }
//! ```
//!
//! | to | there is |
//! |---|---|
//! | read and write objects | [`Cluster::apply`], [`Cluster::get`], [`Cluster::list`], [`Cluster::patch`] |
//! | run the usual tools | [`Cluster::kubectl`], [`Cluster::helm`] |
//! | wait | [`Cluster::wait_until`], [`Cluster::wait_for_rollout`]; their errors show pods, events and logs |
//! | serve models | [`Model`], and [`Cluster::tell_model`] to make one unready or slow |
//! | install the chart | [`release`] |
//! | run what README prints | [`readme`] |
//! | have models, routes, a rollout and a gateway | [`Scene`] |
//! | be driven by Argo Rollouts or Flagger | [`Driver`] |
//! | upgrade from the release before | [`Former`] |
//! | run the images of the project's own Dockerfiles | [`Registry`] |
//! | hold answers against weights | [`SplitLoad`] |
//! | be the cloud | [`Cluster::give_address`] |
//! | send load, ask once | [`LoadProcess`], [`client`], [`Cluster::resolve`] |
//! | disturb | [`Cluster::stop`] and [`Cluster::start`] of a [`Daemon`], [`Cluster::exec`] |
//!
//! # By hand
//! `cargo run -p turnout-cluster -- up` starts a cluster that stays and says what a shell needs to use it, `-- down` takes
//! it down; `-- --help` says the rest.
//! The programs are compiled on first use, which takes five minutes with an empty Go build cache and seconds with a full one.
//!
//! # An existing cluster
//! `TURNOUT_TEST_KUBECONFIG=FILE` makes suites use the cluster of that kubeconfig, with the `kubectl` and `helm` on the
//! search path. Its pods pull the images of [`Image::OWN`] as `TURNOUT_TEST_IMAGES/NAME:dev`, which must be there, and
//! cases that need a node of their own are left out. `TURNOUT_TEST_KEEP_LOGS=FOLDER` keeps the logs of the daemons.

mod addresses;
mod build;
pub mod client;
mod cluster;
#[doc(hidden)]
pub mod command_line;
mod control;
mod drivers;
mod guide;
pub mod istio;
mod keeper;
mod lines;
mod load;
mod model;
mod node;
mod process;
pub mod readme;
pub mod release;
mod resolve;
pub mod scene;
mod site;
mod split;
mod step;
mod suite;

pub use addresses::Addresses;
pub use build::{Former, Image, Programs, repository, write_model_image};
pub use cluster::{Cluster, Daemon, Dns, NODE, Options, Registry};
pub use drivers::Driver;
pub use load::{KindReport, LoadProcess, LoadReport, LoadSpec, RequestKind, ToldBy};
pub use model::{Model, PORT, probe, release_values};
pub use scene::Scene;
pub use split::{HEADER, SplitLoad};
pub use suite::{Case, Suite, is_full};
