//! Requests that change the metadata: sources, `replace_metadata`, `clear_metadata`, `drop_inconsistent_metadata`.

use axum::http::StatusCode;
use serde_json::{Value, json};
use weir_config::{
    Severity,
    document::{Kind, Operation, OperationError},
};

use super::{Request, arguments::Arguments, inconsistent, success, test_connection};
use crate::{
    http::{
        Shared,
        errors::{ApiError, Code},
    },
    serve::{
        change::{Change, ChangeError, Changed, Step, Tolerance},
        control::Refused,
    },
};

/// A request to change something, understood.
pub(super) struct Wanted {
    step: Step,
    tolerance: Tolerance,
    allow_losses: bool,
    answer: Answer,
    path: String,
}

/// What is answered when all went well.
enum Answer {
    Success,
    /// `replace_metadata` of version 2.
    Report,
}

/// The change that a request asks for; `None` when it asks for something else.
pub(super) fn wanted(request: &Request) -> Option<Result<Wanted, ApiError>> {
    let path = request.args_path();
    let simple = |step| Wanted {
        step,
        tolerance: Tolerance::WhatIs,
        allow_losses: true,
        answer: Answer::Success,
        path: path.clone(),
    };
    let plain = |operation| simple(Step::Operation(operation));
    match request.kind.as_str() {
        "rename_source" => Some(rename(request).map(plain)),
        "replace_metadata" => Some(replace(request)),
        "clear_metadata" => Some(Ok(Wanted {
            tolerance: Tolerance::Everything,
            ..plain(Operation::Clear)
        })),
        "drop_inconsistent_metadata" => Some(Ok(simple(Step::DropInconsistent))),
        kind => {
            let (prefix, verb) = kind.split_once('_')?;
            let kind = Kind::of_prefix(prefix)?;
            let operation = match verb {
                "add_source" => add(request, kind),
                "update_source" => update(request, kind),
                "drop_source" => drop_source(request, kind),
                _ => return None,
            };
            Some(operation.map(plain))
        }
    }
}

/// Carries out what has been understood, all or nothing; an answer for each.
pub(super) async fn carry_out(
    shared: &Shared,
    wanted: Vec<Wanted>,
    resource_version: Option<u64>,
) -> Result<Vec<Value>, ApiError> {
    for wanted in &wanted {
        must_connect(wanted).await?;
    }
    let tolerance = match wanted
        .iter()
        .map(|wanted| wanted.tolerance)
        .max_by_key(|tolerance| rank(*tolerance))
    {
        Some(tolerance) => tolerance,
        None => return Ok(Vec::new()),
    };
    let change = Change {
        cause: "metadata API",
        resource_version,
        operations: wanted.iter().map(|wanted| wanted.step.clone()).collect(),
        tolerance,
        allow_losses: wanted.iter().all(|wanted| wanted.allow_losses),
    };
    let path = |index: usize| wanted.get(index).map_or("$.args", |wanted| wanted.path.as_str());
    let changed = shared
        .control
        .change(change)
        .await
        .map_err(|error| refusal(error, path))?;
    Ok(wanted.iter().map(|wanted| answer(wanted, &changed)).collect())
}

/// The most that one of several allows is allowed to all.
fn rank(tolerance: Tolerance) -> u8 {
    match tolerance {
        Tolerance::Nothing => 0,
        Tolerance::WhatIs => 1,
        Tolerance::Everything => 2,
    }
}

fn answer(wanted: &Wanted, changed: &Changed) -> Value {
    match wanted.answer {
        Answer::Success => success(),
        Answer::Report => {
            let mut report = inconsistent::report(&changed.state);
            if !changed.homeless.is_empty() {
                report["warnings"] = changed.homeless.iter().map(|key| warning(key)).collect();
            }
            report
        }
    }
}

fn warning(key: &str) -> Value {
    json!({
        "code": "unknown-key",
        "type": "metadata",
        "name": key,
        "message": format!("the metadata directory has no file for the key \"{key}\": it is not kept"),
    })
}

/// As Hasura, which connects to a database before it accepts a source.
async fn must_connect(wanted: &Wanted) -> Result<(), ApiError> {
    let (kind, configuration) = match &wanted.step {
        Step::Operation(Operation::AddSource {
            kind, configuration, ..
        }) => (kind, Some(configuration)),
        Step::Operation(Operation::UpdateSource { kind, fields, .. }) => (kind, fields.get("configuration")),
        _ => return Ok(()),
    };
    match configuration {
        Some(configuration) => test_connection::must_connect(*kind, configuration, &wanted.path).await,
        None => Ok(()),
    }
}

fn add(request: &Request, kind: Kind) -> Result<Operation, ApiError> {
    let path = request.args_path();
    let args = Arguments::of(&request.args, &path)?;
    Ok(Operation::AddSource {
        kind,
        name: args.text("name")?,
        configuration: args.object("configuration")?,
        replace_configuration: args.switch("replace_configuration", false)?,
        others: args.objects(&["customization", "health_check"])?,
    })
}

fn update(request: &Request, kind: Kind) -> Result<Operation, ApiError> {
    let path = request.args_path();
    let args = Arguments::of(&request.args, &path)?;
    Ok(Operation::UpdateSource {
        kind,
        name: args.text("name")?,
        fields: args.objects(&["configuration", "customization", "health_check"])?,
    })
}

fn drop_source(request: &Request, kind: Kind) -> Result<Operation, ApiError> {
    let path = request.args_path();
    let args = Arguments::of(&request.args, &path)?;
    Ok(Operation::DropSource {
        kind,
        name: args.text("name")?,
        cascade: args.switch("cascade", false)?,
    })
}

fn rename(request: &Request) -> Result<Operation, ApiError> {
    let path = request.args_path();
    let args = Arguments::of(&request.args, &path)?;
    Ok(Operation::RenameSource {
        name: args.text("name")?,
        new_name: args.text("new_name")?,
    })
}

/// Version 1 is the metadata itself. Without a version, what the arguments look like decides.
fn replace(request: &Request) -> Result<Wanted, ApiError> {
    let path = request.args_path();
    let args = Arguments::of(&request.args, &path)?;
    let is_wrapped = match request.version {
        None => args.optional("metadata").is_some(),
        Some(1) => args.optional("metadata").is_some() && args.optional("sources").is_none(),
        Some(_) => true,
    };
    if !is_wrapped {
        return Ok(Wanted {
            step: Step::Operation(Operation::Replace(request.args.clone())),
            tolerance: Tolerance::Nothing,
            allow_losses: true,
            answer: Answer::Success,
            path,
        });
    }
    let metadata = args.object("metadata")?;
    let tolerance = match args.switch("allow_inconsistent_metadata", false)? {
        true => Tolerance::Everything,
        false => Tolerance::Nothing,
    };
    let allow_losses = args.switch("allow_warnings", true)?;
    Ok(Wanted {
        step: Step::Operation(Operation::Replace(metadata)),
        tolerance,
        allow_losses,
        answer: Answer::Report,
        path: path.clone(),
    })
}

/// What stands against a change, in Hasura's words. `path` is that of the operation of this number.
pub(super) fn refusal<'p>(error: ChangeError, path: impl Fn(usize) -> &'p str) -> ApiError {
    let bad = |code, error: String| ApiError::new(StatusCode::BAD_REQUEST, code, error);
    match error {
        ChangeError::Conflict(referenced) => {
            let error = format!("metadata resource version referenced ({referenced}) did not match current version");
            ApiError::new(StatusCode::CONFLICT, Code::Conflict, error)
        }
        ChangeError::Operation(index, error) => {
            let code = match error {
                OperationError::AlreadyExists(_) => Code::AlreadyExists,
                OperationError::NotExists(_) => Code::NotExists,
                OperationError::Dependency(_) => Code::DependencyError,
                OperationError::ParseFailed(_) => Code::ParseFailed,
            };
            bad(code, error.to_string()).at(path(index))
        }
        ChangeError::Source(index, problems) => {
            let objects = inconsistent::objects(&problems);
            let reasons: Vec<&str> = objects.iter().filter_map(|object| object["reason"].as_str()).collect();
            bad(Code::InvalidConfiguration, reasons.join(", "))
                .at(path(index))
                .with_internal(json!(objects))
        }
        ChangeError::Inconsistent(problems) => {
            let error = "cannot continue due to inconsistent metadata".to_owned();
            bad(Code::Unexpected, error)
                .at(path(0))
                .with_internal(json!(inconsistent::objects(&problems)))
        }
        ChangeError::NewlyInconsistent(problems) => {
            let error = "cannot continue due to new inconsistent metadata".to_owned();
            bad(Code::Unexpected, error)
                .at(path(0))
                .with_internal(json!(inconsistent::objects(&problems)))
        }
        ChangeError::Unusable(reason, problems) => {
            let error = format!("cannot continue: Weir could not start with this metadata: {reason}");
            let weighty = problems.iter().filter(|problem| problem.severity != Severity::Info);
            let problems: Vec<String> = weighty.map(ToString::to_string).collect();
            bad(Code::Unexpected, error).at(path(0)).with_internal(json!(problems))
        }
        ChangeError::Losses(keys) => {
            let error = "cannot continue due to metadata warnings".to_owned();
            let warnings: Vec<Value> = keys.iter().map(|key| warning(key)).collect();
            bad(Code::MetadataWarnings, error)
                .at(path(0))
                .with_internal(json!(warnings))
        }
        ChangeError::Files(error, problems) => {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            let error = ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, Code::Unexpected, error).at(path(0));
            match problems.is_empty() {
                true => error,
                false => error.with_internal(json!(problems)),
            }
        }
        ChangeError::Refused(refused) => refused_files(refused).at(path(0)),
    }
}

/// The files are refused as they are, whatever is asked for.
pub(super) fn refused_files(Refused { reason, problems }: Refused) -> ApiError {
    let error = format!("the metadata in the files is refused, and the former one still applies: {reason}");
    let objects = inconsistent::objects(&problems);
    ApiError::new(StatusCode::BAD_REQUEST, Code::Unexpected, error).with_internal(json!(objects))
}
