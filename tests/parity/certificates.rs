//! The certificates that cases name: those of two servers and of a wildcard, a client's, their authority, and one of
//! which that authority knows nothing.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use anyhow::Context as _;
use turnout_tests::certificates::{Authority, Certificate, certificate_bytes};
use turnout_tests::mount::KubeletMount;

/// Each name, and what its certificate is for.
const SIGNED: [(&str, &str); 4] =
    [("a", "a.example.com"), ("b", "b.example.com"), ("wild", "*.wild.example.com"), ("client", "client.example.com")];

static MADE: LazyLock<Made> = LazyLock::new(|| Made::new().expect("certificates can be made"));

struct Made {
    by_name: BTreeMap<&'static str, Certificate>,
    authority: String,
}

impl Made {
    fn new() -> anyhow::Result<Self> {
        let authority = Authority::new()?;
        let signed = SIGNED.iter().map(|(name, of)| Ok((*name, authority.sign(&[of])?)));
        let mut by_name = signed.collect::<anyhow::Result<BTreeMap<_, _>>>()?;
        by_name.insert("stranger", Authority::new()?.sign(&["stranger"])?);
        Ok(Self { by_name, authority: authority.pem() })
    }
}

/// A folder with all of them: `NAME.crt` and `NAME.key`, and `ca.crt`.
pub(crate) fn mount() -> anyhow::Result<KubeletMount> {
    let mut files = BTreeMap::from([("ca.crt".to_owned(), MADE.authority.as_bytes())]);
    for (name, Certificate { certificate, key }) in &MADE.by_name {
        files.insert(format!("{name}.crt"), certificate.as_bytes());
        files.insert(format!("{name}.key"), key.as_bytes());
    }
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
    Ok(KubeletMount::new(&files)?)
}

/// The certificate of this name.
pub(crate) fn named(name: &str) -> anyhow::Result<&'static Certificate> {
    MADE.by_name.get(name).with_context(|| format!("no certificate {name:?}"))
}

/// The name of a certificate that a server showed.
pub(crate) fn name_of(shown: &[u8]) -> Option<&'static str> {
    let is_shown =
        |certificate: &Certificate| certificate_bytes(&certificate.certificate).is_ok_and(|own| own == shown);
    MADE.by_name.iter().find(|(_, certificate)| is_shown(certificate)).map(|(name, _)| *name)
}
