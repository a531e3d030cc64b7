//! Certificates and keys for server connections: read anew for each one, parsed only when they changed.

use std::sync::Arc;

use parking_lot::Mutex;
use weir_config::{PostgresEndpoint, RootCertificate, SecretSource, Verification as Wanted};
use weir_core::{
    net::tls::{ClientCertificate, ClientTls, ClientTlsSettings, Pem, Roots, TlsVersions, Verification},
    refusal::OpenError,
};

use super::off_reactor;

/// ALPN name of the protocol; required for direct TLS, harmless otherwise.
const ALPN: &[u8] = b"postgresql";

/// What was last made, and of what.
#[derive(Debug, Default)]
pub(super) struct Materials(Arc<Mutex<Option<Made>>>);

#[derive(Debug)]
struct Made {
    of: ClientTlsSettings,
    tls: Arc<ClientTls>,
}

impl Materials {
    /// The TLS settings of the endpoint as they are now.
    pub(super) async fn tls(&self, endpoint: &PostgresEndpoint) -> Result<Arc<ClientTls>, OpenError> {
        let (endpoint, cache) = (endpoint.clone(), self.0.clone());
        off_reactor(move || {
            let settings = settings(&endpoint)?;
            if let Some(made) = &*cache.lock()
                && made.of == settings
            {
                return Ok(made.tls.clone());
            }
            let tls = ClientTls::new(&settings).map_err(|error| OpenError::Misconfigured(error.to_string()))?;
            let tls = Arc::new(tls);
            *cache.lock() = Some(Made {
                of: settings,
                tls: tls.clone(),
            });
            Ok(tls)
        })
        .await?
    }
}

fn settings(endpoint: &PostgresEndpoint) -> Result<ClientTlsSettings, OpenError> {
    let roots = match &endpoint.root_certificate {
        Some(RootCertificate::Pem(source)) => Some(Roots::Pem(pem("sslrootcert", source)?)),
        Some(RootCertificate::System) => Some(Roots::System),
        None => None,
    };
    let verification = match (endpoint.verification(), roots) {
        (Wanted::Nothing, _) => Verification::None,
        (Wanted::Chain, Some(roots)) => Verification::Authority(roots),
        (Wanted::Chain, None) => {
            return Err(OpenError::Misconfigured(
                "sslmode=verify-ca needs sslrootcert: with the system's certificates anybody could show one of theirs"
                    .to_owned(),
            ));
        }
        (Wanted::ChainAndName, roots) => Verification::AuthorityAndName(roots.unwrap_or(Roots::System)),
    };
    let certificate = match (&endpoint.client_certificate, &endpoint.client_key) {
        (Some(certificate), Some(key)) => Some(ClientCertificate {
            certificate: pem("sslcert", certificate)?,
            key: pem("sslkey", key)?,
            passphrase: match &endpoint.client_key_password {
                Some(source) => Some(source.resolve().map_err(|error| misconfigured("sslpassword", &error))?),
                None => None,
            },
        }),
        (None, None) => None,
        (Some(_), None) => return Err(OpenError::Misconfigured("sslcert is set without sslkey".to_owned())),
        (None, Some(_)) => return Err(OpenError::Misconfigured("sslkey is set without sslcert".to_owned())),
    };
    Ok(ClientTlsSettings {
        verification,
        expected_name: None,
        certificate,
        alpn: vec![ALPN.to_vec()],
        versions: TlsVersions::All,
    })
}

fn pem(setting: &str, source: &SecretSource) -> Result<Pem, OpenError> {
    let text = source.resolve().map_err(|error| misconfigured(setting, &error))?;
    Ok(Pem::new(setting, text.expose().as_bytes()))
}

fn misconfigured(setting: &str, error: &weir_config::ResolveError) -> OpenError {
    OpenError::Misconfigured(format!("{setting}: {error}"))
}
