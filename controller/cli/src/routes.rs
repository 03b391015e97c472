//! `turnout routes`: what the gateways of a cluster have, replica by replica.

use crate::arguments::ClusterArguments;
use crate::client::cluster::{Cluster, Failure, gateways};
use crate::client::view::{GatewayState, GatewayView, short};
use crate::output::{DONE, FAILED, Output, columns, print, print_json, remark};
use crate::terminal::bold;
use anyhow::bail;
use clap::Args;
use serde_json::{Value, json};
use turnout_rollout::{Backend, ModelRollout};

/// Shows what the gateways have: the revision of the routes, the weights of each rule, and what each backend has there.
///
/// Exit code: 0 every gateway has what is published, 1 one does not, refuses it or does not answer, 2 there is no
/// gateway, or no access.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    cluster: ClusterArguments,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<u8> {
    let cluster = Cluster::connect(&arguments.cluster.access.access())?;
    let installation = arguments.cluster.installation.installation();
    let mut pods = match cluster.find_gateways(&installation).await {
        Err(failure) if failure.is_forbidden() => return told(&cluster, &arguments.cluster.output, &failure).await,
        found => found?,
    };
    gateways::narrow(&mut pods, arguments.cluster.access.access().namespace.as_deref());
    if pods.is_empty() {
        bail!("no gateway was found {}", gateways::searched(&installation));
    }
    let published = match cluster.published(&pods).await {
        Ok(published) => published,
        Err(failure) => {
            remark(&format!("turnout: what is published cannot be told: {failure}"));
            None
        }
    };
    let gateways: Vec<GatewayView> = cluster.ask_gateways(pods).await.into_iter().map(|(_, gateway)| gateway).collect();
    let revision = published.as_ref().map(|published| published.revision.as_str());
    match arguments.cluster.output {
        Output::Text => print(&text(&gateways, revision))?,
        Output::Json => print_json(&to_json(&gateways, revision))?,
    }
    let is_well =
        |gateway: &GatewayView| matches!(gateway.state(revision), GatewayState::AsPublished | GatewayState::Unknown);
    Ok(if gateways.iter().all(is_well) { DONE } else { FAILED })
}

/// Whoever may not ask the gateways sees what the controller saw of them, for the rollouts of the namespace that are under
/// way.
async fn told(cluster: &Cluster, output: &Output, failure: &Failure) -> anyhow::Result<u8> {
    let rollouts = cluster.list_rollouts(false).await?.into_iter().flatten();
    let told = |rollout: &ModelRollout| {
        let status = &rollout.status;
        let gateways = status.gateways.iter().map(|told| GatewayView::told(told, status.weights));
        (rollout.id(), gateways.collect::<Vec<_>>())
    };
    let told: Vec<(String, Vec<GatewayView>)> =
        rollouts.map(|rollout| told(&rollout)).filter(|(_, gateways)| !gateways.is_empty()).collect();
    if told.is_empty() {
        bail!(
            "{failure}; what the controller sees of them stands in the rollouts of {} only while one is under way",
            cluster.title()
        );
    }
    remark(&format!("turnout: {failure}; this is what the controller saw of them"));
    match output {
        Output::Text => {
            let mut rows = vec![["ROLLOUT", "GATEWAY", "GREEN", "BLUE", ""].map(str::to_owned).to_vec()];
            for (rollout, gateways) in &told {
                rows.extend(gateways.iter().map(|gateway| {
                    let weight = |backend| gateway.weight(backend).map_or_else(|| "–".to_owned(), |it| it.to_string());
                    let [green, blue] = Backend::BOTH.map(weight);
                    vec![rollout.clone(), gateway.report.id().to_owned(), green, blue, gateway.state(None).to_string()]
                }));
            }
            print(&columns(&rows))?;
        }
        Output::Json => {
            let gateways = |gateways: &[GatewayView]| gateways.iter().map(|it| it.to_json(None)).collect::<Vec<_>>();
            let rollouts = told.iter().map(|(rollout, all)| json!({ "rollout": rollout, "gateways": gateways(all) }));
            print_json(&json!({ "rollouts": rollouts.collect::<Vec<_>>() }))?;
        }
    }
    let is_well = |gateway: &GatewayView| gateway.state(None) == GatewayState::AsPublished;
    Ok(if told.iter().flat_map(|(_, gateways)| gateways).all(is_well) { DONE } else { FAILED })
}

/// One block for each gateway.
fn text(gateways: &[GatewayView], published: Option<&str>) -> String {
    let mut blocks = vec![format!("published: {}", published.map_or("unknown", short))];
    for gateway in gateways {
        let name = bold(gateway.report.id());
        let revision = gateway.report.active().map_or(String::new(), |active| format!("{}, ", short(active)));
        let mut block = format!("{name}: {revision}{}", gateway.state(published));
        if !gateway.splits.is_empty() {
            let heading = ["  ROUTE", "BACKEND", "WEIGHT", "ENDPOINTS", "IN FLIGHT"];
            let mut rows = vec![heading.map(str::to_owned).to_vec()];
            for split in &gateway.splits {
                let mut route = format!("  {}", split.route);
                for share in &split.shares {
                    let numbers = [u64::from(share.weight), share.endpoints.into(), share.in_flight]
                        .map(|number| number.to_string());
                    rows.push([vec![std::mem::take(&mut route), share.backend.clone()], numbers.to_vec()].concat());
                }
            }
            block = format!("{block}\n{}", columns(&rows));
        }
        blocks.push(block);
    }
    blocks.join("\n\n")
}

fn to_json(gateways: &[GatewayView], published: Option<&str>) -> Value {
    let gateway = |gateway: &GatewayView| {
        let mut value = gateway.summary(published);
        value["routes"] = json!(gateway.splits);
        value
    };
    json!({ "published": published, "gateways": gateways.iter().map(gateway).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::view::testing::backends;
    use anstream::adapter::strip_str;

    fn gateways() -> [GatewayView; 2] {
        let active = "0123456789abcdef";
        let revision = json!({"active": active, "language": 1}).to_string();
        let page = backends(Some(active), 80, 20);
        [
            GatewayView::read("gateway-a".to_owned(), revision.as_bytes(), page.as_bytes()),
            GatewayView::silent("gateway-b".to_owned(), "no answer".to_owned()),
        ]
    }

    #[test]
    fn each_gateway_is_told_with_its_rules() {
        let expected = "\
published: 0123456789ab

gateway-a: 0123456789ab, as published
  ROUTE                  BACKEND                          WEIGHT  ENDPOINTS  IN FLIGHT
  ns/model spec.http[0]  blue.ns.svc.cluster.local:5001   1       2          3
  ns/model spec.http[1]  blue.ns.svc.cluster.local:5001   20      2          3
                         green.ns.svc.cluster.local:5001  80      2          3

gateway-b: does not answer: no answer";
        let text = strip_str(&text(&gateways(), Some("0123456789abcdef"))).to_string();
        assert_eq!(text, expected, "\n{text}");
    }

    #[test]
    fn json_has_the_same() {
        let value = to_json(&gateways(), Some("x"));
        assert_eq!(value["gateways"][0]["asPublished"], false);
        assert_eq!(value["gateways"][0]["routes"][1]["shares"][1]["weight"], 80);
        assert_eq!(value["gateways"][1]["problem"], "no answer");
    }
}
