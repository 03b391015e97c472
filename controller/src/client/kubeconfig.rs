//! What a kubeconfig says of one cluster, as kubectl takes it. kube reads it as well, but cannot be kept from deciding
//! about proxies meanwhile; see [`proxy`].

use super::proxy;
use anyhow::Context as _;
use kube::Config;
use kube::config::{ExecAuthCluster, Kubeconfig};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

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
    let for_plugins = ExecAuthCluster::try_from(&cluster).context("its certificate authority cannot be used")?;
    config.root_cert = for_plugins.certificate_authority_data.as_deref().map(certificates).transpose()?;
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

fn certificates(pem: &[u8]) -> anyhow::Result<Vec<Vec<u8>>> {
    let certificates = CertificateDer::pem_slice_iter(pem).map(|certificate| certificate.map(|der| der.to_vec()));
    certificates.collect::<Result<_, _>>().context("its certificate authority cannot be read")
}
