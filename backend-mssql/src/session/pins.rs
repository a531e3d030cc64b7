//! What lives in a session and cannot be made elsewhere: why a client keeps its server connection (TDS 6.3).
//!
//! Invariants: a kind that is counted ends with as many ends as begins; a reset ends all of them but what no reset
//! undoes. Knows no text: `classify` and the dialogue say what was seen.

use weir_core::backend::PinReason;

use super::switches::Switches;

/// A kind of thing that ties its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Tie {
    /// `#t` or `##t`.
    TemporaryTable,
    /// A cursor that outlives its batch.
    Cursor,
    /// `sp_getapplock` for the session.
    ApplicationLock,
    /// `EXECUTE AS`, `SETUSER`.
    Impersonation,
    /// A SET option that no replay is safe for: SHOWPLAN, IDENTITY_INSERT and the like.
    Option,
    /// An open key, an XML document, a trace flag, an OLE object, a statement prepared in a batch.
    Object,
    /// `sp_set_session_context`.
    Context,
    /// Between `INSERT BULK` and its data.
    Bulk,
    /// A prepared statement that is too long to keep.
    Statement,
    /// What the text does cannot be told.
    Unsure,
    /// What its last write came to may be asked for: `@@ROWCOUNT`, `@@ERROR`.
    Outcome,
    /// The same of what it inserted: `@@IDENTITY`, `SCOPE_IDENTITY()`.
    Identity,
    /// The server says so (SESSIONSTATE).
    Server,
    /// An application role, a distributed transaction: not even a reset takes it back.
    Irreversible,
}

const KINDS: usize = 14;

/// In the order in which they are told to people, the most telling first.
const REASONS: [(Tie, PinReason); KINDS] = [
    (Tie::Bulk, PinReason::BulkLoad),
    (Tie::TemporaryTable, PinReason::TemporaryTable),
    (Tie::Cursor, PinReason::Cursor),
    (Tie::ApplicationLock, PinReason::ApplicationLock),
    (Tie::Impersonation, PinReason::Impersonation),
    (Tie::Option, PinReason::SessionOption),
    (Tie::Object, PinReason::SessionObject),
    (Tie::Statement, PinReason::LargeStatement),
    (Tie::Context, PinReason::SessionContext),
    (Tie::Irreversible, PinReason::Irreversible),
    (Tie::Unsure, PinReason::Unprovable),
    (Tie::Outcome, PinReason::LastValues),
    (Tie::Identity, PinReason::LastValues),
    (Tie::Server, PinReason::ServerState),
];

/// How many of each kind there are; of options, which.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pins([u16; KINDS]);

impl Pins {
    pub(crate) fn add(&mut self, tie: Tie) {
        self.add_many(tie, 1);
    }

    pub(crate) fn add_many(&mut self, tie: Tie, count: u16) {
        let counted = &mut self.0[tie as usize];
        *counted = counted.saturating_add(count);
    }

    pub(crate) fn switch_on(&mut self, switches: Switches) {
        self.0[Tie::Option as usize] |= switches.0;
    }

    pub(crate) fn switch_off(&mut self, switches: Switches) {
        self.0[Tie::Option as usize] &= !switches.0;
    }

    /// Those that are on.
    pub(crate) fn switches(&self) -> Switches {
        Switches(self.0[Tie::Option as usize])
    }

    /// That many of a kind are gone. An end too many ends nothing else.
    pub(crate) fn remove(&mut self, tie: Tie, count: u16) {
        let counted = &mut self.0[tie as usize];
        *counted = counted.saturating_sub(count);
    }

    /// All of a kind are gone.
    pub(crate) fn end(&mut self, tie: Tie) {
        self.0[tie as usize] = 0;
    }

    pub(crate) fn has(&self, tie: Tie) -> bool {
        self.count(tie) > 0
    }

    pub(crate) fn count(&self, tie: Tie) -> u16 {
        self.0[tie as usize]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0 == [0; KINDS]
    }

    pub(crate) fn join(&mut self, other: &Pins) {
        let switches = Switches(self.switches().0 | other.switches().0);
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine = mine.saturating_add(theirs);
        }
        self.0[Tie::Option as usize] = switches.0;
    }

    /// What the server reports in SESSIONSTATE as not recoverable, so that it can also report the end of it.
    pub(crate) fn end_what_the_server_watches(&mut self) {
        for tie in [
            Tie::TemporaryTable,
            Tie::Cursor,
            Tie::ApplicationLock,
            Tie::Impersonation,
            Tie::Object,
        ] {
            self.end(tie);
        }
    }

    /// Whether something here is seen or waited for by other sessions, so that it cannot wait for the next client.
    pub(crate) fn concerns_others(&self) -> bool {
        [
            Tie::TemporaryTable,
            Tie::Cursor,
            Tie::ApplicationLock,
            Tie::Object,
            Tie::Bulk,
            Tie::Unsure,
            Tie::Server,
        ]
        .iter()
        .any(|tie| self.has(*tie))
    }

    /// What to tell people.
    pub(crate) fn reason(&self) -> Option<PinReason> {
        self.telling().map(|(_, reason)| reason)
    }

    /// The kind that is told to people.
    pub(crate) fn tie(&self) -> Option<Tie> {
        self.telling().map(|(tie, _)| tie)
    }

    fn telling(&self) -> Option<(Tie, PinReason)> {
        REASONS.into_iter().find(|(tie, _)| self.has(*tie))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counted_kinds_end_with_their_last() {
        let mut pins = Pins::default();
        pins.add(Tie::Impersonation);
        pins.add(Tie::Impersonation);
        pins.remove(Tie::Impersonation, 1);
        assert_eq!(pins.reason(), Some(PinReason::Impersonation));
        pins.remove(Tie::Impersonation, 5);
        assert!(pins.is_empty() && pins.reason().is_none());
    }

    #[test]
    fn every_kind_has_a_reason() {
        for (index, (tie, reason)) in REASONS.iter().enumerate() {
            let mut pins = Pins::default();
            pins.add(*tie);
            assert_eq!(pins.reason(), Some(*reason));
            assert!(!REASONS[..index].iter().any(|(other, _)| other == tie), "{tie:?} twice");
        }
    }
}
