//! Procedure calls, as they stream by: prepared handles are virtual (TDS 7.2), and what a call leaves in the session is
//! noted.
//!
//! A client's handle means a statement; on a server connection that has the statement it becomes that one's handle, in
//! place, and on another one the call itself prepares it first (`sp_execute` becomes `sp_prepexec`), in the same request.
//! Invariants: a client's handle never reaches a server; a handle that the client does not have becomes one that no server
//! has; whatever is rewritten, the values of a call stream by untouched.

use std::{collections::VecDeque, sync::Arc};

use bytes::{BufMut, BytesMut};
use weir_core::{
    backend::{Outbox, Step},
    refusal::{Fault, Limit, Refusal},
};

use super::{
    Conversation,
    answers::Ending,
    output::{Output, Patch},
    pending::Pending,
    request::{Asks, Request},
};
use crate::{
    limits, refusals,
    session::{
        Session, Tracker,
        classify::{Calls, Classifier, Findings, MayChange, classify},
        handles::{Context, Owner, Prepared, Statement, StatementKind},
        own::Own,
        pins::Tie,
        settings::Key,
    },
    wire::{
        done::{Done, DoneStatus},
        packet::{PacketKind, ResetBit},
        return_value::{ReturnValue, Value},
        rpc::{
            Call, Enclave, NO_METADATA, Parameter, ParameterValue, Procedure, RpcPiece, RpcReader, WellKnown, write,
        },
        token,
        utf16::Utf16,
    },
};

/// What the first packet of a request shows.
#[derive(Debug, Default)]
pub(super) struct Front {
    /// The procedure called first, if the protocol knows it.
    first: Option<WellKnown>,
    /// The handle that the first call names.
    handle: Option<i32>,
    /// Handles that are executed, if there may be several calls.
    executed: Vec<i32>,
    calls: usize,
}

/// Statements executed by one request that are prepared ahead, in requests of their own.
const PREPARED_AHEAD: usize = 16;

impl Front {
    pub(super) fn is_many(&self) -> bool {
        self.calls > 1
    }

    /// Reads as far as the packet goes.
    pub(super) fn read(body: &[u8], version: crate::wire::TdsVersion) -> Result<Front, Fault> {
        let mut reader = RpcReader::new(version, Enclave::No, 0);
        let mut front = Front::default();
        let mut input = body;
        let mut called = None;
        while let Some(piece) = reader.next(&mut input).map_err(Fault::Client)? {
            match piece {
                RpcPiece::Call(call) => {
                    called = match call.procedure {
                        Procedure::WellKnown(known) => Some(known),
                        _ => None,
                    };
                    if front.calls == 0 {
                        front.first = called;
                    }
                    front.calls += 1;
                }
                RpcPiece::Parameter(parameter) if parameter.ordinal == 0 => {
                    let handle = handle_of(&parameter);
                    if front.calls == 1 {
                        front.handle = handle;
                    }
                    if let (Some(WellKnown::Execute), Some(handle)) = (called, handle)
                        && front.executed.len() < PREPARED_AHEAD
                        && !front.executed.contains(&handle)
                    {
                        front.executed.push(handle);
                    }
                }
                _ => {}
            }
        }
        Ok(front)
    }
}

/// A request of calls on its way to the server.
#[derive(Debug)]
pub(super) struct Stream {
    reader: RpcReader,
    /// The head of a call that may still become another one's.
    head: Option<BytesMut>,
    current: Current,
    /// Its texts.
    classifier: Option<Classifier>,
}

/// The call that is at hand.
#[derive(Debug, Default)]
enum Current {
    #[default]
    Other,
    /// `sp_executesql`: the statement comes first.
    Text,
    /// `sp_execute`: the handle comes first.
    Execute {
        flags: u16,
    },
    /// `sp_prepare` and its like: an output parameter for the handle, then what is prepared.
    Prepare {
        kind: StatementKind,
        parameters: Vec<u8>,
        completeness: Completeness,
    },
    Unprepare,
    /// A procedure of the system, whose arguments tell what it leaves behind.
    Named,
}

/// Whether a statement can be prepared elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Completeness {
    Whole,
    /// Too long to keep.
    Partial,
}

/// What the response to one call of a request will bring.
#[derive(Debug)]
pub(super) enum Expected {
    Nothing,
    /// A handle that its client gets a number of its own for.
    Handle {
        /// `None`: too long to keep; it stays on this connection.
        statement: Option<Arc<Statement>>,
        context: Box<Context>,
    },
    /// A handle that the client has not asked for; behind it come the client's own output parameters, whose numbers have
    /// moved by this much.
    HiddenHandle {
        statement: Arc<Statement>,
        context: Box<Context>,
        moved: u16,
    },
    /// The rest of those.
    Moved(u16),
}

impl Stream {
    pub(super) fn new(version: crate::wire::TdsVersion) -> Self {
        Stream {
            reader: RpcReader::new(version, Enclave::No, limits::MAX_TEXT),
            head: None,
            current: Current::Other,
            classifier: None,
        }
    }

    /// Whether the next packet continues something that is not written yet.
    fn is_holding(&self) -> bool {
        self.head.is_some() || self.reader.held() > 0
    }
}

impl Conversation {
    /// Answers calls that need no server; `None` if they do.
    pub(super) fn answer_call(
        &mut self,
        request: &Request<'_>,
        session: Option<&mut Session>,
        out: &mut Outbox,
    ) -> Option<Step> {
        let front = match &request.asks {
            Asks::Procedures(front) => front,
            Asks::Batch(findings) if findings.calls == Calls::Procedures && request.body.len() <= RELEASING_TEXT => {
                let handles = released_by_text(&Utf16(request.body).decode()?)?;
                return Some(self.release_by_text(&handles, request, session, out));
            }
            _ => return None,
        };
        let is_single = front.calls == 1 && request.header.status.ends_message();
        match (front.first?, front.handle) {
            (WellKnown::ResetConnection, _) if is_single => self.answer_reset(request, session, out),
            (WellKnown::Unprepare, Some(handle)) if is_single => {
                match self.handles.remove(handle) {
                    Some(Prepared::Anywhere(_)) => self.succeed_call(out),
                    Some(Prepared::Here(owner)) => {
                        if let Some(session) = session {
                            session.pins.remove(Tie::Statement, 1);
                            session.handles.release(owner.handle);
                        }
                        self.succeed_call(out);
                    }
                    None => self.refuse_handle(handle, out),
                }
                Some(self.drop_packet(request))
            }
            (WellKnown::Execute, Some(handle)) if self.handles.find(handle).is_none() => {
                self.refuse_handle(handle, out);
                Some(self.drop_packet(request))
            }
            (WellKnown::Prepare | WellKnown::PrepExec | WellKnown::PrepExecRpc, _) if self.handles.is_full() => {
                let limit = Limit {
                    name: "prepared statements of one connection",
                    value: limits::MAX_CLIENT_STATEMENTS.to_string(),
                    set_in: "built-in limit".to_owned(),
                };
                let answer = self.answer().error(&refusals::describe(&Refusal::TooLarge(limit)));
                answer.failed(Ending::Procedure, out);
                Some(self.drop_packet(request))
            }
            _ => None,
        }
    }

    fn release_by_text(
        &mut self,
        handles: &[i32],
        request: &Request<'_>,
        mut session: Option<&mut Session>,
        out: &mut Outbox,
    ) -> Step {
        let mut answer = self.answer();
        if self.has_asked_for_reset() {
            answer = answer.reset();
        }
        let mut rest = handles.len();
        for handle in handles {
            rest -= 1;
            answer = match self.handles.find(*handle) {
                Some(_) => answer.procedure(rest > 0),
                None => answer.error(&no_such_handle(*handle)),
            };
        }
        answer.done(Done::procedure(DoneStatus::default()), out);
        for handle in handles {
            if let Some(Prepared::Here(owner)) = self.handles.remove(*handle)
                && let Some(session) = &mut session
            {
                session.pins.remove(Tie::Statement, 1);
                session.handles.release(owner.handle);
            }
        }
        self.drop_packet(request)
    }

    fn succeed_call(&self, out: &mut Outbox) {
        let mut answer = self.answer();
        if self.has_asked_for_reset() {
            answer = answer.reset();
        }
        answer
            .tokens(&[token::RETURN_STATUS, 0, 0, 0, 0])
            .succeeded(Ending::Procedure, out);
    }

    fn refuse_handle(&self, handle: i32, out: &mut Outbox) {
        let mut answer = self.answer();
        if self.has_asked_for_reset() {
            answer = answer.reset();
        }
        answer.error(&no_such_handle(handle)).failed(Ending::Procedure, out);
    }

    /// `sp_reset_connection` as a call does what the bit does (TDS 6.1).
    fn answer_reset(&mut self, request: &Request<'_>, session: Option<&mut Session>, out: &mut Outbox) -> Option<Step> {
        if !self.has_asked_for_reset() {
            self.reset_client(ResetBit::Connection);
        }
        if let Some(session) = session
            && !self.reset_by_itself(session, &mut out.to_server)
        {
            return Some(Step::Hold);
        }
        self.answer()
            .tokens(&[token::RETURN_STATUS, 0, 0, 0, 0])
            .succeeded(Ending::Procedure, out);
        Some(self.drop_packet(request))
    }

    /// Statements that a request of several calls needs are prepared ahead of it. `true` if an answer has to be awaited.
    pub(super) fn prepare_ahead(&mut self, request: &Request<'_>, session: &mut Session, out: &mut BytesMut) -> bool {
        if !session.transaction.is_open()
            && let Some(unused) = session.handles.take_unused()
        {
            release(&unused, session, out);
            return true;
        }
        let Asks::Procedures(front) = &request.asks else {
            return false;
        };
        if front.calls == 1 && request.header.status.ends_message() {
            return false;
        }
        let context = self.context();
        let missing = front
            .executed
            .iter()
            .find_map(|handle| match self.handles.find(*handle) {
                Some(Prepared::Anywhere(statement))
                    if statement.kind == StatementKind::Text
                        && self.unpreparable != Some(statement.id)
                        && session.handles.find(statement, &context).is_none() =>
                {
                    Some(statement.clone())
                }
                _ => None,
            });
        let Some(statement) = missing else { return false };
        let mut payload = session.headers();
        write::call(WellKnown::Prepare, &mut payload);
        write::integer(Utf16::default(), crate::wire::rpc::status::OUTPUT, None, &mut payload);
        payload.put_slice(&statement.parameters);
        session.send_own(Own::Prepare, PacketKind::Rpc, ResetBit::None, &payload, out);
        self.preparing = Some((statement, Box::new(context)));
        true
    }

    /// The server has answered that. If it refused, the call itself will be refused, with its own error.
    pub(super) fn prepared_ahead(&mut self, session: &mut Session) {
        let Some((statement, context)) = self.preparing.take() else {
            return;
        };
        match session.own.handle {
            Some(handle) if session.own.error.is_none() => session.handles.insert(&statement, &context, handle),
            _ => self.unpreparable = Some(statement.id),
        }
    }

    /// Passes on what a packet holds of calls, in the server's handles.
    pub(super) fn rewrite(
        &mut self,
        stream: &mut Stream,
        bytes: &[u8],
        pending: &mut Pending,
        output: &mut Output<'_>,
        session: &mut Session,
        is_last: bool,
    ) -> Result<(), Fault> {
        let mut input = bytes;
        let Stream {
            reader,
            head,
            current,
            classifier,
        } = stream;
        while let Some(piece) = reader.next(&mut input).map_err(Fault::Client)? {
            match piece {
                RpcPiece::Pass(bytes) => output.keep(bytes),
                RpcPiece::Call(call) => {
                    self.call_over(current, classifier, pending);
                    *current = self.begin_call(&call, classifier, pending, output, head);
                }
                RpcPiece::Parameter(parameter) => {
                    self.parameter(&parameter, current, classifier, pending, output, head, session);
                }
                RpcPiece::Separator(separator) => {
                    if let Some(head) = head.take() {
                        output.insert(&head);
                    }
                    output.keep(separator.bytes);
                }
            }
        }
        if is_last {
            if let Some(head) = stream.head.take() {
                output.insert(&head);
            }
            if !stream.reader.is_complete() {
                return Err(Fault::Client("a procedure call that is cut short"));
            }
            self.call_over(&mut stream.current, &mut stream.classifier, pending);
        } else if stream.is_holding() {
            output.cut();
        }
        Ok(())
    }

    fn begin_call(
        &self,
        call: &Call<'_>,
        classifier: &mut Option<Classifier>,
        pending: &mut Pending,
        output: &mut Output<'_>,
        head: &mut Option<BytesMut>,
    ) -> Current {
        pending.expected.push_back(Expected::Nothing);
        let prepare = |kind| Current::Prepare {
            kind,
            parameters: Vec::new(),
            completeness: Completeness::Whole,
        };
        let current = match call.procedure {
            Procedure::WellKnown(known) => match known {
                WellKnown::ExecuteSql => Current::Text,
                WellKnown::Execute => Current::Execute { flags: call.flags },
                WellKnown::Prepare | WellKnown::PrepExec => prepare(StatementKind::Text),
                WellKnown::PrepExecRpc => {
                    pending.calls_procedures();
                    prepare(StatementKind::Procedure)
                }
                WellKnown::Unprepare => Current::Unprepare,
                WellKnown::CursorOpen
                | WellKnown::CursorPrepare
                | WellKnown::CursorExecute
                | WellKnown::CursorPrepExec => {
                    pending.findings.begins.add(Tie::Cursor);
                    Current::Other
                }
                WellKnown::CursorClose | WellKnown::CursorUnprepare => {
                    pending.findings.ends.add(Tie::Cursor);
                    Current::Other
                }
                WellKnown::Cursor | WellKnown::CursorFetch | WellKnown::CursorOption | WellKnown::ResetConnection => {
                    Current::Other
                }
            },
            Procedure::Named(name) => {
                pending.calls_procedures();
                let mut named = Classifier::new();
                named.call(&name.to_lossy());
                *classifier = Some(named);
                Current::Named
            }
            Procedure::Unknown(_) => {
                pending.findings.begins.add(Tie::Unsure);
                Current::Other
            }
        };
        match current {
            // Perhaps another procedure will be called.
            Current::Execute { .. } => *head = Some(BytesMut::from(call.bytes)),
            _ if call.flags & NO_METADATA != 0 => {
                output.patch(call.bytes, call.flags_at, Patch::two(call.flags & !NO_METADATA));
            }
            _ => output.keep(call.bytes),
        }
        current
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "parts of one stream, borrowed at the same time"
    )]
    fn parameter(
        &self,
        parameter: &Parameter<'_>,
        current: &mut Current,
        classifier: &mut Option<Classifier>,
        pending: &mut Pending,
        output: &mut Output<'_>,
        head: &mut Option<BytesMut>,
        session: &mut Session,
    ) {
        match current {
            Current::Execute { flags } if parameter.ordinal == 0 => {
                let flags = *flags;
                let held = head.take().unwrap_or_default();
                return self.execute(parameter, flags, &held, pending, output, session);
            }
            Current::Prepare { .. } if parameter.ordinal == 0 => {
                // The server must not release a handle that others may use.
                return match handle_of(parameter) {
                    Some(_) => {
                        let mut null = BytesMut::new();
                        write::integer(parameter.name, parameter.status, None, &mut null);
                        output.insert(&null);
                    }
                    None => output.keep(parameter.bytes),
                };
            }
            Current::Prepare {
                kind,
                parameters,
                completeness,
            } => {
                let wanted = match kind {
                    StatementKind::Text => 2,
                    StatementKind::Procedure => 1,
                };
                if parameter.ordinal <= wanted {
                    match parameter.value {
                        ParameterValue::Text(_) | ParameterValue::Null
                            if parameters.len() + parameter.bytes.len() <= limits::MAX_STATEMENT =>
                        {
                            parameters.extend_from_slice(&unnamed(parameter.bytes));
                        }
                        _ => *completeness = Completeness::Partial,
                    }
                    if parameter.ordinal == 2 && *kind == StatementKind::Text {
                        self.text(parameter, pending);
                    }
                }
            }
            Current::Text if parameter.ordinal == 0 => self.text(parameter, pending),
            Current::Unprepare if parameter.ordinal == 0 => {
                return self.unprepare_in_batch(parameter, output, session);
            }
            Current::Named => {
                if let Some(classifier) = classifier {
                    let text = match parameter.value {
                        ParameterValue::Text(text) => Some(text.to_lossy()),
                        _ => None,
                    };
                    classifier.argument(&parameter.name.to_lossy(), text.as_deref());
                }
            }
            _ => {}
        }
        output.keep(parameter.bytes);
    }

    /// What the client's statements are compiled under.
    fn context(&self) -> Context {
        Context {
            database: self.now.database.clone(),
            ansi_nulls: self.now.settings.value(Key::AnsiNulls).map(Box::from),
            quoted_identifier: self.now.settings.value(Key::QuotedIdentifier).map(Box::from),
        }
    }

    /// The text of a statement, which runs in a scope of its own.
    fn text(&self, parameter: &Parameter<'_>, pending: &mut Pending) {
        match parameter.value {
            ParameterValue::Text(text) => pending.joined(&self.scoped(classify(text.0))),
            ParameterValue::Null => {}
            _ => {
                pending.findings.begins.add(Tie::Unsure);
                pending.transaction = MayChange::Yes;
            }
        }
    }

    fn scoped(&self, findings: Findings) -> Findings {
        match self.tracker {
            Tracker::EnvChange => findings.in_own_scope(),
            // Settings and temporary tables outlive their scope there (TDS 14).
            Tracker::Probe => findings,
        }
    }

    /// The handle of `sp_execute`.
    fn execute(
        &self,
        parameter: &Parameter<'_>,
        flags: u16,
        head: &[u8],
        pending: &mut Pending,
        output: &mut Output<'_>,
        session: &mut Session,
    ) {
        let prepared = handle_of(parameter).and_then(|handle| self.handles.find(handle));
        let head = without_metadata_flag(head, flags);
        let known = match prepared {
            None => Some(NO_HANDLE),
            Some(Prepared::Here(owner)) => Some(owner.handle),
            Some(Prepared::Anywhere(statement)) => {
                pending.joined(&statement.findings);
                session.handles.find(statement, &self.context())
            }
        };
        match (known, parameter.value) {
            (Some(handle), ParameterValue::Integer { at, size: 4, .. }) => {
                output.keep_or_insert(&head, flags & NO_METADATA == 0);
                output.patch(parameter.bytes, at, Patch::four(handle));
            }
            (Some(handle), _) => {
                output.insert(&head);
                let mut value = BytesMut::new();
                write::integer(parameter.name, parameter.status, Some(handle), &mut value);
                output.insert(&value);
            }
            (None, _) => {
                let Some(Prepared::Anywhere(statement)) = prepared else {
                    return;
                };
                self.execute_and_prepare(statement, pending, output);
            }
        }
    }

    /// The server connection does not have the statement: the same call prepares it.
    fn execute_and_prepare(&self, statement: &Arc<Statement>, pending: &mut Pending, output: &mut Output<'_>) {
        let mut call = BytesMut::new();
        write::call(
            match statement.kind {
                StatementKind::Text => WellKnown::PrepExec,
                StatementKind::Procedure => WellKnown::PrepExecRpc,
            },
            &mut call,
        );
        write::integer(Utf16::default(), crate::wire::rpc::status::OUTPUT, None, &mut call);
        call.put_slice(&statement.parameters);
        output.insert(&call);
        if let Some(expected) = pending.expected.back_mut() {
            *expected = Expected::HiddenHandle {
                statement: statement.clone(),
                context: Box::new(self.context()),
                moved: match statement.kind {
                    StatementKind::Text => 2,
                    StatementKind::Procedure => 1,
                },
            };
        }
    }

    /// `sp_unprepare` between other calls: it is carried out, for what the server has.
    fn unprepare_in_batch(&self, parameter: &Parameter<'_>, output: &mut Output<'_>, session: &mut Session) {
        let context = self.context();
        let known = handle_of(parameter).and_then(|handle| match self.handles.find(handle)? {
            Prepared::Here(owner) => Some(owner.handle),
            Prepared::Anywhere(statement) => session.handles.take(statement, &context),
        });
        let mut value = BytesMut::new();
        write::integer(
            parameter.name,
            parameter.status,
            Some(known.unwrap_or(NO_HANDLE)),
            &mut value,
        );
        output.insert(&value);
    }

    /// All of a call has been seen.
    fn call_over(&self, current: &mut Current, classifier: &mut Option<Classifier>, pending: &mut Pending) {
        if let Some(classifier) = classifier.take() {
            pending.joined(&classifier.finish());
        }
        if let Current::Prepare {
            kind,
            parameters,
            completeness,
        } = std::mem::take(current)
        {
            let statement = (completeness == Completeness::Whole && !parameters.is_empty())
                .then(|| self.shared.intern(kind, &parameters, &pending.findings));
            if let Some(expected) = pending.expected.back_mut() {
                *expected = Expected::Handle {
                    statement,
                    context: Box::new(self.context()),
                };
            }
        }
    }

    /// An output parameter comes back.
    pub(super) fn tell_value(
        &mut self,
        bytes: &[u8],
        value: &ReturnValue<'_>,
        pending: &mut Pending,
        output: &mut Output<'_>,
        session: &mut Session,
    ) {
        let Some(expected) = pending.expected.front_mut() else {
            return output.keep(bytes);
        };
        if let Expected::HiddenHandle { moved, .. } | Expected::Moved(moved) = *expected
            && value.ordinal >= moved
        {
            return output.patch(bytes, ORDINAL, Patch::two(value.ordinal - moved));
        }
        let (0, Value::Integer { value, at, size: 4 }) = (value.ordinal, value.value) else {
            return output.keep(bytes);
        };
        let handle = i32::try_from(value).unwrap_or(NO_HANDLE);
        match std::mem::replace(expected, Expected::Nothing) {
            Expected::Nothing | Expected::Moved(_) => output.keep(bytes),
            Expected::HiddenHandle {
                statement,
                context,
                moved,
            } => {
                session.handles.insert(&statement, &context, handle);
                *expected = Expected::Moved(moved);
                output.drop();
            }
            Expected::Handle { statement, context } => {
                let prepared = match statement {
                    Some(statement) => {
                        session.handles.insert(&statement, &context, handle);
                        Prepared::Anywhere(statement)
                    }
                    None => {
                        session.pins.add(Tie::Statement);
                        Prepared::Here(Owner { handle })
                    }
                };
                let number = self.handles.insert(prepared).unwrap_or(NO_HANDLE);
                output.patch(bytes, at, Patch::four(number));
            }
        }
    }
}

impl Output<'_> {
    /// Bytes of a call's head: as they came, or changed.
    fn keep_or_insert(&mut self, bytes: &[u8], as_they_came: bool) {
        match as_they_came {
            true => self.keep(bytes),
            false => self.insert(bytes),
        }
    }
}

impl Pending {
    fn calls_procedures(&mut self) {
        self.transaction = MayChange::Yes;
        self.findings.calls = Calls::Procedures;
    }

    /// What one more text of the request may do.
    fn joined(&mut self, findings: &Findings) {
        if findings.transaction == MayChange::Yes {
            self.transaction = MayChange::Yes;
        }
        self.findings.join(findings);
    }

    /// A call has been answered.
    pub(super) fn call_answered(&mut self) {
        self.expected.pop_front();
    }
}

/// Calls whose answers are to come.
pub(super) type ExpectedCalls = VecDeque<Expected>;

/// SQL Server's own words.
fn no_such_handle(handle: i32) -> refusals::Words {
    const NO_SUCH_HANDLE: i32 = 8179;
    let text = format!("Could not find prepared statement with handle {handle}.");
    refusals::Words::new(NO_SUCH_HANDLE, 16, text)
}

/// Handles that a batch releases, if it does nothing else: one driver gives them back as text, in rows of
/// `EXEC sp_unprepare 5;`. What they mean only the gateway knows.
fn released_by_text(text: &str) -> Option<Vec<i32>> {
    let statements = text.split(';').map(str::trim).filter(|statement| !statement.is_empty());
    let handle = |statement: &str| {
        let mut words = statement.split_ascii_whitespace();
        let (exec, name, number) = (words.next()?, words.next()?, words.next()?);
        let is_release = ["EXEC", "EXECUTE"].iter().any(|word| exec.eq_ignore_ascii_case(word))
            && ["sp_unprepare", "sys.sp_unprepare"]
                .iter()
                .any(|word| name.eq_ignore_ascii_case(word));
        match words.next() {
            None if is_release => number.parse().ok(),
            _ => None,
        }
    };
    let handles: Option<Vec<i32>> = statements.map(handle).collect();
    handles.filter(|handles| !handles.is_empty())
}

/// Bytes of the longest batch that is looked at for that.
const RELEASING_TEXT: usize = 16 * 1024;

/// Where in a RETURNVALUE its number stands.
const ORDINAL: usize = 1;

/// No server gives it out.
const NO_HANDLE: i32 = -1;

fn handle_of(parameter: &Parameter<'_>) -> Option<i32> {
    match parameter.value {
        ParameterValue::Integer { value, .. } => i32::try_from(value).ok(),
        _ => None,
    }
}

/// A parameter by its place instead of its name: its place is known, its name may be spelled in several ways.
fn unnamed(bytes: &[u8]) -> Vec<u8> {
    let (length, rest) = bytes.split_first().unwrap_or((&0, &[]));
    let mut unnamed = vec![0];
    unnamed.extend_from_slice(rest.get(usize::from(*length) * 2..).unwrap_or_default());
    unnamed
}

/// The flags stand at the end of a head without a package for an enclave.
fn without_metadata_flag(head: &[u8], flags: u16) -> BytesMut {
    let mut head = BytesMut::from(head);
    let at = head.len().saturating_sub(2);
    if flags & NO_METADATA != 0
        && let Some(place) = head.get_mut(at..)
    {
        place.copy_from_slice(&(flags & !NO_METADATA).to_le_bytes());
    }
    head
}

/// Gives handles back that nobody needs any more, all in one request.
fn release(unused: &[i32], session: &mut Session, out: &mut BytesMut) {
    let mut payload = session.headers();
    for (index, handle) in unused.iter().enumerate() {
        if index > 0 {
            write::separator(&mut payload);
        }
        write::call(WellKnown::Unprepare, &mut payload);
        write::integer(Utf16::default(), 0, Some(*handle), &mut payload);
    }
    session.send_own(Own::Release, PacketKind::Rpc, ResetBit::None, &payload, out);
}
