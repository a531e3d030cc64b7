//! Text into tokens: comments go, quotes are understood, lines are counted.

use crate::mssql::failure::Failure;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A keyword or a name without quotes; also `#temporary`.
    Word,
    /// `[name]` or `"name"`.
    Quoted,
    /// `'text'`
    Text,
    /// `N'text'`
    National,
    Number,
    /// `0x…`
    Binary,
    /// `@name`
    Variable,
    /// `@@NAME`
    System,
    Symbol,
}

/// A token. Its text is without quotes; a system function's is in capitals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) text: String,
    pub(crate) line: u32,
    /// Where it stands in the source.
    pub(crate) span: (usize, usize),
}

impl Token {
    /// Whether it is this keyword.
    pub(crate) fn is(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word)
    }
    pub(crate) fn is_any(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.is(word))
    }
    pub(crate) fn symbol(&self, symbol: &str) -> bool {
        self.kind == Kind::Symbol && self.text == symbol
    }
    /// Whether it can name something.
    pub(crate) fn is_name(&self) -> bool {
        matches!(self.kind, Kind::Word | Kind::Quoted)
    }
    pub(crate) fn is_text(&self) -> bool {
        matches!(self.kind, Kind::Text | Kind::National)
    }
}

const TWO: [&str; 13] = [
    "<=", ">=", "<>", "!=", "!<", "!>", "+=", "-=", "*=", "/=", "%=", "::", "||",
];

/// All tokens of a source, under QUOTED_IDENTIFIER ON.
pub(crate) fn lex(source: &str) -> Result<Vec<Token>, Failure> {
    lex_as(source, true)
}

/// All tokens of a source. `names`: what stands in double quotes is a name, else it is text.
pub(crate) fn lex_as(source: &str, names: bool) -> Result<Vec<Token>, Failure> {
    let bytes = source.as_bytes();
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < bytes.len() {
        let start = at;
        let start_line = line;
        let rest = &bytes[at..];
        let mut push = |kind, text: String, end: usize| {
            tokens.push(Token {
                kind,
                text,
                line: start_line,
                span: (start, end),
            });
        };
        match rest[0] {
            b'\n' => {
                line += 1;
                at += 1;
            }
            byte if byte.is_ascii_whitespace() || byte == 0 => at += 1,
            b'-' if rest.starts_with(b"--") => at += rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()),
            b'/' if rest.starts_with(b"/*") => {
                at =
                    comment_end(bytes, at).ok_or_else(|| Failure::new(113, 15, 1, "Missing end comment mark '*/'."))?;
                line += count_lines(&bytes[start..at]);
            }
            b'\'' => {
                let (text, end) = quoted(source, at + 1, '\'')?;
                line += count_lines(&bytes[start..end]);
                push(Kind::Text, text, end);
                at = end;
            }
            b'N' | b'n' if rest.get(1) == Some(&b'\'') => {
                let (text, end) = quoted(source, at + 2, '\'')?;
                line += count_lines(&bytes[start..end]);
                push(Kind::National, text, end);
                at = end;
            }
            b'[' => {
                let (text, end) = quoted(source, at + 1, ']')?;
                push(Kind::Quoted, text, end);
                at = end;
            }
            b'"' => {
                let (text, end) = quoted(source, at + 1, '"')?;
                line += count_lines(&bytes[start..end]);
                push(if names { Kind::Quoted } else { Kind::Text }, text, end);
                at = end;
            }
            b'@' => {
                let prefix = if rest.starts_with(b"@@") { 2 } else { 1 };
                let end = at + prefix + word_length(&source[at + prefix..]);
                let text = &source[at..end];
                if prefix == 2 {
                    push(Kind::System, text.to_ascii_uppercase(), end);
                } else {
                    push(Kind::Variable, text.to_ascii_lowercase(), end);
                }
                at = end;
            }
            b'0' if matches!(rest.get(1), Some(b'x' | b'X')) => {
                let end = at + 2 + rest[2..].iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
                push(Kind::Binary, source[at + 2..end].to_owned(), end);
                at = end;
            }
            byte if byte.is_ascii_digit() || (byte == b'.' && rest.get(1).is_some_and(u8::is_ascii_digit)) => {
                let end = at + number_length(rest);
                push(Kind::Number, source[at..end].to_owned(), end);
                at = end;
            }
            _ => {
                let length = word_length(&source[at..]);
                if length > 0 {
                    push(Kind::Word, source[at..at + length].to_owned(), at + length);
                    at += length;
                    continue;
                }
                let length = if TWO.iter().any(|symbol| rest.starts_with(symbol.as_bytes())) {
                    2
                } else {
                    source[at..].chars().next().map_or(1, char::len_utf8)
                };
                push(Kind::Symbol, source[at..at + length].to_owned(), at + length);
                at += length;
            }
        }
    }
    Ok(tokens)
}

fn count_lines(bytes: &[u8]) -> u32 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u32
}

/// Comments nest in T-SQL.
fn comment_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0;
    loop {
        match bytes.get(at..at + 2)? {
            b"/*" => {
                depth += 1;
                at += 2;
            }
            b"*/" => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => at += 1,
        }
    }
}

fn quoted(source: &str, start: usize, quote: char) -> Result<(String, usize), Failure> {
    let mut text = String::new();
    let mut characters = source[start..].char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        if character != quote {
            text.push(character);
        } else if characters.peek().is_some_and(|(_, next)| *next == quote) {
            characters.next();
            text.push(quote);
        } else {
            return Ok((text, start + at + 1));
        }
    }
    let shown: String = text.chars().take(60).collect();
    Err(Failure::new(
        105,
        15,
        1,
        format!("Unclosed quotation mark after the character string '{shown}'."),
    ))
}

fn word_length(text: &str) -> usize {
    text.char_indices()
        .find(|(at, c)| {
            !(c.is_alphabetic()
                || *c == '_'
                || *c == '#'
                || (*at > 0 && (c.is_ascii_digit() || *c == '$' || *c == '@'))
                || c.is_numeric() && *at > 0)
        })
        .map_or(text.len(), |(at, _)| at)
}

fn number_length(bytes: &[u8]) -> usize {
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut length = digits(0);
    if bytes.get(length) == Some(&b'.') {
        length += 1;
        length += digits(length);
    }
    if matches!(bytes.get(length), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(length + 1), Some(b'+' | b'-')));
        if bytes.get(length + 1 + sign).is_some_and(u8::is_ascii_digit) {
            length += 1 + sign;
            length += digits(length);
        }
    }
    length
}
