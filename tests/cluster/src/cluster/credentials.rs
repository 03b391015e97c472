//! Who is who in a cluster: one authority, certificates for the servers, and a kubeconfig for each client.

use std::fs;
use std::net::IpAddr;

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use serde_json::json;

use super::NODE;
use crate::site::Site;

/// The authority and the certificates, as files in the cluster's folder.
pub(super) fn write(site: &Site) -> Result<()> {
    let authority = Authority::new(site).context("cannot make the cluster's authority")?;
    let addresses = site.addresses();
    let api_addresses = [addresses.node(), addresses.api_service(), [127, 0, 0, 1].into()].map(IpAddr::from);
    let api_names = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    authority.server("apiserver", "kube-apiserver", &api_names, &api_addresses)?;
    authority.server("kubelet", NODE, &[NODE], &[addresses.node().into()])?;
    let of_api_server = authority.issue(client("kube-apiserver-kubelet-client", Some("system:masters"))?)?;
    authority.store("apiserver-kubelet-client", &of_api_server)?;
    authority.kubeconfig("admin", client("admin", Some("system:masters"))?)?;
    authority.kubeconfig("controller-manager", client("system:kube-controller-manager", None)?)?;
    authority.kubeconfig("scheduler", client("system:kube-scheduler", None)?)?;
    authority.kubeconfig("proxy", client("system:kube-proxy", None)?)?;
    authority.kubeconfig("kubelet", client(&format!("system:node:{NODE}"), Some("system:nodes"))?)?;
    write_service_account_key(site)
}

struct Authority<'a> {
    site: &'a Site,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// In PEM.
struct Issued {
    certificate: String,
    key: String,
}

impl<'a> Authority<'a> {
    fn new(site: &'a Site) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, site.name());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let issuer = CertifiedIssuer::self_signed(params, new_key()?)?;
        let authority = Self { site, issuer };
        let own = Issued { certificate: authority.issuer.pem(), key: authority.issuer.key().serialize_pem() };
        authority.store("ca", &own)?;
        Ok(authority)
    }

    fn server(&self, file: &str, name: &str, names: &[&str], addresses: &[IpAddr]) -> Result<()> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.store(file, &self.issue(params)?)
    }

    fn kubeconfig(&self, user: &str, params: CertificateParams) -> Result<()> {
        let issued = self.issue(params)?;
        let name = self.site.name();
        let cluster = json!({
            "server": self.site.addresses().api_url(),
            "certificate-authority-data": base64(self.issuer.pem().as_bytes()),
        });
        let credentials = json!({
            "client-certificate-data": base64(issued.certificate.as_bytes()),
            "client-key-data": base64(issued.key.as_bytes()),
        });
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": name, "cluster": cluster }],
            "users": [{ "name": user, "user": credentials }],
            "contexts": [{ "name": name, "context": { "cluster": name, "user": user } }],
            "current-context": name,
        });
        self.site.write(&format!("{user}.kubeconfig"), &kubeconfig.to_string())
    }

    fn issue(&self, mut params: CertificateParams) -> Result<Issued> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = new_key()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    fn store(&self, file: &str, issued: &Issued) -> Result<()> {
        self.site.write(&format!("pki/{file}.crt"), &issued.certificate)?;
        self.site.write(&format!("pki/{file}.key"), &issued.key)
    }
}

/// Kubernetes takes the common name for the user and organizations for the groups.
fn client(user: &str, group: Option<&str>) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, user);
    if let Some(group) = group {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

/// The public half is a file of its own: the API server does not find it in a key of the form PKCS #8.
fn write_service_account_key(site: &Site) -> Result<()> {
    let key = new_key()?;
    site.write("pki/service-account.key", &key.serialize_pem())?;
    site.write("pki/service-account.pub", &key.public_key_pem())
}

fn new_key() -> Result<KeyPair> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("cannot make a key")
}

impl Site {
    /// Writes a file that only root reads.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.path(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
            .with_context(|| format!("cannot protect {}", path.display()))
    }
}

/// RFC 4648 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let [first, second, third] = [0, 1, 2].map(|index| u32::from(chunk.get(index).copied().unwrap_or(0)));
        let group = (first << 16) | (second << 8) | third;
        for place in 0..4 {
            let is_padding = place > chunk.len();
            let digit = ALPHABET[(group >> (18 - 6 * place)) as usize & 63];
            text.push(if is_padding { '=' } else { digit.into() });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        let check = |text: &str, expected: &str| assert_eq!(base64(text.as_bytes()), expected, "{text}");
        check("", "");
        check("f", "Zg==");
        check("fo", "Zm8=");
        check("foo", "Zm9v");
        check("foobar", "Zm9vYmFy");
        assert_eq!(base64(&[0xfb, 0xff]), "+/8=");
    }

    #[test]
    fn every_client_has_a_kubeconfig() {
        let folder = tempfile::tempdir().unwrap();
        let site = Site::new(7, folder.path());
        fs::create_dir_all(site.path("pki")).unwrap();
        write(&site).unwrap();
        for user in ["admin", "controller-manager", "scheduler", "proxy", "kubelet"] {
            let text = fs::read_to_string(site.path(&format!("{user}.kubeconfig"))).unwrap();
            let kubeconfig: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(kubeconfig["clusters"][0]["cluster"]["server"], "https://10.223.7.2:6443");
            assert_eq!(kubeconfig["users"][0]["name"], user);
        }
        assert!(fs::read_to_string(site.path("pki/service-account.pub")).unwrap().contains("BEGIN PUBLIC KEY"));
    }
}
