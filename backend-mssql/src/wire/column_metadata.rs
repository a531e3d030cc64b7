//! COLMETADATA and ALTMETADATA: the columns of the rows that follow, one element for each.
//!
//! Pure. Must not keep a column's name.

use super::{
    read::{Read, Reader, Stop},
    type_info::{Kind, Place, TypeInfo},
    version::TdsVersion,
};

/// Flag of a column or value that is encrypted (Always Encrypted).
const ENCRYPTED: u16 = 0x0800;

/// Count of columns that says that there is no metadata (TDS 4.4).
pub const NO_METADATA: u16 = 0xffff;

/// Whether Always Encrypted was negotiated, which adds to the layouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ColumnEncryption {
    /// Not.
    #[default]
    Off,
    /// It was.
    On,
}

/// Usertype, flags and type of a column; what follows them depends on the place.
pub(crate) fn described(
    reader: &mut Reader<'_>,
    place: Place,
    version: TdsVersion,
    encryption: ColumnEncryption,
) -> Read<TypeInfo> {
    reader.take(if version.is_wide() { 4 } else { 2 })?;
    let flags = reader.u16()?;
    let described = TypeInfo::read(reader, place)?;
    if place == Place::Column && described.has_table_name() {
        table_name(reader, version)?;
    }
    if encryption == ColumnEncryption::On && flags & ENCRYPTED != 0 {
        crypto_metadata(reader, place)?;
    }
    Ok(described)
}

/// One column of COLMETADATA.
pub(crate) fn column(bytes: &[u8], version: TdsVersion, encryption: ColumnEncryption) -> Read<(Kind, usize)> {
    let mut reader = Reader::new(bytes);
    let described = described(&mut reader, Place::Column, version, encryption)?;
    reader.b_varchar()?;
    Ok((described.kind, reader.at()))
}

/// One column of ALTMETADATA.
pub(crate) fn alternate_column(bytes: &[u8], version: TdsVersion) -> Read<(Kind, usize)> {
    let mut reader = Reader::new(bytes);
    reader.take(3)?;
    let described = described(&mut reader, Place::Column, version, ColumnEncryption::Off)?;
    reader.b_varchar()?;
    Ok((described.kind, reader.at()))
}

fn table_name(reader: &mut Reader<'_>, version: TdsVersion) -> Read<()> {
    let parts = if version.is_wide() { reader.u8()? } else { 1 };
    for _ in 0..parts {
        reader.us_varchar()?;
    }
    Ok(())
}

/// A RETURNVALUE has no table of keys, and so no ordinal in it.
fn crypto_metadata(reader: &mut Reader<'_>, place: Place) -> Read<()> {
    if place == Place::Column {
        reader.u16()?;
    }
    reader.u32()?;
    TypeInfo::read(reader, place)?;
    algorithm(reader)?;
    reader.take(2)?;
    Ok(())
}

/// The algorithm of an encrypted column; number 0 has a name.
pub(crate) fn algorithm(reader: &mut Reader<'_>) -> Read<()> {
    if reader.u8()? == 0 {
        reader.b_varchar()?;
    }
    Ok(())
}

/// The head of an entry in the table of column encryption keys: gives the number of values that follow.
pub(crate) fn key_head(bytes: &[u8]) -> Read<(u8, usize)> {
    let mut reader = Reader::new(bytes);
    reader.take(20)?;
    Ok((reader.u8()?, reader.at()))
}

/// One value of such an entry.
pub(crate) fn key_value(bytes: &[u8]) -> Read<((), usize)> {
    let mut reader = Reader::new(bytes);
    reader.us_varbyte()?;
    reader.b_varchar()?;
    reader.us_varchar()?;
    reader.b_varchar()?;
    Ok(((), reader.at()))
}

/// What stands in front of the columns of ALTMETADATA, behind the token byte: their number, and the id of their rows.
pub(crate) fn alternate_head(bytes: &[u8]) -> Read<((u16, u16), usize)> {
    let mut reader = Reader::new(bytes);
    let (count, id) = (reader.u16()?, reader.u16()?);
    let by = reader.u8()?;
    reader.take(usize::from(by) * 2)?;
    if count == NO_METADATA {
        return Err(Stop::Fault("ALTMETADATA without columns"));
    }
    Ok(((count, id), reader.at()))
}
