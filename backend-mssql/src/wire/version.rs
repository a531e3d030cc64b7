//! Versions of the protocol, and what differs in layout between them.
//!
//! Pure.

/// A version of TDS (TDS 3.1, 3.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TdsVersion {
    /// SQL Server 2000: no ALL_HEADERS, no transaction descriptors, narrower fields.
    V7_1,
    /// SQL Server 2005.
    V7_2,
    /// SQL Server 2008.
    V7_3A,
    /// SQL Server 2008 R2.
    V7_3B,
    /// SQL Server 2012 and later.
    #[default]
    V7_4,
    /// The same inside strict TLS, for the drivers that say so.
    V8_0,
}

impl TdsVersion {
    /// From the number in LOGIN7 and LOGINACK; `None` for versions before 7.1 and unknown ones.
    pub fn from_code(code: u32) -> Option<Self> {
        Some(match (code >> 24, code) {
            (0x71, _) => TdsVersion::V7_1,
            (0x72, _) => TdsVersion::V7_2,
            (_, 0x730a_0003) => TdsVersion::V7_3A,
            (_, 0x730b_0003) => TdsVersion::V7_3B,
            (0x74, _) => TdsVersion::V7_4,
            (0x08, _) => TdsVersion::V8_0,
            _ => return None,
        })
    }

    /// The number: little-endian in LOGIN7, big-endian in LOGINACK.
    pub fn code(self) -> u32 {
        match self {
            TdsVersion::V7_1 => 0x7100_0001,
            TdsVersion::V7_2 => 0x7209_0002,
            TdsVersion::V7_3A => 0x730a_0003,
            TdsVersion::V7_3B => 0x730b_0003,
            TdsVersion::V7_4 => 0x7400_0004,
            TdsVersion::V8_0 => 0x0800_0000,
        }
    }

    /// Whether requests begin with ALL_HEADERS, and fields have their present widths: 7.2 and later.
    pub fn is_wide(self) -> bool {
        self >= TdsVersion::V7_2
    }
}
