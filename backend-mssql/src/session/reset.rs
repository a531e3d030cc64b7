//! Putting a server connection back to a fresh state (TDS 6.1, 6.5).
//!
//! A reset costs nothing where it can wait: the bit of the next request's header, or of the settings that go ahead of it,
//! which the dialogue of the next client writes. What other sessions could see or wait for (locks, `##` tables, cursors)
//! goes at once. What no reset takes back (application roles, EXECUTE AS, distributed transactions)
//! closes the connection.

use bytes::{Buf, BytesMut};
use weir_core::{
    backend::{Reset, ResetDepth, SessionReset, SessionState, TransactionDetection},
    refusal::Fault,
};

use super::{
    Session, Traces,
    own::{self, Own},
    pins::Tie,
};
use crate::wire::packet::{HEADER, ResetBit};

impl SessionReset for Session {
    fn begin_reset(&mut self, depth: ResetDepth, out: &mut BytesMut) -> Reset {
        match self.state() {
            SessionState::Idle | SessionState::Pinned(_) => {}
            SessionState::Broken(why) => return Reset::Discard(why),
            SessionState::InTransaction { .. } | SessionState::Busy => return Reset::Discard("not at rest"),
        }
        if self.transaction.is_unknown() {
            return Reset::Discard("nobody knows whether a transaction is open");
        }
        self.unpin();
        let left = std::mem::take(&mut self.left);
        if depth == ResetDepth::Nothing {
            self.traces = Traces::None;
            return Reset::Done;
        }
        if left.has(Tie::Irreversible) {
            return Reset::Discard("something was touched that no reset takes back");
        }
        // The server refuses to reset who is somebody else, and drops the connection: error 18059.
        if left.has(Tie::Impersonation) {
            return Reset::Discard("its client left it acting as somebody else");
        }
        if depth == ResetDepth::Everything {
            self.traces = Traces::Left;
        }
        match self.traces {
            Traces::None => Reset::Done,
            Traces::Left if left.concerns_others() => {
                let text = own::reset_text(self.login.isolation);
                self.ask(Own::Reset, &text, ResetBit::Connection, out);
                Reset::Await
            }
            Traces::Left => Reset::Deferred,
        }
    }

    fn continue_reset(&mut self, input: &mut BytesMut) -> Result<Reset, Fault> {
        while !input.is_empty() {
            let Ok(header) = self.packet(input)? else {
                break;
            };
            let length = usize::from(header.length);
            self.read_own(&input[HEADER..length])?;
            input.advance(length);
            if header.status.ends_message() && self.message_ended()? {
                return self.reset_done();
            }
        }
        Ok(Reset::Await)
    }
}

impl Session {
    fn reset_done(&mut self) -> Result<Reset, Fault> {
        if self.own.error.is_some() {
            self.fail("the server refused a reset");
            return Ok(Reset::Discard("the server refused a reset"));
        }
        self.counted()?;
        self.isolation = Some(self.login.isolation);
        match self.state() {
            SessionState::Idle => Ok(Reset::Done),
            _ => Ok(Reset::Discard("a reset that did not end where it should")),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;

    use super::*;
    use crate::{
        session::{
            Tracker, UNCERTAIN_ISOLATION,
            follow::tests::session,
            settings::{Isolation, Key, Setting},
        },
        wire::{
            done::{Done, command},
            env_change::write_reset_ack,
            packet::{Header, PacketKind, Status},
            reframe::frame,
        },
    };

    fn answer(acknowledged: bool, count: u8) -> BytesMut {
        let mut payload = BytesMut::new();
        if acknowledged {
            write_reset_ack(&mut payload);
        }
        Done::statement(crate::wire::done::DoneStatus::MORE, command::NONE).write(Default::default(), &mut payload);
        payload.put_slice(&[0x81, 1, 0, 0, 0, 0, 0, 0, 0, 0x38, 0, 0xd1, count, 0, 0, 0]);
        Done::statement(Default::default(), 0xc1).write(Default::default(), &mut payload);
        let mut out = BytesMut::new();
        frame(PacketKind::Response, Status::default(), &payload, 4096, &mut out);
        out
    }

    fn begin(session: &mut Session, depth: ResetDepth) -> (Reset, BytesMut) {
        let mut out = BytesMut::new();
        let reset = session.begin_reset(depth, &mut out);
        (reset, out)
    }

    #[test]
    fn nothing_left_costs_nothing() {
        let mut session = session(Tracker::EnvChange);
        session.settings.set(Setting {
            key: Key::NoCount,
            value: "ON".into(),
        });
        assert_eq!(
            begin(&mut session, ResetDepth::WhatChanged),
            (Reset::Done, BytesMut::new())
        );
        assert_eq!(
            begin(&mut session, ResetDepth::Everything),
            (Reset::Deferred, BytesMut::new())
        );
        assert_eq!(session.state(), SessionState::Idle);
    }

    #[test]
    fn what_nobody_sees_waits_for_the_next_client() {
        let mut session = session(Tracker::EnvChange);
        session.pins.add(Tie::Option);
        session.uncertain = UNCERTAIN_ISOLATION;
        assert_eq!(begin(&mut session, ResetDepth::WhatChanged).0, Reset::Deferred);
        assert_eq!((session.traces, session.isolation), (Traces::Left, None));
        assert_eq!(session.state(), SessionState::Idle);
    }

    #[test]
    fn a_lock_goes_at_once() {
        let mut session = session(Tracker::EnvChange);
        session.pins.add(Tie::ApplicationLock);
        session.isolation = Some(Isolation::Serializable);
        let (reset, sent) = begin(&mut session, ResetDepth::WhatChanged);
        assert_eq!(reset, Reset::Await);
        assert!(
            Header::read(&sent)
                .unwrap()
                .unwrap()
                .status
                .has(Status::RESET_CONNECTION)
        );
        assert_eq!(session.state(), SessionState::Busy);
        let mut input = BytesMut::new();
        for byte in answer(true, 0) {
            assert!(!matches!(session.state(), SessionState::Idle));
            input.put_u8(byte);
            if session.continue_reset(&mut input).unwrap() == Reset::Done {
                break;
            }
        }
        assert_eq!(session.state(), SessionState::Idle);
        assert_eq!(session.isolation, Some(Isolation::ReadCommitted));
        assert_eq!(session.traces, Traces::None);
    }

    #[test]
    fn a_reset_that_is_not_acknowledged_or_not_done_closes_the_connection() {
        for (acknowledged, count) in [(false, 0), (true, 1)] {
            let mut session = session(Tracker::Probe);
            session.pins.add(Tie::ApplicationLock);
            begin(&mut session, ResetDepth::WhatChanged);
            let reset = session.continue_reset(&mut answer(acknowledged, count));
            assert!(matches!(reset, Err(_) | Ok(Reset::Discard(_))), "{reset:?}");
            assert_ne!(session.state(), SessionState::Idle);
        }
    }

    #[test]
    fn what_no_reset_takes_back_closes_the_connection() {
        for tie in [Tie::Irreversible, Tie::Impersonation] {
            let mut session = session(Tracker::EnvChange);
            session.pins.add(tie);
            let (reset, _) = begin(&mut session, ResetDepth::WhatChanged);
            assert!(matches!(reset, Reset::Discard(_)), "{tie:?}");
        }
        let mut session = session(Tracker::EnvChange);
        session.pins.add(Tie::Irreversible);
        assert_eq!(begin(&mut session, ResetDepth::Nothing).0, Reset::Done);
    }

    #[test]
    fn an_idle_server_has_nothing_to_say() {
        let mut session = session(Tracker::EnvChange);
        assert!(session.while_idle(&[4]).is_err());
        assert!(matches!(session.state(), SessionState::Broken(_)));
    }
}
