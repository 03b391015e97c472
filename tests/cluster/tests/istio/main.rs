//! Istio mode on a real istiod and Envoy, and leaving Istio and going back: what the controller changes of a
//! VirtualService, what the gateway of Istio then does with requests, and that the gateway of Turnout does the same with
//! the same objects.

mod api;
mod conflict;
mod leaving;
mod patch;
mod recorded;
mod refusal;
mod returning;
mod scene;
mod stages;
mod way;

use std::process::ExitCode;

use turnout_cluster::{Image, Options, Suite};

fn main() -> ExitCode {
    let options = Options { images: vec![Image::Controller, Image::Model, Image::Proxy], ..Options::default() };
    Suite::new("istio", options)
        .node_case("a_patch_changes_two_numbers_or_nothing", patch::changes_two_numbers)
        .node_case("the_five_stages_and_a_rollback_lose_no_request", stages::lose_no_request)
        .node_case("what_others_edit_between_read_and_patch_stays", conflict::is_survived)
        .node_case("a_patch_that_is_refused_is_told_and_outlasted", refusal::is_told_and_outlasted)
        .node_case("leaving_istio_and_going_back_changes_no_answer", leaving::changes_no_answer)
        .run()
}
