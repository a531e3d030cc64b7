//! Names, clauses and quotes: what the translation of statements looks for among tokens.

use super::session::Session;
use crate::mssql::{
    failure::Failure,
    tsql::lexer::{Kind, Token},
};

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

pub(super) fn list_end(tokens: &[Token], start: usize) -> usize {
    clause(
        tokens,
        start,
        &["FROM", "INTO", "WHERE", "ORDER", "GROUP", "HAVING", "OPTION", "FOR"],
    )
}

/// Parts between UNION, EXCEPT, INTERSECT.
pub(super) fn set_operations(tokens: &[Token]) -> Vec<(&'static str, &[Token])> {
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

pub(super) fn skip_hint(tokens: &[Token], at: usize) -> Result<usize, Failure> {
    if tokens.get(at).is_some_and(|token| token.is("WITH")) && tokens.get(at + 1).is_some_and(|token| token.symbol("("))
    {
        return Ok(closing(tokens, at + 1)? + 1);
    }
    Ok(at)
}

/// Whether an operand can end with it, so that a name behind it is an alias.
pub(super) fn ends_operand(token: &Token) -> bool {
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
