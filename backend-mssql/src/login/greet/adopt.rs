//! A client that another process has let in and hands over.
//!
//! Invariants: nothing is read from the client or written to it; what is declared here decides (see
//! [`Hosts`](weir_core::front::Hosts)). Clients whose own login is passed on to servers do not come here: their passwords
//! stay with the process that they gave them to.

use bytes::BytesMut;
use weir_core::{
    front::{Arrival, Client, HandedClient, Hosts, Identity, Registration},
    net::Socket,
};

use super::{FrontendSettings, admit::pool_of};
use crate::{
    backend::Mssql,
    dialogue::{Conversation, packed::Packed},
    login::{handshake::TlsPolicy, stream::TdsStream},
    session::{Baseline, ConversationInit, Notices},
    settings::Profile,
};

/// The client as it is served here.
pub(super) async fn adopt(
    settings: &FrontendSettings,
    handed: HandedClient,
    registration: Registration,
) -> Result<Client<Mssql>, String> {
    let packed = Packed::read(handed.dialogue.expose()).map_err(|fault| fault.to_string())?;
    let profile = Profile::unpack(&handed.profile).map_err(|fault| fault.to_string())?;
    if matches!(settings.policy(), TlsPolicy::Require | TlsPolicy::Strict) {
        return Err("the listener asks for TLS here".to_owned());
    }
    if packed.tds_version != profile.tds_version.code() {
        return Err("what is known of it contradicts itself".to_owned());
    }
    let hosts = Hosts {
        registry: &settings.registry,
        credentials: &*settings.credentials,
        trust: settings.trust,
        user_counts: &settings.user_counts,
    };
    let Arrival { route, terms } = hosts.receive(&handed).await?;
    if terms.grant.read_only && !profile.read_only_intent {
        return Err("its user may do something else here (read_only)".to_owned());
    }
    let pool = pool_of(&route);
    let backend = pool.backend();
    let init = ConversationInit {
        pool_mode: terms.pool_mode,
        session_state: backend.session_state(),
        replica_routing: route.source.parts().replica_routing,
        read_only: profile.read_only_intent,
        tds_version: profile.tds_version,
        packet_size: packed.packet_size,
        spid: packed.spid,
        asked_database: packed.asked_database.clone(),
        database: packed.login.database.clone(),
        language: String::new(),
        // Part of what its login left, which comes with it.
        baseline: Baseline::default(),
        asked_language: None,
        collation: [0; 5],
        features: profile.features,
        notices: Notices::default(),
        profile: profile.clone(),
        tracker: backend.tracker().unwrap_or_default(),
        isolation_level: backend.opener().connection().isolation_level,
        server_name: String::new(),
        shared: backend.shared().clone(),
        asker: backend.shared().asker(&handed.user, backend.session_functions()),
        pin_notice: backend.pin_notice(),
        client_id: registration.id(),
    };
    let dialogue = Conversation::resume(init, &packed)?;
    let source = route.source.name.clone();
    let socket = Socket::inherit(handed.socket, handed.peer).map_err(|error| error.to_string())?;
    Ok(Client {
        io: TdsStream::Plain(socket),
        read_ahead: BytesMut::new(),
        dialogue,
        route,
        profile,
        terms,
        registration,
        identity: Identity {
            listener: settings.listener.clone(),
            user: handed.user,
            source,
            peer: handed.peer,
            encrypted: false,
            application_name: handed.application_name,
        },
    })
}
