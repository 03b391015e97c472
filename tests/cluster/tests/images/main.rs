//! The images that the project's own Dockerfiles make, pulled from a registry and run as the charts run them: Azure ML's
//! inference server with real models behind the gateway. `tests/scoring/images` builds them beforehand.

mod driving;
mod kind;
mod pulled;
mod scene;
mod slow;
mod takeover;

use std::process::ExitCode;

use turnout_cluster::{Dns, Options, Suite};

fn main() -> ExitCode {
    // As on AKS: the charts' own drain times count with it.
    Suite::new("images", Options { dns: Dns::Cached, ..Options::default() })
        .of_the_long_run()
        .node_case("each_image_is_pulled_by_its_digest_and_runs_without_rights", pulled::by_digest_without_rights)
        .node_case("scoring_b_takes_over_from_scoring_a_without_loss", takeover::scoring_b_takes_over_from_scoring_a)
        .node_case(
            "a_model_with_worse_answers_is_turned_back_though_no_request_fails",
            driving::the_better_and_the_worse,
        )
        .node_case("a_slow_model_loses_no_request_though_nobody_waits_for_it", slow::five_stages_with_one_worker)
        .node_case("a_slow_client_holds_no_worker", slow::a_slow_client_holds_no_worker)
        .node_case("kinds_script_installs_up_to_the_first_score", kind::up_to_the_first_score)
        .run()
}
