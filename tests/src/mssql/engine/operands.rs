//! Parts of expressions: where an operand begins and ends, and the functions that the engine knows.

use super::names::{closing, keyword};
use crate::mssql::{
    failure::Failure,
    tsql::lexer::{Kind, Token},
    wire::values::guid_text,
};

/// T-SQL's functions, and what they are called in the engine. Those that begin with `weir_` are ours.
pub(super) const FUNCTIONS: &[(&str, &str)] = &[
    ("COUNT", "count"),
    ("COUNT_BIG", "count"),
    ("SUM", "sum"),
    ("AVG", "avg"),
    ("MIN", "min"),
    ("MAX", "max"),
    ("STRING_AGG", "group_concat"),
    ("ROW_NUMBER", "row_number"),
    ("RANK", "rank"),
    ("DENSE_RANK", "dense_rank"),
    ("NTILE", "ntile"),
    ("LAG", "lag"),
    ("LEAD", "lead"),
    ("FIRST_VALUE", "first_value"),
    ("LAST_VALUE", "last_value"),
    ("ISNULL", "ifnull"),
    ("COALESCE", "coalesce"),
    ("NULLIF", "nullif"),
    ("IIF", "iif"),
    ("CHOOSE", "weir_choose"),
    ("LEN", "weir_len"),
    ("TYPE_NAME", "weir_type_name"),
    ("DATALENGTH", "weir_datalength"),
    ("UPPER", "weir_upper"),
    ("LOWER", "weir_lower"),
    ("LTRIM", "ltrim"),
    ("RTRIM", "rtrim"),
    ("TRIM", "trim"),
    ("SUBSTRING", "weir_substring"),
    ("LEFT", "weir_left"),
    ("RIGHT", "weir_right"),
    ("REPLICATE", "weir_replicate"),
    ("REPLACE", "replace"),
    ("REVERSE", "weir_reverse"),
    ("SPACE", "weir_space"),
    ("STUFF", "weir_stuff"),
    ("CHARINDEX", "weir_charindex"),
    ("CONCAT", "weir_concat"),
    ("CHAR", "weir_char"),
    ("NCHAR", "weir_nchar"),
    ("ASCII", "weir_ascii"),
    ("UNICODE", "unicode"),
    ("QUOTENAME", "weir_quotename"),
    ("STR", "weir_str"),
    ("ABS", "abs"),
    ("SIGN", "sign"),
    ("ROUND", "weir_round"),
    ("FLOOR", "weir_floor"),
    ("CEILING", "weir_ceiling"),
    ("POWER", "weir_power"),
    ("SQRT", "weir_sqrt"),
    ("NEWID", "weir_newid"),
    ("NEWSEQUENTIALID", "weir_newid"),
    ("GETDATE", "weir_now"),
    ("SYSDATETIME", "weir_now2"),
    ("GETUTCDATE", "weir_now"),
    ("SYSUTCDATETIME", "weir_now2"),
    ("SYSDATETIMEOFFSET", "weir_now_offset"),
    ("YEAR", "weir_year"),
    ("MONTH", "weir_month"),
    ("DAY", "weir_day"),
    ("ISNUMERIC", "weir_isnumeric"),
    ("CHECKSUM", "weir_checksum"),
    ("RAND", "weir_rand"),
    ("DATEFROMPARTS", "weir_datefromparts"),
    ("EOMONTH", "weir_eomonth"),
    ("GREATEST", "max"),
    ("LEAST", "min"),
];

pub(super) fn comparison(token: &Token) -> bool {
    token.kind == Kind::Symbol && matches!(token.text.as_str(), "=" | "<" | ">" | "<=" | ">=" | "<>" | "!=")
}

/// Whether a token can end an operand, so that a `+` behind it has two.
pub(super) fn operand_before(token: &Token) -> bool {
    match token.kind {
        Kind::Symbol => token.text == ")",
        Kind::Word => !keyword(token) || token.is_any(&["END", "NULL", "CURRENT_TIMESTAMP"]),
        _ => true,
    }
}

/// The operand that ends before `at`.
pub(super) fn operand_behind(tokens: &[Token], at: usize) -> &[Token] {
    let mut start = at;
    if tokens[start - 1].symbol(")") {
        let mut depth = 0;
        while start > 0 {
            start -= 1;
            depth += i32::from(tokens[start].symbol(")")) - i32::from(tokens[start].symbol("("));
            if depth == 0 {
                break;
            }
        }
        if start > 0 && tokens[start - 1].is_name() && !keyword(&tokens[start - 1])
            || start > 0 && tokens[start - 1].is_any(&["LEFT", "RIGHT"])
        {
            start -= 1;
        }
        return &tokens[start..at];
    }
    start -= 1;
    while start >= 2 && tokens[start - 1].symbol(".") {
        start -= 2;
    }
    &tokens[start..at]
}

/// The operand at `at`, and where it ends.
pub(super) fn operand_after(tokens: &[Token], at: usize) -> Result<(&[Token], usize), Failure> {
    let mut end = at;
    while tokens
        .get(end)
        .is_some_and(|token| token.symbol("-") || token.symbol("+") || token.symbol("~"))
    {
        end += 1;
    }
    let first = tokens.get(end).ok_or_else(|| Failure::syntax("+"))?;
    if first.symbol("(") {
        let end = closing(tokens, end)? + 1;
        return Ok((&tokens[at..end], end));
    }
    if first.is("CASE") {
        let mut depth = 0;
        while let Some(token) = tokens.get(end) {
            depth += i32::from(token.is("CASE")) - i32::from(token.is("END"));
            end += 1;
            if depth == 0 {
                break;
            }
        }
        return Ok((&tokens[at..end], end));
    }
    end += 1;
    while tokens.get(end).is_some_and(|token| token.symbol(".")) {
        end += 2;
    }
    if first.is_name() && tokens.get(end).is_some_and(|token| token.symbol("(")) {
        end = closing(tokens, end)? + 1;
    }
    Ok((&tokens[at..end.min(tokens.len())], end.min(tokens.len())))
}

/// Where `AS` stands outside parentheses.
pub(super) fn top_level_as(tokens: &[Token]) -> Option<usize> {
    let mut depth = 0;
    tokens.iter().position(|token| {
        depth += i32::from(token.symbol("(")) - i32::from(token.symbol(")"));
        depth == 0 && token.is("AS")
    })
}

/// A GUID for NEWID().
pub(super) fn new_guid() -> String {
    let mut bytes = [0; 16];
    if getrandom::fill(&mut bytes).is_err() {
        bytes = [7; 16];
    }
    bytes[7] = (bytes[7] & 0x0F) | 0x40;
    bytes[8] = (bytes[8] & 0x3F) | 0x80;
    guid_text(&bytes)
}
