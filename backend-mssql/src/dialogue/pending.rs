//! A request that is with the server: what its response will mean, and how much of that its client has seen.

use super::{
    output::Line,
    procedures::{ExpectedCalls, Kept, Stream},
    request,
};
use crate::session::{
    classify::{Bare, Classifier, Findings, MayChange},
    follow::Outcome,
    last_values::{Values, Written},
    settings::Isolation,
    shown::Beginning,
};

/// See the module.
#[derive(Debug)]
pub(super) struct Pending {
    /// Of a batch that is still being sent.
    pub(super) classifier: Option<Classifier>,
    pub(super) findings: Findings,
    /// The beginning of a text that may be why its client keeps the connection.
    pub(super) text: Option<Beginning>,
    pub(super) acknowledgement: Acknowledgement,
    /// A transaction that begins virtually behind the one that this ends.
    pub(super) next: Option<request::Beginning>,
    /// The level that it leaves the session with.
    pub(super) isolation: Option<Isolation>,
    pub(super) weight: Weight,
    /// Whether it may change whether a transaction is open.
    pub(super) transaction: MayChange,
    pub(super) outcome: Outcome,
    /// Whether something may have been written.
    pub(super) wrote: Wrote,
    /// What the response proves to have been changed of what the last statement came to, whatever the request says.
    pub(super) proven: Values,
    pub(super) told: Told,
    pub(super) answered: Answered,
    /// Where the message to the server stands.
    pub(super) sending: Line,
    /// Where the message to the client stands.
    pub(super) line: Line,
    /// Calls of procedures whose answers are to come.
    pub(super) expected: ExpectedCalls,
    /// Calls that are still being sent.
    pub(super) stream: Option<Box<Stream>>,
    /// The call, if it may have to be sent again.
    pub(super) kept: Option<Box<Kept>>,
    /// Attentions that the gateway sent on its own: their acknowledgements are not for the client.
    pub(super) own_attentions: u32,
}

/// What becomes of the acknowledgement of a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acknowledgement {
    /// None comes, none is wanted. One that is the server's own for the gateway is dropped.
    None,
    /// The client asked for it, and the server sends it.
    Pass,
    /// The client asked for it, and the reset was done before or was not needed.
    Insert,
}

/// What a request is worth when its server is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    Ordinary,
    /// It ends a transaction for good: without an answer nobody knows how.
    Commit,
}

/// Whether a request has written rows, as far as can be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrote {
    No,
    Yes,
}

/// How much of the response its client has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Nothing,
    /// A message of which more has to come.
    Half,
    /// Whole messages.
    Messages,
}

/// Whether the response itself is over, and only acknowledgements are to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    NotYet,
    Yes,
}

impl Pending {
    pub(super) fn new() -> Self {
        Pending {
            classifier: None,
            findings: Findings::default(),
            text: None,
            acknowledgement: Acknowledgement::None,
            next: None,
            isolation: None,
            weight: Weight::Ordinary,
            transaction: MayChange::No,
            outcome: Outcome::Success,
            wrote: Wrote::No,
            proven: Values::NONE,
            told: Told::Nothing,
            answered: Answered::NotYet,
            sending: Line::default(),
            line: Line::default(),
            expected: ExpectedCalls::new(),
            stream: None,
            kept: None,
            own_attentions: 0,
        }
    }

    /// Keeps the beginning of a text, if that may become the reason why its client keeps the connection.
    pub(super) fn suspect(&mut self, text: &[u8], findings: &Findings) {
        if let Some(beginning) = Beginning::of(text, findings) {
            self.text = Some(beginning);
        }
    }

    /// What the request has done to what may be asked for, now that it has been answered.
    pub(super) fn written(&self) -> Written {
        let surely = match self.outcome {
            Outcome::Success => self.findings.names.covers,
            // Perhaps it was interrupted before it did anything.
            Outcome::Error => Values::NONE,
        };
        Written {
            wanted: self.findings.written(),
            perhaps: self.findings.may_have_written(),
            surely: surely.with(self.proven),
        }
    }

    /// What the text of the request may do.
    pub(super) fn classified(&mut self, findings: Findings) {
        if findings.transaction == MayChange::Yes {
            self.transaction = MayChange::Yes;
        }
        if findings.bare == Some(Bare::Commit) {
            self.weight = Weight::Commit;
        }
        self.findings = findings;
    }
}
