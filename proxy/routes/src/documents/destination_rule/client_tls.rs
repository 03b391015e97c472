//! `tls`: how the gateway speaks to the endpoints.

use crate::decode::{Decoded, Item};
use crate::documents::host::check_domain;
use crate::documents::metadata::name;
use crate::encode::Fields;
use serde_json::Value;

/// `tls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientTls {
    /// `DISABLE`, or no mode: in plain text.
    Disable,
    /// `ISTIO_MUTUAL`: with the mesh's certificates, of which the gateway has none. It speaks plain text, which backends
    /// of a mesh take unless they insist.
    IstioMutual,
    /// `SIMPLE` or `MUTUAL`.
    Originate(TlsOrigination),
}

/// TLS that the gateway begins.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TlsOrigination {
    /// What is shown to the endpoint: with `MUTUAL` always something.
    pub certificate: Option<ClientCertificate>,
    /// `caCertificates`: the file of whoever may have signed the endpoint's certificate; else those that the system trusts.
    pub ca: Option<String>,
    /// `insecureSkipVerify`: any certificate will do.
    pub accepts_any: bool,
    /// `sni`: what is asked for; else the request's host.
    pub sni: Option<String>,
    /// `subjectAltNames`: one of which the certificate must have; else, without `sni`, the request's host.
    pub subject_alt_names: Vec<String>,
}

/// The gateway's own certificate towards endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ClientCertificate {
    /// `clientCertificate` and `privateKey`.
    Files {
        /// The file with the certificate and its chain.
        certificate: String,
        /// The file with its key.
        key: String,
    },
    /// `credentialName`: a Secret, with the authorities in its `ca.crt`.
    Named {
        /// Its name, in the gateway's own namespace.
        name: String,
        /// `MUTUAL`: it must have a certificate, too.
        mutual: bool,
    },
}

#[derive(Clone, Copy)]
enum Mode {
    Disable,
    IstioMutual,
    Simple,
    Mutual,
}

/// Only Istio has these.
const UNSUPPORTED: [&str; 1] = ["caCrl"];
const MODES: [(&str, Mode); 4] = [
    ("DISABLE", Mode::Disable),
    ("SIMPLE", Mode::Simple),
    ("MUTUAL", Mode::Mutual),
    ("ISTIO_MUTUAL", Mode::IstioMutual),
];

impl ClientTls {
    pub(super) fn decode(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        let mode = object.field("mode", |item| item.choice(&MODES, &[]));
        let credential = object.field_or_default("credentialName", |item| match item.filled()? {
            Some(_) => name(item).map(Some),
            None => Ok(None),
        });
        let mut text = |field| object.field_or_default(field, |item| Ok(item.filled()?.map(str::to_owned)));
        let (certificate, key, ca) = (text("clientCertificate"), text("privateKey"), text("caCertificates"));
        let sni = object.field_or_default("sni", |item| match item.filled()? {
            Some(name) => match check_domain(name) {
                Ok(()) => Ok(Some(name.to_owned())),
                Err(error) => Err(item.error(error.to_string())),
            },
            None => Ok(None),
        });
        let accepts_any = object.field_or_default("insecureSkipVerify", Item::boolean);
        let names = object.field_or_default("subjectAltNames", |item| item.each(|item| Ok(item.string()?.to_owned())));
        object.refuse(&UNSUPPORTED);
        object.finish();
        let mutual = match mode?.unwrap_or(Mode::Disable) {
            Mode::Disable => return Ok(Self::Disable),
            Mode::IstioMutual => {
                item.warn(
                    "the gateway has no certificate of the mesh: it speaks plain text to this service",
                    "let its pods take plain text (PeerAuthentication PERMISSIVE), or use Istio mode",
                );
                return Ok(Self::IstioMutual);
            }
            Mode::Simple => false,
            Mode::Mutual => true,
        };
        let (ca, accepts_any, subject_alt_names) = (ca?, accepts_any?, names?);
        let credential = credential?;
        if accepts_any && (ca.is_some() || !subject_alt_names.is_empty() || (!mutual && credential.is_some())) {
            let message = "insecureSkipVerify leaves nothing to check the endpoint's certificate by";
            return Err(item.advise(message, "leave it out, or caCertificates, credentialName and subjectAltNames"));
        }
        let (certificate, key) = (certificate?, key?);
        if !mutual && credential.is_none() && (certificate.is_some() || key.is_some()) {
            item.warn("SIMPLE shows no certificate, as in Istio", "write MUTUAL, or leave clientCertificate out");
        }
        let certificate = match (credential, certificate, key) {
            (Some(name), None, None) if ca.is_none() => Some(ClientCertificate::Named { name, mutual }),
            (Some(_), ..) => {
                let advice = "leave out credentialName, or clientCertificate, privateKey and caCertificates";
                return Err(item.advise("both credentialName and files are given", advice));
            }
            (None, ..) if !mutual => None,
            (None, Some(certificate), Some(key)) => Some(ClientCertificate::Files { certificate, key }),
            (None, certificate, _) => {
                let missing = if certificate.is_some() { "private key" } else { "client certificate" };
                let advice = "write credentialName, or clientCertificate and privateKey";
                return Err(item.advise(format!("mutual TLS requires a {missing}"), advice));
            }
        };
        let ca = ca.filter(|path| path != "system");
        Ok(Self::Originate(TlsOrigination { certificate, ca, accepts_any, sni: sni?, subject_alt_names }))
    }

    pub(super) fn encode(&self) -> Value {
        let mode = |mode: &str| Fields::new().field("mode", mode);
        match self {
            Self::Disable => mode("DISABLE").into(),
            Self::IstioMutual => mode("ISTIO_MUTUAL").into(),
            Self::Originate(tls) => match &tls.certificate {
                None => tls.encode_onto(mode("SIMPLE")),
                Some(ClientCertificate::Files { certificate, key }) => tls.encode_onto(
                    mode("MUTUAL").field("clientCertificate", certificate.as_str()).field("privateKey", key.as_str()),
                ),
                Some(ClientCertificate::Named { name, mutual }) => tls.encode_onto(
                    mode(if *mutual { "MUTUAL" } else { "SIMPLE" }).field("credentialName", name.as_str()),
                ),
            },
        }
    }
}

impl TlsOrigination {
    fn encode_onto(&self, fields: Fields) -> Value {
        fields
            .some("caCertificates", self.ca.as_deref())
            .some("insecureSkipVerify", self.accepts_any.then_some(true))
            .some("sni", self.sni.as_deref())
            .list("subjectAltNames", self.subject_alt_names.iter().map(String::as_str))
            .into()
    }
}
