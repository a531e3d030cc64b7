//! A client that another process has let in and hands over.
//!
//! Invariants: nothing is read from the client or written to it; what is declared here decides (see
//! [`Hosts`](weir_core::front::Hosts)).

use bytes::BytesMut;
use weir_core::{
    front::{Arrival, Client, HandedClient, Hosts, Identity, Registration},
    net::{Peer, Socket, Stream},
};

use super::{FrontendSettings, admit, reception};
use crate::{
    backend::Postgres,
    dialogue::{Conversation, ConversationInit, packed::Packed},
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
    let hosts = Hosts {
        registry: &settings.registry,
        credentials: &*settings.credentials,
        trust: settings.trust,
        user_counts: &settings.user_counts,
    };
    let Arrival { route, terms } = hosts.receive(&handed).await?;
    let pool = admit::pool_of(&route);
    let dialogue = Conversation::resume(
        ConversationInit {
            pool_mode: terms.pool_mode,
            session_state: pool.backend().session_state(),
            told: Parameters::default(),
            overlay: Overlay::default(),
            replica_routing: route.source.parts().replica_routing,
            read_only: terms.grant.read_only,
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
    let source = route.source.name.clone();
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
            source,
            peer: handed.peer,
            encrypted: false,
            application_name: handed.application_name,
        },
    })
}
