//! What backends are told of the certificate that a client showed: the header `x-forwarded-client-cert` with what Istio's
//! gateway puts into it, as Envoy writes it. The certificate was verified before.

use data_encoding::{BASE64, HEXLOWER};
use http::HeaderValue;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use x509_parser::extensions::GeneralName;
use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// What PEM has that Envoy escapes.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'+').add(b'/').add(b'=');

/// How long the lines of PEM are (RFC 7468, 2).
const LINE: usize = 64;

/// The header's value; none if the certificate cannot be read.
pub(crate) fn forwarded_certificate(der: &[u8]) -> Option<HeaderValue> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
    let uri = names.iter().find_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None });
    let mut value = format!(
        "Hash={};Cert=\"{}\";Subject=\"{}\";URI={}",
        HEXLOWER.encode(&Sha256::digest(der)),
        utf8_percent_encode(&pem(der), ESCAPED),
        subject(certificate.subject()),
        uri.and_then(plain).unwrap_or_default(),
    );
    for name in names {
        if let GeneralName::DNSName(name) = name
            && let Some(name) = plain(name)
        {
            value.push_str(";DNS=");
            value.push_str(name);
        }
    }
    HeaderValue::try_from(value).ok()
}

/// A name that is one thing in the list, and not more.
fn plain(name: &str) -> Option<&str> {
    let ends_it = |byte: u8| !byte.is_ascii_graphic() || matches!(byte, b';' | b',' | b'"' | b'\\');
    (!name.bytes().any(ends_it)).then_some(name)
}

fn pem(der: &[u8]) -> String {
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    let mut encoded = BASE64.encode(der);
    while !encoded.is_empty() {
        let rest = encoded.split_off(encoded.len().min(LINE));
        pem.push_str(&encoded);
        pem.push('\n');
        encoded = rest;
    }
    pem + "-----END CERTIFICATE-----\n"
}

/// The last of its parts first (RFC 2253, 2.1).
fn subject(name: &X509Name<'_>) -> String {
    let parts = name.iter_rdn().map(|part| part.iter().map(attribute).collect::<Vec<_>>().join("+"));
    let mut parts: Vec<String> = parts.collect();
    parts.reverse();
    parts.join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let kind = attribute.attr_type();
    let kind = oid2abbrev(kind, oid_registry()).map_or_else(|_| kind.to_id_string(), str::to_owned);
    let value = attribute.as_slice();
    let mut text = format!("{kind}=");
    for (index, byte) in value.iter().copied().enumerate() {
        let is_edge = (index == 0 && matches!(byte, b' ' | b'#')) || (index + 1 == value.len() && byte == b' ');
        if is_edge || matches!(byte, b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';') {
            text.push('\\');
            text.push(char::from(byte));
        } else if byte == b' ' || byte.is_ascii_graphic() {
            text.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(text, "\\{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use percent_encoding::percent_decode_str;
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType, string::Ia5String};

    /// The parts of its subject, its other names, and the end of what is told of it.
    type Row = (&'static [(DnType, &'static str)], Vec<SanType>, &'static str);

    fn ia5(text: &str) -> Ia5String {
        text.try_into().expect("ASCII")
    }

    #[test]
    fn a_certificate_is_told_as_envoy_tells_it() {
        let uri = |text| SanType::URI(ia5(text));
        let dns = |text| SanType::DnsName(ia5(text));
        let table: [Row; 4] = [
            (&[], vec![], "Subject=\"\";URI="),
            (
                &[(DnType::OrganizationName, "A, \"B\" \u{e9}"), (DnType::CommonName, " client.example.com")],
                vec![dns("a.example.com"), uri("spiffe://cluster.local/ns/a"), uri("spiffe://b"), dns("b.example.com")],
                "Subject=\"CN=\\ client.example.com,O=A\\, \\\"B\\\" \\C3\\A9\";URI=spiffe://cluster.local/ns/a;\
                 DNS=a.example.com;DNS=b.example.com",
            ),
            // Nothing may look like another field, or another element.
            (&[(DnType::CommonName, "a;URI=b")], vec![], "Subject=\"CN=a\\;URI=b\";URI="),
            (&[(DnType::CommonName, "a")], vec![uri("x:a;DNS=b"), dns("a,Hash=0")], "Subject=\"CN=a\";URI="),
        ];
        for (subject, names, expected) in table {
            let mut params = CertificateParams::default();
            params.subject_alt_names = names;
            params.distinguished_name = DistinguishedName::new();
            for (kind, value) in subject {
                params.distinguished_name.push(kind.clone(), *value);
            }
            let key = KeyPair::generate().expect("a key");
            let certificate = params.self_signed(&key).expect("it signs");
            let value = forwarded_certificate(certificate.der()).expect("a certificate");
            let value = value.to_str().expect("text");
            let (hash, rest) = value.split_once(";Cert=\"").expect("a certificate");
            let (pem, rest) = rest.split_once("\";").expect("an end");
            assert_eq!(hash, format!("Hash={}", HEXLOWER.encode(&Sha256::digest(certificate.der()))));
            assert_eq!(percent_decode_str(pem).decode_utf8().expect("text"), certificate.pem());
            assert!(!pem.contains([' ', '+', '/', '=', '\n']), "{pem}");
            assert_eq!(rest, expected);
        }
        assert_eq!(forwarded_certificate(b"not a certificate"), None);
    }
}
