//! The certificates that the documents name, towards clients and towards endpoints: read from mounted Secrets or from files
//! off the request path, when a table or a file changes, and kept while a newer version of them cannot be used. Where one
//! has never been usable, only the handshakes that need it fail.

mod client_certificate;
mod client_config;
mod files;
mod server_config;

pub(crate) use client_certificate::forwarded_certificate;
pub(crate) use server_config::ALPN;

use arc_swap::ArcSwap;
use client_config::client_config;
use files::{CredentialError, Files, Needs, Paths};
use rustls::{ClientConfig, ServerConfig};
use server_config::{Handshakes, server_config};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use turnout_routes::documents::{ClientAuth, ClientCertificate, Credential, TlsOrigination};
use turnout_routes::router::{Router, TlsServer};

/// The certificates in use.
pub(crate) struct Credentials {
    folder: Option<PathBuf>,
    servers: ArcSwap<Kept<Server>>,
    clients: ArcSwap<Kept<TlsOrigination>>,
}

/// What there is to tell of a credential.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CredentialReport {
    /// Why its newest files cannot be used, if they cannot; an older version may be in use.
    pub(crate) unusable: Option<String>,
    /// When the certificate in use ends, in seconds since 1970.
    pub(crate) expires: Option<i64>,
}

/// Something of the documents that needs certificates.
trait Credentialed: Clone + Eq + Hash {
    /// What is made of them.
    type Config;

    /// For people.
    fn name(&self) -> String;
    fn needs(&self) -> Needs;
    /// Where they are; `secret` is the folder of a Secret.
    fn paths(&self, secret: impl Fn(&str) -> Result<PathBuf, CredentialError>) -> Result<Paths, CredentialError>;
    fn config(&self, paths: &Paths, files: &Files) -> Result<Self::Config, CredentialError>;
}

/// A server of a Gateway, as far as its handshakes go.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Server {
    credential: Credential,
    handshakes: Handshakes,
}

/// What was made of the newest table's.
struct Kept<K: Credentialed> {
    loaded: HashMap<K, Loaded<K::Config>>,
    /// Why the newest files of others cannot be used.
    failed: HashMap<K, String>,
    /// What a table before had besides: it serves until the next one is published, and requests may still hold it.
    parting: HashMap<K, Loaded<K::Config>>,
}

struct Loaded<C> {
    /// The bytes that it was made from: what has not changed is not made anew, and sessions go on.
    files: Files,
    config: Arc<C>,
}

impl Credentials {
    pub(crate) fn new(folder: Option<PathBuf>) -> Self {
        Self { folder, servers: ArcSwap::default(), clients: ArcSwap::default() }
    }

    /// What a server's handshakes are made with; none if its certificate has never been usable.
    pub(crate) fn server_config(&self, server: &TlsServer) -> Option<Arc<ServerConfig>> {
        self.servers.load().config(&Server::of(server))
    }

    /// What hands are shaken with, with endpoints; none if what it needs has never been usable.
    pub(crate) fn client_config(&self, tls: &TlsOrigination) -> Option<Arc<ClientConfig>> {
        self.clients.load().config(tls)
    }

    /// Loads what the router names and lets the rest go; called right before a table is published, and whenever a file of
    /// it may have changed.
    pub(crate) fn load(&self, router: &Router) {
        let servers = self.servers.load().next(servers(router), self.folder.as_deref());
        self.servers.store(Arc::new(servers));
        let clients = self.clients.load().next(clients(router), self.folder.as_deref());
        self.clients.store(Arc::new(clients));
    }

    /// By name, for those whom it concerns. Of what clients and endpoints are shown alike the worse is told.
    pub(crate) fn report(&self) -> BTreeMap<String, CredentialReport> {
        let mut report = self.servers.load().report();
        for (name, of_client) in self.clients.load().report() {
            let known = report.entry(name).or_default();
            known.unusable = known.unusable.take().or(of_client.unusable);
            known.expires = known.expires.into_iter().chain(of_client.expires).min();
        }
        report
    }

    /// The folders whose changes concern the router's certificates.
    pub(crate) fn folders(&self, router: &Router) -> BTreeSet<PathBuf> {
        let folder = self.folder.as_deref();
        let servers = servers(router).filter_map(|server| server.paths(secret(folder)).ok());
        let clients = clients(router).filter_map(|client| client.paths(secret(folder)).ok());
        let paths = servers.chain(clients).flat_map(|paths| [paths.certificate, paths.key, paths.ca]);
        paths.filter_map(|path| path.parent().map(Path::to_owned)).filter(|folder| folder != Path::new("")).collect()
    }
}

fn servers(router: &Router) -> impl Iterator<Item = Server> {
    router.tls_servers().map(Server::of)
}

fn clients(router: &Router) -> impl Iterator<Item = TlsOrigination> {
    router.backends().iter().filter_map(|backend| backend.policy.tls.as_deref().cloned())
}

fn secret(folder: Option<&Path>) -> impl Fn(&str) -> Result<PathBuf, CredentialError> {
    move |name| folder.map(|folder| folder.join(name)).ok_or(CredentialError::NoFolder)
}

impl<K: Credentialed> Default for Kept<K> {
    fn default() -> Self {
        Self { loaded: HashMap::new(), failed: HashMap::new(), parting: HashMap::new() }
    }
}

impl<C> Clone for Loaded<C> {
    fn clone(&self) -> Self {
        Self { files: self.files.clone(), config: Arc::clone(&self.config) }
    }
}

impl<K: Credentialed> Kept<K> {
    fn config(&self, key: &K) -> Option<Arc<K::Config>> {
        self.loaded.get(key).or_else(|| self.parting.get(key)).map(|loaded| Arc::clone(&loaded.config))
    }

    /// What becomes of these after what there was.
    fn next(&self, keys: impl Iterator<Item = K>, folder: Option<&Path>) -> Self {
        let mut next = Self::default();
        for key in keys {
            if next.loaded.contains_key(&key) || next.failed.contains_key(&key) {
                continue;
            }
            let known = self.loaded.get(&key).or_else(|| self.parting.get(&key));
            let in_use = match load(&key, known, folder) {
                Ok(loaded) => Some(loaded),
                Err(error) => {
                    let error = error.to_string();
                    // Said once: if the log is beside the routes, each line of it is a hint to look again.
                    if self.failed.get(&key) != Some(&error) {
                        let (credential, kept) = (key.name(), known.is_some());
                        tracing::warn!(credential, error, kept, "certificate cannot be used");
                    }
                    next.failed.insert(key.clone(), error);
                    known.cloned()
                }
            };
            if let Some(in_use) = in_use {
                next.loaded.insert(key, in_use);
            }
        }
        // The same documents are looked at again and again: what parts stays until others take their place.
        let of = |former: &HashMap<K, Loaded<K::Config>>| -> HashMap<K, Loaded<K::Config>> {
            let gone = former.iter().filter(|(key, _)| !next.loaded.contains_key(key));
            gone.map(|(key, loaded)| (key.clone(), loaded.clone())).collect()
        };
        let parting = of(&self.loaded);
        next.parting = if parting.is_empty() { of(&self.parting) } else { parting };
        next
    }

    fn report(&self) -> BTreeMap<String, CredentialReport> {
        let mut report: BTreeMap<String, CredentialReport> = BTreeMap::new();
        for (key, loaded) in &self.loaded {
            let known = &mut report.entry(key.name()).or_default().expires;
            *known = known.iter().copied().chain(loaded.files.expires()).min();
        }
        for (key, error) in &self.failed {
            report.entry(key.name()).or_default().unusable = Some(error.clone());
        }
        report
    }
}

fn load<K: Credentialed>(
    key: &K,
    known: Option<&Loaded<K::Config>>,
    folder: Option<&Path>,
) -> Result<Loaded<K::Config>, CredentialError> {
    let paths = key.paths(secret(folder))?;
    let files = Files::read(&paths, key.needs())?;
    if let Some(known) = known.filter(|known| known.files == files) {
        return Ok(known.clone());
    }
    let config = key.config(&paths, &files)?;
    if files.key.is_some() {
        warn_if_others_can_read(&paths.key);
    }
    tracing::info!(credential = key.name(), "certificate loaded");
    Ok(Loaded { files, config: Arc::new(config) })
}

impl Server {
    fn of(server: &TlsServer) -> Self {
        let handshakes = Handshakes {
            client_auth: server.client_auth,
            min_version: server.min_version,
            max_version: server.max_version,
            cipher_suites: server.cipher_suites.clone(),
        };
        Self { credential: server.credential.clone(), handshakes }
    }
}

impl Credentialed for Server {
    type Config = ServerConfig;

    fn name(&self) -> String {
        match &self.credential {
            Credential::Named(name) => name.clone(),
            Credential::Files { certificate, .. } => certificate.clone(),
        }
    }

    fn needs(&self) -> Needs {
        Needs { certificate: true, ca: self.handshakes.client_auth != ClientAuth::None }
    }

    fn paths(&self, secret: impl Fn(&str) -> Result<PathBuf, CredentialError>) -> Result<Paths, CredentialError> {
        Ok(match &self.credential {
            Credential::Named(name) => Paths::of_secret(&secret(name)?),
            Credential::Files { certificate, key, ca } => {
                Paths { certificate: certificate.into(), key: key.into(), ca: ca.clone().unwrap_or_default().into() }
            }
        })
    }

    fn config(&self, paths: &Paths, files: &Files) -> Result<ServerConfig, CredentialError> {
        server_config(&self.handshakes, paths, files)
    }
}

impl Credentialed for TlsOrigination {
    type Config = ClientConfig;

    /// By which people know what was to be loaded.
    fn name(&self) -> String {
        match &self.certificate {
            Some(ClientCertificate::Named { name, .. }) => name.clone(),
            Some(ClientCertificate::Files { certificate, .. }) => certificate.clone(),
            None => self.ca.clone().unwrap_or_else(|| "system".to_owned()),
        }
    }

    fn needs(&self) -> Needs {
        let (certificate, is_named) = match self.certificate {
            None => (false, false),
            Some(ClientCertificate::Files { .. }) => (true, false),
            Some(ClientCertificate::Named { mutual, .. }) => (mutual, true),
        };
        Needs { certificate, ca: !self.accepts_any && (is_named || self.ca.is_some()) }
    }

    fn paths(&self, secret: impl Fn(&str) -> Result<PathBuf, CredentialError>) -> Result<Paths, CredentialError> {
        let ca = PathBuf::from(self.ca.clone().unwrap_or_default());
        Ok(match &self.certificate {
            None => Paths { ca, ..Paths::default() },
            Some(ClientCertificate::Files { certificate, key }) => {
                Paths { certificate: certificate.into(), key: key.into(), ca }
            }
            Some(ClientCertificate::Named { name, .. }) => Paths::of_secret(&secret(name)?),
        })
    }

    fn config(&self, paths: &Paths, files: &Files) -> Result<ClientConfig, CredentialError> {
        client_config(self, paths, files)
    }
}

#[cfg(unix)]
fn warn_if_others_can_read(key: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(key).map(|metadata| metadata.permissions().mode());
    if mode.is_ok_and(|mode| mode & 0o077 != 0) {
        tracing::warn!(key = %key.display(), "the key file can be read by others than its owner");
    }
}

#[cfg(not(unix))]
fn warn_if_others_can_read(_key: &Path) {}

#[cfg(test)]
mod tests;
