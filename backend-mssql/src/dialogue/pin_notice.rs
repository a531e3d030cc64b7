//! What a client is told when it begins or ceases to keep its server connection, if its source wants it told.
//!
//! A server of this protocol says nothing unasked, so the notice waits for the next answer and stands in front of it, as
//! what PRINT says does. Of two that would contradict each other neither is told.

use bytes::BytesMut;
use weir_core::backend::{PinNews, PinReason};

use super::Conversation;
use crate::{
    refusals::{SERVER, number},
    wire::{
        TdsVersion,
        done::DoneStatus,
        env_change::EnvChange,
        message::OwnMessage,
        walker::{Content, Piece},
    },
};

/// Whether the client is told, and what it has still to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PinNotices {
    Unwanted,
    Told,
    Due(PinNews),
}

impl PinNotices {
    pub(super) fn new(wanted: bool) -> Self {
        match wanted {
            true => PinNotices::Told,
            false => PinNotices::Unwanted,
        }
    }

    fn hear(&mut self, news: PinNews) {
        *self = match (*self, news) {
            (PinNotices::Unwanted, _) => PinNotices::Unwanted,
            // Begun and over between two answers.
            (PinNotices::Due(PinNews::Begun(_)), PinNews::Over(_)) => PinNotices::Told,
            (PinNotices::Told | PinNotices::Due(_), news) if is_by_the_client(news) => PinNotices::Due(news),
            (same, _) => same,
        };
    }

    fn take(&mut self) -> Option<PinNews> {
        match *self {
            PinNotices::Due(news) => {
                *self = PinNotices::Told;
                Some(news)
            }
            PinNotices::Unwanted | PinNotices::Told => None,
        }
    }
}

impl Conversation {
    pub(super) fn hear_of_pin(&mut self, news: PinNews) {
        self.pin_notices.hear(news);
    }

    /// What is to be told in front of this part of an answer.
    pub(super) fn pin_notice_before(&mut self, piece: &Piece<'_>) -> Option<BytesMut> {
        if !matches!(self.pin_notices, PinNotices::Due(_)) || !may_follow_a_notice(piece) {
            return None;
        }
        let news = self.pin_notices.take()?;
        let mut out = BytesMut::new();
        write(news, self.version, &mut out);
        Some(out)
    }
}

/// Not in front of the acknowledgement of a reset, which comes first, or of an Attention, which comes alone.
fn may_follow_a_notice(piece: &Piece<'_>) -> bool {
    match piece {
        Piece::Pass(_) => true,
        Piece::Token(token) => match &token.content {
            Content::EnvChange(EnvChange::ResetAck) => false,
            Content::Done(done) => !done.status.has(DoneStatus::ATTENTION),
            _ => true,
        },
    }
}

/// By configuration or for a moment, not by what the client did.
fn is_by_the_client(news: PinNews) -> bool {
    let (PinNews::Begun(reason) | PinNews::Over(reason)) = news;
    !matches!(
        reason,
        PinReason::SessionMode | PinReason::OldProtocol | PinReason::BulkLoad
    )
}

fn write(news: PinNews, version: TdsVersion, out: &mut BytesMut) {
    let text = match news {
        PinNews::Begun(reason) => format!(
            "This session keeps its server connection: {}. {}",
            reason.as_str(),
            way_out(reason)
        ),
        PinNews::Over(reason) => format!(
            "This session needs its server connection no more: {} is over.",
            reason.as_str()
        ),
    };
    OwnMessage {
        number: number::UNNUMBERED,
        state: 1,
        class: 0,
        text: &text,
        server: SERVER,
        procedure: "",
        line: 1,
    }
    .write_info(version, out);
}

/// What gives the connection back to the pool.
fn way_out(reason: PinReason) -> &'static str {
    match reason {
        PinReason::TemporaryTable => {
            "It goes back to the pool when the session is reset, or at once when the server says that the table is gone; a \
             table variable keeps no connection."
        }
        PinReason::Cursor => "It goes back to the pool when the cursor is closed; DECLARE … CURSOR LOCAL keeps none.",
        PinReason::ApplicationLock => {
            "It goes back to the pool after sp_releaseapplock; @LockOwner = 'Transaction' needs none and keeps no \
             connection."
        }
        PinReason::Impersonation => "It goes back to the pool after REVERT.",
        PinReason::SessionOption => "It goes back to the pool when the option is OFF again.",
        PinReason::SessionObject => "It goes back to the pool when what was opened is closed.",
        PinReason::LastValues => {
            "It goes back to the pool when that has been asked for; INSERT ... OUTPUT, or the question in the same request, \
             needs none of it, and a source may say session_functions: forget."
        }
        PinReason::LargeStatement => "It goes back to the pool when the prepared statement is released.",
        _ => "It goes back to the pool when the session is reset or ends.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_contradicts_itself_is_not_told() {
        let lock = PinReason::ApplicationLock;
        let mut notices = PinNotices::new(true);
        notices.hear(PinNews::Begun(PinReason::SessionMode));
        assert_eq!(notices.take(), None);
        notices.hear(PinNews::Begun(lock));
        notices.hear(PinNews::Over(lock));
        assert_eq!(notices.take(), None);
        notices.hear(PinNews::Begun(lock));
        assert_eq!(notices.take(), Some(PinNews::Begun(lock)));
        notices.hear(PinNews::Over(lock));
        notices.hear(PinNews::Begun(PinReason::Cursor));
        assert_eq!(notices.take(), Some(PinNews::Begun(PinReason::Cursor)));
        assert_eq!(notices.take(), None);
        let mut unwanted = PinNotices::new(false);
        unwanted.hear(PinNews::Begun(lock));
        assert_eq!(unwanted.take(), None);
    }

    #[test]
    fn reason_and_way_out_are_told() {
        let mut out = BytesMut::new();
        write(
            PinNews::Begun(PinReason::ApplicationLock),
            TdsVersion::default(),
            &mut out,
        );
        let message = crate::wire::message::ServerMessage::parse(&out, TdsVersion::default()).expect("an INFO token");
        let text = message.text.to_lossy();
        assert!(
            text.contains("session application lock") && text.contains("@LockOwner"),
            "{text}"
        );
        assert_eq!((message.class, out[0]), (0, crate::wire::token::INFO));
    }
}
