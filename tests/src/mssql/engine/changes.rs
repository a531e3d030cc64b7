//! INSERT, UPDATE and DELETE for the engine: values go through their column's type, OUTPUT becomes RETURNING.

use super::{
    names::{clause, closing, literal, quote, skip_hint, symbol, target_name},
    translate::{Item, Translator, Verb},
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
    pub(super) fn insert(&mut self, tokens: &[Token]) -> Result<(), Failure> {
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

    pub(super) fn update(&mut self, tokens: &[Token]) -> Result<(), Failure> {
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

    pub(super) fn delete(&mut self, tokens: &[Token]) -> Result<(), Failure> {
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
}
