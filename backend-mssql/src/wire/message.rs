//! ERROR and INFO, which have one layout.
//!
//! Pure. Must not know what a number means.

use bytes::{BufMut, BytesMut};

use super::{
    read::{Read, Reader, whole},
    token,
    utf16::{self, Utf16},
    version::TdsVersion,
};
use crate::limits;

/// An ERROR or INFO token, as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerMessage<'a> {
    /// The number that programs look at.
    pub number: i32,
    /// Tells apart where a number can come from.
    pub state: u8,
    /// Severity: below 11 is a notice, 20 and more ends the connection.
    pub class: u8,
    /// For people.
    pub text: Utf16<'a>,
    /// The server's name.
    pub server: Utf16<'a>,
    /// The procedure.
    pub procedure: Utf16<'a>,
    /// Line in the batch or procedure.
    pub line: u32,
}

impl<'a> ServerMessage<'a> {
    /// Reads a whole token.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &'a [u8], version: TdsVersion) -> Result<Self, &'static str> {
        let mut reader = Reader::new(bytes);
        whole(
            ServerMessage::read(&mut reader, version),
            "message shorter than what it says",
        )
    }

    fn read(reader: &mut Reader<'a>, version: TdsVersion) -> Read<Self> {
        reader.take(3)?;
        Ok(ServerMessage {
            number: reader.u32()? as i32,
            state: reader.u8()?,
            class: reader.u8()?,
            text: Utf16(reader.us_varchar()?),
            server: Utf16(reader.b_varchar()?),
            procedure: Utf16(reader.b_varchar()?),
            line: match version.is_wide() {
                true => reader.u32()?,
                false => u32::from(reader.u16()?),
            },
        })
    }
}

/// An ERROR or INFO of the gateway's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnMessage<'a> {
    /// The number that programs look at.
    pub number: i32,
    /// Tells apart where a number can come from.
    pub state: u8,
    /// Severity.
    pub class: u8,
    /// For people; cut at [`limits::MAX_OWN_MESSAGE`].
    pub text: &'a str,
    /// The server's name, cut at 255 units.
    pub server: &'a str,
    /// The procedure, cut at 255 units.
    pub procedure: &'a str,
    /// Line.
    pub line: u32,
}

impl OwnMessage<'_> {
    /// Writes an ERROR token.
    pub fn write_error(&self, version: TdsVersion, out: &mut BytesMut) {
        self.write(token::ERROR, version, out);
    }

    /// Writes an INFO token.
    pub fn write_info(&self, version: TdsVersion, out: &mut BytesMut) {
        self.write(token::INFO, version, out);
    }

    fn write(&self, kind: u8, version: TdsVersion, out: &mut BytesMut) {
        token::with_length(kind, out, |out| {
            out.put_i32_le(self.number);
            out.put_u8(self.state);
            out.put_u8(self.class);
            utf16::put_us_varchar(out, self.text, limits::MAX_OWN_MESSAGE);
            utf16::put_b_varchar(out, self.server);
            utf16::put_b_varchar(out, self.procedure);
            match version.is_wide() {
                true => out.put_u32_le(self.line),
                false => out.put_u16_le(u16::try_from(self.line).unwrap_or(u16::MAX)),
            }
        });
    }
}
