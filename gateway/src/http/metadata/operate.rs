//! `pause_source`, `resume_source`, `restart_source`: PAUSE, RESUME and RECONNECT of the console for one source.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};
use weir_core::admin::{Command, Problem, Role, Scope};

use super::{Request, arguments::parse_failed};
use crate::http::{
    Shared,
    errors::{ApiError, Code},
};

/// How long `pause_source` waits for what runs when nothing is said.
const PATIENCE: Duration = Duration::from_secs(30);

/// The longest that it may be told to wait: as long as a connection lives.
const MOST_PATIENCE: Duration = Duration::from_secs(600);

/// `{"name", "timeout"?: seconds, "wait"?: bool}`. Answers when no server connection is left. If that is not within
/// `timeout`, the source is resumed; with `"wait": false` it answers at once, and the source stays paused.
pub(super) async fn pause(shared: &Shared, request: &Request) -> Result<Value, ApiError> {
    let name = name(request)?;
    let console = &shared.control.views().console;
    if wait(request)? == Wait::No {
        console.begin_pause(name).map_err(|why| problem(request, &why))?;
        return Ok(json!({ "message": "success", "state": state(shared, name) }));
    }
    let patience = timeout(request)?;
    let command = Command::Pause(Scope::One(name.into()));
    match tokio::time::timeout(patience, console.answer(&command, Role::Admin)).await {
        Ok(answer) => answer.map_err(|why| problem(request, &why))?,
        Err(_) => return Err(late(shared, request, name, patience)),
    };
    Ok(json!({ "message": "success", "state": state(shared, name) }))
}

/// `{"name"}`
pub(super) async fn resume(shared: &Shared, request: &Request) -> Result<Value, ApiError> {
    give(shared, request, Command::Resume).await
}

/// `{"name"}`: a new generation of server connections; no query fails for it.
pub(super) async fn restart(shared: &Shared, request: &Request) -> Result<Value, ApiError> {
    give(shared, request, Command::Reconnect).await
}

async fn give(shared: &Shared, request: &Request, command: fn(Scope) -> Command) -> Result<Value, ApiError> {
    let name = name(request)?;
    let command = command(Scope::One(name.into()));
    let answer = shared.control.views().console.answer(&command, Role::Admin);
    answer.await.map_err(|why| problem(request, &why))?;
    Ok(json!({ "message": "success", "state": state(shared, name) }))
}

/// Whether a request waits for others, or a bulk holds one that does: it must not keep a place that others need.
pub(super) fn waits(kind: &str, args: &Value) -> bool {
    let item_waits = |item: &Value| item["type"].as_str().is_some_and(|kind| waits(kind, &item["args"]));
    match kind {
        "pause_source" => true,
        "bulk" | "bulk_keep_going" => args.as_array().is_some_and(|items| items.iter().any(item_waits)),
        _ => false,
    }
}

fn state(shared: &Shared, name: &str) -> Value {
    let sources = shared.control.sources();
    let found = sources.iter().find(|source| source.is_called(name));
    found.map_or(Value::Null, |source| source.state().into())
}

fn late(shared: &Shared, request: &Request, name: &str, patience: Duration) -> ApiError {
    let sources = shared.control.sources();
    let found = sources.iter().find(|source| source.is_called(name));
    let held: u32 = found.map_or(0, |source| source.pools.iter().map(|pool| pool.stats.leased).sum());
    let error = format!(
        "source \"{name}\" was not at rest within timeout = {} s and has been resumed: clients hold {held} server \
         connections; get_pool_stats names them, a longer timeout waits longer, \"wait\": false pauses without waiting",
        patience.as_secs_f64()
    );
    ApiError::new(StatusCode::GATEWAY_TIMEOUT, Code::Timeout, error).at(request.at("timeout"))
}

fn name(request: &Request) -> Result<&str, ApiError> {
    let name = request.args.get("name").and_then(Value::as_str);
    name.filter(|name| !name.is_empty())
        .ok_or_else(|| parse_failed("key \"name\" not found").at(request.args_path()))
}

fn timeout(request: &Request) -> Result<Duration, ApiError> {
    let Some(seconds) = request.args.get("timeout") else {
        return Ok(PATIENCE);
    };
    let patience = seconds
        .as_f64()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    patience.filter(|patience| *patience <= MOST_PATIENCE).ok_or_else(|| {
        let error = format!("timeout is a number of seconds, at most {}", MOST_PATIENCE.as_secs());
        parse_failed(&error).at(request.at("timeout"))
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    Yes,
    No,
}

fn wait(request: &Request) -> Result<Wait, ApiError> {
    match request.args.get("wait") {
        None | Some(Value::Bool(true)) => Ok(Wait::Yes),
        Some(Value::Bool(false)) => Ok(Wait::No),
        Some(_) => Err(parse_failed("wait is true or false").at(request.at("wait"))),
    }
}

fn problem(request: &Request, problem: &Problem) -> ApiError {
    match problem {
        Problem::NoSuchSource(name) => {
            let error = format!("source with name \"{name}\" does not exist, or does not serve");
            ApiError::new(StatusCode::BAD_REQUEST, Code::NotExists, error).at(request.at("name"))
        }
        _ => ApiError::new(StatusCode::CONFLICT, Code::Conflict, problem.to_string()).at(request.args_path()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bulk_that_pauses_waits_as_well() {
        let pause = json!({ "type": "pause_source", "args": { "name": "a" } });
        let look = json!({ "type": "export_metadata", "args": {} });
        let nested = json!({ "type": "bulk_keep_going", "args": [look, pause] });
        for (kind, args, expected) in [
            ("pause_source", json!({}), true),
            ("bulk", json!([look, pause]), true),
            ("bulk_keep_going", json!([pause]), true),
            ("bulk", json!([look, nested]), true),
            ("bulk", json!([look]), false),
            ("bulk", pause.clone(), false),
            ("bulk", json!(["pause_source"]), false),
            ("export_metadata", json!([pause]), false),
        ] {
            assert_eq!(waits(kind, &args), expected, "{kind} {args}");
        }
    }
}
