//! Certificates for server connections, and what `Encrypt` and its relatives mean: read anew for each connection, parsed
//! only when something changed.

use std::{path::Path, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use parking_lot::Mutex;
use weir_config::{Encrypt, MssqlEndpoint, SecretSource, SslMode, TlsSettings};
use weir_core::{
    net::tls::{ClientCertificate, ClientTls, ClientTlsSettings, Pem, Roots, TlsVersions, Verification},
    refusal::OpenError,
};

use super::{Wanted, encrypt_of, off_reactor};

/// ALPN name of TDS 8.0.
pub(crate) const ALPN: &[u8] = b"tds/8.0";

/// What was last made, and of what. A handful: with and without verification, inside packets and directly.
#[derive(Debug, Default)]
pub(super) struct Materials(Arc<Mutex<Vec<Made>>>);

#[derive(Debug)]
struct Made {
    of: ClientTlsSettings,
    tls: Arc<ClientTls>,
}

/// Settings of one endpoint need two at most; the rest are left over from files that changed.
const KEPT: usize = 4;

/// [`Wanted`] before certificates have been parsed.
enum Plan {
    Clear,
    LoginOnly(Box<ClientTlsSettings>, Box<ClientTlsSettings>),
    Full(Box<ClientTlsSettings>),
    Strict(Box<ClientTlsSettings>),
}

impl Materials {
    /// How the line is to be secured, as things are now. `overlay` wins over the connection string.
    pub(super) async fn wanted(
        &self,
        endpoint: &MssqlEndpoint,
        overlay: Option<&TlsSettings>,
    ) -> Result<Wanted, OpenError> {
        let (endpoint, overlay, cache) = (endpoint.clone(), overlay.cloned(), self.0.clone());
        off_reactor(move || {
            let make = |settings: &ClientTlsSettings| made(&cache, settings);
            Ok(match plan(&endpoint, overlay.as_ref())? {
                Plan::Clear => Wanted::Clear,
                Plan::LoginOnly(login, required) => Wanted::LoginOnly {
                    login: make(&login)?,
                    required: make(&required)?,
                },
                Plan::Full(settings) => Wanted::Full(make(&settings)?),
                Plan::Strict(settings) => Wanted::Strict(make(&settings)?),
            })
        })
        .await?
    }
}

fn made(cache: &Mutex<Vec<Made>>, settings: &ClientTlsSettings) -> Result<Arc<ClientTls>, OpenError> {
    if let Some(known) = cache.lock().iter().find(|known| known.of == *settings) {
        return Ok(known.tls.clone());
    }
    let tls = ClientTls::new(settings).map_err(|error| OpenError::Misconfigured(error.to_string()))?;
    let tls = Arc::new(tls);
    let mut cache = cache.lock();
    if cache.len() >= KEPT {
        cache.remove(0);
    }
    cache.push(Made {
        of: settings.clone(),
        tls: tls.clone(),
    });
    Ok(tls)
}

fn plan(endpoint: &MssqlEndpoint, overlay: Option<&TlsSettings>) -> Result<Plan, OpenError> {
    let encrypt = match overlay.map(|overlay| encrypt_of(overlay.mode)) {
        Some(Some(Encrypt::Mandatory)) if endpoint.encrypt == Encrypt::Strict => Encrypt::Strict,
        Some(Some(encrypt)) => encrypt,
        Some(None) => return Ok(Plan::Clear),
        None => endpoint.encrypt,
    };
    let certificate = client_certificate(endpoint, overlay)?;
    let settings = |verification: Verification, strict: bool| {
        Box::new(ClientTlsSettings {
            verification,
            expected_name: endpoint.host_name_in_certificate.clone(),
            certificate: certificate.clone(),
            alpn: if strict { vec![ALPN.to_vec()] } else { Vec::new() },
            // Inside packets TLS 1.3 breaks with what is in use (TDS 2.3).
            versions: if strict { TlsVersions::All } else { TlsVersions::Only12 },
        })
    };
    let verified = verification(endpoint, overlay, encrypt)?;
    Ok(match encrypt {
        // As Microsoft's drivers: nobody is asked who they are for the login alone.
        Encrypt::Optional => Plan::LoginOnly(settings(Verification::None, false), settings(verified, false)),
        Encrypt::Mandatory => Plan::Full(settings(verified, false)),
        Encrypt::Strict => Plan::Strict(settings(verified, true)),
    })
}

/// `ServerCertificate` pins; the overlay has libpq's words; otherwise the system's issuers vouch for the host, unless
/// `TrustServerCertificate` says that anybody will do, which strict does not take (TDS 2.4).
fn verification(
    endpoint: &MssqlEndpoint,
    overlay: Option<&TlsSettings>,
    encrypt: Encrypt,
) -> Result<Verification, OpenError> {
    if let Some(path) = &endpoint.server_certificate {
        return pinned(path).map(Verification::Exactly);
    }
    if let Some(overlay) = overlay {
        let roots = match &overlay.root_certificate {
            Some(source) => Some(Roots::Pem(pem("sslrootcert", source)?)),
            None if overlay.mode == SslMode::VerifyFull => Some(Roots::System),
            None => None,
        };
        // libpq's rules: a root certificate makes every mode check the issuer.
        let verification = match (overlay.mode, roots) {
            (SslMode::VerifyFull, Some(roots)) => Verification::AuthorityAndName(roots),
            (SslMode::VerifyCa | SslMode::VerifyFull, None) => {
                return Err(OpenError::Misconfigured(
                    "ssl_configuration: sslmode verify-ca needs sslrootcert".to_owned(),
                ));
            }
            (_, Some(roots)) => Verification::Authority(roots),
            (_, None) => Verification::None,
        };
        return Ok(match (verification, encrypt) {
            (Verification::None, Encrypt::Strict) => Verification::AuthorityAndName(Roots::System),
            (verification, _) => verification,
        });
    }
    Ok(match endpoint.trust_server_certificate && encrypt != Encrypt::Strict {
        true => Verification::None,
        false => Verification::AuthorityAndName(Roots::System),
    })
}

/// `ServerCertificate`: PEM, or DER, which `.cer` files usually are.
fn pinned(path: &Path) -> Result<Pem, OpenError> {
    Ok(Pem::new(
        format!("ServerCertificate ({})", path.display()),
        file("ServerCertificate", path, "CERTIFICATE")?,
    ))
}

fn client_certificate(
    endpoint: &MssqlEndpoint,
    overlay: Option<&TlsSettings>,
) -> Result<Option<ClientCertificate>, OpenError> {
    if let Some(overlay) = overlay
        && let (Some(certificate), Some(key)) = (&overlay.certificate, &overlay.key)
    {
        return Ok(Some(ClientCertificate {
            certificate: pem("sslcert", certificate)?,
            key: pem("sslkey", key)?,
            passphrase: match &overlay.key_password {
                Some(source) => Some(
                    source
                        .resolve()
                        .map_err(|error| OpenError::Misconfigured(format!("sslpassword: {error}")))?,
                ),
                None => None,
            },
        }));
    }
    let Some((certificate, key)) = &endpoint.client_certificate else {
        return Ok(None);
    };
    let key = key.as_ref().unwrap_or(certificate);
    Ok(Some(ClientCertificate {
        certificate: Pem::new(
            format!("ClientCertificate ({})", certificate.display()),
            file("ClientCertificate", certificate, "CERTIFICATE")?,
        ),
        key: Pem::new(
            format!("ClientKey ({})", key.display()),
            file("ClientKey", key, "PRIVATE KEY")?,
        ),
        passphrase: None,
    }))
}

/// A file in PEM, or in DER that is put into PEM as a `kind`.
fn file(setting: &str, path: &Path, kind: &str) -> Result<Vec<u8>, OpenError> {
    let bytes = std::fs::read(path)
        .map_err(|error| OpenError::Misconfigured(format!("{setting}: {}: {error}", path.display())))?;
    if bytes.windows(11).any(|window| window == b"-----BEGIN ") {
        return Ok(bytes);
    }
    Ok(format!(
        "-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n",
        STANDARD.encode(bytes)
    )
    .into_bytes())
}

fn pem(setting: &str, source: &SecretSource) -> Result<Pem, OpenError> {
    let text = source
        .resolve()
        .map_err(|error| OpenError::Misconfigured(format!("{setting}: {error}")))?;
    Ok(Pem::new(setting, text.expose().as_bytes()))
}
