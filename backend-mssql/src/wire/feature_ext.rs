//! Feature extensions: the list in LOGIN7, and FEATUREEXTACK with the server's answers. Both have one layout.
//!
//! Pure. Invariants: the number and the length of features are bounded; their data is never shown, as one of them
//! carries an access token.

use std::fmt;

use bytes::{BufMut, BytesMut};
use weir_core::secret::Secret;

use super::{
    read::{Read, Reader, Stop},
    token,
};
use crate::limits;

/// Ids of feature extensions (TDS 3.2).
pub mod id {
    #![allow(missing_docs, reason = "the names are the protocol's own")]
    pub const SESSION_RECOVERY: u8 = 0x01;
    pub const FEDERATED_AUTHENTICATION: u8 = 0x02;
    pub const COLUMN_ENCRYPTION: u8 = 0x04;
    pub const GLOBAL_TRANSACTIONS: u8 = 0x05;
    pub const AZURE_SQL_SUPPORT: u8 = 0x08;
    pub const DATA_CLASSIFICATION: u8 = 0x09;
    pub const UTF8_SUPPORT: u8 = 0x0a;
    pub const AZURE_SQL_DNS_CACHING: u8 = 0x0b;
    pub const JSON_SUPPORT: u8 = 0x0d;
    pub const VECTOR_SUPPORT: u8 = 0x0e;
    pub const ENHANCED_ROUTING: u8 = 0x0f;
    pub const USER_AGENT: u8 = 0x10;
    pub const END: u8 = 0xff;
}

/// One feature and what is said about it.
#[derive(Clone, PartialEq, Eq)]
pub struct Feature {
    /// One of [`id`], or an unknown one.
    pub id: u8,
    data: Secret<Vec<u8>>,
}

impl Feature {
    /// A feature with its data.
    pub fn new(id: u8, data: &[u8]) -> Self {
        Feature {
            id,
            data: Secret::new(data.to_vec()),
        }
    }

    /// What is said about it. For FEDERATED_AUTHENTICATION it is an access token.
    pub fn data(&self) -> &[u8] {
        self.data.expose()
    }
}

impl fmt::Debug for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "feature {:#04x} ({} bytes)", self.id, self.data().len())
    }
}

/// Reads a list up to its terminator, at the front of `reader`.
///
/// # Errors
/// [`Stop`]: cut short, too many, too long, or one of them twice.
pub fn read(reader: &mut Reader<'_>) -> Read<Vec<Feature>> {
    let mut features: Vec<Feature> = Vec::new();
    loop {
        let id = reader.u8()?;
        if id == id::END {
            return Ok(features);
        }
        let length = reader.u32()? as usize;
        if length > limits::MAX_FEATURE_DATA {
            return Err(Stop::Fault("feature extension too long"));
        }
        let data = reader.take(length)?;
        if features.len() == limits::MAX_FEATURES || features.iter().any(|known| known.id == id) {
            return Err(Stop::Fault("too many feature extensions, or one twice"));
        }
        features.push(Feature::new(id, data));
    }
}

/// Writes a list with its terminator.
pub fn write(features: &[Feature], out: &mut BytesMut) {
    for feature in features {
        out.put_u8(feature.id);
        out.put_u32_le(feature.data().len() as u32);
        out.put_slice(feature.data());
    }
    out.put_u8(id::END);
}

/// Writes a FEATUREEXTACK token; nothing for an empty list, which no server sends (TDS 3.3).
pub fn write_ack(features: &[Feature], out: &mut BytesMut) {
    if !features.is_empty() {
        out.put_u8(token::FEATURE_EXT_ACK);
        write(features, out);
    }
}

/// Bytes of the FEATUREEXTACK token at the front of `bytes`.
pub(crate) fn measure_ack(bytes: &[u8]) -> Read<usize> {
    let mut reader = Reader::new(bytes);
    reader.u8()?;
    while reader.u8()? != id::END {
        let length = reader.u32()? as usize;
        reader.take(length)?;
    }
    Ok(reader.at())
}

/// Reads a FEATUREEXTACK token, its token byte included.
///
/// # Errors
/// As [`read`].
pub fn parse_ack(token: &[u8]) -> Read<(Vec<Feature>, usize)> {
    let mut reader = Reader::new(token);
    reader.u8()?;
    let features = read(&mut reader)?;
    Ok((features, reader.at()))
}
