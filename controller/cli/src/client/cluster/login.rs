//! Logging in by the command that a kubeconfig names (an exec plugin, as kubelogin on AKS). kube can do it as well, but runs
//! the command three times to make a client, and tells of a failure with the command's environment, in which there may be
//! passwords. Here it runs once, and again when its token expires.

use futures::future::{BoxFuture, FutureExt as _, ready};
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request};
use k8s_openapi::ByteString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::client::Body;
use kube::config::{AuthInfo, ExecConfig, ExecInteractiveMode};
use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt;
use std::io::{ErrorKind, IsTerminal as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tower::{BoxError, Layer, Service};

/// How long before its end a token is no longer used.
const MARGIN: SignedDuration = SignedDuration::from_secs(10);

/// Who has logged in with a token.
#[derive(Clone)]
pub(super) struct Login(Arc<Session>);

struct Session {
    plugin: ExecConfig,
    token: Mutex<Token>,
}

struct Token {
    header: HeaderValue,
    ends: Option<Timestamp>,
}

/// Why it is not known who asks.
#[derive(Debug)]
pub(super) struct NotLoggedIn(String);

impl fmt::Display for NotLoggedIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotLoggedIn {}

/// Runs the command of a user who has one and nothing else. A certificate is put beside the user's name; a token is for
/// the client's requests.
pub(super) fn log_in(user: &mut AuthInfo) -> Result<Option<Login>, NotLoggedIn> {
    if user.token.is_some() || user.token_file.is_some() || user.username.is_some() {
        return Ok(None);
    }
    let Some(plugin) = user.exec.take() else { return Ok(None) };
    let credential = run(&plugin)?;
    if let (Some(certificate), Some(key)) = (&credential.client_certificate_data, &credential.client_key_data) {
        user.client_certificate_data = Some(base64(certificate));
        user.client_key_data = Some(base64(key).into());
    }
    if credential.token.is_none() && user.client_certificate_data.is_some() {
        return Ok(None);
    }
    let token = Mutex::new(credential.token(&plugin)?);
    Ok(Some(Login(Arc::new(Session { plugin, token }))))
}

fn base64(text: &str) -> String {
    let Value::String(text) = json!(ByteString(text.as_bytes().to_vec())) else { return String::new() };
    text
}

impl Session {
    /// What goes with every request.
    fn header(&self) -> Result<HeaderValue, NotLoggedIn> {
        let mut token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        if token.ends.is_some_and(|ends| Timestamp::now() + MARGIN >= ends) {
            // It may ask somebody something.
            *token = tokio::task::block_in_place(|| run(&self.plugin)?.token(&self.plugin))?;
        }
        Ok(token.header.clone())
    }
}

/// What the command prints.
#[derive(Deserialize)]
struct Printed {
    status: Credential,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Credential {
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
    expiration_timestamp: Option<Time>,
}

impl Credential {
    fn token(&self, plugin: &ExecConfig) -> Result<Token, NotLoggedIn> {
        let token = self.token.as_ref().filter(|token| !token.trim().is_empty());
        let header = token.and_then(|token| HeaderValue::try_from(format!("Bearer {token}")).ok());
        let mut header = header.ok_or_else(|| failure(plugin, "did not print a token"))?;
        header.set_sensitive(true);
        Ok(Token { header, ends: self.expiration_timestamp.as_ref().map(|time| time.0) })
    }
}

/// As client-go runs it: what it says goes to standard error, where somebody may read a code to enter elsewhere.
fn run(plugin: &ExecConfig) -> Result<Credential, NotLoggedIn> {
    let is_terminal = std::io::stdin().is_terminal();
    let interactive = match plugin.interactive_mode {
        Some(ExecInteractiveMode::Never) => false,
        Some(ExecInteractiveMode::Always) if !is_terminal => return Err(failure(plugin, "needs a terminal")),
        _ => is_terminal,
    };
    let mut asked = json!({
        "apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": { "interactive": interactive },
    });
    if let Some(cluster) = &plugin.cluster {
        asked["spec"]["cluster"] = json!(cluster);
    }
    let variables = plugin.env.iter().flatten().filter_map(|pair| Some((pair.get("name")?, pair.get("value")?)));
    let output = Command::new(plugin.command.as_deref().unwrap_or_default())
        .args(plugin.args.iter().flatten())
        .envs(variables)
        .env("KUBERNETES_EXEC_INFO", asked.to_string())
        .stdin(if interactive { Stdio::inherit() } else { Stdio::null() })
        .stderr(Stdio::inherit())
        .output();
    match output {
        Err(error) if error.kind() == ErrorKind::NotFound => Err(failure(plugin, &missing(plugin))),
        Err(error) => Err(failure(plugin, &format!("cannot run: {error}"))),
        Ok(Output { status, .. }) if !status.success() => Err(failure(plugin, &format!("failed ({status})"))),
        // JSON is YAML, and some print YAML.
        Ok(Output { stdout, .. }) => serde_yaml::from_slice(&stdout)
            .map(|printed: Printed| printed.status)
            .map_err(|_| failure(plugin, "did not print an ExecCredential with a status")),
    }
}

fn failure(plugin: &ExecConfig, what: &str) -> NotLoggedIn {
    let command = plugin.command.as_deref().unwrap_or_default();
    NotLoggedIn(format!("`{command}`, by which the kubeconfig logs in, {what}"))
}

fn missing(plugin: &ExecConfig) -> String {
    let mut said = "is not installed or not in PATH".to_owned();
    if plugin.command.as_deref().is_some_and(|command| Path::new(command).ends_with("kubelogin")) {
        said += ": install kubelogin, as by `az aks install-cli`";
    }
    if let Some(hint) = &plugin.install_hint {
        said = format!("{said}\n{}", hint.trim());
    }
    said
}

/// Gives every request its token.
pub(super) struct LoggedIn<S> {
    inner: S,
    login: Login,
}

impl<S> Layer<S> for Login {
    type Service = LoggedIn<S>;

    fn layer(&self, inner: S) -> LoggedIn<S> {
        LoggedIn { inner, login: self.clone() }
    }
}

impl<S> Service<Request<Body>> for LoggedIn<S>
where
    S: Service<Request<Body>, Error = BoxError>,
    S::Response: Send + 'static,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<S::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        match self.login.0.header() {
            Ok(header) => {
                request.headers_mut().insert(AUTHORIZATION, header);
                self.inner.call(request).boxed()
            }
            Err(error) => ready(Err(error.into())).boxed(),
        }
    }
}
