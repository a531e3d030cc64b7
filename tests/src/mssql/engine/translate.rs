//! T-SQL statements into SQLite's SQL, word by word: what has another meaning there is rewritten, the rest must be in a
//! list of what is known to mean the same.
//!
//! Names are quoted, so that no word of SQLite's that T-SQL lacks is ever a keyword. Variables, `@@` functions and what
//! depends on the session become parameters.

use rusqlite::types::Value;

use super::{infer, session::Session};
use crate::mssql::{
    failure::Failure,
    tsql::{
        lexer::{Kind, Token},
        parser::split,
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

    fn name(&mut self, name: &str) {
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

    fn item(&mut self, tokens: &[Token], top: bool) -> Result<(), Failure> {
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
    fn tail(&mut self, tokens: &[Token]) -> Result<(), Failure> {
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

    fn insert(&mut self, tokens: &[Token]) -> Result<(), Failure> {
        self.out.verb = Verb::Insert;
        let mut at = 1;
        if tokens.get(at).is_some_and(|token| token.is("TOP")) {
            return Err(Failure::unknown("INSERT TOP"));
        }
        at += usize::from(tokens.get(at).is_some_and(|token| token.is("INTO")));
        let (table, after) = target_name(self.session, tokens, at)?;
        at = skip_hint(tokens, after)?;
        let known = self.session.columns_of(&table)?;
        let columns: Vec<String> = if tokens.get(at).is_some_and(|token| token.symbol("("))
            && !tokens.get(at + 1).is_some_and(|token| token.is("SELECT"))
        {
            let end = closing(tokens, at)?;
            let names = split(&tokens[at + 1..end]);
            at = end + 1;
            names
                .iter()
                .filter_map(|name| name.last().map(|token| token.text.clone()))
                .collect()
        } else {
            known
                .iter()
                .filter(|column| !column.identity || self.session.identity_insert(&table))
                .map(|column| column.name.clone())
                .collect()
        };
        for name in &columns {
            let Some(column) = known.iter().find(|column| column.name.eq_ignore_ascii_case(name)) else {
                return Err(Failure::new(207, 16, 1, format!("Invalid column name '{name}'.")));
            };
            if column.identity && !self.session.identity_insert(&table) {
                let text = format!(
                    "Cannot insert explicit value for identity column in table '{table}' when IDENTITY_INSERT is set to OFF."
                );
                return Err(Failure::new(544, 16, 1, text));
            }
        }
        let mut returning = Vec::new();
        if tokens.get(at).is_some_and(|token| token.is("OUTPUT")) {
            let end = at
                + 1
                + tokens[at + 1..]
                    .iter()
                    .position(|token| token.is_any(&["VALUES", "SELECT", "DEFAULT", "WITH"]))
                    .unwrap_or(0);
            returning = tokens[at + 1..end].to_vec();
            at = end;
        }
        self.out.target = Some(table.clone());
        let rest = &tokens[at..];
        self.push("INSERT INTO");
        self.table(&table);
        if rest.first().is_some_and(|token| token.is("DEFAULT")) {
            self.push("DEFAULT VALUES");
            return self.returning(&returning, &table);
        }
        if rest.first().is_some_and(|token| token.is_any(&["EXEC", "EXECUTE"])) {
            return Err(Failure::unknown("INSERT … EXEC"));
        }
        if rest.iter().any(|token| token.is("DEFAULT")) {
            return Err(Failure::unknown("DEFAULT inside VALUES"));
        }
        let list = columns.iter().map(|name| quote(name)).collect::<Vec<_>>().join(", ");
        self.push(&format!("({list})"));
        let names = (1..=columns.len())
            .map(|index| format!("c{index}"))
            .collect::<Vec<_>>()
            .join(", ");
        self.push(&format!("WITH \"weir source\"({names}) AS ("));
        if rest.first().is_some_and(|token| token.is("VALUES")) {
            let wrong = split(&rest[1..])
                .iter()
                .find(|row| row.len() < 2 || split(&row[1..row.len() - 1]).len() != columns.len())
                .is_some();
            if wrong {
                let text = "There are more columns in the INSERT statement than values specified in the VALUES clause, or fewer. The number of values must match the number of columns.";
                return Err(Failure::new(109, 15, 1, text));
            }
            self.expression(rest)?;
        } else {
            self.select(rest, false)?;
        }
        self.push(") SELECT");
        for (index, name) in columns.iter().enumerate() {
            let kind = known
                .iter()
                .find(|column| column.name.eq_ignore_ascii_case(name))
                .map(|column| column.kind);
            let comma = if index > 0 { "," } else { "" };
            let text = format!(
                "{comma} weir_store(c{}, {}, {}, {})",
                index + 1,
                literal(&kind.map(SqlType::name).unwrap_or_default()),
                literal(&table),
                literal(name)
            );
            self.push(&text);
        }
        self.push("FROM \"weir source\" WHERE true");
        self.returning(&returning, &table)
    }

    fn update(&mut self, tokens: &[Token]) -> Result<(), Failure> {
        self.out.verb = Verb::Update;
        if tokens.get(1).is_some_and(|token| token.is("TOP")) {
            return Err(Failure::unknown("UPDATE TOP"));
        }
        let (table, after) = target_name(self.session, tokens, 1)?;
        let at = skip_hint(tokens, after)?;
        let (table, alias) = self.aliased(table, tokens, at)?;
        if !tokens.get(at).is_some_and(|token| token.is("SET")) {
            return Err(Failure::syntax(tokens.get(at).map_or("UPDATE", |token| &token.text)));
        }
        let end = clause(tokens, at + 1, &["OUTPUT", "FROM", "WHERE", "OPTION"]);
        let known = self.session.columns_of(&table)?;
        self.out.target = Some(table.clone());
        self.push("UPDATE");
        self.table(&table);
        self.alias(alias.as_deref());
        self.push("SET");
        for (index, part) in split(&tokens[at + 1..end]).iter().enumerate() {
            let equals = part.iter().position(|token| {
                matches!(token.text.as_str(), "=" | "+=" | "-=" | "*=" | "/=") && token.kind == Kind::Symbol
            });
            let Some(equals) = equals.filter(|equals| *equals > 0 && part[0].kind != Kind::Variable) else {
                return Err(Failure::unknown("UPDATE … SET @variable"));
            };
            let name = part[equals - 1].text.clone();
            let Some(column) = known.iter().find(|column| column.name.eq_ignore_ascii_case(&name)) else {
                return Err(Failure::new(207, 16, 1, format!("Invalid column name '{name}'.")));
            };
            if column.identity {
                return Err(Failure::new(
                    8102,
                    16,
                    1,
                    format!("Cannot update identity column '{name}'."),
                ));
            }
            if index > 0 {
                self.push(",");
            }
            self.name(&name);
            self.push("= weir_store((");
            let mut value = part[equals + 1..].to_vec();
            if part[equals].text != "=" {
                let mut operator = part[equals].clone();
                operator.text.truncate(1);
                let inner = std::mem::take(&mut value);
                value = vec![part[equals - 1].clone(), operator, symbol("(", &part[equals])];
                value.extend(inner);
                value.push(symbol(")", &part[equals]));
            }
            self.expression(&value)?;
            let text = format!(
                "), {}, {}, {})",
                literal(&column.kind.name()),
                literal(&table),
                literal(&name)
            );
            self.push(&text);
        }
        let mut at = end;
        let mut returning = Vec::new();
        if tokens.get(at).is_some_and(|token| token.is("OUTPUT")) {
            let end = clause(tokens, at + 1, &["FROM", "WHERE", "OPTION"]);
            returning = tokens[at + 1..end].to_vec();
            at = end;
        }
        if alias.is_some() {
            at = clause(tokens, at, &["WHERE", "OPTION"]);
        }
        self.tail(&tokens[at..])?;
        self.returning(&returning, &table)
    }

    /// `UPDATE a … FROM items AS a`: the table, and the alias it has.
    fn aliased(&self, name: String, tokens: &[Token], at: usize) -> Result<(String, Option<String>), Failure> {
        let from = clause(tokens, at, &["FROM"]);
        if name.starts_with('#') || self.session.table_exists(&name) || from == tokens.len() {
            return Ok((name, None));
        }
        let end = clause(tokens, from, &["WHERE", "OPTION"]);
        let (table, after) = target_name(self.session, tokens, from + 1)?;
        let rest: Vec<&Token> = tokens[after..end].iter().filter(|token| !token.is("AS")).collect();
        match rest.as_slice() {
            [alias] if alias.text.eq_ignore_ascii_case(&name) => Ok((table, Some(name))),
            _ => Err(Failure::unknown(
                "UPDATE and DELETE of an alias FROM more than one table",
            )),
        }
    }

    fn alias(&mut self, alias: Option<&str>) {
        if let Some(alias) = alias {
            self.push("AS");
            self.name(alias);
        }
    }

    fn delete(&mut self, tokens: &[Token]) -> Result<(), Failure> {
        self.out.verb = Verb::Delete;
        if tokens.get(1).is_some_and(|token| token.is("TOP")) {
            return Err(Failure::unknown("DELETE TOP"));
        }
        let start = 1 + usize::from(tokens.get(1).is_some_and(|token| token.is("FROM")));
        let (table, after) = target_name(self.session, tokens, start)?;
        let mut at = skip_hint(tokens, after)?;
        let (table, alias) = if start == 1 {
            self.aliased(table, tokens, at)?
        } else {
            (table, None)
        };
        self.out.target = Some(table.clone());
        self.push("DELETE FROM");
        self.table(&table);
        self.alias(alias.as_deref());
        let mut returning = Vec::new();
        if tokens.get(at).is_some_and(|token| token.is("OUTPUT")) {
            let end = clause(tokens, at + 1, &["FROM", "WHERE", "OPTION"]);
            returning = tokens[at + 1..end].to_vec();
            at = end;
        }
        if alias.is_some() {
            at = clause(tokens, at, &["WHERE", "OPTION"]);
        } else if tokens.get(at).is_some_and(|token| token.is("FROM")) {
            return Err(Failure::unknown("DELETE … FROM … FROM"));
        }
        self.tail(&tokens[at..])?;
        self.returning(&returning, &table)
    }

    /// The OUTPUT clause, behind everything else.
    fn returning(&mut self, tokens: &[Token], table: &str) -> Result<(), Failure> {
        if tokens.is_empty() {
            return Ok(());
        }
        if tokens.iter().any(|token| token.is("INTO")) {
            return Err(Failure::unknown("OUTPUT … INTO"));
        }
        let wrong = match self.out.verb {
            Verb::Delete => "inserted",
            _ => "deleted",
        };
        if tokens.iter().any(|token| token.is(wrong)) {
            return Err(Failure::unknown("OUTPUT of the values before an UPDATE"));
        }
        self.out.returns = true;
        self.push("RETURNING");
        for (index, part) in split(tokens).into_iter().enumerate() {
            let mut cleaned = Vec::new();
            let mut part = part.into_iter().peekable();
            while let Some(token) = part.next() {
                if token.is_any(&["inserted", "deleted"]) && part.peek().is_some_and(|next| next.symbol(".")) {
                    part.next();
                } else {
                    cleaned.push(token);
                }
            }
            if index > 0 {
                self.push(",");
            }
            self.item(&cleaned, true)?;
        }
        // The engine says nothing of columns behind RETURNING: the names tell.
        let known = self.session.columns_of(table)?;
        let items = std::mem::take(&mut self.out.items);
        for (item, part) in items.into_iter().zip(split(tokens)) {
            let name = part
                .iter()
                .filter(|token| token.is_name() && !token.is("AS"))
                .nth(1)
                .map(|token| token.text.clone());
            if item.star {
                let all = known.iter().map(|column| Item {
                    name: Some(column.name.clone()),
                    kind: Some(column.kind),
                    ..Item::default()
                });
                self.out.items.extend(all);
                continue;
            }
            let column = known
                .iter()
                .find(|column| name.as_ref().is_some_and(|name| column.name.eq_ignore_ascii_case(name)));
            self.out.items.push(Item {
                kind: item.kind.or(column.map(|column| column.kind)),
                name: item.name.or(name),
                ..item
            });
        }
        Ok(())
    }

    /// The name of a table as the engine knows it.
    pub(super) fn table(&mut self, name: &str) {
        self.name(name);
    }
}

/// In double quotes.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// In single quotes.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

pub(super) fn symbol(text: &str, like: &Token) -> Token {
    Token {
        kind: Kind::Symbol,
        text: text.to_owned(),
        ..like.clone()
    }
}

/// Index of the parenthesis that closes the one at `open`.
pub(crate) fn closing(tokens: &[Token], open: usize) -> Result<usize, Failure> {
    let mut depth = 0;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        depth += i32::from(token.symbol("(")) - i32::from(token.symbol(")"));
        if depth == 0 {
            return Ok(index);
        }
    }
    Err(Failure::syntax("("))
}

/// Where, outside parentheses, one of these words is; or the end.
pub(super) fn clause(tokens: &[Token], start: usize, words: &[&str]) -> usize {
    let mut depth = 0;
    for (index, token) in tokens.iter().enumerate().skip(start) {
        depth += i32::from(token.symbol("(")) - i32::from(token.symbol(")"));
        if depth == 0 && token.is_any(words) {
            return index;
        }
    }
    tokens.len()
}

fn list_end(tokens: &[Token], start: usize) -> usize {
    clause(
        tokens,
        start,
        &["FROM", "INTO", "WHERE", "ORDER", "GROUP", "HAVING", "OPTION", "FOR"],
    )
}

/// Parts between UNION, EXCEPT, INTERSECT.
fn set_operations(tokens: &[Token]) -> Vec<(&'static str, &[Token])> {
    let mut parts = Vec::new();
    let (mut depth, mut start, mut operator) = (0, 0, "");
    let mut index = 0;
    while index < tokens.len() {
        let token = &tokens[index];
        depth += i32::from(token.symbol("(")) - i32::from(token.symbol(")"));
        if depth == 0 && token.is_any(&["UNION", "EXCEPT", "INTERSECT"]) {
            parts.push((operator, &tokens[start..index]));
            let all = tokens.get(index + 1).is_some_and(|next| next.is("ALL"));
            operator = match (token.text.to_ascii_uppercase().as_str(), all) {
                ("UNION", true) => "UNION ALL",
                ("UNION", false) => "UNION",
                ("EXCEPT", _) => "EXCEPT",
                _ => "INTERSECT",
            };
            index += usize::from(all);
            start = index + 1;
        }
        index += 1;
    }
    parts.push((operator, &tokens[start..]));
    parts
}

/// The table at `at`, and what follows it. Database and schema are checked and dropped.
pub(crate) fn target_name(session: &Session, tokens: &[Token], at: usize) -> Result<(String, usize), Failure> {
    let mut parts: Vec<&Token> = Vec::new();
    let mut end = at;
    while let Some(token) = tokens.get(end) {
        if token.is_name() || token.kind == Kind::Variable {
            parts.push(token);
            end += 1;
        }
        if !tokens.get(end).is_some_and(|token| token.symbol(".")) {
            break;
        }
        while tokens.get(end).is_some_and(|token| token.symbol(".")) {
            end += 1;
        }
    }
    let last = parts
        .pop()
        .ok_or_else(|| Failure::syntax(tokens.get(at).map_or("", |token| &token.text)))?;
    if last.kind == Kind::Variable {
        let table = session.table_variable(&last.text);
        return table.map(|table| (table, end)).ok_or_else(|| {
            Failure::new(
                1087,
                16,
                1,
                format!("Must declare the table variable \"{}\".", last.text),
            )
        });
    }
    let qualifiers: Vec<String> = parts.iter().map(|part| part.text.clone()).collect();
    check_qualifiers(session, &qualifiers, &last.text)?;
    Ok((last.text.clone(), end))
}

/// Database and schema before a table: only the current database and `dbo` exist.
pub(super) fn check_qualifiers(session: &Session, qualifiers: &[String], name: &str) -> Result<(), Failure> {
    let fine = |part: &String| {
        part.eq_ignore_ascii_case("dbo")
            || part.eq_ignore_ascii_case(&session.database)
            || (part.eq_ignore_ascii_case("tempdb") && name.starts_with('#'))
    };
    if qualifiers.iter().all(fine) {
        return Ok(());
    }
    let full = format!("{}.{name}", qualifiers.join("."));
    if qualifiers.len() > 1 {
        let text =
            format!("Reference to database and/or server name in '{full}' is not supported by the stand-in server.");
        return Err(Failure::new(40515, 15, 1, text));
    }
    Err(Failure::new(208, 16, 1, format!("Invalid object name '{full}'.")))
}

fn skip_hint(tokens: &[Token], at: usize) -> Result<usize, Failure> {
    if tokens.get(at).is_some_and(|token| token.is("WITH")) && tokens.get(at + 1).is_some_and(|token| token.symbol("("))
    {
        return Ok(closing(tokens, at + 1)? + 1);
    }
    Ok(at)
}

/// Whether an operand can end with it, so that a name behind it is an alias.
fn ends_operand(token: &Token) -> bool {
    match token.kind {
        Kind::Symbol => token.text == ")",
        Kind::Word => !keyword(token) || token.is_any(&["END", "NULL"]),
        _ => true,
    }
}

/// Words that mean the same to SQLite, or that are handled before they reach it.
const KEYWORDS: [&str; 81] = [
    "ALL",
    "AND",
    "ANY",
    "AS",
    "ASC",
    "BETWEEN",
    "BY",
    "CASE",
    "CROSS",
    "CURRENT",
    "DEFAULT",
    "DESC",
    "DISTINCT",
    "ELSE",
    "END",
    "ESCAPE",
    "EXCEPT",
    "EXISTS",
    "FOLLOWING",
    "FROM",
    "FULL",
    "GROUP",
    "HAVING",
    "IN",
    "INNER",
    "INTERSECT",
    "INTO",
    "IS",
    "JOIN",
    "LEFT",
    "LIKE",
    "NOT",
    "NULL",
    "ON",
    "OR",
    "ORDER",
    "OUTER",
    "OVER",
    "PARTITION",
    "PRECEDING",
    "RANGE",
    "RIGHT",
    "ROWS",
    "SELECT",
    "SET",
    "SOME",
    "THEN",
    "UNBOUNDED",
    "UNION",
    "VALUES",
    "WHEN",
    "WHERE",
    "WITH",
    "TOP",
    "COLLATE",
    "PRIMARY",
    "KEY",
    "UNIQUE",
    "CHECK",
    "REFERENCES",
    "FOREIGN",
    "CONSTRAINT",
    "INDEX",
    "TABLE",
    "CREATE",
    "DROP",
    "ALTER",
    "ADD",
    "INSERT",
    "UPDATE",
    "DELETE",
    "OPTION",
    "FOR",
    "IDENTITY",
    "CLUSTERED",
    "NONCLUSTERED",
    "CURRENT_TIMESTAMP",
    "SYSTEM_USER",
    "SESSION_USER",
    "USER",
    "CURRENT_USER",
];

pub(super) fn keyword(token: &Token) -> bool {
    token.kind == Kind::Word && token.is_any(&KEYWORDS)
}
