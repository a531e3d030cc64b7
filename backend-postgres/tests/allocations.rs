//! M8: what a transaction and a row cost in allocations in the dialogue. The pool's share is measured in `core`.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use weir_core::{
    backend::{Dialogue, Outbox, SessionState, Step, TransactionDetection},
    settings::{PoolMode, ReplicaRouting},
};
use weir_postgres::{
    dialogue::{Conversation, ConversationInit},
    session::{Overlay, Parameters, Session, SessionInit, SourceState},
};

struct Pair {
    conversation: Conversation,
    session: Session,
    out: Outbox,
}

impl Pair {
    fn new() -> Self {
        let shared = SourceState::new();
        let session = Session::new(SessionInit {
            parameters: Parameters::default(),
            max_prepared_statements: 100,
            shared: shared.clone(),
            replication: false,
        });
        let conversation = Conversation::new(ConversationInit {
            pool_mode: PoolMode::Transaction,
            session_state: weir_config::SessionStatePolicy::Follow,
            told: Parameters::default(),
            overlay: Overlay::default(),
            replica_routing: ReplicaRouting::None,
            read_only: false,
            replication: false,
            shared: Arc::clone(&shared),
            asker: shared.asker("somebody", weir_config::SequenceFunctions::Learn),
            client_id: 1,
            bell: weir_core::front::Bell::default(),
        });
        Pair {
            conversation,
            session,
            out: Outbox::default(),
        }
    }

    /// One transaction: a server connection comes, the request goes out, the answer comes back, the connection goes.
    fn transaction(&mut self, request: &[u8], answer: &[u8]) {
        let first = self.conversation.from_client(request, None, &mut self.out);
        assert!(matches!(first, Ok(Step::Lease(_))), "{first:?}");
        self.conversation.adopt(&mut self.session, &mut self.out);
        let Pair {
            conversation,
            session,
            out,
        } = self;
        feed(request, out, |bytes, out| {
            conversation.from_client(bytes, Some(session), out)
        });
        feed(answer, out, |bytes, out| conversation.from_server(bytes, session, out));
        assert_eq!(self.session.state(), SessionState::Idle);
        self.conversation.release(&mut self.session);
    }
}

fn feed(
    mut bytes: &[u8],
    out: &mut Outbox,
    mut look: impl FnMut(&[u8], &mut Outbox) -> Result<Step, weir_core::refusal::Fault>,
) {
    while !bytes.is_empty() {
        match look(bytes, out) {
            Ok(Step::Forward(count) | Step::Skip(count)) => bytes = &bytes[count as usize..],
            other => panic!("{other:?}"),
        }
        out.to_client.clear();
        out.to_server.clear();
    }
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

fn rows(count: usize) -> Vec<u8> {
    let mut answer = message(b'T', b"\0\x01a\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0");
    for _ in 0..count {
        answer.extend(message(b'D', b"\0\x01\0\0\0\x011"));
    }
    answer.extend(message(b'C', b"SELECT 1\0"));
    answer.extend(message(b'Z', b"I"));
    answer
}

#[test]
fn a_simple_query_in_the_steady_state_allocates_nothing() {
    let mut pair = Pair::new();
    let (request, answer) = (message(b'Q', b"select 1\0"), rows(1));
    pair.transaction(&request, &answer);
    let counted = allocation_counter::measure(|| {
        for _ in 0..1000 {
            pair.transaction(&request, &answer);
        }
    });
    assert_eq!(counted.count_total, 0, "{counted:?}");
}

#[test]
fn a_row_allocates_nothing() {
    let mut pair = Pair::new();
    let (request, answer) = (message(b'Q', b"select 1\0"), rows(10_000));
    pair.transaction(&request, &answer);
    let counted = allocation_counter::measure(|| pair.transaction(&request, &answer));
    assert_eq!(counted.count_total, 0, "{counted:?}");
}

#[test]
fn a_known_statement_costs_at_most_three_allocations() {
    let mut pair = Pair::new();
    let parse = [message(b'P', b"s1\0select $1::int\0\0\0"), message(b'S', b"")].concat();
    pair.transaction(&parse, &[message(b'1', b""), message(b'Z', b"I")].concat());
    let request = [
        message(b'B', b"\0s1\0\0\0\0\x01\0\0\0\x011\0\0"),
        message(b'D', b"P\0"),
        message(b'E', b"\0\0\0\0\0"),
        message(b'S', b""),
    ]
    .concat();
    let answer = [message(b'2', b""), rows(1)].concat();
    pair.transaction(&request, &answer);
    const TIMES: u64 = 1000;
    let counted = allocation_counter::measure(|| {
        for _ in 0..TIMES {
            pair.transaction(&request, &answer);
        }
    });
    assert!(counted.count_total <= 3 * TIMES, "{counted:?}");
}
