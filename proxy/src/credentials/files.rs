//! The files of a credential.

use crate::files;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};

/// Far more than a certificate needs.
const MAX_FILE_BYTES: usize = 64 << 20;

/// Where a credential's files are; those that it does not need are not looked at.
#[derive(Debug, Default)]
pub(super) struct Paths {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    pub(super) ca: PathBuf,
}

/// What is in them.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Files {
    pub(super) certificate: Option<Vec<u8>>,
    pub(super) key: Option<Vec<u8>>,
    pub(super) ca: Option<Vec<u8>>,
}

/// Which of them are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Needs {
    pub(super) certificate: bool,
    pub(super) ca: bool,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum CredentialError {
    #[error("no --credentials folder is set")]
    NoFolder,
    #[error("{0}: {1}")]
    Read(PathBuf, std::io::Error),
    #[error("{0}: {1}")]
    Pem(PathBuf, rustls::pki_types::pem::Error),
    #[error("{0} holds no certificate")]
    Empty(PathBuf),
    #[error("client certificates need the authority in {0}")]
    NoAuthority(PathBuf),
    #[error("{0}: {1}")]
    Authority(PathBuf, rustls::Error),
    #[error("the system trusts no authority: name one in caCertificates")]
    NoSystemRoots,
    #[error("tls.crt and tls.key, or the files in their place: {0}")]
    Tls(#[from] rustls::Error),
    #[error("the client authority: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

impl Paths {
    /// In the folder of a Secret.
    pub(super) fn of_secret(folder: &Path) -> Self {
        Self { certificate: folder.join("tls.crt"), key: folder.join("tls.key"), ca: folder.join("ca.crt") }
    }
}

impl Files {
    pub(super) fn read(paths: &Paths, needs: Needs) -> Result<Self, CredentialError> {
        let read = |path: &Path, is_needed: bool| {
            let read = |path: &Path| files::read(path, MAX_FILE_BYTES);
            let read = |path: &Path| read(path).map_err(|error| CredentialError::Read(path.to_owned(), error));
            is_needed.then(|| read(path)).transpose()
        };
        Ok(Self {
            certificate: read(&paths.certificate, needs.certificate)?,
            key: read(&paths.key, needs.certificate)?,
            ca: read(&paths.ca, needs.ca)?,
        })
    }

    /// When the certificate ends, in seconds since 1970.
    pub(super) fn expires(&self) -> Option<i64> {
        let first = CertificateDer::pem_slice_iter(self.certificate.as_ref()?).next()?.ok()?;
        let (_, certificate) = x509_parser::parse_x509_certificate(&first).ok()?;
        Some(certificate.validity().not_after.timestamp())
    }
}

pub(super) fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CredentialError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = chain.map_err(|error| CredentialError::Pem(path.to_owned(), error))?;
    if chain.is_empty() { Err(CredentialError::Empty(path.to_owned())) } else { Ok(chain) }
}

pub(super) fn private_key(path: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, CredentialError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| CredentialError::Pem(path.to_owned(), error))
}
