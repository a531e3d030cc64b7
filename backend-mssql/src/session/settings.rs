//! The settings of a session that follow their client from one server connection to the next (TDS 6.2).
//!
//! Kept for each client (what it set) and for each server connection (what is set there); both start empty, which means
//! "as the login made it". Invariants: a value is text of our own making, never a client's bytes, so a replay can hold
//! nothing but SET and USE; the list is in an order in which replaying it gives the same session; the isolation level is
//! apart, because no reset puts it back (TDS 6.1).

use std::{fmt::Write as _, sync::Arc};

/// A SET option that can be set again elsewhere. In the order of their replay: what changes others comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Key {
    Language,
    AnsiDefaults,
    AnsiNullDefaultOff,
    AnsiNullDefaultOn,
    AnsiNulls,
    AnsiPadding,
    AnsiWarnings,
    ArithAbort,
    ArithIgnore,
    ConcatNullYieldsNull,
    ContextInfo,
    CursorCloseOnCommit,
    DateFirst,
    DateFormat,
    DeadlockPriority,
    ForcePlan,
    ImplicitTransactions,
    LockTimeout,
    NoCount,
    NumericRoundAbort,
    QueryGovernorCostLimit,
    QuotedIdentifier,
    RowCount,
    TextSize,
    XactAbort,
}

/// What may stand behind an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    OnOff,
    /// An integer with an optional sign.
    Number,
    /// A word.
    Word,
    /// A word or a number.
    WordOrNumber,
    /// A word or a string.
    Name,
    Binary,
}

const OPTIONS: [(&str, Key, Takes); 25] = [
    ("LANGUAGE", Key::Language, Takes::Name),
    ("ANSI_DEFAULTS", Key::AnsiDefaults, Takes::OnOff),
    ("ANSI_NULL_DFLT_OFF", Key::AnsiNullDefaultOff, Takes::OnOff),
    ("ANSI_NULL_DFLT_ON", Key::AnsiNullDefaultOn, Takes::OnOff),
    ("ANSI_NULLS", Key::AnsiNulls, Takes::OnOff),
    ("ANSI_PADDING", Key::AnsiPadding, Takes::OnOff),
    ("ANSI_WARNINGS", Key::AnsiWarnings, Takes::OnOff),
    ("ARITHABORT", Key::ArithAbort, Takes::OnOff),
    ("ARITHIGNORE", Key::ArithIgnore, Takes::OnOff),
    ("CONCAT_NULL_YIELDS_NULL", Key::ConcatNullYieldsNull, Takes::OnOff),
    ("CONTEXT_INFO", Key::ContextInfo, Takes::Binary),
    ("CURSOR_CLOSE_ON_COMMIT", Key::CursorCloseOnCommit, Takes::OnOff),
    ("DATEFIRST", Key::DateFirst, Takes::Number),
    ("DATEFORMAT", Key::DateFormat, Takes::Word),
    ("DEADLOCK_PRIORITY", Key::DeadlockPriority, Takes::WordOrNumber),
    ("FORCEPLAN", Key::ForcePlan, Takes::OnOff),
    ("IMPLICIT_TRANSACTIONS", Key::ImplicitTransactions, Takes::OnOff),
    ("LOCK_TIMEOUT", Key::LockTimeout, Takes::Number),
    ("NOCOUNT", Key::NoCount, Takes::OnOff),
    ("NUMERIC_ROUNDABORT", Key::NumericRoundAbort, Takes::OnOff),
    ("QUERY_GOVERNOR_COST_LIMIT", Key::QueryGovernorCostLimit, Takes::Number),
    ("QUOTED_IDENTIFIER", Key::QuotedIdentifier, Takes::OnOff),
    ("ROWCOUNT", Key::RowCount, Takes::Number),
    ("TEXTSIZE", Key::TextSize, Takes::Number),
    ("XACT_ABORT", Key::XactAbort, Takes::OnOff),
];

/// What `SET ANSI_DEFAULTS` sets in one go.
const ANSI_DEFAULTS: [Key; 7] = [
    Key::AnsiNulls,
    Key::AnsiNullDefaultOn,
    Key::AnsiPadding,
    Key::AnsiWarnings,
    Key::CursorCloseOnCommit,
    Key::ImplicitTransactions,
    Key::QuotedIdentifier,
];

impl Key {
    /// The option of this name, and what it takes.
    pub(crate) fn named(name: &str) -> Option<(Key, Takes)> {
        let (_, key, takes) = OPTIONS.iter().find(|(known, _, _)| *known == name)?;
        Some((*key, *takes))
    }

    /// As it stands behind SET.
    pub(crate) fn name(self) -> &'static str {
        let found = OPTIONS.iter().find(|(_, key, _)| *key == self);
        found.map_or("", |(name, _, _)| *name)
    }

    /// Whether setting it sets others as well.
    pub(crate) fn covers_others(self) -> bool {
        !self.covers().is_empty()
    }

    /// What setting this one sets as well.
    fn covers(self) -> &'static [Key] {
        match self {
            Key::Language => &[Key::DateFirst, Key::DateFormat],
            Key::AnsiDefaults => &ANSI_DEFAULTS,
            Key::AnsiNullDefaultOn => &[Key::AnsiNullDefaultOff],
            Key::AnsiNullDefaultOff => &[Key::AnsiNullDefaultOn],
            _ => &[],
        }
    }
}

/// A SET statement that has been carried out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Setting {
    pub(crate) key: Key,
    /// As it stands behind the option's name.
    pub(crate) value: Box<str>,
}

/// A session's settings, apart from database and isolation level. Cheap to clone and to compare.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings(Option<Arc<Vec<Setting>>>);

impl Settings {
    /// Nothing was set since the login.
    pub(crate) fn is_empty(&self) -> bool {
        self.list().is_empty()
    }

    /// The value of an option that was set.
    pub(crate) fn value(&self, key: Key) -> Option<&str> {
        let found = self.list().binary_search_by_key(&key, |setting| setting.key);
        found.ok().map(|index| &*self.list()[index].value)
    }

    /// Takes note of a SET.
    pub(crate) fn set(&mut self, setting: Setting) {
        if self.value(setting.key) == Some(&setting.value) && setting.key.covers().is_empty() {
            return;
        }
        let covered = setting.key.covers();
        let list = Arc::make_mut(self.0.get_or_insert_default());
        list.retain(|other| !covered.contains(&other.key) && other.key != setting.key);
        let place = list.partition_point(|other| other.key < setting.key);
        list.insert(place, setting);
    }

    /// As the login made it.
    pub(crate) fn clear(&mut self) {
        self.0 = None;
    }

    /// What has to be set to get from `before` to these; `None` if something of `before` has to be as after login again,
    /// which only a reset does.
    pub(crate) fn since<'a>(&'a self, before: &'a Settings) -> Option<impl Iterator<Item = &'a Setting>> {
        let gone = before.list().iter().any(|setting| self.value(setting.key).is_none());
        // Whoever covers others is replayed first, so what it covers has to be repeated behind it.
        let again = (self.list().iter())
            .any(|setting| !setting.key.covers().is_empty() && before.value(setting.key) != Some(&setting.value));
        (!gone).then(|| {
            let differs = move |setting: &&Setting| again || before.value(setting.key) != Some(&setting.value);
            self.list().iter().filter(differs)
        })
    }

    /// What was set, in an order in which setting it gives the same again.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Setting> {
        self.list().iter()
    }

    fn list(&self) -> &[Setting] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }
}

impl PartialEq for Settings {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(two)) => Arc::ptr_eq(one, two) || one == two,
            _ => self.list() == other.list(),
        }
    }
}

impl Eq for Settings {}

impl std::hash::Hash for Settings {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.list().hash(state);
    }
}

impl Setting {
    /// Appends the statement that sets it.
    pub(crate) fn write(&self, text: &mut String) {
        // Writing to a String cannot fail.
        let _ = write!(text, "SET {} {};", self.key.name(), self.value);
    }
}

/// `SET TRANSACTION ISOLATION LEVEL`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Isolation {
    ReadUncommitted,
    #[default]
    ReadCommitted,
    RepeatableRead,
    Snapshot,
    Serializable,
}

impl Isolation {
    /// As a transaction manager request names it (TDS 5.2); `None` for 0, the session's present one, and unknown ones.
    pub(crate) fn from_request(level: u8) -> Option<Self> {
        Some(match level {
            1 => Isolation::ReadUncommitted,
            2 => Isolation::ReadCommitted,
            3 => Isolation::RepeatableRead,
            4 => Isolation::Serializable,
            5 => Isolation::Snapshot,
            _ => return None,
        })
    }

    /// The other way round.
    pub(crate) fn in_request(self) -> u8 {
        match self {
            Isolation::ReadUncommitted => 1,
            Isolation::ReadCommitted => 2,
            Isolation::RepeatableRead => 3,
            Isolation::Serializable => 4,
            Isolation::Snapshot => 5,
        }
    }

    /// The statement that sets it.
    pub(crate) fn statement(self) -> &'static str {
        match self {
            Isolation::ReadUncommitted => "SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED;",
            Isolation::ReadCommitted => "SET TRANSACTION ISOLATION LEVEL READ COMMITTED;",
            Isolation::RepeatableRead => "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;",
            Isolation::Snapshot => "SET TRANSACTION ISOLATION LEVEL SNAPSHOT;",
            Isolation::Serializable => "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE;",
        }
    }
}

impl From<weir_config::MssqlIsolationLevel> for Isolation {
    fn from(level: weir_config::MssqlIsolationLevel) -> Self {
        use weir_config::MssqlIsolationLevel as Declared;
        match level {
            Declared::ReadUncommitted => Isolation::ReadUncommitted,
            Declared::ReadCommitted => Isolation::ReadCommitted,
            Declared::RepeatableRead => Isolation::RepeatableRead,
            Declared::Snapshot => Isolation::Snapshot,
            Declared::Serializable => Isolation::Serializable,
        }
    }
}

/// Appends `USE`, with the name quoted.
pub(crate) fn write_use(database: &str, text: &mut String) {
    let _ = write!(text, "USE [{}];", database.replace(']', "]]"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(list: &[(Key, &str)]) -> Settings {
        let mut settings = Settings::default();
        for (key, value) in list {
            settings.set(Setting {
                key: *key,
                value: (*value).into(),
            });
        }
        settings
    }

    fn replay(to: &Settings, from: &Settings) -> Option<String> {
        to.since(from).map(|changes| {
            changes.fold(String::new(), |mut text, setting| {
                setting.write(&mut text);
                text
            })
        })
    }

    #[test]
    fn the_table_is_complete_and_in_order() {
        for (name, key, _) in OPTIONS {
            assert_eq!(key.name(), name);
            assert_eq!(Key::named(name).map(|(key, _)| key), Some(key));
        }
    }

    #[test]
    fn isolation_levels_are_numbered_in_one_way() {
        for number in 1..=5 {
            assert_eq!(Isolation::from_request(number).map(Isolation::in_request), Some(number));
        }
    }

    #[test]
    fn the_order_in_which_things_were_set_does_not_count() {
        let one = settings(&[(Key::NoCount, "ON"), (Key::TextSize, "64"), (Key::NoCount, "OFF")]);
        let two = settings(&[(Key::NoCount, "OFF"), (Key::TextSize, "64")]);
        assert_eq!(one, two);
        assert_eq!(replay(&one, &two).as_deref(), Some(""));
    }

    #[test]
    fn what_covers_others_forgets_them_and_is_replayed_first() {
        let mut one = settings(&[(Key::DateFirst, "3"), (Key::Language, "N'Deutsch'")]);
        assert_eq!(one.value(Key::DateFirst), None);
        one.set(Setting {
            key: Key::DateFirst,
            value: "7".into(),
        });
        let before = settings(&[(Key::DateFirst, "7")]);
        assert_eq!(
            replay(&one, &before).as_deref(),
            Some("SET LANGUAGE N'Deutsch';SET DATEFIRST 7;")
        );
        assert_eq!(
            settings(&[(Key::AnsiNulls, "OFF"), (Key::AnsiDefaults, "ON")])
                .list()
                .len(),
            1
        );
    }

    #[test]
    fn what_only_a_reset_takes_back_is_told() {
        let empty = Settings::default();
        let some = settings(&[(Key::NoCount, "ON")]);
        assert!(empty.since(&some).is_none());
        assert_eq!(replay(&some, &empty).as_deref(), Some("SET NOCOUNT ON;"));
    }

    #[test]
    fn a_database_name_stays_a_name() {
        let mut text = String::new();
        write_use("a]; DROP TABLE t; --", &mut text);
        assert_eq!(text, "USE [a]]; DROP TABLE t; --];");
    }
}
