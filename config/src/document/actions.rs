//! `actions.graphql`: the part of the actions that Hasura's command line writes in GraphQL's definition language, put back
//! into the document.
//!
//! Reads what that command line writes: `type Query`, `type Mutation` (also `extend`ed) whose fields are actions, and
//! object types, inputs, enums and scalars. Never recursive: nesting costs nothing.

use serde_json::{Map, Value, json};

/// Completes the actions and custom types of `actions.yaml` with what the GraphQL text says about them.
///
/// # Errors
/// Where the text is not understood.
pub(super) fn complete(document: &mut Map<String, Value>, text: &str) -> Result<(), String> {
    let definitions = Parser {
        tokens: tokens(text)?,
        at: 0,
    }
    .definitions()?;
    let mut types: Map<String, Value> = Map::new();
    for definition in definitions {
        let list = match definition.kind {
            Kind::Object if matches!(definition.name.as_str(), "Query" | "Mutation") => {
                let kind = definition.name.to_ascii_lowercase();
                definition
                    .fields
                    .iter()
                    .for_each(|field| complete_action(document, field, &kind));
                continue;
            }
            Kind::Object => "objects",
            Kind::Input => "input_objects",
            Kind::Enum => "enums",
            Kind::Scalar => "scalars",
        };
        let written = document
            .get("custom_types")
            .and_then(|types| types.get(list))
            .and_then(Value::as_array);
        let written = written
            .into_iter()
            .flatten()
            .find(|known| known["name"] == definition.name.as_str());
        let mut value = definition.json();
        // Relationships and the like stand in the YAML.
        if let (Some(Value::Object(written)), Some(value)) = (written, value.as_object_mut()) {
            let missing: Vec<_> = written.iter().filter(|(key, _)| !value.contains_key(*key)).collect();
            value.extend(missing.into_iter().map(|(key, known)| (key.clone(), known.clone())));
        }
        if let Some(list) = types.entry(list).or_insert_with(|| json!([])).as_array_mut() {
            list.push(value);
        }
    }
    if !types.is_empty() {
        document.insert("custom_types".to_owned(), Value::Object(types));
    }
    Ok(())
}

fn complete_action(document: &mut Map<String, Value>, field: &Field, kind: &str) {
    let actions = document.get_mut("actions").and_then(Value::as_array_mut);
    let action = actions
        .into_iter()
        .flatten()
        .find(|action| action["name"] == field.name.as_str());
    // A field without an action in the YAML is no action: there is no handler for it.
    let Some(definition) = action.and_then(|action| action.get_mut("definition")?.as_object_mut()) else {
        return;
    };
    if !field.arguments.is_empty() {
        let arguments = field.arguments.iter().map(Field::json).collect();
        definition.insert("arguments".to_owned(), arguments);
    }
    definition.insert("output_type".to_owned(), field.of_type.clone().into());
    definition.insert("type".to_owned(), kind.into());
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Object,
    Input,
    Enum,
    Scalar,
}

struct Definition {
    kind: Kind,
    name: String,
    description: Option<String>,
    fields: Vec<Field>,
}

/// A field, an argument, or a value of an enum, which has no type.
struct Field {
    name: String,
    of_type: String,
    description: Option<String>,
    arguments: Vec<Field>,
}

impl Definition {
    fn json(&self) -> Value {
        let mut value = json!({ "name": self.name });
        match self.kind {
            Kind::Scalar => {}
            Kind::Enum => {
                let values = self
                    .fields
                    .iter()
                    .map(|field| described(json!({ "value": field.name }), &field.description));
                value["values"] = values.collect();
            }
            Kind::Object | Kind::Input => value["fields"] = self.fields.iter().map(Field::json).collect(),
        }
        described(value, &self.description)
    }
}

impl Field {
    fn json(&self) -> Value {
        described(json!({ "name": self.name, "type": self.of_type }), &self.description)
    }
}

fn described(mut value: Value, description: &Option<String>) -> Value {
    if let Some(description) = description {
        value["description"] = description.clone().into();
    }
    value
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Name(String),
    Text(String),
    Sign(char),
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    at: usize,
}

impl Parser {
    fn definitions(mut self) -> Result<Vec<Definition>, String> {
        let mut definitions = Vec::new();
        while self.at < self.tokens.len() {
            let description = self.description();
            let mut word = self.name()?;
            if word == "extend" {
                word = self.name()?;
            }
            let kind = match word.as_str() {
                "type" => Kind::Object,
                "input" => Kind::Input,
                "enum" => Kind::Enum,
                "scalar" => Kind::Scalar,
                other => return Err(self.wrong(&format!("`{other}` is not understood"))),
            };
            let name = self.name()?;
            self.directives()?;
            let fields = match self.takes('{') {
                true => self.fields('}', kind)?,
                false => Vec::new(),
            };
            definitions.push(Definition {
                kind,
                name,
                description,
                fields,
            });
        }
        Ok(definitions)
    }

    fn fields(&mut self, end: char, kind: Kind) -> Result<Vec<Field>, String> {
        let mut fields = Vec::new();
        while !self.takes(end) {
            let description = self.description();
            let name = self.name()?;
            // Arguments have none of their own.
            let arguments = match end == '}' && self.takes('(') {
                true => self.fields(')', Kind::Input)?,
                false => Vec::new(),
            };
            let of_type = match kind {
                Kind::Enum => String::new(),
                _ => self.of_type()?,
            };
            if self.takes('=') {
                self.value()?;
            }
            self.directives()?;
            fields.push(Field {
                name,
                of_type,
                description,
                arguments,
            });
        }
        Ok(fields)
    }

    /// `: [Name!]!`
    fn of_type(&mut self) -> Result<String, String> {
        if !self.takes(':') {
            return Err(self.wrong("a type is missing"));
        }
        let mut text = String::new();
        let mut open = 0_usize;
        while self.takes('[') {
            open += 1;
            text.push('[');
        }
        text += &self.name()?;
        loop {
            match self.peek() {
                Some(Token::Sign('!')) => text.push('!'),
                Some(Token::Sign(']')) if open > 0 => {
                    open -= 1;
                    text.push(']');
                }
                _ if open == 0 => return Ok(text),
                _ => return Err(self.wrong("a `]` is missing")),
            }
            self.at += 1;
        }
    }

    /// A default value, which Hasura's actions do not have: passed over.
    fn value(&mut self) -> Result<(), String> {
        let mut open = 0_usize;
        loop {
            match self.peek() {
                None => return Err(self.wrong("a value is missing")),
                Some(Token::Sign('[' | '{')) => open += 1,
                Some(Token::Sign(']' | '}')) => open = open.saturating_sub(1),
                Some(_) => {}
            }
            self.at += 1;
            if open == 0 {
                return Ok(());
            }
        }
    }

    /// `@name(...)`: passed over.
    fn directives(&mut self) -> Result<(), String> {
        while self.takes('@') {
            self.name()?;
            if self.takes('(') {
                while !self.takes(')') {
                    if self.peek().is_none() {
                        return Err(self.wrong("a `)` is missing"));
                    }
                    self.at += 1;
                }
            }
        }
        Ok(())
    }

    fn description(&mut self) -> Option<String> {
        let Some(Token::Text(text)) = self.peek() else {
            return None;
        };
        let text = text.clone();
        self.at += 1;
        Some(text)
    }

    fn name(&mut self) -> Result<String, String> {
        let Some(Token::Name(name)) = self.peek() else {
            return Err(self.wrong("a name is missing"));
        };
        let name = name.clone();
        self.at += 1;
        Ok(name)
    }

    fn takes(&mut self, sign: char) -> bool {
        let is_it = self.peek() == Some(&Token::Sign(sign));
        self.at += usize::from(is_it);
        is_it
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(_, token)| token)
    }

    fn wrong(&self, message: &str) -> String {
        let last = self.tokens.last().map_or(1, |(line, _)| *line);
        let line = self.tokens.get(self.at).map_or(last, |(line, _)| *line);
        format!("line {line}: {message}")
    }
}

fn tokens(text: &str) -> Result<Vec<(usize, Token)>, String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    let mut line = 1;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '#' => rest.find('\n').unwrap_or(rest.len()),
            ',' | '\u{feff}' => first.len_utf8(),
            _ if first.is_whitespace() => first.len_utf8(),
            '"' => {
                let (length, text) = quoted(rest).ok_or_else(|| format!("line {line}: a text without an end"))?;
                tokens.push((line, Token::Text(text)));
                length
            }
            _ if is_of_name(first) || first == '-' || first == '$' => {
                let length = rest[1..]
                    .find(|next| !is_of_name(next))
                    .map_or(rest.len(), |length| length + 1);
                tokens.push((line, Token::Name(rest[..length].to_owned())));
                length
            }
            _ => {
                tokens.push((line, Token::Sign(first)));
                first.len_utf8()
            }
        };
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    Ok(tokens)
}

fn is_of_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_' || letter == '.'
}

/// A text in quotes: its length with them, and what it says.
fn quoted(text: &str) -> Option<(usize, String)> {
    if let Some(block) = text.strip_prefix("\"\"\"") {
        let end = block.find("\"\"\"")?;
        let lines: Vec<&str> = block[..end].trim().lines().map(str::trim).collect();
        return Some((end + 6, lines.join("\n")));
    }
    let mut end = 1;
    loop {
        let next = text[end..].find(['"', '\\', '\n'])? + end;
        match text.as_bytes()[next] {
            b'"' => {
                let said = serde_json::from_str(&text[..=next]).ok()?;
                return Some((next + 1, said));
            }
            b'\\' => end = next + 2,
            _ => return None,
        }
        if !text.is_char_boundary(end) {
            return None;
        }
    }
}
