//! What the last statement came to (`@@IDENTITY`, `@@ROWCOUNT` and their like): nobody is told another client's, and whoever
//! is known to ask for its own keeps its server connection until it has (TDS 6.6).
//!
//! Invariants: a request that asks is sent only where its own client's latest stands, or what a new session tells; a request
//! that is too long to be known counts as asking.

use bytes::BytesMut;
use weir_core::{
    backend::{Outbox, Step},
    limits::MAX_PEEK,
    settings::{PoolMode, SessionStatePolicy},
};

use super::{
    Conversation,
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
        last_values::Values,
        own::{self, Own},
        pins::Tie,
        settings::Key,
    },
    wire::{
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
                Ok(match self.may_ask(front, request.body) {
                    true => self.names_of_calls(request.body).unwrap_or(Names::UNKNOWN),
                    false => Names::default(),
                })
            }
            Asks::LongBatch | Asks::Procedures(_) => {
                let strange = self.last.strange(Values::ALL, self.serial, &session.authors);
                match strange.is_none() {
                    true => Ok(Names::default()),
                    false => self.names_of_long(request, bytes),
                }
            }
            Asks::Transaction(_) | Asks::Bulk => Ok(Names::default()),
        }
    }

    /// Of a request of several packets.
    fn names_of_long(&self, request: &Request<'_>, bytes: &[u8]) -> Result<Names, Step> {
        let headers = request.packet.len() - HEADER - request.body.len();
        let (mut at, mut packets, mut body) = (0, 0_u32, BytesMut::new());
        let needed = loop {
            let Ok(Some(header)) = Header::read(&bytes[at..]) else {
                break at + HEADER;
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
        let known = match request.asks {
            Asks::LongBatch if needed == 0 => Some(classify(body).names),
            // Not again with each packet.
            Asks::Procedures(_) if needed == 0 || packets.is_power_of_two() => self.names_of_calls(body),
            _ => None,
        };
        match known {
            Some(names) => Ok(names),
            None if needed == 0 || needed > MAX_PEEK => Ok(Names::UNKNOWN),
            None => Err(Step::Need(needed)),
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

    /// What calls ask for; `None` if the first text is not all there.
    fn names_of_calls(&self, body: &[u8]) -> Option<Names> {
        let mut reader = RpcReader::new(self.version, Enclave::No, crate::limits::MAX_TEXT);
        let (mut names, mut calls, mut runs) = (None, 0, Runs::Nothing);
        let mut input = body;
        // What is wrong with it is found out when it is sent.
        while let Ok(Some(piece)) = reader.next(&mut input) {
            match piece {
                RpcPiece::Call(call) => {
                    runs = Runs::of(call.procedure);
                    calls += 1;
                    match runs {
                        Runs::Text(_) | Runs::Handle => {}
                        Runs::Nothing => {
                            names.get_or_insert_with(Names::default);
                        }
                        Runs::Anything => names.get_or_insert_with(Names::default).join(Names::UNKNOWN),
                    }
                }
                RpcPiece::Parameter(parameter) => {
                    if let Some(mut found) = self.names_of_parameter(runs, &parameter) {
                        if calls > 1 {
                            found.asks_alone = Values::NONE;
                        }
                        names.get_or_insert_with(Names::default).join(found);
                    }
                }
                _ => {}
            }
        }
        names
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
    pub(super) fn forget_identity(&self, names: Names, session: &mut Session, out: &mut BytesMut) -> bool {
        let strange = self.last.strange(names.asks, self.serial, &session.authors);
        let begins_transactions = self.now.settings.value(Key::ImplicitTransactions) == Some("ON");
        let is_harmless = session.transaction.is_open() || !begins_transactions;
        if !strange.has(Values::IDENTITY) || !is_harmless {
            return false;
        }
        session.ask(Own::Forget, own::FORGET, ResetBit::None, out);
        true
    }

    /// A request has been carried out: whose it is what stands here now, and whether its client has to stay for it.
    pub(super) fn keep_last_values(&mut self, pending: &Pending, session: &mut Session) {
        let mut sets = pending.findings.written();
        self.last.count(sets, self.serial, &mut session.authors);
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

/// Where a call tells which statement it carries out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runs {
    /// None that could ask: it goes on with, or gives back, what another call began.
    Nothing,
    /// The text of this parameter, counted from 0.
    Text(u32),
    /// What the handle in the first parameter stands for.
    Handle,
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
                WellKnown::Cursor
                | WellKnown::CursorUnprepare
                | WellKnown::CursorFetch
                | WellKnown::CursorOption
                | WellKnown::CursorClose
                | WellKnown::Prepare
                | WellKnown::Unprepare
                | WellKnown::ResetConnection => Runs::Nothing,
            },
            Procedure::Named(_) => Runs::Nothing,
            Procedure::Unknown(_) => Runs::Anything,
        }
    }
}
