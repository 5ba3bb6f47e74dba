//! TLS by rustls, TLS 1.2 and 1.3, with certificates in PEM files.

use std::{fmt, fs, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use x509_parser::parse_x509_certificate;

use crate::config::ApiTls;

/// Largest PEM file, in bytes.
const FILE_MAX: u64 = 1 << 20;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The gateway's side. Whoever shows a certificate shows one of the client CAs.
pub(super) fn server(files: &ApiTls) -> Result<ServerConfig, String> {
    let said = |why: &dyn fmt::Display| format!("gateway.api.tls: {why}");
    let chain = certificates(&files.certificate).map_err(|why| said(&why))?;
    let key = key(&files.key).map_err(|why| said(&why))?;
    let builder = ServerConfig::builder_with_provider(provider());
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| said(&error))?;
    let builder = match &files.client_ca {
        Some(file) => {
            let roots = Arc::new(roots(file).map_err(|why| said(&why))?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
            let verifier = verifier.allow_unauthenticated().build().map_err(|error| said(&error))?;
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| {
        said(&format!("{} and {}: {error}", files.certificate.display(), files.key.display()))
    })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// A client's side: whom it trusts, and what it shows of itself.
///
/// # Errors
/// A sentence: a file that cannot be read, or has nothing in it.
pub fn client(ca: &Path, own: Option<(&Path, &Path)>) -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder_with_provider(provider());
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    let builder = builder.with_root_certificates(roots(ca)?);
    let mut config = match own {
        Some((certificate, file)) => builder
            .with_client_auth_cert(certificates(certificate)?, key(file)?)
            .map_err(|error| error.to_string())?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The common name of a certificate's subject.
pub(super) fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = parse_x509_certificate(certificate).ok()?;
    parsed.subject().iter_common_name().next()?.as_str().ok().map(str::to_owned)
}

fn roots(file: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(roots)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let said = |why: &dyn fmt::Display| format!("{}: {why}", file.display());
    let pem = read(file)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let all = all.map_err(|error| said(&error))?;
    if all.is_empty() { Err(said(&"has no certificate; give a PEM file")) } else { Ok(all) }
}

fn key(file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(&read(file)?).map_err(|error| format!("{}: {error}", file.display()))
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    let said = |why: &dyn fmt::Display| format!("{}: {why}", file.display());
    if fs::metadata(file).map_err(|error| said(&error))?.len() > FILE_MAX {
        return Err(said(&format!("is larger than {FILE_MAX} bytes; give a PEM file")));
    }
    fs::read(file).map_err(|error| said(&error))
}
