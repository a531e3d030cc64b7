//! Letting an administrator in to the console: authenticated like everybody, and allowed by its user's role.

use std::sync::Arc;

use bytes::BytesMut;
use weir_core::{
    admin::{Console, DATABASES, Visit},
    front::Identity,
    net::{Peer, Stream},
    refusal::Refusal,
};

use super::{Ended, FrontendSettings, admit::application_name, authenticate::authenticate, reception::Line};
use crate::{
    login::{handshake::Login, words::Fatal},
    session::Parameters,
    wire::{authentication, ready_for_query::TransactionStatus, write},
};

/// The console, if that is what this login asks for: by one of its names, unless a source has that name.
pub(super) fn asked_for(settings: &FrontendSettings, login: &Login) -> Option<Arc<Console>> {
    if !DATABASES.contains(&&*login.database) {
        return None;
    }
    match settings.registry.find(&login.database) {
        Err(Refusal::UnknownDatabase(_)) => settings.console.clone(),
        Ok(_) | Err(_) => None,
    }
}

/// Everything between the startup packet and the first command.
pub(super) async fn admit(
    settings: &FrontendSettings,
    mut line: Line,
    login: Login,
    peer: Peer,
    console: Arc<Console>,
) -> Result<Visit<Stream>, (Ended, Line)> {
    match let_in(settings, &mut line, &login, peer).await {
        Ok((user, registration, place)) => Ok(Visit {
            stream: line.stream,
            buffer: line.buffer,
            registration,
            console,
            user,
            place,
        }),
        Err(ended) => Err((ended, line)),
    }
}

type LetIn = (Arc<str>, weir_core::front::Registration, Box<dyn Send>);

async fn let_in(settings: &FrontendSettings, line: &mut Line, login: &Login, peer: Peer) -> Result<LetIn, Ended> {
    let mut out = BytesMut::new();
    let who = authenticate(settings, line, login, peer, &mut out).await?;
    let user: Arc<str> = login.user.as_str().into();
    if who.grant.console.is_none() {
        let fatal = Fatal::new(
            "42501",
            format!("permission denied for database \"{}\"", login.database),
        )
        .detail(format!("It is the console, and user \"{user}\" is no administrator."))
        .hint("Users with role: admin or role: stats in gateway.yaml may use it.");
        return Err(Ended::told(fatal, format!("user \"{user}\" may not use the console")));
    }
    let place = settings.user_counts.admit(&user, &who.grant)?;
    let registration = settings
        .clients
        .register(login.protocol.cancel_secret_len())
        .map_err(|_| Ended::told(Fatal::new("53300", "sorry, too many clients already"), "no id is free"))?;
    registration.introduce(Identity {
        listener: settings.listener.clone(),
        user: user.clone(),
        source: login.database.as_str().into(),
        peer,
        encrypted: line.stream.is_encrypted(),
        application_name: application_name(&login.settings),
    });
    authentication::authentication_ok(&mut out);
    for (name, value) in reports(&user).iter() {
        write::parameter_status(&mut out, name, value);
    }
    authentication::backend_key_data(registration.id(), registration.secret(), &mut out);
    write::ready_for_query(&mut out, TransactionStatus::Idle);
    line.write(&out).await?;
    Ok((user, registration, Box::new(place)))
}

/// What drivers want to know of a server before they believe in it.
fn reports(user: &str) -> Parameters {
    let version = concat!(env!("CARGO_PKG_VERSION"), "/weir");
    Parameters::from_pairs([
        ("server_version", version),
        ("server_encoding", "UTF8"),
        ("client_encoding", "UTF8"),
        ("DateStyle", "ISO, MDY"),
        ("IntervalStyle", "postgres"),
        ("TimeZone", "UTC"),
        ("integer_datetimes", "on"),
        ("standard_conforming_strings", "on"),
        ("is_superuser", "off"),
        ("session_authorization", user),
    ])
}
