//! The last words of a login that fails.
//!
//! Pure. Invariant: quotes of what the peer sent are bounded.

use std::borrow::Cow;

use bytes::BytesMut;

use crate::wire::{
    error_response::{ErrorMessage, Severity},
    write,
};

/// The last thing a client hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fatal {
    /// SQLSTATE.
    pub code: String,
    /// The primary message.
    pub message: String,
    /// The detail.
    pub detail: Option<String>,
    /// The hint.
    pub hint: Option<String>,
}

impl Fatal {
    /// A code and a message.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Fatal {
            code: code.to_owned(),
            message: message.into(),
            detail: None,
            hint: None,
        }
    }

    /// With a detail.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// With a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Writes the ErrorResponse.
    pub fn write(&self, out: &mut BytesMut) {
        let text = |text: &str| Cow::Owned(text.to_owned());
        let error = ErrorMessage {
            severity: Severity::Fatal,
            sqlstate: text(&self.code),
            message: text(&self.message),
            detail: self.detail.as_deref().map(text),
            hint: self.hint.as_deref().map(text),
        };
        write::error_response(out, &error);
    }
}

impl From<ErrorMessage> for Fatal {
    fn from(error: ErrorMessage) -> Self {
        Fatal {
            code: error.sqlstate.into_owned(),
            message: error.message.into_owned(),
            detail: error.detail.map(Cow::into_owned),
            hint: error.hint.map(Cow::into_owned),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::error_response::ErrorFields;

    #[test]
    fn what_is_written_can_be_read() {
        let fatal = Fatal::new("28000", "no\0pe").detail("why").hint("what to do");
        let mut out = BytesMut::new();
        fatal.write(&mut out);
        assert_eq!(out[0], b'E');
        assert_eq!(
            out.len(),
            1 + u32::from_be_bytes([out[1], out[2], out[3], out[4]]) as usize
        );
        let fields = ErrorFields::read(&out[5..]);
        assert!(fields.ends_the_connection());
        let read = fields.to_rejection();
        assert_eq!((read.code.as_str(), read.message.as_str()), ("28000", "nope"));
        assert_eq!(
            (read.detail.as_deref(), read.hint.as_deref()),
            (Some("why"), Some("what to do"))
        );
    }
}
