//! A hostile client and a hostile server with the dialogue between them: whatever they say, and however it is cut, the
//! rules of `core::backend` hold, and a connection whose server broke the rules never counts as clean again.

use std::sync::Arc;

use bytes::BytesMut;
use weir_config::{SequenceFunctions, SessionStatePolicy};
use weir_core::{
    backend::{
        Dialogue, Leave, Onward, Outbox, Reset, ResetDepth, SessionReset, SessionState, Step, TransactionDetection,
    },
    front::Bell,
    refusal::{Fault, Refusal},
    settings::{PoolMode, ReplicaRouting},
};
use weir_postgres::{
    dialogue::{Conversation, ConversationInit},
    session::{Overlay, Parameters, Session, SessionInit, SourceState},
};

use crate::dialogue::{self, Lane};

/// A script (see [`dialogue::script`]).
pub fn run(data: &[u8]) {
    let Some((settings, events)) = dialogue::script(data) else {
        return;
    };
    let mut table = Table::new(settings);
    for (kind, bytes) in events {
        match kind % 8 {
            0..=2 => table.client_sends(bytes),
            3..=5 => table.server_sends(bytes),
            6 => table.client_leaves(),
            _ => table.server_goes(),
        }
    }
}

/// One client, one server connection, and who holds it.
struct Table {
    settings: u8,
    shared: Arc<SourceState>,
    conversation: Conversation,
    from_client: Lane,
    /// Without one, the client waits for nobody: a fresh one is given at once.
    session: Option<Session>,
    from_server: Lane,
}

fn conversation(settings: u8, shared: &Arc<SourceState>) -> Conversation {
    Conversation::new(ConversationInit {
        pool_mode: [PoolMode::Transaction, PoolMode::Session, PoolMode::Statement][usize::from(settings & 3) % 3],
        session_state: SessionStatePolicy::Follow,
        told: Parameters::default(),
        overlay: match settings & 4 {
            0 => Overlay::default(),
            _ => Overlay::from_pairs([("search_path", "a"), ("TimeZone", "UTC")]),
        },
        replica_routing: [ReplicaRouting::None, ReplicaRouting::ReadOnlyStatements][usize::from(settings >> 3 & 1)],
        read_only: settings & 16 != 0,
        replication: settings & 32 != 0,
        shared: shared.clone(),
        asker: shared.asker("somebody", SequenceFunctions::Learn),
        client_id: 7,
        bell: Bell::default(),
    })
}

impl Table {
    fn new(settings: u8) -> Self {
        let shared = SourceState::new();
        Table {
            settings,
            conversation: conversation(settings, &shared),
            shared,
            from_client: Lane::default(),
            session: None,
            from_server: Lane::default(),
        }
    }

    fn client_sends(&mut self, bytes: &[u8]) {
        self.from_client.unjudged.extend_from_slice(bytes);
        loop {
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
                Ok(Step::Lease(_)) => self.lease(),
                Ok(Step::Hold) => {
                    assert!(self.session.is_some(), "waits for an answer of nobody");
                    return;
                }
                Ok(Step::Finish) => return self.client_leaves(),
                Err(Fault::Client(what)) => {
                    let _ = self.conversation.refuse(&Refusal::ProtocolViolation(what), &mut out);
                    return self.client_leaves();
                }
                Err(Fault::Server(_)) => return self.server_goes(),
            }
        }
    }

    fn lease(&mut self) {
        if let Some(session) = &self.session {
            assert_eq!(
                session.state(),
                SessionState::Idle,
                "another connection is asked for in mid-work"
            );
        }
        let mut session = Session::new(SessionInit {
            parameters: Parameters::default(),
            max_prepared_statements: u32::from(self.settings >> 6),
            shared: self.shared.clone(),
            replication: self.settings & 32 != 0,
        });
        self.conversation.adopt(&mut session, &mut Outbox::default());
        (self.session, self.from_server) = (Some(session), Lane::default());
    }

    fn server_sends(&mut self, bytes: &[u8]) {
        self.from_server.unjudged.extend_from_slice(bytes);
        while let Some(session) = &mut self.session {
            if !self.from_server.has_more() {
                return;
            }
            let mut out = Outbox::default();
            match self
                .conversation
                .from_server(&self.from_server.unjudged, session, &mut out)
            {
                Ok(Step::Forward(count)) => self.from_server.forward(count),
                Ok(Step::Skip(count)) => self.from_server.skip(count),
                Ok(Step::Need(count)) => return self.from_server.check_need(count),
                Ok(other) => panic!("{other:?} of a server's message"),
                Err(Fault::Server(_)) => {
                    assert_ne!(session.state(), SessionState::Idle, "clean after it broke the rules");
                    return self.server_goes();
                }
                Err(Fault::Client(what)) => panic!("the server's bytes are the client's fault: {what}"),
            }
            self.release_at_rest();
        }
        self.from_server = Lane::default();
    }

    /// As the relay does: at rest in both directions, the connection goes back and is reset.
    fn release_at_rest(&mut self) {
        let at_rest = self.from_client.is_between_messages()
            && self.from_server.is_between_messages()
            && self.from_server.unjudged.is_empty();
        if let Some(session) = &mut self.session
            && at_rest
            && session.state() == SessionState::Idle
        {
            self.conversation.release(session);
            let mut out = BytesMut::new();
            match session.begin_reset(ResetDepth::WhatChanged, &mut out) {
                Reset::Await => assert!(!out.is_empty(), "waits for an answer to nothing"),
                Reset::Done => assert!(out.is_empty(), "sends something, and is done"),
                Reset::Deferred | Reset::Discard(_) => {}
            }
            self.session = None;
        }
    }

    /// The next client sits down; what the last one left on the connection is brought to rest or thrown away.
    fn client_leaves(&mut self) {
        if let Some(session) = &mut self.session {
            let mut out = Outbox::default();
            match self
                .conversation
                .leave(session, self.from_client.is_mid_message(), &mut out)
            {
                Leave::Drain { .. } => assert!(
                    !self.from_client.is_mid_message() || session.state() != SessionState::Idle,
                    "half a message was sent, and the connection counts as clean"
                ),
                Leave::Discard(_) => {}
            }
        }
        (self.session, self.from_server) = (None, Lane::default());
        self.from_client = Lane::default();
        self.conversation = conversation(self.settings, &self.shared);
    }

    fn server_goes(&mut self) {
        let Some(mut session) = self.session.take() else { return };
        let mid_message = self.from_server.is_mid_message();
        let mut out = Outbox::default();
        let onward = self.conversation.server_lost(&mut session, mid_message, &mut out);
        assert!(
            !mid_message || onward == Onward::Finish,
            "a broken stream cannot be mended"
        );
        self.from_server = Lane::default();
        if onward == Onward::Finish {
            self.client_leaves();
        }
    }
}
