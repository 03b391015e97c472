//! Turnout where others decide: Argo Rollouts and Flagger, unmodified, write into the VirtualServices and
//! DestinationRules of a cluster that has no Istio, and Turnout's gateways do what stands there.

mod argo;
mod flagger;
mod prometheus;
mod scene;

use std::process::ExitCode;

use turnout_cluster::{Dns, Image, Options, Suite};

fn main() -> ExitCode {
    let images = vec![Image::Controller, Image::Model, Image::Proxy];
    // Drivers move weights when pods are ready, which is before a DNS server that caches tells of them.
    Suite::new("drivers", Options { images, dns: Dns::Cached, ..Options::default() })
        .of_the_long_run()
        .node_case("argo_rollouts_drives_two_services", argo::drives_two_services)
        .node_case("argo_rollouts_drives_two_subsets", argo::drives_two_subsets)
        .node_case("flagger_promotes_and_rolls_back_by_its_own_metrics", flagger::promotes_and_rolls_back)
        .run()
}
