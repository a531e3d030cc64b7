//! Who is it? SCRAM, a client certificate, or trust; and the proof that the question was answered.
//!
//! Invariants: [`Authenticated`] is made only here; a user that does not exist goes through the same exchange as one
//! with a wrong password, hears the same words, and takes the same time; reasons go to the log only.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Buf as _, BytesMut};
use weir_config::ListenerTlsMode;
use weir_core::{
    net::{Peer, tls::certificate_common_name},
    refusal::Refusal,
};

use super::{Ended, FrontendSettings, Trust, reception::Line};
use crate::{
    dialogue::refusals,
    login::{
        credentials::{Account, Grant, Lookup},
        handshake::Login,
        limits,
        scram::{self, Binding, Proven, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramFault, Verifier},
        words::Fatal,
    },
    wire::{
        authentication::{self, Answer, AnswerFault},
        startup,
    },
};

/// Somebody who has proved to be who it says. Made nowhere else than in this module.
#[derive(Debug)]
pub(super) struct Authenticated {
    pub(super) grant: Arc<Grant>,
    _private: (),
}

impl Authenticated {
    fn as_allowed(grant: Arc<Grant>) -> Self {
        Authenticated { grant, _private: () }
    }
}

/// Asks for a proof, and checks it. Writes NegotiateProtocolVersion ahead of what it writes first; `out` is what has to
/// go ahead of AuthenticationOk when nothing was written.
pub(super) async fn authenticate(
    settings: &FrontendSettings,
    line: &mut Line,
    login: &Login,
    peer: Peer,
    out: &mut BytesMut,
) -> Result<Authenticated, Ended> {
    if let Some(unrecognised) = &login.negotiate {
        let names: Vec<_> = unrecognised.iter().map(String::as_str).collect();
        startup::negotiate_protocol_version(login.protocol, &names, out);
    }
    let local = peer.is_loopback();
    if local && settings.trust == Trust::LoopbackAsAnybody {
        return Ok(Authenticated::as_allowed(Arc::new(Grant::everything())));
    }
    let lookup = settings.credentials.lookup(&login.user, &login.database);
    let (account, reason) = match line.gate.within(lookup).await? {
        Lookup::Found(account) => (Some(account), ""),
        Lookup::Unknown => (None, "no such user"),
        Lookup::Unusable(reason) => {
            let failed = exchange_in_vain(settings, line, login, out).await;
            return Err(because(failed, &reason));
        }
        Lookup::Unavailable(error) => {
            let fatal = Fatal::new("57P03", "the user cannot be looked up at the moment")
                .detail("Users of this database are looked up in the database, which cannot be asked.")
                .hint("Try again later.");
            return Err(Ended::told(fatal, format!("auth_query: {error}")));
        }
    };
    let Some(account) = account else {
        return Err(because(exchange_in_vain(settings, line, login, out).await, reason));
    };
    if local && settings.trust == Trust::Loopback {
        return Ok(Authenticated::as_allowed(account.grant));
    }
    match certificate(settings, line, login, &account) {
        Certificate::Proves => Ok(Authenticated::as_allowed(account.grant)),
        Certificate::Fails(why) => Err(because(exchange_in_vain(settings, line, login, out).await, why)),
        Certificate::SaysNothing => match &account.verifier {
            None => Err(because(
                exchange_in_vain(settings, line, login, out).await,
                "the user needs a client certificate",
            )),
            Some(verifier) => match exchange(line, login, (**verifier).clone(), out).await {
                Ok(Proven { .. }) => Ok(Authenticated::as_allowed(account.grant)),
                Err(ended) => {
                    settings.credentials.doubt(&login.user, &login.database);
                    Err(ended)
                }
            },
        },
    }
}

/// What the client's certificate is worth. TLS has verified it already.
enum Certificate {
    /// It names the user, who may log in with it.
    Proves,
    /// A password decides.
    SaysNothing,
    /// The listener wants one that names the user, and it does not.
    Fails(&'static str),
}

fn certificate(settings: &FrontendSettings, line: &Line, login: &Login, account: &Account) -> Certificate {
    let mode = settings.tls.as_ref().map(|tls| tls.mode);
    // One is asked for only where `sslrootcert` says what to check it against, so whatever is here has been checked.
    let shown = line.stream.peer_certificate();
    let shown = shown.and_then(|shown| certificate_common_name(shown));
    let wanted = account.certificate.as_deref();
    match (shown, mode) {
        (Some(name), _) if wanted == Some(name.as_str()) => Certificate::Proves,
        (Some(name), Some(ListenerTlsMode::ClientCertificateNamed)) if wanted.is_none() && name == login.user => {
            Certificate::SaysNothing
        }
        (_, Some(ListenerTlsMode::ClientCertificateNamed)) if line.stream.is_encrypted() => {
            Certificate::Fails("the client certificate is for somebody else (sslmode verify-full of the listener)")
        }
        _ => Certificate::SaysNothing,
    }
}

/// The exchange with somebody who cannot log in whatever the password: indistinguishable from a wrong one.
async fn exchange_in_vain(settings: &FrontendSettings, line: &mut Line, login: &Login, out: &mut BytesMut) -> Ended {
    let mock = settings.verifiers.mock(&login.user);
    let result = exchange(line, login, mock, out).await;
    // As with a wrong password: the next attempt must not be told apart by what it costs, and may be a new user's.
    settings.credentials.doubt(&login.user, &login.database);
    match result {
        Err(ended) => ended,
        Ok(Proven { .. }) => failed(login, "a proof for a secret that nobody has"),
    }
}

/// SCRAM-SHA-256, with channel binding where the line can be bound to.
async fn exchange(line: &mut Line, login: &Login, verifier: Verifier, out: &mut BytesMut) -> Result<Proven, Ended> {
    let mechanisms: &[&str] = match line.binding {
        Binding::None => &[SCRAM_SHA_256],
        Binding::ServerEndPoint(_) => &[SCRAM_SHA_256_PLUS, SCRAM_SHA_256],
    };
    authentication::sasl_mechanisms(mechanisms, out);
    let offer = out.split();
    line.write(&offer).await?;

    let message = answer(line).await?;
    let (mechanism, first) = authentication::sasl_initial_response(&message).ok_or_else(|| {
        failed(
            login,
            "no SASLInitialResponse: a password in clear, or a malformed message",
        )
    })?;
    let nonce = nonce()?;
    let (challenge, next) =
        scram::begin(mechanism, first, &line.binding, verifier, &nonce).map_err(|fault| refused(login, fault))?;
    let mut reply = BytesMut::new();
    authentication::sasl_continue(&challenge, &mut reply);
    line.write(&reply).await?;

    let message = answer(line).await?;
    let (last, proven) = next.finish(&message).map_err(|fault| refused(login, fault))?;
    // Goes out together with AuthenticationOk.
    authentication::sasl_final(&last, out);
    Ok(proven)
}

/// The next password-type message.
async fn answer(line: &mut Line) -> Result<Vec<u8>, Ended> {
    loop {
        match authentication::answer(&line.buffer) {
            Ok(Answer::Body(body, taken)) => {
                let body = body.to_vec();
                line.buffer.advance(taken);
                return Ok(body);
            }
            Ok(Answer::Need(_)) => line.read_more().await?,
            Err(AnswerFault::Type) if line.buffer.first() == Some(&b'X') => {
                return Err(Ended::Silent(
                    "the client said good-bye when asked for a password".to_owned(),
                ));
            }
            Err(fault) => {
                let what = match fault {
                    AnswerFault::Type => "expected SASL response, got another message type",
                    AnswerFault::Length => "invalid message length",
                };
                return Err(Ended::told(Fatal::new("08P01", what), what));
            }
        }
    }
}

fn nonce() -> Result<String, Ended> {
    let mut random = [0; limits::SCRAM_NONCE];
    getrandom::fill(&mut random)
        .map_err(|error| Ended::told(Fatal::new("58000", "no random bytes"), error.to_string()))?;
    Ok(STANDARD.encode(random))
}

fn refused(login: &Login, fault: ScramFault) -> Ended {
    match fault {
        ScramFault::Refused(reason) => failed(login, reason),
        // PostgreSQL's words: whoever hears them should look for the man in the middle.
        ScramFault::Downgraded => Ended::told(
            Fatal::new("28000", "SCRAM channel binding negotiation error").detail(
                "The client supports SCRAM channel binding but thinks the server does not. However, this server does \
                 support channel binding.",
            ),
            "channel binding was removed on the way",
        ),
    }
}

fn failed(login: &Login, reason: &str) -> Ended {
    let user = login.user.clone();
    let fatal = Fatal::from(refusals::fatal(&Refusal::Authentication { user }));
    Ended::told(fatal, format!("user \"{}\": {reason}", login.user))
}

/// The true reason of a login that failed, for the log.
fn because(ended: Ended, why: &str) -> Ended {
    match ended {
        Ended::Told { words, kind, .. } if words.code == "28P01" => Ended::Told {
            reason: format!("{}: {why}", words.message),
            words,
            kind,
        },
        other => other,
    }
}
