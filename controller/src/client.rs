//! The client of the API server, and how long it waits. An answer that never comes (a connection that a firewall dropped
//! without a word, an API server that has frozen) must end as a failure like any other, or whoever awaits it waits for
//! ever. Every request has a deadline that includes its whole answer; a watch, which is open for long, must answer in
//! that time, and then may not be silent for longer than the API server keeps it open.

pub mod kubeconfig;
pub mod proxy;

use anyhow::Context as _;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::{Body as HttpBody, Bytes};
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use std::task::{Context, Poll};
use std::time::Duration;
use tower::{BoxError, Service, layer::layer_fn};

/// How long a request may take, with its whole answer. A webhook of somebody else may hold a write up for ten seconds.
pub const REQUEST_LIMIT: Duration = Duration::from_secs(15);
/// How long a connection may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// For how long the API server keeps a watch open, in seconds: then it is opened anew.
pub const WATCH_SECONDS: u32 = 120;
/// How long a connection may be silent while something is awaited on it.
const SILENCE_LIMIT: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 15);

/// Outside a cluster by the kubeconfig, inside by the pod's service account.
pub fn connect() -> anyhow::Result<Client> {
    let config = match kubeconfig::find(None)? {
        Some(kubeconfig) => kubeconfig::config(kubeconfig, None).context("the kubeconfig cannot be used"),
        None => in_cluster().context("no cluster: there is no kubeconfig, and no service account that can be used"),
    };
    build(config?).context("no client can be made for the cluster")
}

/// By the pod's service account.
pub fn in_cluster() -> anyhow::Result<Config> {
    let mut config = Config::incluster()?;
    config.proxy_url = proxy::of(&config.cluster_url, None)?;
    Ok(config)
}

/// The client for one API server.
pub fn build(mut config: Config) -> kube::Result<Client> {
    config.connect_timeout = Some(CONNECT_LIMIT);
    config.write_timeout = Some(REQUEST_LIMIT);
    config.read_timeout = Some(SILENCE_LIMIT);
    // Else the time that a connection was idle before a request would count.
    config.reset_reader_on_write = true;
    Ok(ClientBuilder::try_from(config)?.with_layer(&layer_fn(Limited)).build())
}

/// An error with its causes, each said once.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// Gives every request its deadline.
#[derive(Clone, Debug)]
pub struct Limited<S>(pub S);

/// No answer, or only half of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it took longer than {REQUEST_LIMIT:?}")]
pub struct TookTooLong;

impl<S, B> Service<Request<Body>> for Limited<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Either<B, Full<Bytes>>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let is_watch = request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair == "watch=true"));
        let answer = self.0.call(request);
        let whole = async move {
            let (head, body) = answer.await.map_err(Into::into)?.into_parts();
            if is_watch {
                return Ok(Response::from_parts(head, Either::Left(body)));
            }
            let body = body.collect().await.map_err(Into::into)?.to_bytes();
            Ok(Response::from_parts(head, Either::Right(Full::new(body))))
        };
        Box::pin(async move { tokio::time::timeout(REQUEST_LIMIT, whole).await.unwrap_or(Err(TookTooLong.into())) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::api::{Api, WatchParams};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    /// A server that takes a request, answers with this and then says nothing, on an open connection.
    async fn silent_after(answer: &'static str) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer.as_bytes()).await;
                open.push(stream);
            }
        });
        build(Config::new(format!("http://{address}").parse().expect("a URL"))).expect("a client")
    }

    const HALF: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 999\r\n\r\n{";

    // The clock is paused: it moves on when nothing else can.
    #[tokio::test(start_paused = true)]
    async fn an_answer_that_never_comes_is_a_failure() {
        for answer in ["", "HTTP/1.1 200 OK\r\n", HALF] {
            let api: Api<ConfigMap> = Api::namespaced(silent_after(answer).await, "a");
            let started = Instant::now();
            let error = api.get("routes").await.expect_err("nothing was sent");
            let kube::Error::Service(cause) = error else { panic!("{answer}: {error}") };
            assert!(cause.is::<TookTooLong>(), "{answer}: {cause}");
            assert!(started.elapsed() < REQUEST_LIMIT * 2, "{answer}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_may_be_silent_for_as_long_as_the_server_keeps_it_and_no_longer() {
        use futures::StreamExt as _;
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
        let api: Api<ConfigMap> = Api::namespaced(silent_after(head).await, "a");
        let parameters = WatchParams::default().timeout(WATCH_SECONDS);
        let mut watch = api.watch(&parameters, "0").await.expect("it has answered").boxed();
        let started = Instant::now();
        assert!(watch.next().await.is_none_or(|event| event.is_err()), "it ends");
        assert!(started.elapsed() > Duration::from_secs(WATCH_SECONDS.into()), "not before the server ends it");
    }
}
