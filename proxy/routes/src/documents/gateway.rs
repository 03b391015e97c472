//! `Gateway`: which ports and hosts are served, and with which certificate.

use super::host::is_label;
use super::metadata::name;
use super::virtual_service::GatewayRef;
use super::{HostPattern, Metadata};
use crate::decode::{Decoded, Item, Object, one_of, quoted};
use crate::encode::Fields;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};

/// What Istio has and the gateway has not: in a server, ...
const UNSUPPORTED_SERVER: [&str; 1] = ["bind"];
/// ... in its `tls`, ...
const UNSUPPORTED_TLS: [&str; 8] = [
    "caCertCredentialName",
    "caCrl",
    "credentialNames",
    "insecureSkipVerify",
    "subjectAltNames",
    "tlsCertificates",
    "verifyCertificateHash",
    "verifyCertificateSpki",
];
/// ... of its versions, ...
const UNSUPPORTED_VERSIONS: [&str; 2] = ["TLSV1_0", "TLSV1_1"];
/// ... and of the protocols.
const UNSUPPORTED_PROTOCOLS: [&str; 2] = ["HTTP_PROXY", "UDP"];
/// The cipher suites of TLS 1.2 that the gateway has, and ...
const CIPHER_SUITES: [(&str, CipherSuite); 6] = [
    ("ECDHE-ECDSA-AES128-GCM-SHA256", CipherSuite::EcdsaAes128Gcm),
    ("ECDHE-RSA-AES128-GCM-SHA256", CipherSuite::RsaAes128Gcm),
    ("ECDHE-ECDSA-AES256-GCM-SHA384", CipherSuite::EcdsaAes256Gcm),
    ("ECDHE-RSA-AES256-GCM-SHA384", CipherSuite::RsaAes256Gcm),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", CipherSuite::EcdsaChaCha20),
    ("ECDHE-RSA-CHACHA20-POLY1305", CipherSuite::RsaChaCha20),
];
/// ... those that Istio has besides: without forward secrecy, or in CBC mode.
const UNSERVED_CIPHER_SUITES: [&str; 9] = [
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES256-SHA",
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-SHA",
    "AES256-SHA",
    "DES-CBC3-SHA",
];
/// The modes of TLS, and ...
const UNSERVED_MODES: [&str; 3] = ["PASSTHROUGH", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL"];
/// ... the protocols whose servers are left to others.
const UNSERVED_PROTOCOLS: [&str; 5] = ["MONGO", "MYSQL", "REDIS", "TCP", "TLS"];
/// The protocols that the gateway has; only the last is TLS.
const PROTOCOLS: [&str; 5] = ["HTTP", "HTTP2", "GRPC", "GRPC-WEB", "HTTPS"];

/// A `Gateway` document.
#[derive(Clone, Debug, PartialEq)]
pub struct Gateway {
    /// Name and namespace: what VirtualServices refer to.
    pub metadata: Metadata,
    /// The labels that the gateway must carry for this document to be its own; none selects every gateway.
    pub selector: BTreeMap<String, String>,
    /// At least one.
    pub servers: Vec<Server>,
}

/// One port of a Gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// The port number, as in a listener's `GATEWAY_PORT=`.
    pub port: u16,
    /// The port's name, unique in its Gateway.
    pub port_name: String,
    /// As written. `HTTP`, `HTTP2`, `GRPC`, `GRPC-WEB` and `HTTPS` are served alike: HTTP/1.1 and HTTP/2.
    pub protocol: String,
    /// The hosts that may be asked for; at least one.
    pub hosts: Vec<ServerHost>,
    /// Clear text or TLS.
    pub transport: ServerTransport,
}

/// A host of a server, with the namespaces whose VirtualServices may bind to it.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerHost {
    /// The part before `/`.
    pub namespace: NamespaceScope,
    /// The part after it.
    pub host: HostPattern,
}

/// Whose VirtualServices may bind to a server's host.
#[derive(Clone, Debug, PartialEq)]
pub enum NamespaceScope {
    /// `host` or `*/host`: those of any namespace.
    Any,
    /// `./host`: those of the Gateway's own.
    Own,
    /// `name/host`: those of that namespace.
    Named(String),
}

/// Clear text or TLS.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerTransport {
    /// Protocol HTTP, HTTP2, GRPC, GRPC-WEB.
    Plain {
        /// Every request is answered with 301 to `https://`.
        https_redirect: bool,
    },
    /// Protocol HTTPS: the gateway terminates TLS.
    Tls {
        /// Where certificate and key are.
        credential: Credential,
        /// Whether clients must show a certificate.
        client_auth: ClientAuth,
        /// The oldest version that is accepted.
        min_version: TlsVersion,
        /// The newest version that is offered.
        max_version: TlsVersion,
        /// Those that TLS 1.2 may use; none stands for all.
        cipher_suites: Vec<CipherSuite>,
    },
    /// Another protocol, or TLS that is not the gateway's to end: clients of its hosts are turned away.
    Unserved {
        /// `tls` as it is written, if it is there.
        tls: Option<Value>,
    },
}

/// Where a server's certificate is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Credential {
    /// `credentialName`: a folder of that name below `--credentials`, with `tls.crt`, `tls.key` and, for client
    /// certificates, `ca.crt`.
    Named(String),
    /// `serverCertificate`, `privateKey` and, for client certificates, `caCertificates`: paths of PEM files.
    Files {
        /// Path of the certificate chain.
        certificate: String,
        /// Path of its key.
        key: String,
        /// Path of the authorities of client certificates.
        ca: Option<String>,
    },
}

/// What is asked of clients in the TLS handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ClientAuth {
    /// `SIMPLE`: nothing.
    None,
    /// `OPTIONAL_MUTUAL`: a certificate, if there is one, must be of the given authority.
    Optional,
    /// `MUTUAL`: a certificate of the given authority.
    Required,
}

/// A TLS version; older ones are not offered at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    V1_2,
    /// TLS 1.3 (RFC 8446).
    V1_3,
}

/// A cipher suite of TLS 1.2, all of them with ECDHE. Those of TLS 1.3 are not to be chosen, as in Istio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CipherSuite {
    /// `ECDHE-ECDSA-AES128-GCM-SHA256`
    EcdsaAes128Gcm,
    /// `ECDHE-RSA-AES128-GCM-SHA256`
    RsaAes128Gcm,
    /// `ECDHE-ECDSA-AES256-GCM-SHA384`
    EcdsaAes256Gcm,
    /// `ECDHE-RSA-AES256-GCM-SHA384`
    RsaAes256Gcm,
    /// `ECDHE-ECDSA-CHACHA20-POLY1305`
    EcdsaChaCha20,
    /// `ECDHE-RSA-CHACHA20-POLY1305`
    RsaChaCha20,
}

impl Gateway {
    /// Whether one of the references is to this document.
    pub fn is_among(&self, references: &[GatewayRef]) -> bool {
        references.iter().any(|reference| match reference {
            GatewayRef::Mesh => false,
            GatewayRef::Named { namespace, name } => {
                *namespace == self.metadata.namespace && *name == self.metadata.name
            }
        })
    }

    pub(super) fn decode(spec: &Item<'_>, metadata: Metadata) -> Decoded<Self> {
        let mut object = spec.object()?;
        let selector = object.field_or_default("selector", |item| {
            let labels = item.each_entry(|key, item| Ok((key.to_owned(), item.string()?.to_owned())))?;
            Ok(labels.into_iter().collect())
        });
        let servers = object.required("servers").and_then(|item| decode_servers(&item));
        object.finish();
        Ok(Self { metadata, selector: selector?, servers: servers? })
    }

    pub(super) fn encode(&self) -> Value {
        Fields::new().map("selector", &self.selector).list("servers", self.servers.iter().map(Server::encode)).into()
    }
}

fn decode_servers(item: &Item<'_>) -> Decoded<Vec<Server>> {
    let mut names = HashSet::new();
    let servers = item.each(|item| {
        let server = Server::decode(item)?;
        if names.insert(server.port_name.clone()) {
            return Ok(server);
        }
        Err(item.error(format!("a second port called {}", quoted(&server.port_name))))
    })?;
    if servers.is_empty() {
        return Err(item.error("at least one server is required"));
    }
    Ok(servers)
}

/// `port` of a server.
struct Port {
    number: u16,
    name: String,
    protocol: String,
}

impl Server {
    /// Whether it is one for the gateway.
    pub fn is_served(&self) -> bool {
        !matches!(self.transport, ServerTransport::Unserved { .. })
    }

    /// Whether its clients begin with TLS.
    pub(crate) fn is_for_tls(&self) -> bool {
        ["HTTPS", "TLS"].iter().any(|protocol| self.protocol.eq_ignore_ascii_case(protocol))
    }

    fn decode(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        let port = object.required("port").and_then(|item| Port::decode(&item));
        let hosts = object.required("hosts").and_then(|item| {
            let hosts = item.each(ServerHost::decode)?;
            if hosts.is_empty() { Err(item.error("at least one host is required")) } else { Ok(hosts) }
        });
        let tls = object.optional("tls");
        object.pass_over(&[("defaultEndpoint", "nor anywhere in Istio")]);
        object.refuse(&UNSUPPORTED_SERVER);
        // A name for people; nothing refers to it.
        object.read_over(&["name"]);
        let transport = match (&port, tls) {
            (Err(reported), _) => Err(*reported),
            (Ok(port), tls) if port.is_unserved(tls.as_ref()) => {
                item.warn(NOT_SERVED, "leave the server out, or keep it for Istio");
                Ok(ServerTransport::Unserved { tls: tls.as_ref().map(Item::raw) })
            }
            (Ok(port), Some(tls)) if port.is_tls() => ServerTransport::decode_tls(&tls),
            (Ok(port), None) if port.is_tls() => Err(object.missing("tls", "required for the protocol HTTPS")),
            (Ok(_), Some(tls)) => ServerTransport::decode_plain(&tls),
            (Ok(_), None) => Ok(ServerTransport::Plain { https_redirect: false }),
        };
        object.finish();
        let port = port?;
        Ok(Self {
            port: port.number,
            port_name: port.name,
            protocol: port.protocol,
            hosts: hosts?,
            transport: transport?,
        })
    }

    fn encode(&self) -> Value {
        let port = Fields::new()
            .field("number", self.port)
            .field("name", self.port_name.as_str())
            .field("protocol", self.protocol.as_str());
        Fields::new()
            .field("port", port)
            .list("hosts", self.hosts.iter().map(ServerHost::encode))
            .some("tls", self.transport.encode())
            .into()
    }
}

impl Port {
    fn decode(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        let number = object.required("number").and_then(|item| item.port());
        let name = object.required("name").and_then(|item| match item.string()? {
            "" => Err(item.error("the name of a port must not be empty")),
            text => Ok(text.to_owned()),
        });
        let protocol = object.required("protocol").and_then(|item| Self::decode_protocol(&item));
        if let Some(item) = object.optional("targetPort")
            && item.port_or_none().is_ok_and(|port| port.is_some())
        {
            item.advise("has no meaning in a Gateway", "leave it out");
        }
        object.finish();
        Ok(Self { number: number?, name: name?, protocol: protocol? })
    }

    /// Case does not count, as in Istio.
    fn decode_protocol(item: &Item<'_>) -> Decoded<String> {
        let text = item.string()?;
        let name = text.to_ascii_uppercase();
        if PROTOCOLS.contains(&name.as_str()) || UNSERVED_PROTOCOLS.contains(&name.as_str()) {
            return Ok(text.to_owned());
        }
        if UNSUPPORTED_PROTOCOLS.contains(&name.as_str()) {
            return Err(item.unsupported_value(text));
        }
        Err(item.advise(format!("{} is not a protocol", quoted(text)), format!("write {}", one_of(PROTOCOLS))))
    }

    fn is_tls(&self) -> bool {
        self.protocol.eq_ignore_ascii_case("HTTPS")
    }

    /// Istio takes a missing mode for `PASSTHROUGH`.
    fn is_unserved(&self, tls: Option<&Item<'_>>) -> bool {
        let is_unserved_mode = |tls: &Item<'_>| {
            let mode = tls.object().ok().and_then(|mut object| object.optional("mode"));
            mode.is_none_or(|mode| UNSERVED_MODES.iter().any(|unserved| mode.is_text(unserved)))
        };
        UNSERVED_PROTOCOLS.contains(&self.protocol.to_ascii_uppercase().as_str())
            || self.is_tls() && tls.is_some_and(is_unserved_mode)
    }
}

impl ServerHost {
    /// `host`, `*/host`, `./host` or `namespace/host`.
    fn decode(item: &Item<'_>) -> Decoded<Self> {
        let text = item.string()?;
        let (namespace, host) = match text.split_once('/') {
            None => (NamespaceScope::Any, text),
            Some(("*", host)) => (NamespaceScope::Any, host),
            Some((".", host)) => (NamespaceScope::Own, host),
            Some((namespace, host)) if is_label(namespace) => (NamespaceScope::Named(namespace.to_owned()), host),
            Some((namespace, _)) => {
                let message = format!("{} is not a namespace", quoted(namespace));
                return Err(item.advise(message, "write namespace/host, ./host or */host"));
            }
        };
        if host.starts_with('*') && !(host == "*" || host.starts_with("*.")) {
            return Err(item.advise(format!("the wildcard of {} is not a whole label", quoted(host)), "write *.host"));
        }
        let host = HostPattern::parse(host).map_err(|error| item.error(error.to_string()))?;
        match host {
            HostPattern::Exact(name) if !name.contains(['.', ':']) => Err(item.advise(
                format!("{} is a short name, which a Gateway does not resolve", quoted(&name)),
                "write the full name of the host",
            )),
            host => Ok(Self { namespace, host }),
        }
    }

    fn encode(&self) -> String {
        match &self.namespace {
            NamespaceScope::Any => self.host.to_string(),
            NamespaceScope::Own => format!("./{}", self.host),
            NamespaceScope::Named(namespace) => format!("{namespace}/{}", self.host),
        }
    }
}

impl ServerTransport {
    /// Of `tls`, a port in clear text may only have the redirect to HTTPS.
    fn decode_plain(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        let https_redirect = object.field_or_default("httpsRedirect", Item::boolean);
        let mode = object.field("mode", |item| match item.string()? {
            "PASSTHROUGH" => Ok(()),
            _ => Err(item.advise("a port in clear text has no TLS settings", "write the protocol HTTPS")),
        });
        for name in ["caCertificates", "cipherSuites", "credentialName", "maxProtocolVersion", "minProtocolVersion"] {
            refuse_in_plain_text(&mut object, name);
        }
        refuse_in_plain_text(&mut object, "privateKey");
        refuse_in_plain_text(&mut object, "serverCertificate");
        object.refuse(&UNSUPPORTED_TLS);
        object.finish();
        mode?;
        Ok(Self::Plain { https_redirect: https_redirect? })
    }

    fn decode_tls(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        let modes =
            [("SIMPLE", ClientAuth::None), ("MUTUAL", ClientAuth::Required), ("OPTIONAL_MUTUAL", ClientAuth::Optional)];
        let client_auth = match object.optional("mode") {
            Some(item) => item.choice(&modes, &[]),
            None => Err(object.missing("mode", "required")),
        };
        let credential = Credential::decode(item, &mut object, client_auth.ok());
        let min_version = TlsVersion::decode_min(&mut object);
        let max_version = TlsVersion::decode_max(&mut object);
        let cipher_suites = object.field_or_default("cipherSuites", decode_cipher_suites);
        if let Some(redirect) = object.optional("httpsRedirect")
            && redirect.boolean().is_ok_and(|redirects| redirects)
        {
            redirect.warn("does nothing on a port with TLS", "write it on the port in clear text");
        }
        object.refuse(&UNSUPPORTED_TLS);
        object.finish();
        let (min_version, max_version) = (min_version?, max_version?);
        if min_version > max_version {
            item.warn("no version of TLS is left between the oldest and the newest", "no client can connect");
        }
        let cipher_suites = cipher_suites?;
        Ok(Self::Tls { credential: credential?, client_auth: client_auth?, min_version, max_version, cipher_suites })
    }

    /// None if there is nothing to say.
    fn encode(&self) -> Option<Value> {
        let (credential, client_auth, min_version, max_version, cipher_suites) = match self {
            Self::Unserved { tls } => return tls.clone(),
            Self::Plain { https_redirect: false } => return None,
            Self::Plain { https_redirect: true } => return Fields::new().field("httpsRedirect", true).into_filled(),
            Self::Tls { credential, client_auth, min_version, max_version, cipher_suites } => {
                (credential, client_auth, *min_version, *max_version, cipher_suites)
            }
        };
        let mode = match client_auth {
            ClientAuth::None => "SIMPLE",
            ClientAuth::Optional => "OPTIONAL_MUTUAL",
            ClientAuth::Required => "MUTUAL",
        };
        let fields = Fields::new().field("mode", mode);
        let fields = match credential {
            Credential::Named(name) => fields.field("credentialName", name.as_str()),
            Credential::Files { certificate, key, ca } => fields
                .field("serverCertificate", certificate.as_str())
                .field("privateKey", key.as_str())
                .some("caCertificates", ca.as_deref()),
        };
        fields
            .some("minProtocolVersion", (min_version != TlsVersion::V1_2).then(|| min_version.name()))
            .some("maxProtocolVersion", (max_version != TlsVersion::V1_3).then(|| max_version.name()))
            .list("cipherSuites", cipher_suites.iter().map(|suite| suite.name()))
            .into_filled()
    }
}

const NOT_SERVED: &str = "not served: the gateway has HTTP, and TLS that it ends itself, with its own certificates";

fn refuse_in_plain_text(object: &mut Object<'_>, name: &'static str) {
    if let Some(item) = object.optional(name) {
        item.advise("a port in clear text has no TLS settings", "write the protocol HTTPS, or leave it out");
    }
}

impl Credential {
    fn decode(tls: &Item<'_>, object: &mut Object<'_>, client_auth: Option<ClientAuth>) -> Decoded<Self> {
        let named = object.field_or_default("credentialName", |item| match item.filled()? {
            Some(_) => name(item).map(Some),
            None => Ok(None),
        });
        let mut path = |field| object.field_or_default(field, |item| Ok(item.filled()?.map(str::to_owned)));
        let (certificate, key, ca) = (path("serverCertificate"), path("privateKey"), path("caCertificates"));
        match (named?, certificate?, key?, ca?) {
            (Some(name), None, None, None) => Ok(Self::Named(name)),
            (Some(_), ..) => Err(tls.advise(
                "both credentialName and files are given",
                "leave out credentialName, or serverCertificate, privateKey and caCertificates",
            )),
            (None, Some(certificate), Some(key), ca) => {
                let needs_ca = client_auth.is_some_and(|client_auth| client_auth != ClientAuth::None);
                if needs_ca && ca.is_none() {
                    let advice = "write caCertificates or credentialName";
                    return Err(tls.advise("client certificates need an authority to check them by", advice));
                }
                Ok(Self::Files { certificate, key, ca })
            }
            (None, certificate, _, _) => {
                let missing = if certificate.is_some() { "private key" } else { "server certificate" };
                let advice = "write credentialName, or serverCertificate and privateKey";
                Err(tls.advise(format!("TLS requires a {missing}"), advice))
            }
        }
    }
}

impl TlsVersion {
    /// Whoever takes clients of an older version as well takes those of TLS 1.2.
    fn decode_min(object: &mut Object<'_>) -> Decoded<Self> {
        let known = [("TLS_AUTO", Self::V1_2), ("TLSV1_2", Self::V1_2), ("TLSV1_3", Self::V1_3)];
        let version = object.field("minProtocolVersion", |item| {
            if UNSUPPORTED_VERSIONS.iter().any(|version| item.is_text(version)) {
                item.warn(
                    "clients of TLS 1.0 and 1.1 cannot connect: the gateway has TLS 1.2 and 1.3",
                    "write TLSV1_2",
                );
                return Ok(Self::V1_2);
            }
            item.choice(&known, &[])
        });
        Ok(version?.unwrap_or(Self::V1_2))
    }

    fn decode_max(object: &mut Object<'_>) -> Decoded<Self> {
        let known = [("TLS_AUTO", Self::V1_3), ("TLSV1_2", Self::V1_2), ("TLSV1_3", Self::V1_3)];
        let version = object.field("maxProtocolVersion", |item| item.choice(&known, &UNSUPPORTED_VERSIONS));
        Ok(version?.unwrap_or(Self::V1_3))
    }

    fn name(self) -> &'static str {
        match self {
            Self::V1_2 => "TLSV1_2",
            Self::V1_3 => "TLSV1_3",
        }
    }
}

impl CipherSuite {
    fn name(self) -> &'static str {
        CIPHER_SUITES.iter().find(|(_, suite)| *suite == self).map_or("", |(name, _)| name)
    }
}

/// Each once, in the document's order. What is no suite is passed over, as Istio does it.
fn decode_cipher_suites(item: &Item<'_>) -> Decoded<Vec<CipherSuite>> {
    let served = |text: &str| CIPHER_SUITES.iter().find(|(name, _)| *name == text).map(|(_, suite)| *suite);
    let any_is_served = item.each(|item| Ok(served(item.string()?).is_some()))?.contains(&true);
    let (mut suites, mut any_is_unserved) = (Vec::new(), false);
    item.each(|item| {
        let text = item.string()?;
        match served(text) {
            Some(suite) if suites.contains(&suite) => item.warn("this cipher suite is there twice", "leave it out"),
            Some(suite) => suites.push(suite),
            None if UNSERVED_CIPHER_SUITES.contains(&text) => {
                any_is_unserved = true;
                if any_is_served {
                    item.warn(format!("{text} is not offered: the gateway does not have it"), "leave it out");
                }
            }
            None if text == "ALL" || !text.starts_with(|c: char| c.is_ascii_alphanumeric()) => {
                return Err(item.unsupported_value(text));
            }
            None => item.warn(format!("{} is no cipher suite that Istio knows", quoted(text)), "leave it out"),
        }
        Ok(())
    })?;
    if any_is_unserved && !any_is_served {
        let advice = format!("write {}", one_of(CIPHER_SUITES.map(|(name, _)| name)));
        return Err(item.advise("not supported by the gateway: it has none of these", advice));
    }
    Ok(suites)
}
