//! Procedure calls, as they stream by: prepared handles are virtual (TDS 7.2), and what a call leaves in the session is
//! noted.
//!
//! A client's handle means a statement; on a server connection that has the statement it becomes that one's handle, in
//! place, and on another one the call itself prepares it first (`sp_execute` becomes `sp_prepexec`), in the same request.
//! Files, in the order in which a request meets them: `front` reads its first packet, `answered` says what needs no server,
//! `ahead` prepares what several calls in one request need, `stream` walks over the calls and `handle` changes those with
//! a handle in them, `values` changes what comes back, `repeat` sends a call again whose handle was lost, `restored` makes a
//! statement of what another process has kept of it.
//!
//! Invariants: a client's handle never reaches a server; a handle that the client does not have becomes one that no server
//! has; whatever is rewritten, the values of a call stream by untouched.

mod ahead;
mod answered;
mod front;
mod handle;
mod repeat;
mod restored;
mod stream;
mod values;

pub(super) use self::{
    front::Front,
    repeat::Kept,
    stream::{Passage, Stream},
    values::ExpectedCalls,
};
use crate::wire::rpc::{Parameter, ParameterValue};

/// No server gives it out.
const NO_HANDLE: i32 = -1;

pub(super) fn handle_of(parameter: &Parameter<'_>) -> Option<i32> {
    match parameter.value {
        ParameterValue::Integer { value, .. } => i32::try_from(value).ok(),
        _ => None,
    }
}
