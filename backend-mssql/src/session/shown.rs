//! Which requests may be why a client keeps its server connection, in a form that may be shown to an administrator: short,
//! and without a constant in it.
//!
//! Invariants: bounded ([`limits::MAX_SHOWN_STATEMENT`], [`limits::MAX_SUSPECTS`]); what could be a constant is not shown,
//! nor is what the lexer cannot tell from code; parameters never get here, because only texts do.

use std::collections::VecDeque;

use super::{
    classify::{Calls, Certainty, Change, Findings, Traces, is_statement},
    follow::Outcome,
    lexer::{Lexer, Quotes, Token},
    pins::{Pins, Tie},
};
use crate::limits;

/// The beginning of a request's text, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Beginning(Box<[u8]>);

/// The last requests of a client after which it may have to keep its connection.
#[derive(Debug, Default)]
pub(crate) struct Suspects(VecDeque<Suspect>);

#[derive(Debug)]
struct Suspect {
    begins: Pins,
    /// It may have done what its own text does not say.
    is_opaque: bool,
    text: Beginning,
}

impl Beginning {
    /// Of this text, if it may become a reason to keep a connection.
    pub(crate) fn of(text: &[u8], findings: &Findings) -> Option<Self> {
        let is_suspicious = !findings.begins.is_empty()
            || !findings.changes.is_empty()
            || findings.calls == Calls::Procedures
            || findings.traces == Traces::Left;
        is_suspicious.then(|| Beginning::whatever(text))
    }

    /// Of this text, whatever it does.
    pub(crate) fn whatever(text: &[u8]) -> Self {
        Beginning(text[..text.len().min(limits::MAX_SHOWN_TEXT)].into())
    }
}

impl Suspects {
    /// A request has come to this.
    pub(crate) fn note(&mut self, findings: &Findings, outcome: Outcome, text: Option<Beginning>) {
        let Some(text) = text else { return };
        let is_unsure = |(change, certainty): &(Change, Certainty)| {
            let is_seen = matches!(change, Change::Set(_) | Change::Isolation(_));
            outcome == Outcome::Error || !is_seen || *certainty == Certainty::Conditional
        };
        let is_opaque = findings.calls == Calls::Procedures
            || findings.begins.has(Tie::Unsure)
            || findings.changes.iter().any(is_unsure);
        if !is_opaque && findings.begins.is_empty() {
            return;
        }
        if self.0.len() >= limits::MAX_SUSPECTS {
            self.0.pop_front();
        }
        self.0.push_back(Suspect {
            begins: findings.begins,
            is_opaque,
            text,
        });
    }

    /// The one that is most probably the cause of a tie; `None` for a tie: the server or the settings say so.
    pub(crate) fn cause(&self, tie: Option<Tie>) -> Option<Box<str>> {
        if matches!(tie, Some(Tie::Outcome | Tie::Identity)) {
            // Any write is a cause: the reason says it all.
            return None;
        }
        let begins = |suspect: &&Suspect| tie.is_some_and(|tie| suspect.begins.has(tie));
        let last = || self.0.iter().rev();
        let found = last()
            .find(begins)
            .or_else(|| last().find(|suspect| suspect.is_opaque))
            .or_else(|| last().next().filter(|_| tie == Some(Tie::Server)));
        found.map(|suspect| shown(&suspect.text.0))
    }

    /// They are somebody else's from now on.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }
}

/// A text in UTF-16 with every constant replaced by `?`, without comments, in one line; words are in upper case.
fn shown(text: &[u8]) -> Box<str> {
    let mut line = Line::default();
    let mut lexer = Lexer::new();
    lexer.push(text, &mut |token| line.see(token));
    lexer.end(&mut |token| line.see(token));
    line.finish(text.len() >= limits::MAX_SHOWN_TEXT)
}

#[derive(Debug, Default)]
struct Line {
    text: String,
    call: Call,
    /// An `N` that may belong to a string.
    national: bool,
    over: bool,
}

/// `EXEC name arguments`, where a constant needs no quotes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Call {
    /// At the front of the text, where the name of a procedure may stand alone.
    #[default]
    Front,
    No,
    /// Behind EXEC, perhaps with a variable for what the procedure returns.
    Begun,
    /// In its name, behind a part of it.
    Name,
    /// In its name, behind a dot.
    Dot,
    Arguments,
}

impl Call {
    fn after(self, token: Token<'_>) -> Self {
        match (self, token) {
            (_, Token::Symbol(b';')) => Call::No,
            (_, Token::Word("EXEC" | "EXECUTE")) => Call::Begun,
            (Call::Front, Token::Word(word)) if is_statement(word) => Call::No,
            (Call::Begun, Token::Word("AS")) => Call::No,
            (Call::Begun, Token::Variable(_) | Token::Symbol(b'=')) => Call::Begun,
            (
                Call::Front | Call::Begun | Call::Dot,
                Token::Word(_) | Token::Quoted(..) | Token::Temporary { .. } | Token::Variable(_),
            ) => Call::Name,
            (Call::Name | Call::Begun | Call::Dot, Token::Symbol(b'.')) => Call::Dot,
            (Call::Name | Call::Begun | Call::Dot | Call::Arguments, _) => Call::Arguments,
            (Call::Front | Call::No, _) => Call::No,
        }
    }
}

impl Line {
    fn see(&mut self, token: Token<'_>) {
        if self.over {
            return;
        }
        if std::mem::take(&mut self.national) && !matches!(token, Token::String(..)) {
            self.apart("N");
        }
        self.call = self.call.after(token);
        let is_argument = self.call == Call::Arguments;
        match token {
            Token::Word("N") => self.national = true,
            Token::Word("OUT" | "OUTPUT" | "DEFAULT" | "NULL") => self.word(token),
            Token::Word(_) | Token::Quoted(..) if is_argument => self.apart("?"),
            Token::Number(_) | Token::String(..) | Token::Quoted(_, Quotes::Double) => self.apart("?"),
            Token::Symbol(symbol @ (b'.' | b',' | b';' | b'(' | b')')) => self.text.push(char::from(symbol)),
            Token::Symbol(symbol) => self.apart(char::from(symbol).encode_utf8(&mut [0; 4])),
            Token::Unsure => self.over = true,
            _ => self.word(token),
        }
        self.over |= self.text.len() > limits::MAX_SHOWN_STATEMENT;
    }

    fn word(&mut self, token: Token<'_>) {
        match token {
            Token::Word(word) | Token::Variable(word) => self.apart(word),
            Token::Quoted(name, _) => self.apart(&format!("[{}]", name.replace(']', "]]"))),
            Token::Temporary { global, name } => self.apart(&format!("{}{name}", if global { "##" } else { "#" })),
            _ => {}
        }
    }

    /// With a space in front where one belongs.
    fn apart(&mut self, text: &str) {
        if !self.text.is_empty() && !self.text.ends_with(['.', '(', ' ']) {
            self.text.push(' ');
        }
        let printable = |character: char| if character.is_control() { ' ' } else { character };
        self.text.extend(text.chars().map(printable));
    }

    fn finish(mut self, is_cut: bool) -> Box<str> {
        if self.text.len() > limits::MAX_SHOWN_STATEMENT {
            let fits = |at: &usize| self.text.is_char_boundary(*at);
            let cut = (0..=limits::MAX_SHOWN_STATEMENT).rev().find(fits).unwrap_or(0);
            self.text.truncate(cut);
        }
        if self.over || is_cut {
            self.text.push('…');
        }
        self.text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{session::classify::classify, wire::utf16};

    fn shows(text: &str) -> Box<str> {
        shown(&utf16::encode(text))
    }

    #[test]
    fn constants_and_comments_are_not_shown() {
        for (text, expected) in [
            (
                "create table #T1 (id int, n nvarchar(50) default N'canary') /* canary */ -- canary",
                "CREATE TABLE #T1(ID INT, N NVARCHAR(?) DEFAULT ?)",
            ),
            (
                "select 'canary', 4711, 0x1F, \"canary\" from [dbo].[a]]b] where x = @p",
                "SELECT ?, ?, ?, ? FROM [dbo].[a]]b] WHERE X = @P",
            ),
            // What an argument is needs no quotes.
            ("exec sp_setapprole reader, canary", "EXEC SP_SETAPPROLE ?, ?"),
            ("sp_setapprole reader, [canary]", "SP_SETAPPROLE ?, ?"),
            (
                "exec @rc = master.dbo.sp_getapplock @resource = canary, @x = @y output; select x",
                "EXEC @RC = MASTER.DBO.SP_GETAPPLOCK @RESOURCE = ?, @X = @Y OUTPUT; SELECT X",
            ),
            ("exec ('select canary')", "EXEC(?)"),
            ("execute as user = 'canary'", "EXECUTE AS USER = ?"),
            (
                "open symmetric key k decryption by password = 'canary'",
                "OPEN SYMMETRIC KEY K DECRYPTION BY PASSWORD = ?",
            ),
            ("select 'canary", "SELECT"),
            ("", ""),
        ] {
            assert_eq!(&*shows(text), expected, "{text}");
            assert!(!shows(text).to_lowercase().contains("canary"), "{text}");
        }
    }

    #[test]
    fn long_ones_are_cut_and_odd_ones_stay_in_line() {
        let long = shows(&format!("create table #{}", "é".repeat(1_000)));
        assert!(long.len() <= limits::MAX_SHOWN_STATEMENT + "…".len() && long.ends_with('…'));
        assert!(
            shows("select [a\nb\u{1b}]")
                .chars()
                .all(|character| !character.is_control())
        );
        let findings = classify(&utf16::encode("create table #t (i int)"));
        let text = Beginning::of(&vec![b'x'; 1 << 20], &findings).expect("suspicious");
        assert_eq!(text.0.len(), limits::MAX_SHOWN_TEXT);
    }

    #[test]
    fn the_last_request_that_fits_the_tie_is_the_cause() {
        let mut suspects = Suspects::default();
        let runs = |suspects: &mut Suspects, text: &str, outcome| {
            let bytes = utf16::encode(text);
            let findings = classify(&bytes);
            suspects.note(&findings, outcome, Beginning::of(&bytes, &findings));
        };
        runs(&mut suspects, "select 1", Outcome::Success);
        runs(&mut suspects, "set nocount on", Outcome::Success);
        assert!(suspects.0.is_empty(), "neither ties anybody");
        runs(&mut suspects, "exec p", Outcome::Success);
        runs(&mut suspects, "create table #a (i int)", Outcome::Success);
        runs(&mut suspects, "select * into #b from t", Outcome::Success);
        assert_eq!(
            suspects.cause(Some(Tie::TemporaryTable)).as_deref(),
            Some("SELECT * INTO #B FROM T")
        );
        assert_eq!(suspects.cause(Some(Tie::Cursor)).as_deref(), Some("EXEC P"));
        assert_eq!(suspects.cause(None).as_deref(), Some("EXEC P"));
        runs(&mut suspects, "set rowcount 5", Outcome::Error);
        assert_eq!(suspects.cause(None).as_deref(), Some("SET ROWCOUNT ?"));
        for _ in 0..100 {
            runs(&mut suspects, "exec q", Outcome::Success);
        }
        assert!(suspects.0.len() <= limits::MAX_SUSPECTS);
        suspects.forget();
        assert_eq!(suspects.cause(Some(Tie::TemporaryTable)), None);
    }
}
