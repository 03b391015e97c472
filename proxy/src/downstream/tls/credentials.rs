//! The certificates that Gateways name: read from mounted Secrets or from files, and kept while a newer version of them
//! cannot be used.

use super::server_config::{CredentialError, Files, Handshakes, Paths, server_config};
use arc_swap::ArcSwap;
use rustls::ServerConfig;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use turnout_routes::documents::Credential;
use turnout_routes::router::{Router, TlsServer};

/// The certificates in use.
pub(crate) struct Credentials {
    folder: Option<PathBuf>,
    current: ArcSwap<Current>,
}

/// What was made of the newest table's servers.
#[derive(Default)]
struct Current {
    loaded: HashMap<Key, Loaded>,
    /// Why the newest files of others cannot be used.
    failed: HashMap<Key, String>,
    report: BTreeMap<String, CredentialReport>,
}

/// What there is to tell of a credential.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CredentialReport {
    /// Why its newest files cannot be used, if they cannot; an older version may be in use.
    pub(crate) unusable: Option<String>,
    /// When the certificate in use ends, in seconds since 1970.
    pub(crate) expires: Option<i64>,
}

/// What makes one rustls configuration.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    credential: Credential,
    handshakes: Handshakes,
}

#[derive(Clone)]
struct Loaded {
    /// The bytes that it was made from: what has not changed is not made anew, and sessions go on.
    files: Files,
    config: Arc<ServerConfig>,
}

impl Credentials {
    pub(crate) fn new(folder: Option<PathBuf>) -> Self {
        Self { folder, current: ArcSwap::default() }
    }

    /// What a server's handshakes are made with; none if its certificate has never been usable.
    pub(super) fn server_config(&self, server: &TlsServer) -> Option<Arc<ServerConfig>> {
        self.current.load().loaded.get(&Key::of(server)).map(|loaded| Arc::clone(&loaded.config))
    }

    /// Loads what the router's servers name and lets the rest go; called right before a table is published, and whenever
    /// a file of it may have changed.
    pub(crate) fn load(&self, router: &Router) {
        let before = self.current.load();
        let mut now = Current::default();
        for server in router.tls_servers() {
            let key = Key::of(server);
            if now.loaded.contains_key(&key) || now.failed.contains_key(&key) {
                continue;
            }
            let name = key.name();
            let known = before.loaded.get(&key);
            let loaded = self.load_one(&key, known);
            let report = now.report.entry(name.clone()).or_default();
            let in_use = match loaded {
                Ok(loaded) => Some(loaded),
                Err(error) => {
                    let error = error.to_string();
                    // Said once: if the log is beside the routes, each line of it is a hint to look again.
                    if before.failed.get(&key) != Some(&error) {
                        tracing::warn!(credential = name, error, kept = known.is_some(), "certificate cannot be used");
                    }
                    report.unusable = Some(error.clone());
                    now.failed.insert(key.clone(), error);
                    known.cloned()
                }
            };
            if let Some(in_use) = in_use {
                report.expires = in_use.files.expires();
                now.loaded.insert(key, in_use);
            }
        }
        self.current.store(Arc::new(now));
    }

    /// By name, for those whom it concerns.
    pub(crate) fn report(&self) -> BTreeMap<String, CredentialReport> {
        self.current.load().report.clone()
    }

    /// The folders whose changes concern the router's certificates.
    pub(crate) fn folders(&self, router: &Router) -> BTreeSet<PathBuf> {
        let paths = router.tls_servers().filter_map(|server| self.paths(&server.credential).ok());
        paths
            .flat_map(|paths| [paths.certificate, paths.key, paths.ca])
            .filter_map(|path| path.parent().map(Path::to_owned))
            .collect()
    }

    fn paths(&self, credential: &Credential) -> Result<Paths, CredentialError> {
        match credential {
            Credential::Named(name) => {
                let folder = self.folder.as_ref().ok_or(CredentialError::NoFolder)?.join(name);
                Ok(Paths {
                    certificate: folder.join("tls.crt"),
                    key: folder.join("tls.key"),
                    ca: folder.join("ca.crt"),
                })
            }
            Credential::Files { certificate, key, ca } => Ok(Paths {
                certificate: certificate.into(),
                key: key.into(),
                ca: ca.clone().unwrap_or_default().into(),
            }),
        }
    }

    fn load_one(&self, key: &Key, known: Option<&Loaded>) -> Result<Loaded, CredentialError> {
        let paths = self.paths(&key.credential)?;
        let files = Files::read(&paths, key.handshakes.client_auth)?;
        if let Some(known) = known.filter(|known| known.files == files) {
            return Ok(known.clone());
        }
        let config = server_config(key.handshakes, &paths, &files)?;
        warn_if_others_can_read(&paths.key);
        tracing::info!(credential = key.name(), "certificate loaded");
        Ok(Loaded { files, config: Arc::new(config) })
    }
}

impl Key {
    fn of(server: &TlsServer) -> Self {
        let handshakes = Handshakes {
            client_auth: server.client_auth,
            min_version: server.min_version,
            max_version: server.max_version,
        };
        Self { credential: server.credential.clone(), handshakes }
    }

    fn name(&self) -> String {
        match &self.credential {
            Credential::Named(name) => name.clone(),
            Credential::Files { certificate, .. } => certificate.clone(),
        }
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
