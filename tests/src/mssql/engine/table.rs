//! Tables as CREATE TABLE describes them: columns, and the rules that the engine keeps.

use super::names::{closing, literal, quote};
use crate::mssql::{
    failure::Failure,
    tsql::{
        lexer::{Kind, Token},
        statement::split,
    },
    wire::{tokens::Column, types::SqlType},
};

/// A table as it is to be made.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) columns: Vec<Column>,
    /// Of each column, what stands behind its type in the engine.
    pub(super) rules: Vec<String>,
    pub(super) constraints: Vec<String>,
}

/// Columns and constraints between the parentheses of CREATE TABLE.
pub(super) fn table_of(tokens: &[Token]) -> Result<Table, Failure> {
    let mut table = Table::default();
    for part in split(tokens) {
        let Some(first) = part.first() else {
            return Err(Failure::syntax(","));
        };
        if first.is_any(&["CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN"]) {
            let rest = if first.is("CONSTRAINT") { &part[2..] } else { &part[..] };
            table.constraints.push(constraint(rest)?);
        } else if first.is("INDEX") {
            continue;
        } else {
            column(&part, &mut table)?;
        }
    }
    // The engine's key that counts by itself must be the only primary key.
    if let Some(identity) = table.columns.iter().position(|column| column.identity) {
        for (index, rule) in table.rules.iter_mut().enumerate() {
            *rule = rule.replace(" PRIMARY KEY", if index == identity { "" } else { " UNIQUE NOT NULL" });
        }
        let name = quote(&table.columns[identity].name);
        for constraint in &mut table.constraints {
            *constraint = constraint.replace("PRIMARY KEY", "UNIQUE");
        }
        table
            .constraints
            .retain(|constraint| *constraint != format!("UNIQUE ({name})"));
    }
    Ok(table)
}

fn constraint(tokens: &[Token]) -> Result<String, Failure> {
    let mut out = Vec::new();
    for token in tokens {
        if token.is_any(&["CLUSTERED", "NONCLUSTERED", "ASC"]) {
            continue;
        }
        if token.is("WITH") {
            break;
        }
        out.push(match token.kind {
            Kind::Word if super::names::keyword(token) || token.is_any(&["CASCADE", "NO", "ACTION"]) => {
                token.text.to_ascii_uppercase()
            }
            Kind::Word if token.text.eq_ignore_ascii_case("len") => "weir_len".to_owned(),
            Kind::Word | Kind::Quoted => quote(&token.text),
            Kind::Text | Kind::National => literal(&token.text),
            _ => token.text.clone(),
        });
    }
    let text = out.join(" ").replace(" . ", ".").replace("\"dbo\".", "");
    Ok(text.replace("( ", "(").replace(" )", ")"))
}

fn column(part: &[Token], table: &mut Table) -> Result<(), Failure> {
    let name = part[0].text.clone();
    let mut at = 1;
    let mut type_name = part.get(at).ok_or_else(|| Failure::syntax(&name))?.text.clone();
    at += 1;
    while part.get(at).is_some_and(|token| token.symbol(".")) {
        type_name = part.get(at + 1).ok_or_else(|| Failure::syntax("."))?.text.clone();
        at += 2;
    }
    if part.get(at).is_some_and(|token| token.symbol("(")) {
        let end = closing(part, at)?;
        type_name.extend(part[at..=end].iter().map(|token| token.text.as_str()));
        at = end + 1;
    }
    let Some(kind) = SqlType::parse(&type_name) else {
        return Err(Failure::new(
            2715,
            16,
            6,
            format!(
                "Column, parameter, or variable #{}: Cannot find data type {type_name}.",
                table.columns.len() + 1
            ),
        ));
    };
    let mut column = Column::new(&name, kind);
    let mut rule = String::new();
    while let Some(token) = part.get(at) {
        at += 1;
        match token.text.to_ascii_uppercase().as_str() {
            "NOT" => {
                column.nullable = false;
                at += 1;
            }
            "NULL" | "CLUSTERED" | "NONCLUSTERED" | "ROWGUIDCOL" | "SPARSE" => {}
            "COLLATE" | "CONSTRAINT" => at += 1,
            "IDENTITY" => {
                column.identity = true;
                column.nullable = false;
                if part.get(at).is_some_and(|token| token.symbol("(")) {
                    let end = closing(part, at)?;
                    let numbers: String = part[at..=end].iter().map(|token| token.text.as_str()).collect();
                    if numbers != "(1,1)" {
                        return Err(Failure::unknown("IDENTITY that does not begin at 1 and count by 1"));
                    }
                    at = end + 1;
                }
            }
            "PRIMARY" => {
                column.nullable = false;
                rule.push_str(" PRIMARY KEY");
                at += 1;
            }
            "UNIQUE" => rule.push_str(" UNIQUE"),
            "DEFAULT" => {
                let end = if part.get(at).is_some_and(|token| token.symbol("(")) {
                    closing(part, at)? + 1
                } else if part.get(at + 1).is_some_and(|token| token.symbol("(")) {
                    closing(part, at + 1)? + 1
                } else {
                    at + 1
                };
                rule.push_str(&format!(" DEFAULT ({})", default_value(&part[at..end], kind)?));
                at = end;
            }
            "CHECK" | "REFERENCES" | "FOREIGN" => {
                rule.push(' ');
                rule.push_str(&constraint(&part[at - 1..])?);
                at = part.len();
            }
            other => return Err(Failure::syntax(other)),
        }
    }
    table.columns.push(column);
    table.rules.push(rule);
    Ok(())
}

fn default_value(tokens: &[Token], kind: SqlType) -> Result<String, Failure> {
    let mut out = Vec::new();
    for token in tokens {
        out.push(match token.kind {
            Kind::Word if token.is_any(&["GETDATE", "GETUTCDATE"]) => "weir_now".to_owned(),
            Kind::Word if token.is_any(&["SYSDATETIME", "SYSUTCDATETIME"]) => "weir_now2".to_owned(),
            Kind::Word if token.is_any(&["NEWID", "NEWSEQUENTIALID"]) => "weir_newid".to_owned(),
            Kind::Word if token.is("NULL") => "NULL".to_owned(),
            Kind::Word => return Err(Failure::unknown(&format!("DEFAULT {}", token.text))),
            _ => match token.kind {
                Kind::Text | Kind::National => literal(&token.text),
                Kind::Binary => format!("x'{}'", token.text),
                _ => token.text.clone(),
            },
        });
    }
    let _ = kind;
    Ok(out.join(" "))
}
