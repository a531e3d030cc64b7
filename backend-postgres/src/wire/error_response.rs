//! ErrorResponse and NoticeResponse: a list of one-letter fields, any of which may be missing.
//!
//! A server that leaves out the SQLSTATE has crashed other poolers (CVE-2026-6666); here a missing one reads XX000.

use std::borrow::Cow;

use weir_core::refusal::{Rejection, Retry};

use super::split_string;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The request failed.
    Error,
    /// The connection ends.
    Fatal,
}

impl Severity {
    /// As it travels.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "ERROR",
            Severity::Fatal => "FATAL",
        }
    }
}

/// An error of the gateway's own making.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorMessage {
    /// How bad it is.
    pub severity: Severity,
    /// Five characters.
    pub sqlstate: Cow<'static, str>,
    /// What happened.
    pub message: Cow<'static, str>,
    /// Which limit or rule, its value, where it is set.
    pub detail: Option<Cow<'static, str>>,
    /// What to do.
    pub hint: Option<Cow<'static, str>>,
}

/// What of an error matters here. All fields are as the server sent them, and may be missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErrorFields<'a> {
    severity: Option<&'a [u8]>,
    localized_severity: Option<&'a [u8]>,
    code: Option<&'a [u8]>,
    /// The message text.
    pub message: Option<&'a [u8]>,
    detail: Option<&'a [u8]>,
    hint: Option<&'a [u8]>,
    routine: Option<&'a [u8]>,
}

impl<'a> ErrorFields<'a> {
    /// Reads the fields of a message body, as far as they have arrived.
    pub fn read(body: &'a [u8]) -> Self {
        let mut fields = ErrorFields::default();
        for (code, value) in each_field(body) {
            let place = match code {
                b'V' => &mut fields.severity,
                b'S' => &mut fields.localized_severity,
                b'C' => &mut fields.code,
                b'M' => &mut fields.message,
                b'D' => &mut fields.detail,
                b'H' => &mut fields.hint,
                b'R' => &mut fields.routine,
                _ => continue,
            };
            place.get_or_insert(value);
        }
        fields
    }

    /// The five characters; XX000 where there are none.
    pub fn sqlstate(&self) -> &'a [u8] {
        self.code.filter(|code| code.len() == 5).unwrap_or(b"XX000")
    }

    /// Whether the server ends the connection with it. Servers before 9.6 say so only in their own language, of which
    /// the English one is understood; with another one, the end of the stream says it.
    pub fn ends_the_connection(&self) -> bool {
        matches!(self.severity.or(self.localized_severity), Some(b"FATAL" | b"PANIC"))
    }

    /// Whether a cached plan was refused because the statement's result has changed (specification S1 rule 9).
    pub fn says_plan_is_stale(&self) -> bool {
        self.sqlstate() == b"0A000" && self.routine == Some(b"RevalidateCachedQuery")
    }

    /// Whether `currval` or `lastval` was asked for where nothing was drawn from a sequence.
    pub fn says_nothing_was_drawn(&self) -> bool {
        self.sqlstate() == b"55000" && matches!(self.routine, Some(b"currval_oid" | b"lastval"))
    }

    /// As an error to be told later.
    pub fn to_error(self) -> ErrorMessage {
        let rejection = self.to_rejection();
        ErrorMessage {
            severity: Severity::Error,
            sqlstate: rejection.code.into(),
            message: rejection.message.into(),
            detail: rejection.detail.map(Into::into),
            hint: rejection.hint.map(Into::into),
        }
    }

    /// As words for somebody else.
    pub fn to_rejection(self) -> Rejection {
        let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
        let code = text(self.sqlstate());
        Rejection {
            retry: retry(&code),
            code,
            message: self.message.map_or_else(|| "no message".to_owned(), text),
            detail: self.detail.map(text),
            hint: self.hint.map(text),
        }
    }
}

/// What repeating a login would be good for that was refused with this SQLSTATE.
pub fn retry(sqlstate: &str) -> Retry {
    match sqlstate {
        // invalid_password, invalid_authorization_specification.
        "28P01" | "28000" => Retry::WithNewPassword,
        // too_many_connections
        "53300" => Retry::WhenLessFull,
        // 57P03 cannot_connect_now, 08xxx connection exceptions.
        code if code.starts_with("57P") || code.starts_with("08") => Retry::Later,
        _ => Retry::Useless,
    }
}

/// The fields of a message body in order: code and value.
pub fn each_field(body: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = body;
    std::iter::from_fn(move || {
        let (&code, after) = rest.split_first().filter(|(code, _)| **code != 0)?;
        let (value, after) = split_string(after)?;
        rest = after;
        Some((code, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_sqlstate_is_xx000() {
        assert_eq!(ErrorFields::read(b"SERROR\0Mboom\0\0").sqlstate(), b"XX000");
        assert_eq!(ErrorFields::read(b"C\0\0").sqlstate(), b"XX000");
        assert_eq!(ErrorFields::read(b"").sqlstate(), b"XX000");
        assert_eq!(ErrorFields::read(b"C57P01\0\0").sqlstate(), b"57P01");
    }

    #[test]
    fn the_unlocalized_severity_counts() {
        assert!(ErrorFields::read(b"SFATAL\0\0").ends_the_connection());
        assert!(ErrorFields::read("SKATASTROPHAL\0VPANIC\0\0".as_bytes()).ends_the_connection());
        assert!(!ErrorFields::read(b"SFATAL\0VERROR\0\0").ends_the_connection());
    }

    #[test]
    fn half_a_field_is_no_field() {
        assert_eq!(ErrorFields::read(b"SERROR\0C57P").sqlstate(), b"XX000");
    }

    #[test]
    fn stale_plans_are_told_by_code_and_routine() {
        assert!(ErrorFields::read(b"C0A000\0RRevalidateCachedQuery\0\0").says_plan_is_stale());
        assert!(!ErrorFields::read(b"C0A000\0Rother\0\0").says_plan_is_stale());
    }
}
