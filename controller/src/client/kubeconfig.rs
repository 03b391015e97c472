//! What a kubeconfig says of one cluster, as kubectl takes it. kube reads it as well, but cannot be kept from deciding
//! about proxies meanwhile; see [`proxy`].

use super::{chain, proxy};
use anyhow::{Context as _, anyhow, ensure};
use kube::Config;
use kube::config::{ExecAuthCluster, Kubeconfig};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::path::{Path, PathBuf};

/// What kubectl would take: the file that is named, else those of KUBECONFIG, else that of the home directory; none where
/// there is none.
pub fn find(path: Option<&Path>) -> anyhow::Result<Option<Kubeconfig>> {
    path.map_or_else(read_default, |path| read(path).map(Some))
}

/// The configuration of this context, or else of the current one.
pub fn config(kubeconfig: Kubeconfig, context: Option<&str>) -> anyhow::Result<Config> {
    let name = context.or(kubeconfig.current_context.as_deref()).context("it names no current context")?;
    let known = kubeconfig.contexts.iter().map(|known| known.name.clone()).collect::<Vec<_>>().join(", ");
    let context = kubeconfig.contexts.into_iter().find(|known| known.name == name).and_then(|known| known.context);
    let context = context.with_context(|| format!("there is no context {name}, only: {known}"))?;
    let mut clusters = kubeconfig.clusters.into_iter();
    let cluster = clusters.find(|known| known.name == context.cluster).and_then(|known| known.cluster);
    let cluster = cluster.with_context(|| format!("there is no cluster {}", context.cluster))?;
    let mut users = kubeconfig.auth_infos.into_iter();
    // kubectl takes a user that is not there for nobody.
    let user = users.find(|known| Some(&known.name) == context.user.as_ref()).and_then(|known| known.auth_info);
    let mut user = user.unwrap_or_default();

    let server = cluster.server.as_ref().with_context(|| format!("cluster {} has no server", context.cluster))?;
    let mut config = Config::new(server.parse().with_context(|| format!("`{server}` is not a URL"))?);
    config.proxy_url = proxy::of(&config.cluster_url, cluster.proxy_url.as_deref())?;
    let of_authority = || format!("the certificate authority of cluster {} cannot be used", context.cluster);
    let for_plugins = ExecAuthCluster::try_from(&cluster).with_context(of_authority)?;
    let authority = for_plugins.certificate_authority_data.as_deref().map(certificates).transpose();
    config.root_cert = authority.with_context(of_authority)?;
    config.accept_invalid_certs = cluster.insecure_skip_tls_verify.unwrap_or_default();
    config.tls_server_name = cluster.tls_server_name;
    if let Some(namespace) = context.namespace.filter(|name| !name.is_empty()) {
        config.default_namespace = namespace;
    }
    if let Some(plugin) = user.exec.as_mut().filter(|plugin| plugin.provide_cluster_info) {
        plugin.cluster = Some(for_plugins);
    }
    config.auth_info = user;
    Ok(config)
}

/// Of what is wrong with it only the first line is told: the others are lines of the file, with its secrets.
fn read(path: &Path) -> anyhow::Result<Kubeconfig> {
    Kubeconfig::read_from(path).map_err(|error| {
        let said = chain(&error);
        anyhow!("cannot read {}: {}", path.display(), said.lines().next().unwrap_or_default())
    })
}

/// The files of KUBECONFIG that exist, merged, else that of the home directory.
fn read_default() -> anyhow::Result<Option<Kubeconfig>> {
    let listed: Vec<PathBuf> = match std::env::var_os("KUBECONFIG").filter(|value| !value.is_empty()) {
        Some(value) => std::env::split_paths(&value).filter(|path| !path.as_os_str().is_empty()).collect(),
        None => std::env::home_dir().map(|home| home.join(".kube/config")).into_iter().collect(),
    };
    let mut merged: Option<Kubeconfig> = None;
    for path in listed.iter().filter(|path| path.exists()) {
        let mut next = read(path)?;
        // What kubectl writes where it means none; the next file may name one.
        next.current_context = next.current_context.filter(|name| !name.is_empty());
        merged = Some(match merged {
            Some(former) => former.merge(next).with_context(|| format!("cannot read {}", path.display()))?,
            None => next,
        });
    }
    Ok(merged)
}

fn certificates(pem: &[u8]) -> anyhow::Result<Vec<Vec<u8>>> {
    let certificates = CertificateDer::pem_slice_iter(pem).map(|certificate| certificate.map(|der| der.to_vec()));
    let certificates: Vec<Vec<u8>> = certificates.collect::<Result<_, _>>()?;
    ensure!(!certificates.is_empty(), "there is no certificate in it");
    Ok(certificates)
}
