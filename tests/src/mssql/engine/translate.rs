//! T-SQL statements into SQLite's SQL, word by word: what has another meaning there is rewritten, the rest must be in a
//! list of what is known to mean the same.
//!
//! Names are quoted, so that no word of SQLite's that T-SQL lacks is ever a keyword. Variables, `@@` functions and what
//! depends on the session become parameters.

use rusqlite::types::Value;

use super::{
    infer,
    names::{closing, ends_operand, keyword, list_end, quote, set_operations, target_name},
    session::Session,
};
use crate::mssql::{
    failure::Failure,
    tsql::{
        lexer::{Kind, Token},
        statement::split,
    },
    wire::types::SqlType,
};

/// A statement for the engine.
#[derive(Debug, Default)]
pub(crate) struct Translated {
    pub(crate) sql: String,
    pub(crate) parameters: Vec<Value>,
    pub(crate) verb: Verb,
    /// Columns of the result as far as the text tells.
    pub(crate) items: Vec<Item>,
    /// `SELECT @a = …`: the variables, in the order of the items.
    pub(crate) assigns: Vec<String>,
    /// `SELECT … INTO table`.
    pub(crate) into: Option<String>,
    /// The table that is written to.
    pub(crate) target: Option<String>,
    /// A SELECT reads a table.
    pub(crate) reads: bool,
    /// A DML statement has an OUTPUT clause.
    pub(crate) returns: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Verb {
    #[default]
    Select,
    Insert,
    Update,
    Delete,
}

impl Verb {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Verb::Select => "SELECT",
            Verb::Insert => "INSERT",
            Verb::Update => "UPDATE",
            Verb::Delete => "DELETE",
        }
    }
}

/// An item of a select list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Item {
    /// Its name, when the text gives one.
    pub(crate) name: Option<String>,
    /// `*` or `t.*`
    pub(crate) star: bool,
    /// A column's name and nothing else.
    pub(crate) plain: bool,
    pub(crate) kind: Option<SqlType>,
}

/// Translates SELECT, INSERT, UPDATE, DELETE, and those behind WITH.
pub(crate) fn statement(session: &mut Session, tokens: &[Token]) -> Result<Translated, Failure> {
    let mut translator = Translator::new(session);
    translator.statement(tokens)?;
    Ok(translator.out)
}

/// Translates an expression: `SELECT` that and nothing else.
pub(crate) fn expression(session: &mut Session, tokens: &[Token]) -> Result<Translated, Failure> {
    let mut translator = Translator::new(session);
    translator.push("SELECT");
    translator.expression(tokens)?;
    translator.out.reads = tokens.iter().any(|token| token.is("FROM"));
    let kind = infer::kind_of(translator.session, tokens);
    translator.out.items.push(Item {
        kind,
        ..Item::default()
    });
    Ok(translator.out)
}

pub(super) struct Translator<'a> {
    pub(super) session: &'a mut Session,
    pub(super) out: Translated,
}

impl<'a> Translator<'a> {
    fn new(session: &'a mut Session) -> Translator<'a> {
        Translator {
            session,
            out: Translated::default(),
        }
    }

    pub(super) fn push(&mut self, text: &str) {
        if !self.out.sql.is_empty() && !self.out.sql.ends_with(['(', '.']) && !matches!(text, ")" | "," | ".") {
            self.out.sql.push(' ');
        }
        self.out.sql.push_str(text);
    }

    pub(super) fn parameter(&mut self, value: Value) {
        let collation = if matches!(value, Value::Text(_)) {
            " COLLATE NOCASE"
        } else {
            ""
        };
        self.out.parameters.push(value);
        let text = format!("?{}{collation}", self.out.parameters.len());
        self.push(&text);
    }

    pub(super) fn name(&mut self, name: &str) {
        let quoted = quote(name);
        self.push(&quoted);
    }

    fn statement(&mut self, tokens: &[Token]) -> Result<(), Failure> {
        let mut at = 0;
        if tokens[0].is("WITH") {
            at = self.common_tables(tokens)?;
        }
        let rest = &tokens[at..];
        match rest.first() {
            Some(token) if token.is("SELECT") => {
                self.out.verb = Verb::Select;
                self.select(rest, true)
            }
            Some(token) if token.is("INSERT") => self.insert(rest),
            Some(token) if token.is("UPDATE") => self.update(rest),
            Some(token) if token.is("DELETE") => self.delete(rest),
            Some(token) => Err(Failure::unknown(&token.text)),
            None => Err(Failure::syntax("WITH")),
        }
    }

    /// `WITH a (x) AS (…), b AS (…)`; where the main statement begins.
    fn common_tables(&mut self, tokens: &[Token]) -> Result<usize, Failure> {
        self.push("WITH RECURSIVE");
        let mut at = 1;
        loop {
            let name = tokens.get(at).ok_or_else(|| Failure::syntax("WITH"))?.text.clone();
            self.name(&name);
            at += 1;
            while let Some(token) = tokens.get(at) {
                if token.symbol("(") {
                    let end = closing(tokens, at)?;
                    let inner = &tokens[at + 1..end];
                    self.push("(");
                    if inner.first().is_some_and(|token| token.is_any(&["SELECT", "WITH"])) {
                        self.select(inner, false)?;
                        self.push(")");
                        at = end + 1;
                        break;
                    }
                    self.expression(inner)?;
                    self.push(")");
                    at = end + 1;
                } else if token.is("AS") {
                    self.push("AS");
                    at += 1;
                } else {
                    return Err(Failure::syntax(&token.text));
                }
            }
            if tokens.get(at).is_some_and(|token| token.symbol(",")) {
                self.push(",");
                at += 1;
            } else {
                return Ok(at);
            }
        }
    }

    /// SELECT, with what UNION and its like join to it. `top`: it is the statement itself.
    pub(super) fn select(&mut self, tokens: &[Token], top: bool) -> Result<(), Failure> {
        if tokens.first().is_some_and(|token| token.is("WITH")) {
            let at = self.common_tables(tokens)?;
            return self.select(&tokens[at..], top);
        }
        let parts = set_operations(tokens);
        let several = parts.len() > 1;
        let mut limit = None;
        for (index, (operator, part)) in parts.into_iter().enumerate() {
            if !operator.is_empty() {
                self.push(operator);
            }
            if part.first().is_some_and(|token| token.symbol("(")) {
                return Err(Failure::unknown("a parenthesised SELECT in a set operation"));
            }
            let found = self.simple_select(part, top && index == 0)?;
            if several && found.is_some() {
                return Err(Failure::unknown("TOP inside a set operation"));
            }
            limit = found.or(limit);
        }
        if let Some(tokens) = limit {
            if self.out.sql.contains(" LIMIT ")
                && top
                && self
                    .out
                    .sql
                    .rsplit(')')
                    .next()
                    .is_some_and(|tail| tail.contains(" LIMIT "))
            {
                return Err(Failure::new(
                    10741,
                    15,
                    2,
                    "A TOP can not be used in the same query or sub-query as a OFFSET.",
                ));
            }
            self.push("LIMIT (");
            self.expression(&tokens)?;
            self.push(")");
        } else if top && let Some(most) = self.session.row_limit() {
            let text = format!("LIMIT {most}");
            self.push(&text);
        }
        Ok(())
    }

    /// One SELECT; what TOP says.
    fn simple_select(&mut self, tokens: &[Token], top: bool) -> Result<Option<Vec<Token>>, Failure> {
        if tokens.first().is_some_and(|token| token.is("VALUES")) {
            self.expression(tokens)?;
            return Ok(None);
        }
        if !tokens.first().is_some_and(|token| token.is("SELECT")) {
            return Err(Failure::syntax(tokens.first().map_or("", |token| &token.text)));
        }
        self.push("SELECT");
        let mut at = 1;
        if tokens.get(at).is_some_and(|token| token.is_any(&["ALL", "DISTINCT"])) {
            let word = tokens[at].text.clone();
            self.push(&word);
            at += 1;
        }
        let mut limit = None;
        if tokens.get(at).is_some_and(|token| token.is("TOP")) {
            at += 1;
            let end = match tokens.get(at) {
                Some(token) if token.symbol("(") => closing(tokens, at)?,
                Some(_) => at,
                None => return Err(Failure::syntax("TOP")),
            };
            limit = Some(tokens[at..=end].to_vec());
            at = end + 1;
            if tokens.get(at).is_some_and(|token| token.is_any(&["PERCENT", "WITH"])) {
                return Err(Failure::unknown("TOP PERCENT and TOP WITH TIES"));
            }
        }
        let end = list_end(tokens, at);
        let items = split(&tokens[at..end]);
        if items.is_empty() {
            return Err(Failure::syntax("SELECT"));
        }
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.push(",");
            }
            self.item(item, top)?;
        }
        at = end;
        if tokens.get(at).is_some_and(|token| token.is("INTO")) {
            let (name, after) = target_name(self.session, tokens, at + 1)?;
            self.out.into = Some(name);
            at = after;
        }
        if top {
            self.out.reads = tokens[at..].iter().any(|token| token.is("FROM"));
        }
        self.tail(&tokens[at..])?;
        Ok(limit)
    }

    pub(super) fn item(&mut self, tokens: &[Token], top: bool) -> Result<(), Failure> {
        let assigned = tokens.len() > 2 && tokens[0].kind == Kind::Variable && tokens[1].symbol("=");
        let named_first = tokens.len() > 2 && (tokens[0].is_name() || tokens[0].is_text()) && tokens[1].symbol("=");
        let (mut expression, mut name) = (tokens, None);
        if assigned {
            self.out.assigns.push(tokens[0].text.clone());
            expression = &tokens[2..];
        } else if named_first {
            name = Some(tokens[0].text.clone());
            expression = &tokens[2..];
        } else if tokens.len() > 1 {
            let last = &tokens[tokens.len() - 1];
            let before = &tokens[tokens.len() - 2];
            if (last.is_name() || last.is_text()) && before.is("AS") {
                name = Some(last.text.clone());
                expression = &tokens[..tokens.len() - 2];
            } else if last.is_name() && !keyword(last) && ends_operand(before) {
                name = Some(last.text.clone());
                expression = &tokens[..tokens.len() - 1];
            }
        }
        if expression.is_empty() {
            return Err(Failure::syntax(","));
        }
        let star = expression.last().is_some_and(|token| token.symbol("*"))
            && (expression.len() == 1 || expression[expression.len() - 2].symbol("."));
        let plain = expression
            .iter()
            .all(|token| (token.is_name() && !keyword(token)) || token.symbol("."));
        self.expression(expression)?;
        if let Some(name) = &name {
            self.push("AS");
            self.name(name);
        }
        if top {
            let kind = infer::kind_of(self.session, expression);
            self.out.items.push(Item {
                name,
                star,
                plain,
                kind,
            });
        }
        Ok(())
    }

    /// FROM and all behind it.
    pub(super) fn tail(&mut self, tokens: &[Token]) -> Result<(), Failure> {
        let mut at = 0;
        let mut start = 0;
        let mut depth = 0;
        while at < tokens.len() {
            let token = &tokens[at];
            depth += i32::from(token.symbol("(")) - i32::from(token.symbol(")"));
            if depth == 0 && token.is("OFFSET") {
                self.expression(&tokens[start..at])?;
                return self.offset(&tokens[at..]);
            }
            if depth == 0 && token.is("FOR") {
                return Err(Failure::unknown("FOR XML, FOR JSON, FOR BROWSE"));
            }
            if depth == 0 && token.is("OPTION") && tokens.get(at + 1).is_some_and(|next| next.symbol("(")) {
                self.expression(&tokens[start..at])?;
                start = closing(tokens, at + 1)? + 1;
                at = start;
                continue;
            }
            at += 1;
        }
        self.expression(&tokens[start..])
    }

    /// `OFFSET n ROWS [FETCH NEXT m ROWS ONLY]`
    fn offset(&mut self, tokens: &[Token]) -> Result<(), Failure> {
        let rows = tokens
            .iter()
            .position(|token| token.is_any(&["ROW", "ROWS"]))
            .ok_or_else(|| Failure::syntax("OFFSET"))?;
        let rest = &tokens[rows + 1..];
        self.push("LIMIT (");
        if rest.first().is_some_and(|token| token.is("FETCH")) {
            let end = rest
                .iter()
                .position(|token| token.is_any(&["ROW", "ROWS"]))
                .ok_or_else(|| Failure::syntax("FETCH"))?;
            self.expression(&rest[2..end])?;
        } else {
            self.push("-1");
        }
        self.push(") OFFSET (");
        self.expression(&tokens[1..rows])?;
        self.push(")");
        Ok(())
    }

    /// The name of a table as the engine knows it.
    pub(super) fn table(&mut self, name: &str) {
        self.name(name);
    }
}
