//! Conversations of PostgreSQL's clients in the core's rig.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

use weir_config::{SequenceFunctions, SessionStatePolicy};
use weir_core::{
    settings::{PoolMode, ReplicaRouting},
    testing::rig::{Connection, Rig, Words},
};
use weir_postgres::{
    dialogue::{Conversation, ConversationInit, packed::Packed},
    session::{Overlay, Parameters, Session, SessionInit, SourceState},
};

use crate::{
    messages::{said, told},
    model::Server,
};

pub struct Gateway<S> {
    rig: Rig<Conversation, S>,
    pub shared: Arc<SourceState>,
}

pub fn init(shared: &Arc<SourceState>) -> ConversationInit {
    ConversationInit {
        pool_mode: PoolMode::Transaction,
        session_state: SessionStatePolicy::Follow,
        told: Parameters::default(),
        overlay: Overlay::default(),
        replica_routing: ReplicaRouting::None,
        read_only: false,
        replication: false,
        shared: shared.clone(),
        asker: shared.asker("somebody", SequenceFunctions::Learn),
        client_id: 1,
        bell: weir_core::front::Bell::default(),
    }
}

pub fn session(shared: &Arc<SourceState>, max_prepared_statements: u32) -> Session {
    Session::new(SessionInit {
        parameters: Parameters::default(),
        max_prepared_statements,
        shared: shared.clone(),
        replication: false,
    })
}

impl<S: Server> Gateway<S> {
    pub fn new(servers: impl IntoIterator<Item = S>) -> Self {
        let shared = SourceState::new();
        let connect = |server| Connection::new(session(&shared, 3), server);
        let connections = servers.into_iter().map(connect).collect();
        Gateway {
            rig: Rig::new(connections, Words { said, told }),
            shared,
        }
    }

    pub fn client(&mut self) -> usize {
        self.client_with(|_| {})
    }

    pub fn client_with(&mut self, change: impl FnOnce(&mut ConversationInit)) -> usize {
        let mut init = init(&self.shared);
        change(&mut init);
        self.seat(Conversation::new(init))
    }

    /// Another process goes on with the client, if it is at rest and can be packed: of what was here, it knows nothing but
    /// the bytes. (What clients and connections share stays the same: here the connections do, too.)
    pub fn hand_over(&mut self, client: usize) -> bool {
        let elsewhere = init(&self.shared);
        let Some(bytes) = self.packed_at_rest(client) else {
            return false;
        };
        let packed = Packed::read(&bytes).unwrap();
        self.clients[client].conversation = Conversation::resume(elsewhere, packed).unwrap();
        true
    }

    pub fn ask(&mut self, client: usize, bytes: &[u8]) -> String {
        self.send(client, bytes);
        told(&self.receive(client))
    }

    /// A lost connection is replaced.
    pub fn replace(&mut self, index: usize, server: S) {
        let session = session(&self.shared, 3);
        self.rig.replace(index, Connection::new(session, server));
    }
}

impl<S> Deref for Gateway<S> {
    type Target = Rig<Conversation, S>;

    fn deref(&self) -> &Self::Target {
        &self.rig
    }
}

impl<S> DerefMut for Gateway<S> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.rig
    }
}
