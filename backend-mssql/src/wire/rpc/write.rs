//! Calls of the gateway's own, and parts that replace a client's.
//!
//! Pure.

use bytes::{BufMut, BytesMut};

use super::{SEPARATOR, WellKnown};
use crate::wire::{type_info::id, utf16::Utf16};

/// Longest text, in bytes, that is not sent in chunks.
const SHORT_TEXT: usize = 8000;

/// The head of a call without flags. [`WellKnown::ResetConnection`] goes by name.
pub fn call(procedure: WellKnown, out: &mut BytesMut) {
    match procedure.number() {
        Some(number) => {
            out.put_u16_le(0xffff);
            out.put_u16_le(number);
        }
        None => {
            let name = "sp_reset_connection";
            out.put_u16_le(name.len() as u16);
            name.encode_utf16().for_each(|unit| out.put_u16_le(unit));
        }
    }
    out.put_u16_le(0);
}

/// An integer parameter; `name` is cut at 127 units, and `status` is as in [`status`](super::status).
pub fn integer(name: Utf16<'_>, status: u8, value: Option<i32>, out: &mut BytesMut) {
    head(name, status, out);
    out.put_slice(&[id::INTN, 4]);
    match value {
        Some(value) => {
            out.put_u8(4);
            out.put_i32_le(value);
        }
        None => out.put_u8(0),
    }
}

/// A parameter of type `nvarchar`, of any length; `None` is NULL. The collation is that of the server.
pub fn text(name: Utf16<'_>, text: Option<Utf16<'_>>, collation: [u8; 5], out: &mut BytesMut) {
    head(name, 0, out);
    out.put_u8(id::NVARCHAR);
    let is_short = text.is_none_or(|text| text.0.len() <= SHORT_TEXT);
    out.put_u16_le(if is_short { SHORT_TEXT as u16 } else { u16::MAX });
    out.put_slice(&collation);
    match text {
        None => out.put_u16_le(u16::MAX),
        Some(text) if is_short => {
            out.put_u16_le(text.0.len() as u16);
            out.put_slice(text.0);
        }
        Some(text) => {
            out.put_u64_le(text.0.len() as u64);
            // A chunk's length has four bytes; nothing that is held in memory here comes near.
            for chunk in text.0.chunks(1 << 30) {
                out.put_u32_le(chunk.len() as u32);
                out.put_slice(chunk);
            }
            out.put_u32_le(0);
        }
    }
}

/// Between two calls.
pub fn separator(out: &mut BytesMut) {
    out.put_u8(SEPARATOR);
}

fn head(name: Utf16<'_>, status: u8, out: &mut BytesMut) {
    let name = &name.0[..name.0.len().min(127 * 2) & !1];
    out.put_u8((name.len() / 2) as u8);
    out.put_slice(name);
    out.put_u8(status);
}
