//! Which statements may be why a client keeps its server connection, in a form that may be shown to an administrator:
//! short, and without a constant in it.
//!
//! Invariants: bounded ([`limits::MAX_SHOWN_STATEMENT`], [`limits::MAX_SUSPECTS`]); what the lexer cannot tell from code
//! is not shown; a bound parameter never gets here, because only texts do.

use std::collections::VecDeque;

use weir_core::backend::PinReason;

use super::{
    lexer::{Lexer, Token},
    touched::Touches,
};
use crate::limits;

/// The last statements of a client after which it may have to keep its connection.
#[derive(Debug, Default)]
pub(crate) struct Suspects(VecDeque<(Touches, Box<str>)>);

impl Suspects {
    /// Takes note of a statement, if it is one. `text` is `None` where it is too long to be kept.
    pub(crate) fn note(&mut self, touches: Touches, text: Option<&[u8]>) {
        if !touches.any(SUSPICIOUS) {
            return;
        }
        let shown = text.map_or_else(|| "(too long to show)".into(), shown);
        if self.0.len() >= limits::MAX_SUSPECTS {
            self.0.pop_front();
        }
        self.0.push_back((touches, shown));
    }

    /// The one that is most probably the cause.
    pub(crate) fn cause(&self, reason: PinReason) -> Option<Box<str>> {
        let last = |wanted: Touches| self.0.iter().rev().find(|(touches, _)| touches.any(wanted));
        let found = last(causes(reason)).or_else(|| last(Touches::UNKNOWN));
        found.map(|(_, text)| text.clone())
    }

    /// They are somebody else's from now on.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }
}

/// After these a client may have to keep its connection. A setting ties nobody, unless a function has made it.
const SUSPICIOUS: Touches = Touches::FOLLOWED
    .with(Touches::IRREVERSIBLE)
    .with(Touches::LAST_VALUES)
    .without(Touches::ALL_SETTINGS);

fn causes(reason: PinReason) -> Touches {
    match reason {
        PinReason::TemporaryTable => Touches::TEMPORARY,
        PinReason::Listen => Touches::LISTEN,
        PinReason::HoldCursor => Touches::CURSORS,
        PinReason::AdvisoryLock => Touches::LOCKS,
        PinReason::SqlPrepared => Touches::SQL_PREPARED,
        PinReason::Irreversible => Touches::IRREVERSIBLE,
        PinReason::Sequence => Touches::LAST_VALUES,
        PinReason::PrivilegedSetting | PinReason::Unprovable => Touches::UNKNOWN,
        _ => Touches::NONE,
    }
}

/// The beginning of a statement with every constant replaced by `?`, without comments, in one line.
pub(crate) fn shown(text: &[u8]) -> Box<str> {
    let mut shown = String::new();
    let mut lexer = Lexer::new(text);
    let mut end = 0;
    let mut setting = Setting::Elsewhere;
    while let Some(token) = lexer.next() {
        let is_apart = text
            .get(end)
            .is_some_and(|byte| byte.is_ascii_whitespace() || matches!(byte, b'-' | b'/'));
        if is_apart && !shown.is_empty() {
            shown.push(' ');
        }
        end = text.len() - lexer.left();
        match token {
            Token::Word(_) | Token::Quoted(_) if setting == Setting::Value => shown.push('?'),
            Token::Word(word) => push(&mut shown, word),
            Token::Quoted(name) => {
                shown.push('"');
                push(&mut shown, name);
                shown.push('"');
            }
            Token::String(_) | Token::Number => shown.push('?'),
            Token::Open => shown.push('('),
            Token::Close => shown.push(')'),
            Token::Comma => shown.push(','),
            Token::Semicolon => shown.push(';'),
            Token::Dot => shown.push('.'),
            Token::Cast => shown.push_str("::"),
            Token::Operator => push(&mut shown, &text[end.saturating_sub(1)..end]),
            Token::Unsure => return (shown + "…").into(),
        }
        setting = setting.after(token);
        if shown.len() > limits::MAX_SHOWN_STATEMENT {
            let fits = |at: &usize| shown.is_char_boundary(*at);
            let cut = (0..=limits::MAX_SHOWN_STATEMENT).rev().find(fits).unwrap_or(0);
            shown.truncate(cut);
            return (shown + "…").into();
        }
    }
    shown.into()
}

/// `SET name = value`, where a constant needs no quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Setting {
    /// At the beginning of a statement, where SET may stand.
    Elsewhere,
    Name,
    Value,
    Not,
}

impl Setting {
    fn after(self, token: Token<'_>) -> Self {
        let is = |known: &[u8]| matches!(token, Token::Word(word) if word.eq_ignore_ascii_case(known));
        match self {
            _ if token == Token::Semicolon => Setting::Elsewhere,
            Setting::Elsewhere if is(b"set") => Setting::Name,
            Setting::Elsewhere => Setting::Not,
            Setting::Name if token == Token::Operator || is(b"to") => Setting::Value,
            other => other,
        }
    }
}

/// What is not text is shown as such, and nothing breaks the line.
fn push(shown: &mut String, bytes: &[u8]) {
    let some = &bytes[..bytes.len().min(limits::MAX_SHOWN_STATEMENT)];
    let text = String::from_utf8_lossy(some);
    shown.extend(
        text.chars()
            .map(|character| if character.is_control() { ' ' } else { character }),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_and_comments_are_not_shown() {
        let text = "create temp table \"T 1\" as /* canary-1 */ select 'canary-2', 4711, E'canary\\'3' || $$canary-4$$, \
                    x.y::text -- canary-5\n from x";
        assert_eq!(
            &*shown(text.as_bytes()),
            "create temp table \"T 1\" as select ?, ?, ? || ?, x.y::text from x"
        );
        assert_eq!(&*shown(b"listen  jobs"), "listen jobs");
        assert_eq!(
            &*shown(b"select pg_advisory_lock($1, 0x1F)"),
            "select pg_advisory_lock(?, ?)"
        );
        assert_eq!(&*shown(b"select 'canary"), "select ?");
        assert_eq!(&*shown(b"select E'a'\n'\\'canary', f()"), "select ?, f()");
        assert_eq!(
            &*shown(b"set app.token = canary; set session app.other to \"canary\", canary; listen a"),
            "set app.token = ?; set session app.other to ?, ?; listen a"
        );
        assert_eq!(
            &*shown(b"create role r password E'canary\\'canary'; alter role r password $x$canary$x$; select f()"),
            "create role r password ?; alter role r password ?; select f()"
        );
        assert_eq!(&*shown("select U&\"x\" 'canary'".as_bytes()), "select …");
    }

    #[test]
    fn long_ones_are_cut_and_odd_ones_stay_in_line() {
        let long = format!("select {}", "é".repeat(1_000));
        let shown_long = shown(long.as_bytes());
        assert!(shown_long.len() <= limits::MAX_SHOWN_STATEMENT + "…".len() && shown_long.ends_with('…'));
        let odd = shown(b"listen \"a\nb\x1b\xff\"");
        assert!(odd.chars().all(|character| !character.is_control()), "{odd:?}");
    }

    #[test]
    fn the_last_statement_that_fits_the_reason_is_the_cause() {
        let mut suspects = Suspects::default();
        suspects.note(Touches::SETTINGS, Some(b"set x = 1"));
        assert_eq!(suspects.cause(PinReason::Unprovable), None, "a setting is no suspect");
        suspects.note(Touches::UNKNOWN, Some(b"select f()"));
        suspects.note(Touches::LOCKS, Some(b"select lock(1)"));
        suspects.note(Touches::LISTEN, Some(b"listen a"));
        assert_eq!(
            suspects.cause(PinReason::AdvisoryLock).as_deref(),
            Some("select lock(?)")
        );
        assert_eq!(suspects.cause(PinReason::TemporaryTable).as_deref(), Some("select f()"));
        for _ in 0..100 {
            suspects.note(Touches::UNKNOWN, None);
        }
        assert!(suspects.0.len() <= limits::MAX_SUSPECTS);
        suspects.forget();
        assert_eq!(suspects.cause(PinReason::Listen), None);
    }
}
