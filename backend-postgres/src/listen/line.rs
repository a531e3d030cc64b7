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
