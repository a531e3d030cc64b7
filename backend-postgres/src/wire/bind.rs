//! Bind: of which only the two names in front matter; parameters of any size stream behind them.

use super::{HEAD, split_string};

/// The names at the front of a Bind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bind<'a> {
    /// The portal to make; passed on as it is.
    pub portal: &'a [u8],
    /// The statement to bind.
    pub statement: &'a [u8],
    /// Bytes from the start of the message to the end of the names.
    pub prefix: usize,
}

impl<'a> Bind<'a> {
    /// Reads a message of which at least the names have arrived; `None` if they have not.
    pub fn read(message: &'a [u8]) -> Option<Self> {
        let (portal, rest) = split_string(message.get(HEAD..)?)?;
        let (statement, _) = split_string(rest)?;
        Some(Bind {
            portal,
            statement,
            prefix: HEAD + portal.len() + statement.len() + 2,
        })
    }
}

/// How many values a whole Bind says it brings; `None` if it is cut short.
pub fn value_count(message: &[u8]) -> Option<u16> {
    let rest = message.get(Bind::read(message)?.prefix..)?;
    let (formats, rest) = rest.split_first_chunk::<2>()?;
    let rest = rest.get(usize::from(u16::from_be_bytes(*formats)) * 2..)?;
    Some(u16::from_be_bytes(*rest.first_chunk::<2>()?))
}

/// The values in a whole Bind that can be read as text: of those in binary format too, where text looks the same.
pub fn text_values(message: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Bind::read(message)
        .and_then(|bind| message.get(bind.prefix..))
        .and_then(|rest| {
            let (formats, rest) = rest.split_first_chunk::<2>()?;
            let rest = rest.get(usize::from(u16::from_be_bytes(*formats)) * 2..)?;
            rest.get(2..)
        })
        .unwrap_or_default();
    std::iter::from_fn(move || {
        loop {
            let (length, behind) = rest.split_first_chunk::<4>()?;
            rest = behind;
            if let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) {
                let (value, behind) = rest.split_at_checked(length)?;
                rest = behind;
                return Some(value);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let message = b"B\0\0\0\0\0\0\0\x01\0\0\0\x03\0\0\0\x01a\xff\xff\xff\xff\0\0\0\x02bc\0\0";
        assert_eq!(text_values(message).collect::<Vec<_>>(), [&b"a"[..], b"bc"]);
        assert_eq!(value_count(message), Some(3));
        assert_eq!(value_count(&message[..9]), None);
        assert_eq!(text_values(&message[..20]).count(), 1);
        assert_eq!(text_values(b"B\0\0").count(), 0);
    }

    #[test]
    fn two_names() {
        let bind = Bind::read(b"B\0\0\0\0portal\0statement\0\0\0").unwrap();
        assert_eq!((bind.portal, bind.statement), (&b"portal"[..], &b"statement"[..]));
        assert_eq!(bind.prefix, 5 + 7 + 10);
        assert_eq!(Bind::read(b"B\0\0\0\0portal\0statement"), None);
    }
}
