//! Rollouts with Turnout's own gateway on a real node: the chart is installed as a user would, `turnout` promotes and
//! rolls back, and load from the node holds every answer against the weights.

mod accepted;
mod access;
mod confirm;
mod controller;
mod crash;
mod default_install;
mod deleted_namespace;
mod init;
mod kept;
mod loss;
mod managed;
mod misfit;
mod objects;
mod pins;
mod readme;
mod renamed;
mod rights;
mod sample;
mod stages;
mod steps;
mod uninstall;
mod unlabelled;
mod users;

use std::process::ExitCode;

use turnout_cluster::{Image, Options, Suite};

fn main() -> ExitCode {
    let images = Image::OWN.into_iter().chain([Image::OtherModel]).collect();
    let options = Options { images, ..Options::default() };
    Suite::new("rollout", options)
        .node_case("the_readme_runs_as_printed", readme::the_readme_runs_as_printed)
        .node_case("the_samples_users_reach_green_100_as_printed", sample::the_samples_users_reach_green_100_as_printed)
        .case(
            "a_rollout_of_the_samples_chart_outlives_every_upgrade",
            kept::a_rollout_of_the_samples_chart_outlives_every_upgrade,
        )
        .case("five_stages_lose_no_request", stages::five_stages_lose_no_request)
        .case("a_rollback_from_each_stage_loses_no_request", stages::a_rollback_from_each_stage_loses_no_request)
        .case("a_pipeline_goes_through_its_steps", steps::a_pipeline_goes_through_its_steps)
        .case("a_promotion_is_confirmed_by_three_gateways", confirm::a_promotion_is_confirmed_by_three_gateways)
        .case("weight_leaves_a_lost_backend_and_returns", loss::weight_leaves_a_lost_backend_and_returns)
        .case("a_lost_backend_rolls_back_where_that_is_wanted", loss::a_lost_backend_rolls_back_where_that_is_wanted)
        .case("weight_stays_where_nobody_else_is_ready", loss::weight_stays_where_nobody_else_is_ready)
        .case("virtual_services_are_followed_without_istio", objects::virtual_services_are_followed_without_istio)
        .node_case("a_killed_controller_is_no_loss", crash::a_killed_controller_is_no_loss)
        .node_case("a_wrong_clock_makes_no_second_leader", crash::a_wrong_clock_makes_no_second_leader)
        .case("one_of_two_controllers_leads", crash::one_of_two_controllers_leads)
        .case("managed_models_come_and_go_without_loss", managed::managed_models_come_and_go_without_loss)
        .case("pins_at_full_load_keep_nothing_back", pins::pins_at_full_load_keep_nothing_back)
        .node_case("images_tell_revisions_apart", unlabelled::images_tell_revisions_apart)
        .case("labels_tell_revisions_of_one_image_apart", unlabelled::labels_tell_revisions_of_one_image_apart)
        .case("what_does_not_fit_changes_no_weight", misfit::what_does_not_fit_changes_no_weight)
        .case("going_back_needs_no_documents", misfit::going_back_needs_no_documents)
        .case("a_renamed_service_changes_no_weight", renamed::a_renamed_service_changes_no_weight)
        .case("a_deleted_namespace_is_no_other_ones_loss", deleted_namespace::a_deleted_namespace_is_no_other_ones_loss)
        .case("a_missing_right_is_said_and_costs_nothing", rights::a_missing_right_is_said_and_costs_nothing)
        .case("users_have_what_their_role_gives_them", users::users_have_what_their_role_gives_them)
        .node_case("a_login_and_a_proxy_lead_to_the_api_server", access::a_login_and_a_proxy_lead_to_the_api_server)
        .node_case("what_init_prints_is_all_that_a_rollout_needs", init::what_init_prints_is_all_that_a_rollout_needs)
        .case("the_chart_tests_itself", accepted::the_chart_tests_itself)
        .case("model_rollouts_are_accepted_and_refused", accepted::model_rollouts_are_accepted_and_refused)
        .case("every_rendering_of_the_chart_is_accepted", accepted::every_rendering_of_the_chart_is_accepted)
        .node_case(
            "istios_definitions_are_refused_beside_aks_routing",
            accepted::istios_definitions_are_refused_beside_aks_routing,
        )
        .case(
            "a_default_installation_is_complete_before_its_first_routes",
            default_install::a_default_installation_is_complete_before_its_first_routes,
        )
        .case("uninstalling_leaves_what_the_user_owns", uninstall::uninstalling_leaves_what_the_user_owns)
        .case(
            "without_hooks_nothing_waits_for_a_controller_that_is_gone",
            uninstall::without_hooks_nothing_waits_for_a_controller_that_is_gone,
        )
        .run()
}
