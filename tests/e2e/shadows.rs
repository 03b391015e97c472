//! The candidate asked beside the live request: what it gets, what becomes of its answers, and that nobody waits or fails
//! whatever it does.

mod bounds;
mod compared;
mod ends;
mod faults;
mod sent;

use anyhow::{Context as _, ensure};
use std::time::Duration;
use turnout_tests::bed::{Bed, PORT, documents};
use turnout_tests::client::{RawRequest, RawResponse};
use turnout_tests::echo::{Backends, Received};
use turnout_tests::eventually;
use turnout_verdict::evidence::{Page, Shadow};

const DEADLINE: Duration = Duration::from_secs(30);
/// All of it is stable's.
const RULE: &str =
    "- name: split\n  route: [{destination: {host: green}, weight: 100}, {destination: {host: blue}, weight: 0}]";

/// A policy for the rule `split`, whose candidate is blue, and whose shadow says so much.
fn policy(shadow: &str) -> String {
    format!(
        "---\napiVersion: turnout.dev/v1alpha1\nkind: SplitPolicy\nmetadata: {{name: split, namespace: default}}\n\
         spec:\n  route: {{virtualService: scoring, http: split}}\n  candidate: {{host: blue}}\n  shadow: {{{shadow}}}\n"
    )
}

/// Serves this rule with that shadow.
async fn bed(rule: &str, shadow: &str, arguments: &[&str]) -> anyhow::Result<Bed> {
    let backends = Backends::start().await?;
    let documents = documents(&backends, rule) + &policy(shadow);
    Bed::over(backends, &documents, &[PORT], arguments).await
}

fn post(body: &[u8]) -> RawRequest {
    RawRequest::new("POST", "/score?of=1").header("Host", "scoring.example.com").sized_body(body)
}

/// Sends a request that stable answers.
async fn send(bed: &Bed, request: &RawRequest) -> anyhow::Result<RawResponse> {
    let response = bed.send(request).await?;
    ensure!(response.status == 200 && response.backend() == Some("green"), "{response:?}");
    Ok(response)
}

/// What was counted of copies, under all revisions.
async fn counted(bed: &Bed) -> anyhow::Result<Shadow> {
    let response = bed.gateway.status("/evidence").await?;
    let page: Page = serde_json::from_slice(&response.body).with_context(|| response.text())?;
    let mut all = Shadow::default();
    let epochs = page.policies.iter().flat_map(|policy| &policy.epochs);
    epochs.filter_map(|epoch| epoch.shadow.as_ref()).for_each(|shadow| all.add(shadow));
    Ok(all)
}

/// The same once so many requests that were chosen are over.
async fn settled(bed: &Bed, chosen: u64) -> anyhow::Result<Shadow> {
    eventually(DEADLINE, || async {
        let counted = counted(bed).await?;
        let over = counted.pairs + counted.skipped.values().sum::<u64>();
        ensure!(over == chosen, "{over} of {chosen} are over: {counted:?}");
        Ok(counted)
    })
    .await
}

/// Whether these are all of the reasons, each with its count.
fn ensure_skipped(counted: &Shadow, expected: &[(&str, u64)]) -> anyhow::Result<()> {
    let expected = expected.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect();
    ensure!(counted.skipped == expected, "{counted:?}, not {expected:?}");
    Ok(())
}

/// What this backend has had whole.
fn received(bed: &Bed, name: &str) -> Vec<Received> {
    bed.backends.received().into_iter().filter(|one| one.backend == name && one.body_complete).collect()
}
