//! Tokens into statements. T-SQL needs no semicolons: where a statement ends follows from the word that begins the next.

use super::lexer::{Kind, Token, lex_as};
use super::statement::{
    Body, Execute, SQL_TYPE_WORDS, Statement, Tokens, argument, declarations, known_but_unsupported, seen_at_top, split,
};
use crate::mssql::failure::Failure;

const STARTS: [&str; 33] = [
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "MERGE",
    "CREATE",
    "ALTER",
    "DROP",
    "TRUNCATE",
    "SET",
    "DECLARE",
    "IF",
    "WHILE",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SAVE",
    "PRINT",
    "RAISERROR",
    "THROW",
    "WAITFOR",
    "EXEC",
    "EXECUTE",
    "USE",
    "DBCC",
    "RETURN",
    "OPEN",
    "FETCH",
    "CLOSE",
    "DEALLOCATE",
    "BREAK",
    "CONTINUE",
    "REVERT",
];

/// All statements of a batch. `names`: QUOTED_IDENTIFIER is ON.
pub(crate) fn parse(source: &str, names: bool) -> Result<Vec<Statement>, Failure> {
    let tokens = lex_as(source, names)?;
    let mut parser = Parser {
        tokens: &tokens,
        at: 0,
        source,
        names,
    };
    let mut statements = Vec::new();
    loop {
        parser.semicolons();
        if parser.peek().is_none() {
            return Ok(statements);
        }
        statements.push(parser.statement(statements.is_empty())?);
    }
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    source: &'a str,
    names: bool,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }
    fn ahead(&self, distance: usize) -> Option<&Token> {
        self.tokens.get(self.at + distance)
    }
    fn next_is(&self, word: &str) -> bool {
        self.peek().is_some_and(|token| token.is(word))
    }
    fn next_symbol(&self, symbol: &str) -> bool {
        self.peek().is_some_and(|token| token.symbol(symbol))
    }
    fn accept(&mut self, word: &str) -> bool {
        let found = self.next_is(word);
        self.at += usize::from(found);
        found
    }
    fn accept_symbol(&mut self, symbol: &str) -> bool {
        let found = self.next_symbol(symbol);
        self.at += usize::from(found);
        found
    }
    fn semicolons(&mut self) {
        while self.accept_symbol(";") {}
    }
    fn take(&mut self) -> Result<Token, Failure> {
        let token = self.peek().cloned().ok_or_else(|| self.unexpected())?;
        self.at += 1;
        Ok(token)
    }
    fn expect(&mut self, word: &str) -> Result<(), Failure> {
        if self.accept(word) {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }
    fn unexpected(&self) -> Failure {
        let token = self.peek().or(self.tokens.last());
        Failure::syntax(token.map_or("", |token| &token.text)).at(token.map_or(1, |token| token.line))
    }

    fn statement(&mut self, first: bool) -> Result<Statement, Failure> {
        let Some(token) = self.peek().cloned() else {
            return Err(self.unexpected());
        };
        let line = token.line;
        let body = self.body(&token, first).map_err(|failure| failure.at(line))?;
        Ok(Statement { line, body })
    }

    fn body(&mut self, token: &Token, first: bool) -> Result<Body, Failure> {
        let word = if token.kind == Kind::Word {
            token.text.to_ascii_uppercase()
        } else {
            String::new()
        };
        Ok(match word.as_str() {
            "SELECT" | "UPDATE" | "DELETE" | "WITH" => Body::Sql(self.until_end()?),
            "INSERT" if self.ahead(1).is_some_and(|next| next.is("BULK")) => {
                self.at += 2;
                Body::InsertBulk(self.until_end()?)
            }
            "INSERT" => Body::Sql(self.until_end()?),
            "CREATE" | "ALTER" | "DROP" | "TRUNCATE" => self.definition()?,
            "IF" => self.condition()?,
            "WHILE" => {
                self.at += 1;
                let condition = self.until_end()?;
                self.semicolons();
                Body::While {
                    condition,
                    body: Box::new(self.statement(false)?),
                }
            }
            "BEGIN" => self.begin()?,
            "DECLARE" => self.declare()?,
            "SET" => self.set()?,
            "USE" => {
                self.at += 1;
                Body::Use(self.take()?.text)
            }
            "COMMIT" => {
                self.at += 1;
                self.transaction_words();
                self.transaction_name();
                Body::Commit
            }
            "ROLLBACK" => {
                self.at += 1;
                self.transaction_words();
                Body::Rollback(self.transaction_name())
            }
            "SAVE" => {
                self.at += 1;
                self.transaction_words();
                Body::Save(self.transaction_name())
            }
            "PRINT" => {
                self.at += 1;
                Body::Print(self.until_end()?)
            }
            "RAISERROR" => {
                self.at += 1;
                let arguments = split(&self.parenthesised()?);
                let nowait = self.until_end()?.iter().any(|token| token.is("NOWAIT"));
                Body::RaiseError(arguments, nowait)
            }
            "THROW" => {
                self.at += 1;
                let tokens = self.until_end()?;
                Body::Throw(if tokens.is_empty() { Vec::new() } else { split(&tokens) })
            }
            "WAITFOR" => {
                self.at += 1;
                Body::WaitFor(self.until_end()?)
            }
            "EXEC" | "EXECUTE" => {
                self.at += 1;
                if self.next_is("AS") {
                    self.at += 1;
                    return Ok(Body::ExecuteAs(self.until_end()?));
                }
                Body::Execute(self.execute()?)
            }
            "RETURN" => {
                self.at += 1;
                Body::Return(self.until_end()?)
            }
            "BREAK" | "CONTINUE" | "REVERT" => {
                self.at += 1;
                match word.as_str() {
                    "BREAK" => Body::Break,
                    "CONTINUE" => Body::Continue,
                    _ => Body::Revert,
                }
            }
            "OPEN" | "FETCH" | "CLOSE" | "DEALLOCATE" => Body::Cursor(self.until_end()?),
            "DBCC" => {
                self.at += 1;
                Body::Dbcc(self.until_end()?)
            }
            // The first statement of a batch may be a procedure's name alone.
            _ if first && token.is_name() && !known_but_unsupported(&word) => Body::Execute(self.execute()?),
            _ if token.is_name() => {
                let words: Vec<&str> = self.tokens[self.at..]
                    .iter()
                    .take(4)
                    .map(|token| token.text.as_str())
                    .collect();
                return Err(Failure::unknown(&words.join(" ")));
            }
            _ => return Err(self.unexpected()),
        })
    }

    /// From here to where the statement ends.
    fn until_end(&mut self) -> Result<Tokens, Failure> {
        let start = self.at;
        let (mut depth, mut cases) = (0, 0);
        while let Some(token) = self.peek() {
            if token.symbol("(") {
                depth += 1;
            } else if token.symbol(")") {
                depth -= 1;
                if depth < 0 {
                    return Err(self.unexpected());
                }
            } else if depth == 0 && token.symbol(";") {
                break;
            } else if token.is("CASE") {
                cases += 1;
            } else if token.is("END") && cases > 0 {
                cases -= 1;
            } else if depth == 0
                && cases == 0
                && (token.is_any(&["END", "ELSE"]) || (self.at > start && self.ends_before(start)))
            {
                break;
            }
            self.at += 1;
        }
        if depth > 0 {
            return Err(self.unexpected());
        }
        Ok(self.tokens[start..self.at].to_vec())
    }

    /// Whether the token here, outside parentheses, begins another statement.
    fn ends_before(&self, start: usize) -> bool {
        let token = &self.tokens[self.at];
        let previous = &self.tokens[self.at - 1];
        let next = self.ahead(1);
        if !token.is_any(&STARTS) || previous.symbol(".") {
            return false;
        }
        let so_far = &self.tokens[start..self.at];
        let first = &so_far[0];
        let seen = |words: &[&str]| so_far.iter().skip(1).any(|token| token.is_any(words));
        let continues = if token.is("SELECT") {
            previous.is_any(&["UNION", "ALL", "EXCEPT", "INTERSECT", "FOR"])
                || (first.is("INSERT") && !seen(&["SELECT", "VALUES", "EXEC", "EXECUTE", "DEFAULT"]))
                || (first.is("WITH")
                    && previous.symbol(")")
                    && !seen_at_top(so_far, &["SELECT", "INSERT", "UPDATE", "DELETE"]))
                || (first.is("WITH") && seen_at_top(so_far, &["INSERT"]) && !seen_at_top(so_far, &["SELECT"]))
                || (first.is("CREATE") && previous.is("AS"))
        } else if token.is_any(&["EXEC", "EXECUTE"]) {
            first.is("INSERT") && !seen(&["SELECT", "VALUES", "EXEC", "EXECUTE", "DEFAULT"])
        } else if token.is("SET") {
            (first.is("UPDATE") && !seen(&["SET"]))
                || (first.is("WITH") && seen_at_top(so_far, &["UPDATE"]) && !seen_at_top(so_far, &["SET"]))
                || previous.is_any(&["UPDATE", "DELETE"])
                || (first.is("ALTER") && so_far.get(1).is_some_and(|token| token.is("DATABASE")))
        } else if token.is_any(&["UPDATE", "DELETE", "INSERT"]) {
            previous.is_any(&["ON", "FOR"])
                || (first.is("WITH")
                    && previous.symbol(")")
                    && !seen_at_top(so_far, &["SELECT", "INSERT", "UPDATE", "DELETE"]))
        } else if token.is("FETCH") {
            previous.is_any(&["ROWS", "ROW"])
        } else if token.is("IF") {
            first.is("DROP") && next.is_some_and(|next| next.is("EXISTS"))
        } else if token.is_any(&["DROP", "ALTER"]) {
            first.is("ALTER") && next.is_some_and(|next| next.is_any(&["COLUMN", "CONSTRAINT"]))
        } else if token.is_any(&[
            "CREATE", "TRUNCATE", "OPEN", "CLOSE", "SAVE", "USE", "CONTINUE", "BREAK",
        ]) {
            previous.is("AS")
        } else {
            false
        };
        !continues
    }

    fn parenthesised(&mut self) -> Result<Tokens, Failure> {
        if !self.accept_symbol("(") {
            return Err(self.unexpected());
        }
        let start = self.at;
        let mut depth = 1;
        while depth > 0 {
            let token = self.take()?;
            depth += i32::from(token.symbol("(")) - i32::from(token.symbol(")"));
        }
        Ok(self.tokens[start..self.at - 1].to_vec())
    }

    fn condition(&mut self) -> Result<Body, Failure> {
        self.at += 1;
        let condition = self.until_end()?;
        if condition.is_empty() {
            return Err(self.unexpected());
        }
        let then = Box::new(self.statement(false)?);
        let mark = self.at;
        self.semicolons();
        let otherwise = if self.accept("ELSE") {
            Some(Box::new(self.statement(false)?))
        } else {
            self.at = mark;
            None
        };
        Ok(Body::If {
            condition,
            then,
            otherwise,
        })
    }

    fn begin(&mut self) -> Result<Body, Failure> {
        self.at += 1;
        if self.accept("TRY") {
            let body = self.block(Some("TRY"))?;
            self.semicolons();
            self.expect("BEGIN")?;
            self.expect("CATCH")?;
            let handler = self.block(Some("CATCH"))?;
            return Ok(Body::Try { body, handler });
        }
        if self.peek().is_some_and(|token| token.is_any(&["TRAN", "TRANSACTION"])) {
            self.at += 1;
            let name = self.transaction_name();
            if self.next_is("WITH") && self.ahead(1).is_some_and(|token| token.is("MARK")) {
                return Err(Failure::unknown("BEGIN TRANSACTION WITH MARK"));
            }
            return Ok(Body::Begin(name));
        }
        if self.next_is("DISTRIBUTED") {
            return Err(Failure::unknown("BEGIN DISTRIBUTED TRANSACTION"));
        }
        Ok(Body::Block(self.block(None)?))
    }

    fn block(&mut self, word: Option<&str>) -> Result<Vec<Statement>, Failure> {
        let mut statements = Vec::new();
        loop {
            self.semicolons();
            if self.accept("END") {
                if let Some(word) = word {
                    self.expect(word)?;
                }
                return Ok(statements);
            }
            statements.push(self.statement(false)?);
        }
    }

    fn transaction_words(&mut self) {
        if self
            .peek()
            .is_some_and(|token| token.is_any(&["TRAN", "TRANSACTION", "WORK"]))
        {
            self.at += 1;
        }
    }

    fn transaction_name(&mut self) -> Option<Token> {
        let token = self.peek()?;
        let name = token.kind == Kind::Variable
            || (token.is_name() && !token.is_any(&STARTS) && !token.is_any(&["END", "ELSE", "WITH"]));
        name.then(|| {
            self.at += 1;
            self.tokens[self.at - 1].clone()
        })
    }

    fn declare(&mut self) -> Result<Body, Failure> {
        self.at += 1;
        let name = self.take()?;
        if name.is_name() {
            let query = self.until_end()?;
            let from = query
                .iter()
                .position(|token| token.is("FOR"))
                .ok_or_else(|| self.unexpected())?;
            return Ok(Body::DeclareCursor {
                name: name.text.to_ascii_lowercase(),
                query: query[from + 1..].to_vec(),
            });
        }
        let start = self.at - 1;
        self.accept("AS");
        if self.accept("TABLE") {
            return Ok(Body::DeclareTable {
                name: name.text,
                columns: self.parenthesised()?,
            });
        }
        self.at = start;
        let tokens = self.until_end()?;
        Ok(Body::Declare(declarations(&tokens)?))
    }

    fn set(&mut self) -> Result<Body, Failure> {
        self.at += 1;
        let tokens = self.until_end()?;
        match tokens.first() {
            Some(name) if name.kind == Kind::Variable => {
                let operator = tokens.get(1).map(|token| token.text.clone()).unwrap_or_default();
                if !matches!(operator.as_str(), "=" | "+=" | "-=" | "*=" | "/=" | "%=") {
                    return Err(Failure::syntax(&operator));
                }
                Ok(Body::SetVariable {
                    name: name.text.clone(),
                    operator,
                    value: tokens[2..].to_vec(),
                })
            }
            Some(_) => Ok(Body::SetOption(tokens)),
            None => Err(self.unexpected()),
        }
    }

    fn definition(&mut self) -> Result<Body, Failure> {
        let procedure = (1..4).find(|distance| {
            self.ahead(*distance)
                .is_some_and(|token| token.is_any(&["PROC", "PROCEDURE"]))
        });
        let drop = self.next_is("DROP");
        match procedure {
            Some(distance) if !drop && (distance == 1 || self.ahead(1).is_some_and(|token| token.is("OR"))) => {
                let or_alter = distance > 1 || self.next_is("ALTER");
                self.at += distance + 1;
                self.procedure(or_alter)
            }
            _ => Ok(Body::Definition(self.until_end()?)),
        }
    }

    /// A procedure's body is the rest of the batch.
    fn procedure(&mut self, or_alter: bool) -> Result<Body, Failure> {
        let name = self.dotted()?;
        let start = self.at;
        let mut depth = 0;
        while let Some(token) = self.peek() {
            depth += i32::from(token.symbol("(")) - i32::from(token.symbol(")"));
            let type_follows = self
                .ahead(1)
                .is_some_and(|next| SQL_TYPE_WORDS.iter().any(|word| next.is(word)));
            if depth == 0 && token.is("AS") && !(type_follows && self.tokens[self.at - 1].kind == Kind::Variable) {
                break;
            }
            self.at += 1;
        }
        let mut head = self.tokens[start..self.at].to_vec();
        let with = head.iter().position(|token| token.is("WITH")).unwrap_or(head.len());
        head.truncate(with);
        if head.first().is_some_and(|token| token.symbol("(")) {
            head = head[1..head.len() - 1].to_vec();
        }
        let parameters = if head.is_empty() {
            Vec::new()
        } else {
            declarations(&head)?
        };
        let as_end = self.take()?.span.1;
        self.at = self.tokens.len();
        let source = self.source[as_end..].to_owned();
        parse(&source, self.names)?;
        Ok(Body::Procedure {
            name,
            parameters,
            source,
            or_alter,
        })
    }

    /// `a.b.c`, without the database and the schemas that mean nothing here.
    fn dotted(&mut self) -> Result<String, Failure> {
        let mut name = self.take()?;
        if !name.is_name() {
            return Err(Failure::syntax(&name.text));
        }
        while self.next_symbol(".") {
            while self.accept_symbol(".") {}
            name = self.take()?;
        }
        Ok(name.text.to_ascii_lowercase())
    }

    fn execute(&mut self) -> Result<Execute, Failure> {
        let mut execute = Execute {
            status: None,
            procedure: String::new(),
            arguments: Vec::new(),
            text: None,
        };
        if self.next_symbol("(") {
            execute.text = Some(self.parenthesised()?);
            return Ok(execute);
        }
        if self.peek().is_some_and(|token| token.kind == Kind::Variable)
            && self.ahead(1).is_some_and(|token| token.symbol("="))
        {
            execute.status = Some(self.take()?.text);
            self.at += 1;
        }
        execute.procedure = self.dotted()?;
        for tokens in split(&self.until_end()?) {
            execute.arguments.push(argument(tokens)?);
        }
        Ok(execute)
    }
}
