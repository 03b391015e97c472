//! What several unit tests need.

use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, LocalOptions};
use turnout_routes::router::{Identity, Rule, Workload, compile};
use turnout_routes::{Source, parse};

/// Runs a test as a worker runs its connections: on one thread, with local tasks; the clock only moves while all wait.
pub(crate) fn in_paused_time<T>(test: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build_local(LocalOptions::default());
    runtime.expect("a runtime").block_on(test)
}

/// The same in real time, for tests that talk to a socket. One that stops the clock afterwards bounds the rest by itself.
pub(crate) fn on_a_worker<T>(test: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    runtime.expect("a runtime").block_on(test)
}

/// What takes longer than this in real time never ends.
pub(crate) async fn bounded<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), test).await.expect("it ends")
}

/// A rule of this name, of a table of its own: its origin is `default/model spec.http[0] (NAME)`.
pub(crate) fn rule(name: &str) -> Arc<Rule> {
    let document = format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: model, namespace: default}}\n\
         spec: {{hosts: [model], http: [{{name: {name}, route: [{{destination: {{host: model}}}}]}}]}}\n"
    );
    let parsed = parse(&[Source { name: "routes", bytes: document.as_bytes() }]).expect("it is a good one");
    Arc::clone(&compile(&parsed.documents, &Identity::default()).rules()[0])
}

/// A workload of the service `model`, of this version.
pub(crate) fn workload(version: &str) -> Arc<Workload> {
    Arc::new(Workload {
        service: "model.default.svc.cluster.local".into(),
        service_name: "model".into(),
        namespace: "default".into(),
        workload: "model".into(),
        app: "model".into(),
        version: version.into(),
    })
}
