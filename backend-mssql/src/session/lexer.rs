//! T-SQL text as tokens: as much of its lexer as it takes to know what is code and what is not (TDS 6.3).
//!
//! Fed with UTF-16 in any pieces, so that a request of any size can be looked at while it streams. Invariants: one pass,
//! nothing kept but the token at hand (bounded), no panic; any split gives the same tokens; text that ends inside of a
//! string or a comment is all string or comment. No grammar.

use crate::limits;

/// One token. Text is in upper case as far as it is ASCII, except inside of strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// An identifier or keyword without quotes. One that is longer than any keyword is cut.
    Word(&'a str),
    /// `[name]` or `"name"`, as it stands between its quotes; cut when long. What stands in double quotes is a constant where
    /// QUOTED_IDENTIFIER is off.
    Quoted(&'a str, Quotes),
    /// A name that begins with `#`, quoted or not; `##` is visible to all sessions.
    Temporary {
        /// `##name`
        global: bool,
        /// Without what marks it as temporary.
        name: &'a str,
    },
    /// `@name` or `@@NAME`.
    Variable(&'a str),
    /// `'text'`: what stands between the quotes, and whether all of it is here.
    String(&'a str, Whole),
    /// A number or binary constant, as written.
    Number(&'a str),
    /// Any other character of ASCII.
    Symbol(u8),
    /// Cannot be read with certainty.
    Unsure,
}

/// Which quotes a name stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quotes {
    Brackets,
    Double,
}

/// Whether a token is there in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whole {
    Yes,
    /// Longer than what is kept.
    Cut,
}

/// Reads tokens.
#[derive(Debug, Default)]
pub(crate) struct Lexer {
    mode: Mode,
    /// The first half of a unit whose second half has not arrived.
    half: Option<u8>,
    /// A high surrogate.
    surrogate: Option<u16>,
    text: String,
    whole: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    Between,
    Word,
    Variable,
    /// Behind one `#`.
    Temporary,
    TemporaryRest,
    Number,
    /// Inside of a string; the flag says that the unit before was a quote, which ends it unless another one follows.
    Quote(Delimiter, bool),
    /// `-`, which may begin a comment.
    Minus,
    /// `/`, which may begin a comment.
    Slash,
    LineComment,
    /// Behind a carriage return in a comment.
    LineCommentReturn,
    /// Depth, and the unit before if it can be half of `/*` or `*/`.
    BlockComment(u32, u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delimiter {
    Single,
    Double,
    Bracket,
}

impl Delimiter {
    fn end(self) -> char {
        match self {
            Delimiter::Single => '\'',
            Delimiter::Double => '"',
            Delimiter::Bracket => ']',
        }
    }
}

impl Lexer {
    pub(crate) fn new() -> Self {
        Lexer {
            whole: true,
            ..Lexer::default()
        }
    }

    /// Reads on. `see` gets every token that is complete.
    pub(crate) fn push(&mut self, bytes: &[u8], see: &mut impl FnMut(Token<'_>)) {
        let mut bytes = bytes;
        if let Some(low) = self.half.take() {
            let Some((high, rest)) = bytes.split_first() else {
                self.half = Some(low);
                return;
            };
            self.unit(u16::from_le_bytes([low, *high]), see);
            bytes = rest;
        }
        let (pairs, rest) = bytes.as_chunks::<2>();
        for pair in pairs {
            self.unit(u16::from_le_bytes(*pair), see);
        }
        self.half = rest.first().copied();
    }

    /// The text is over.
    pub(crate) fn end(&mut self, see: &mut impl FnMut(Token<'_>)) {
        if self.half.take().is_some() || self.surrogate.take().is_some() {
            see(Token::Unsure);
        }
        match self.mode {
            Mode::Minus => see(Token::Symbol(b'-')),
            Mode::Slash => see(Token::Symbol(b'/')),
            Mode::Quote(_, false) | Mode::BlockComment(..) => {}
            _ => self.finish(see),
        }
        *self = Lexer::new();
    }

    fn unit(&mut self, unit: u16, see: &mut impl FnMut(Token<'_>)) {
        if let Some(high) = self.surrogate.take() {
            match char::decode_utf16([high, unit]).next() {
                Some(Ok(character)) => return self.character(character, see),
                _ => {
                    see(Token::Unsure);
                    self.character(char::REPLACEMENT_CHARACTER, see);
                }
            }
        }
        match char::from_u32(unit.into()) {
            Some(character) => self.character(character, see),
            None if unit < 0xdc00 => self.surrogate = Some(unit),
            None => {
                see(Token::Unsure);
                self.character(char::REPLACEMENT_CHARACTER, see);
            }
        }
    }

    fn character(&mut self, character: char, see: &mut impl FnMut(Token<'_>)) {
        match self.mode {
            Mode::Between => self.begin(character, see),
            Mode::Word | Mode::Variable | Mode::TemporaryRest if is_identifier(character) => self.keep(character),
            Mode::Temporary => {
                self.mode = Mode::TemporaryRest;
                if is_identifier(character) {
                    self.keep(character);
                } else {
                    self.finish(see);
                    self.begin(character, see);
                }
            }
            Mode::Number if character.is_ascii_alphanumeric() || character == '.' => self.keep(character),
            Mode::Word | Mode::Variable | Mode::TemporaryRest | Mode::Number => {
                self.finish(see);
                self.begin(character, see);
            }
            Mode::Quote(delimiter, false) if character == delimiter.end() => self.mode = Mode::Quote(delimiter, true),
            Mode::Quote(_, false) => self.keep_as_is(character),
            Mode::Quote(delimiter, true) if character == delimiter.end() => {
                self.mode = Mode::Quote(delimiter, false);
                self.keep_as_is(character);
            }
            Mode::Quote(_, true) => {
                self.finish(see);
                self.begin(character, see);
            }
            Mode::Minus if character == '-' => self.mode = Mode::LineComment,
            Mode::Slash if character == '*' => self.mode = Mode::BlockComment(1, 0),
            Mode::Minus | Mode::Slash => {
                let symbol = if self.mode == Mode::Minus { b'-' } else { b'/' };
                self.mode = Mode::Between;
                see(Token::Symbol(symbol));
                self.begin(character, see);
            }
            Mode::LineComment => match character {
                '\n' => self.mode = Mode::Between,
                '\r' => self.mode = Mode::LineCommentReturn,
                _ => {}
            },
            Mode::LineCommentReturn => {
                self.mode = Mode::Between;
                if character != '\n' {
                    // Whether a lone carriage return ends a comment is not known for certain.
                    see(Token::Unsure);
                    self.begin(character, see);
                }
            }
            Mode::BlockComment(depth, before) => self.mode = in_comment(depth, before, character),
        }
    }

    /// A character outside of any token.
    fn begin(&mut self, character: char, see: &mut impl FnMut(Token<'_>)) {
        self.mode = match character {
            '\'' => Mode::Quote(Delimiter::Single, false),
            '"' => Mode::Quote(Delimiter::Double, false),
            '[' => Mode::Quote(Delimiter::Bracket, false),
            '-' => Mode::Minus,
            '/' => Mode::Slash,
            '#' => Mode::Temporary,
            '@' => Mode::Variable,
            '0'..='9' => Mode::Number,
            _ if is_space(character) => Mode::Between,
            _ if is_identifier(character) => Mode::Word,
            _ => {
                see(match u8::try_from(character) {
                    Ok(symbol) if symbol.is_ascii() => Token::Symbol(symbol),
                    _ => Token::Unsure,
                });
                Mode::Between
            }
        };
        if matches!(self.mode, Mode::Variable | Mode::Number | Mode::Word) {
            self.keep(character);
        }
    }

    fn keep(&mut self, character: char) {
        self.keep_as_is(character.to_ascii_uppercase());
    }

    fn keep_as_is(&mut self, character: char) {
        if self.text.len() < limits::MAX_WORD {
            self.text.push(character);
        } else {
            self.whole = false;
        }
    }

    /// The token at hand is complete.
    fn finish(&mut self, see: &mut impl FnMut(Token<'_>)) {
        let mode = std::mem::take(&mut self.mode);
        let whole = if self.whole { Whole::Yes } else { Whole::Cut };
        match mode {
            Mode::Word => see(Token::Word(&self.text)),
            Mode::Variable => see(Token::Variable(&self.text)),
            Mode::Temporary => see(Token::Temporary {
                global: false,
                name: "",
            }),
            Mode::TemporaryRest => see(Token::Temporary {
                global: self.text.starts_with('#'),
                name: self.text.trim_start_matches('#'),
            }),
            Mode::Number => see(Token::Number(&self.text)),
            Mode::Quote(Delimiter::Single, _) => see(Token::String(&self.text, whole)),
            Mode::Quote(..) if self.text.starts_with('#') => see(Token::Temporary {
                global: self.text.starts_with("##"),
                name: self.text.trim_start_matches('#'),
            }),
            Mode::Quote(Delimiter::Bracket, _) => see(Token::Quoted(&self.text, Quotes::Brackets)),
            Mode::Quote(Delimiter::Double, _) => see(Token::Quoted(&self.text, Quotes::Double)),
            _ => {}
        }
        self.text.clear();
        self.whole = true;
    }
}

/// Comments nest.
fn in_comment(depth: u32, before: u8, character: char) -> Mode {
    match (before, character) {
        (b'/', '*') => Mode::BlockComment(depth.saturating_add(1), 0),
        (b'*', '/') if depth == 1 => Mode::Between,
        (b'*', '/') => Mode::BlockComment(depth - 1, 0),
        (_, '/') => Mode::BlockComment(depth, b'/'),
        (_, '*') => Mode::BlockComment(depth, b'*'),
        _ => Mode::BlockComment(depth, 0),
    }
}

/// Whatever some version of the server may take for space, so that words are rather split than joined.
fn is_space(character: char) -> bool {
    character.is_whitespace() || character.is_control() || matches!(character, '\u{200b}' | '\u{feff}')
}

fn is_identifier(character: char) -> bool {
    match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '@' | '#' | '$' => true,
        _ => !character.is_ascii() && !is_space(character),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens_in_pieces(text: &str, piece: usize) -> Vec<String> {
        let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let mut found = Vec::new();
        let mut see = |token: Token<'_>| found.push(format!("{token:?}"));
        let mut lexer = Lexer::new();
        for piece in bytes.chunks(piece) {
            lexer.push(piece, &mut see);
        }
        lexer.end(&mut see);
        found
    }

    fn tokens(text: &str) -> Vec<String> {
        let whole = tokens_in_pieces(text, usize::MAX);
        for piece in 1..=7 {
            assert_eq!(
                tokens_in_pieces(text, piece),
                whole,
                "in pieces of {piece} bytes: {text}"
            );
        }
        whole
    }

    #[test]
    fn words_names_and_constants() {
        assert_eq!(
            tokens("set Rowcount -5; select @x, @@Rowcount, [a]]b], \"c\"\"d\", N'it''s', 0x1F, 1.5 from #t, ##g"),
            [
                r#"Word("SET")"#,
                r#"Word("ROWCOUNT")"#,
                "Symbol(45)",
                r#"Number("5")"#,
                "Symbol(59)",
                r#"Word("SELECT")"#,
                r#"Variable("@X")"#,
                "Symbol(44)",
                r#"Variable("@@ROWCOUNT")"#,
                "Symbol(44)",
                r#"Quoted("a]b", Brackets)"#,
                "Symbol(44)",
                r#"Quoted("c\"d", Double)"#,
                "Symbol(44)",
                r#"Word("N")"#,
                r#"String("it's", Yes)"#,
                "Symbol(44)",
                r#"Number("0X1F")"#,
                "Symbol(44)",
                r#"Number("1.5")"#,
                r#"Word("FROM")"#,
                r#"Temporary { global: false, name: "T" }"#,
                "Symbol(44)",
                r#"Temporary { global: true, name: "G" }"#,
            ]
        );
    }

    #[test]
    fn comments_are_no_code_and_nest() {
        assert_eq!(
            tokens("a -- b '\r\nc /* d /* e */ ' */ f - g / h --"),
            [
                r#"Word("A")"#,
                r#"Word("C")"#,
                r#"Word("F")"#,
                "Symbol(45)",
                r#"Word("G")"#,
                "Symbol(47)",
                r#"Word("H")"#,
            ]
        );
        assert_eq!(tokens("/* a /* b */ c"), Vec::<String>::new());
        assert_eq!(tokens("/*/ a */ b"), [r#"Word("B")"#]);
    }

    #[test]
    fn what_hides_a_temporary_name_is_seen_through() {
        for text in ["[#a]", "\"#a\"", "#a", "tempdb..#a", "#[a]"] {
            assert!(
                tokens(text)
                    .iter()
                    .any(|token| token.starts_with("Temporary { global: false")),
                "{text}"
            );
        }
        assert_eq!(tokens("'#a'"), [r##"String("#a", Yes)"##]);
    }

    #[test]
    fn an_unfinished_string_swallows_the_rest() {
        assert_eq!(tokens("a 'b set x"), [r#"Word("A")"#]);
        assert_eq!(tokens("a [b set x"), [r#"Word("A")"#]);
    }

    #[test]
    fn what_may_be_space_splits_words() {
        assert_eq!(
            tokens("SET\u{a0}NOCOUNT\u{3000}ON"),
            [r#"Word("SET")"#, r#"Word("NOCOUNT")"#, r#"Word("ON")"#]
        );
    }

    #[test]
    fn what_is_no_text_is_told() {
        let mut found = Vec::new();
        let mut lexer = Lexer::new();
        lexer.push(&[0x41, 0x00, 0x00, 0xdc, 0x20, 0x00, 0x00, 0xd8, 0x42], &mut |token| {
            found.push(format!("{token:?}"));
        });
        lexer.end(&mut |token| found.push(format!("{token:?}")));
        assert_eq!(found.iter().filter(|token| *token == "Unsure").count(), 2, "{found:?}");
        assert_eq!(tokens("-- a\rb")[0], "Unsure");
    }

    #[test]
    fn long_tokens_are_cut_and_never_lost() {
        let long = "x".repeat(100_000);
        let found = tokens(&format!("'{long}' {long} b"));
        assert_eq!(found.len(), 3);
        assert!(found[0].len() < 1_000 && found[0].contains("Cut"));
        assert_eq!(found[2], r#"Word("B")"#);
    }
}
