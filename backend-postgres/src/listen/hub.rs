//! The registry as clients' conversations see it: each holds a [`Member`], and leaves by dropping it.
//!
//! Invariant: the lock is held for a look-up or a hand-over, never across anything that waits.

use std::sync::Arc;

use bytes::BytesMut;
use parking_lot::Mutex;
use weir_core::front::Bell;

use super::{
    listener::{CutOver, Readable, Standing, Taken},
    registry::{Channel, ListenerId, Registry, write_mark},
};

/// One endpoint's shared listener.
#[derive(Debug, Default)]
pub struct Hub {
    registry: Mutex<Registry>,
}

/// A client that listens, or wants to, through the shared connection.
#[derive(Debug)]
pub(crate) struct Member {
    hub: Arc<Hub>,
    id: ListenerId,
}

/// What a client's own connection has to notify of, so that both connections know where one takes over from the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Which cut-over it is.
    pub(crate) number: u64,
    /// Where to.
    pub(crate) channel: Channel,
    /// What.
    pub(crate) payload: String,
}

impl Hub {
    /// Nobody listens yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A client comes, whose bell is rung when something has come for it.
    pub(crate) fn enter(self: &Arc<Self>, bell: Bell) -> Member {
        Member {
            hub: self.clone(),
            id: self.registry.lock().enter(bell),
        }
    }

    /// For the task that moves the bytes.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Registry) -> T) -> T {
        work(&mut self.registry.lock())
    }
}

impl Member {
    /// Wants these channels heard; false if there is no room for them, or no use in it.
    pub(crate) fn want(&self, channels: &[Channel]) -> bool {
        self.hub.with(|registry| registry.want(self.id, channels))
    }

    /// These are not listened to any more.
    pub(crate) fn forget(&self, channels: &[Channel]) {
        self.hub.with(|registry| registry.forget(self.id, channels));
    }

    /// Begins the cut-over, if the shared connection hears everything that is wanted.
    pub(crate) fn begin_cut(&self) -> Option<Mark> {
        let (number, channel) = self.hub.with(|registry| registry.begin_cut(self.id))?;
        Some(Mark {
            number,
            channel,
            payload: write_mark(self.id, number),
        })
    }

    /// How far it is.
    pub(crate) fn cut(&self, number: u64) -> CutOver {
        self.hub.with(|registry| registry.cut(self.id, number))
    }

    /// The client's own connection goes on; `for_good`: there is no use in another attempt.
    pub(crate) fn abandon_cut(&self, for_good: bool) {
        self.hub.with(|registry| registry.abandon_cut(self.id, for_good));
    }

    /// Begins anew.
    pub(crate) fn restart(&self) {
        self.hub.with(|registry| registry.restart(self.id));
    }

    /// What the client can rely on.
    pub(crate) fn standing(&self) -> Standing {
        self.hub.with(|registry| registry.standing(self.id))
    }

    /// Takes out what waits, at most `most` bytes and one message more.
    pub(crate) fn take(&self, most: usize, readable: Readable, out: &mut BytesMut) -> Taken {
        self.hub.with(|registry| registry.take(self.id, most, readable, out))
    }

    /// Whether it is a member of this hub.
    pub(crate) fn is_of(&self, hub: &Arc<Hub>) -> bool {
        Arc::ptr_eq(&self.hub, hub)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.hub.with(|registry| registry.leave(self.id));
    }
}
