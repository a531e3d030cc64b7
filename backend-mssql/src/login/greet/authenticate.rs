//! Who is it? A password, a client certificate, trust, or a server that says yes.
//!
//! Invariants: [`Authenticated`] is made only here; a user that does not exist hears the same words as one with a wrong
//! password, after the same time; reasons go to the log only. Whoever a server vouched for is served by connections of
//! that very login, never by the source's own.

use std::sync::Arc;

use weir_config::ListenerTlsMode;
use weir_core::{
    clock::{self, Instant},
    front::{Account, Grant, Lookup, Trust},
    net::Peer,
    refusal::{OpenError, Refusal, Retry},
    registry::Source,
};

use super::{Ended, FrontendSettings, reception::Line};
use crate::{
    backend::Mssql,
    login::{limits, request::LoginRequest},
    refusals,
    settings::{ClientLogin, LoginAs, Profile},
};

/// Somebody who has proved to be who it says. Made nowhere else than in this module.
#[derive(Debug)]
pub(super) struct Authenticated {
    pub(super) grant: Arc<Grant>,
    /// As whom its server connections log in.
    pub(super) login: LoginAs,
    _private: (),
}

impl Authenticated {
    fn as_allowed(grant: Arc<Grant>, login: LoginAs) -> Self {
        Authenticated {
            grant,
            login,
            _private: (),
        }
    }
}

/// Asks for a proof, and checks it. `database` is the name of the source that the client wants.
pub(super) async fn authenticate(
    settings: &FrontendSettings,
    line: &Line,
    login: &LoginRequest,
    database: &str,
    peer: Peer,
) -> Result<Authenticated, Ended> {
    let asked_at = clock::now();
    match prove(settings, line, login, database, peer).await {
        Ok(authenticated) => Ok(authenticated),
        Err(No::Wrong(reason)) => {
            // As with a wrong password: what was looked up may be out of date.
            settings.credentials.doubt(&login.user, database);
            Err(failed(line, login, &reason, asked_at).await)
        }
        Err(No::Other(ended)) => Err(ended),
    }
}

/// Why somebody is not let in.
enum No {
    /// The reason, for the log.
    Wrong(String),
    /// Nothing that says anything about the user.
    Other(Ended),
}

async fn prove(
    settings: &FrontendSettings,
    line: &Line,
    login: &LoginRequest,
    database: &str,
    peer: Peer,
) -> Result<Authenticated, No> {
    let local = peer.is_loopback();
    if local && settings.trust == Trust::LoopbackAsAnybody {
        return Ok(Authenticated::as_allowed(
            Arc::new(Grant::everything()),
            LoginAs::Source,
        ));
    }
    let lookup = settings.credentials.lookup(&login.user, database);
    let lookup = line
        .gate
        .within(lookup)
        .await
        .map_err(|closed| No::Other(closed.into()))?;
    let (account, reason) = match lookup {
        Lookup::Found(account) => (Some(account), String::new()),
        Lookup::Unknown => match passing_through(settings, database) {
            Some(source) => return pass_through(settings, line, login, &source).await,
            None => (None, "no such user".to_owned()),
        },
        Lookup::Unusable(reason) => (None, reason),
        Lookup::Unavailable(error) => {
            let words = refusals::describe(&Refusal::Open {
                source: database.into(),
                error: OpenError::Unreachable("users cannot be looked up at the moment".to_owned()),
            });
            return Err(No::Other(Ended::told(words, format!("looking up the user: {error}"))));
        }
    };
    let verdict = account
        .as_ref()
        .map(|account| certificate(settings, line, login, account));
    if let Some(account) = &account {
        let trusted = local && settings.trust == Trust::Loopback;
        if trusted || verdict == Some(Certificate::Proves) {
            return Ok(Authenticated::as_allowed(account.grant.clone(), LoginAs::Source));
        }
    }
    // Hashed in every case: whoever waits must not learn from the time which one it is.
    let verifier = account.as_ref().and_then(|account| account.verifier.clone());
    let accepted = settings.passwords.accepts(verifier, &login.user, &login.password);
    let accepted = line
        .gate
        .within(accepted)
        .await
        .map_err(|closed| No::Other(closed.into()))?;
    match (account, verdict, accepted) {
        (Some(account), Some(Certificate::SaysNothing), true) => {
            Ok(Authenticated::as_allowed(account.grant, LoginAs::Source))
        }
        (_, Some(Certificate::Fails(why)), _) => Err(No::Wrong(why.to_owned())),
        (Some(Account { verifier: None, .. }), _, _) => {
            Err(No::Wrong("the user needs a client certificate".to_owned()))
        }
        (Some(_), _, _) => Err(No::Wrong("wrong password".to_owned())),
        (None, _, _) => Err(No::Wrong(reason)),
    }
}

/// What the client's certificate is worth. TLS has verified it already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Certificate {
    /// It names the user, who may log in with it.
    Proves,
    /// A password decides.
    SaysNothing,
    /// The listener wants one that names the user, and it does not.
    Fails(&'static str),
}

fn certificate(settings: &FrontendSettings, line: &Line, login: &LoginRequest, account: &Account) -> Certificate {
    let mode = settings.tls.as_ref().map(|tls| tls.mode);
    let shown = line.stream.peer_certificate_name();
    let wanted = account.certificate.as_deref();
    match (shown, mode) {
        (Some(name), _) if wanted == Some(name.as_str()) => Certificate::Proves,
        (Some(name), Some(ListenerTlsMode::ClientCertificateNamed)) if wanted.is_none() && name == login.user => {
            Certificate::SaysNothing
        }
        (_, Some(ListenerTlsMode::ClientCertificateNamed)) => {
            Certificate::Fails("the client certificate is for somebody else (sslmode verify-full of the listener)")
        }
        _ => Certificate::SaysNothing,
    }
}

/// The source that the client wants, if it lets logins through.
fn passing_through(settings: &FrontendSettings, database: &str) -> Option<Arc<Source<Mssql>>> {
    let (source, _) = settings.registry.find(database).ok()?;
    let passes = source.parts().primary.backend().proven_logins().is_some();
    passes.then_some(source)
}

/// A server of the source decides (TDS 3.5). What it said yes to is remembered, so that further logins need no connection.
async fn pass_through(
    settings: &FrontendSettings,
    line: &Line,
    login: &LoginRequest,
    source: &Arc<Source<Mssql>>,
) -> Result<Authenticated, No> {
    let pool = source.parts().primary.clone();
    let Some(proven) = pool.backend().proven_logins() else {
        return Err(No::Wrong("no such user".to_owned()));
    };
    let digest = line
        .gate
        .within(settings.passwords.digest(&login.user, &login.password));
    let digest = digest.await.map_err(|closed| No::Other(closed.into()))?;
    let digest = digest.ok_or_else(|| No::Other(Refusal::ShuttingDown.into()))?;
    let client = LoginAs::Client(Arc::new(ClientLogin {
        user: login.user.clone(),
        password: login.password.clone(),
        digest,
    }));
    let grant = Arc::new(Grant::of_source(&source.name));
    if proven.knows(&login.user, &digest) {
        return Ok(Authenticated::as_allowed(grant, client));
    }
    let turn = line.gate.within(proven.turn());
    let _turn = turn.await.map_err(|closed| No::Other(closed.into()))?;
    let profile = Profile {
        login: client.clone(),
        ..login.profile.clone()
    };
    let left = line.gate.deadline().duration_since(clock::now());
    match pool.acquire(profile, Some(left)).await {
        Ok(lease) => {
            lease.finish();
            proven.add(&login.user, digest);
            Ok(Authenticated::as_allowed(grant, client))
        }
        Err(Refusal::Open {
            error: OpenError::Rejected(rejection),
            ..
        }) if rejection.retry == Retry::Useless => Err(No::Wrong(format!(
            "the server refused the login that was passed on: {} ({}{})",
            rejection.message,
            rejection.code,
            rejection.detail.map(|detail| format!(", {detail}")).unwrap_or_default(),
        ))),
        Err(why) => Err(No::Other(why.into())),
    }
}

/// "Login failed", at the same time after the question whatever it took to find out.
async fn failed(line: &Line, login: &LoginRequest, reason: &str, asked_at: Instant) -> Ended {
    let answer_at = asked_at + limits::FAILURE_AFTER;
    // The deadline of the login counts more.
    let _ = line.gate.within(tokio::time::sleep_until(answer_at.into())).await;
    let words = refusals::login_failed(&login.user);
    Ended::told(words, format!("user \"{}\": {reason}", login.user))
}
