//! Several requests in one: `bulk`, `bulk_atomic`, `bulk_keep_going`, `concurrent_bulk`.

use std::sync::Arc;

use axum::http::StatusCode;
use serde_json::Value;
use tokio::{sync::Semaphore, task::JoinSet};

use super::{Request, arguments::parse_failed, change, is_read, run, success};
use crate::http::{
    Shared,
    errors::{ApiError, Code},
    limits,
};

/// `bulk`: one after the other; the first error ends it. As long as all of them change the metadata, it is one change: all
/// or nothing, as in Hasura.
pub(super) async fn in_order(shared: &Shared, request: Request) -> Result<Value, ApiError> {
    let resource_version = request.resource_version;
    let requests = requests(request)?;
    let wanted: Vec<_> = requests.iter().map_while(change::wanted).collect();
    if wanted.len() == requests.len() {
        let wanted = wanted.into_iter().collect::<Result<Vec<_>, _>>()?;
        return Ok(change::carry_out(shared, wanted, resource_version).await?.into());
    }
    let mut answers = Vec::with_capacity(requests.len());
    let mut expected = resource_version;
    for mut request in requests {
        // Later ones are meant for what the first one has made of it.
        if request.resource_version.is_none() && change::wanted(&request).is_some() {
            request.resource_version = expected.take();
        }
        answers.push(run(shared, request).await?);
    }
    Ok(answers.into())
}

/// `bulk_keep_going`: one after the other, with an answer or an error for each.
pub(super) async fn keep_going(shared: &Shared, request: Request) -> Result<Value, ApiError> {
    let mut answers = Vec::new();
    for request in requests(request)? {
        answers.push(run(shared, request).await.unwrap_or_else(|error| error.body()));
    }
    Ok(answers.into())
}

/// `bulk_atomic`: all of them or none, judged once at the end.
pub(super) async fn atomic(shared: &Shared, request: Request) -> Result<Value, ApiError> {
    let (resource_version, path) = (request.resource_version, request.args_path());
    let requests = requests(request)?;
    let wanted: Vec<_> = requests.iter().map_while(change::wanted).collect();
    if wanted.len() < requests.len() {
        let error = "Bulk atomic does not support this command";
        return Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, Code::Unexpected, error).at(path));
    }
    let wanted = wanted.into_iter().collect::<Result<Vec<_>, _>>()?;
    change::carry_out(shared, wanted, resource_version).await?;
    Ok(success())
}

/// `concurrent_bulk`: requests that only look, side by side.
pub(super) async fn concurrent(shared: &Shared, request: Request) -> Result<Value, ApiError> {
    let requests = requests(request)?;
    if let Some(request) = requests.iter().find(|request| !is_read(&request.kind)) {
        let error = format!(
            "concurrent_bulk takes requests that only look, and {} does more",
            request.kind
        );
        return Err(ApiError::new(StatusCode::BAD_REQUEST, Code::NotSupported, error).at(&request.path));
    }
    let mut answers = vec![Value::Null; requests.len()];
    let places = Arc::new(Semaphore::new(limits::MAX_CONCURRENT));
    let mut running = JoinSet::new();
    for (position, request) in requests.into_iter().enumerate() {
        let (shared, places) = (shared.clone(), places.clone());
        running.spawn(async move {
            let _place = places.acquire().await;
            (position, run(&shared, request).await)
        });
    }
    while let Some(done) = running.join_next().await {
        let broke_off = |_| {
            ApiError::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                Code::Unexpected,
                "a request broke off",
            )
        };
        let (position, answer) = done.map_err(broke_off)?;
        answers[position] = answer?;
    }
    Ok(answers.into())
}

/// The requests of a bulk, each with its path.
fn requests(bulk: Request) -> Result<Vec<Request>, ApiError> {
    let path = bulk.args_path();
    let Value::Array(items) = bulk.args else {
        return Err(parse_failed("expected an array").at(path));
    };
    if items.len() > limits::MAX_BULK || bulk.depth >= limits::MAX_BULK_DEPTH {
        let error = format!(
            "a bulk takes {} requests and may stand in {} others",
            limits::MAX_BULK,
            limits::MAX_BULK_DEPTH - 1
        );
        return Err(ApiError::new(StatusCode::BAD_REQUEST, Code::BadRequest, error).at(path));
    }
    let items = items.into_iter().enumerate().map(|(index, item)| {
        let request = Request::parse(item, &format!("{path}[{index}]"))?;
        Ok(Request {
            depth: bulk.depth + 1,
            ..request
        })
    });
    items.collect()
}
