//! The bytes of the shared connection: a few commands go out, answers and notifications come in.
//!
//! Pure. Invariants: nothing but NotificationResponse is looked into for more than its kind; a message that is too long
//! for anything that can come here ends the connection.

use bytes::{Buf, BytesMut};
use weir_core::refusal::{Fault, Rejection};

use crate::{
    limits,
    wire::{HEAD, Head, error_response::ErrorFields, server, split_string},
};

/// What has been read and not judged yet.
#[derive(Debug, Default)]
pub(super) struct Input {
    pub(super) bytes: BytesMut,
    /// The message judged last.
    done: usize,
}

/// What the server says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said<'a> {
    Notification(Notification<'a>),
    /// Everything that it was told is done.
    Ready,
    /// It refused a command, or ends the connection.
    No(Rejection),
}

/// NotificationResponse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Notification<'a> {
    /// The channel's name.
    pub(crate) channel: &'a [u8],
    /// What was told.
    pub(crate) payload: &'a [u8],
    /// The whole message.
    pub(crate) message: &'a [u8],
}

impl<'a> Notification<'a> {
    /// Reads a whole message of this kind.
    pub(crate) fn read(message: &'a [u8]) -> Option<Self> {
        // Behind the head, the number of the process that notified.
        let (channel, rest) = split_string(message.get(HEAD + 4..)?)?;
        let (payload, []) = split_string(rest)? else {
            return None;
        };
        Some(Notification {
            channel,
            payload,
            message,
        })
    }
}

impl Input {
    /// The next thing that matters, if all of it is there.
    ///
    /// # Errors
    /// [`Fault::Server`] for what cannot come on such a connection.
    pub(super) fn next(&mut self) -> Result<Option<Said<'_>>, Fault> {
        self.bytes.advance(std::mem::take(&mut self.done));
        loop {
            let Some(head) = Head::read(&self.bytes) else {
                return Ok(None);
            };
            head.check_server()?;
            if head.total() > limits::MAX_PEEK as u64 {
                return Err(Fault::Server("too long a message"));
            }
            let length = head.total() as usize;
            if self.bytes.len() < length {
                return Ok(None);
            }
            match head.kind {
                server::NOTIFICATION_RESPONSE | server::READY_FOR_QUERY | server::ERROR_RESPONSE => {
                    self.done = length;
                    return read(head, &self.bytes[..length]).map(Some);
                }
                server::COMMAND_COMPLETE
                | server::EMPTY_QUERY_RESPONSE
                | server::NOTICE_RESPONSE
                | server::PARAMETER_STATUS
                | server::ROW_DESCRIPTION
                | server::DATA_ROW => self.bytes.advance(length),
                _ => return Err(Fault::Server("an answer that does not fit what was asked")),
            }
        }
    }
}

fn read(head: Head, message: &[u8]) -> Result<Said<'_>, Fault> {
    match head.kind {
        server::NOTIFICATION_RESPONSE => {
            let notification =
                Notification::read(message).ok_or(Fault::Server("a notification that cannot be read"))?;
            Ok(Said::Notification(notification))
        }
        server::READY_FOR_QUERY => Ok(Said::Ready),
        _ => Ok(Said::No(ErrorFields::read(head.body(message)).to_rejection())),
    }
}

/// Writes `words "channel"; ` for each channel. Names come from the server, which has them in its own encoding: a byte
/// that is a quote there is one.
pub(crate) fn quote_all(words: &str, channels: &[super::registry::Channel], out: &mut Vec<u8>) {
    for channel in channels {
        out.extend_from_slice(words.as_bytes());
        out.extend_from_slice(b" \"");
        for byte in channel.iter() {
            if *byte == b'"' {
                out.push(b'"');
            }
            out.push(*byte);
        }
        out.extend_from_slice(b"\"; ");
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut as _;

    use super::*;
    use crate::wire::{ready_for_query::TransactionStatus, write};

    fn conversation() -> BytesMut {
        let mut bytes = BytesMut::new();
        write::parameter_status(&mut bytes, "a", "b");
        write::command_complete(&mut bytes, "LISTEN");
        write::ready_for_query(&mut bytes, TransactionStatus::Idle);
        write::message(&mut bytes, server::NOTIFICATION_RESPONSE, |out| {
            out.put_i32(-7);
            write::string(out, b"j\xff");
            write::string(out, b"pay;load");
        });
        bytes
    }

    fn read_all(input: &mut Input) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(said) = input.next().unwrap() {
            all.push(match said {
                Said::Notification(heard) => {
                    format!("{} {}", heard.channel.escape_ascii(), heard.payload.escape_ascii())
                }
                Said::Ready => "ready".to_owned(),
                Said::No(rejection) => rejection.code,
            });
        }
        all
    }

    #[test]
    fn any_split_says_the_same() {
        let bytes = conversation();
        for cut in 0..=bytes.len() {
            let mut input = Input::default();
            input.bytes.extend_from_slice(&bytes[..cut]);
            let mut all = read_all(&mut input);
            input.bytes.extend_from_slice(&bytes[cut..]);
            all.extend(read_all(&mut input));
            assert_eq!(all, ["ready", "j\\xff pay;load"], "cut at {cut}");
        }
    }

    #[test]
    fn nonsense_ends_the_connection_and_never_panics() {
        for bytes in [
            &b"A\0\0\0\x03"[..],
            b"A\0\0\0\x09\0\0\0\0x",
            b"A\0\0\0\x0b\0\0\0\0a\0b",
            b"A\0\0\0\x0d\0\0\0\0a\0b\0c",
            b"A\x7f\0\0\0",
            b"G\0\0\0\x07\0\0\0",
            b"?\0\0\0\x04",
        ] {
            let mut input = Input::default();
            input.bytes.extend_from_slice(bytes);
            assert!(input.next().is_err(), "{}", bytes.escape_ascii());
        }
        let mut input = Input::default();
        input.bytes.extend_from_slice(b"E\0\0\0\x0cC57P01\0\0");
        assert_eq!(read_all(&mut input), ["57P01"]);
    }

    #[test]
    fn names_are_quoted() {
        let mut text = Vec::new();
        quote_all("LISTEN", &[b"a"[..].into(), b"b\"; DROP"[..].into()], &mut text);
        assert_eq!(text, b"LISTEN \"a\"; LISTEN \"b\"\"; DROP\"; ");
    }
}
