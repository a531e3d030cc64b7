//! Parse: a statement's name, its text, and the types declared for its parameters.

use super::{HEAD, split_string};

/// The head of a Parse, as far as it is needed to send it under another name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parse<'a> {
    /// The name; empty for the unnamed statement.
    pub name: &'a [u8],
    /// Text, terminator and types: what has arrived of it.
    pub body: &'a [u8],
}

impl<'a> Parse<'a> {
    /// Reads a message of which at least the name has arrived; `None` if it has not.
    pub fn read(message: &'a [u8]) -> Option<Self> {
        let (name, body) = split_string(message.get(HEAD..)?)?;
        Some(Parse { name, body })
    }

    /// The statement's text, without its terminator.
    pub fn text(&self) -> &'a [u8] {
        split_string(self.body).map_or(self.body, |(text, _)| text)
    }

    /// Whether a whole message is well formed: a terminated text, and as many types as announced.
    pub fn is_well_formed(&self) -> bool {
        split_string(self.body).is_some_and(|(_, rest)| {
            rest.split_first_chunk::<2>()
                .is_some_and(|(count, types)| types.len() == usize::from(u16::from_be_bytes(*count)) * 4)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_text_types() {
        let parse = Parse::read(b"P\0\0\0\0name\0SELECT $1\0\0\x01\0\0\0\x17").unwrap();
        assert_eq!((parse.name, parse.text()), (&b"name"[..], &b"SELECT $1"[..]));
        assert!(parse.is_well_formed());
        assert!(
            !Parse::read(b"P\0\0\0\0name\0SELECT $1\0\0\x02\0\0\0\x17")
                .unwrap()
                .is_well_formed()
        );
        assert!(!Parse::read(b"P\0\0\0\0name\0SELECT").unwrap().is_well_formed());
        assert_eq!(Parse::read(b"P\0\0\0\0name"), None);
    }
}
