//! Calls as they pass: what each one is, what its texts may do, and where its handle stands.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use weir_core::refusal::Fault;

use super::{handle::without_metadata_flag, handle_of, values::Expected};
use crate::{
    dialogue::{
        Conversation,
        output::{Output, Patch},
        pending::Pending,
    },
    limits,
    session::{
        Session, Tracker,
        classify::{Calls, Classifier, Findings, MayChange, Names, classify},
        handles::{Statement, StatementKind},
        last_values::Values,
        pins::Tie,
        shown::Beginning,
    },
    wire::{
        TdsVersion,
        rpc::{
            Call, Enclave, NO_METADATA, Parameter, ParameterValue, Procedure, RpcPiece, RpcReader, WellKnown, write,
        },
        utf16::{self, Utf16},
    },
};

/// A request of calls on its way to the server.
#[derive(Debug)]
pub(in crate::dialogue) struct Stream {
    reader: RpcReader,
    at_hand: AtHand,
}

/// The call that is being passed on.
#[derive(Debug, Default)]
struct AtHand {
    what: What,
    /// The head of a call that may still become another one's.
    head: Option<BytesMut>,
    /// What its texts and arguments may do, where they are parts of one statement.
    classifier: Option<Classifier>,
}

/// Which call it is, as far as it matters here.
#[derive(Debug, Default)]
enum What {
    #[default]
    Other,
    /// `sp_executesql`: the statement comes first.
    Text,
    /// `sp_execute`: the handle comes first.
    Execute {
        flags: u16,
    },
    /// `sp_prepare` and its like: an output parameter for the handle, then what is prepared.
    Prepare(Preparation),
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

/// A statement that is being prepared.
#[derive(Debug)]
struct Preparation {
    procedure: WellKnown,
    parameters: Vec<u8>,
    completeness: Completeness,
    /// The handle that its client gives back for the new one.
    replaced: Option<i32>,
    /// What the client calls the parameter for the handle.
    name: Box<[u8]>,
    /// What its text surely sets.
    covers: Values,
}

/// Where a call goes, and what is noted about it on the way.
pub(in crate::dialogue) struct Passage<'p, 'o> {
    pub(in crate::dialogue) pending: &'p mut Pending,
    pub(in crate::dialogue) output: &'p mut Output<'o>,
    pub(in crate::dialogue) session: &'p mut Session,
}

impl Stream {
    pub(in crate::dialogue) fn new(version: TdsVersion) -> Self {
        Stream {
            reader: RpcReader::new(version, Enclave::No, limits::MAX_TEXT),
            at_hand: AtHand::default(),
        }
    }

    /// Whether the next packet continues something that is not written yet.
    fn is_holding(&self) -> bool {
        self.at_hand.head.is_some() || self.reader.held() > 0
    }
}

impl Conversation {
    /// Passes on what a packet holds of calls, in the server's handles.
    pub(in crate::dialogue) fn rewrite(
        &mut self,
        stream: &mut Stream,
        bytes: &[u8],
        mut passage: Passage<'_, '_>,
        is_last: bool,
    ) -> Result<(), Fault> {
        let mut input = bytes;
        let Stream { reader, at_hand } = stream;
        while let Some(piece) = reader.next(&mut input).map_err(Fault::Client)? {
            match piece {
                RpcPiece::Pass(bytes) => passage.output.keep(bytes),
                RpcPiece::Call(call) => {
                    self.call_over(at_hand, passage.pending);
                    self.begin_call(&call, at_hand, &mut passage);
                }
                RpcPiece::Parameter(parameter) => self.parameter(&parameter, at_hand, &mut passage),
                RpcPiece::Separator(separator) => {
                    if let Some(head) = at_hand.head.take() {
                        passage.output.insert(&head);
                    }
                    passage.output.keep(separator.bytes);
                }
            }
        }
        if is_last {
            if let Some(head) = stream.at_hand.head.take() {
                passage.output.insert(&head);
            }
            if !stream.reader.is_complete() {
                return Err(Fault::Client("a procedure call that is cut short"));
            }
            self.call_over(&mut stream.at_hand, passage.pending);
        } else if stream.is_holding() {
            passage.output.cut();
        }
        Ok(())
    }

    fn begin_call(&self, call: &Call<'_>, at_hand: &mut AtHand, passage: &mut Passage<'_, '_>) {
        let Passage { pending, output, .. } = passage;
        pending.expected.push_back(Expected::Nothing);
        at_hand.what = match call.procedure {
            Procedure::WellKnown(known) => well_known(known, call.flags, pending),
            Procedure::Named(name) => {
                pending.calls_procedures();
                pending.text = Some(call_by_name(name));
                let mut named = Classifier::new();
                named.call(&name.to_lossy());
                at_hand.classifier = Some(named);
                What::Named
            }
            Procedure::Unknown(_) => {
                pending.findings.begins.add(Tie::Unsure);
                pending.findings.names.join(Names::CHANGES);
                What::Other
            }
        };
        match at_hand.what {
            // Perhaps another procedure will be called.
            What::Execute { .. } => at_hand.head = Some(BytesMut::from(call.bytes)),
            What::Prepare(ref preparation) if preparation.may_be_known(call.flags) => {
                at_hand.head = Some(without_metadata_flag(call.bytes, call.flags));
            }
            _ if call.flags & NO_METADATA != 0 => {
                output.patch(call.bytes, call.flags_at, Patch::two(call.flags & !NO_METADATA));
            }
            _ => output.keep(call.bytes),
        }
    }

    fn parameter(&self, parameter: &Parameter<'_>, at_hand: &mut AtHand, passage: &mut Passage<'_, '_>) {
        match &mut at_hand.what {
            What::Execute { flags } if parameter.ordinal == 0 => {
                let head = at_hand.head.take().unwrap_or_default();
                return self.execute(parameter, *flags, &head, passage);
            }
            What::Prepare(_) => return self.preparation(parameter, at_hand, passage),
            What::Text if parameter.ordinal == 0 => {
                let findings = self.text(parameter, passage.pending);
                passage.pending.joined(&findings);
            }
            What::Unprepare if parameter.ordinal == 0 => return self.unprepare_in_batch(parameter, passage),
            What::Named => {
                if let Some(classifier) = &mut at_hand.classifier {
                    let text = match parameter.value {
                        ParameterValue::Text(text) => Some(text.to_lossy()),
                        _ => None,
                    };
                    classifier.argument(&parameter.name.to_lossy(), text.as_deref());
                }
            }
            _ => {}
        }
        passage.output.keep(parameter.bytes);
    }

    /// A parameter of `sp_prepare` and its like.
    fn preparation(&self, parameter: &Parameter<'_>, at_hand: &mut AtHand, passage: &mut Passage<'_, '_>) {
        let AtHand { what, head, .. } = at_hand;
        let What::Prepare(preparation) = what else { return };
        let kind = preparation.kind();
        let mut null = BytesMut::new();
        if parameter.ordinal == 0 {
            preparation.name = parameter.name.0.into();
            preparation.replaced = handle_of(parameter);
            if preparation.replaced.is_some() {
                // The server must not release a handle that others may use.
                write::integer(parameter.name, parameter.status, None, &mut null);
            }
        } else {
            preparation.collect(parameter);
            if parameter.ordinal == 2 && kind == StatementKind::Text {
                preparation.text(self.text(parameter, passage.pending), passage.pending);
            }
        }
        let Some(held) = head else {
            return match null.is_empty() {
                true => passage.output.keep(parameter.bytes),
                false => passage.output.insert(&null),
            };
        };
        held.put_slice(if null.is_empty() { parameter.bytes } else { &null });
        let is_whole = preparation.completeness == Completeness::Whole;
        if is_whole && parameter.ordinal < kind.parameters() {
            return;
        }
        let statement = is_whole.then(|| self.statement_of(preparation, passage.pending));
        let (name, replaced) = (std::mem::take(&mut preparation.name), preparation.replaced);
        if let Some(statement) = statement
            && self.execute_instead(statement, name, replaced, passage)
        {
            *what = What::Other;
        } else {
            passage.pending.forget_request();
            passage.output.insert(held);
        }
        *head = None;
    }

    fn statement_of(&self, preparation: &Preparation, pending: &Pending) -> Arc<Statement> {
        let mut findings = pending.findings.clone();
        // The others also count what other calls of the request do, which does no harm.
        findings.names.covers = preparation.covers;
        self.shared.intern(
            preparation.kind(),
            &preparation.parameters,
            &findings,
            pending.text.as_ref(),
        )
    }

    /// The text of a statement, which runs in a scope of its own.
    pub(super) fn text(&self, parameter: &Parameter<'_>, pending: &mut Pending) -> Findings {
        match parameter.value {
            ParameterValue::Text(text) => {
                let findings = self.scoped(classify(text.0));
                pending.suspect(text.0, &findings);
                findings
            }
            ParameterValue::Null => Findings::default(),
            _ => Findings::unseen(),
        }
    }

    fn scoped(&self, findings: Findings) -> Findings {
        match self.tracker {
            Tracker::EnvChange => findings.in_own_scope(),
            // Settings and temporary tables outlive their scope there (TDS 14).
            Tracker::Probe => findings,
        }
    }

    /// All of a call has been seen.
    fn call_over(&self, at_hand: &mut AtHand, pending: &mut Pending) {
        if let Some(classifier) = at_hand.classifier.take() {
            pending.joined(&classifier.finish());
        }
        if let What::Prepare(preparation) = std::mem::take(&mut at_hand.what) {
            let is_kept = preparation.completeness == Completeness::Whole && !preparation.parameters.is_empty();
            let statement = is_kept.then(|| self.statement_of(&preparation, pending));
            if let Some(expected) = pending.expected.back_mut() {
                *expected = Expected::Handle {
                    statement,
                    context: Box::new(self.context()),
                    replaced: preparation.replaced,
                };
            }
        }
    }
}

/// What a procedure of the protocol's own is here, and what calling it does to its session.
fn well_known(procedure: WellKnown, flags: u16, pending: &mut Pending) -> What {
    let prepare = || {
        What::Prepare(Preparation {
            procedure,
            parameters: Vec::new(),
            completeness: Completeness::Whole,
            replaced: None,
            name: Box::default(),
            covers: Values::NONE,
        })
    };
    match procedure {
        WellKnown::ExecuteSql => What::Text,
        WellKnown::Execute => What::Execute { flags },
        WellKnown::Prepare | WellKnown::PrepExec => prepare(),
        WellKnown::PrepExecRpc => {
            pending.calls_procedures();
            prepare()
        }
        WellKnown::Unprepare => What::Unprepare,
        WellKnown::CursorOpen | WellKnown::CursorPrepare | WellKnown::CursorExecute | WellKnown::CursorPrepExec => {
            // The last of them leaves a cursor and what it was prepared as; each is closed with a call of its own.
            let count = if procedure == WellKnown::CursorPrepExec { 2 } else { 1 };
            pending.findings.begins.add_many(Tie::Cursor, count);
            pending.findings.names.join(Names::CHANGES);
            pending.text = Some(Beginning::whatever(&utf16::encode("EXEC sp_cursoropen")));
            What::Other
        }
        WellKnown::CursorClose | WellKnown::CursorUnprepare => {
            pending.findings.ends.add(Tie::Cursor);
            What::Other
        }
        WellKnown::Cursor => {
            pending.findings.names.join(Names::CHANGES);
            What::Other
        }
        WellKnown::CursorFetch | WellKnown::CursorOption | WellKnown::ResetConnection => What::Other,
    }
}

/// A call as text, of which only the name is shown.
fn call_by_name(name: Utf16<'_>) -> Beginning {
    let mut text = utf16::encode("EXEC ");
    text.extend_from_slice(name.0);
    Beginning::whatever(&text)
}

impl Preparation {
    fn kind(&self) -> StatementKind {
        match self.procedure {
            WellKnown::PrepExecRpc => StatementKind::Procedure,
            _ => StatementKind::Text,
        }
    }

    /// Whether the server connection may have the statement already, so that executing it is all that is left to do.
    fn may_be_known(&self, flags: u16) -> bool {
        self.procedure == WellKnown::PrepExec && flags & !NO_METADATA == 0
    }

    /// What is prepared, and perhaps carried out.
    fn text(&mut self, mut findings: Findings, pending: &mut Pending) {
        self.covers = findings.names.covers;
        if self.procedure == WellKnown::Prepare {
            findings.names.covers = Values::NONE;
        }
        pending.joined(&findings);
    }

    /// Keeps what a statement is prepared from: its declarations and text, or a procedure's name.
    fn collect(&mut self, parameter: &Parameter<'_>) {
        if parameter.ordinal > self.kind().parameters() {
            return;
        }
        match parameter.value {
            ParameterValue::Text(_) | ParameterValue::Null
                if self.parameters.len() + parameter.bytes.len() <= limits::MAX_STATEMENT =>
            {
                put_unnamed(parameter.bytes, &mut self.parameters);
            }
            _ => self.completeness = Completeness::Partial,
        }
    }
}

/// A parameter by its place instead of its name: its place is known, its name may be spelled in several ways.
fn put_unnamed(bytes: &[u8], parameters: &mut Vec<u8>) {
    let (length, rest) = bytes.split_first().unwrap_or((&0, &[]));
    parameters.put_u8(0);
    parameters.put_slice(rest.get(usize::from(*length) * 2..).unwrap_or_default());
}

impl Pending {
    pub(super) fn calls_procedures(&mut self) {
        self.transaction = MayChange::Yes;
        self.findings.calls = Calls::Procedures;
    }

    /// What one more text of the request may do.
    pub(in crate::dialogue) fn joined(&mut self, findings: &Findings) {
        if findings.transaction == MayChange::Yes {
            self.transaction = MayChange::Yes;
        }
        self.findings.join(findings);
    }
}
