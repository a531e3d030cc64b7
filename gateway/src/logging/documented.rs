//! docs/logs.md against the code: every event that there is has its row, with its levels and fields, and no other is there.
//!
//! `WEIR_UPDATE_DOCS=1 cargo test -p weir documented` writes levels and fields; what an event means is written by hand.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
};

use super::json::kind_of;

/// What the code says of one type.
#[derive(Debug, Default)]
struct Known {
    levels: BTreeSet<&'static str>,
    fields: BTreeSet<String>,
}

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

#[test]
fn every_event_is_documented_and_no_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace");
    let mut known: BTreeMap<String, Known> = BTreeMap::new();
    for folder in ["core", "config", "backend-postgres", "backend-mssql", "gateway"] {
        collect(&root.join(folder).join("src"), &mut known);
    }
    assert!(known.len() > 40, "the events are not found any more: {}", known.len());
    let path = root.join("docs/logs.md");
    let document = fs::read_to_string(&path).expect("docs/logs.md");
    let written: BTreeMap<&str, &str> = document.lines().filter_map(row_of).collect();
    let rows = known.iter().map(|(kind, known)| {
        let meaning = written.get(kind.as_str()).map_or("", |row| meaning(row));
        row(kind, known, meaning)
    });
    let rows: Vec<String> = rows.collect();
    let present: Vec<&str> = document.lines().filter(|line| row_of(line).is_some()).collect();
    if env::var_os("WEIR_UPDATE_DOCS").is_some() {
        let first = present.first().expect("a table");
        let (head, rest) = document.split_once(first).expect("it is in there");
        let tail = rest.split_once("\n\n").map_or("", |(_, tail)| tail);
        fs::write(&path, format!("{head}{}\n\n{tail}", rows.join("\n"))).expect("docs/logs.md can be written");
        return;
    }
    assert_eq!(
        present, rows,
        "WEIR_UPDATE_DOCS=1 cargo test -p weir documented writes levels and fields to docs/logs.md"
    );
    for row in present {
        assert!(
            !meaning(row).is_empty(),
            "docs/logs.md does not say what this means: {row}"
        );
    }
}

/// The type of a line of the document's table.
fn row_of(line: &str) -> Option<(&str, &str)> {
    let kind = line.strip_prefix("| `")?.split_once('`')?.0;
    let is_type = kind
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    is_type.then_some((kind, line))
}

fn meaning(row: &str) -> &str {
    row.rsplit('|').nth(1).unwrap_or_default().trim()
}

fn row(kind: &str, known: &Known, meaning: &str) -> String {
    let levels: Vec<&str> = LEVELS
        .into_iter()
        .filter(|level| known.levels.contains(level))
        .collect();
    let fields: Vec<String> = known.fields.iter().map(|field| format!("`{field}`")).collect();
    format!(
        "| `{kind}` | {} | {} | {meaning} |",
        levels.join(", "),
        fields.join(" ")
    )
}

fn collect(folder: &Path, known: &mut BTreeMap<String, Known>) {
    let entries = fs::read_dir(folder).expect("a folder of sources");
    for entry in entries {
        let path: PathBuf = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, known);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source");
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
            events(&lines.collect::<Vec<_>>().join("\n"), known);
        }
    }
}

/// Every `info!(…)` and its like.
fn events(code: &str, known: &mut BTreeMap<String, Known>) {
    for level in LEVELS {
        let name = format!("{level}!(");
        for (at, _) in code.match_indices(&name) {
            let before = code[..at].chars().next_back().unwrap_or(' ');
            if before.is_ascii_alphanumeric() || before == '_' {
                continue;
            }
            let arguments = arguments(&code[at + name.len()..]);
            let value = |argument: &str| {
                argument
                    .split_once('"')
                    .and_then(|(_, rest)| Some(rest.rsplit_once('"')?.0.to_owned()))
            };
            let named = arguments.iter().find(|argument| argument.starts_with("event ="));
            let message = arguments.iter().find(|argument| argument.starts_with('"'));
            let kind = match (named, message) {
                (Some(event), _) => value(event).expect("an event is named by a literal"),
                (None, Some(message)) => {
                    assert!(
                        !message.contains('{'),
                        "a message that differs needs event = \"…\": {message}"
                    );
                    kind_of(&value(message).expect("a literal"))
                }
                (None, None) => panic!("an event without a message: {level}!({arguments:?})"),
            };
            let entry = known.entry(kind).or_default();
            entry.levels.insert(level);
            let fields = arguments
                .iter()
                .filter(|argument| !argument.starts_with(['"']) && !argument.starts_with("event ="));
            entry.fields.extend(fields.map(|field| {
                let field = field.trim_start_matches(['%', '?']);
                let end = field.find(|character: char| !(character.is_ascii_alphanumeric() || character == '_'));
                field[..end.unwrap_or(field.len())].to_owned()
            }));
        }
    }
}

/// The arguments up to the closing bracket.
fn arguments(code: &str) -> Vec<String> {
    let (mut depth, mut is_text) = (1, false);
    let mut all = vec![String::new()];
    let mut characters = code.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' if is_text => {
                // The line goes on after its indentation.
                let rest = characters.as_str();
                if rest.starts_with('\n') {
                    characters = rest.trim_start().chars();
                    continue;
                }
                characters.next();
                continue;
            }
            '"' => is_text = !is_text,
            '(' | '[' | '{' if !is_text => depth += 1,
            ')' | ']' | '}' if !is_text => {
                depth -= 1;
                if depth == 0 {
                    break;
                }
            }
            ',' if !is_text && depth == 1 => {
                all.push(String::new());
                continue;
            }
            _ => {}
        }
        all.last_mut().expect("there is always one").push(character);
    }
    let all = all.iter().map(|argument| argument.trim().to_owned());
    all.filter(|argument| !argument.is_empty()).collect()
}
