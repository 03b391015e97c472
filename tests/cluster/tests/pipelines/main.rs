//! The pipeline of `.pipelines/abtest.yml` on a real node: `tests/pipelines/pipeline` runs the steps of the YAML, stage by
//! stage, with real helm, kubectl and `turnout`, while users send requests, of which none may fail.

mod failing;
mod good;
mod people;
mod team;

use std::process::ExitCode;

use turnout_cluster::{Image, Options, Suite};

fn main() -> ExitCode {
    let images = vec![Image::Controller, Image::Proxy];
    Suite::new("pipelines", Options { images, ..Options::default() })
        .node_case("a_first_model_needs_no_green", good::a_first_model_needs_no_green)
        .node_case("a_model_of_the_sample_is_taken_over", good::a_model_of_the_sample_is_taken_over)
        .node_case("a_failing_model_goes_back_from_every_stage", failing::a_failing_model_goes_back_from_every_stage)
        .node_case("what_people_decide_holds", people::what_people_decide_holds)
        .run()
}
