//! The bytes of protocol 3: message heads, and one file per message that we look into. Everything else is a length.
//!
//! Pure: slices in, values or bytes out. Invariants: no length is believed before it is checked, none is ever allocated;
//! nothing here panics, whatever the input. Must not know what a message means for a session or a client.

pub mod authentication;
pub mod bind;
pub mod command_complete;
pub mod copy;
pub mod error_response;
pub mod function_call;
pub mod named;
pub mod parameter_status;
pub mod parse;
pub mod query;
pub mod ready_for_query;
pub mod startup;
pub mod write;

use std::ffi::CStr;

use weir_core::refusal::Fault;

use crate::limits;

/// Type bytes of what clients send. The protocol uses some letters in both directions, with different meanings.
#[allow(missing_docs, reason = "the names are the protocol's own")]
pub mod client {
    pub const BIND: u8 = b'B';
    pub const CLOSE: u8 = b'C';
    pub const COPY_DATA: u8 = b'd';
    pub const COPY_DONE: u8 = b'c';
    pub const COPY_FAIL: u8 = b'f';
    pub const DESCRIBE: u8 = b'D';
    pub const EXECUTE: u8 = b'E';
    pub const FLUSH: u8 = b'H';
    pub const FUNCTION_CALL: u8 = b'F';
    pub const PARSE: u8 = b'P';
    pub const QUERY: u8 = b'Q';
    pub const SYNC: u8 = b'S';
    pub const TERMINATE: u8 = b'X';
}

/// Type bytes of what servers send after login.
#[allow(missing_docs, reason = "the names are the protocol's own")]
pub mod server {
    pub const BIND_COMPLETE: u8 = b'2';
    pub const CLOSE_COMPLETE: u8 = b'3';
    pub const COMMAND_COMPLETE: u8 = b'C';
    pub const COPY_BOTH_RESPONSE: u8 = b'W';
    pub const COPY_DATA: u8 = b'd';
    pub const COPY_DONE: u8 = b'c';
    pub const COPY_IN_RESPONSE: u8 = b'G';
    pub const COPY_OUT_RESPONSE: u8 = b'H';
    pub const DATA_ROW: u8 = b'D';
    pub const EMPTY_QUERY_RESPONSE: u8 = b'I';
    pub const ERROR_RESPONSE: u8 = b'E';
    pub const FUNCTION_CALL_RESPONSE: u8 = b'V';
    pub const NO_DATA: u8 = b'n';
    pub const NOTICE_RESPONSE: u8 = b'N';
    pub const NOTIFICATION_RESPONSE: u8 = b'A';
    pub const PARAMETER_DESCRIPTION: u8 = b't';
    pub const PARAMETER_STATUS: u8 = b'S';
    pub const PARSE_COMPLETE: u8 = b'1';
    pub const PORTAL_SUSPENDED: u8 = b's';
    pub const READY_FOR_QUERY: u8 = b'Z';
    pub const ROW_DESCRIPTION: u8 = b'T';
}

/// Bytes of a message head: type and length.
pub const HEAD: usize = 5;

/// The first five bytes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The type byte.
    pub kind: u8,
    /// The length field: counts itself, but not the type.
    pub length: u32,
}

impl Head {
    /// Reads the head at the front of `bytes`; `None` if it has not all arrived.
    pub fn read(bytes: &[u8]) -> Option<Head> {
        let [kind, a, b, c, d] = *bytes.first_chunk::<HEAD>()?;
        Some(Head {
            kind,
            length: u32::from_be_bytes([a, b, c, d]),
        })
    }

    /// Bytes of the whole message, type included.
    pub fn total(self) -> u64 {
        u64::from(self.length) + 1
    }

    /// The whole message, if it has all arrived.
    pub fn message(self, bytes: &[u8]) -> Option<&[u8]> {
        bytes.get(..usize::try_from(self.total()).ok()?)
    }

    /// What follows the head, as far as it has arrived.
    pub fn body(self, bytes: &[u8]) -> &[u8] {
        let end = usize::try_from(self.total()).map_or(bytes.len(), |total| total.min(bytes.len()));
        bytes.get(HEAD..end).unwrap_or_default()
    }

    /// Checks type and length of a client's message as PostgreSQL does (specification S4.5).
    ///
    /// # Errors
    /// [`Fault::Client`] for an unknown type, or a length that PostgreSQL refuses for this type.
    pub fn check_client(self) -> Result<(), Fault> {
        let most = match self.kind {
            client::BIND | client::COPY_DATA | client::FUNCTION_CALL | client::PARSE | client::QUERY => {
                limits::MAX_LARGE_MESSAGE
            }
            client::CLOSE
            | client::COPY_DONE
            | client::COPY_FAIL
            | client::DESCRIBE
            | client::EXECUTE
            | client::FLUSH
            | client::SYNC
            | client::TERMINATE => limits::MAX_SMALL_MESSAGE,
            _ => return Err(Fault::Client("invalid frontend message type")),
        };
        if (4..=most).contains(&self.length) {
            Ok(())
        } else {
            Err(Fault::Client("invalid message length"))
        }
    }

    /// Checks the length of a server's message.
    ///
    /// # Errors
    /// [`Fault::Server`] for a length that cannot be.
    pub fn check_server(self) -> Result<(), Fault> {
        if (4..=limits::MAX_SERVER_MESSAGE).contains(&self.length) {
            Ok(())
        } else {
            Err(Fault::Server("invalid message length"))
        }
    }
}

/// Splits `bytes` behind the first zero-terminated string; the string comes without its terminator.
pub fn split_string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = find_zero(bytes)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

/// Where the first zero byte is. A text is looked through for its end whenever it is read: `CStr` does so by words.
pub fn find_zero(bytes: &[u8]) -> Option<usize> {
    CStr::from_bytes_until_nul(bytes).ok().map(CStr::count_bytes)
}

/// The part of a statement's or portal's name that PostgreSQL compares.
pub fn effective_name(name: &[u8]) -> &[u8] {
    &name[..name.len().min(limits::MAX_NAME)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_clients_are_checked_as_postgresql_does_s4_5() {
        let check = |kind, length| Head { kind, length }.check_client().is_ok();
        for kind in *b"BCDEFHPQSXcdf" {
            for length in [0, 1, 3, 0x3fff_ffff, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
                assert!(!check(kind, length), "{} {length}", kind as char);
            }
            assert!(check(kind, 4));
        }
        assert!(check(b'Q', 0x3fff_fffe));
        assert!(check(b'E', 10_000));
        assert!(!check(b'E', 10_001));
        for kind in (0..=u8::MAX).filter(|kind| !b"BCDEFHPQSXcdf".contains(kind)) {
            assert!(!check(kind, 4), "{kind}");
        }
    }

    #[test]
    fn a_head_is_five_bytes() {
        assert_eq!(Head::read(b"Z\0\0\0"), None);
        let head = Head::read(b"Z\0\0\0\x05Irest").unwrap();
        assert_eq!((head.kind, head.length, head.total()), (b'Z', 5, 6));
        assert_eq!(head.message(b"Z\0\0\0\x05Irest"), Some(&b"Z\0\0\0\x05I"[..]));
        assert_eq!(head.message(b"Z\0\0\0\x05"), None);
        assert_eq!(head.body(b"Z\0\0\0\x05Irest"), b"I");
    }
}
