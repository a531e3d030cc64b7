//! What another process has to know of a client's dialogue, as bytes: the form in which clients are handed over.
//!
//! A version, then the fields one after the other, numbers and lengths in big-endian order. Invariants: at most
//! [`limits::MAX_PACKED`] bytes either way; what is read back is what was written, or an error, and never allocates by a
//! claimed length; another version is refused as a whole. Pure. Must not know what the fields mean.

use bytes::{Buf, BufMut};

use crate::limits;

/// Of the form. Raised with every change: a client that cannot be read stays where it is.
const VERSION: u8 = 1;

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
}

/// A named statement: the name, what follows it in Parse, and whether a server has prepared it.
pub type PackedStatement = (Vec<u8>, Vec<u8>, bool);

/// Names and values.
pub type Pairs = Vec<(String, String)>;

/// Why bytes are no packed dialogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// Of another version.
    Version(u8),
    /// Longer than any.
    TooLong,
    /// Not the form.
    Malformed,
}

impl Packed {
    /// As bytes; `None` if they are too many.
    pub fn write(&self) -> Option<Vec<u8>> {
        let mut out = vec![VERSION];
        for flag in [self.follows, self.read_only, self.has_described] {
            out.put_u8(flag.into());
        }
        for pairs in [&self.told, &self.brought, &self.overlay] {
            out.put_u32(u32::try_from(pairs.len()).ok()?);
            for (name, value) in pairs {
                put(&mut out, name.as_bytes())?;
                put(&mut out, value.as_bytes())?;
            }
        }
        out.put_u32(u32::try_from(self.custom_settings.len()).ok()?);
        for name in &self.custom_settings {
            put(&mut out, name.as_bytes())?;
        }
        out.put_u8(self.unnamed.is_some().into());
        if let Some(body) = &self.unnamed {
            put(&mut out, body)?;
        }
        out.put_u32(u32::try_from(self.statements.len()).ok()?);
        for (name, body, is_accepted) in &self.statements {
            put(&mut out, name)?;
            put(&mut out, body)?;
            out.put_u8((*is_accepted).into());
        }
        (out.len() <= limits::MAX_PACKED).then_some(out)
    }

    /// From bytes.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn read(bytes: &[u8]) -> Result<Self, Unreadable> {
        if bytes.len() > limits::MAX_PACKED {
            return Err(Unreadable::TooLong);
        }
        let mut rest = bytes;
        match rest.try_get_u8() {
            Ok(VERSION) => {}
            Ok(other) => return Err(Unreadable::Version(other)),
            Err(_) => return Err(Unreadable::Malformed),
        }
        let packed = fields(&mut rest).ok_or(Unreadable::Malformed)?;
        match rest.is_empty() {
            true => Ok(packed),
            false => Err(Unreadable::Malformed),
        }
    }
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unreadable::Version(version) => {
                write!(
                    f,
                    "what is known of it has version {version}, and this process reads version {VERSION}"
                )
            }
            Unreadable::TooLong => write!(f, "what is known of it is more than {} bytes", limits::MAX_PACKED),
            Unreadable::Malformed => f.write_str("what is known of it cannot be read"),
        }
    }
}

/// Stops as soon as there is no room for more.
fn put(out: &mut Vec<u8>, bytes: &[u8]) -> Option<()> {
    if out.len() + bytes.len() > limits::MAX_PACKED {
        return None;
    }
    out.put_u32(u32::try_from(bytes.len()).ok()?);
    out.put_slice(bytes);
    Some(())
}

fn fields(rest: &mut &[u8]) -> Option<Packed> {
    Some(Packed {
        follows: flag(rest)?,
        read_only: flag(rest)?,
        has_described: flag(rest)?,
        told: list(rest, pair)?,
        brought: list(rest, pair)?,
        overlay: list(rest, pair)?,
        custom_settings: list(rest, text)?,
        unnamed: match flag(rest)? {
            true => Some(blob(rest)?),
            false => None,
        },
        statements: list(rest, |rest| Some((blob(rest)?, blob(rest)?, flag(rest)?)))?,
    })
}

/// Grows with what is there, not with the number that is claimed.
fn list<T>(rest: &mut &[u8], mut one: impl FnMut(&mut &[u8]) -> Option<T>) -> Option<Vec<T>> {
    let count = rest.try_get_u32().ok()?;
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(one(rest)?);
    }
    Some(all)
}

fn pair(rest: &mut &[u8]) -> Option<(String, String)> {
    Some((text(rest)?, text(rest)?))
}

fn text(rest: &mut &[u8]) -> Option<String> {
    String::from_utf8(blob(rest)?).ok()
}

fn blob(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let length = usize::try_from(rest.try_get_u32().ok()?).ok()?;
    let (blob, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(blob.to_vec())
}

fn flag(rest: &mut &[u8]) -> Option<bool> {
    match rest.try_get_u8().ok()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, option, prelude::*};

    use super::*;

    fn packed() -> impl Strategy<Value = Packed> {
        let pairs = || vec((".{0,12}", ".{0,12}"), 0..4);
        let bytes = || vec(any::<u8>(), 0..20);
        (
            any::<(bool, bool, bool)>(),
            (pairs(), pairs(), pairs()),
            vec(".{0,12}", 0..3),
            option::of(bytes()),
            vec((bytes(), bytes(), any::<bool>()), 0..4),
        )
            .prop_map(|(flags, pairs, custom_settings, unnamed, statements)| Packed {
                follows: flags.0,
                read_only: flags.1,
                has_described: flags.2,
                told: pairs.0,
                brought: pairs.1,
                overlay: pairs.2,
                custom_settings,
                unnamed,
                statements,
            })
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
        assert_eq!(Packed::read(&bytes), Err(Unreadable::Version(VERSION + 1)));
        assert_eq!(Packed::read(b""), Err(Unreadable::Malformed));
    }

    #[test]
    fn claims_are_not_believed_and_too_much_is_not_written() {
        assert_eq!(
            Packed::read(&[VERSION, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]),
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
