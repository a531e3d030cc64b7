//! What two decoders make of a response: ours, and the crate `tds-protocol`. It knows TDS 7.2 and later, neither JSON nor
//! VECTOR nor DATACLASSIFICATION, and takes the length of a promoted transaction's ENVCHANGE by its word.

use bytes::Bytes;
use tds_protocol::token::{ColMetaData, Token as TheirToken, TokenParser};
use weir_mssql::wire::{
    done::{Done, DoneKind},
    walker::{Content, Layout, Piece, Walker},
};

/// Our walker, fed with these slices.
pub(crate) fn ours<'a>(slices: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
    let mut walker = Walker::new(Layout::default());
    let mut found = Vec::new();
    for mut input in slices {
        while let Some(piece) = walker.next(&mut input).unwrap() {
            let Piece::Token(token) = piece else { continue };
            found.push(match token.content {
                Content::ColumnMetadata { columns } => format!("columns {}", columns.unwrap_or(0)),
                Content::Done(done) => done_text(done),
                Content::Error(message) => format!("error {} {:?} {}", message.number, message.text, message.line),
                Content::Info(message) => format!("info {} {:?} {}", message.number, message.text, message.line),
                Content::ReturnStatus(status) => format!("status {status}"),
                Content::ReturnValue(value) => format!("value {} {:?}", value.ordinal, value.name),
                Content::SessionState(_) => format!("state {}", token.bytes.len() - 5),
                Content::EnvChange(_) => format!("change {}", token.bytes[3]),
                Content::LoginAck(ack) => format!("login {:08x} {:?}", ack.tds_version, ack.program),
                Content::Sspi(data) => format!("sspi {}", data.len()),
                Content::FeatureExtAck => "features".to_owned(),
                Content::FederatedAuthenticationInfo(_) => "federated".to_owned(),
            });
        }
    }
    found
}

fn done_text(done: Done) -> String {
    let kind = match done.kind {
        DoneKind::Statement => "",
        DoneKind::Procedure => "proc",
        DoneKind::InProcedure => "inproc",
    };
    format!("done{kind} {:x} {:x} {}", done.status.0, done.command, done.rows)
}

/// `tds-protocol` wants the whole response, and the metadata with each row.
pub(crate) fn theirs(bytes: &[u8]) -> Vec<String> {
    let mut parser = TokenParser::new(Bytes::copy_from_slice(bytes));
    let mut columns: Option<ColMetaData> = None;
    let mut found = Vec::new();
    loop {
        let place = parser.position();
        let Some(token) = parser.next_token_with_metadata(columns.as_ref()).unwrap() else {
            return found;
        };
        let done =
            |kind: &str, status: u16, command: u16, rows: u64| format!("done{kind} {status:x} {command:x} {rows}");
        found.push(match token {
            TheirToken::Row(_) | TheirToken::NbcRow(_) | TheirToken::Order(_) => continue,
            TheirToken::ColMetaData(metadata) => {
                let text = format!("columns {}", metadata.columns.len());
                columns = Some(metadata);
                text
            }
            TheirToken::Done(token) => done("", token.status.to_bits(), token.cur_cmd, token.row_count),
            TheirToken::DoneProc(token) => done("proc", token.status.to_bits(), token.cur_cmd, token.row_count),
            TheirToken::DoneInProc(token) => done("inproc", token.status.to_bits(), token.cur_cmd, token.row_count),
            TheirToken::Error(error) => format!("error {} {:?} {}", error.number, error.message, error.line),
            TheirToken::Info(info) => format!("info {} {:?} {}", info.number, info.message, info.line),
            TheirToken::ReturnStatus(status) => format!("status {status}"),
            TheirToken::ReturnValue(value) => format!("value {} {:?}", value.param_ordinal, value.param_name),
            TheirToken::SessionState(state) => format!("state {}", state.data.len()),
            TheirToken::EnvChange(change) => format!("change {}", change.env_type as u8),
            TheirToken::LoginAck(ack) => format!("login {:08x} {:?}", ack.tds_version.swap_bytes(), ack.prog_name),
            TheirToken::Sspi(sspi) => format!("sspi {}", sspi.data.len()),
            TheirToken::FeatureExtAck(_) => "features".to_owned(),
            TheirToken::FedAuthInfo(_) => "federated".to_owned(),
            other => panic!("{other:?} at {place}"),
        });
    }
}
