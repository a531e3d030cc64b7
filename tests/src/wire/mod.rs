//! The PostgreSQL wire protocol for tests: messages as bytes, and a client that sends exactly what it is told.

mod client;
mod frontend;

pub use client::{Patience, RawClient, Security, exchange};
pub use frontend::*;

/// A message from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its type byte.
    pub tag: u8,
    /// What follows the length.
    pub body: Vec<u8>,
}

impl Message {
    /// A field of an ErrorResponse or NoticeResponse.
    pub fn field(&self, code: u8) -> Option<&str> {
        if !matches!(self.tag, b'E' | b'N') {
            return None;
        }
        let field = self
            .body
            .split(|byte| *byte == 0)
            .find(|field| field.first() == Some(&code))?;
        std::str::from_utf8(&field[1..]).ok()
    }

    /// The SQLSTATE of an error.
    pub fn sqlstate(&self) -> Option<&str> {
        if self.tag == b'E' { self.field(b'C') } else { None }
    }

    /// The columns of a DataRow; None is null.
    pub fn columns(&self) -> Vec<Option<&[u8]>> {
        assert_eq!(self.tag, b'D', "{self} is no DataRow");
        let mut rest = &self.body[2..];
        let mut columns = Vec::new();
        while rest.len() >= 4 {
            let length = i32::from_be_bytes(rest[..4].try_into().unwrap());
            rest = &rest[4..];
            match usize::try_from(length) {
                Ok(length) => {
                    columns.push(Some(&rest[..length]));
                    rest = &rest[length..];
                }
                Err(_) => columns.push(None),
            }
        }
        columns
    }

    /// The first column of a DataRow as text.
    pub fn text(&self) -> String {
        self.columns()
            .first()
            .copied()
            .flatten()
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
            .unwrap_or_default()
    }
}

impl std::fmt::Display for Message {
    /// Type and body, printable: `C "SELECT 1\0"`; long bodies are cut.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SHOWN: usize = 400;
        let shown = &self.body[..self.body.len().min(SHOWN)];
        write!(f, "{} \"{}\"", char::from(self.tag), shown.escape_ascii())?;
        if self.body.len() > SHOWN {
            write!(f, "... ({} bytes)", self.body.len())
        } else {
            Ok(())
        }
    }
}

/// The first error among these messages.
pub fn first_error(messages: &[Message]) -> Option<&Message> {
    messages.iter().find(|message| message.tag == b'E')
}

/// The first columns of all rows, as text.
pub fn first_columns(messages: &[Message]) -> Vec<String> {
    messages
        .iter()
        .filter(|message| message.tag == b'D')
        .map(Message::text)
        .collect()
}

/// All messages, one per line.
pub fn describe(messages: &[Message]) -> String {
    messages.iter().map(|message| format!("  {message}\n")).collect()
}
