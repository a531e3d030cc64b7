//! TLS of the listeners, as it is declared: made before anything of new metadata applies.
//!
//! Invariant: a listener never serves by other rules than the declared ones. Where what is declared now cannot be made
//! (no certificate, a wrong key, a mode that has nobody to trust), the metadata are refused as a whole; an old
//! certificate under a new mode, or an old mode that asks for less, would be neither.

use tokio::sync::watch;
use weir_config::{
    Place, Problem, Severity, Subject,
    model::{self, ListenerKind, ListenerTlsMode},
};
use weir_core::net::tls::ServerTls;
use weir_mssql::ListenerMaterial;

use super::certificates;

/// Of one listener; `None` is clear text.
#[derive(Clone)]
pub(super) enum Tls {
    Postgres(Option<weir_postgres::FrontendTls>),
    Mssql(Option<weir_mssql::FrontendTls>),
}

/// Of the listeners whose TLS is declared anew, by name.
#[derive(Default)]
pub(super) struct Renewal(Vec<(String, Tls)>);

impl Renewal {
    /// Makes it for these listeners.
    ///
    /// # Errors
    /// Which cannot be made, and why.
    pub(super) async fn prepare<'a>(
        changed: impl Iterator<Item = &'a model::Listener>,
        looks: &watch::Sender<()>,
    ) -> Result<Self, Vec<Problem>> {
        let (mut renewal, mut problems) = (Renewal::default(), Vec::new());
        for declared in changed {
            let made = match declared.kind {
                ListenerKind::Postgres => postgres(declared, looks).await.map(Tls::Postgres),
                ListenerKind::Mssql => mssql(declared, looks).await.map(Tls::Mssql),
            };
            match made {
                Ok(tls) => renewal.0.push((declared.name.clone(), tls)),
                Err(reason) => problems.push(problem(declared, reason)),
            }
        }
        match problems.is_empty() {
            true => Ok(renewal),
            false => Err(problems),
        }
    }

    /// For the listener of this name, if it is declared anew.
    pub(super) fn take(&mut self, listener: &str) -> Option<Tls> {
        let place = self.0.iter().position(|(name, _)| name == listener)?;
        Some(self.0.swap_remove(place).1)
    }
}

/// Whether TLS is declared otherwise than before.
pub(super) fn is_changed(before: &model::Listener, now: &model::Listener) -> bool {
    before.tls != now.tls || before.clear_text_only != now.clear_text_only
}

/// A listener that cannot be opened, or not as it is declared now.
pub(super) fn problem(declared: &model::Listener, reason: String) -> Problem {
    Problem {
        severity: Severity::Error,
        place: Place::whole("gateway.yaml"),
        message: reason,
        subject: Subject::Listener(declared.name.clone()),
    }
}

pub(super) async fn postgres(
    declared: &model::Listener,
    looks: &watch::Sender<()>,
) -> Result<Option<weir_postgres::FrontendTls>, String> {
    Ok(match &declared.tls {
        Some(tls) => Some(weir_postgres::FrontendTls {
            material: certificates::open(&declared.name, tls, ServerTls::new, looks.subscribe()).await?,
            mode: tls.mode,
        }),
        None => None,
    })
}

pub(super) async fn mssql(
    declared: &model::Listener,
    looks: &watch::Sender<()>,
) -> Result<Option<weir_mssql::FrontendTls>, String> {
    Ok(match &declared.tls {
        Some(tls) => Some(weir_mssql::FrontendTls {
            material: certificates::open(&declared.name, tls, ListenerMaterial::new, looks.subscribe()).await?,
            mode: tls.mode,
        }),
        None if declared.clear_text_only => None,
        None => Some(weir_mssql::FrontendTls {
            material: certificates::own(&declared.name).await?,
            // Passwords travel in clear inside of TLS.
            mode: match declared.is_loopback() {
                true => ListenerTlsMode::Optional,
                false => ListenerTlsMode::Required,
            },
        }),
    })
}
