//! A client that another process has let in and hands over: what it may do is looked up anew, as at a login.
//!
//! Invariants: nothing is read from the client or written to it; what is declared here decides, so that a client whose
//! user, source or way is not declared any more stays where it was. Must not know how it came here: that only another
//! process of the same user can bring it is the control socket's business.

use std::sync::Arc;

use bytes::BytesMut;
use weir_core::{
    front::{Client, HandedClient, Identity, Registration, Terms},
    net::{Peer, Socket, Stream},
    registry::Route,
};

use super::{FrontendSettings, Trust, admit, reception};
use crate::{
    backend::Postgres,
    dialogue::{Conversation, ConversationInit, packed::Packed},
    login::credentials::{Grant, Lookup},
    session::{Overlay, Parameters},
    settings::Profile,
};

/// The client as it is served here.
pub(super) async fn adopt(
    settings: &FrontendSettings,
    handed: HandedClient,
    registration: Registration,
) -> Result<Client<Postgres>, String> {
    let packed = Packed::read(handed.dialogue.expose()).map_err(|fault| fault.to_string())?;
    if reception::insists_on_tls(settings) && handed.peer != Peer::Unix {
        return Err("the listener asks for TLS here".to_owned());
    }
    let source = settings.registry.source(&handed.source);
    let source = source.ok_or_else(|| format!("source \"{}\" does not serve here", handed.source))?;
    if !source.has(&handed.target) {
        return Err("its database is not declared here".to_owned());
    }
    let database = source.parts().database_names.first().cloned();
    let grant = grant(settings, &handed, database.as_deref().unwrap_or(&handed.source)).await?;
    if !grant.covers(&source.name) {
        return Err("its user may not use the source here".to_owned());
    }
    let count = source.admit().map_err(|why| why.to_string())?;
    let place = settings.user_counts.admit(&handed.user, &grant);
    let place = place.map_err(|why| why.to_string())?;
    let route = Route::new(source.clone(), handed.target, count).holding(place);
    let allowance = settings.user_counts.allowance(&handed.user, &grant);
    let terms = Terms::new(&route, grant.clone(), allowance);
    let pool = admit::pool_of(&route);
    let dialogue = Conversation::resume(
        ConversationInit {
            pool_mode: terms.pool_mode,
            session_state: pool.backend().session_state(),
            told: Parameters::default(),
            overlay: Overlay::default(),
            replica_routing: source.parts().replica_routing,
            read_only: grant.read_only,
            replication: false,
            shared: pool.backend().shared().clone(),
            asker: admit::asker(&route, &handed.user),
            client_id: registration.id(),
            bell: registration.bell(),
        },
        packed,
    )?;
    let dialogue = match pool.backend().pin_notice() {
        true => dialogue.with_pin_notices(),
        false => dialogue,
    };
    let socket = Socket::inherit(handed.socket, handed.peer).map_err(|error| error.to_string())?;
    Ok(Client {
        io: Stream::Plain(socket),
        read_ahead: BytesMut::new(),
        dialogue,
        route,
        profile: Profile::default(),
        terms,
        registration,
        identity: Identity {
            listener: settings.listener.clone(),
            user: handed.user,
            source: source.name.clone(),
            peer: handed.peer,
            encrypted: false,
            application_name: handed.application_name,
        },
    })
}

/// What the user may do here. It has proved who it is already, to the process that let it in.
async fn grant(settings: &FrontendSettings, handed: &HandedClient, database: &str) -> Result<Arc<Grant>, String> {
    if handed.peer.is_loopback() && settings.trust == Trust::LoopbackAsAnybody {
        return Ok(Arc::new(Grant::everything()));
    }
    match settings.credentials.lookup(&handed.user, database).await {
        Lookup::Found(account) => Ok(account.grant),
        Lookup::Unknown => Err("there is no such user here".to_owned()),
        Lookup::Unusable(reason) => Err(reason),
        Lookup::Unavailable(error) => Err(format!("its user cannot be looked up at the moment: {error}")),
    }
}
