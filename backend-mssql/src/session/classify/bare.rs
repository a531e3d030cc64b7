//! Batches that are nothing but a begin or an end of a transaction (TDS 5.3).

use super::{Bare, Reader};
use crate::session::lexer::Token;

/// Words at the front of a batch that may be one of the bare forms.
pub(super) const FRONT: usize = 8;

/// Tokens that occur in bare forms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Front {
    #[default]
    Nothing,
    Begin,
    Commit,
    Rollback,
    Tran,
    Work,
    If,
    Trancount,
    Greater,
    Zero,
    Semicolon,
    Other,
}

impl Reader {
    pub(super) fn note_front(&mut self, token: Token<'_>) {
        let Some(place) = self.front.get_mut(self.count) else {
            return;
        };
        *place = match token {
            Token::Word("BEGIN") => Front::Begin,
            Token::Word("COMMIT") => Front::Commit,
            Token::Word("ROLLBACK") => Front::Rollback,
            Token::Word("TRAN" | "TRANSACTION") => Front::Tran,
            Token::Word("WORK") => Front::Work,
            Token::Word("IF") => Front::If,
            Token::Variable("@@TRANCOUNT") => Front::Trancount,
            Token::Symbol(b'>') => Front::Greater,
            Token::Number("0") => Front::Zero,
            Token::Symbol(b';') => Front::Semicolon,
            _ => Front::Other,
        };
    }

    pub(super) fn bare(&self) -> Option<Bare> {
        let front = self.front.get(..self.count)?;
        let front = front.strip_suffix(&[Front::Semicolon]).unwrap_or(front);
        let guard = [Front::If, Front::Trancount, Front::Greater, Front::Zero];
        let (form, guarded) = match front.strip_prefix(&guard) {
            Some(rest) => (rest, true),
            None => (front, false),
        };
        match form {
            [Front::Begin, Front::Tran] if !guarded => Some(Bare::Begin),
            [Front::Commit] | [Front::Commit, Front::Tran | Front::Work] => Some(Bare::Commit),
            [Front::Rollback] | [Front::Rollback, Front::Tran | Front::Work] => Some(Bare::Rollback),
            _ => None,
        }
    }
}
