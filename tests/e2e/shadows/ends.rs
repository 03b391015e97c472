//! Copies that are under way when the routes change, or when the gateway ends.

use super::{DEADLINE, RULE, bed, counted, policy, post, received, send};
use anyhow::ensure;
use std::time::Duration;
use turnout_tests::bed::documents;
use turnout_tests::eventually;
use turnout_verdict::evidence::Page;

const SHADOW: &str = "percent: 100, noise: 0, methods: [POST], timeout: 600s";

#[tokio::test]
async fn a_copy_counts_under_the_revision_that_its_request_had() -> anyhow::Result<()> {
    let mut bed = bed(RULE, SHADOW, &["--workers", "1"]).await?;
    send(&bed, &post(b"{}").header("x-echo", "delay=3s; only=blue")).await?;
    let first = bed.gateway.revisions().await?.active;
    let next = documents(&bed.backends, RULE) + &policy(&SHADOW.replace("600s", "500s"));
    let second = bed.publish(&next).await?;
    ensure!(first.as_ref() != Some(&second));
    send(&bed, &post(b"{}")).await?;
    eventually(DEADLINE, || async {
        let page: Page = serde_json::from_slice(&bed.gateway.status("/evidence").await?.body)?;
        let pairs = |revision: Option<&String>| {
            let epochs = page.policies.iter().flat_map(|policy| &policy.epochs);
            let of = epochs.filter(|epoch| Some(&epoch.revision) == revision);
            of.filter_map(|epoch| epoch.shadow.as_ref()).map(|shadow| (shadow.copies, shadow.pairs)).collect::<Vec<_>>()
        };
        ensure!(pairs(first.as_ref()) == [(1, 1)] && pairs(Some(&second)) == [(1, 1)], "{page:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_shadow_that_a_reload_takes_away_begins_no_more_copies() -> anyhow::Result<()> {
    let mut bed = bed(RULE, SHADOW, &["--workers", "1"]).await?;
    send(&bed, &post(b"{}").header("x-echo", "delay=600s; only=blue")).await?;
    let next = documents(&bed.backends, RULE);
    bed.publish(&next).await?;
    for _ in 0..3 {
        send(&bed, &post(b"{}")).await?;
    }
    eventually(DEADLINE, || async {
        let seen = (counted(&bed).await?.copies, received(&bed, "blue").len());
        ensure!(seen == (1, 1), "{seen:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_gateway_that_is_told_to_end_waits_for_no_copy() -> anyhow::Result<()> {
    let bed = bed(RULE, SHADOW, &["--shutdown-delay-ms", "0", "--drain-timeout-ms", "600000"]).await?;
    for _ in 0..5 {
        send(&bed, &post(b"{}").header("x-echo", "delay=600s; only=blue")).await?;
    }
    eventually(DEADLINE, || async {
        let copies = counted(&bed).await?.copies;
        ensure!(copies == 5, "{copies}");
        Ok(())
    })
    .await?;
    bed.gateway.signal("TERM")?;
    let status = bed.gateway.wait_until_exit(Duration::from_mins(1)).await?;
    ensure!(status.success(), "{status}: {}", bed.gateway.log());
    ensure!(!bed.gateway.log().contains("connections were cut"), "{}", bed.gateway.log());
    Ok(())
}
