//! From the parser's events to the tree, with an explicit stack: nesting costs heap, and not much of it.

use std::{
    collections::{HashMap, hash_map},
    sync::Arc,
};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, Tag};

use super::{Entry, Node, Value};
use crate::{limits, problem::Place};

/// Why a text is not usable YAML.
#[derive(Debug)]
pub(crate) struct SyntaxError {
    pub(crate) place: Place,
    pub(crate) message: String,
}

/// Parses the first document of a text; an empty text is `Null`.
pub(crate) fn parse(file: &Arc<str>, text: &str) -> Result<Node, SyntaxError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder {
        file: file.clone(),
        frames: Vec::new(),
        anchors: HashMap::new(),
        nodes: 0,
        documents: 0,
        root: None,
    };
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| builder.scan_error(&error))?;
        builder.take(event, span)?;
    }
    Ok(builder.root.unwrap_or_else(|| {
        Node::new(
            &Place {
                file: file.clone(),
                line: 1,
                column: 1,
            },
            Value::Null,
        )
    }))
}

/// A list or mapping that is still open.
struct Frame {
    place: Place,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        /// Where each key is among them: a hostile file has a million.
        places: HashMap<String, usize>,
        key: Option<(String, Place)>,
        merges: Vec<Node>,
    },
}

struct Builder {
    file: Arc<str>,
    frames: Vec<Frame>,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    documents: usize,
    root: Option<Node>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), SyntaxError> {
        let place = self.place(span.start);
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                match self.documents {
                    1 => Ok(()),
                    _ => Err(SyntaxError {
                        place,
                        message: "the file holds more than one YAML document".to_owned(),
                    }),
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                let value = scalar(&text, style, tag.as_deref());
                self.add(Node { place, value }, anchor, 1)
            }
            Event::Alias(anchor) => match self.anchors.get(&anchor).cloned() {
                Some((node, size)) => self.add(Node { place, ..node }, 0, size),
                None => Err(SyntaxError {
                    place,
                    message: "an alias refers to a value that contains it".to_owned(),
                }),
            },
            Event::SequenceStart(anchor, _) => self.open(place, anchor, Content::List(Vec::new())),
            Event::MappingStart(anchor, _) => self.open(
                place,
                anchor,
                Content::Map {
                    entries: Vec::new(),
                    places: HashMap::new(),
                    key: None,
                    merges: Vec::new(),
                },
            ),
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn open(&mut self, place: Place, anchor: usize, content: Content) -> Result<(), SyntaxError> {
        if self.frames.len() >= limits::MAX_DEPTH {
            return Err(SyntaxError {
                place,
                message: format!("lists and mappings are nested more than {} deep", limits::MAX_DEPTH),
            });
        }
        self.count(1, &place)?;
        self.frames.push(Frame { place, anchor, content });
        Ok(())
    }

    fn close(&mut self) -> Result<(), SyntaxError> {
        let Some(Frame { place, anchor, content }) = self.frames.pop() else {
            return Ok(());
        };
        let value = match content {
            Content::List(items) => Value::List(items),
            Content::Map {
                entries,
                places,
                merges,
                ..
            } => Value::Map(merged(entries, places, merges)),
        };
        let node = Node { place, value };
        if anchor > 0 {
            // What is kept for aliases is a copy.
            let size = size(&node);
            self.count(size, &node.place)?;
            self.keep(anchor, &node, size);
        }
        self.attach(node)
    }

    /// Adds a finished value of `size` nodes.
    fn add(&mut self, node: Node, anchor: usize, size: usize) -> Result<(), SyntaxError> {
        self.count(size, &node.place)?;
        self.keep(anchor, &node, size);
        self.attach(node)
    }

    fn count(&mut self, size: usize, place: &Place) -> Result<(), SyntaxError> {
        self.nodes += size;
        if self.nodes <= limits::MAX_NODES {
            return Ok(());
        }
        Err(SyntaxError {
            place: place.clone(),
            message: format!(
                "the file holds more than {} values (aliases counted each time)",
                limits::MAX_NODES
            ),
        })
    }

    fn keep(&mut self, anchor: usize, node: &Node, size: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), size));
        }
    }

    fn attach(&mut self, node: Node) -> Result<(), SyntaxError> {
        match self.frames.last_mut().map(|frame| &mut frame.content) {
            None => {
                self.root.get_or_insert(node);
                Ok(())
            }
            Some(Content::List(items)) => {
                items.push(node);
                Ok(())
            }
            Some(Content::Map {
                entries,
                places,
                key,
                merges,
            }) => match key.take() {
                None => {
                    *key = Some((key_text(&node)?, node.place));
                    Ok(())
                }
                Some((name, _)) if name == "<<" => {
                    merges.push(node);
                    Ok(())
                }
                Some((name, place)) => {
                    match places.entry(name) {
                        hash_map::Entry::Occupied(first) => {
                            entries[*first.get()].value = Node::new(&place, Value::Twice);
                        }
                        hash_map::Entry::Vacant(free) => {
                            entries.push(Entry {
                                key: free.key().clone(),
                                key_place: place,
                                value: node,
                            });
                            free.insert(entries.len() - 1);
                        }
                    }
                    Ok(())
                }
            },
        }
    }

    fn place(&self, marker: Marker) -> Place {
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Place {
            file: self.file.clone(),
            line: number(marker.line()),
            column: number(marker.col()).saturating_add(1),
        }
    }

    fn scan_error(&self, error: &ScanError) -> SyntaxError {
        SyntaxError {
            place: self.place(*error.marker()),
            message: format!("not valid YAML: {}", error.info()),
        }
    }
}

/// Keys of `<<` mappings that the mapping itself does not have; of several, the first wins.
fn merged(mut entries: Vec<Entry>, mut places: HashMap<String, usize>, merges: Vec<Node>) -> Vec<Entry> {
    let sources = merges.into_iter().flat_map(|merge| match merge.value {
        Value::List(items) => items,
        value => vec![Node {
            place: merge.place,
            value,
        }],
    });
    for source in sources {
        let Value::Map(further) = source.value else { continue };
        for entry in further {
            if let hash_map::Entry::Vacant(free) = places.entry(entry.key.clone()) {
                free.insert(entries.len());
                entries.push(entry);
            }
        }
    }
    entries
}

fn size(node: &Node) -> usize {
    1 + match &node.value {
        Value::List(items) => items.iter().map(size).sum(),
        Value::Map(entries) => entries.iter().map(|entry| size(&entry.value)).sum(),
        _ => 0,
    }
}

fn key_text(node: &Node) -> Result<String, SyntaxError> {
    match &node.value {
        Value::String(text) | Value::Number(_, text) => Ok(text.clone()),
        Value::Bool(value) => Ok(value.to_string()),
        Value::Null => Ok("null".to_owned()),
        _ => Err(SyntaxError {
            place: node.place.clone(),
            message: format!("a key must be a word, got {}", node.describe()),
        }),
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Value {
    match tag {
        Some(tag) if tag.handle == "!" && tag.suffix == "include" => Value::Include(text.to_owned()),
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix != "str" => plain(text),
        Some(_) => Value::String(text.to_owned()),
        None if style == ScalarStyle::Plain => plain(text),
        None => Value::String(text.to_owned()),
    }
}

/// A plain scalar, typed by `serde_yaml`. Only what could be something other than a string is asked about.
fn plain(text: &str) -> Value {
    if text.is_empty() {
        return Value::Null;
    }
    let first = text.as_bytes()[0];
    let is_word = ["null", "true", "false"]
        .iter()
        .any(|word| word.eq_ignore_ascii_case(text));
    let could_be_typed = text.len() <= 64 && (is_word || first.is_ascii_digit() || b"+-.~".contains(&first));
    if !could_be_typed {
        return Value::String(text.to_owned());
    }
    match serde_yaml::from_str::<serde_yaml::Value>(text) {
        Ok(serde_yaml::Value::Null) => Value::Null,
        Ok(serde_yaml::Value::Bool(value)) => Value::Bool(value),
        Ok(serde_yaml::Value::Number(number)) => Value::Number(number.as_f64().unwrap_or(f64::NAN), text.to_owned()),
        _ => Value::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Node, String> {
        parse(&"f".into(), text).map_err(|error| format!("{}: {}", error.place, error.message))
    }

    #[test]
    fn positions_count_from_one() {
        let root = of("a: 1\nlist:\n  - x\n  - b: {c: [1, yes]}\n").unwrap();
        let list = root.get("list").unwrap();
        let Value::List(items) = &list.value else {
            panic!("not a list")
        };
        assert_eq!(root.get("a").unwrap().place.to_string(), "f:1:4");
        assert_eq!(items[0].place.to_string(), "f:3:5");
        let entry = &items[1].entries()[0];
        assert_eq!(
            (entry.key_place.to_string(), entry.value.place.to_string()),
            ("f:4:5".to_owned(), "f:4:8".to_owned())
        );
        assert_eq!(entry.value.entries()[0].value.place.to_string(), "f:4:12");
    }

    #[test]
    fn scalars_have_serde_yamls_types() {
        for text in [
            "1",
            "-1",
            "+1",
            "0x10",
            "0o17",
            "0b11",
            "1.5",
            "1e3",
            ".5",
            "5.",
            ".inf",
            "-.inf",
            ".nan",
            "007",
            "1_000",
            "25,",
            "~",
            "null",
            "Null",
            "NULL",
            "nULL",
            "true",
            "True",
            "TRUE",
            "false",
            "yes",
            "no",
            "on",
            "y",
            "a b",
            "1 2",
            "2020-01-01",
            "12:30",
            "x",
        ] {
            let ours = of(&format!("k: {text}")).unwrap().get("k").unwrap().value.clone();
            let theirs: serde_yaml::Value = serde_yaml::from_str(&format!("k: {text}")).unwrap();
            let agree = match (&ours, &theirs["k"]) {
                (Value::Null, serde_yaml::Value::Null) => true,
                (Value::Bool(a), serde_yaml::Value::Bool(b)) => a == b,
                (Value::Number(a, _), serde_yaml::Value::Number(b)) => {
                    b.as_f64().is_some_and(|b| *a == b || (a.is_nan() && b.is_nan()))
                }
                (Value::String(a), serde_yaml::Value::String(b)) => a == b,
                _ => false,
            };
            assert!(agree, "{text}: {ours:?} against {theirs:?}");
        }
    }

    #[test]
    fn anchors_aliases_and_merge_keys() {
        let root = of("base: &b {x: 1, y: 2}\nown: {<<: *b, y: 3}\nagain: *b\n").unwrap();
        let own = root.get("own").unwrap();
        assert_eq!(own.get("x").unwrap().value, Value::Number(1.0, "1".to_owned()));
        assert_eq!(own.get("y").unwrap().value, Value::Number(3.0, "3".to_owned()));
        assert_eq!(root.get("again").unwrap().place.to_string(), "f:3:8");
    }

    #[test]
    fn broken_and_hostile_texts_are_errors_with_positions() {
        for (text, expected) in [
            ("--- 1\n--- 2\n", "f:2:1: the file holds more than one YAML document"),
            ("a: &x [*x]\n", "f:1:8: an alias refers to a value that contains it"),
            ("? [1]\n: 2\n", "f:1:3: a key must be a word, got a list"),
        ] {
            assert_eq!(of(text).unwrap_err(), expected);
        }
        assert!(of("a: [1\nb: 2").unwrap_err().contains("not valid YAML"));
        let deep = "[".repeat(100) + &"]".repeat(100);
        assert!(of(&deep).unwrap_err().contains("nested more than 64 deep"));
        let mut laughs = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..9 {
            let previous = format!("*a{}", level - 1);
            laughs += &format!("a{level}: &a{level} [{}]\n", vec![previous; 10].join(","));
        }
        assert!(of(&laughs).unwrap_err().contains("more than 1000000 values"));
    }

    /// As many keys as fit, as deep copies as can be, as many empty lists: in time that grows with the file alone.
    #[test]
    fn enormous_files_take_no_more_than_their_length() {
        let keys: String = (0..400_000).map(|number| format!("k{number}:\n")).collect();
        assert_eq!(of(&keys).unwrap().entries().len(), 400_000);
        let lists = format!("[{}]", "[],".repeat(1_100_000));
        assert!(of(&lists).unwrap_err().contains("more than 1000000 values"));
        let anchors: String = (0..60).map(|number| format!("&a{number} [")).collect();
        let copies = format!("{anchors}{}{}", "x,".repeat(300_000), "]".repeat(60));
        assert!(of(&copies).unwrap_err().contains("more than 1000000 values"));
        let base: String = (0..150_000).map(|number| format!("  k{number}: 1\n")).collect();
        let merged = format!("base: &b\n{base}own:\n  <<: *b\n{base}");
        assert!(of(&merged).is_ok());
    }

    #[test]
    fn a_key_that_is_written_twice_has_no_value() {
        let root = of("a: 1\nb: 2\na: 3\n").unwrap();
        let a = root.get("a").unwrap();
        assert_eq!((a.place.to_string(), &a.value), ("f:3:1".to_owned(), &Value::Twice));
        assert_eq!(root.get("b").unwrap().as_number(), Some(2.0));
    }

    #[test]
    fn includes_keep_their_tag() {
        let root =
            of("a: !include x/y.yaml\nb: !include \"s 5/t.yaml\"\nc: \"!include z.yaml\"\nd: !!str 5\n").unwrap();
        let value = |key: &str| root.get(key).unwrap().value.clone();
        assert_eq!(value("a"), Value::Include("x/y.yaml".to_owned()));
        assert_eq!(value("b"), Value::Include("s 5/t.yaml".to_owned()));
        assert_eq!(value("c"), Value::String("!include z.yaml".to_owned()));
        assert_eq!(value("d"), Value::String("5".to_owned()));
    }
}
