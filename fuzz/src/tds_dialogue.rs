//! A hostile client and a hostile SQL Server with the dialogue between them: whatever they say, and however it is cut, the
//! rules of `core::backend` hold, and a connection whose server broke the rules never counts as clean again.

use std::sync::Arc;

use bytes::BytesMut;
use weir_core::{
    backend::{Dialogue, Leave, Outbox, Reset, ResetDepth, SessionReset, SessionState, Step, TransactionDetection},
    refusal::{Fault, Refusal},
    settings::{PoolMode, ReplicaRouting, SessionFunctions, SessionStatePolicy},
};
use weir_mssql::{
    dialogue::{Conversation, ConversationInit},
    session::{Session, SessionInit, SourceState, Tracker},
};

use crate::dialogue::{self, Lane};

/// A script (see [`dialogue::script`]).
pub fn run(data: &[u8]) {
    let Some((settings, events)) = dialogue::script(data) else {
        return;
    };
    let mut table = Table::new(settings);
    for (kind, bytes) in events {
        match kind % 10 {
            0..=2 => table.client_sends(bytes),
            3..=5 => table.server_sends(bytes),
            6 => table.client_leaves(),
            7 => table.server_goes(),
            8 => table.server_is_interrupted(),
            _ => table.transaction_is_abandoned(),
        }
    }
}

/// One client, one server connection, and who holds it.
struct Table {
    settings: u8,
    shared: Arc<SourceState>,
    conversation: Conversation,
    from_client: Lane,
    session: Option<Session>,
    from_server: Lane,
}

fn tracker(settings: u8) -> Tracker {
    match settings & 4 {
        0 => Tracker::EnvChange,
        _ => Tracker::Probe,
    }
}

fn conversation(settings: u8, shared: &Arc<SourceState>) -> Conversation {
    Conversation::new(ConversationInit {
        pool_mode: [PoolMode::Transaction, PoolMode::Session, PoolMode::Statement][usize::from(settings & 3) % 3],
        session_state: match settings & 8 {
            0 => SessionStatePolicy::Follow,
            _ => SessionStatePolicy::Reset,
        },
        replica_routing: ReplicaRouting::None,
        read_only: false,
        tds_version: Default::default(),
        packet_size: 512,
        spid: 1,
        asked_database: String::new(),
        database: if settings & 16 == 0 { "app" } else { "other" }.to_owned(),
        language: String::new(),
        baseline: Default::default(),
        asked_language: None,
        collation: [0; 5],
        features: Default::default(),
        notices: Default::default(),
        profile: Default::default(),
        tracker: tracker(settings),
        isolation_level: None,
        server_name: String::new(),
        shared: shared.clone(),
        asker: shared.asker("somebody", SessionFunctions::Learn),
        pin_notice: true,
        client_id: 1,
    })
}

fn session(settings: u8, shared: &Arc<SourceState>) -> Session {
    Session::new(SessionInit {
        tds_version: Default::default(),
        spid: 51,
        packet_size: if settings & 32 == 0 { 512 } else { 600 },
        database: "app".to_owned(),
        language: String::new(),
        collation: [0; 5],
        features: Default::default(),
        initial_state: (settings & 64 != 0).then(Vec::new),
        profile: Default::default(),
        tracker: tracker(settings),
        isolation_level: None,
        max_prepared_statements: 2,
        shared: shared.clone(),
    })
}

impl Table {
    fn new(settings: u8) -> Self {
        let shared = SourceState::new();
        Table {
            settings,
            conversation: conversation(settings, &shared),
            from_client: Lane::default(),
            session: None,
            from_server: Lane::default(),
            shared,
        }
    }

    fn new_client(&mut self) {
        self.conversation = conversation(self.settings, &self.shared);
        self.from_client = Lane::default();
    }

    fn client_sends(&mut self, bytes: &[u8]) {
        self.from_client.unjudged.extend_from_slice(bytes);
        for _ in 0..64 {
            if !self.from_client.has_more() {
                return;
            }
            let mut out = Outbox::default();
            let step = self
                .conversation
                .from_client(&self.from_client.unjudged, self.session.as_mut(), &mut out);
            assert!(
                self.session.is_some() || out.to_server.is_empty(),
                "bytes for a server that is not there"
            );
            match step {
                Ok(Step::Forward(count)) => {
                    assert!(self.session.is_some(), "nobody to forward {count} bytes to");
                    self.from_client.forward(count);
                }
                Ok(Step::Skip(count)) => self.from_client.skip(count),
                Ok(Step::Need(count)) => return self.from_client.check_need(count),
                Ok(Step::Lease(_)) => {
                    assert!(self.session.is_none(), "another one is never asked for");
                    let mut session = session(self.settings, &self.shared);
                    self.conversation.adopt(&mut session, &mut Outbox::default());
                    self.session = Some(session);
                    self.from_server = Lane::default();
                }
                Ok(Step::Hold | Step::Finish) => return,
                Err(Fault::Client(what)) => {
                    self.conversation.refuse(&Refusal::ProtocolViolation(what), &mut out);
                    return self.client_leaves();
                }
                Err(Fault::Server(_)) => return self.server_goes(),
            }
        }
    }

    fn server_sends(&mut self, bytes: &[u8]) {
        let Some(session) = &mut self.session else { return };
        self.from_server.unjudged.extend_from_slice(bytes);
        loop {
            if !self.from_server.has_more() {
                break;
            }
            let mut out = Outbox::default();
            match self
                .conversation
                .from_server(&self.from_server.unjudged, session, &mut out)
            {
                Ok(Step::Forward(count)) => self.from_server.forward(count),
                Ok(Step::Skip(count)) => self.from_server.skip(count),
                Ok(Step::Need(count)) => {
                    self.from_server.check_need(count);
                    break;
                }
                Ok(step) => panic!("{step:?} for a server"),
                Err(_) => {
                    assert!(
                        matches!(session.state(), SessionState::Broken(_)),
                        "a fault, and not broken"
                    );
                    return self.server_goes();
                }
            }
        }
        self.give_back();
    }

    /// As the relay does, when nothing ties the client to the connection.
    fn give_back(&mut self) {
        let is_quiet = self.from_server.unjudged.is_empty()
            && self.from_server.is_between_messages()
            && self.from_client.is_between_messages();
        let Some(session) = &mut self.session else { return };
        if session.state() != SessionState::Idle || !is_quiet {
            return;
        }
        self.conversation.release(session);
        match session.begin_reset(ResetDepth::WhatChanged, &mut BytesMut::new()) {
            Reset::Done | Reset::Deferred => assert_eq!(session.state(), SessionState::Idle),
            Reset::Await => assert_ne!(session.state(), SessionState::Idle),
            Reset::Discard(_) => {}
        }
        self.session = None;
    }

    fn client_leaves(&mut self) {
        if let Some(mut session) = self.session.take() {
            let is_mid_message = self.from_client.is_mid_message();
            let mut out = Outbox::default();
            if let Leave::Drain { .. } = self.conversation.leave(&mut session, is_mid_message, &mut out) {
                assert!(!matches!(session.state(), SessionState::Pinned(_)), "tied to nobody");
            }
        }
        self.new_client();
    }

    fn server_goes(&mut self) {
        let Some(mut session) = self.session.take() else { return };
        let is_mid_message = self.from_server.is_mid_message();
        let onward = self
            .conversation
            .server_lost(&mut session, is_mid_message, &mut Outbox::default());
        assert!(matches!(session.state(), SessionState::Broken(_)));
        if onward == weir_core::backend::Onward::Finish {
            self.new_client();
        }
    }

    fn server_is_interrupted(&mut self) {
        let Some(session) = &mut self.session else { return };
        if session.state() == SessionState::Busy {
            let mut out = Outbox::default();
            self.conversation.cancelled_for(session, &Refusal::Cancelled);
            self.conversation.cancel_in_band(session, &mut out);
            assert!(out.to_client.is_empty());
        }
    }

    fn transaction_is_abandoned(&mut self) {
        let Some(session) = &mut self.session else { return };
        if matches!(session.state(), SessionState::InTransaction { .. }) {
            self.conversation
                .abandon_transaction(session, &Refusal::Cancelled, &mut Outbox::default());
            assert_eq!(session.state(), SessionState::Busy);
        }
    }
}
