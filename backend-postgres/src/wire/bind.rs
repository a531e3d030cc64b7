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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_names() {
        let bind = Bind::read(b"B\0\0\0\0portal\0statement\0\0\0").unwrap();
        assert_eq!((bind.portal, bind.statement), (&b"portal"[..], &b"statement"[..]));
        assert_eq!(bind.prefix, 5 + 7 + 10);
        assert_eq!(Bind::read(b"B\0\0\0\0portal\0statement"), None);
    }
}
