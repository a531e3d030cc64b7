//! Writers for the messages that the gateway makes itself, in both directions.
//!
//! Invariants: a length is computed from what was written, never from a claim; strings from elsewhere lose their zero
//! bytes, which would end them early on the wire. What is written is bounded by what the caller holds in memory.

use bytes::{BufMut, BytesMut};

use super::{client, error_response::ErrorMessage, ready_for_query::TransactionStatus, server};

/// Writes one message: type, length, and what `body` writes.
pub fn message(out: &mut BytesMut, kind: u8, body: impl FnOnce(&mut BytesMut)) {
    out.put_u8(kind);
    let start = out.len();
    out.put_u32(0);
    body(out);
    // What is written here was in memory before: far below 4 GiB. Should it not be, the peer sees a length it refuses.
    let length = u32::try_from(out.len() - start).unwrap_or(0);
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// A zero-terminated string.
pub fn string(out: &mut BytesMut, text: &[u8]) {
    match text.contains(&0) {
        false => out.put_slice(text),
        true => out.extend(text.iter().filter(|byte| **byte != 0)),
    }
    out.put_u8(0);
}

/// ErrorResponse.
pub fn error_response(out: &mut BytesMut, error: &ErrorMessage) {
    let fields = [
        (b'S', Some(error.severity.as_str())),
        (b'V', Some(error.severity.as_str())),
        (b'C', Some(&*error.sqlstate)),
        (b'M', Some(&*error.message)),
        (b'D', error.detail.as_deref()),
        (b'H', error.hint.as_deref()),
    ];
    message(out, server::ERROR_RESPONSE, |out| put_fields(out, fields));
}

/// NoticeResponse.
pub fn notice_response(out: &mut BytesMut, sqlstate: &str, text: &str, hint: Option<&str>) {
    let fields = [
        (b'S', Some("NOTICE")),
        (b'V', Some("NOTICE")),
        (b'C', Some(sqlstate)),
        (b'M', Some(text)),
        (b'D', None),
        (b'H', hint),
    ];
    message(out, server::NOTICE_RESPONSE, |out| put_fields(out, fields));
}

fn put_fields(out: &mut BytesMut, fields: [(u8, Option<&str>); 6]) {
    for (code, value) in fields {
        if let Some(value) = value {
            out.put_u8(code);
            string(out, value.as_bytes());
        }
    }
    out.put_u8(0);
}

/// ReadyForQuery.
pub fn ready_for_query(out: &mut BytesMut, status: TransactionStatus) {
    message(out, server::READY_FOR_QUERY, |out| out.put_u8(status.as_byte()));
}

/// ParameterStatus.
pub fn parameter_status(out: &mut BytesMut, name: &str, value: &str) {
    message(out, server::PARAMETER_STATUS, |out| {
        string(out, name.as_bytes());
        string(out, value.as_bytes());
    });
}

/// CommandComplete.
pub fn command_complete(out: &mut BytesMut, tag: &str) {
    message(out, server::COMMAND_COMPLETE, |out| string(out, tag.as_bytes()));
}

/// ParseComplete.
pub fn parse_complete(out: &mut BytesMut) {
    message(out, server::PARSE_COMPLETE, |_| {});
}

/// CloseComplete.
pub fn close_complete(out: &mut BytesMut) {
    message(out, server::CLOSE_COMPLETE, |_| {});
}

/// Query.
pub fn query(out: &mut BytesMut, text: &[u8]) {
    message(out, client::QUERY, |out| string(out, text));
}

/// Parse of a statement whose body (text, terminator, types) is at hand.
pub fn parse(out: &mut BytesMut, name: &[u8], body: &[u8]) {
    message(out, client::PARSE, |out| {
        string(out, name);
        out.put_slice(body);
    });
}

/// Parse of a text without declared types.
pub fn parse_text(out: &mut BytesMut, name: &[u8], text: &[u8]) {
    message(out, client::PARSE, |out| {
        string(out, name);
        string(out, text);
        out.put_u16(0);
    });
}

/// Bind of the unnamed portal to a statement, with text parameters (`None` is NULL) and text results.
pub fn bind_text(out: &mut BytesMut, statement: &[u8], values: &[Option<&[u8]>]) {
    message(out, client::BIND, |out| {
        string(out, b"");
        string(out, statement);
        out.put_u16(0);
        out.put_u16(u16::try_from(values.len()).unwrap_or(0));
        for value in values {
            match value {
                None => out.put_i32(-1),
                Some(value) => {
                    out.put_u32(u32::try_from(value.len()).unwrap_or(0));
                    out.put_slice(value);
                }
            }
        }
        out.put_u16(0);
    });
}

/// Execute of the unnamed portal, all rows.
pub fn execute(out: &mut BytesMut) {
    execute_portal(out, b"");
}

/// Execute of a portal, all rows.
pub fn execute_portal(out: &mut BytesMut, name: &[u8]) {
    message(out, client::EXECUTE, |out| {
        string(out, name);
        out.put_u32(0);
    });
}

/// Close of a statement.
pub fn close_statement(out: &mut BytesMut, name: &[u8]) {
    named(out, client::CLOSE, name);
}

/// Describe of a statement.
pub fn describe_statement(out: &mut BytesMut, name: &[u8]) {
    named(out, client::DESCRIBE, name);
}

fn named(out: &mut BytesMut, kind: u8, name: &[u8]) {
    message(out, kind, |out| {
        out.put_u8(b'S');
        string(out, name);
    });
}

/// Sync.
pub fn sync(out: &mut BytesMut) {
    message(out, client::SYNC, |_| {});
}

/// Flush.
pub fn flush(out: &mut BytesMut) {
    message(out, client::FLUSH, |_| {});
}

/// CopyFail.
pub fn copy_fail(out: &mut BytesMut, reason: &str) {
    message(out, client::COPY_FAIL, |out| string(out, reason.as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::error_response::Severity;

    fn written(write: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
        let mut out = BytesMut::new();
        write(&mut out);
        out.to_vec()
    }

    #[test]
    fn messages_carry_their_length() {
        assert_eq!(written(sync), b"S\0\0\0\x04");
        assert_eq!(
            written(|out| ready_for_query(out, TransactionStatus::Failed)),
            b"Z\0\0\0\x05E"
        );
        assert_eq!(written(|out| query(out, b"SELECT 1")), b"Q\0\0\0\x0dSELECT 1\0");
        assert_eq!(written(|out| close_statement(out, b"x")), b"C\0\0\0\x07Sx\0");
        assert_eq!(written(|out| parameter_status(out, "a", "b")), b"S\0\0\0\x08a\0b\0");
        assert_eq!(
            written(|out| bind_text(out, b"s", &[Some(b"v"), None])),
            b"B\0\0\0\x16\0s\0\0\0\0\x02\0\0\0\x01v\xff\xff\xff\xff\0\0"
        );
    }

    #[test]
    fn an_error_has_both_severities_and_no_zero_inside_a_field() {
        let error = ErrorMessage {
            severity: Severity::Error,
            sqlstate: "53300".into(),
            message: "no\0pe".into(),
            detail: Some("why".into()),
            hint: None,
        };
        let bytes = written(|out| error_response(out, &error));
        assert_eq!(&bytes[5..], b"SERROR\0VERROR\0C53300\0Mnope\0Dwhy\0\0");
    }
}
