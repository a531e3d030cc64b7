//! YAML as a person would write it: block style, no quotes where none are needed. Pure.

/// A value.
#[derive(Clone, Debug)]
pub(crate) enum Yaml {
    /// Quoted where YAML would take it for something else.
    Text(String),
    /// A number or `true` or `false`, as it is.
    Plain(String),
    List(Vec<Yaml>),
    Map(Map),
}

/// Keys and values in order.
pub(crate) type Map = Vec<(String, Yaml)>;

impl Yaml {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Yaml::Text(text.into())
    }

    pub(crate) fn plain(value: impl ToString) -> Self {
        Yaml::Plain(value.to_string())
    }

    /// `{from_env: NAME}`
    pub(crate) fn from_env(name: &str) -> Self {
        Yaml::Map(vec![("from_env".to_owned(), Yaml::text(name))])
    }

    /// `{dynamic_from_file: /path}`
    pub(crate) fn from_file(path: &str) -> Self {
        Yaml::Map(vec![("dynamic_from_file".to_owned(), Yaml::text(path))])
    }

    /// The document.
    pub(crate) fn document(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, 0);
        out
    }

    fn write(&self, out: &mut String, indent: usize) {
        match self {
            Yaml::Map(entries) if !self.is_short() => {
                for (position, (key, value)) in entries.iter().enumerate() {
                    // The first key of an item stands behind its dash.
                    if position > 0 || out.is_empty() || out.ends_with('\n') {
                        out.push_str(&" ".repeat(indent));
                    }
                    out.push_str(&scalar(key));
                    out.push(':');
                    value.behind(out, indent);
                }
            }
            Yaml::List(items) if !items.is_empty() => {
                for item in items {
                    out.push_str(&" ".repeat(indent));
                    out.push_str("- ");
                    match item.is_short() {
                        true => out.push_str(&(item.flow() + "\n")),
                        false => item.write(out, indent + 2),
                    }
                }
            }
            _ => out.push_str(&(self.flow() + "\n")),
        }
    }

    /// Behind `key:`
    fn behind(&self, out: &mut String, indent: usize) {
        if self.is_short() {
            out.push_str(&format!(" {}\n", self.flow()));
            return;
        }
        out.push('\n');
        self.write(out, indent + 2);
    }

    /// Whether it stands on one line.
    fn is_short(&self) -> bool {
        match self {
            Yaml::Text(_) | Yaml::Plain(_) => true,
            Yaml::List(items) => items.iter().all(|item| matches!(item, Yaml::Text(_) | Yaml::Plain(_))),
            Yaml::Map(entries) => {
                entries.is_empty()
                    || entries.len() == 1 && ["from_env", "dynamic_from_file"].contains(&entries[0].0.as_str())
            }
        }
    }

    fn flow(&self) -> String {
        match self {
            Yaml::Text(text) => scalar(text),
            Yaml::Plain(value) => value.clone(),
            Yaml::List(items) => format!("[{}]", items.iter().map(Yaml::flow).collect::<Vec<_>>().join(", ")),
            Yaml::Map(entries) => {
                let entries: Vec<_> = entries
                    .iter()
                    .map(|(key, value)| format!("{}: {}", scalar(key), value.flow()))
                    .collect();
                format!("{{{}}}", entries.join(", "))
            }
        }
    }
}

impl From<&serde_json::Value> for Yaml {
    fn from(value: &serde_json::Value) -> Self {
        use serde_json::Value;
        match value {
            Value::String(text) => Yaml::text(text),
            Value::Array(items) => Yaml::List(items.iter().map(Yaml::from).collect()),
            Value::Object(fields) => {
                let fields = fields.iter().map(|(key, value)| (key.clone(), Yaml::from(value)));
                Yaml::Map(fields.collect())
            }
            other => Yaml::plain(other),
        }
    }
}

fn scalar(text: &str) -> String {
    let first = text.chars().next();
    let is_plain = first.is_some_and(|c| c.is_ascii_alphabetic() || c == '_' || c == '/')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c))
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&text.to_ascii_lowercase().as_str());
    // A JSON string is a YAML string.
    if is_plain {
        text.to_owned()
    } else {
        serde_json::Value::from(text).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_like_a_file_that_somebody_wrote() {
        let value = Yaml::Map(vec![
            ("version".to_owned(), Yaml::plain(1)),
            (
                "users".to_owned(),
                Yaml::List(vec![Yaml::Map(vec![
                    ("name".to_owned(), Yaml::text("no")),
                    ("password".to_owned(), Yaml::from_file("/s/app")),
                    ("sources".to_owned(), Yaml::List(vec![Yaml::text("a b")])),
                ])]),
            ),
            (
                "defaults".to_owned(),
                Yaml::Map(vec![(
                    "pool_settings".to_owned(),
                    Yaml::Map(vec![("retries".to_owned(), Yaml::plain(1))]),
                )]),
            ),
        ]);
        let wanted = "version: 1\nusers:\n  - name: \"no\"\n    password: {dynamic_from_file: /s/app}\n    sources: [\"a b\"]\ndefaults:\n  pool_settings:\n    retries: 1\n";
        assert_eq!(value.document(), wanted);
    }
}
