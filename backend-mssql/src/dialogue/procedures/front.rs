//! What the first packet of a request of calls shows, read once before anything is done with the request.

use weir_core::refusal::Fault;

use super::handle_of;
use crate::{
    limits,
    wire::{
        TdsVersion,
        rpc::{Enclave, Procedure, RpcPiece, RpcReader, WellKnown},
    },
};

/// What the first packet of a request shows.
#[derive(Debug, Default)]
pub(in crate::dialogue) struct Front {
    /// The procedure called first, if the protocol knows it.
    pub(super) first: Option<WellKnown>,
    /// The handle that the first call names.
    pub(super) handle: Option<i32>,
    /// Handles that are executed, if there may be several calls.
    pub(super) executed: Vec<i32>,
    pub(super) calls: usize,
    /// How many of them carry out what neither they nor the gateway's handles tell.
    unseen: usize,
}

impl Front {
    /// Handles that are executed, as far as there are not too many.
    pub(in crate::dialogue) fn executed(&self) -> &[i32] {
        &self.executed
    }

    pub(in crate::dialogue) fn is_many(&self) -> bool {
        self.calls > 1
    }

    /// Whether a call may carry out a statement that neither its text nor [`Front::executed`] shows.
    pub(in crate::dialogue) fn is_not_all_seen(&self) -> bool {
        self.unseen > 0 || self.executed.len() >= limits::MAX_PREPARED_AHEAD
    }

    /// Reads as far as the packet goes.
    pub(in crate::dialogue) fn read(body: &[u8], version: TdsVersion) -> Result<Front, Fault> {
        let mut reader = RpcReader::new(version, Enclave::No, 0);
        let mut front = Front::default();
        let mut input = body;
        let mut called = None;
        while let Some(piece) = reader.next(&mut input).map_err(Fault::Client)? {
            match piece {
                RpcPiece::Call(call) => {
                    called = match call.procedure {
                        Procedure::WellKnown(known) => Some(known),
                        _ => None,
                    };
                    if front.calls == 0 {
                        front.first = called;
                    }
                    front.calls += 1;
                    if matches!(
                        call.procedure,
                        Procedure::Unknown(_) | Procedure::WellKnown(WellKnown::CursorExecute | WellKnown::PrepExecRpc)
                    ) {
                        front.unseen += 1;
                    }
                }
                RpcPiece::Parameter(parameter) if parameter.ordinal == 0 => {
                    let handle = handle_of(&parameter);
                    if front.calls == 1 {
                        front.handle = handle;
                    }
                    if let (Some(WellKnown::Execute), Some(handle)) = (called, handle)
                        && front.executed.len() < limits::MAX_PREPARED_AHEAD
                        && !front.executed.contains(&handle)
                    {
                        front.executed.push(handle);
                    }
                }
                _ => {}
            }
        }
        Ok(front)
    }
}
