//! Expressions for the engine: operators that mean something else there, functions by another name, names, variables.

use rusqlite::types::Value;

use super::{
    infer,
    names::{check_qualifiers, closing, keyword, literal, quote},
    operands::{FUNCTIONS, comparison, operand_after, operand_before, operand_behind, top_level_as},
    translate::Translator,
    views,
};
use crate::mssql::{
    failure::Failure,
    tsql::{
        lexer::{Kind, Token},
        statement::split,
    },
    wire::types::SqlType,
};

impl Translator<'_> {
    /// Tokens of an expression, or of the clauses behind a select list.
    pub(super) fn expression(&mut self, tokens: &[Token]) -> Result<(), Failure> {
        let mut at = 0;
        // A chain of `+` over text goes on as one.
        let mut text_chain = false;
        while at < tokens.len() {
            let token = &tokens[at];
            if token.symbol(",")
                || token.is_any(&["AND", "OR", "WHEN", "THEN", "ELSE", "WHERE", "ON"])
                || comparison(token)
            {
                text_chain = false;
            }
            at = match token.kind {
                Kind::Symbol => self.operator(tokens, at, &mut text_chain)?,
                Kind::Word | Kind::Quoted => self.word(tokens, at)?,
                Kind::Variable => self.variable(tokens, at)?,
                Kind::System => {
                    let (value, _) = self.session.system_value(&token.text)?;
                    self.parameter(value);
                    at + 1
                }
                Kind::Text | Kind::National => {
                    self.push(&literal(&token.text));
                    // The server's collation: letters of both cases are the same.
                    self.push("COLLATE NOCASE");
                    at + 1
                }
                Kind::Number => {
                    let digits = token.text.bytes().filter(u8::is_ascii_digit).count();
                    let decimal = token.text.contains('.') && !token.text.contains(['e', 'E']);
                    if (decimal && digits > 15) || (!decimal && token.text.parse::<f64>().is_ok() && digits > 18) {
                        return Err(Failure::new(
                            50_000,
                            16,
                            1,
                            "The stand-in server keeps decimals of up to 15 digits.",
                        ));
                    }
                    self.push(&token.text);
                    at + 1
                }
                Kind::Binary => {
                    let digits = if token.text.len() % 2 == 1 {
                        format!("0{}", token.text)
                    } else {
                        token.text.clone()
                    };
                    self.push(&format!("x'{digits}'"));
                    at + 1
                }
            };
        }
        Ok(())
    }

    fn operator(&mut self, tokens: &[Token], at: usize, text_chain: &mut bool) -> Result<usize, Failure> {
        let token = &tokens[at];
        match token.text.as_str() {
            "(" => {
                let end = closing(tokens, at)?;
                let inner = &tokens[at + 1..end];
                if inner.first().is_some_and(|token| token.is("VALUES")) {
                    return self.derived_values(tokens, at, end);
                }
                self.push("(");
                if inner.first().is_some_and(|token| token.is_any(&["SELECT", "WITH"])) {
                    self.select(inner, false)?;
                } else {
                    self.expression(inner)?;
                }
                self.push(")");
                Ok(end + 1)
            }
            "+" if at > 0 && operand_before(&tokens[at - 1]) => {
                let left = infer::kind_of(self.session, operand_behind(tokens, at));
                let (right_tokens, _) = operand_after(tokens, at + 1)?;
                let right = infer::kind_of(self.session, right_tokens);
                let text = |kind: Option<SqlType>| kind.is_some_and(SqlType::is_text);
                let number = |kind: Option<SqlType>| {
                    kind.is_some_and(|kind| {
                        kind.is_integer() || matches!(kind, SqlType::Float | SqlType::Decimal { .. })
                    })
                };
                if *text_chain || text(left) || text(right) {
                    if number(right) || (number(left) && !*text_chain) {
                        return Err(Failure::unknown("+ of a string and a number"));
                    }
                    *text_chain = true;
                    self.push("||");
                } else {
                    self.push("+");
                }
                Ok(at + 1)
            }
            "/" | "%" => {
                self.push(&token.text);
                let (operand, end) = operand_after(tokens, at + 1)?;
                let operand = operand.to_vec();
                self.push("weir_divisor(");
                self.expression(&operand)?;
                self.push(")");
                Ok(end)
            }
            "!<" => {
                self.push(">=");
                Ok(at + 1)
            }
            "!>" => {
                self.push("<=");
                Ok(at + 1)
            }
            "||" | "::" | ";" | "^" => Err(Failure::syntax(&token.text)),
            "*" | ")" | "," | "." | "=" | "<" | ">" | "<=" | ">=" | "<>" | "!=" | "-" | "+" | "&" | "|" | "~" => {
                self.push(&token.text);
                Ok(at + 1)
            }
            other => Err(Failure::syntax(other)),
        }
    }

    /// `(VALUES …) AS name (a, b)`, which the engine cannot name.
    fn derived_values(&mut self, tokens: &[Token], at: usize, end: usize) -> Result<usize, Failure> {
        let mut next = end + 1;
        next += usize::from(tokens.get(next).is_some_and(|token| token.is("AS")));
        let name = tokens
            .get(next)
            .filter(|token| token.is_name())
            .ok_or_else(|| Failure::syntax("VALUES"))?
            .text
            .clone();
        if !tokens.get(next + 1).is_some_and(|token| token.symbol("(")) {
            return Err(Failure::syntax(&name));
        }
        let list_end = closing(tokens, next + 1)?;
        let columns: Vec<String> = split(&tokens[next + 2..list_end])
            .iter()
            .filter_map(|part| part.first())
            .map(|token| quote(&token.text))
            .collect();
        self.push(&format!("(WITH \"weir values\"({}) AS (", columns.join(", ")));
        self.expression(&tokens[at + 1..end])?;
        self.push(&format!(") SELECT * FROM \"weir values\") AS {}", quote(&name)));
        Ok(list_end + 1)
    }

    fn variable(&mut self, tokens: &[Token], at: usize) -> Result<usize, Failure> {
        let name = &tokens[at].text;
        if let Some(table) = self.session.table_variable(name) {
            self.push(&quote(&table));
            return Ok(at + 1);
        }
        let (_, value) = self.session.variable(name)?;
        self.parameter(value);
        Ok(at + 1)
    }

    fn word(&mut self, tokens: &[Token], at: usize) -> Result<usize, Failure> {
        let token = &tokens[at];
        let next = tokens.get(at + 1);
        let called = next.is_some_and(|next| next.symbol("("));
        if token.kind == Kind::Word {
            let upper = token.text.to_ascii_uppercase();
            if called && !not_a_function(&upper) {
                let end = closing(tokens, at + 1)?;
                // The average of whole numbers is one.
                let whole = upper == "AVG"
                    && !tokens.get(end + 1).is_some_and(|next| next.is("OVER"))
                    && infer::kind_of(self.session, &tokens[at + 2..end]).is_some_and(SqlType::is_integer);
                if whole {
                    self.push("CAST(");
                }
                self.call(&upper, &tokens[at + 2..end])?;
                if whole {
                    self.push("AS INTEGER)");
                }
                return Ok(end + 1);
            }
            match upper.as_str() {
                "COLLATE" => return Ok(at + 2),
                "WITH" if called => return Ok(closing(tokens, at + 1)? + 1),
                "DEFAULT" => return Err(Failure::unknown("DEFAULT here")),
                "CURRENT_TIMESTAMP" => {
                    self.call("GETDATE", &[])?;
                    return Ok(at + 1);
                }
                "SYSTEM_USER" | "SESSION_USER" | "CURRENT_USER" | "USER" => {
                    let who = if upper == "SYSTEM_USER" {
                        "SUSER_SNAME"
                    } else {
                        "USER_NAME"
                    };
                    self.call(who, &[])?;
                    return Ok(at + 1);
                }
                // LIKE, IN and EXISTS have their parentheses handled as any.
                _ if keyword(token) => {
                    self.push(&upper);
                    return Ok(at + 1);
                }
                _ => {}
            }
        }
        self.path(tokens, at)
    }

    /// `a.b.c`: a column, a table, a view of the system.
    fn path(&mut self, tokens: &[Token], start: usize) -> Result<usize, Failure> {
        let mut parts = vec![tokens[start].text.clone()];
        let mut at = start + 1;
        let mut star = false;
        while tokens.get(at).is_some_and(|token| token.symbol(".")) {
            while tokens.get(at).is_some_and(|token| token.symbol(".")) {
                at += 1;
            }
            match tokens.get(at) {
                Some(token) if token.symbol("*") => star = true,
                Some(token) if token.is_name() => parts.push(token.text.clone()),
                Some(token) => return Err(Failure::syntax(&token.text)),
                None => return Err(Failure::syntax(".")),
            }
            at += 1;
        }
        let system = parts
            .iter()
            .position(|part| part.eq_ignore_ascii_case("sys") || part.eq_ignore_ascii_case("INFORMATION_SCHEMA"));
        if let Some(system) = system
            && parts.len() == system + 2
        {
            let name = format!("{}.{}", parts[system], parts[system + 1]).to_ascii_lowercase();
            let view = views::materialise(self.session, &name)?;
            self.push(&format!("temp.{}", quote(&view)));
            return Ok(at);
        }
        let qualified = parts.len() > 1;
        let dropped = parts
            .iter()
            .take_while(|part| self.is_qualifier(part))
            .count()
            .min(parts.len() - 1);
        let qualifiers: Vec<String> = parts.drain(..dropped).collect();
        if dropped > 0 {
            check_qualifiers(self.session, &qualifiers, &parts[0])?;
        }
        if qualified && parts.len() > 2 {
            check_qualifiers(self.session, &parts[..parts.len() - 1], &parts[parts.len() - 1])?;
        }
        let mut text = parts.iter().map(|part| quote(part)).collect::<Vec<_>>().join(".");
        if star {
            text.push_str(".*");
        }
        self.push(&text);
        Ok(at)
    }

    fn is_qualifier(&self, part: &str) -> bool {
        part.eq_ignore_ascii_case("dbo")
            || part.eq_ignore_ascii_case(&self.session.database)
            || part.eq_ignore_ascii_case("tempdb")
    }

    /// A function: by another name, with the session's answer, or of ours.
    fn call(&mut self, name: &str, inner: &[Token]) -> Result<(), Failure> {
        let arguments = split(inner);
        match name {
            "CAST" | "TRY_CAST" => {
                let at = top_level_as(inner).ok_or_else(|| Failure::syntax("CAST"))?;
                self.cast(name.starts_with("TRY"), &inner[..at], &inner[at + 1..], None)
            }
            "CONVERT" | "TRY_CONVERT" => {
                let [kind, value, style @ ..] = arguments.as_slice() else {
                    return Err(Failure::syntax("CONVERT"));
                };
                self.cast(name.starts_with("TRY"), value, kind, style.first())
            }
            "DATEADD" | "DATEDIFF" | "DATEPART" | "DATENAME" | "DATEDIFF_BIG" => {
                let Some((part, rest)) = arguments.split_first() else {
                    return Err(Failure::syntax(name));
                };
                let part = part
                    .first()
                    .map(|token| token.text.to_ascii_lowercase())
                    .unwrap_or_default();
                self.push(&format!("weir_{}(", name.to_ascii_lowercase()));
                self.push(&literal(&part));
                for argument in rest {
                    self.push(",");
                    self.expression(argument)?;
                }
                self.push(")");
                Ok(())
            }
            "GENERATE_SERIES" => {
                let [first, last, ..] = arguments.as_slice() else {
                    return Err(Failure::syntax(name));
                };
                self.push("(WITH RECURSIVE \"weir series\"(\"value\") AS (SELECT");
                self.expression(first)?;
                self.push("UNION ALL SELECT \"value\" + 1 FROM \"weir series\" WHERE \"value\" <");
                self.expression(last)?;
                self.push(") SELECT \"value\" FROM \"weir series\")");
                Ok(())
            }
            "OBJECT_ID" | "COL_NAME" | "OBJECT_NAME" | "SESSION_CONTEXT" | "SERVERPROPERTY" | "IDENT_CURRENT"
            | "DB_ID" | "DB_NAME" | "SESSIONPROPERTY" | "DATABASEPROPERTYEX" | "COL_LENGTH" | "TYPE_ID"
            | "SCHEMA_ID" | "SCHEMA_NAME" | "HAS_DBACCESS" | "CURSOR_STATUS" | "IS_SRVROLEMEMBER" | "IS_MEMBER"
            | "APPLOCK_MODE" | "APPLOCK_TEST" | "CONNECTIONPROPERTY" => {
                let mut values = Vec::new();
                for argument in &arguments {
                    values.push(self.session.evaluate(argument)?.1);
                }
                let (value, _) = self.session.session_function(name, &values)?;
                self.parameter(value);
                Ok(())
            }
            _ => {
                if let Some((value, _)) = self.session.niladic(name)? {
                    self.parameter(value);
                    return Ok(());
                }
                let known = FUNCTIONS
                    .iter()
                    .find(|(known, _)| *known == name)
                    .map(|(_, ours)| *ours);
                let Some(ours) = known else {
                    return Err(Failure::new(
                        195,
                        15,
                        10,
                        format!("'{name}' is not a recognized built-in function name."),
                    ));
                };
                self.push(&format!("{ours}("));
                self.arguments(inner)?;
                self.push(")");
                Ok(())
            }
        }
    }

    fn arguments(&mut self, inner: &[Token]) -> Result<(), Failure> {
        if inner.len() == 1 && inner[0].symbol("*") {
            self.push("*");
            return Ok(());
        }
        for (index, argument) in split(inner).iter().enumerate() {
            if index > 0 {
                self.push(",");
            }
            self.expression(argument)?;
        }
        Ok(())
    }

    fn cast(
        &mut self,
        attempt: bool,
        value: &[Token],
        kind: &[Token],
        style: Option<&Vec<Token>>,
    ) -> Result<(), Failure> {
        let name: String = kind.iter().map(|token| token.text.as_str()).collect();
        let Some(mut target) = SqlType::parse(&name) else {
            return Err(Failure::new(
                243,
                16,
                1,
                format!("Type {name} is not a defined system type."),
            ));
        };
        if !name.contains('(') {
            target = infer::cast_default(target);
        }
        let style = match style {
            Some(style) => match self.session.evaluate(style)?.1 {
                Value::Integer(style) => style,
                _ => 0,
            },
            None => 0,
        };
        let from = infer::kind_of(self.session, value)
            .map(SqlType::name)
            .unwrap_or_default();
        self.push(if attempt { "weir_try_cast(" } else { "weir_cast(" });
        self.expression(value)?;
        self.push(&format!(", {}, {}, {style})", literal(&target.name()), literal(&from)));
        Ok(())
    }
}

fn not_a_function(word: &str) -> bool {
    matches!(
        word,
        "IN" | "AND"
            | "OR"
            | "NOT"
            | "EXISTS"
            | "VALUES"
            | "OVER"
            | "ON"
            | "AS"
            | "ANY"
            | "ALL"
            | "SOME"
            | "FROM"
            | "JOIN"
            | "WHERE"
            | "SELECT"
            | "BY"
            | "WHEN"
            | "THEN"
            | "ELSE"
            | "BETWEEN"
            | "LIKE"
            | "DISTINCT"
            | "UNION"
            | "HAVING"
            | "WITH"
            | "TOP"
            | "SET"
            | "IS"
            | "INTO"
            | "CASE"
            | "END"
            | "KEY"
            | "UNIQUE"
            | "CHECK"
            | "REFERENCES"
            | "DEFAULT"
            | "CLUSTERED"
            | "NONCLUSTERED"
            | "INDEX"
            | "IDENTITY"
    )
}
