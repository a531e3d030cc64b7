//! ALL_HEADERS: what stands in front of every batch, call and transaction request since TDS 7.2.
//!
//! Pure. Must not know whether a descriptor is one of the server's or one of the gateway's own.

use bytes::{BufMut, BytesMut};

use super::read::{Read, Reader, Stop};
use crate::limits;

/// Bytes of the usual form: nothing but a transaction descriptor (TDS 5.1).
pub const USUAL: usize = 22;

const QUERY_NOTIFICATION: u16 = 1;
const TRANSACTION_DESCRIPTOR: u16 = 2;
const TRACE_ACTIVITY: u16 = 3;

/// The headers of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllHeaders {
    /// Bytes of all of them; the request itself starts behind.
    pub length: usize,
    /// The transaction that the client believes to be in; `None` if it says nothing. 0: in none.
    pub transaction: Option<Descriptor>,
    /// The client asks to be notified of changes.
    pub query_notification: bool,
}

/// A transaction descriptor in ALL_HEADERS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Its value; 0: no transaction.
    pub value: u64,
    /// Where in the headers its eight bytes stand, so that they can be replaced.
    pub at: usize,
    /// Requests outstanding: 1 without MARS.
    pub outstanding: u32,
}

impl AllHeaders {
    /// Reads the headers at the front of `payload`.
    ///
    /// # Errors
    /// [`Stop`]: not all of them are there, or they are none.
    pub fn read(payload: &[u8]) -> Read<AllHeaders> {
        let total = Reader::new(payload).u32()? as usize;
        if !(4..=limits::MAX_ALL_HEADERS).contains(&total) {
            return Err(Stop::Fault("ALL_HEADERS of impossible length"));
        }
        let bytes = payload.get(..total).ok_or(Stop::Need(total))?;
        let mut headers = AllHeaders {
            length: total,
            transaction: None,
            query_notification: false,
        };
        let mut at = 4;
        while at < total {
            at = headers.header(bytes, at).map_err(|stop| match stop {
                // All of it is there, so nothing can be missing but sense.
                Stop::Need(_) => Stop::Fault("a header in ALL_HEADERS longer than all of them"),
                fault => fault,
            })?;
        }
        Ok(headers)
    }

    fn header(&mut self, bytes: &[u8], start: usize) -> Read<usize> {
        let mut reader = Reader::new(&bytes[start..]);
        let length = reader.u32()? as usize;
        let kind = reader.u16()?;
        let rest = length
            .checked_sub(6)
            .ok_or(Stop::Fault("a header in ALL_HEADERS too short"))?;
        let mut data = Reader::new(reader.take(rest)?);
        match kind {
            TRANSACTION_DESCRIPTOR => {
                if self.transaction.is_some() {
                    return Err(Stop::Fault("two transaction descriptors in ALL_HEADERS"));
                }
                self.transaction = Some(Descriptor {
                    value: data.u64()?,
                    at: start + 6,
                    outstanding: data.u32()?,
                });
            }
            QUERY_NOTIFICATION => self.query_notification = true,
            TRACE_ACTIVITY => {}
            _ => return Err(Stop::Fault("unknown header in ALL_HEADERS")),
        }
        Ok(start + length)
    }
}

/// Writes the usual form.
pub fn write(transaction: u64, out: &mut BytesMut) {
    out.put_u32_le(USUAL as u32);
    out.put_u32_le(USUAL as u32 - 4);
    out.put_u16_le(TRANSACTION_DESCRIPTOR);
    out.put_u64_le(transaction);
    out.put_u32_le(1);
}
