//! LOGINACK: the login is accepted, and by whom.
//!
//! Pure.

use bytes::{BufMut, BytesMut};

use super::{
    prelogin::ProductVersion,
    read::{Read, Reader, whole},
    token,
    utf16::{self, Utf16},
    version::TdsVersion,
};

/// A LOGINACK token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginAck<'a> {
    /// 1: Transact-SQL.
    pub interface: u8,
    /// The version as it travelled; see [`TdsVersion::from_code`].
    pub tds_version: u32,
    /// "Microsoft SQL Server", with two zero units behind it from real servers.
    pub program: Utf16<'a>,
    /// The server's version; `sub_build` is not part of it.
    pub version: ProductVersion,
}

impl<'a> LoginAck<'a> {
    /// Reads a whole token.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, &'static str> {
        whole(
            LoginAck::read(&mut Reader::new(bytes)),
            "LOGINACK shorter than what it says",
        )
    }

    fn read(reader: &mut Reader<'a>) -> Read<Self> {
        reader.take(3)?;
        Ok(LoginAck {
            interface: reader.u8()?,
            // The only number in a token that is big-endian, besides the build below.
            tds_version: reader.u32()?.swap_bytes(),
            program: Utf16(reader.b_varchar()?),
            version: ProductVersion {
                major: reader.u8()?,
                minor: reader.u8()?,
                build: reader.u16_be()?,
                sub_build: 0,
            },
        })
    }
}

/// Writes a LOGINACK token.
pub fn write(tds: TdsVersion, program: &str, version: ProductVersion, out: &mut BytesMut) {
    token::with_length(token::LOGIN_ACK, out, |out| {
        out.put_u8(1);
        out.put_u32(tds.code());
        utf16::put_b_varchar(out, program);
        out.put_slice(&[version.major, version.minor]);
        out.put_u16(version.build);
    });
}
