//! The body of a request as JSON, within bounds of size, time and number.

use axum::{
    body::Bytes,
    extract::{FromRequest as _, Request},
    http::{StatusCode, header},
};
use serde_json::Value;
use tokio::sync::SemaphorePermit;

use super::{
    Interface,
    errors::{ApiError, Code},
    limits,
};

/// A body that has been read, and its place among those that are held at a time.
pub(super) struct Read<'a> {
    /// What it says.
    pub(super) value: Value,
    /// Kept for as long as the value is worked on.
    pub(super) _place: SemaphorePermit<'a>,
}

/// Bodies up to here are parsed at once: about a tenth of a millisecond.
const SMALL: usize = 32 * 1024;

/// Reads and parses; off the threads that serve clients when it is large.
///
/// # Errors
/// 413 and 408 name the limit; what is no JSON is Hasura's `invalid-json`.
pub(super) async fn json(interface: &Interface, request: Request) -> Result<Read<'_>, ApiError> {
    let too_large = || {
        let error = format!(
            "the request is longer than {} bytes, which is the limit for requests with a body",
            limits::MAX_BODY
        );
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, Code::BadRequest, error)
    };
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limits::MAX_BODY as u64) {
        return Err(too_large());
    }
    let place = interface.bodies.acquire().await.expect("the semaphore is never closed");
    // Bounded by `DefaultBodyLimit`, which the router sets.
    let bytes = match tokio::time::timeout(limits::BODY_TIMEOUT, Bytes::from_request(request, &())).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => return Err(too_large()),
        Ok(Err(rejection)) => {
            let error = format!("the request broke off: {}", rejection.body_text());
            return Err(ApiError::new(StatusCode::BAD_REQUEST, Code::BadRequest, error));
        }
        Err(_) => {
            let error = format!("the request did not arrive within {} s", limits::BODY_TIMEOUT.as_secs());
            return Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, Code::Timeout, error));
        }
    };
    let parsed = match bytes.len() {
        0..=SMALL => serde_json::from_slice(&bytes),
        _ => tokio::task::spawn_blocking(move || serde_json::from_slice(&bytes))
            .await
            .map_err(|_| {
                ApiError::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    Code::Unexpected,
                    "reading the request broke off",
                )
            })?,
    };
    let value = parsed.map_err(|error: serde_json::Error| {
        ApiError::new(
            StatusCode::BAD_REQUEST,
            Code::InvalidJson,
            format!("the request is not JSON: {error}"),
        )
    })?;
    Ok(Read { value, _place: place })
}
