//! `pause_source`, `resume_source`, `restart_source`: PAUSE, RESUME and RECONNECT of the console for one source.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};
use weir_core::admin::{Command, Problem, Role, Scope};

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
pub(super) async fn pause(shared: &Shared, args: &Value) -> Result<Value, ApiError> {
    let name = name(args)?;
    let console = &shared.control.views().console;
    if wait(args)? == Wait::No {
        console.begin_pause(name).map_err(problem)?;
        return Ok(json!({ "message": "success", "state": state(shared, name) }));
    }
    let patience = timeout(args)?;
    let command = Command::Pause(Scope::One(name.into()));
    match tokio::time::timeout(patience, console.answer(&command, Role::Admin)).await {
        Ok(answer) => answer.map_err(problem)?,
        Err(_) => return Err(late(shared, name, patience)),
    };
    Ok(json!({ "message": "success", "state": state(shared, name) }))
}

/// `{"name"}`
pub(super) async fn resume(shared: &Shared, args: &Value) -> Result<Value, ApiError> {
    give(shared, args, Command::Resume).await
}

/// `{"name"}`: a new generation of server connections; no query fails for it.
pub(super) async fn restart(shared: &Shared, args: &Value) -> Result<Value, ApiError> {
    give(shared, args, Command::Reconnect).await
}

async fn give(shared: &Shared, args: &Value, command: fn(Scope) -> Command) -> Result<Value, ApiError> {
    let name = name(args)?;
    let command = command(Scope::One(name.into()));
    let answer = shared.control.views().console.answer(&command, Role::Admin);
    answer.await.map_err(problem)?;
    Ok(json!({ "message": "success", "state": state(shared, name) }))
}

/// Whether a request of this type waits for others: it must not keep a place that others need.
pub(super) fn waits(kind: &str) -> bool {
    kind == "pause_source"
}

fn state(shared: &Shared, name: &str) -> Value {
    let sources = shared.control.sources();
    let found = sources.iter().find(|source| source.is_called(name));
    found.map_or(Value::Null, |source| source.state().into())
}

fn late(shared: &Shared, name: &str, patience: Duration) -> ApiError {
    let sources = shared.control.sources();
    let found = sources.iter().find(|source| source.is_called(name));
    let held: u32 = found.map_or(0, |source| source.pools.iter().map(|pool| pool.stats.leased).sum());
    let error = format!(
        "source \"{name}\" was not at rest within timeout = {} s and has been resumed: clients hold {held} server \
         connections; get_pool_stats names them, a longer timeout waits longer, \"wait\": false pauses without waiting",
        patience.as_secs_f64()
    );
    ApiError::new(StatusCode::GATEWAY_TIMEOUT, Code::Timeout, error).at("$.args.timeout")
}

fn name(args: &Value) -> Result<&str, ApiError> {
    let name = args.get("name").and_then(Value::as_str);
    name.filter(|name| !name.is_empty())
        .ok_or_else(|| parse_failed("key \"name\" not found", "$.args"))
}

fn timeout(args: &Value) -> Result<Duration, ApiError> {
    let Some(seconds) = args.get("timeout") else {
        return Ok(PATIENCE);
    };
    let patience = seconds
        .as_f64()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    patience.filter(|patience| *patience <= MOST_PATIENCE).ok_or_else(|| {
        let error = format!("timeout is a number of seconds, at most {}", MOST_PATIENCE.as_secs());
        parse_failed(&error, "$.args.timeout")
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    Yes,
    No,
}

fn wait(args: &Value) -> Result<Wait, ApiError> {
    match args.get("wait") {
        None | Some(Value::Bool(true)) => Ok(Wait::Yes),
        Some(Value::Bool(false)) => Ok(Wait::No),
        Some(_) => Err(parse_failed("wait is true or false", "$.args.wait")),
    }
}

fn parse_failed(error: &str, path: &str) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, Code::ParseFailed, error).at(path)
}

fn problem(problem: Problem) -> ApiError {
    match &problem {
        Problem::NoSuchSource(name) => {
            let error = format!("source with name \"{name}\" does not exist, or does not serve");
            ApiError::new(StatusCode::BAD_REQUEST, Code::NotExists, error).at("$.args.name")
        }
        _ => ApiError::new(StatusCode::CONFLICT, Code::Conflict, problem.to_string()).at("$.args"),
    }
}
