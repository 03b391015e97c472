//! Every damaged routes file of the route language's own tests, swapped into one gateway that serves: none changes a
//! decision, and each is refused by name, with document, field and line.

#[path = "../../proxy/routes/tests/damaged/table.rs"]
mod table;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use table::{DamagedFile, damaged_files};
use turnout_bench::{Label, Load, Pace, Run, Total, Variant};
use turnout_routes::MAX_SOURCE_BYTES;
use turnout_tests::client::{self, RawRequest};
use turnout_tests::echo::Backends;
use turnout_tests::eventually;
use turnout_tests::gateway::{DEADLINE, Gateway, GatewayCommand, Rejected};
use turnout_tests::mount::KubeletMount;
use turnout_tests::routes::{self, KEY, TABLE_HEADER};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_damaged_file_changes_a_decision_and_each_is_refused_by_name() {
    let backends = Backends::start_named(&["green"]).await.expect("loopback has free ports");
    let tables = [1, 2].map(|table| routes::one_service(&[backends.address("green")], table));
    let mut mount = KubeletMount::new(&[(KEY, tables[0].as_bytes())]).expect("the mount is made");
    let gateway = GatewayCommand::new(mount.path()).listen(80).start().await.expect("the gateway starts");
    let load = light_load(&gateway);
    let files = damaged_files();
    assert!(files.len() >= 200, "{} files", files.len());

    let mut wrong = Vec::new();
    for file in &files {
        mount.swap(&[(KEY, &file.bytes)]).expect("the swap works");
        let DamagedFile { name, document, path, line, message, .. } = file;
        match rejection_of(&gateway, file).await {
            Ok(rejected) if names_the_place(&rejected.reason, file) => {}
            other => wrong.push(format!("{name}: wanted line {line}: {document}: {path}: {message}\n    {other:?}")),
        }
        assert_eq!(serving_table(&gateway).await, "1", "{name}");
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), files.len(), wrong.join("\n"));

    load.handle().stop();
    let report = load.report().await;
    assert_eq!(report.failed(), 0, "{:?}", report.first_failures);
    assert_eq!(report.total().answered_by("1"), report.requests(), "{:?}", report.total().answers);
    mount.swap(&[(KEY, tables[1].as_bytes())]).expect("the swap works");
    gateway.wait_for_revision_after(Some(&routes::revision(tables[0].as_bytes()))).await.expect("a good file is taken");
    assert_eq!(serving_table(&gateway).await, "2");
    assert!(!gateway.log().contains("panicked"), "{}", gateway.log());
}

/// Two hundred requests a second, each labelled by the table that answered it.
fn light_load(gateway: &Gateway) -> Run {
    let variant = Variant::get("score", PathAndQuery::from_static("/score"));
    let mut load = Load::new(gateway.address(80), Total::UntilStopped { max_requests: 1_000_000 }, vec![variant]);
    load.connections = 2;
    load.pace = Pace::OpenLoop { requests_per_second: NonZeroU32::MIN.saturating_add(199) };
    load.max_duration = Duration::from_mins(10);
    load.label = Label::By(Arc::new(|answer| Some(answer.headers.get(TABLE_HEADER)?.to_str().ok()?.to_owned())));
    load.start().expect("the load is valid")
}

/// Waits until the gateway has refused this file under its revision.
async fn rejection_of(gateway: &Gateway, file: &DamagedFile) -> anyhow::Result<Rejected> {
    // Of what is too large no more is read than shows it.
    let revision = routes::revision(&file.bytes[..file.bytes.len().min(MAX_SOURCE_BYTES + 1)]);
    let refused = eventually(DEADLINE, || async {
        let revisions = gateway.revisions().await?;
        let rejected = revisions.rejected.clone().filter(|rejected| rejected.revision.as_ref() == Some(&revision));
        rejected.ok_or_else(|| anyhow::anyhow!("{revisions:?} in place of {revision}"))
    });
    refused.await
}

/// Whether one line is `routes.yaml:LINE:COLUMN: DOCUMENT: PATH: ...MESSAGE...`.
fn names_the_place(reason: &str, file: &DamagedFile) -> bool {
    let with_colon = |part: &str| if part.is_empty() { String::new() } else { format!("{part}: ") };
    let place = with_colon(file.document) + &with_colon(&file.path);
    reason.lines().any(|line| {
        let after_line = line.strip_prefix(&format!("{KEY}:{}:", file.line));
        let after_column = after_line.and_then(|rest| rest.split_once(": ")).map(|(_, rest)| rest);
        after_column.and_then(|rest| rest.strip_prefix(&place)).is_some_and(|rest| rest.contains(&file.message))
    })
}

async fn serving_table(gateway: &Gateway) -> String {
    let answer = client::send(gateway.address(80), &RawRequest::get("/score")).await.expect("the gateway answers");
    answer.header(TABLE_HEADER).unwrap_or("none").to_owned()
}
