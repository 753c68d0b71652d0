//! PEM files.

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// All certificates of a PEM file, at least one.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err("no certificate in the PEM file".into()),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(not_read(&error).to_owned()),
    }
}

/// The first key of a PEM file.
pub(crate) fn key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| not_read(&error).to_owned())
}

/// Why a PEM file is not read. The error's own words quote a whole line of it, which is the key where line breaks were lost,
/// or where the key stands in the place of a certificate.
fn not_read(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::NoItemsFound => "nothing of the kind in the PEM file",
        pem::Error::IllegalSectionStart { .. } => "a line of the PEM file that begins a section goes on behind it",
        pem::Error::MissingSectionEnd { .. } => "a section of the PEM file has no end",
        pem::Error::Base64Decode(_) => "a section of the PEM file is not base64",
        _ => "not a PEM file",
    }
}
