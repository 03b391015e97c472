//! Asks the gateway what a real Istio was asked, and compares every answer: `cases/README.md` says where the cases come
//! from.
//!
//! Each case has its own gateway process and echo backends. What is different on purpose stands in [`deliberate`]; that
//! list may neither miss a difference nor hold one that is gone.

mod backends;
mod certificates;
mod compare;
mod deliberate;
mod differential;
mod exchange;
mod expectation;
mod family;
mod observation;
mod runner;

use runner::check_family;

#[tokio::test]
async fn connections_are_kept_and_limited_as_in_istio() {
    check_family("connection-pool").await;
}

#[tokio::test]
async fn pages_of_other_origins_are_answered_as_in_istio() {
    check_family("cors").await;
}

#[tokio::test]
async fn delegates_merge_as_in_istio() {
    check_family("delegate").await;
}

#[tokio::test]
async fn destinations_resolve_as_in_istio() {
    check_family("destination").await;
}

#[tokio::test]
async fn what_differed_at_random_is_as_in_istio() {
    check_family("differential").await;
}

#[tokio::test]
async fn direct_responses_are_those_of_istio() {
    check_family("direct-response").await;
}

#[tokio::test]
async fn faults_are_injected_as_in_istio() {
    check_family("fault").await;
}

#[tokio::test]
async fn gateways_serve_the_hosts_that_they_serve_in_istio() {
    check_family("gateway").await;
}

#[tokio::test]
async fn header_operations_are_those_of_istio() {
    check_family("headers").await;
}

#[tokio::test]
async fn endpoints_are_chosen_as_in_istio() {
    check_family("load-balancing").await;
}

#[tokio::test]
async fn matches_are_those_of_istio() {
    check_family("match").await;
}

#[tokio::test]
async fn copies_of_requests_go_where_they_go_in_istio() {
    check_family("mirror").await;
}

#[tokio::test]
async fn age_and_name_order_documents_as_in_istio() {
    check_family("order").await;
}

#[tokio::test]
async fn endpoints_that_fail_are_left_out_as_in_istio() {
    check_family("outlier-detection").await;
}

#[tokio::test]
async fn protocols_are_spoken_as_in_istio() {
    check_family("protocol").await;
}

#[tokio::test]
async fn what_a_proxy_says_and_keeps_back_is_as_in_istio() {
    check_family("proxy-headers").await;
}

#[tokio::test]
async fn redirects_are_those_of_istio() {
    check_family("redirect").await;
}

#[tokio::test]
async fn retries_are_those_of_istio() {
    check_family("retry").await;
}

#[tokio::test]
async fn rewrites_are_those_of_istio() {
    check_family("rewrite").await;
}

#[tokio::test]
async fn the_stages_of_a_rollout_serve_as_in_istio() {
    check_family("seed-scenario").await;
}

#[tokio::test]
async fn timeouts_are_those_of_istio() {
    check_family("timeout").await;
}

#[tokio::test]
async fn namespaces_see_what_they_see_in_istio() {
    check_family("visibility").await;
}

#[tokio::test]
async fn weights_split_as_in_istio() {
    check_family("weights").await;
}

#[tokio::test]
async fn backends_are_spoken_to_over_http2_as_in_istio() {
    check_family("upstream-http2").await;
}

#[tokio::test]
async fn backends_are_spoken_to_over_tls_as_in_istio() {
    check_family("upstream-tls").await;
}

#[tokio::test]
async fn grpc_is_forwarded_as_in_istio() {
    check_family("grpc").await;
}

#[tokio::test]
async fn nobody_waits_longer_for_a_connection_than_in_istio() {
    check_family("connect-timeout").await;
}

#[tokio::test]
async fn copies_have_the_headers_that_they_have_in_istio() {
    check_family("mirror-headers").await;
}
