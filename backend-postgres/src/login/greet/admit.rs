//! From a startup packet to a client that is told "ready": authentication, places, the welcome.

use std::sync::Arc;

use bytes::BytesMut;
use weir_core::{
    backend::Access,
    clock,
    front::{self, Client, Identity, Registration, Terms},
    net::Peer,
    registry::{Route, Source},
};

use super::{
    Ended, FrontendSettings,
    authenticate::{Authenticated, authenticate},
    reception::Line,
};
use crate::{
    backend::Postgres,
    dialogue::{Conversation, ConversationInit},
    login::{credentials::Grant, handshake::Login, welcome, words::Fatal},
    session::{Overlay, Parameters, last_values::Asker},
    settings::{Profile, Replication},
    wire::{authentication, ready_for_query::TransactionStatus, write},
};

/// Bytes of BackendKeyData and ReadyForQuery, as a rule.
const KEY_AND_READY: usize = 64;

/// A client that was let in and told so.
pub(super) struct Admitted {
    dialogue: Conversation,
    route: Route<Postgres>,
    profile: Profile,
    terms: Terms,
    registration: Registration,
    identity: Identity,
}

impl Admitted {
    /// Joins it with its line.
    pub(super) fn seat(self, line: Line) -> Client<Postgres> {
        Client {
            io: line.stream,
            read_ahead: line.buffer,
            dialogue: self.dialogue,
            route: self.route,
            profile: self.profile,
            terms: self.terms,
            registration: self.registration,
            identity: self.identity,
        }
    }
}

/// Everything between the startup packet and the first request.
pub(super) async fn admit(
    settings: &FrontendSettings,
    line: &mut Line,
    login: Login,
    peer: Peer,
) -> Result<Admitted, Ended> {
    let mut out = BytesMut::new();
    let who = authenticate(settings, line, &login, peer, &mut out).await?;
    authentication::authentication_ok(&mut out);
    let user: Arc<str> = login.user.as_str().into();
    let (route, source) = route(settings, &login, &who, &user)?;
    let registration = settings
        .clients
        .register(login.protocol.cancel_secret_len())
        .map_err(|_| Fatal::new("53300", "sorry, too many clients already"))
        .map_err(|fatal| Ended::told(fatal, "no id is free"))?;

    let overlay = overlay(&route, &login);
    let effective = effective(&overlay, &who.grant);
    let profile = profile(login.replication, &effective);
    let fresh = fresh_session(&route, profile.clone(), &who.grant, line).await?;
    let shared = pool_of(&route).backend().shared().clone();
    let (told, reports) = shared.welcome(&fresh, &effective, || welcome::welcome(&fresh, &effective));
    out.reserve(reports.len() + KEY_AND_READY);
    out.extend_from_slice(&reports);
    authentication::backend_key_data(registration.id(), registration.secret(), &mut out);
    write::ready_for_query(&mut out, TransactionStatus::Idle);
    line.write(&out).await?;

    let allowance = settings.user_counts.allowance(&user, &who.grant);
    let terms = Terms::new(&route, who.grant.clone(), allowance);
    let replication = login.replication != Replication::No;
    let dialogue = Conversation::new(ConversationInit {
        pool_mode: terms.pool_mode,
        session_state: pool_of(&route).backend().session_state(),
        told,
        // A WAL sender has had them in its startup packet.
        overlay: if replication { Overlay::default() } else { overlay },
        replica_routing: source.parts().replica_routing,
        read_only: who.grant.read_only && !replication,
        replication,
        shared,
        asker: asker(&route, &user),
        client_id: registration.id(),
        bell: registration.bell(),
    });
    let dialogue = match pool_of(&route).backend().pin_notice() {
        true => dialogue.with_pin_notices(),
        false => dialogue,
    };
    Ok(Admitted {
        dialogue,
        profile,
        terms,
        registration,
        identity: Identity {
            listener: settings.listener.clone(),
            user,
            source: source.name.clone(),
            peer,
            encrypted: line.stream.is_encrypted(),
            application_name: application_name(&login.settings),
        },
        route,
    })
}

/// What the client calls itself.
pub(super) fn application_name(settings: &[(String, String)]) -> Arc<str> {
    let said = settings
        .iter()
        .rev()
        .find(|(name, _)| name.eq_ignore_ascii_case("application_name"));
    front::application_name(said.map_or("", |(_, value)| value))
}

/// What is known of the user, at the endpoint that it was routed to.
pub(super) fn asker(route: &Route<Postgres>, user: &str) -> Asker {
    let pool = pool_of(route);
    let backend = pool.backend();
    backend.shared().asker(user, backend.sequence_functions())
}

/// Finds the source, and takes the places that the client needs. Told only to who has authenticated itself.
fn route(
    settings: &FrontendSettings,
    login: &Login,
    who: &Authenticated,
    user: &Arc<str>,
) -> Result<(Route<Postgres>, Arc<Source<Postgres>>), Ended> {
    let (source, target) = settings.registry.find(&login.database)?;
    if !who.grant.covers(&source.name) {
        let fatal = Fatal::new(
            "42501",
            format!("permission denied for database \"{}\"", login.database),
        )
        .detail(format!("User \"{user}\" may not use source \"{}\".", source.name))
        .hint("The sources that a user may use are listed under users[].sources in gateway.yaml.");
        return Err(Ended::told(
            fatal,
            format!("user \"{user}\" may not use source \"{}\"", source.name),
        ));
    }
    let count = source.admit()?;
    let place = settings.user_counts.admit(user, &who.grant)?;
    Ok((Route::new(source.clone(), target, count).holding(place), source))
}

/// The settings that the client brings along.
fn overlay(route: &Route<Postgres>, login: &Login) -> Overlay {
    let named_by_source = pool_of(route).backend().application_name().is_some();
    let settings = login
        .settings
        .iter()
        .filter(|(name, _)| !(named_by_source && name.eq_ignore_ascii_case("application_name")));
    Overlay::from_pairs(settings.map(|(name, value)| (name.as_str(), value.as_str())))
}

/// With what its user adds to it.
fn effective(overlay: &Overlay, grant: &Grant) -> Overlay {
    match grant.read_only {
        true => overlay.with("default_transaction_read_only", "on"),
        false => overlay.clone(),
    }
}

/// Ordinary clients share server connections whatever their settings; a WAL sender is opened for one client.
fn profile(replication: Replication, settings: &Overlay) -> Profile {
    let settings = match replication {
        Replication::No => Arc::default(),
        Replication::Physical | Replication::Logical => settings
            .iter()
            .map(|setting| (setting.name.to_string(), setting.value.to_string()))
            .collect(),
    };
    Profile { replication, settings }
}

/// What a fresh session of the source looks like: known from earlier connections, or from one that is opened now.
async fn fresh_session(
    route: &Route<Postgres>,
    profile: Profile,
    grant: &Grant,
    line: &Line,
) -> Result<Parameters, Ended> {
    let pool = pool_of(route);
    if let Some(known) = pool.backend().welcome() {
        return Ok((*known).clone());
    }
    // The login's own deadline is not stretched by a long pool_timeout.
    let left = line.gate.deadline().duration_since(clock::now());
    let patience = match grant.pool_timeout.unwrap_or(pool.settings().pool_timeout) {
        Some(timeout) => timeout.min(left),
        None => left,
    };
    let lease = pool.acquire(profile, Some(patience)).await?;
    let parameters = lease.session.parameters().clone();
    lease.finish();
    Ok(parameters)
}

pub(super) fn pool_of(route: &Route<Postgres>) -> Arc<weir_core::pool::Pool<Postgres>> {
    route.pool(Access::ReadWrite)
}
