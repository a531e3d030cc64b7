//! The smallest backend: requests are `length(4) text`, answers `status(1) length(4) text`, status `i` (idle) or `t` (in
//! a transaction). A request that begins with `set` touches the session, `pre` waits for one of the gateway's own on each
//! new server connection, `one` for whatever is outstanding, `els` asks for another connection than a used one, `bye` says
//! good-bye. `undo` right behind a request that has not been sent takes it back.
//! A bell is answered with `ding`.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use tokio::io::DuplexStream;

use super::toy_server::{Database, KillSwitch};
use crate::{
    backend::{
        Access, Backend, Dialogue, Heard, Leave, Onward, Opened, Outbox, Reset, ResetDepth, SessionReset, SessionState,
        Step, TransactionDetection,
    },
    refusal::{Fault, OpenError, Refusal},
};

/// A database of the toy family.
pub struct Toy(pub Arc<Database>);

/// A server connection.
#[derive(Debug, Default)]
pub struct Session {
    outstanding: u32,
    completed: u64,
    in_transaction: bool,
    touched: bool,
    prepared: bool,
    left: bool,
    /// Answers to requests of the gateway's own, which come first.
    swallow: u32,
}

/// A client's conversation.
#[derive(Debug, Default)]
pub struct Talk;

impl Backend for Toy {
    const KIND: &'static str = "toy";
    type ClientIo = DuplexStream;
    type ServerIo = DuplexStream;
    type Session = Session;
    type Dialogue = Talk;
    type Profile = ();
    type CancelKey = KillSwitch;

    async fn open(&self, (): &()) -> Result<Opened<Self>, OpenError> {
        tokio::time::sleep(self.0.login_delay()).await;
        let (io, kill_switch) = self.0.connect()?;
        Ok(Opened {
            io,
            session: Session::default(),
            cancel_key: Some(kill_switch),
        })
    }

    async fn cancel(&self, key: &KillSwitch) -> Result<(), OpenError> {
        let (key, delay) = (key.clone(), self.0.cancel_delay());
        // It is on its way, whoever waits for it.
        let arrival = tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            key.press();
        });
        arrival.await.map_err(|error| OpenError::Unreachable(error.to_string()))
    }
}

impl TransactionDetection for Session {
    fn state(&self) -> SessionState {
        match (self.outstanding, self.in_transaction) {
            (0, false) => SessionState::Idle,
            (0, true) => SessionState::InTransaction { failed: false },
            _ => SessionState::Busy,
        }
    }

    fn completed(&self) -> u64 {
        self.completed
    }

    fn while_idle(&mut self, _: &[u8]) -> Result<(), Fault> {
        Err(Fault::Server("the toy's server never speaks first"))
    }
}

impl SessionReset for Session {
    fn begin_reset(&mut self, depth: ResetDepth, out: &mut BytesMut) -> Reset {
        match depth {
            ResetDepth::WhatChanged if self.touched => {}
            ResetDepth::Everything => {}
            _ => return Reset::Done,
        }
        self.touched = false;
        self.outstanding = 1;
        out.put_slice(&request("reset"));
        Reset::Await
    }

    fn continue_reset(&mut self, input: &mut BytesMut) -> Result<Reset, Fault> {
        match answer_length(input) {
            Some(length) if input.len() as u64 >= length => {
                input.clear();
                self.outstanding = 0;
                Ok(Reset::Done)
            }
            _ => Ok(Reset::Await),
        }
    }
}

impl Dialogue for Talk {
    type Session = Session;

    fn from_client(&mut self, bytes: &[u8], session: Option<&mut Session>, out: &mut Outbox) -> Result<Step, Fault> {
        let Some((length, text)) = bytes.split_first_chunk::<4>() else {
            return Ok(Step::Need(4));
        };
        let length = u32::from_be_bytes(*length);
        if length < 4 {
            return Err(Fault::Client("length below that of the length"));
        }
        let seen = (length as usize).min(4 + "bye".len());
        if bytes.len() < seen {
            return Ok(Step::Need(seen));
        }
        if text.starts_with(b"bye") {
            return Ok(Step::Finish);
        }
        let Some(session) = session else {
            if self.withdraws(bytes) {
                out.to_client.put_slice(&answer(b'i', b"undone"));
                return Ok(Step::Skip(u64::from(length) + UNDO.len() as u64 + 4));
            }
            return Ok(Step::Lease(Access::ReadWrite));
        };
        if text.starts_with(b"pre") && !session.prepared {
            session.prepared = true;
            session.outstanding += 1;
            session.swallow += 1;
            out.to_server.put_slice(&request("slow 50"));
            return Ok(Step::Hold);
        }
        if text.starts_with(b"els") && session.completed > 0 && !session.left {
            session.left = true;
            return Ok(Step::Lease(Access::ReadWrite));
        }
        if text.starts_with(b"one") && session.outstanding > 0 {
            return Ok(Step::Hold);
        }
        session.outstanding += 1;
        session.touched |= text.starts_with(b"set");
        Ok(Step::Forward(length.into()))
    }

    fn from_server(&mut self, bytes: &[u8], session: &mut Session, _: &mut Outbox) -> Result<Step, Fault> {
        let Some(length) = answer_length(bytes) else {
            return Ok(Step::Need(5));
        };
        session.outstanding = session
            .outstanding
            .checked_sub(1)
            .ok_or(Fault::Server("an answer to nothing"))?;
        session.completed += 1;
        session.in_transaction = bytes[0] == b't';
        if session.swallow > 0 {
            session.swallow -= 1;
            return Ok(Step::Skip(length));
        }
        Ok(Step::Forward(length))
    }

    fn writes(&self, session: &Session) -> u64 {
        session.touched.into()
    }

    fn withdraws(&self, bytes: &[u8]) -> bool {
        let length = bytes
            .first_chunk()
            .map_or(0, |length| u32::from_be_bytes(*length) as usize);
        let behind = bytes.get(length.max(4)..).unwrap_or_default();
        behind.get(4..).is_some_and(|text| text.starts_with(UNDO))
    }

    fn has_request_under_way(&self, session: &Session) -> bool {
        session.outstanding > session.swallow
    }

    fn on_bell(&mut self, session: Option<&mut Session>, out: &mut Outbox) -> Heard {
        if session.is_some_and(|session| session.state() != SessionState::Idle) {
            return Heard::Later;
        }
        out.to_client.put_slice(&answer(b'i', b"ding"));
        Heard::Done
    }

    fn adopt(&mut self, _: &mut Session, _: &mut Outbox) {}

    fn release(&mut self, _: &mut Session) {}

    fn refuse(&mut self, why: &Refusal, out: &mut Outbox) -> Onward {
        out.to_client
            .put_slice(&answer(b'i', format!("refused: {why:?}").as_bytes()));
        Onward::Finish
    }

    fn server_lost(&mut self, _: &mut Session, _: bool, out: &mut Outbox) -> Onward {
        out.to_client.put_slice(&answer(b'i', b"server lost"));
        Onward::Finish
    }

    fn abandon_transaction(&mut self, session: &mut Session, _: &Refusal, out: &mut Outbox) {
        session.outstanding += 1;
        session.swallow += 1;
        out.to_server.put_slice(&request("rollback"));
    }

    fn leave(&mut self, session: &mut Session, mid_message: bool, out: &mut Outbox) -> Leave {
        if mid_message {
            return Leave::Discard("half a request");
        }
        if session.state() == (SessionState::InTransaction { failed: false }) {
            self.abandon_transaction(session, &Refusal::Terminated, out);
        }
        Leave::Drain { cancel: true }
    }
}

/// Takes the request in front of it back.
const UNDO: &[u8] = b"undo";

/// A request in bytes.
pub fn request(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u32 + 4).to_be_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// An answer in bytes.
pub fn answer(status: u8, text: &[u8]) -> Vec<u8> {
    let mut bytes = vec![status];
    bytes.extend_from_slice(&(text.len() as u32).to_be_bytes());
    bytes.extend_from_slice(text);
    bytes
}

fn answer_length(bytes: &[u8]) -> Option<u64> {
    let length = bytes.get(1..5)?.first_chunk::<4>()?;
    Some(5 + u64::from(u32::from_be_bytes(*length)))
}
