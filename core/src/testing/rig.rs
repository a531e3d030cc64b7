//! The relay without sockets or time: conversations of clients over a few sessions, with every chunk size and interleaving
//! that a test asks for.
//!
//! Every backend's dialogue is tested in it, against a model of its server. What the relay would do, this does; what the
//! boundary forbids, this asserts.

use std::collections::VecDeque;

use bytes::BytesMut;

use crate::{
    backend::{
        Dialogue, Leave, Onward, Outbox, Reset, ResetDepth, SessionReset, SessionState, Step, TransactionDetection,
    },
    limits::MAX_PEEK,
    refusal::{Fault, Refusal},
};

/// A model of a server.
pub trait Server {
    /// It is sent this.
    fn send(&mut self, bytes: &[u8]);
    /// Everything that it has to say by now.
    fn receive(&mut self) -> Vec<u8>;
}

/// How bytes are shown in a trace.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    /// Those of a client.
    pub said: fn(&[u8]) -> String,
    /// Those of a server.
    pub told: fn(&[u8]) -> String,
}

/// Clients, server connections, and who holds which.
pub struct Rig<D: Dialogue, M> {
    /// The server connections.
    pub connections: Vec<Connection<D::Session, M>>,
    /// The clients.
    pub clients: Vec<Client<D>>,
    /// How many bytes arrive at a time, in either direction.
    pub chunk: usize,
    /// Whether each judgement is printed.
    pub trace: bool,
    /// Never the same connection twice, if there is another one.
    pub in_turn: bool,
    words: Words,
    waiting: VecDeque<usize>,
}

/// A server connection.
pub struct Connection<S, M> {
    /// What is known of it.
    pub session: S,
    /// The other end.
    pub server: M,
    /// The client that has it.
    pub holder: Option<usize>,
    from_server: Lane,
}

impl<S, M> Connection<S, M> {
    /// One that nobody holds.
    pub fn new(session: S, server: M) -> Self {
        Connection {
            session,
            server,
            holder: None,
            from_server: Lane::default(),
        }
    }
}

/// A client.
pub struct Client<D> {
    /// Its conversation.
    pub conversation: D,
    /// What it has received and nobody has looked at.
    pub received: Vec<u8>,
    /// Whether its dialogue has ended it.
    pub finished: bool,
    /// Whether it has vanished.
    pub gone: bool,
    /// The connection that it has.
    pub lease: Option<usize>,
    last_lease: Option<usize>,
    from_client: Lane,
    held: bool,
}

#[derive(Default)]
struct Lane {
    unjudged: Vec<u8>,
    /// Not arrived yet.
    coming: VecDeque<u8>,
    body: Option<(u64, bool)>,
    needed: usize,
}

impl Lane {
    /// Lets at most `chunk` more bytes arrive.
    fn arrive(&mut self, chunk: usize) -> bool {
        let count = self.coming.len().min(chunk);
        self.unjudged.extend(self.coming.drain(..count));
        count > 0
    }

    /// What is passed on of the message under way; `None` when a new one begins.
    fn body(&mut self) -> Option<Vec<u8>> {
        let (rest, forward) = self.body?;
        let count = rest.min(self.unjudged.len() as u64);
        let bytes: Vec<u8> = self.unjudged.drain(..count as usize).collect();
        self.body = (rest > count).then_some((rest - count, forward));
        Some(if forward { bytes } else { Vec::new() })
    }
}

impl<D, M> Rig<D, M>
where
    D: Dialogue,
    D::Session: TransactionDetection + SessionReset,
    M: Server,
{
    /// These connections, and no client yet.
    pub fn new(connections: Vec<Connection<D::Session, M>>, words: Words) -> Self {
        Rig {
            connections,
            clients: Vec::new(),
            chunk: usize::MAX,
            trace: false,
            in_turn: false,
            words,
            waiting: VecDeque::new(),
        }
    }

    /// One more client; its number.
    pub fn seat(&mut self, conversation: D) -> usize {
        self.clients.push(Client {
            conversation,
            received: Vec::new(),
            finished: false,
            gone: false,
            lease: None,
            last_lease: None,
            from_client: Lane::default(),
            held: false,
        });
        self.clients.len() - 1
    }

    /// What its dialogue packs of a client that is at rest, as the relay asks it to before another process goes on.
    pub fn packed_at_rest(&self, client: usize) -> Option<Vec<u8>> {
        let client = &self.clients[client];
        let lane = &client.from_client;
        let is_at_rest = client.lease.is_none()
            && !client.finished
            && !client.gone
            && lane.unjudged.is_empty()
            && lane.coming.is_empty()
            && lane.body.is_none();
        is_at_rest.then(|| client.conversation.pack()).flatten()
    }

    /// The client sends; everything happens that can.
    pub fn send(&mut self, client: usize, bytes: &[u8]) {
        self.clients[client].from_client.coming.extend(bytes);
        self.settle();
    }

    /// The client sends, and nobody looks yet.
    pub fn post(&mut self, client: usize, bytes: &[u8]) {
        self.clients[client].from_client.coming.extend(bytes);
    }

    /// What the client has received since the last time.
    pub fn receive(&mut self, client: usize) -> Vec<u8> {
        std::mem::take(&mut self.clients[client].received)
    }

    /// Moves bytes until nothing moves any more.
    pub fn settle(&mut self) {
        let mut rounds = 0;
        loop {
            let mut moved = false;
            for connection in 0..self.connections.len() {
                moved |= self.pump_server(connection);
            }
            for client in 0..self.clients.len() {
                moved |= self.pump_client(client);
            }
            for connection in 0..self.connections.len() {
                moved |= self.release(connection);
            }
            moved |= self.serve_waiting();
            if !moved {
                return;
            }
            rounds += 1;
            assert!(rounds < 1_000_000, "the conversation never comes to rest");
        }
    }

    fn pump_client(&mut self, index: usize) -> bool {
        let client = &mut self.clients[index];
        if client.finished || client.gone {
            return false;
        }
        if client.held {
            return client.from_client.arrive(self.chunk);
        }
        if self.waiting.contains(&index) {
            let moved = client.from_client.arrive(self.chunk);
            if client.conversation.withdraws(&client.from_client.unjudged) {
                self.waiting.retain(|waiting| *waiting != index);
            }
            return moved;
        }
        let arrived = client.from_client.arrive(self.chunk);
        let mut moved = arrived;
        while !self.clients[index].from_client.unjudged.is_empty() {
            let client = &mut self.clients[index];
            if let Some(bytes) = client.from_client.body() {
                if let Some(lease) = client.lease {
                    self.connections[lease].server.send(&bytes);
                }
                continue;
            }
            if client.from_client.unjudged.len() < client.from_client.needed {
                break;
            }
            client.from_client.needed = 0;
            match self.judge_client(index) {
                Step::Forward(count) => self.clients[index].from_client.body = Some((count, true)),
                Step::Skip(count) => self.clients[index].from_client.body = Some((count, false)),
                Step::Need(count) => {
                    let lane = &mut self.clients[index].from_client;
                    assert!(count > lane.unjudged.len() && count <= MAX_PEEK, "Need({count})");
                    lane.needed = count;
                    break;
                }
                Step::Lease(_) => {
                    self.waiting.push_back(index);
                    moved = true;
                    break;
                }
                Step::Hold => {
                    self.clients[index].held = true;
                    let state = self.clients[index]
                        .lease
                        .map(|lease| self.connections[lease].session.state());
                    assert_eq!(state, Some(SessionState::Busy), "Hold with nothing outstanding");
                    // Something of the gateway's own may just have been sent.
                    moved = true;
                    break;
                }
                Step::Finish => {
                    self.clients[index].finished = true;
                    self.leave(index);
                    return true;
                }
            }
            moved = true;
        }
        moved
    }

    fn judge_client(&mut self, index: usize) -> Step {
        let client = &mut self.clients[index];
        let mut out = Outbox::default();
        let session = client.lease.map(|lease| &mut self.connections[lease].session);
        let held_none = session.is_none();
        let step = client
            .conversation
            .from_client(&client.from_client.unjudged, session, &mut out);
        if self.trace {
            println!(
                "client {index}: {} => {step:?}, {} | {}",
                (self.words.said)(&client.from_client.unjudged),
                (self.words.said)(&out.to_server),
                (self.words.told)(&out.to_client)
            );
        }
        client.received.extend_from_slice(&out.to_client);
        assert!(
            !held_none || out.to_server.is_empty(),
            "bytes for a server that is not there"
        );
        if let Some(lease) = client.lease {
            self.connections[lease].server.send(&out.to_server);
        }
        match step {
            Ok(step) => step,
            Err(Fault::Client(what)) => {
                let mut out = Outbox::default();
                client.conversation.refuse(&Refusal::ProtocolViolation(what), &mut out);
                client.received.extend_from_slice(&out.to_client);
                Step::Finish
            }
            Err(Fault::Server(what)) => {
                let lease = client.lease.expect(what);
                assert!(
                    matches!(self.connections[lease].session.state(), SessionState::Broken(_)),
                    "{what}, and not broken"
                );
                self.lose(lease);
                self.judge_client(index)
            }
        }
    }

    fn pump_server(&mut self, index: usize) -> bool {
        let connection = &mut self.connections[index];
        let said = connection.server.receive();
        connection.from_server.coming.extend(said);
        let mut moved = connection.from_server.arrive(self.chunk);
        let Some(holder) = connection.holder else {
            let bytes = std::mem::take(&mut connection.from_server.unjudged);
            if !bytes.is_empty() {
                let _ = connection.session.while_idle(&bytes);
            }
            return moved;
        };
        if moved {
            self.clients[holder].held = false;
        }
        loop {
            let Connection {
                session,
                server,
                from_server,
                ..
            } = &mut self.connections[index];
            let client = &mut self.clients[holder];
            if from_server.unjudged.is_empty() {
                return moved;
            }
            if let Some(bytes) = from_server.body() {
                client.received.extend_from_slice(&bytes);
                continue;
            }
            if from_server.unjudged.len() < from_server.needed {
                return moved;
            }
            from_server.needed = 0;
            let mut out = Outbox::default();
            let step = client
                .conversation
                .from_server(&from_server.unjudged, session, &mut out);
            if self.trace {
                println!(
                    "server {index}: {} => {step:?}, {} | {}",
                    (self.words.told)(&from_server.unjudged),
                    (self.words.said)(&out.to_server),
                    (self.words.told)(&out.to_client)
                );
            }
            client.received.extend_from_slice(&out.to_client);
            server.send(&out.to_server);
            match step {
                Ok(Step::Forward(count)) => from_server.body = Some((count, true)),
                Ok(Step::Skip(count)) => from_server.body = Some((count, false)),
                Ok(Step::Need(count)) => {
                    assert!(count > from_server.unjudged.len() && count <= MAX_PEEK, "Need({count})");
                    from_server.needed = count;
                    return moved;
                }
                Ok(step) => panic!("{step:?} from the server's side"),
                Err(_) => {
                    assert!(
                        matches!(session.state(), SessionState::Broken(_)),
                        "a fault, and not broken"
                    );
                    self.lose(index);
                    return true;
                }
            }
            if matches!(self.connections[index].session.state(), SessionState::Broken(_)) {
                self.lose(index);
                return true;
            }
            moved = true;
        }
    }

    /// The server connection is gone; a fresh one takes its place if the test gives one.
    pub fn lose(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        let Some(holder) = connection.holder.take() else { return };
        let client = &mut self.clients[holder];
        client.lease = None;
        client.held = false;
        let mid_message = matches!(connection.from_server.body, Some((_, true)));
        connection.from_server = Lane::default();
        if let Some((rest, true)) = client.from_client.body {
            client.from_client.body = Some((rest, false));
        }
        let mut out = Outbox::default();
        let onward = client
            .conversation
            .server_lost(&mut connection.session, mid_message, &mut out);
        assert!(out.to_server.is_empty());
        client.received.extend_from_slice(&out.to_client);
        client.finished |= onward == Onward::Finish;
    }

    fn release(&mut self, index: usize) -> bool {
        let Connection {
            session,
            server,
            holder,
            from_server,
        } = &mut self.connections[index];
        let Some(client) = *holder else { return false };
        let at_rest = session.state() == SessionState::Idle
            && from_server.unjudged.is_empty()
            && from_server.body.is_none()
            && self.clients[client].from_client.body.is_none();
        if !at_rest {
            return false;
        }
        self.clients[client].conversation.release(session);
        self.clients[client].lease = None;
        self.clients[client].held = false;
        *holder = None;
        let mut out = BytesMut::new();
        let mut reset = session.begin_reset(ResetDepth::WhatChanged, &mut out);
        server.send(&out);
        let mut answer = BytesMut::new();
        while reset == Reset::Await {
            let said = server.receive();
            assert!(!said.is_empty(), "a reset that is not answered");
            answer.extend_from_slice(&said);
            reset = session.continue_reset(&mut answer).expect("a reset");
        }
        assert!(matches!(reset, Reset::Done | Reset::Deferred), "{reset:?}");
        assert!(answer.is_empty());
        assert_eq!(session.state(), SessionState::Idle);
        true
    }

    fn serve_waiting(&mut self) -> bool {
        let Some(client) = self.waiting.front().copied() else {
            return false;
        };
        let is_free = |connection: &Connection<D::Session, M>| {
            connection.holder.is_none() && connection.session.state() == SessionState::Idle
        };
        let mut free = (0..self.connections.len()).filter(|index| is_free(&self.connections[*index]));
        let last = self.clients[client].last_lease;
        let index = match self.in_turn {
            true => {
                let all: Vec<usize> = free.collect();
                all.iter()
                    .copied()
                    .find(|index| Some(*index) != last)
                    .or(all.first().copied())
            }
            false => free.next(),
        };
        let Some(index) = index else { return false };
        self.waiting.pop_front();
        self.lease(client, index);
        true
    }

    fn lease(&mut self, client: usize, index: usize) {
        let connection = &mut self.connections[index];
        connection.holder = Some(client);
        let client = &mut self.clients[client];
        client.lease = Some(index);
        client.last_lease = Some(index);
        let mut out = Outbox::default();
        client.conversation.adopt(&mut connection.session, &mut out);
        client.received.extend_from_slice(&out.to_client);
        connection.server.send(&out.to_server);
    }

    /// The pool says no to a client that waits.
    pub fn refuse(&mut self, client: usize, why: &Refusal) -> Onward {
        self.waiting.retain(|waiting| *waiting != client);
        let client = &mut self.clients[client];
        let mut out = Outbox::default();
        let onward = client.conversation.refuse(why, &mut out);
        client.received.extend_from_slice(&out.to_client);
        onward
    }

    /// A lost connection is replaced.
    pub fn replace(&mut self, index: usize, connection: Connection<D::Session, M>) {
        self.connections[index] = connection;
    }

    /// The client, which rests inside of a transaction, has taken too long.
    pub fn abandon(&mut self, client: usize, why: &Refusal) {
        let client = &mut self.clients[client];
        let connection = &mut self.connections[client.lease.expect("a transaction")];
        assert!(matches!(connection.session.state(), SessionState::InTransaction { .. }));
        let mut out = Outbox::default();
        client
            .conversation
            .abandon_transaction(&mut connection.session, why, &mut out);
        assert!(out.to_client.is_empty());
        connection.server.send(&out.to_server);
    }

    /// The client has rested for as long as one may in a transaction, and nobody knows whether it is in one.
    pub fn ask_for_transaction(&mut self, client: usize) {
        let client = &mut self.clients[client];
        let connection = &mut self.connections[client.lease.expect("it is kept")];
        let mut out = Outbox::default();
        client
            .conversation
            .ask_for_transaction(&mut connection.session, &mut out);
        assert!(out.to_client.is_empty());
        connection.server.send(&out.to_server);
        self.settle();
    }

    /// What runs for the client has taken too long.
    pub fn interrupt(&mut self, client: usize, why: &Refusal) {
        let client = &mut self.clients[client];
        let connection = &mut self.connections[client.lease.expect("a request that runs")];
        let mut out = Outbox::default();
        client.conversation.cancelled_for(&mut connection.session, why);
        client.conversation.cancel_in_band(&mut connection.session, &mut out);
        connection.server.send(&out.to_server);
        self.settle();
    }

    /// The client vanishes; its server connection is brought to rest. Says whether that worked.
    pub fn leave(&mut self, index: usize) -> bool {
        let client = &mut self.clients[index];
        client.gone = true;
        self.waiting.retain(|waiting| *waiting != index);
        let Some(lease) = client.lease else { return true };
        let mid_message = matches!(client.from_client.body, Some((_, true)));
        client.from_client = Lane::default();
        loop {
            let client = &mut self.clients[index];
            let connection = &mut self.connections[lease];
            let mut out = Outbox::default();
            let leave = client
                .conversation
                .leave(&mut connection.session, mid_message, &mut out);
            connection.server.send(&out.to_server);
            if let Leave::Discard(_) = leave {
                connection.holder = None;
                client.lease = None;
                return false;
            }
            while self.pump_server(lease) {}
            let (client, connection) = (&mut self.clients[index], &mut self.connections[lease]);
            if leave == (Leave::Drain { cancel: true }) && connection.session.state() == SessionState::Busy {
                let mut out = Outbox::default();
                client.conversation.cancel_in_band(&mut connection.session, &mut out);
                connection.server.send(&out.to_server);
                while self.pump_server(lease) {}
            }
            match self.connections[lease].session.state() {
                SessionState::Idle => break,
                SessionState::InTransaction { .. } => {}
                state => panic!("{state:?} after its client has left"),
            }
        }
        self.release(lease);
        true
    }
}
