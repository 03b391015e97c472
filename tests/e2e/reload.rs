//! Reloads under load: kubelet's swaps and what people do with plain files. The routes in effect are known from the
//! responses, since each table sets a header of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use http::uri::PathAndQuery;
use turnout_bench::{Answer, Load, Protocol, Run, Total, Variant};
use turnout_routes::Source;
use turnout_tests::client::{self, RawRequest};
use turnout_tests::echo::Backends;
use turnout_tests::eventually;
use turnout_tests::gateway::{DEADLINE, Gateway, GatewayCommand};
use turnout_tests::mount::{KubeletMount, PlainDirectory};
use turnout_tests::routes::{self, KEY, TABLE_HEADER};

/// Lanes of each load: requests that are in flight at a time.
const LANES: usize = 4;

/// What one load may send at most.
const MAX_REQUESTS: u64 = 5_000_000;

/// The gateway may take a file that has not changed for this long (design: two equal reads 50 ms apart).
const SETTLE: Duration = Duration::from_millis(50);

/// A run with every repeat swaps more often.
fn swaps() -> u32 {
    let is_full = std::env::var("TURNOUT_SLOW").is_ok_and(|value| value == "full");
    if is_full { 1000 } else { 100 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swaps_under_load_lose_no_request_and_none_sent_after_a_confirmation_meets_an_older_table() {
    let fixture = Fixture::start().await;
    let mut mount = KubeletMount::new(&[(KEY, fixture.table(0).as_bytes())]).expect("the mount is made");
    let gateway = start(mount.path()).await;
    let mut lanes = [Protocol::Http1, Protocol::Http2].map(|protocol| Witness::start(gateway.address(80), protocol));
    let mut confirmations = vec![Instant::now()];
    let mut times = Vec::new();
    for lane in &lanes {
        lane.wait_for_a_request_sent_from_here().await;
    }

    for table in 1..=swaps() {
        let documents = fixture.table(table);
        let begun = Instant::now();
        assert!(mount.swap(&[(KEY, documents.as_bytes())]).expect("the swap works"));
        confirm(&gateway, &documents).await;
        confirmations.push(Instant::now());
        times.push(begun.elapsed());
        for lane in &lanes {
            lane.wait_for_a_request_sent_from_here().await;
        }
        fixture.backends.clear();
    }

    for lane in &mut lanes {
        let seen = lane.finish().await;
        assert_no_older_table(&seen, &confirmations);
        let mut tables: Vec<u32> = seen.iter().map(|seen| seen.table).collect();
        tables.sort_unstable();
        tables.dedup();
        assert!(tables.iter().copied().eq(0..=swaps()), "every table has served: {tables:?}");
    }
    let published = reloads(&gateway, "published").await;
    assert_eq!(published, u64::from(swaps() + 1), "each file is taken once");
    times.sort_unstable();
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)];
    println!("{} swaps, from rename to confirmation: median {:?}, p99 {:?}", times.len(), at(50), at(99));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_is_removed_while_it_is_read_is_never_taken_in_part() {
    let fixture = Fixture::start().await;
    let mut mount = KubeletMount::new(&as_bytes(&fixture.keys(0))).expect("the mount is made");
    let gateway = start(mount.path()).await;
    for table in 1..=1000 {
        let keys = fixture.keys(table);
        let keys = as_bytes(&keys);
        mount.swap(&keys).expect("the swap works");
        let sources: Vec<_> = keys.iter().map(|(name, bytes)| Source { name, bytes }).collect();
        confirm_revision(&gateway, &turnout_routes::revision(&sources)).await;
    }
    let counts = (reloads(&gateway, "published").await, reloads(&gateway, "rejected").await);
    assert_eq!(counts, (1001, 0), "(published, rejected)\n{}", gateway.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_files_are_taken_however_they_are_written() {
    let fixture = Fixture::start().await;
    let directory = PlainDirectory::new(&[(KEY, fixture.table(0).as_bytes())]).expect("the directory is made");
    for path in [directory.path().to_owned(), directory.path().join(KEY)] {
        directory.write_in_place(KEY, fixture.table(0).as_bytes()).expect("the file is written");
        let gateway = start(&path).await;
        let write = |table: u32, bytes: &[u8]| match table % 2 {
            0 => directory.write_in_place(KEY, bytes),
            _ => directory.replace(KEY, bytes),
        };
        for table in 1..=10 {
            let documents = fixture.table(table);
            write(table, documents.as_bytes()).expect("the file is written");
            confirm(&gateway, &documents).await;
            assert_eq!(serving_table(&gateway).await, table, "{}", path.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_written_file_is_never_taken() {
    let fixture = Fixture::start().await;
    let directory = PlainDirectory::new(&[(KEY, fixture.table(0).as_bytes())]).expect("the directory is made");
    let gateway = start(directory.path()).await;
    let mut lane = Witness::start(gateway.address(80), Protocol::Http1);
    let first_half = fixture.table(0).split_once("---\n").expect("there are two documents").0.to_owned();
    assert_eq!(first_half, routes::service(&fixture.endpoints()), "the first half is valid by itself");

    let (mut taken, mut judged) = (reloads(&gateway, "published").await, 0);
    for table in 1..=20 {
        let documents = fixture.table(table);
        let (first, second) = documents.as_bytes().split_at(first_half.len());
        let begun = Instant::now();
        let pause = || thread::sleep(SETTLE / 10);
        directory.write_in_two_parts(KEY, [first, second], pause).expect("the file is written");
        let halved_for = begun.elapsed();
        confirm(&gateway, &documents).await;
        // A machine that stops the writer for longer makes a half that may be taken.
        if halved_for < SETTLE {
            judged += 1;
            assert_eq!(reloads(&gateway, "published").await, taken + 1, "only the whole file is taken");
        }
        taken = reloads(&gateway, "published").await;
        lane.wait_for_a_request_sent_from_here().await;
    }
    assert!(judged > 0, "the writer was stopped every time");
    lane.finish().await;
}

#[tokio::test]
async fn a_file_that_disappears_keeps_the_table() {
    let fixture = Fixture::start().await;
    for whole_directory in [false, true] {
        let directory = PlainDirectory::new(&[(KEY, fixture.table(1).as_bytes())]).expect("the directory is made");
        let path = if whole_directory { directory.path().to_owned() } else { directory.path().join(KEY) };
        let gateway = start(&path).await;
        directory.remove(KEY).expect("the file is removed");
        let noticed = eventually(DEADLINE, || async {
            let count = reloads(&gateway, "unreadable").await + reloads(&gateway, "rejected").await;
            if count > 0 { Ok(()) } else { Err("the gateway has not noticed") }
        });
        noticed.await.unwrap_or_else(|error| panic!("{}: {error}: {}", path.display(), gateway.log()));
        assert_eq!(serving_table(&gateway).await, 1);
        let told = gateway.status("/revision").await.expect("it answers").json().expect("it is JSON");
        assert!(whole_directory || told["unreadable"].is_string(), "{told}");
        let documents = fixture.table(2);
        directory.write_in_place(KEY, documents.as_bytes()).expect("the file is written");
        confirm(&gateway, &documents).await;
        assert_eq!(serving_table(&gateway).await, 2);
        let told = gateway.status("/revision").await.expect("it answers").json().expect("it is JSON");
        assert!(told["unreadable"].is_null(), "{told}");
    }
}

#[tokio::test]
async fn a_configmap_without_keys_keeps_the_table() {
    let fixture = Fixture::start().await;
    let mut mount = KubeletMount::new(&[(KEY, fixture.table(1).as_bytes())]).expect("the mount is made");
    let gateway = start(mount.path()).await;
    mount.swap(&[]).expect("the swap works");
    let rejected = gateway.wait_for_rejection().await.expect("nothing is no table");
    assert_eq!(rejected.revision, Some(turnout_routes::revision(&[])));
    assert_eq!(serving_table(&gateway).await, 1);
}

#[tokio::test]
async fn a_bad_file_keeps_the_last_good_table_and_a_repaired_one_is_taken() {
    let fixture = Fixture::start().await;
    let mut mount = KubeletMount::new(&[(KEY, fixture.table(1).as_bytes())]).expect("the mount is made");
    let gateway = start(mount.path()).await;
    let bad = fixture.table(2).replace("weight", "wieght").replace("http:\n  - route:", "http:\n  - ruote:");
    mount.swap(&[(KEY, bad.as_bytes())]).expect("the swap works");

    let rejected = gateway.wait_for_rejection().await.expect("the file is refused");
    assert_eq!(rejected.revision, Some(routes::revision(bad.as_bytes())));
    assert!(rejected.reason.contains("VirtualService default/scoring: spec.http[0].ruote"), "{}", rejected.reason);
    let active = gateway.revisions().await.expect("revisions are served").active;
    assert_eq!(active, Some(routes::revision(fixture.table(1).as_bytes())));
    assert_eq!(serving_table(&gateway).await, 1);
    assert_eq!(rejection_gauge(&gateway).await, Some(1.0));

    let repaired = fixture.table(2);
    mount.swap(&[(KEY, repaired.as_bytes())]).expect("the swap works");
    confirm(&gateway, &repaired).await;
    assert_eq!(serving_table(&gateway).await, 2);
    assert!(gateway.revisions().await.expect("revisions are served").rejected.is_none());
    assert_eq!(rejection_gauge(&gateway).await, Some(0.0));
}

#[tokio::test]
async fn a_gateway_that_starts_with_a_bad_file_is_not_ready_until_it_is_repaired() {
    let fixture = Fixture::start().await;
    let mut mount = KubeletMount::new(&[(KEY, b"kind: Unknown\n")]).expect("the mount is made");
    let gateway = GatewayCommand::new(mount.path()).listen(80).spawn().await.expect("the gateway binds its ports");
    gateway.wait_for_rejection().await.expect("the file is refused");
    assert_eq!(gateway.status("/readyz").await.expect("the status port answers").status, 503);
    let answer = client::send(gateway.address(80), &RawRequest::get("/")).await.expect("the gateway answers");
    assert_eq!((answer.status, answer.header("x-turnout-reason")), (503, Some("no_routes")));

    mount.swap(&[(KEY, fixture.table(1).as_bytes())]).expect("the swap works");
    gateway.wait_until_ready().await.expect("the repaired file is taken");
    assert_eq!(serving_table(&gateway).await, 1);
}

#[tokio::test]
async fn returning_to_the_active_bytes_clears_the_rejection() {
    let fixture = Fixture::start().await;
    let good = fixture.table(1);
    let mut mount = KubeletMount::new(&[(KEY, good.as_bytes())]).expect("the mount is made");
    let gateway = start(mount.path()).await;
    mount.swap(&[(KEY, b"kind: Unknown\n")]).expect("the swap works");
    gateway.wait_for_rejection().await.expect("the file is refused");
    mount.swap(&[(KEY, good.as_bytes())]).expect("the swap works");
    let cleared = eventually(DEADLINE, || async {
        let revisions = gateway.revisions().await?;
        anyhow::ensure!(revisions.rejected.is_none(), "{revisions:?}");
        Ok::<_, anyhow::Error>(revisions.active)
    });
    let active = cleared.await.expect("the rejection is cleared");
    assert_eq!(active, Some(routes::revision(good.as_bytes())));
    assert_eq!(reloads(&gateway, "published").await, 1, "the table that serves is not compiled again");
    assert_eq!(rejection_gauge(&gateway).await, Some(0.0));
}

/// A backend and tables that lead to it.
struct Fixture {
    backends: Backends,
}

impl Fixture {
    async fn start() -> Self {
        Self { backends: Backends::start_named(&["green"]).await.expect("loopback has free ports") }
    }

    fn endpoints(&self) -> [SocketAddr; 1] {
        [self.backends.address("green")]
    }

    /// A table in several keys, of which each alone is valid, so that a version takes a while to be read.
    fn keys(&self, number: u32) -> Vec<(String, String)> {
        let others = (0..2).map(|other| {
            let service = routes::service(&self.endpoints()).replace("model", &format!("other-{other}"));
            (format!("other-{other}.yaml"), service)
        });
        others.chain([(KEY.to_owned(), self.table(number))]).collect()
    }

    fn table(&self, number: u32) -> String {
        routes::one_service(&self.endpoints(), number)
    }
}

/// A response, as far as these tests look at it.
#[derive(Clone, Copy, Debug)]
struct Seen {
    sent_at: Instant,
    table: u32,
}

/// A load that remembers which table answered what was sent when.
struct Witness {
    run: Option<Run>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Witness {
    fn start(target: SocketAddr, protocol: Protocol) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let variant = Variant::post_json("score", PathAndQuery::from_static("/score"), "{\"data\": [1, 2, 3]}");
        let mut load = Load::new(target, Total::UntilStopped { max_requests: MAX_REQUESTS }, vec![variant]);
        load.protocol = protocol;
        load.max_duration = Duration::from_mins(30);
        (load.connections, load.streams) = match protocol {
            Protocol::Http1 => (LANES, 1),
            Protocol::Http2 => (1, LANES),
        };
        let record = Arc::clone(&seen);
        load.on_response = Some(Arc::new(move |answer: &Answer<'_>| {
            let table = answer.headers.get(TABLE_HEADER).and_then(|table| table.to_str().ok()?.parse().ok());
            let table = table.unwrap_or(u32::MAX);
            record.lock().unwrap_or_else(PoisonError::into_inner).push(Seen { sent_at: answer.sent_at, table });
        }));
        Self { run: Some(load.start().expect("the load is valid")), seen }
    }

    /// Of one more request than there are lanes, at least one is sent after the call.
    async fn wait_for_a_request_sent_from_here(&self) {
        let handle = self.run.as_ref().expect("it runs until it is finished").handle();
        handle.wait_for_requests(handle.requests() + LANES as u64 + 1).await;
    }

    /// Stops the load, sees that nothing failed, and returns what it saw.
    async fn finish(&mut self) -> Vec<Seen> {
        let run = self.run.take().expect("it is finished once");
        run.handle().stop();
        let report = run.report().await;
        assert_eq!(report.failed(), 0, "{:?}", report.first_failures);
        assert!(report.requests() > 0);
        std::mem::take(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// `confirmations[N]` is when table N had been confirmed.
fn assert_no_older_table(seen: &[Seen], confirmations: &[Instant]) {
    for seen in seen {
        let confirmed = confirmations.partition_point(|confirmed| *confirmed < seen.sent_at);
        let newest = u32::try_from(confirmed).expect("there are few tables").saturating_sub(1);
        assert!(seen.table >= newest, "table {} answered after table {newest} was confirmed", seen.table);
        assert!(seen.table != u32::MAX, "a response without a table");
    }
}

async fn start(routes: &Path) -> Gateway {
    GatewayCommand::new(routes).listen(80).args(&["--workers", "2"]).start().await.expect("the gateway starts")
}

fn as_bytes(keys: &[(String, String)]) -> Vec<(&str, &[u8])> {
    keys.iter().map(|(key, text)| (key.as_str(), text.as_bytes())).collect()
}

/// Waits until the gateway says that these documents serve.
async fn confirm(gateway: &Gateway, documents: &str) {
    confirm_revision(gateway, &routes::revision(documents.as_bytes())).await;
}

async fn confirm_revision(gateway: &Gateway, wanted: &str) {
    let confirmed = eventually(DEADLINE, || async {
        let revisions = gateway.revisions().await?;
        anyhow::ensure!(revisions.active.as_deref() == Some(wanted), "{revisions:?} instead of {wanted}");
        Ok::<_, anyhow::Error>(())
    });
    confirmed.await.unwrap_or_else(|error| panic!("{error}\n{}", gateway.log()));
}

async fn serving_table(gateway: &Gateway) -> u32 {
    let answer = client::send(gateway.address(80), &RawRequest::get("/score")).await.expect("the gateway answers");
    let table = answer.header(TABLE_HEADER).and_then(|table| table.parse().ok());
    table.unwrap_or_else(|| panic!("no table in {answer:?}"))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of a few reloads")]
async fn reloads(gateway: &Gateway, result: &str) -> u64 {
    let metrics = gateway.metrics().await.expect("metrics are served");
    metrics.sum("turnout_reloads_total", &[("result", result)]).unwrap_or(0.0) as u64
}

async fn rejection_gauge(gateway: &Gateway) -> Option<f64> {
    gateway.metrics().await.expect("metrics are served").sum("turnout_routes_rejected", &[])
}
