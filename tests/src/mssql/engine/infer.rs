//! Types of expressions, from their text. None: the first values tell.

use super::{
    names::closing,
    operands::{operand_before, top_level_as},
    session::Session,
};
use crate::mssql::{
    tsql::{
        lexer::{Kind, Token},
        statement::split,
    },
    wire::types::{MAX, SqlType},
};

/// The type of an expression.
pub(super) fn kind_of(session: &Session, tokens: &[Token]) -> Option<SqlType> {
    let mut tokens = tokens;
    while tokens.len() > 2 && tokens[0].symbol("(") && closing(tokens, 0) == Ok(tokens.len() - 1) {
        tokens = &tokens[1..tokens.len() - 1];
    }
    if tokens.len() > 1 && (tokens[0].symbol("-") || tokens[0].symbol("+")) && !has_operator(&tokens[1..]) {
        return kind_of(session, &tokens[1..]);
    }
    if tokens.len() == 1 {
        return single(session, &tokens[0]);
    }
    if tokens.first()?.is_any(&["SELECT", "WITH"]) {
        return subquery(session, tokens);
    }
    if tokens[0].is("CASE") {
        return case(session, tokens);
    }
    if tokens[0].is_name() && tokens[1].symbol("(") {
        let end = closing(tokens, 1).ok()?;
        if end == tokens.len() - 1 {
            return call(session, &tokens[0].text.to_ascii_uppercase(), &tokens[2..end]);
        }
        if tokens.get(end + 1).is_some_and(|token| token.is("OVER"))
            && tokens.get(end + 2).is_some_and(|token| token.symbol("("))
            && closing(tokens, end + 2) == Ok(tokens.len() - 1)
        {
            return call(session, &tokens[0].text.to_ascii_uppercase(), &tokens[2..end]);
        }
    }
    if tokens.iter().enumerate().all(|(index, token)| {
        if index % 2 == 0 {
            token.is_name()
        } else {
            token.symbol(".")
        }
    }) {
        return session.kind_of_column(&tokens[tokens.len() - 1].text);
    }
    binary(session, tokens)
}

impl PartialEq for crate::mssql::failure::Failure {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number && self.message == other.message
    }
}

fn has_operator(tokens: &[Token]) -> bool {
    let mut depth = 0;
    tokens.iter().any(|token| {
        depth += i32::from(token.symbol("(")) - i32::from(token.symbol(")"));
        depth == 0
            && token.kind == Kind::Symbol
            && matches!(token.text.as_str(), "+" | "-" | "*" | "/" | "%" | "&" | "|")
    })
}

fn single(session: &Session, token: &Token) -> Option<SqlType> {
    match token.kind {
        Kind::Number => Some(number(&token.text)),
        Kind::Text => Some(SqlType::VarChar(length(&token.text, 8000))),
        Kind::National => Some(SqlType::NVarChar(length(&token.text, 4000))),
        Kind::Binary => Some(SqlType::VarBinary((token.text.len().div_ceil(2)).clamp(1, 8000) as u16)),
        Kind::Variable => session.variable(&token.text).ok().map(|(kind, _)| kind),
        Kind::System => session.system_value(&token.text).ok().map(|(_, kind)| kind),
        Kind::Word if token.is("NULL") => Some(SqlType::Int),
        Kind::Word if token.is("CURRENT_TIMESTAMP") => Some(SqlType::DateTime),
        Kind::Word if token.is_any(&["SYSTEM_USER", "SESSION_USER", "CURRENT_USER", "USER"]) => {
            Some(SqlType::NVarChar(128))
        }
        Kind::Word | Kind::Quoted => session.kind_of_column(&token.text),
        Kind::Symbol => None,
    }
}

fn length(text: &str, most: usize) -> u16 {
    let units = text.encode_utf16().count();
    if units > most { MAX } else { units.max(1) as u16 }
}

fn number(text: &str) -> SqlType {
    if text.contains(['e', 'E']) {
        return SqlType::Float;
    }
    match text.split_once('.') {
        Some((whole, fraction)) => SqlType::Numeric {
            precision: (whole.trim_start_matches('0').len() + fraction.len()).clamp(1, 38) as u8,
            scale: fraction.len().min(38) as u8,
        },
        None if text.parse::<i32>().is_ok() => SqlType::Int,
        None if text.parse::<i64>().is_ok() => SqlType::BigInt,
        None => SqlType::Numeric {
            precision: text.len().min(38) as u8,
            scale: 0,
        },
    }
}

/// `CAST(x AS varchar)` means 30 characters.
pub(super) fn cast_default(kind: SqlType) -> SqlType {
    match kind {
        SqlType::Char(1) => SqlType::Char(30),
        SqlType::VarChar(1) => SqlType::VarChar(30),
        SqlType::NChar(1) => SqlType::NChar(30),
        SqlType::NVarChar(1) => SqlType::NVarChar(30),
        SqlType::Binary(1) => SqlType::Binary(30),
        SqlType::VarBinary(1) => SqlType::VarBinary(30),
        other => other,
    }
}

fn named_type(tokens: &[Token]) -> Option<SqlType> {
    let name: String = tokens.iter().map(|token| token.text.as_str()).collect();
    let kind = SqlType::parse(&name)?;
    Some(if name.contains('(') { kind } else { cast_default(kind) })
}

fn subquery(session: &Session, tokens: &[Token]) -> Option<SqlType> {
    let mut at = 1;
    if tokens[0].is("WITH") {
        return None;
    }
    while tokens.get(at).is_some_and(|token| token.is_any(&["ALL", "DISTINCT"])) {
        at += 1;
    }
    if tokens.get(at).is_some_and(|token| token.is("TOP")) {
        at = if tokens.get(at + 1)?.symbol("(") {
            closing(tokens, at + 1).ok()? + 1
        } else {
            at + 2
        };
    }
    let end = tokens
        .iter()
        .position(|token| token.is_any(&["FROM", "WHERE"]))
        .unwrap_or(tokens.len());
    let items = split(tokens.get(at..end)?);
    match items.as_slice() {
        [item] => kind_of(session, item),
        _ => None,
    }
}

fn case(session: &Session, tokens: &[Token]) -> Option<SqlType> {
    let (mut depth, mut kind, mut start): (i32, Option<SqlType>, Option<usize>) = (0, None, None);
    for (index, token) in tokens.iter().enumerate() {
        if depth == 1
            && token.is_any(&["WHEN", "ELSE", "END"])
            && let Some(from) = start.take()
            && !(index == from + 1 && tokens[from].is("NULL"))
        {
            kind = higher(kind, kind_of(session, &tokens[from..index])?);
        }
        if depth == 1 && token.is_any(&["THEN", "ELSE"]) {
            start = Some(index + 1);
        }
        depth += i32::from(token.is("CASE")) + i32::from(token.symbol("("))
            - i32::from(token.is("END"))
            - i32::from(token.symbol(")"));
    }
    kind
}

fn higher(one: Option<SqlType>, other: SqlType) -> Option<SqlType> {
    let Some(one) = one else { return Some(other) };
    if one.is_text() && other.is_text() {
        return Some(SqlType::NVarChar(if width(one) == MAX || width(other) == MAX {
            MAX
        } else {
            width(one).max(width(other))
        }));
    }
    if let (Some(a), Some(b)) = (one.scale(), other.scale())
        && one.precedence() == other.precedence()
        && matches!(one, SqlType::Decimal { .. } | SqlType::Numeric { .. })
    {
        return Some(SqlType::Numeric {
            precision: 38,
            scale: a.max(b),
        });
    }
    Some(if other.precedence() > one.precedence() {
        other
    } else {
        one
    })
}

/// The type of whichever of these is taken; NULL says nothing.
fn common(session: &Session, arguments: &[Vec<Token>]) -> Option<SqlType> {
    let mut kind = None;
    for argument in arguments
        .iter()
        .filter(|argument| !matches!(argument.as_slice(), [only] if only.is("NULL")))
    {
        kind = higher(kind, kind_of(session, argument)?);
    }
    kind
}

fn width(kind: SqlType) -> u16 {
    match kind {
        SqlType::Char(n) | SqlType::VarChar(n) | SqlType::NChar(n) | SqlType::NVarChar(n) => n,
        _ => MAX,
    }
}

fn call(session: &Session, name: &str, inner: &[Token]) -> Option<SqlType> {
    use SqlType as T;
    let arguments = split(inner);
    let first = || arguments.first().and_then(|argument| kind_of(session, argument));
    Some(match name {
        "CAST" | "TRY_CAST" => return named_type(&inner[top_level_as(inner)? + 1..]),
        "CONVERT" | "TRY_CONVERT" => return named_type(arguments.first()?),
        "COUNT" | "LEN" | "DATALENGTH" | "CHARINDEX" | "DATEPART" | "DATEDIFF" | "YEAR" | "MONTH" | "DAY" | "ASCII"
        | "UNICODE" | "ISNUMERIC" | "OBJECT_ID" | "CHECKSUM" | "SIGN" | "XACT_STATE" | "ERROR_NUMBER"
        | "ERROR_SEVERITY" | "ERROR_STATE" | "ERROR_LINE" | "SESSIONPROPERTY" | "HAS_DBACCESS" | "IS_SRVROLEMEMBER"
        | "IS_MEMBER" | "APPLOCK_TEST" => {
            if name == "XACT_STATE" {
                T::SmallInt
            } else {
                T::Int
            }
        }
        "DB_ID" | "CURSOR_STATUS" | "COL_LENGTH" => T::SmallInt,
        "COUNT_BIG" | "ROW_NUMBER" | "RANK" | "DENSE_RANK" | "NTILE" | "DATEDIFF_BIG" => T::BigInt,
        "SUM" | "AVG" => match first()? {
            T::TinyInt | T::SmallInt | T::Int | T::Bit => T::Int,
            T::BigInt => T::BigInt,
            T::Real | T::Float => T::Float,
            T::Money | T::SmallMoney => T::Money,
            T::Decimal { scale, .. } | T::Numeric { scale, .. } => T::Numeric {
                precision: 38,
                scale: if name == "AVG" { scale.max(6) } else { scale },
            },
            _ => return None,
        },
        "MIN" | "MAX" | "NULLIF" | "ABS" | "ROUND" | "FLOOR" | "CEILING" | "POWER" | "LAG" | "LEAD" | "FIRST_VALUE"
        | "LAST_VALUE" | "GREATEST" | "LEAST" => return first(),
        "ISNULL" | "COALESCE" => return common(session, &arguments),
        "IIF" => return common(session, arguments.get(1..)?),
        "CHOOSE" => return kind_of(session, arguments.get(1)?),
        "DATEADD" => match kind_of(session, arguments.get(2)?)? {
            kind if kind.is_text() => T::DateTime,
            kind => kind,
        },
        "SQRT" | "RAND" => T::Float,
        "GETDATE" | "GETUTCDATE" => T::DateTime,
        "SYSDATETIME" | "SYSUTCDATETIME" => T::DateTime2(7),
        "SYSDATETIMEOFFSET" => T::DateTimeOffset(7),
        "DATEFROMPARTS" | "EOMONTH" => T::Date,
        "NEWID" | "NEWSEQUENTIALID" => T::UniqueIdentifier,
        "SERVERPROPERTY" | "SESSION_CONTEXT" | "DATABASEPROPERTYEX" | "CONNECTIONPROPERTY" => T::Variant,
        "SCOPE_IDENTITY" | "IDENT_CURRENT" => T::Numeric {
            precision: 38,
            scale: 0,
        },
        "CONTEXT_INFO" => T::VarBinary(128),
        "CURRENT_TRANSACTION_ID" => T::BigInt,
        "TYPE_NAME" | "DB_NAME" | "SUSER_SNAME" | "SUSER_NAME" | "ORIGINAL_LOGIN" | "USER_NAME" | "APP_NAME"
        | "HOST_NAME" | "OBJECT_NAME" | "SCHEMA_NAME" | "COL_NAME" | "ERROR_PROCEDURE" | "DATENAME" => T::NVarChar(128),
        "QUOTENAME" => T::NVarChar(258),
        "ERROR_MESSAGE" => T::NVarChar(4000),
        "REPLICATE" | "UPPER" | "LOWER" | "LTRIM" | "RTRIM" | "TRIM" | "REPLACE" | "SUBSTRING" | "LEFT" | "RIGHT"
        | "REVERSE" | "STUFF" => match first() {
            Some(kind) if kind.is_text() && width(kind) == MAX => kind,
            Some(T::Char(_) | T::VarChar(_)) => T::VarChar(8000),
            Some(T::VarBinary(n)) => T::VarBinary(n),
            Some(T::Binary(n)) => T::VarBinary(n),
            _ => T::NVarChar(4000),
        },
        "CONCAT" | "STRING_AGG" => {
            let wide = arguments
                .iter()
                .filter_map(|argument| kind_of(session, argument))
                .any(|kind| kind.is_text() && width(kind) == MAX);
            T::NVarChar(if wide { MAX } else { 4000 })
        }
        "SPACE" | "STR" => T::VarChar(8000),
        "CHAR" => T::Char(1),
        "NCHAR" => T::NChar(1),
        _ => return None,
    })
}

/// Arithmetic: the higher of both sides.
fn binary(session: &Session, tokens: &[Token]) -> Option<SqlType> {
    let mut depth = 0;
    let mut kind: Option<SqlType> = None;
    let mut start = 0;
    let mut operators = 0;
    for (index, token) in tokens.iter().enumerate() {
        depth += i32::from(token.symbol("(")) - i32::from(token.symbol(")"));
        let operator = depth == 0
            && token.kind == Kind::Symbol
            && matches!(token.text.as_str(), "+" | "-" | "*" | "/" | "%" | "&" | "|")
            && index > 0
            && operand_before(&tokens[index - 1]);
        if depth == 0
            && (token.kind == Kind::Symbol && matches!(token.text.as_str(), "=" | "<" | ">")
                || token.is_any(&["AND", "OR", "IN", "LIKE", "BETWEEN", "IS"]))
        {
            return None;
        }
        if operator {
            kind = higher(kind, kind_of(session, tokens.get(start..index)?)?);
            start = index + 1;
            operators += 1;
        }
    }
    if operators == 0 {
        return None;
    }
    let last = kind_of(session, tokens.get(start..)?)?;
    match higher(kind, last)? {
        // Lengths add up, and scales too: wide enough for all.
        kind if kind.is_text() => Some(SqlType::NVarChar(if width(kind) == MAX { MAX } else { 4000 })),
        SqlType::Numeric { scale, .. } | SqlType::Decimal { scale, .. } => {
            let scale = if tokens.iter().any(|token| token.symbol("/")) {
                scale.max(6)
            } else if tokens.iter().any(|token| token.symbol("*")) {
                scale * 2
            } else {
                scale
            };
            Some(SqlType::Numeric {
                precision: 38,
                scale: scale.min(20),
            })
        }
        kind => Some(kind),
    }
}
