//! Whether a text ends a transaction block, and does nothing else.
//!
//! Pure, by words. What starts another transaction at once (`AND CHAIN`) and what goes back to a savepoint does not end
//! one. Unlike [`super::classify`], this looks at the first statement only.

use super::lexer::{Lexer, Token};

/// What a text means for the block that it is sent in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlockEnd {
    /// Ends it: COMMIT, END, ROLLBACK, ABORT or PREPARE TRANSACTION, alone.
    Alone,
    /// ROLLBACK or ABORT, and more behind it.
    ThenMore,
    /// No statement at all.
    Empty,
    /// Anything else.
    No,
}

/// Reads the first statement of a text.
pub(crate) fn block_end(text: &[u8]) -> BlockEnd {
    let mut tokens = Lexer::new(text);
    let mut next = tokens.next();
    while next == Some(Token::Semicolon) {
        next = tokens.next();
    }
    let Some(first) = next else { return BlockEnd::Empty };
    let rolls_back = is(first, b"rollback") || is(first, b"abort");
    let mut next = tokens.next();
    if is(first, b"prepare") {
        let names = next.is_some_and(|token| is(token, b"transaction"));
        next = tokens.next();
        if !names || !matches!(next, Some(Token::String(_))) {
            return BlockEnd::No;
        }
        next = tokens.next();
    } else if rolls_back || is(first, b"commit") || is(first, b"end") {
        if next.is_some_and(|token| is(token, b"work") || is(token, b"transaction")) {
            next = tokens.next();
        }
        if next.is_some_and(|token| is(token, b"and")) {
            let chains = !["no", "chain"].iter().all(|word| {
                let token = tokens.next();
                token.is_some_and(|token| is(token, word.as_bytes()))
            });
            if chains {
                return BlockEnd::No;
            }
            next = tokens.next();
        }
    } else {
        return BlockEnd::No;
    }
    if !matches!(next, None | Some(Token::Semicolon)) {
        return BlockEnd::No;
    }
    while next == Some(Token::Semicolon) {
        next = tokens.next();
    }
    match next {
        None => BlockEnd::Alone,
        Some(_) if rolls_back => BlockEnd::ThenMore,
        Some(_) => BlockEnd::No,
    }
}

fn is(token: Token<'_>, word: &[u8]) -> bool {
    matches!(token, Token::Word(read) if read.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_a_block() {
        for text in [
            "ROLLBACK",
            "rollback work;",
            " abort transaction ; ; -- done",
            "COMMIT",
            "end",
            "commit and no chain",
            "PREPARE TRANSACTION 'x'",
            ";rollback",
        ] {
            assert_eq!(block_end(text.as_bytes()), BlockEnd::Alone, "{text}");
        }
        for text in ["", " ; ", "-- ping", "/* x */;"] {
            assert_eq!(block_end(text.as_bytes()), BlockEnd::Empty, "{text}");
        }
        for text in ["ROLLBACK; SELECT 1", "abort;begin"] {
            assert_eq!(block_end(text.as_bytes()), BlockEnd::ThenMore, "{text}");
        }
        for text in [
            "SELECT 1",
            "SELECT 1; ROLLBACK",
            "COMMIT; SELECT 1",
            "ROLLBACK TO a",
            "ROLLBACK TRANSACTION TO SAVEPOINT a",
            "rollback and chain",
            "rollback and no",
            "COMMIT PREPARED 'x'",
            "PREPARE x AS SELECT 1",
            "\"rollback\"",
            "'rollback'",
        ] {
            assert_eq!(block_end(text.as_bytes()), BlockEnd::No, "{text}");
        }
    }
}
