//! SQL text as tokens: as much of PostgreSQL's lexer as it takes to know what is code and what is not.
//!
//! Follows `scan.l` with `standard_conforming_strings` on (whoever classifies for a session where it is off must not
//! trust the result). Invariants: one pass, no allocation, no panic; text that ends inside a string or a comment is all
//! string or comment.

/// One token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// An unquoted identifier or keyword, in the case it was written in.
    Word(&'a [u8]),
    /// A quoted identifier, as it stands between its quotes.
    Quoted(&'a [u8]),
    /// A string constant of any kind: what stands between its quotes.
    String(&'a [u8]),
    /// A number, or `$1`.
    Number,
    Open,
    Close,
    Comma,
    Semicolon,
    Dot,
    /// `::`
    Cast,
    /// Any other operator character.
    Operator,
    /// Cannot be read with certainty.
    Unsure,
}

/// The tokens of a text.
pub(super) struct Lexer<'a> {
    rest: &'a [u8],
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Lexer { rest: text }
    }

    /// How many bytes have not been read yet.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    /// Cuts off the first `length` bytes.
    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    fn take_while(&mut self, belongs: impl Fn(u8) -> bool) -> &'a [u8] {
        let length = self
            .rest
            .iter()
            .position(|byte| !belongs(*byte))
            .unwrap_or(self.rest.len());
        self.take(length)
    }

    fn skip_space_and_comments(&mut self) {
        loop {
            self.take_while(is_space);
            match self.rest {
                [b'-', b'-', ..] => {
                    self.take_while(|byte| byte != b'\n' && byte != b'\r');
                }
                [b'/', b'*', ..] => self.skip_block_comment(),
                _ => return,
            }
        }
    }

    /// Block comments nest.
    fn skip_block_comment(&mut self) {
        let mut depth = 0_u32;
        while !self.rest.is_empty() {
            if self.rest.starts_with(b"/*") {
                depth = depth.saturating_add(1);
                self.take(2);
            } else if self.rest.starts_with(b"*/") {
                depth -= 1;
                self.take(2);
                if depth == 0 {
                    return;
                }
            } else {
                self.take(1);
            }
        }
    }

    /// What stands up to the closing quote, which may stand for itself when doubled.
    fn quoted(&mut self, quote: u8) -> &'a [u8] {
        let all = self.rest;
        let mut end = 0;
        loop {
            end += all[end..]
                .iter()
                .position(|byte| *byte == quote)
                .unwrap_or(all.len() - end);
            if all.get(end + 1) == Some(&quote) {
                end += 2;
            } else {
                self.take(end + 1);
                return &all[..end];
            }
        }
    }

    /// An `E''` string, whose parts are all read like its first one: behind a line break it may go on without another `E`.
    fn escaped(&mut self) -> Token<'a> {
        let mut token = self.escaped_part();
        while self.skip_continuation() {
            // One token for all of them; what they spell together is of no interest to anybody.
            if self.escaped_part() == Token::Unsure {
                token = Token::Unsure;
            }
        }
        token
    }

    /// Goes to behind the quote that continues a string, if what comes is one: space and `--` comments with a line break
    /// in them stand before it.
    fn skip_continuation(&mut self) -> bool {
        let before = self.rest;
        let mut lines = 0;
        loop {
            let space = self.take_while(is_space);
            lines += space.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count();
            if !self.rest.starts_with(b"--") {
                break;
            }
            self.take_while(|byte| byte != b'\n' && byte != b'\r');
        }
        let continues = lines > 0 && self.rest.first() == Some(&b'\'');
        if continues {
            self.take(1);
        } else {
            self.rest = before;
        }
        continues
    }

    /// Up to the next quote that ends it. A backslash behind a byte beyond ASCII may be half a character in some client
    /// encodings, and then escapes nothing.
    fn escaped_part(&mut self) -> Token<'a> {
        let all = self.rest;
        let mut index = 0;
        let mut unsure = false;
        while index < all.len() {
            match all[index] {
                b'\\' => {
                    unsure |= index > 0 && all[index - 1] >= 0x80;
                    index += 2;
                }
                b'\'' if all.get(index + 1) == Some(&b'\'') => index += 2,
                b'\'' => break,
                _ => index += 1,
            }
        }
        let end = index.min(all.len());
        self.take(end + 1);
        if unsure {
            Token::Unsure
        } else {
            Token::String(&all[..end])
        }
    }

    /// What follows a `$`: a parameter, a dollar-quoted string, or nothing known.
    fn dollar(&mut self) -> Token<'a> {
        let all = self.rest;
        if all.get(1).is_some_and(u8::is_ascii_digit) {
            self.take(1);
            self.take_while(is_identifier);
            return Token::Number;
        }
        let tag = all[1..]
            .iter()
            .position(|byte| !is_identifier(*byte) || *byte == b'$')
            .map_or(all.len(), |end| end + 1);
        if all.get(tag) != Some(&b'$') {
            self.take(1);
            return Token::Operator;
        }
        let delimiter = &all[..=tag];
        let body = &all[delimiter.len()..];
        let end = find(body, delimiter);
        self.take(delimiter.len() + end.map_or(body.len(), |end| end + delimiter.len()));
        Token::String(&body[..end.unwrap_or(body.len())])
    }

    fn word(&mut self) -> Token<'a> {
        let word = self.take_while(is_identifier);
        // What may make a string of it.
        let Some(quote @ (b'\'' | b'&')) = self.rest.first() else {
            return Token::Word(word);
        };
        match (word, quote) {
            (b"e" | b"E", b'\'') => {
                self.take(1);
                self.escaped()
            }
            (b"b" | b"B" | b"x" | b"X" | b"n" | b"N", b'\'') => {
                self.take(1);
                Token::String(self.quoted(b'\''))
            }
            (b"u" | b"U", b'&') if matches!(self.rest.get(1), Some(b'\'')) => {
                self.take(2);
                Token::String(self.quoted(b'\''))
            }
            (b"u" | b"U", b'&') if matches!(self.rest.get(1), Some(b'"')) => {
                self.take(2);
                // An identifier in escapes: whatever it spells.
                self.quoted(b'"');
                Token::Unsure
            }
            _ => Token::Word(word),
        }
    }
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.skip_space_and_comments();
        let first = *self.rest.first()?;
        let single = match first {
            b'\'' => {
                self.take(1);
                return Some(Token::String(self.quoted(b'\'')));
            }
            b'"' => {
                self.take(1);
                return Some(Token::Quoted(self.quoted(b'"')));
            }
            b'$' => return Some(self.dollar()),
            b'0'..=b'9' => {
                self.take_while(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.');
                return Some(Token::Number);
            }
            first if is_identifier(first) => return Some(self.word()),
            b'(' => Token::Open,
            b')' => Token::Close,
            b',' => Token::Comma,
            b';' => Token::Semicolon,
            b'.' => Token::Dot,
            b':' if self.rest.get(1) == Some(&b':') => {
                self.take(1);
                Token::Cast
            }
            _ => Token::Operator,
        };
        self.take(1);
        Some(single)
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// Letters, digits, underscore, dollar, and everything beyond ASCII.
fn is_identifier(byte: u8) -> bool {
    IDENTIFIER[usize::from(byte)]
}

/// Looked up, not computed: most bytes of most texts are asked about.
const IDENTIFIER: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let character = byte as u8;
        table[byte] = character.is_ascii_alphanumeric() || matches!(character, b'_' | b'$' | 0x80..);
        byte += 1;
    }
    table
};

/// Where `needle`, which begins with a byte that is rare in text, stands in `text`.
fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(next) = text[from..].iter().position(|byte| *byte == b'$') {
        let at = from + next;
        if text[at..].starts_with(needle) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{Token::*, *};

    fn tokens(text: &str) -> Vec<Token<'_>> {
        Lexer::new(text.as_bytes()).collect()
    }

    #[test]
    fn strings_hide_what_they_contain() {
        assert_eq!(tokens("'a;b'';c' x"), [String(b"a;b'';c"), Word(b"x")]);
        assert_eq!(tokens(r"'a\' x"), [String(br"a\"), Word(b"x")]);
        assert_eq!(tokens(r"E'a\' x' y"), [String(br"a\' x"), Word(b"y")]);
        assert_eq!(tokens("$$ ; $a$ $$ x"), [String(b" ; $a$ "), Word(b"x")]);
        assert_eq!(tokens("$a$ $$ $b$ $a$ x"), [String(b" $$ $b$ "), Word(b"x")]);
        assert_eq!(tokens("\"a\"\"b\" x"), [Quoted(b"a\"\"b"), Word(b"x")]);
        assert_eq!(
            tokens("E'a' -- it's\n  '\\' b' c, E'd' '\\' e"),
            [String(b"a"), Word(b"c"), Comma, String(b"d"), String(b"\\"), Word(b"e")]
        );
        assert_eq!(
            tokens("E'a' /* x */\n'\\' e"),
            [String(b"a"), String(b"\\"), Word(b"e")]
        );
        assert_eq!(
            tokens("U&'\\0041' N'x' B'1'"),
            [String(b"\\0041"), String(b"x"), String(b"1")]
        );
    }

    #[test]
    fn comments_are_nothing_and_nest() {
        assert_eq!(tokens("a/* /* ; */ ' */b"), [Word(b"a"), Word(b"b")]);
        assert_eq!(tokens("a -- ' ;\nb"), [Word(b"a"), Word(b"b")]);
        assert_eq!(tokens("a -- ' ;\rb"), [Word(b"a"), Word(b"b")]);
    }

    #[test]
    fn what_never_ends_reaches_to_the_end() {
        assert_eq!(tokens("'abc"), [String(b"abc")]);
        assert_eq!(tokens("E'abc\\"), [String(b"abc\\")]);
        assert_eq!(tokens("$x$abc"), [String(b"abc")]);
        assert_eq!(tokens("/* abc"), []);
        assert_eq!(tokens("\"abc"), [Quoted(b"abc")]);
        assert_eq!(tokens("$"), [Operator]);
    }

    #[test]
    fn parameters_casts_and_identifiers_with_dollars() {
        assert_eq!(tokens("$1::text"), [Number, Cast, Word(b"text")]);
        assert_eq!(tokens("a$b$c"), [Word(b"a$b$c")]);
        assert_eq!(tokens("äö.x"), [Word("äö".as_bytes()), Dot, Word(b"x")]);
    }

    #[test]
    fn a_backslash_that_may_be_half_a_character_is_not_trusted() {
        assert_eq!(Lexer::new(b"E'\x95\x5c' x").next(), Some(Unsure));
    }
}
