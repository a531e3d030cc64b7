//! The certificate of a listener: read at the start, again whenever the metadata are read again, and now and then.
//!
//! Invariant: only material that has been checked is ever presented. A renewed certificate that is wrong (its key
//! missing, expired) is logged, and the old one stays.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use tracing::{error, info};
use weir_config::model::{ListenerTls, SecretSource};
use weir_core::{
    net::tls::{MaterialError, Pem, Reloadable, ServerTlsSettings, TlsVersions},
    secret::Secret,
};
use weir_mssql::ListenerMaterial;
use weir_postgres::server_tls_settings;

/// How often files are looked at. Certificates are renewed days before they expire, so a minute is soon enough.
const LOOK: Duration = Duration::from_secs(60);

/// Makes what a frontend needs of the settings. Blocks.
type Make<T> = fn(&ServerTlsSettings) -> Result<T, MaterialError>;

/// Material and the settings it was made of.
struct Loaded<T> {
    settings: ServerTlsSettings,
    tls: T,
}

/// The listener's TLS, followed by a task for as long as the listener lives.
///
/// # Errors
/// Which setting cannot be used, and why.
pub(super) async fn open<T: Send + Sync + 'static>(
    listener: &str,
    tls: &ListenerTls,
    make: Make<T>,
    looks: watch::Receiver<()>,
) -> Result<Arc<Reloadable<T>>, String> {
    let Loaded { settings, tls: first } = load(listener.to_owned(), tls.clone(), make).await?;
    let material = Arc::new(Reloadable::new(first));
    if is_in_files(tls) {
        tokio::spawn(follow(
            listener.to_owned(),
            tls.clone(),
            settings,
            Arc::downgrade(&material),
            make,
            looks,
        ));
    }
    Ok(material)
}

/// A certificate of the gateway's own making, for a listener of SQL Server that has none: new with each start, and signed
/// by itself, as SQL Server's own.
///
/// # Errors
/// Why there is none.
pub(super) async fn own(listener: &str) -> Result<Arc<Reloadable<ListenerMaterial>>, String> {
    let made = tokio::task::spawn_blocking(|| {
        let issued = rcgen::generate_simple_self_signed(["weir".to_owned(), "localhost".to_owned()])
            .map_err(|error| error.to_string())?;
        let origin = "the certificate of the gateway's own making";
        let settings = ServerTlsSettings {
            certificate: Pem::new(origin, issued.cert.pem()),
            key: Pem::new(origin, issued.signing_key.serialize_pem()),
            passphrase: None::<Secret<String>>,
            client_certificates: weir_core::net::tls::ClientCertificates::Ignored,
            alpn: Vec::new(),
            versions: TlsVersions::All,
        };
        ListenerMaterial::new(&settings).map_err(|error| error.to_string())
    });
    let made = made
        .await
        .unwrap_or_else(|_| Err("making the certificate broke off".to_owned()))?;
    info!(
        listener,
        hint = "clients need TrustServerCertificate=yes; ssl_configuration of the listener names a certificate that they can check",
        "the listener shows a certificate of its own making"
    );
    Ok(Arc::new(Reloadable::new(made)))
}

async fn follow<T: Send + Sync + 'static>(
    listener: String,
    tls: ListenerTls,
    mut settings: ServerTlsSettings,
    material: std::sync::Weak<Reloadable<T>>,
    make: Make<T>,
    mut looks: watch::Receiver<()>,
) {
    let mut failed = None;
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            // Whoever could tell has gone, and the listener with it.
            told = looks.changed() => if told.is_err() { return },
        }
        let loaded = load(listener.clone(), tls.clone(), make).await;
        let Some(material) = material.upgrade() else { return };
        match loaded {
            Ok(loaded) if loaded.settings != settings => {
                settings = loaded.settings;
                material.replace(loaded.tls);
                failed = None;
                info!(listener, "certificate replaced");
            }
            Ok(_) => failed = None,
            // The same failure is told once.
            Err(reason) if failed.as_ref() == Some(&reason) => {}
            Err(reason) => {
                error!(
                    listener,
                    reason, "the renewed certificate cannot be used; the old one stays"
                );
                failed = Some(reason);
            }
        }
    }
}

/// Files and key derivation block: off the threads that serve.
async fn load<T: Send + 'static>(listener: String, tls: ListenerTls, make: Make<T>) -> Result<Loaded<T>, String> {
    let loaded = tokio::task::spawn_blocking(move || {
        let settings = server_tls_settings(&listener, &tls)?;
        let tls = make(&settings).map_err(|error| error.to_string())?;
        Ok(Loaded { settings, tls })
    });
    loaded
        .await
        .unwrap_or_else(|_| Err("reading the certificate broke off".to_owned()))
}

fn is_in_files(tls: &ListenerTls) -> bool {
    let all = [
        Some(&tls.certificate),
        Some(&tls.key),
        tls.key_password.as_ref(),
        tls.client_root_certificate.as_ref(),
    ];
    all.into_iter()
        .flatten()
        .any(|source| matches!(source, SecretSource::File(_)))
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use weir_config::model::{ListenerTlsMode, SecretFile};
    use weir_core::net::tls::ServerTls;

    use super::*;

    fn issue(folder: &Path) -> Vec<u8> {
        let issued = rcgen::generate_simple_self_signed(["gateway.test".to_owned()]).expect("a certificate");
        fs::write(folder.join("cert.pem"), issued.cert.pem()).expect("a file");
        fs::write(folder.join("key.pem"), issued.signing_key.serialize_pem()).expect("a file");
        issued.cert.der().to_vec()
    }

    fn in_files(folder: &Path) -> ListenerTls {
        let file = |name: &str| {
            SecretSource::File(SecretFile {
                path: folder.join(name),
                allowed_prefix: None,
            })
        };
        ListenerTls {
            mode: ListenerTlsMode::Required,
            certificate: file("cert.pem"),
            key: file("key.pem"),
            key_password: None,
            client_root_certificate: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewed_certificate_is_used_and_a_broken_one_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = issue(folder.path());
        let (looks, look) = watch::channel(());
        let tls = open("pg", &in_files(folder.path()), ServerTls::new, look)
            .await
            .expect("it can be used");
        let presented = || tls.current().certificate().to_vec();
        assert_eq!(presented(), first);

        let second = issue(folder.path());
        tokio::time::sleep(2 * LOOK).await;
        assert_eq!(presented(), second);

        // The certificate has been renewed, its key not yet.
        let key = fs::read(folder.path().join("key.pem")).expect("the key");
        let third = issue(folder.path());
        let third_key = fs::read(folder.path().join("key.pem")).expect("the key");
        fs::write(folder.path().join("key.pem"), key).expect("a file");
        tokio::time::sleep(2 * LOOK).await;
        assert_eq!(presented(), second);
        fs::write(folder.path().join("key.pem"), third_key).expect("a file");
        tokio::time::sleep(2 * LOOK).await;
        assert_eq!(presented(), third);

        // Whoever knows that something has changed need not wait.
        let fourth = issue(folder.path());
        looks.send(()).expect("somebody looks");
        while presented() != fourth {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn what_cannot_be_used_names_listener_and_setting() {
        let folder = tempfile::tempdir().expect("a folder");
        issue(folder.path());
        fs::write(folder.path().join("key.pem"), "canary-8Zt").expect("a file");
        let opened = open("pg", &in_files(folder.path()), ServerTls::new, watch::channel(()).1).await;
        let reason = opened.expect_err("not a key");
        assert!(reason.contains("listener pg") && reason.contains("sslkey"), "{reason}");
        assert!(!reason.contains("canary-8Zt"), "{reason}");
    }
}
