//! `get_inconsistent_metadata`, and inconsistent objects wherever they are told.

use serde_json::{Value, json};
use weir_config::{Problem, Severity, Subject};

use crate::serve::control::State;

/// `{"is_consistent", "inconsistent_objects"}`
pub(super) fn report(state: &State) -> Value {
    let errors: Vec<Problem> = state.errors().cloned().collect();
    let objects = objects(&errors);
    json!({ "is_consistent": objects.is_empty(), "inconsistent_objects": objects })
}

/// What does not serve, once each: `reason` in Hasura's form, `message` with the places in the files.
pub(super) fn objects(problems: &[Problem]) -> Vec<Value> {
    let mut subjects: Vec<&Subject> = Vec::new();
    for problem in problems.iter().filter(|problem| problem.severity == Severity::Error) {
        if !subjects.contains(&&problem.subject) {
            subjects.push(&problem.subject);
        }
    }
    subjects.into_iter().map(|subject| object(subject, problems)).collect()
}

fn object(subject: &Subject, problems: &[Problem]) -> Value {
    let (kind, name) = match subject {
        Subject::Everything => ("metadata", None),
        Subject::Source(name) => ("source", Some(name)),
        Subject::Listener(name) => ("listener", Some(name)),
        Subject::User(name) => ("user", Some(name)),
        Subject::Telemetry => ("open_telemetry", None),
    };
    let is_its = |problem: &&Problem| problem.severity == Severity::Error && problem.subject == *subject;
    let reasons: Vec<&str> = problems
        .iter()
        .filter(is_its)
        .map(|problem| problem.message.as_str())
        .collect();
    let messages = problems.iter().filter(is_its);
    let messages: Vec<String> = messages
        .map(|problem| format!("{}: {}", problem.place, problem.message))
        .collect();
    json!({
        "type": kind,
        "name": name.map_or(kind.to_owned(), |name| format!("{kind} {name}")),
        "definition": name.map_or(kind, String::as_str),
        "reason": format!("Inconsistent object: {}", reasons.join("; ")),
        "message": messages.join("\n"),
    })
}
