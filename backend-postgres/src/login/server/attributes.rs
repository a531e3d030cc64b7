//! libpq's `target_session_attrs`: whether a server is of the kind that is wanted.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use weir_config::{Host, TargetSessionAttrs};
use weir_core::{net::Stream, refusal::OpenError};

use super::{LoggedIn, terminate, unreachable};
use crate::{login::limits, wire::error_response::ErrorFields};

/// What is asked of each host in one pass over them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
}

/// The passes over the hosts.
pub(super) fn passes(attributes: TargetSessionAttrs) -> &'static [Wanted] {
    match attributes {
        TargetSessionAttrs::Any => &[Wanted::Any],
        TargetSessionAttrs::ReadWrite => &[Wanted::ReadWrite],
        TargetSessionAttrs::ReadOnly => &[Wanted::ReadOnly],
        TargetSessionAttrs::Primary => &[Wanted::Primary],
        TargetSessionAttrs::Standby => &[Wanted::Standby],
        TargetSessionAttrs::PreferStandby => &[Wanted::Standby, Wanted::Any],
    }
}

/// Whether the session is what is wanted; ends it if not.
pub(super) async fn check(opened: &mut LoggedIn, wanted: Wanted, host: &Host) -> Result<(), OpenError> {
    let (refused, name) = match wanted {
        Wanted::Any => return Ok(()),
        Wanted::ReadWrite => (is_read_only(opened).await?, "read-write"),
        Wanted::ReadOnly => (!is_read_only(opened).await?, "read-only"),
        Wanted::Primary => (is_standby(opened).await?, "primary"),
        Wanted::Standby => (!is_standby(opened).await?, "standby"),
    };
    if !refused {
        return Ok(());
    }
    terminate(&mut opened.stream).await;
    Err(OpenError::Unreachable(format!(
        "{host} is not what target_session_attrs={name} asks for"
    )))
}

/// The same for the control plane, by asking the server. A standby that is only preferred is not insisted on.
pub(super) async fn check_typed(
    client: &tokio_postgres::Client,
    attributes: TargetSessionAttrs,
    host: &Host,
) -> Result<(), OpenError> {
    let (question, unwanted, name) = match attributes {
        TargetSessionAttrs::Any | TargetSessionAttrs::PreferStandby => return Ok(()),
        TargetSessionAttrs::Primary | TargetSessionAttrs::ReadWrite => (RECOVERY, true, "primary"),
        TargetSessionAttrs::Standby | TargetSessionAttrs::ReadOnly => (RECOVERY, false, "standby"),
    };
    let row = client.query_one(question, &[]).await;
    let standby: bool = row
        .and_then(|row| row.try_get(0))
        .map_err(|error| OpenError::Unreachable(error.to_string()))?;
    if standby == unwanted {
        return Err(OpenError::Unreachable(format!(
            "{host} is no {name}, which target_session_attrs asks for"
        )));
    }
    Ok(())
}

const RECOVERY: &str = "SELECT pg_catalog.pg_is_in_recovery()";

async fn is_read_only(opened: &mut LoggedIn) -> Result<bool, OpenError> {
    // Reported since PostgreSQL 14.
    match (
        reported(opened, "default_transaction_read_only"),
        reported(opened, "in_hot_standby"),
    ) {
        (Some(read_only), Some(standby)) => Ok(read_only || standby),
        _ => ask(&mut opened.stream, "SHOW transaction_read_only").await,
    }
}

async fn is_standby(opened: &mut LoggedIn) -> Result<bool, OpenError> {
    match reported(opened, "in_hot_standby") {
        Some(standby) => Ok(standby),
        None => ask(&mut opened.stream, RECOVERY).await,
    }
}

fn reported(opened: &LoggedIn, parameter: &str) -> Option<bool> {
    let (_, value) = opened.parameters.iter().find(|(name, _)| name == parameter)?;
    Some(value == "on")
}

/// Asks an older server a yes-or-no question over the new connection.
async fn ask(stream: &mut Stream, question: &str) -> Result<bool, OpenError> {
    let mut query = vec![b'Q'];
    query.extend_from_slice(&(question.len() as u32 + 5).to_be_bytes());
    query.extend_from_slice(question.as_bytes());
    query.push(0);
    stream.write_all(&query).await.map_err(unreachable)?;
    stream.flush().await.map_err(unreachable)?;
    let mut answer = None;
    let mut left = limits::SERVER_LOGIN_BYTES;
    loop {
        let mut header = [0; 5];
        stream.read_exact(&mut header).await.map_err(unreachable)?;
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
        let faulty = || OpenError::Untrusted("the server does not follow PostgreSQL's protocol".to_owned());
        left = left.checked_sub(length).ok_or_else(faulty)?;
        if !(4..=limits::SERVER_LOGIN_MESSAGE).contains(&length) {
            return Err(faulty());
        }
        let mut body = vec![0; length - 4];
        stream.read_exact(&mut body).await.map_err(unreachable)?;
        match header[0] {
            // One column: a count of two bytes, a length of four, the text.
            b'D' => answer = body.get(6..).map(|value| value == b"on" || value == b"t"),
            b'E' => return Err(OpenError::Rejected(ErrorFields::read(&body).to_rejection())),
            b'Z' => return answer.ok_or_else(faulty),
            _ => {}
        }
    }
}
