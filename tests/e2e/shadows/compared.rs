//! What is said of two answers, and of which requests people can look at them.

use super::{DEADLINE, RULE, bed, policy, post, send, settled};
use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use std::net::SocketAddr;
use turnout_tests::bed::{Bed, PORT, service, virtual_service};
use turnout_tests::client::RawRequest;
use turnout_tests::echo::Backends;
use turnout_tests::eventually;
use turnout_tests::scripted::{Answer, ScriptedBackend};
use turnout_verdict::evidence::{Field, Shadow};

/// A model that answers with this JSON.
async fn model(answer: impl Fn(u64) -> Value + Send + Sync + 'static) -> anyhow::Result<ScriptedBackend> {
    Ok(ScriptedBackend::start(move |head| {
        let number = head.target().rsplit('/').next().and_then(|number| number.parse().ok()).unwrap_or_default();
        let body = answer(number).to_string();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-ms-run-fn-exec-ms: 3.5\r\n";
        let bytes = format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes();
        Answer { bytes, closes: false }
    })
    .await?)
}

/// Asks for `/score/0` and so on.
async fn compared(green: SocketAddr, blue: SocketAddr, requests: u64, shadow: &str) -> anyhow::Result<(Bed, Shadow)> {
    let services = service("green", &[green]) + &service("blue", &[blue]);
    let documents = services + &virtual_service(RULE) + &policy(shadow);
    let bed = Bed::over(Backends::start().await?, &documents, &[PORT], &[]).await?;
    for number in 0..requests {
        let response = bed.send(&RawRequest::get(&format!("/score/{number}"))).await?;
        ensure!(response.status == 200, "{response:?}");
    }
    let counted = settled(&bed, requests).await?;
    assert_eq!((counted.pairs, counted.skipped.len()), (requests, 0), "{counted:?}");
    Ok((bed, counted))
}

fn field<'a>(counted: &'a Shadow, path: &str) -> anyhow::Result<&'a Field> {
    counted.fields.iter().find(|field| field.path == path).with_context(|| format!("{path}: {counted:?}"))
}

#[tokio::test]
async fn a_good_candidate_agrees_in_each_field_and_a_wrong_one_differs_in_its_own() -> anyhow::Result<()> {
    const REQUESTS: u64 = 20;
    let stable = |number: u64| json!({ "score": number, "label": "go", "id": 7, "items": [1, number] });
    let green = model(stable).await?;
    let shadow = "percent: 100, noise: 100, methods: [GET], compare: [{path: /id, kind: ignore}]";

    let good = model(move |number| {
        let mut answer = stable(number);
        answer["id"] = json!(8);
        answer
    })
    .await?;
    let (_bed, counted) = compared(green.address(), good.address(), REQUESTS, shadow).await?;
    assert_eq!((counted.noise_pairs, counted.schema_changed), (REQUESTS, 0), "{counted:?}");
    for path in ["/score", "/label", "/items/*", "status"] {
        let field = field(&counted, path)?;
        assert_eq!((field.compared, field.differ, field.noise_differ), (REQUESTS, 0, 0), "{path}");
    }
    ensure!(counted.fields.iter().all(|field| field.path != "/id"), "{counted:?}");

    let wrong = model(move |number| {
        let mut answer = stable(number);
        answer["score"] = json!(number + 1);
        if number % 4 == 0 {
            answer["extra"] = json!(true);
        }
        answer
    })
    .await?;
    let (_bed, counted) = compared(green.address(), wrong.address(), REQUESTS, shadow).await?;
    let score = field(&counted, "/score")?;
    assert_eq!((score.differ, score.noise_differ, score.discordant_candidate), (REQUESTS, 0, REQUESTS));
    assert_eq!(field(&counted, "/label")?.differ, 0);
    assert_eq!(counted.schema_changed, REQUESTS / 4, "{counted:?}");
    Ok(())
}

#[tokio::test]
async fn the_models_own_word_counts_for_how_long_it_took() -> anyhow::Result<()> {
    let (green, blue) = (model(|_| json!(1)).await?, model(|_| json!(1)).await?);
    let (_bed, counted) =
        compared(green.address(), blue.address(), 5, "percent: 100, noise: 0, methods: [GET]").await?;
    let bucket = turnout_verdict::evidence::Histogram::bucket(std::time::Duration::from_micros(3_500));
    let latency = serde_json::to_value(&counted.candidate.latency)?;
    assert_eq!(latency, json!([[bucket, 5]]));
    Ok(())
}

#[tokio::test]
async fn the_worst_pairs_are_shown_to_whoever_asks_for_them_without_what_is_to_be_hidden() -> anyhow::Result<()> {
    let green = model(|_| json!({ "score": 1, "name": "Ada" })).await?;
    let blue = model(|number| json!({ "score": 1 + number, "name": "Ada" })).await?;
    let shadow = "percent: 100, noise: 0, methods: [GET], keepWorst: 2, redact: [/name]";
    let (bed, _) = compared(green.address(), blue.address(), 5, shadow).await?;
    let page = eventually(DEADLINE, || async {
        let page = bed.gateway.admin("/pairs").await?.json()?;
        ensure!(page[0]["pairs"].as_array().is_some_and(|pairs| pairs.len() == 2), "{page}");
        Ok::<_, anyhow::Error>(page)
    })
    .await?;
    let pairs = &page[0];
    assert_eq!(pairs["policy"], "default/split");
    for (at, number) in [(0, 4), (1, 3)] {
        let pair = &pairs["pairs"][at];
        assert_eq!(pair["path"], format!("/score/{number}"));
        assert_eq!(pair["fields"], json!(["/score"]));
        let candidate: Value = serde_json::from_str(pair["candidate"]["body"].as_str().context("a body")?)?;
        assert_eq!(candidate, json!({ "score": 1 + number, "name": "redacted" }));
    }
    ensure!(!page.to_string().contains("Ada"), "{page}");
    Ok(())
}

#[tokio::test]
async fn no_pair_is_kept_unless_the_policy_asks_for_it() -> anyhow::Result<()> {
    let bed = bed(RULE, "percent: 100, noise: 0, methods: [POST]", &[]).await?;
    send(&bed, &post(b"{}")).await?;
    settled(&bed, 1).await?;
    assert_eq!(bed.gateway.admin("/pairs").await?.json()?, json!([]));
    Ok(())
}
