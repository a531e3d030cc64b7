//! Arguments of procedures and commands on which it depends what they leave behind: `sp_getapplock`, DBCC TRACEON.

use super::Reader;
use crate::session::{lexer::Token, pins::Tie};

/// The arguments of sp_getapplock.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Lock {
    #[default]
    Nowhere,
    Argument(u8),
}

/// The arguments of DBCC TRACEON.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Trace {
    #[default]
    Nowhere,
    Arguments,
    Minus,
}

impl Reader {
    /// The third argument of sp_getapplock, or the one of that name, is the owner: the transaction if it is not given.
    pub(super) fn lock(&mut self, token: Token<'_>) {
        const OWNER: u8 = 2;
        // Behind a named argument all are named.
        const ANOTHER: u8 = 9;
        let Lock::Argument(index) = self.lock else { return };
        let is_owner = index == OWNER;
        let is_the_sessions = match token {
            Token::String(owner, _) => is_owner && !owner.eq_ignore_ascii_case("transaction"),
            Token::Variable("@LOCKOWNER" | "@RESOURCE" | "@LOCKMODE" | "@LOCKTIMEOUT" | "@DBPRINCIPAL") => false,
            Token::Variable(_) | Token::Number(_) => is_owner,
            _ => false,
        };
        if is_the_sessions {
            self.begin(Tie::ApplicationLock, 1);
        }
        self.lock = match token {
            _ if is_the_sessions => Lock::Nowhere,
            Token::Symbol(b';') => Lock::Nowhere,
            Token::Symbol(b',') if index < ANOTHER => Lock::Argument(index + 1),
            Token::Variable("@LOCKOWNER") => Lock::Argument(OWNER),
            Token::Variable("@RESOURCE" | "@LOCKMODE" | "@LOCKTIMEOUT" | "@DBPRINCIPAL") => Lock::Argument(ANOTHER),
            _ => Lock::Argument(index),
        };
    }

    /// With -1 among its arguments, a trace flag is the whole server's.
    pub(super) fn trace(&mut self, token: Token<'_>) {
        self.trace = match (self.trace, token) {
            (Trace::Nowhere, _) => return,
            (Trace::Arguments, Token::Symbol(b'-')) => Trace::Minus,
            (Trace::Minus, Token::Number("1")) => Trace::Nowhere,
            (_, Token::Symbol(b')')) => {
                self.begin(Tie::Object, 1);
                Trace::Nowhere
            }
            _ => Trace::Arguments,
        };
    }
}
