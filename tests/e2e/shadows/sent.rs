//! Which requests are copied, and what of them.

use super::{DEADLINE, RULE, Shadow, bed, counted, ensure_skipped, policy, post, received, send, settled};
use anyhow::{Context as _, ensure};
use turnout_tests::bed::{Bed, PORT, service, virtual_service};
use turnout_tests::client::RawRequest;
use turnout_tests::echo::{Backends, Received};
use turnout_tests::eventually;

/// A body that tells its parts apart.
fn body(bytes: usize) -> Vec<u8> {
    (0..=bytes / 8).flat_map(|n| (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).take(bytes).collect()
}

/// The header lines but these, in some order.
fn headers_without(received: &Received, names: &[&str]) -> Vec<(String, String)> {
    let lines = received.headers.0.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
    let mut lines: Vec<_> = lines.filter(|(name, _)| !names.contains(&name.as_str())).collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn the_candidate_gets_the_request_byte_for_byte_and_is_told_what_it_is() -> anyhow::Result<()> {
    let shadow =
        "percent: 100, noise: 0, methods: [POST], maxBodyBytes: 16777216, dropHeaders: [authorization, cookie]";
    let bed = bed(RULE, shadow, &[]).await?;
    let sizes = [0, 1, 60_000, 200_000, 10 << 20];
    for bytes in sizes {
        for chunked in [false, true] {
            bed.backends.clear();
            let body = body(bytes);
            let request = RawRequest::new("POST", "/score?of=1")
                .header("Host", "scoring.example.com")
                .header("Authorization", "secret")
                .header("Cookie", "a=1")
                .header("Accept-Encoding", "gzip")
                .header("X-Turnout-Shadow", "0")
                .header("X-Feature", "x");
            let request = if chunked { request.chunked_body(&body, &[]) } else { request.sized_body(&body) };
            send(&bed, &request).await?;
            let [live, copy] = eventually(DEADLINE, || async {
                let one = |name| received(&bed, name).into_iter().next().with_context(|| format!("{name}: {bytes}"));
                Ok::<_, anyhow::Error>([one("green")?, one("blue")?])
            })
            .await?;
            ensure!(live.body == body && copy.body == body, "{bytes} bytes, chunked: {chunked}");
            ensure!((&live.method, &live.target) == (&copy.method, &copy.target), "{copy:?}");
            let changed = ["authorization", "cookie", "accept-encoding", "x-turnout-shadow"];
            assert_eq!(headers_without(&live, &changed), headers_without(&copy, &changed));
            assert!(copy.headers.first("x-request-id").is_some());
            assert_eq!(changed.map(|name| live.headers.first(name)), [Some("secret"), Some("a=1"), Some("gzip"), None]);
            assert_eq!(changed.map(|name| copy.headers.first(name)), [None, None, Some("identity"), Some("1")]);
        }
    }
    let chosen = 2 * sizes.len() as u64;
    let counted = settled(&bed, chosen).await?;
    assert_eq!((counted.copies, counted.pairs, counted.candidate.requests), (chosen, chosen, chosen), "{counted:?}");
    assert_eq!(counted.candidate.failures.total(), 0);
    Ok(())
}

#[tokio::test]
async fn only_what_the_split_gave_to_stable_is_copied() -> anyhow::Result<()> {
    let rules = "- match: [{headers: {x-api-version: {exact: green}}}]\n  route: [{destination: {host: green}}]\n\
                 - name: split\n  route: [{destination: {host: green}, weight: 50}, {destination: {host: blue}, weight: 50}]";
    let bed = bed(rules, "to: {host: red}, percent: 100, noise: 0, methods: [POST]", &[]).await?;
    for _ in 0..10 {
        ensure!(bed.send(&post(b"{}")).await?.status == 200);
        ensure!(bed.send(&post(b"{}").header("X-Api-Version", "green")).await?.status == 200);
    }
    let counted = settled(&bed, 5).await?;
    assert_eq!((counted.copies, received(&bed, "red").len()), (5, 5), "{counted:?}");
    Ok(())
}

#[tokio::test]
async fn methods_that_the_policy_does_not_list_are_passed_over() -> anyhow::Result<()> {
    let bed = bed(RULE, "percent: 100, noise: 0, methods: [POST]", &[]).await?;
    for method in ["GET", "PUT", "DELETE"] {
        send(&bed, &RawRequest::new(method, "/score").header("Host", "scoring.example.com")).await?;
    }
    let counted = settled(&bed, 3).await?;
    ensure_skipped(&counted, &[("method", 3)])?;
    assert_eq!((counted.copies, received(&bed, "blue").len()), (0, 0));
    Ok(())
}

#[tokio::test]
async fn nothing_is_asked_where_no_percent_is_chosen_and_nothing_counted() -> anyhow::Result<()> {
    let bed = bed(RULE, "percent: 0, noise: 100, methods: [POST]", &[]).await?;
    for _ in 0..5 {
        send(&bed, &post(b"{}")).await?;
    }
    assert_eq!(counted(&bed).await?, Shadow::default());
    assert_eq!((received(&bed, "blue").len(), received(&bed, "green").len()), (0, 5));
    Ok(())
}

#[tokio::test]
async fn stable_is_asked_once_more_at_another_endpoint_with_the_candidates_request() -> anyhow::Result<()> {
    const REQUESTS: usize = 6;
    let backends = Backends::start().await?;
    let stable = [backends.address("green"), backends.address("red")];
    let services = service("stable", &stable) + &service("blue", &[backends.address("blue")]);
    let rule = RULE.replace("host: green", "host: stable");
    let shadow = policy("percent: 100, noise: 100, methods: [POST], dropHeaders: [authorization]");
    let bed = Bed::over(backends, &(services + &virtual_service(&rule) + &shadow), &[PORT], &[]).await?;
    for _ in 0..REQUESTS {
        ensure!(bed.send(&post(b"{}").header("Authorization", "secret")).await?.status == 200);
    }
    let counted = settled(&bed, REQUESTS as u64).await?;
    assert_eq!((counted.pairs, counted.noise_pairs), (REQUESTS as u64, REQUESTS as u64), "{counted:?}");
    let all = bed.backends.received();
    let id = |one: &Received| one.headers.first("x-request-id").map(str::to_owned);
    let is_copy = |one: &&Received| one.headers.first("x-turnout-shadow").is_some();
    for live in all.iter().filter(|one| !is_copy(one)) {
        let copies: Vec<_> = all.iter().filter(is_copy).filter(|one| id(one) == id(live)).collect();
        let [of_blue, again] = copies[..] else { anyhow::bail!("{copies:?}") };
        assert_eq!(of_blue.backend, "blue");
        ensure!(again.backend != live.backend && again.backend != "blue", "{} and {}", live.backend, again.backend);
        assert_eq!((&again.headers, &again.body), (&of_blue.headers, &of_blue.body));
    }
    assert_eq!(all.len(), 3 * REQUESTS);
    Ok(())
}

#[tokio::test]
async fn a_mirror_and_a_shadow_of_one_rule_get_a_copy_each() -> anyhow::Result<()> {
    let rule = format!("{RULE}\n  mirror: {{host: mirror}}");
    let bed = bed(&rule, "percent: 100, noise: 0, methods: [POST]", &[]).await?;
    for bytes in [10, 200_000] {
        send(&bed, &post(&body(bytes))).await?;
    }
    assert_eq!(settled(&bed, 2).await?.pairs, 2);
    eventually(DEADLINE, || async {
        let bodies = |name| received(&bed, name).into_iter().map(|one| one.body.len()).collect::<Vec<_>>();
        ensure!(bodies("mirror") == [10, 200_000] && bodies("blue") == [10, 200_000], "{:?}", bodies("mirror"));
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    let marked = received(&bed, "mirror").iter().filter(|one| one.headers.first("x-turnout-shadow").is_some()).count();
    assert_eq!(marked, 0, "a mirror is none");
    Ok(())
}
