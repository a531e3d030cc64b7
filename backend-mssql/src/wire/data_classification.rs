//! DATACLASSIFICATION: labels of sensitive columns. It has no length, so it is walked through.
//!
//! Pure. Invariant: nothing of it is kept.

use super::read::{Read, Reader};

/// What was negotiated (TDS 3.2, feature 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ClassificationVersion {
    /// Nothing, or the first version.
    #[default]
    One,
    /// The second one: with ranks.
    Two,
}

/// Which element comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Classification {
    LabelCount,
    Labels { left: u16 },
    InformationCount,
    Informations { left: u16 },
    Rank,
    ColumnCount,
    Columns { left: u16 },
    Properties { left: u16, columns: u16 },
}

impl Classification {
    /// Reads one element: what comes next (`None`: the token is over), and its length.
    pub(crate) fn read(self, bytes: &[u8], version: ClassificationVersion) -> Read<(Option<Self>, usize)> {
        use Classification::{
            ColumnCount, Columns, InformationCount, Informations, LabelCount, Labels, Properties, Rank,
        };
        let mut reader = Reader::new(bytes);
        let next = match self {
            LabelCount => labels(reader.u16()?),
            Labels { left } => {
                names(&mut reader)?;
                labels(left - 1)
            }
            InformationCount => informations(reader.u16()?, version),
            Informations { left } => {
                names(&mut reader)?;
                informations(left - 1, version)
            }
            Rank => {
                reader.u32()?;
                ColumnCount
            }
            ColumnCount => match reader.u16()? {
                0 => return Ok((None, reader.at())),
                left => Columns { left },
            },
            Columns { left } => {
                let properties = reader.u16()?;
                return Ok((next_property(properties, left), reader.at()));
            }
            Properties { left, columns } => {
                reader.take(if version == ClassificationVersion::Two { 8 } else { 4 })?;
                return Ok((next_property(left - 1, columns), reader.at()));
            }
        };
        return Ok((Some(next), reader.at()));

        fn labels(left: u16) -> Classification {
            match left {
                0 => InformationCount,
                left => Labels { left },
            }
        }
        fn informations(left: u16, version: ClassificationVersion) -> Classification {
            match (left, version) {
                (0, ClassificationVersion::One) => ColumnCount,
                (0, ClassificationVersion::Two) => Rank,
                (left, _) => Informations { left },
            }
        }
        /// `columns` counts the one that we are in.
        fn next_property(left: u16, columns: u16) -> Option<Classification> {
            match (left, columns) {
                (0, 1) => None,
                (0, columns) => Some(Columns { left: columns - 1 }),
                (left, columns) => Some(Properties { left, columns }),
            }
        }
    }
}

fn names(reader: &mut Reader<'_>) -> Read<()> {
    reader.b_varchar()?;
    reader.b_varchar()?;
    Ok(())
}
