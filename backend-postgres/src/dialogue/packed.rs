//! What another process has to know of a client's dialogue, as bytes: the form in which clients are handed over.
//!
//! Invariant: what is read back is what was written, or an error; see [`packing`](weir_core::front::packing) for the
//! rest. Pure. Must not know what the fields mean.

use weir_core::front::packing::{Packer, Unpacker, Unreadable};

/// Of the form. Raised with every change: a client that cannot be read stays where it is.
const VERSION: u8 = 2;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// Session state follows the client.
    pub follows: bool,
    /// Its user may only read.
    pub read_only: bool,
    /// It has asked what the rows of a statement look like.
    pub has_described: bool,
    /// What it was told about the server.
    pub told: Pairs,
    /// The settings that it brought along.
    pub brought: Pairs,
    /// Its settings.
    pub overlay: Pairs,
    /// Names of custom settings that it may have set since the server was asked.
    pub custom_settings: Vec<String>,
    /// What follows the name in the Parse of its unnamed statement.
    pub unnamed: Option<Vec<u8>>,
    /// Its named statements.
    pub statements: Vec<PackedStatement>,
    /// Those that it has prepared with SQL.
    pub sql_statements: Vec<PackedSqlStatement>,
    /// Its user asks for what earlier transactions drew from sequences.
    pub asks_for_draws: bool,
}

/// A named statement: the name, what follows it in Parse, and whether a server has prepared it.
pub type PackedStatement = (Vec<u8>, Vec<u8>, bool);

/// A statement prepared with SQL: its name, its text, and the settings that the text is read by.
pub type PackedSqlStatement = (String, String, Pairs);

/// Names and values.
pub type Pairs = Vec<(String, String)>;

impl Packed {
    /// As bytes; `None` if they are too many.
    pub fn write(&self) -> Option<Vec<u8>> {
        let mut out = Packer::new(VERSION);
        for flag in [self.follows, self.read_only, self.has_described, self.asks_for_draws] {
            out.flag(flag);
        }
        for pairs in [&self.told, &self.brought, &self.overlay] {
            out.list(pairs, put_pair);
        }
        out.list(&self.custom_settings, |out, name| out.text(name));
        out.flag(self.unnamed.is_some());
        if let Some(body) = &self.unnamed {
            out.bytes(body);
        }
        out.list(&self.statements, |out, (name, body, is_accepted)| {
            out.bytes(name);
            out.bytes(body);
            out.flag(*is_accepted);
        });
        out.list(&self.sql_statements, |out, (name, text, context)| {
            out.text(name);
            out.text(text);
            out.list(context, put_pair);
        });
        out.finish()
    }

    /// From bytes.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn read(bytes: &[u8]) -> Result<Self, Unreadable> {
        Unpacker::read(bytes, VERSION, fields)
    }
}

fn put_pair(out: &mut Packer, (name, value): &(String, String)) {
    out.text(name);
    out.text(value);
}

fn fields(rest: &mut Unpacker<'_>) -> Option<Packed> {
    let [follows, read_only, has_described, asks_for_draws] = [rest.flag()?, rest.flag()?, rest.flag()?, rest.flag()?];
    Some(Packed {
        follows,
        read_only,
        has_described,
        asks_for_draws,
        told: rest.list(pair)?,
        brought: rest.list(pair)?,
        overlay: rest.list(pair)?,
        custom_settings: rest.list(Unpacker::text)?,
        unnamed: match rest.flag()? {
            true => Some(rest.bytes()?),
            false => None,
        },
        statements: rest.list(|rest| Some((rest.bytes()?, rest.bytes()?, rest.flag()?)))?,
        sql_statements: rest.list(|rest| Some((rest.text()?, rest.text()?, rest.list(pair)?)))?,
    })
}

fn pair(rest: &mut Unpacker<'_>) -> Option<(String, String)> {
    Some((rest.text()?, rest.text()?))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, option, prelude::*};
    use weir_core::limits;

    use super::*;

    fn packed() -> impl Strategy<Value = Packed> {
        let pairs = || vec((".{0,12}", ".{0,12}"), 0..4);
        let bytes = || vec(any::<u8>(), 0..20);
        (
            any::<(bool, bool, bool, bool)>(),
            (pairs(), pairs(), pairs()),
            vec(".{0,12}", 0..3),
            option::of(bytes()),
            vec((bytes(), bytes(), any::<bool>()), 0..4),
            vec((".{0,12}", ".{0,12}", pairs()), 0..3),
        )
            .prop_map(
                |(flags, pairs, custom_settings, unnamed, statements, sql_statements)| Packed {
                    follows: flags.0,
                    read_only: flags.1,
                    has_described: flags.2,
                    asks_for_draws: flags.3,
                    told: pairs.0,
                    brought: pairs.1,
                    overlay: pairs.2,
                    custom_settings,
                    unnamed,
                    statements,
                    sql_statements,
                },
            )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(packed in packed()) {
            let bytes = packed.write().expect("short");
            prop_assert_eq!(Packed::read(&bytes), Ok(packed));
            for end in 0..bytes.len() {
                prop_assert!(Packed::read(&bytes[..end]).is_err());
            }
            prop_assert_eq!(Packed::read(&[&bytes[..], b"x"].concat()), Err(Unreadable::Malformed));
        }

        #[test]
        fn a_flipped_byte_is_an_error_or_other_fields_but_no_panic(packed in packed(), at: prop::sample::Index, to: u8) {
            let mut bytes = packed.write().expect("short");
            let at = at.index(bytes.len());
            bytes[at] = to;
            if let Ok(read) = Packed::read(&bytes) {
                prop_assert_eq!(read.write(), Some(bytes));
            }
        }

        #[test]
        fn noise_is_no_panic(mut bytes in vec(any::<u8>(), 0..200), versioned: bool) {
            if versioned && !bytes.is_empty() {
                bytes[0] = VERSION;
            }
            let _ = Packed::read(&bytes);
        }
    }

    #[test]
    fn another_version_is_refused() {
        let mut bytes = Packed::default().write().expect("short");
        bytes[0] = VERSION + 1;
        assert_eq!(
            Packed::read(&bytes),
            Err(Unreadable::Version {
                found: VERSION + 1,
                known: VERSION
            })
        );
        assert_eq!(Packed::read(b""), Err(Unreadable::Malformed));
    }

    #[test]
    fn claims_are_not_believed_and_too_much_is_not_written() {
        assert_eq!(
            Packed::read(&[VERSION, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]),
            Err(Unreadable::Malformed)
        );
        let mut packed = Packed {
            unnamed: Some(vec![b'x'; limits::MAX_PACKED - 100]),
            ..Packed::default()
        };
        assert!(packed.write().is_some());
        packed.statements.push((vec![b'n'], vec![b'x'; 100], true));
        assert_eq!(packed.write(), None);
        assert_eq!(
            Packed::read(&vec![VERSION; limits::MAX_PACKED + 1]),
            Err(Unreadable::TooLong)
        );
    }
}
