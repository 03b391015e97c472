//! Runs the cases of a family, several at a time, and fails with the list of every difference.

use std::slice;

use anyhow::Context as _;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use turnout_tests::gateway::{Gateway, GatewayCommand, proxy_binary};
use turnout_tests::mount::KubeletMount;

use crate::backends::Scene;
use crate::certificates;
use crate::compare::{Difference, compare};
use crate::deliberate::{DELIBERATE, Deliberate, REFUSED, Refused};
use crate::family::{Case, Family};
use crate::observation::{Ports, perform};

/// How many cases run at a time, over all families.
static RUNNING: Semaphore = Semaphore::const_new(4);

/// The Gateway ports that documents and expectations name. No socket is bound to them: each stands for a listener on a
/// free port, as the port of a Service stands for one in a cluster.
pub(crate) const GATEWAY_PORTS: [(&str, u16); 3] = [("GATEWAY", 18_080), ("GATEWAY2", 18_081), ("GATEWAY_TLS", 18_443)];

/// As much of a request as tells it from others, in characters.
const SHOWN: usize = 100;

/// How often a case is looked at that is not as in Istio: of what is counted within a time there is less on a busy machine.
const LOOKS: usize = 3;

/// Runs every case of `cases/NAME.yaml` and panics with what differs from Istio and is not deliberate. The environment
/// variable `PARITY_ONLY` limits the run to the cases whose `family/case` contains it.
pub(crate) async fn check_family(name: &str) {
    let family = Family::load(name).unwrap_or_else(|error| panic!("{error:#}"));
    if let Err(error) = proxy_binary() {
        panic!("{error:#}");
    }
    let only = std::env::var("PARITY_ONLY").unwrap_or_default();
    let mut running = JoinSet::new();
    for (index, case) in family.cases.into_iter().enumerate() {
        if case.name.contains(&only) {
            running.spawn(async move {
                let _turn = RUNNING.acquire().await.expect("the semaphore is never closed");
                (index, run(case).await)
            });
        }
    }
    let mut outcomes = running.join_all().await;
    outcomes.sort_by_key(|(index, _)| *index);
    let outcomes: Vec<_> = outcomes.into_iter().map(|(_, outcome)| outcome).collect();
    let problems = judge(&outcomes, DELIBERATE);
    assert!(problems.is_empty(), "{} problems in {} cases:\n{}", problems.len(), outcomes.len(), problems.join("\n"));
}

/// What came of one case.
#[derive(Debug)]
struct Outcome {
    case: String,
    /// The differences found, or why the case could not be run.
    found: anyhow::Result<Vec<Found>>,
}

/// A difference and the request in which it was found.
#[derive(Debug)]
struct Found {
    /// From 1.
    request: usize,
    /// Method and path.
    sent: String,
    difference: Difference,
}

async fn run(case: Case) -> Outcome {
    let mut outcome = look(&case).await;
    for _ in 1..LOOKS {
        let problems = judge(slice::from_ref(&outcome), DELIBERATE);
        if problems.is_empty() {
            break;
        }
        println!("looked at again: {}", problems.join("\n"));
        outcome = look(&case).await;
    }
    outcome
}

async fn look(case: &Case) -> Outcome {
    let refused = REFUSED.iter().find(|refused| refused.case == case.name);
    let found = match refused {
        Some(refused) => run_refused(case, refused).await.map(|()| Vec::new()),
        None => run_served(case).await,
    };
    Outcome { case: case.name.clone(), found }
}

/// Asks the gateway everything that the case asks.
async fn run_served(case: &Case) -> anyhow::Result<Vec<Found>> {
    let scene = Scene::start(case).await?;
    let requests = case.requests(&scene.placeholders)?;
    let routes = KubeletMount::new(&[("routes.yaml", case.documents(&scene.placeholders).as_bytes())])?;
    let secrets = certificates::secrets()?;
    let credentials = ["--credentials".as_ref(), secrets.path().as_os_str()].map(|word| word.to_string_lossy());
    let gateway = command(case, &routes).args(&credentials.each_ref().map(|word| &**word)).start().await?;
    let ports = ports(case, &gateway);
    let mut found = Vec::new();
    for (index, request) in requests.iter().enumerate() {
        let seen = perform(request, &ports, &scene.backends).await?;
        let sent = match &request.send.raw {
            Some(raw) => raw.lines().next().unwrap_or_default().to_owned(),
            None => format!("{} {}", request.send.method, request.send.path),
        };
        let sent: String = sent.chars().take(SHOWN).collect();
        for difference in compare(&request.expect, &seen) {
            found.push(Found { request: index + 1, sent: sent.clone(), difference });
        }
    }
    Ok(found)
}

/// Sees the gateway refuse the documents and say what it does not support.
async fn run_refused(case: &Case, refused: &Refused) -> anyhow::Result<()> {
    let documents = case.documents(&Scene::start(case).await?.placeholders);
    let routes = KubeletMount::new(&[("routes.yaml", documents.as_bytes())])?;
    let gateway = command(case, &routes).spawn().await?;
    let rejected = gateway.wait_for_rejection().await;
    let rejected = rejected.with_context(|| format!("{} is in the list of refused cases", case.name))?;
    let named = rejected.reason.contains(refused.said);
    anyhow::ensure!(named, "the reason does not name {}: {}", refused.said, rejected.reason);
    Ok(())
}

/// The Gateway ports that the documents of a case name.
fn named_ports(case: &Case) -> impl Iterator<Item = (&'static str, u16)> {
    let named = |(name, _): &(&str, u16)| case.names(name);
    GATEWAY_PORTS.into_iter().filter(named)
}

fn command(case: &Case, routes: &KubeletMount) -> GatewayCommand {
    let arguments = ["--workers", "2", "--envoy-headers", "--namespace", "istio-system"];
    let command = GatewayCommand::new(routes.path()).args(&arguments);
    named_ports(case).fold(command, |command, (_, port)| command.listen(port))
}

fn ports(case: &Case, gateway: &Gateway) -> Ports {
    named_ports(case).map(|(name, port)| (name, gateway.address(port))).collect()
}

/// Everything that is wrong: cases that could not be run, differences that are not deliberate, and what is listed (of the
/// cases that ran) and does not differ.
fn judge(outcomes: &[Outcome], deliberate: &[Deliberate]) -> Vec<String> {
    let mut problems = Vec::new();
    for Outcome { case, found } in outcomes {
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                problems.push(format!("{case}: {error:#}"));
                continue;
            }
        };
        for Found { request, sent, difference } in found {
            if !deliberate.iter().any(|entry| entry.covers(case, *request, &difference.field)) {
                problems.push(format!("{case} request {request} ({sent}): {difference}"));
            }
        }
        for Deliberate { requests, fields, reason, .. } in deliberate.iter().filter(|entry| entry.case == case) {
            for (request, field) in requests.iter().flat_map(|request| fields.iter().map(move |field| (request, field)))
            {
                if !found.iter().any(|found| found.request == *request && found.difference.field == *field) {
                    let gone = "no longer differs: take it off the list";
                    problems.push(format!("{case} request {request}: {field} {gone} ({reason})"));
                }
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests;
