//! Letting an administrator in to the console: authenticated like everybody, and allowed by its user's role.

use std::sync::Arc;

use weir_core::{
    admin::{Console, DATABASES, Visit},
    front::{Identity, Registration, application_name},
    net::Peer,
    refusal::Refusal,
};

use super::{
    Ended, FrontendSettings,
    admit::{SECRET, answer, spid},
    authenticate::authenticate,
    reception::{Line, UNKNOWN_SERVER},
};
use crate::{
    console::{COLLATION, ConsoleConversation},
    login::{reply::Welcome, request::LoginRequest, stream::TdsStream},
    refusals::{SERVER, Words, number},
    session::Features,
};

/// The console, if that is what this login asks for: by one of its names, unless a source has that name.
pub(super) fn asked_for(settings: &FrontendSettings, login: &LoginRequest) -> Option<Arc<Console>> {
    if !DATABASES.iter().any(|name| login.database.eq_ignore_ascii_case(name)) {
        return None;
    }
    match settings.registry.find(&login.database) {
        Err(Refusal::UnknownDatabase(_)) => settings.console.clone(),
        Ok(_) | Err(_) => None,
    }
}

/// Everything between LOGIN7 and the first command.
pub(super) async fn admit(
    settings: &FrontendSettings,
    mut line: Line,
    login: &LoginRequest,
    peer: Peer,
    console: Arc<Console>,
) -> Result<(Visit<TdsStream>, ConsoleConversation), (Ended, Line)> {
    match let_in(settings, &mut line, login, peer).await {
        Ok((user, registration, place)) => {
            let visit = Visit {
                stream: line.stream,
                buffer: line.buffer,
                registration,
                console,
                user,
                place,
            };
            Ok((visit, ConsoleConversation::new(login.tds_version, login.packet_size)))
        }
        Err(ended) => Err((ended, line)),
    }
}

type LetIn = (Arc<str>, Registration, Box<dyn Send>);

async fn let_in(
    settings: &FrontendSettings,
    line: &mut Line,
    login: &LoginRequest,
    peer: Peer,
) -> Result<LetIn, Ended> {
    let who = authenticate(settings, line, login, &login.database, peer).await?;
    let user: Arc<str> = login.user.as_str().into();
    if who.grant.console.is_none() {
        let text = format!(
            "The server principal \"{user}\" is not able to access the database \"{}\": it is the console, for users with \
             role: admin or role: stats in gateway.yaml.",
            login.database
        );
        let words = Words::new(number::NO_ACCESS, 14, text);
        return Err(Ended::told(words, format!("user \"{user}\" may not use the console")));
    }
    let place = settings.user_counts.admit(&user, &who.grant)?;
    let registration = settings
        .clients
        .register(SECRET)
        .map_err(|_| Ended::told(Words::new(number::TOO_BUSY, 20, "Too many clients."), "no id is free"))?;
    registration.introduce(Identity {
        listener: settings.listener.clone(),
        user: user.clone(),
        source: login.database.as_str().into(),
        peer,
        encrypted: line.stream.is_encrypted(),
        application_name: application_name(&login.application),
    });
    let tokens = answer(login, &welcome(), spid(registration.id()));
    line.write(&tokens).await?;
    Ok((user, registration, Box::new(place)))
}

/// What drivers want to know of a server before they believe in it.
fn welcome() -> Welcome {
    Welcome {
        program: "Weir".to_owned(),
        version: UNKNOWN_SERVER,
        database: DATABASES[0].to_owned(),
        language: "us_english".to_owned(),
        collation: COLLATION,
        server_name: SERVER.to_owned(),
        features: Features::default(),
        database_notice: None,
        language_notice: None,
    }
}
