//! What statements are, and the lists that they are made of: declarations, arguments.

use super::lexer::{Kind, Token};
use crate::mssql::failure::Failure;

/// A statement, with the line it stands in.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    pub(crate) line: u32,
    pub(crate) body: Body,
}

/// Tokens of an expression or a statement, to be looked at when it runs.
pub(crate) type Tokens = Vec<Token>;

#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// SELECT, INSERT, UPDATE, DELETE, and those behind WITH.
    Sql(Tokens),
    /// CREATE, ALTER, DROP, TRUNCATE of what is not a procedure.
    Definition(Tokens),
    /// CREATE PROCEDURE: name, parameters, the source of the body.
    Procedure {
        name: String,
        parameters: Vec<Declaration>,
        source: String,
        or_alter: bool,
    },
    If {
        condition: Tokens,
        then: Box<Statement>,
        otherwise: Option<Box<Statement>>,
    },
    While {
        condition: Tokens,
        body: Box<Statement>,
    },
    Block(Vec<Statement>),
    Try {
        body: Vec<Statement>,
        handler: Vec<Statement>,
    },
    Declare(Vec<Declaration>),
    DeclareTable {
        name: String,
        columns: Tokens,
    },
    DeclareCursor {
        name: String,
        query: Tokens,
    },
    SetVariable {
        name: String,
        /// `=`, `+=` and so on.
        operator: String,
        value: Tokens,
    },
    SetOption(Tokens),
    Use(String),
    Begin(Option<Token>),
    Commit,
    Rollback(Option<Token>),
    Save(Option<Token>),
    Print(Tokens),
    RaiseError(Vec<Tokens>, bool),
    Throw(Vec<Tokens>),
    WaitFor(Tokens),
    Execute(Execute),
    Return(Tokens),
    Break,
    Continue,
    /// OPEN, FETCH, CLOSE, DEALLOCATE.
    Cursor(Tokens),
    Dbcc(Tokens),
    /// INSERT BULK: table and columns with types.
    InsertBulk(Tokens),
    Revert,
    ExecuteAs(Tokens),
}

#[derive(Clone, Debug)]
pub(crate) struct Declaration {
    pub(crate) name: String,
    /// As written: `nvarchar(50)`, or the name of a table type.
    pub(crate) type_name: String,
    pub(crate) value: Option<Tokens>,
    pub(crate) output: bool,
}

/// `EXEC [@status =] procedure arguments`, or `EXEC ('text')`.
#[derive(Clone, Debug)]
pub(crate) struct Execute {
    pub(crate) status: Option<String>,
    /// Without the database, `sys.` and `dbo.`; empty when `text` holds.
    pub(crate) procedure: String,
    pub(crate) arguments: Vec<Argument>,
    pub(crate) text: Option<Tokens>,
}

#[derive(Clone, Debug)]
pub(crate) struct Argument {
    pub(crate) name: Option<String>,
    pub(crate) value: Tokens,
    pub(crate) output: bool,
}

pub(super) fn argument(mut tokens: Tokens) -> Result<Argument, Failure> {
    let name = match (tokens.first(), tokens.get(1)) {
        (Some(first), Some(second)) if first.kind == Kind::Variable && second.symbol("=") => Some(first.text.clone()),
        _ => None,
    };
    if name.is_some() {
        tokens.drain(..2);
    }
    let output = tokens.last().is_some_and(|token| token.is_any(&["OUT", "OUTPUT"]));
    if output {
        tokens.pop();
    }
    if tokens.is_empty() {
        return Err(Failure::syntax(name.as_deref().unwrap_or(",")));
    }
    Ok(Argument {
        name,
        value: tokens,
        output,
    })
}

/// `@a int = 1 OUTPUT, @b nvarchar(50)`.
pub(crate) fn declarations(tokens: &[Token]) -> Result<Vec<Declaration>, Failure> {
    split(tokens)
        .into_iter()
        .map(|part| {
            let mut part = part.into_iter().peekable();
            let name = part
                .next()
                .filter(|token| token.kind == Kind::Variable)
                .ok_or_else(|| Failure::syntax("DECLARE"))?;
            if part.peek().is_some_and(|token| token.is("AS")) {
                part.next();
            }
            let mut type_name = String::new();
            let mut output = false;
            let mut value = None;
            while let Some(token) = part.next() {
                if token.symbol("=") {
                    let mut rest: Tokens = part.by_ref().collect();
                    while rest
                        .last()
                        .is_some_and(|token| token.is_any(&["OUT", "OUTPUT", "READONLY"]))
                    {
                        output |= !rest.pop().is_some_and(|token| token.is("READONLY"));
                    }
                    value = Some(rest);
                } else if token.is_any(&["OUT", "OUTPUT"]) {
                    output = true;
                } else if !token.is_any(&["READONLY", "NOT", "NULL"]) {
                    type_name.push_str(&token.text);
                }
            }
            if type_name.is_empty() {
                return Err(Failure::syntax(&name.text));
            }
            let type_name = type_name.to_ascii_lowercase().replace("sys.", "").replace("dbo.", "");
            Ok(Declaration {
                name: name.text,
                type_name,
                value,
                output,
            })
        })
        .collect()
}

/// Parts between the commas that stand outside parentheses.
pub(crate) fn split(tokens: &[Token]) -> Vec<Tokens> {
    if tokens.is_empty() {
        return Vec::new();
    }
    let mut parts = vec![Vec::new()];
    let mut depth = 0;
    for token in tokens {
        depth += i32::from(token.symbol("(")) - i32::from(token.symbol(")"));
        if depth == 0 && token.symbol(",") {
            parts.push(Vec::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(token.clone());
        }
    }
    parts
}

pub(super) fn seen_at_top(tokens: &[Token], words: &[&str]) -> bool {
    let mut depth = 0;
    tokens.iter().any(|token| {
        depth += i32::from(token.symbol("(")) - i32::from(token.symbol(")"));
        depth == 0 && token.is_any(words)
    })
}

pub(super) fn known_but_unsupported(word: &str) -> bool {
    matches!(
        word,
        "MERGE"
            | "GRANT"
            | "REVOKE"
            | "DENY"
            | "KILL"
            | "GOTO"
            | "BACKUP"
            | "RESTORE"
            | "CHECKPOINT"
            | "RECONFIGURE"
            | "BULK"
            | "ENABLE"
            | "DISABLE"
            | "END"
            | "ELSE"
            | "GO"
            | "VALUES"
            | "FROM"
            | "WHERE"
            | "SETUSER"
            | "SHUTDOWN"
            | "WRITETEXT"
            | "UPDATETEXT"
            | "READTEXT"
            | "RECEIVE"
            | "SEND"
    )
}

pub(super) const SQL_TYPE_WORDS: [&str; 24] = [
    "bit",
    "tinyint",
    "smallint",
    "int",
    "bigint",
    "real",
    "float",
    "money",
    "smallmoney",
    "decimal",
    "numeric",
    "date",
    "time",
    "datetime",
    "datetime2",
    "datetimeoffset",
    "smalldatetime",
    "uniqueidentifier",
    "char",
    "varchar",
    "nchar",
    "nvarchar",
    "binary",
    "varbinary",
];
