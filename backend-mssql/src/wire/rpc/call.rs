//! The head of a call: procedure, flags, and the package for an enclave.
//!
//! Pure.

use super::{Procedure, Read};
use crate::wire::{
    read::{Reader, Stop},
    utf16::Utf16,
};

/// Bit of the option flags: "leave the metadata out". Servers up to 2014 do, and nobody behind a pool could know it then:
/// it is cleared in every call that is passed on (TDS 4.4).
pub const NO_METADATA: u16 = 0x0002;

/// Whether calls carry a package for a secure enclave: Always Encrypted since its second version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Enclave {
    /// They do not.
    #[default]
    No,
    /// They do.
    Package,
}

/// The head of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call<'a> {
    /// Where it starts behind ALL_HEADERS.
    pub at: u64,
    /// All of it, as it came.
    pub bytes: &'a [u8],
    /// What is called.
    pub procedure: Procedure<'a>,
    /// See [`NO_METADATA`].
    pub flags: u16,
    /// Where in `bytes` the two bytes of the flags stand.
    pub flags_at: usize,
}

/// Length of a name that says that a number follows instead.
const BY_NUMBER: u16 = 0xffff;

impl<'a> Call<'a> {
    /// Reads the head at the front of `bytes`.
    pub(super) fn read(bytes: &'a [u8], at: u64, enclave: Enclave) -> Read<Self> {
        let mut reader = Reader::new(bytes);
        let procedure = match reader.u16()? {
            BY_NUMBER => Procedure::from_number(reader.u16()?),
            units => Procedure::from_name(Utf16(reader.take(usize::from(units) * 2)?)),
        };
        let flags_at = reader.at();
        let flags = reader.u16()?;
        if enclave == Enclave::Package {
            let length = reader.u32()?;
            let length = usize::try_from(length).map_err(|_| Stop::Fault("enclave package too long"))?;
            reader.take(length)?;
        }
        Ok(Call {
            at,
            bytes: &bytes[..reader.at()],
            procedure,
            flags,
            flags_at,
        })
    }
}
