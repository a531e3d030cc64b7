//! A prepared statement from nothing but the parameters that it was prepared with: what a process keeps of it that did not
//! see the call.
//!
//! Invariant: parameters that are not exactly those of such a call make no statement.

use std::sync::Arc;

use bytes::{BufMut as _, BytesMut};

use crate::{
    dialogue::{Conversation, pending::Pending},
    limits,
    session::{
        handles::{Statement, StatementKind},
        last_values::Values,
    },
    wire::{
        rpc::{Enclave, ParameterValue, RpcPiece, RpcReader, status, write},
        utf16::Utf16,
    },
};

impl Conversation {
    /// The statement that a call with these parameters prepares; `None` if no such call has them.
    pub(in crate::dialogue) fn restore_statement(
        &self,
        kind: StatementKind,
        parameters: &[u8],
    ) -> Option<Arc<Statement>> {
        if parameters.len() > limits::MAX_STATEMENT {
            return None;
        }
        let mut call = BytesMut::new();
        write::call(kind.executed_first_by(), &mut call);
        write::integer(Utf16::default(), status::OUTPUT, None, &mut call);
        call.put_slice(parameters);
        let mut pending = Pending::new();
        let mut reader = RpcReader::new(self.version, Enclave::No, limits::MAX_TEXT);
        let (mut input, mut count, mut covers) = (&call[..], 0, Values::NONE);
        while let Some(piece) = reader.next(&mut input).ok()? {
            match piece {
                RpcPiece::Call(_) if kind == StatementKind::Procedure => pending.calls_procedures(),
                RpcPiece::Call(_) => {}
                RpcPiece::Parameter(parameter) => {
                    count = parameter.ordinal;
                    match parameter.value {
                        _ if count == 0 => {}
                        ParameterValue::Text(_) | ParameterValue::Null => {}
                        ParameterValue::Integer { .. } | ParameterValue::Follows => return None,
                    }
                    if count == 2 && kind == StatementKind::Text {
                        let findings = self.text(&parameter, &mut pending);
                        covers = findings.names.covers;
                        pending.joined(&findings);
                    }
                }
                RpcPiece::Pass(_) | RpcPiece::Separator(_) => return None,
            }
        }
        let is_it = reader.is_complete() && count == kind.parameters();
        is_it.then(|| {
            let mut findings = pending.findings;
            findings.names.covers = covers;
            self.shared.intern(kind, parameters, &findings, pending.text.as_ref())
        })
    }
}
