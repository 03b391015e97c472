//! The test cluster itself: what the other suites take for granted.

mod disturbance;
mod models;
mod node;

use std::num::NonZeroU32;
use std::process::ExitCode;
use std::time::Duration;

use turnout_cluster::{Image, Options, Suite};

/// The namespace of everything in here.
const NAMESPACE: &str = "bed";

/// Requests a second: enough to meet every moment, and little enough for a busy machine.
const RATE: NonZeroU32 = NonZeroU32::new(400).expect("400 is above 0");

/// Far longer than anything here takes; a kubelet that lost its API server may look away for a minute or two.
const DEADLINE: Duration = Duration::from_mins(5);

fn main() -> ExitCode {
    let options = Options { images: vec![Image::Model], ..Options::default() };
    Suite::new("bed", options)
        .case("the_node_is_ready_and_is_kubernetes_1_34", node::the_node_is_ready_and_is_kubernetes_1_34)
        .case("models_roll_out_behind_a_service", models::models_roll_out_behind_a_service)
        .node_case("cluster_dns_has_the_ready_pods", node::cluster_dns_has_the_ready_pods)
        .node_case("a_load_balancer_answers_on_both_sides", models::a_load_balancer_answers_on_both_sides)
        .node_case("an_unready_model_leaves_its_service", models::an_unready_model_leaves_its_service)
        .node_case("a_rolling_update_under_load_loses_nothing", models::a_rolling_update_under_load_loses_nothing)
        .node_case("a_nudge_refreshes_a_mounted_config_map", models::a_nudge_refreshes_a_mounted_config_map)
        .case("helm_installs_and_removes_a_chart", node::helm_installs_and_removes_a_chart)
        .node_case("models_serve_on_without_an_api_server", disturbance::models_serve_on_without_an_api_server)
        .node_case("restarted_daemons_leave_pods_alone", disturbance::restarted_daemons_leave_pods_alone)
        .node_case("a_second_cluster_has_addresses_of_its_own", disturbance::a_second_cluster_has_addresses_of_its_own)
        .run()
}
