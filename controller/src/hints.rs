//! Watches, as hints: whatever changes wakes the loop, and what changed is looked up by the round itself. An event that
//! is lost, repeated or late costs time and nothing else, and so does a watch that cannot be kept: the loop looks every
//! few seconds anyway.

use crate::client::WATCH_SECONDS;
use crate::documents::KINDS;
use crate::kube_api::{istio_kind, rollout_kind};
use crate::settings::{DocumentSource, Settings};
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::{Api, DynamicObject, PartialObjectMeta};
use kube::runtime::{WatchStreamExt as _, watcher};
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// Watches what rounds depend on, until the set is dropped. `changed` is notified of every event.
pub fn watch(client: &Client, settings: &Settings, changed: &Arc<Notify>) -> JoinSet<()> {
    let mut watches = JoinSet::new();
    let mut add = |events: futures::stream::BoxStream<'static, bool>| {
        let changed = changed.clone();
        watches.spawn(events.for_each(move |is_change| {
            if is_change {
                changed.notify_one();
            }
            std::future::ready(())
        }));
    };
    for namespace in &settings.namespaces {
        add(objects(Api::<PartialObjectMeta<DynamicObject>>::namespaced_with(
            client.clone(),
            namespace,
            &rollout_kind(),
        )));
        add(objects(Api::<PartialObjectMeta<Service>>::namespaced(client.clone(), namespace)));
        add(objects(Api::<PartialObjectMeta<EndpointSlice>>::namespaced(client.clone(), namespace)));
        add(objects(Api::<PartialObjectMeta<Deployment>>::namespaced(client.clone(), namespace)));
        if settings.documents == DocumentSource::Objects || !settings.has_gateway() {
            for (kind, plural) in KINDS {
                let api = Api::<PartialObjectMeta<DynamicObject>>::namespaced_with(
                    client.clone(),
                    namespace,
                    &istio_kind(kind, plural),
                );
                add(objects(api));
            }
        }
    }
    if settings.has_gateway() {
        add(objects(Api::<PartialObjectMeta<ConfigMap>>::namespaced(client.clone(), &settings.namespace)));
        if !settings.governs(&settings.namespace) {
            add(objects(Api::<PartialObjectMeta<EndpointSlice>>::namespaced(client.clone(), &settings.namespace)));
        }
    }
    watches
}

/// True for every event that may mean a change. Only metadata is asked for: what changed does not matter.
fn objects<K>(api: Api<K>) -> futures::stream::BoxStream<'static, bool>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let configuration = watcher::Config::default().timeout(WATCH_SECONDS);
    is_change(watcher(api, configuration).default_backoff()).boxed()
}

fn is_change<K>(events: impl Stream<Item = Result<watcher::Event<K>, watcher::Error>>) -> impl Stream<Item = bool> {
    events.map(|event| match event {
        Ok(watcher::Event::Apply(_) | watcher::Event::Delete(_) | watcher::Event::InitDone) => true,
        Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => false,
        Err(error) => {
            tracing::debug!("a watch is opened anew: {error}");
            false
        }
    })
}
