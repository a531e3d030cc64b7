//! Conversations of SQL Server's clients in the core's rig.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

use weir_core::{
    backend::Dialogue as _,
    settings::{PoolMode, ReplicaRouting, SessionFunctions, SessionStatePolicy},
    testing::rig::{Connection, Rig, Server, Words},
};
use weir_mssql::{
    dialogue::{Conversation, ConversationInit, packed::Packed},
    session::{Session, SessionInit, SourceState, Tracker},
    wire::packet::Header,
};

use crate::{
    messages::{PACKET, told},
    model::{Kind, Model},
};

pub struct Gateway {
    rig: Rig<Conversation, Model>,
    pub shared: Arc<SourceState>,
    pub kind: Kind,
}

pub fn init(shared: &Arc<SourceState>, kind: Kind) -> ConversationInit {
    ConversationInit {
        pool_mode: PoolMode::Transaction,
        session_state: SessionStatePolicy::Follow,
        replica_routing: ReplicaRouting::None,
        read_only: false,
        tds_version: Default::default(),
        packet_size: PACKET,
        spid: 1,
        asked_database: String::new(),
        database: "app".to_owned(),
        language: "us_english".to_owned(),
        baseline: Default::default(),
        asked_language: None,
        collation: [0; 5],
        features: Default::default(),
        notices: Default::default(),
        profile: Default::default(),
        tracker: tracker(kind),
        isolation_level: None,
        server_name: "model".to_owned(),
        shared: shared.clone(),
        asker: shared.asker("somebody", SessionFunctions::Learn),
        pin_notice: false,
        client_id: 1,
    }
}

pub fn session(shared: &Arc<SourceState>, model: &Model) -> Session {
    Session::new(SessionInit {
        tds_version: Default::default(),
        spid: 51,
        packet_size: model.packet_size,
        database: "app".to_owned(),
        language: "us_english".to_owned(),
        collation: [0; 5],
        features: Default::default(),
        initial_state: model.tells_state.then(Vec::new),
        profile: Default::default(),
        tracker: tracker(model.kind),
        isolation_level: None,
        max_prepared_statements: 10,
        shared: shared.clone(),
    })
}

fn tracker(kind: Kind) -> Tracker {
    match kind {
        Kind::SqlServer => Tracker::EnvChange,
        Kind::Probe => Tracker::Probe,
    }
}

impl Server for Model {
    fn send(&mut self, bytes: &[u8]) {
        Model::send(self, bytes);
    }

    fn receive(&mut self) -> Vec<u8> {
        Model::receive(self)
    }
}

impl Gateway {
    pub fn new(servers: impl IntoIterator<Item = Model>) -> Self {
        let shared = SourceState::new();
        let connect = |server: Model| Connection::new(session(&shared, &server), server);
        let connections: Vec<_> = servers.into_iter().map(connect).collect();
        let words = Words {
            said: |bytes| format!("{:?} in {}", Header::read(bytes), bytes.len()),
            told,
        };
        Gateway {
            kind: connections[0].server.kind,
            rig: Rig::new(connections, words),
            shared,
        }
    }

    /// So many connections to servers of one kind.
    pub fn to(kind: Kind, count: u32) -> Self {
        Gateway::new((1..=count).map(|name| Model::new(kind, name)))
    }

    pub fn client(&mut self) -> usize {
        self.client_with(|_| {})
    }

    pub fn client_with(&mut self, change: impl FnOnce(&mut ConversationInit)) -> usize {
        let mut init = init(&self.shared, self.kind);
        change(&mut init);
        self.seat(Conversation::new(init))
    }

    /// Another process goes on with the client, if it is at rest and can be packed: of what was here, it knows nothing but
    /// the bytes.
    pub fn hand_over(&mut self, client: usize) -> bool {
        let elsewhere = init(&SourceState::new(), self.kind);
        let Some(bytes) = self.packed_at_rest(client) else {
            return false;
        };
        let packed = Packed::read(&bytes).unwrap();
        let resumed = Conversation::resume(elsewhere, &packed).unwrap();
        assert_eq!(resumed.pack(), Some(bytes));
        self.clients[client].conversation = resumed;
        true
    }

    pub fn ask(&mut self, client: usize, bytes: &[u8]) -> String {
        self.send(client, bytes);
        told(&self.receive(client))
    }
}

impl Deref for Gateway {
    type Target = Rig<Conversation, Model>;

    fn deref(&self) -> &Self::Target {
        &self.rig
    }
}

impl DerefMut for Gateway {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.rig
    }
}
