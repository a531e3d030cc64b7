//! The bytes that tokens start with.
//!
//! Pure.

#![allow(missing_docs, reason = "the names are the protocol's own")]

use bytes::{BufMut, BytesMut};

pub const OFFSET: u8 = 0x78;
pub const RETURN_STATUS: u8 = 0x79;
pub const COLUMN_METADATA: u8 = 0x81;
pub const ALTERNATE_METADATA: u8 = 0x88;
pub const DATA_CLASSIFICATION: u8 = 0xa3;
pub const TABLE_NAME: u8 = 0xa4;
pub const COLUMN_INFO: u8 = 0xa5;
pub const ORDER: u8 = 0xa9;
pub const ERROR: u8 = 0xaa;
pub const INFO: u8 = 0xab;
pub const RETURN_VALUE: u8 = 0xac;
pub const LOGIN_ACK: u8 = 0xad;
pub const FEATURE_EXT_ACK: u8 = 0xae;
pub const ROW: u8 = 0xd1;
pub const NBC_ROW: u8 = 0xd2;
pub const ALTERNATE_ROW: u8 = 0xd3;
pub const ENV_CHANGE: u8 = 0xe3;
pub const SESSION_STATE: u8 = 0xe4;
pub const SSPI: u8 = 0xed;
pub const FEDERATED_AUTHENTICATION_INFO: u8 = 0xee;
pub const DONE: u8 = 0xfd;
pub const DONE_PROC: u8 = 0xfe;
pub const DONE_IN_PROC: u8 = 0xff;

/// Writes a token whose length stands in two bytes behind its first.
pub(crate) fn with_length(kind: u8, out: &mut BytesMut, body: impl FnOnce(&mut BytesMut)) {
    out.put_u8(kind);
    let start = out.len();
    out.put_u16_le(0);
    body(out);
    // What is written here has texts of bounded length: below 64 KiB. Should it not be, the peer sees a broken token.
    let length = u16::try_from(out.len() - start - 2).unwrap_or(0);
    out[start..start + 2].copy_from_slice(&length.to_le_bytes());
}
