//! What the last statement came to (`@@IDENTITY`, `@@ROWCOUNT` and their like): nobody is told another client's, and whoever
//! is known to ask for its own keeps its server connection until it has (TDS 6.6).
//!
//! Invariants: a request that asks is sent only where its own client's latest stands, or what a new session tells; what is
//! not all there, or not understood, counts as asking. Somebody else's stays somebody else's until it is certain that it is
//! gone: so for those who are known to ask, it goes ahead of whatever may or may not take its place.

use bytes::BytesMut;
use weir_core::{
    backend::{Outbox, Step},
    limits::MAX_PEEK,
    settings::{PoolMode, SessionStatePolicy},
};

use super::{
    Conversation,
    answers::Ending,
    pending::Pending,
    procedures::{Front, handle_of},
    request::{Asks, Request},
};
use crate::{
    session::{
        Session, Tracker,
        classify::{Names, classify},
        follow::Outcome,
        handles::Prepared,
        last_values::{Author, Values},
        own::{self, Own},
        pins::Tie,
        settings::Key,
        uncertain_bit,
    },
    wire::{
        done::command,
        packet::{HEADER, Header, ResetBit},
        rpc::{Enclave, Parameter, ParameterValue, Procedure, RpcPiece, RpcReader, WellKnown},
    },
};

impl Conversation {
    /// What the request asks for. `Err`: more of it has to be there first. `bytes` begins with it.
    pub(super) fn names_of(&self, request: &Request<'_>, bytes: &[u8], session: &Session) -> Result<Names, Step> {
        match &request.asks {
            Asks::Batch(findings) => Ok(findings.names),
            Asks::Procedures(front) if request.header.status.ends_message() => {
                let matters = self.must_not_mix(session) || self.may_ask(front, request.body);
                // What is wrong with it is found out when it is sent.
                Ok(match matters {
                    true => self.names_of_calls(request.body).0,
                    false => Names::default(),
                })
            }
            Asks::LongBatch | Asks::Procedures(_) => {
                let strange = self.strange(Values::ALL, session);
                match strange.is_none() {
                    true => Ok(Names::default()),
                    false => self.names_of_long(request, bytes, strange),
                }
            }
            Asks::Transaction(_) | Asks::Bulk => Ok(Names::default()),
        }
    }

    /// Which of these are neither the client's own nor a new session's.
    fn strange(&self, values: Values, session: &Session) -> Values {
        self.last.strange(values, self.serial, &session.authors)
    }

    /// What would be told to the wrong client, now or later, if the request were sent as things stand.
    pub(super) fn to_be_forgotten(&self, names: Names, session: &Session) -> Values {
        let later = names.sets.without(names.covers).and(self.asker.relies_on());
        self.strange(names.asks.with(later), session)
    }

    /// Whether a request that may insert has to find nobody else's identity.
    fn must_not_mix(&self, session: &Session) -> bool {
        self.asker.relies_on().has(Values::IDENTITY) && !self.strange(Values::IDENTITY, session).is_none()
    }

    /// Of a request of several packets, where these would be told to the wrong client.
    fn names_of_long(&self, request: &Request<'_>, bytes: &[u8], strange: Values) -> Result<Names, Step> {
        let headers = request.packet.len() - HEADER - request.body.len();
        let (mut at, mut packets, mut body) = (0, 0_u32, BytesMut::new());
        let needed = loop {
            let header = match Header::read(&bytes[at..]) {
                Ok(Some(header)) => header,
                Ok(None) => break at + HEADER,
                // No packet: however much follows, nothing more is seen. Whoever judges it next says so.
                Err(_) => break usize::MAX,
            };
            let end = at + usize::from(header.length);
            let Some(packet) = bytes.get(at + HEADER..end) else {
                break end;
            };
            body.extend_from_slice(packet);
            packets += 1;
            at = end;
            if header.status.ends_message() {
                break 0;
            }
        };
        let body = body.get(headers..).unwrap_or_default();
        let is_last_look = needed == 0 || needed > MAX_PEEK;
        let (mut names, seen) = match request.asks {
            Asks::LongBatch if needed == 0 => (classify(body).names, Seen::All),
            // Not again with each packet.
            Asks::Procedures(_) if is_last_look || packets.is_power_of_two() => self.names_of_calls(body),
            _ => (Names::default(), Seen::Part),
        };
        let what_follows_could_tell = match seen {
            Seen::All => needed > 0 && !strange.without(names.covers).is_none(),
            Seen::Part => true,
        };
        match what_follows_could_tell {
            false => Ok(names),
            true if !is_last_look => Err(Step::Need(needed)),
            true => {
                names.join_unseen();
                Ok(names)
            }
        }
    }

    /// Whether it is worth to look at the texts of calls. Cheap, and right whenever it says no.
    fn may_ask(&self, front: &Front, body: &[u8]) -> bool {
        let executes = front.executed().iter().any(|handle| match self.handles.find(*handle) {
            Some(Prepared::Anywhere(statement)) => !statement.findings.names.asks.is_none(),
            Some(Prepared::Here(_)) => true,
            None => false,
        });
        executes
            || front.is_not_all_seen()
            || body
                .windows(4)
                .any(|window| matches!(window, [b'@', 0, b'@', 0] | [b'_', 0, b'I' | b'i' | b'B' | b'b', 0]))
    }

    /// What calls ask for, as far as they are there.
    fn names_of_calls(&self, body: &[u8]) -> (Names, Seen) {
        let mut reader = RpcReader::new(self.version, Enclave::No, crate::limits::MAX_TEXT);
        let (mut names, mut calls, mut runs, mut seen) = (Names::default(), 0, Runs::Nothing, Seen::Part);
        let mut input = body;
        loop {
            match reader.next(&mut input) {
                Ok(Some(RpcPiece::Call(call))) => {
                    runs = Runs::of(call.procedure);
                    calls += 1;
                    seen = match runs {
                        Runs::Text(_) | Runs::Handle => Seen::Part,
                        Runs::Nothing | Runs::Procedure | Runs::Cursor | Runs::Anything => Seen::All,
                    };
                    names.join(runs.names());
                }
                Ok(Some(RpcPiece::Parameter(parameter))) => {
                    if let Some(mut found) = self.names_of_parameter(runs, &parameter) {
                        if calls > 1 {
                            found.asks_alone = Values::NONE;
                        }
                        names.join(found);
                        seen = Seen::All;
                    }
                }
                Ok(Some(RpcPiece::Separator(separator))) => {
                    if seen == Seen::Part {
                        names.join_unseen();
                    }
                    if separator.suppresses {
                        names.covers = Values::NONE;
                    }
                    // The head of the next one may be cut off.
                    seen = Seen::Part;
                }
                Ok(Some(RpcPiece::Pass(_))) => {}
                Ok(None) | Err(_) => return (names, seen),
            }
        }
    }

    fn names_of_parameter(&self, runs: Runs, parameter: &Parameter<'_>) -> Option<Names> {
        match runs {
            Runs::Text(ordinal) if ordinal == parameter.ordinal => Some(match parameter.value {
                ParameterValue::Text(text) => classify(text.0).names,
                ParameterValue::Null => Names::default(),
                _ => Names::UNKNOWN,
            }),
            Runs::Handle if parameter.ordinal == 0 => match self.handles.find(handle_of(parameter)?) {
                Some(Prepared::Anywhere(statement)) => Some(statement.findings.names),
                Some(Prepared::Here(_)) => Some(Names::UNKNOWN),
                None => Some(Names::default()),
            },
            _ => None,
        }
    }

    /// Whether a transaction is open was not asked, because the client might ask first what its last statement came to. Now
    /// it does, or does something else.
    pub(super) fn ask_what_was_put_off(
        &self,
        request: &Request<'_>,
        bytes: &[u8],
        session: &mut Session,
        out: &mut Outbox,
    ) -> Option<Step> {
        if !session.transaction.is_unknown() {
            return None;
        }
        match self.names_of(request, bytes, session) {
            Err(step) => Some(step),
            Ok(names) if names.asks.has(Values::OUTCOME) && request.reset() == ResetBit::None => None,
            Ok(_) => {
                session.ask(Own::Count, own::COUNT, ResetBit::None, &mut out.to_server);
                Some(Step::Hold)
            }
        }
    }

    /// The client does not ask, and time is up: it is not kept any longer for what this takes from it.
    pub(super) fn put_off_no_longer(&self, session: &mut Session, out: &mut Outbox) {
        session.pins.end(Tie::Outcome);
        session.ask(Own::Count, own::COUNT, ResetBit::None, &mut out.to_server);
    }

    /// A request is about to be prepared for: its user may turn out to rely on what it asks for.
    pub(super) fn learn(&self, names: Names, session: &Session) {
        let mut alone = names.asks_alone.and(self.last.left());
        if session.transaction.is_open() {
            // There it is right anyway, unless the gateway itself had to ask something in between.
            alone = match session.transaction.tracker() {
                Tracker::EnvChange => Values::NONE,
                Tracker::Probe => alone.and(Values::OUTCOME),
            };
        }
        self.asker.asks_for(alone);
    }

    /// In the middle of what a client does on a connection no reset can be sent. `true` if an answer has to be awaited.
    pub(super) fn forget_others(&self, names: Names, session: &mut Session, out: &mut BytesMut) -> bool {
        let mut strange = self.to_be_forgotten(names, session);
        if session.authors.outcome == Author::Gateway {
            // Nobody else's, and the client's own is lost in any case.
            strange = strange.without(Values::OUTCOME);
        }
        if strange.is_none() {
            return false;
        }
        let may_begin = self.now.settings.value(Key::ImplicitTransactions) == Some("ON")
            || session.uncertain & uncertain_bit(Key::ImplicitTransactions) != 0;
        let text = match may_begin {
            true => own::FORGET_WITHOUT_BEGINNING,
            false => own::FORGET,
        };
        session.ask(Own::Forget, text, ResetBit::None, out);
        true
    }

    /// The server has answered that. If it did not do it, the request that would have told is not sent.
    pub(super) fn forgotten(&mut self, session: &mut Session, out: &mut Outbox) {
        let Some(error) = session.own.error.take() else { return };
        let answer = self.answer().tokens(&error);
        answer.failed(Ending::Statement(command::NONE), out);
        self.drop_request();
    }

    /// A request has been carried out: whose it is what stands here now, and whether its client has to stay for it.
    pub(super) fn keep_last_values(&mut self, pending: &Pending, session: &mut Session) {
        let written = pending.written();
        let mut sets = written.wanted;
        self.last.count(written, self.serial, &mut session.authors);
        session.pins.end(Tie::Outcome);
        if pending.findings.names.asks.has(Values::IDENTITY) && self.asker.asks_once() {
            session.pins.end(Tie::Identity);
        }
        let goes_elsewhere = self.pool_mode != PoolMode::Session && self.policy == SessionStatePolicy::Follow;
        if !goes_elsewhere || self.is_gone() {
            return;
        }
        if pending.outcome == Outcome::Error {
            sets = sets.with(Values::OUTCOME);
        }
        let kept = sets.and(self.asker.relies_on());
        for (value, tie) in [(Values::OUTCOME, Tie::Outcome), (Values::IDENTITY, Tie::Identity)] {
            if kept.has(value) {
                session.pins.end(tie);
                session.pins.add(tie);
            }
        }
    }
}

/// How much of what is carried out has been looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// Nothing is missing of the calls whose beginning is there.
    All,
    Part,
}

/// Where a call tells which statement it carries out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runs {
    /// None that could ask: it goes on with, or gives back, what another call began.
    Nothing,
    /// The text of this parameter, counted from 0.
    Text(u32),
    /// What the handle in the first parameter stands for.
    Handle,
    /// A procedure of the database's.
    Procedure,
    /// Rows are changed where a cursor stands.
    Cursor,
    /// It is not told, or only the server knows what it stands for.
    Anything,
}

impl Runs {
    fn of(procedure: Procedure<'_>) -> Runs {
        match procedure {
            Procedure::WellKnown(known) => match known {
                WellKnown::ExecuteSql => Runs::Text(0),
                WellKnown::CursorOpen => Runs::Text(1),
                WellKnown::PrepExec | WellKnown::CursorPrepare => Runs::Text(2),
                WellKnown::CursorPrepExec => Runs::Text(3),
                WellKnown::Execute => Runs::Handle,
                WellKnown::CursorExecute | WellKnown::PrepExecRpc => Runs::Anything,
                WellKnown::Cursor => Runs::Cursor,
                WellKnown::CursorUnprepare
                | WellKnown::CursorFetch
                | WellKnown::CursorOption
                | WellKnown::CursorClose
                | WellKnown::Prepare
                | WellKnown::Unprepare
                | WellKnown::ResetConnection => Runs::Nothing,
            },
            Procedure::Named(_) => Runs::Procedure,
            Procedure::Unknown(_) => Runs::Anything,
        }
    }

    /// What is known without looking at its parameters.
    fn names(self) -> Names {
        match self {
            Runs::Nothing | Runs::Text(_) | Runs::Handle => Names::default(),
            Runs::Procedure => Names::CALL,
            Runs::Cursor => Names::CHANGES,
            Runs::Anything => Names::UNKNOWN,
        }
    }
}
