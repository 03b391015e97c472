//! Clusters: the client, made from what kubectl is configured with, and what a failure means to whoever asked. What is
//! asked of the cluster stands in the modules below, one subject each.
//!
//! The objects of people are changed in one place, [`rollouts`]; everything else only reads.

pub(crate) mod backends;
pub(crate) mod gateways;
mod login;
pub(crate) mod pods;
pub(crate) mod rollouts;

use super::access::{Access, Installation};
use super::standing::waits_for_pods;
use super::view::View;
use anyhow::{Context as _, bail};
use gateways::{Published, Seen};
use k8s_openapi::api::core::v1::Pod;
use kube::client::ClientBuilder;
use kube::{Client, Config, Error};
use login::NotLoggedIn;
use std::fmt;
use std::time::Duration;
use turnout_controller::client::{chain, in_cluster, kubeconfig, proxy};
use turnout_rollout::{Backend, Mode, ModelRollout};

/// How long a connection to the API server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer of it may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A cluster, and one of its namespaces.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) client: Client,
    /// The API server's URL, for messages.
    pub(crate) server: String,
    /// Where the rollouts are.
    pub(crate) namespace: String,
    /// The namespace that the context of the kubeconfig names, or the pod's own.
    pub(crate) context_namespace: String,
    /// What stands between, for messages.
    pub(crate) proxy: Option<String>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cluster({}, namespace {})", self.server, self.namespace)
    }
}

/// A request to the API server that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What was attempted, as `list the gateways' pods`.
    doing: String,
    /// What did not answer, if nothing did.
    server: String,
    source: Error,
}

impl Cluster {
    /// Reads the configuration. The first request connects.
    pub(crate) fn connect(access: &Access) -> anyhow::Result<Self> {
        let mut config = configuration(access)?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.read_timeout = Some(ANSWER_TIMEOUT);
        config.reset_reader_on_write = true;
        // Whoever asks knows better which failure is worth another attempt.
        config.default_retry = false;
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let context_namespace = config.default_namespace.clone();
        let namespace = access.namespace.clone().unwrap_or_else(|| context_namespace.clone());
        let proxy = config.proxy_url.as_ref().map(proxy::title);
        let login = login::log_in(&mut config.auth_info).with_context(|| format!("cannot log in at {server}"))?;
        let builder = ClientBuilder::try_from(config).with_context(|| format!("cannot make a client for {server}"))?;
        let client = match &login {
            Some(login) => builder.with_layer(login).build(),
            None => builder.build(),
        };
        Ok(Self { client, server, namespace, context_namespace, proxy })
    }

    /// For messages.
    pub(crate) fn title(&self) -> String {
        format!("namespace {} of {}", self.namespace, self.server)
    }

    /// What is there around a rollout. What cannot be seen is a note.
    pub(crate) async fn look_around(&self, rollout: &ModelRollout, installation: &Installation) -> View {
        let mut view = View::default();
        let mut seen = Seen::default();
        if rollout.spec.mode == Mode::Gateway {
            let pods = self.look_at_gateways(rollout, installation, &mut view).await;
            match self.published(&pods).await {
                Ok(published) => {
                    view.published = published.as_ref().map(|published| published.revision.clone());
                    seen = published.map(Published::seen).unwrap_or_default();
                }
                Err(failure) => view.notes.push(format!("the seen weights cannot be told: {failure}")),
            }
            view.gateways.iter_mut().for_each(|gateway| gateway.observe(&seen.documents, rollout));
            view.take_told(rollout);
        }
        self.look_at_backends(rollout, &seen, &mut view).await;
        view.notes.dedup();
        view
    }

    /// What keeps a pod from being ready that the rollout waits for, as far as that may be seen.
    pub(crate) async fn trouble(&self, rollout: &ModelRollout) -> Option<String> {
        if !waits_for_pods(rollout) {
            return None;
        }
        let mut view = View::default();
        let names_subset = Backend::BOTH.iter().any(|backend| rollout.spec.backend(*backend).subset.is_some());
        let mut seen = Seen::default();
        if names_subset && rollout.spec.mode == Mode::Gateway {
            let pods = self.find_gateways(&Installation::default()).await.ok()?;
            seen = self.published(&pods).await.ok()??.seen();
        }
        self.look_at_backends(rollout, &seen, &mut view).await;
        view.trouble(rollout).map(str::to_owned)
    }

    async fn look_at_backends(&self, rollout: &ModelRollout, seen: &Seen, view: &mut View) {
        for (place, backend) in view.backends.iter_mut().zip(Backend::BOTH) {
            match self.backend(rollout, backend, seen).await {
                Ok(found) => *place = found,
                Err(failure) => view.notes.push(failure.to_string()),
            }
        }
    }

    /// Asks the gateways that serve the rollout; returns their pods.
    async fn look_at_gateways(&self, rollout: &ModelRollout, installation: &Installation, view: &mut View) -> Vec<Pod> {
        let found = match self.find_gateways(installation).await {
            Ok(found) => found,
            Err(failure) => {
                view.notes.push(format!("{failure}: --gateway-namespace says where they are"));
                return Vec::new();
            }
        };
        if found.is_empty() {
            view.notes.push(format!("no gateway was found {}", gateways::searched(installation)));
        }
        let (pods, gateways) = self.ask_gateways_of(rollout, found).await;
        view.gateways = gateways;
        pods
    }

    /// For `map_err`.
    pub(crate) fn failure(&self, doing: impl fmt::Display) -> impl FnOnce(Error) -> Failure {
        let through = self.proxy.as_ref().map(|proxy| format!(" through the proxy {proxy}")).unwrap_or_default();
        let (doing, server) = (doing.to_string(), format!("{}{through}", self.server));
        move |source| Failure { doing, server, source }
    }
}

/// What kubectl would take: the file that is named, else those of KUBECONFIG, else that of the home directory, else the
/// service account of the pod.
fn configuration(access: &Access) -> anyhow::Result<Config> {
    match kubeconfig::find(access.kubeconfig.as_deref())? {
        Some(kubeconfig) => {
            kubeconfig::config(kubeconfig, access.context.as_deref()).context("the kubeconfig cannot be used")
        }
        None if access.context.is_some() => bail!("--context needs a kubeconfig, and there is none"),
        None if std::env::var_os("KUBERNETES_SERVICE_HOST").is_none() => bail!(
            "there is no cluster to talk to: neither --kubeconfig nor KUBECONFIG nor ~/.kube/config nor the service \
             account of a pod; rollout and wait work over a directory, too: give --local DIR"
        ),
        None => in_cluster().context("the service account of this pod cannot be used"),
    }
}

impl Failure {
    pub(crate) fn code(&self) -> Option<u16> {
        match &self.source {
            Error::Api(status) => Some(status.code),
            _ => None,
        }
    }

    /// The API server finds that the object is not valid.
    pub(crate) fn is_refusal(&self) -> bool {
        self.code() == Some(422)
    }

    /// It may be over in a moment.
    pub(crate) fn is_passing(&self) -> bool {
        match &self.source {
            Error::Api(status) => status.code == 429 || status.code >= 500,
            Error::Service(_) | Error::HyperError(_) | Error::ReadEvents(_) => true,
            _ => false,
        }
    }

    /// Whoever asks has no right to it.
    pub(crate) fn is_forbidden(&self) -> bool {
        self.code() == Some(403)
    }

    /// There is no such object.
    pub(crate) fn is_missing(&self) -> bool {
        self.code() == Some(404) && !self.is_unknown_kind()
    }

    /// There is no such kind of object. Only of an object that it looked for does the API server say `NotFound`.
    pub(crate) fn is_unknown_kind(&self) -> bool {
        matches!(&self.source, Error::Api(status) if status.code == 404 && status.reason != "NotFound")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: ", self.doing)?;
        match &self.source {
            Error::Api(_) if self.is_unknown_kind() => {
                f.write_str("the cluster does not know this kind of object: `turnout check` says what is missing")
            }
            Error::Api(status) if status.code == 401 => {
                f.write_str("the API server does not accept who you are (401): log in, or name another --context")
            }
            Error::Api(status) => write!(f, "{} ({})", status.message, status.code),
            Error::Auth(error) => write!(f, "cannot log in: {}", chain(error)),
            Error::Service(error) if error.is::<NotLoggedIn>() => write!(f, "cannot log in: {error}"),
            Error::Service(error) => write!(f, "no answer from {}: {}", self.server, chain(&**error)),
            other => write!(f, "no answer from {}: {}", self.server, chain(other)),
        }
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    #[test]
    fn a_failure_says_what_was_attempted_and_what_to_do() {
        let check = |code: u16, reason: &str, expected: &str, passing: bool| {
            let status = Status::failure("the words of the server", reason).with_code(code);
            let server = "https://api".to_owned();
            let source = Error::Api(status.boxed());
            let failure = Failure { doing: "look".to_owned(), server, source };
            assert_eq!(failure.to_string(), expected);
            assert_eq!(failure.is_passing(), passing, "{code}");
        };
        let kind = "cannot look: the cluster does not know this kind of object: `turnout check` says what is missing";
        check(404, "Failed to parse error data", kind, false);
        check(404, "NotFound", "cannot look: the words of the server (404)", false);
        check(403, "Forbidden", "cannot look: the words of the server (403)", false);
        let who = "cannot look: the API server does not accept who you are (401): log in, or name another --context";
        check(401, "Unauthorized", who, false);
        check(503, "ServiceUnavailable", "cannot look: the words of the server (503)", true);
        check(429, "TooManyRequests", "cannot look: the words of the server (429)", true);
    }

    #[test]
    fn no_answer_names_the_server_and_the_causes_once() {
        let refused = std::io::Error::other("connection refused");
        let source = Error::Service(Box::new(refused));
        let failure = Failure { doing: "look".to_owned(), server: "https://api".to_owned(), source };
        assert_eq!(failure.to_string(), "cannot look: no answer from https://api: connection refused");
        assert!(failure.is_passing());
    }
}
