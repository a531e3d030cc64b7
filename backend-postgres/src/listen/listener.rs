//! One listening client, as the registry knows it: where it stands with each channel, and what waits for it.
//!
//! Pure. Invariants: what waits is bounded, and a client beyond the bound is ended, never told less; the bell rings for
//! whatever the client's conversation has to look at.

use std::collections::{HashMap, VecDeque};

use bytes::{Bytes, BytesMut};
use weir_core::{clock::Instant, front::Bell, refusal::Rejection};

use super::registry::Channel;
use crate::{limits, wire::HEAD};

#[derive(Debug)]
pub(super) struct Listener {
    pub(super) bell: Bell,
    pub(super) places: HashMap<Channel, Place>,
    pub(super) cut: Option<Cut>,
    /// The shared connection is of no use to it.
    pub(super) refused: bool,
    waiting: VecDeque<Waiting>,
    bytes: usize,
    pub(super) standing: Standing,
}

/// Where a client stands with a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Its own connection hears it.
    Wanted,
    /// The same, until the mark comes.
    Cutting,
    /// This one does.
    Taken,
}

/// A mark that is waited for, or was.
#[derive(Debug)]
pub(super) struct Cut {
    pub(super) number: u64,
    pub(super) outcome: CutOver,
    pub(super) deadline: Option<Instant>,
}

/// How far a client's cut-over is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CutOver {
    /// The mark has not come yet.
    UnderWay,
    /// It has: what stands behind it comes from the shared connection.
    Passed,
    /// It will not: the client's own connection goes on.
    Failed,
}

/// A notification for one client; its bytes are shared with the others.
#[derive(Debug)]
struct Waiting {
    channel: Channel,
    message: Bytes,
}

/// Which notifications a client can read as the shared connection has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readable {
    All,
    /// Its encoding is not the database's.
    Ascii,
}

/// What became of an attempt to take what waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Nothing is left.
    All,
    /// More is waiting.
    Some,
    /// The next one is not in the client's encoding.
    Unreadable,
}

/// Whether a client can rely on the shared connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It can.
    Sound,
    /// The connection was lost: with the server's last words, if it had any.
    Lost(Option<Box<Rejection>>),
    /// More was waiting for the client than may wait.
    TooSlow,
}

impl Listener {
    pub(super) fn new(bell: Bell) -> Self {
        Listener {
            bell,
            places: HashMap::new(),
            cut: None,
            refused: false,
            waiting: VecDeque::new(),
            bytes: 0,
            standing: Standing::Sound,
        }
    }

    /// What waits of these channels is for nobody.
    pub(super) fn drop_waiting(&mut self, gone: &[&Channel]) {
        self.waiting.retain(|waiting| !gone.contains(&&waiting.channel));
        self.bytes = self.waiting.iter().map(|waiting| waiting.message.len()).sum();
    }

    /// Takes out what waits, at most `most` bytes and one message more, and nothing that the client could not read.
    pub(super) fn take(&mut self, most: usize, readable: Readable, out: &mut BytesMut) -> Taken {
        let mut taken = 0;
        while taken < most
            && let Some(waiting) = self.waiting.pop_front()
        {
            let text = waiting.message.get(HEAD + 4..).unwrap_or_default();
            if readable == Readable::Ascii && !text.is_ascii() {
                return Taken::Unreadable;
            }
            taken += waiting.message.len();
            self.bytes -= waiting.message.len();
            out.extend_from_slice(&waiting.message);
        }
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
            return Taken::All;
        }
        Taken::Some
    }

    pub(super) fn deliver(&mut self, channel: &Channel, message: &Bytes) {
        if self.places.get(channel) != Some(&Place::Taken) || self.standing != Standing::Sound {
            return;
        }
        self.bytes += message.len();
        self.waiting.push_back(Waiting {
            channel: channel.clone(),
            message: message.clone(),
        });
        if self.waiting.len() > limits::MAX_WAITING_NOTIFICATIONS || self.bytes > limits::MAX_WAITING_NOTIFICATION_BYTES
        {
            self.empty();
            self.standing = Standing::TooSlow;
        }
        self.bell.ring();
    }

    /// The mark has come; whether it is the one that is waited for.
    pub(super) fn pass_cut(&mut self, number: u64) -> bool {
        let Some(cut) = &mut self.cut else { return false };
        if cut.number != number || cut.outcome != CutOver::UnderWay {
            return false;
        }
        cut.outcome = CutOver::Passed;
        for place in self.places.values_mut().filter(|place| **place == Place::Cutting) {
            *place = Place::Taken;
        }
        self.bell.ring();
        true
    }

    pub(super) fn fail_cut(&mut self) {
        if let Some(cut) = &mut self.cut
            && cut.outcome == CutOver::UnderWay
        {
            cut.outcome = CutOver::Failed;
        }
        for place in self.places.values_mut().filter(|place| **place == Place::Cutting) {
            *place = Place::Wanted;
        }
    }

    pub(super) fn lose(&mut self, last_words: Option<&Rejection>) {
        self.fail_cut();
        if self.places.values().any(|place| *place == Place::Taken) && self.standing == Standing::Sound {
            self.empty();
            self.standing = Standing::Lost(last_words.cloned().map(Box::new));
        }
        self.bell.ring();
    }

    pub(super) fn restart(&mut self) {
        self.empty();
        self.cut = None;
        self.standing = Standing::Sound;
        for place in self.places.values_mut() {
            *place = Place::Wanted;
        }
    }

    fn empty(&mut self) {
        (self.waiting, self.bytes) = (VecDeque::new(), 0);
    }
}
