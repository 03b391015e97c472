//! What becomes of each version of the routes file, one after the other.

use super::*;
use crate::telemetry::metrics::SourceNames;
use crate::upstream::Resolver;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::SystemTime;
use tempfile::TempDir;
use turnout_routes::MAX_SOURCE_BYTES;

const ONE: &str = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: model}\n\
                   spec: {hosts: [model], http: [{route: [{destination: {host: one}}]}]}\n";
const BAD: &str = "kind: Nonsense\n";

/// A reloader of a file that does not exist yet.
struct Scene {
    folder: TempDir,
    reloader: Reloader,
    first: oneshot::Receiver<()>,
}

impl Scene {
    fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        let source = SourceNames { workload: "gateway".into(), namespace: "default".into() };
        let (tell, first) = oneshot::channel();
        let reloader = Reloader {
            path: folder.path().join("routes.yaml"),
            max_bytes: MAX_SOURCE_BYTES,
            identity: Identity::default(),
            // Nothing listens there.
            registry: Arc::new(Registry::new(Resolver::new(Some(([127, 0, 0, 1], 9).into())))),
            evidence: Arc::new(Evidence::new()),
            snapshots: Arc::default(),
            credentials: Arc::new(Credentials::new(None)),
            metrics: Arc::new(Metrics::new(source).expect("every name is used once")),
            served_ports: BTreeSet::new(),
            last_read: None,
            first: Some(tell),
        };
        Self { folder, reloader, first }
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.reloader.path, text).expect("writable");
    }

    /// Looks once. What then serves and what is refused, each by what was written.
    async fn look(&mut self, watch: &mut Watch) -> (Option<String>, Option<String>) {
        self.reloader.look(watch).await;
        let rejected = self.reloader.snapshots.rejected();
        assert_eq!(self.reloader.metrics.rejected.get(), i64::from(rejected.is_some()));
        (
            self.reloader.snapshots.current().map(|snapshot| snapshot.revision.clone()),
            rejected.map(|rejected| rejected.revision),
        )
    }

    /// How many looks ended so.
    fn count(&self, result: &str) -> u64 {
        self.reloader.metrics.reloads.with_label_values(&[result]).get()
    }
}

fn revision_of(text: &str) -> String {
    revision(&[turnout_routes::Source { name: "routes.yaml", bytes: text.as_bytes() }])
}

#[tokio::test]
async fn a_good_file_serves_until_another_good_one_is_there() {
    let mut scene = Scene::new();
    let mut watch = Watch::new(scene.folder.path());
    let two = ONE.replace("host: one", "host: two");
    assert_eq!(scene.look(&mut watch).await, (None, None), "there is no file");
    assert!(scene.first.try_recv().is_err(), "whoever waits for the first file waits on");

    // Each is written and looked at twice: the same bytes are no news, and are neither compiled nor published again.
    let steps = [
        (BAD, None, Some(BAD), (0, 1)),
        (ONE, Some(ONE), None, (1, 1)),
        (BAD, Some(ONE), Some(BAD), (1, 2)),
        ("{", Some(ONE), Some("{"), (1, 3)),
        // What serves is there again, and is not published again.
        (ONE, Some(ONE), None, (1, 3)),
        (&*two, Some(&*two), None, (2, 3)),
    ];
    for (text, serves, refused, (published, rejected)) in steps {
        for _ in 0..2 {
            scene.write(text);
            let expected = (serves.map(revision_of), refused.map(revision_of));
            assert_eq!(scene.look(&mut watch).await, expected, "{text}");
            assert_eq!((scene.count("published"), scene.count("rejected")), (published, rejected), "{text}");
        }
    }
    assert!(scene.first.try_recv().is_ok());

    let unreadable = scene.count("unreadable");
    std::fs::remove_file(&scene.reloader.path).expect("it is there");
    assert_eq!(scene.look(&mut watch).await, (Some(revision_of(&two)), None), "the last good one serves on");
    assert_eq!(scene.count("unreadable"), unreadable + 1);
}

#[tokio::test]
async fn of_routes_that_are_too_large_no_more_is_read_than_shows_it() {
    const KIB: usize = 1 << 10;
    let check = async |keys: &[usize], max_bytes: usize, expected: &[usize]| {
        let folder = TempDir::new().expect("a folder");
        for (index, length) in keys.iter().enumerate() {
            let file = File::create(folder.path().join(format!("{index}.yaml"))).expect("writable");
            file.set_len(*length as u64).expect("there is room for a hole");
        }
        let read = read_sources(folder.path(), max_bytes).await.expect("readable");
        let lengths: Vec<usize> = read.as_sources().iter().map(|source| source.bytes.len()).collect();
        assert_eq!(lengths, expected, "{keys:?}");
    };
    check(&[600 * KIB, 424 * KIB, 0], MAX_SOURCE_BYTES, &[600 * KIB, 424 * KIB, 0]).await;
    check(&[600 * KIB, 600 * KIB, 1], MAX_SOURCE_BYTES, &[600 * KIB, 424 * KIB + 1]).await;
    check(&[1 << 40], MAX_SOURCE_BYTES, &[MAX_SOURCE_BYTES + 1]).await;
    check(&[1 << 40, 1], 2 * MAX_SOURCE_BYTES, &[2 * MAX_SOURCE_BYTES + 1]).await;
    // What a ConfigMap may hold is told by its revision, though it is refused.
    check(&[600 * KIB], KIB, &[600 * KIB]).await;
}

#[tokio::test(start_paused = true)]
async fn only_what_was_touched_of_late_is_read_again() {
    let folder = TempDir::new().expect("a folder");
    let (file, other) = (folder.path().join("a.yaml"), folder.path().join("b.yaml"));
    let touch = |path: &Path, ago: u64| {
        let touched = SystemTime::now() - Duration::from_secs(ago);
        File::open(path).and_then(|file| file.set_modified(touched)).expect("it is there");
    };
    let waits = async |path: &Path| {
        let start = tokio::time::Instant::now();
        read_sources(path, MAX_SOURCE_BYTES).await.expect("it can be read");
        !start.elapsed().is_zero()
    };
    for path in [&file, &other] {
        std::fs::write(path, "# nothing").expect("writable");
        touch(path, 3600);
    }
    // The folder has just got them.
    assert_eq!((waits(&file).await, waits(folder.path()).await), (false, true));
    touch(folder.path(), 3600);
    assert!(!waits(folder.path()).await);
    touch(&other, 0);
    assert_eq!((waits(&file).await, waits(&other).await, waits(folder.path()).await), (false, true, true));
}

#[tokio::test]
async fn what_is_written_beside_the_routes_does_not_keep_it_reading() {
    let Scene { folder, reloader, first: _first } = Scene::new();
    let looks = reloader.metrics.reloads.with_label_values(&["unreadable"]);
    let began = std::time::Instant::now();
    let write = async {
        let mut log = File::create(folder.path().join("log")).expect("a log");
        for _ in 0..300 {
            writeln!(log, "a request").expect("writable");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        () = reloader.run() => {}
        () = write => {}
    }
    let most = 2 + began.elapsed().as_millis() / REST.as_millis();
    assert!((2..=most).contains(&u128::from(looks.get())), "{} looks, at most {most}", looks.get());
}
