//! Kinds of session state that outlive a transaction, as a small set.

use std::ops::{BitOr, BitOrAssign};

/// What may have been changed on a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Touches(u16);

impl Touches {
    /// Nothing.
    pub const NONE: Touches = Touches(0);
    /// Settings, role, session authorization.
    pub const SETTINGS: Touches = Touches(1);
    /// A time limit among the settings: it could end the very statement that puts it back, so it is not left for later.
    pub const TIMEOUTS: Touches = Touches(1 << 1);
    /// Cursors WITH HOLD.
    pub const CURSORS: Touches = Touches(1 << 2);
    /// LISTEN.
    pub const LISTEN: Touches = Touches(1 << 3);
    /// Session advisory locks.
    pub const LOCKS: Touches = Touches(1 << 4);
    /// Temporary tables and the like.
    pub const TEMPORARY: Touches = Touches(1 << 5);
    /// What `currval` and `lastval` say.
    pub const SEQUENCES: Touches = Touches(1 << 6);
    /// SQL-level PREPARE.
    pub const SQL_PREPARED: Touches = Touches(1 << 7);
    /// Something that cannot be seen from outside: a function, a DO block, a text too long to read.
    pub const UNKNOWN: Touches = Touches(1 << 8);
    /// Something that no command undoes: LOAD, setseed, a replication origin.
    pub const IRREVERSIBLE: Touches = Touches(1 << 9);

    /// Custom settings (`app.tenant`) whose names nobody has seen: a function may have set some, and no catalog lists
    /// them. They stay for the client that set them and are put back ahead of another one's first request.
    pub const CUSTOM: Touches = Touches(1 << 10);
    /// Something that may have ended what lives on the session: UNLISTEN, CLOSE, DROP, an unlock.
    pub const UNDOES: Touches = Touches(1 << 11);
    /// Something that speaks of statements prepared with SQL: DEALLOCATE, DISCARD, `pg_prepared_statements`.
    pub const STATEMENTS: Touches = Touches(1 << 12);
    /// Settings of the transaction: gone with it, but what was prepared in it was read by them.
    pub const LOCAL_SETTINGS: Touches = Touches(1 << 14);
    /// Something that creates objects where `search_path` says, which may be the schema of temporary ones.
    pub const CREATES: Touches = Touches(1 << 15);
    /// What is nothing to put back by itself, and says where to look.
    pub const HINTS: Touches = Touches(Self::UNDOES.0 | Self::STATEMENTS.0 | Self::LOCAL_SETTINGS.0 | Self::CREATES.0);
    /// What a text prepared in the same transaction may have been read by, and what is not there any more.
    pub const CONTEXT: Touches = Touches(Self::SETTINGS.0 | Self::TIMEOUTS.0 | Self::LOCAL_SETTINGS.0);
    /// What statements prepared with SQL are there may be another one behind it.
    pub const MAY_PREPARE: Touches = Touches(Self::SQL_PREPARED.0 | Self::UNKNOWN.0 | Self::STATEMENTS.0);

    /// What `currval` says after `setval`, of which `lastval` proves nothing.
    pub const SEQUENCE_SET: Touches = Touches(1 << 13);

    /// What `currval` and `lastval` say, by whatever means.
    pub const LAST_VALUES: Touches = Touches(Self::SEQUENCES.0 | Self::SEQUENCE_SET.0);
    /// The same, and what may do so unseen.
    pub const DRAWS: Touches = Touches(Self::LAST_VALUES.0 | Self::UNKNOWN.0);
    /// What is put back by resetting all settings.
    pub const ALL_SETTINGS: Touches = Touches(Self::SETTINGS.0 | Self::TIMEOUTS.0 | Self::CUSTOM.0);
    /// What follows its client: replayed on other server connections, or proved to be there or gone.
    pub const FOLLOWED: Touches = Touches(
        Self::SETTINGS.0
            | Self::TIMEOUTS.0
            | Self::CURSORS.0
            | Self::LISTEN.0
            | Self::LOCKS.0
            | Self::TEMPORARY.0
            | Self::SQL_PREPARED.0
            | Self::UNKNOWN.0,
    );
    /// Everything that a command can undo.
    pub const ALL: Touches = Touches((1 << 9) - 1);
    /// What must not outlive its transaction, because others wait for it or would notice it, or because a reset that is
    /// put off might not succeed.
    pub const URGENT: Touches = Touches(
        Self::TIMEOUTS.0 | Self::LISTEN.0 | Self::LOCKS.0 | Self::TEMPORARY.0 | Self::UNKNOWN.0 | Self::IRREVERSIBLE.0,
    );

    /// Whether nothing was touched.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether any of `others` was touched.
    pub fn any(self, others: Touches) -> bool {
        self.0 & others.0 != 0
    }

    /// Those that are in `others` too.
    pub fn among(self, others: Touches) -> Touches {
        Touches(self.0 & others.0)
    }

    /// And `others`.
    pub const fn with(self, others: Touches) -> Touches {
        Touches(self.0 | others.0)
    }

    /// Without `others`.
    pub const fn without(self, others: Touches) -> Touches {
        Touches(self.0 & !others.0)
    }
}

impl BitOr for Touches {
    type Output = Touches;

    fn bitor(self, other: Touches) -> Touches {
        Touches(self.0 | other.0)
    }
}

impl BitOrAssign for Touches {
    fn bitor_assign(&mut self, other: Touches) {
        self.0 |= other.0;
    }
}
