//! Who listens to what through the shared connection, and what waits for whom.
//!
//! Pure: the shared connection's task tells it what the server answered, clients what they want; time is an argument.
//! Invariants: a channel counts as heard only when the server has answered the LISTEN for it; a client is told what comes
//! behind its mark and nothing from before; what waits for one client is bounded, and a client beyond the bound is ended,
//! never told less; a connection that is lost ends every client that relied on it, because nobody knows what it missed.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    task::Waker,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use weir_core::{clock::Instant, front::Bell, refusal::Rejection};

use super::line::{Notification, quote_all};
use crate::limits;

/// The name of a channel, in the bytes of the database's encoding.
pub(crate) type Channel = Arc<[u8]>;

/// Channels for marks are named like this and 32 hexadecimal digits.
pub(crate) const MARK_PREFIX: &str = "weir_mark_";

/// What a listening client is, to its registry.
pub(super) type ListenerId = u64;

/// Everything about one shared connection.
#[derive(Debug, Default)]
pub(super) struct Registry {
    listeners: HashMap<ListenerId, Listener>,
    channels: HashMap<Channel, Subject>,
    /// Channels whose LISTEN or UNLISTEN may be due.
    due: VecDeque<Channel>,
    line: Line,
    /// Who waits for a mark.
    cutting: Vec<ListenerId>,
    /// The last number given to a client or a mark.
    last: u64,
    /// Counts what clients have changed.
    version: u64,
    /// Of the task that moves the bytes.
    task: Option<Waker>,
}

#[derive(Debug, Default)]
enum Line {
    #[default]
    Down,
    Up {
        /// The channel for marks.
        marks: Channel,
        /// What a LISTEN or UNLISTEN on its way is about; `None` = nothing is on its way.
        asked: Option<Vec<Channel>>,
        fitness: Fitness,
    },
}

/// Whether the connection hears what clients' own connections hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fitness {
    Unproven,
    Proven,
    /// It does not: it leads to another server, or a proxy stands in between.
    Unfit,
}

/// A channel.
#[derive(Debug, Default)]
struct Subject {
    listeners: Vec<ListenerId>,
    on_server: OnServer,
}

/// What the server knows of a channel, by its answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum OnServer {
    #[default]
    Unheard,
    Asked,
    Heard,
    Leaving,
}

#[derive(Debug)]
struct Listener {
    bell: Bell,
    places: HashMap<Channel, Place>,
    cut: Option<Cut>,
    refused: bool,
    waiting: VecDeque<Waiting>,
    bytes: usize,
    standing: Standing,
}

/// Where a client stands with a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Its own connection hears it.
    Wanted,
    /// The same, until the mark comes.
    Cutting,
    /// This one does.
    Taken,
}

#[derive(Debug)]
struct Cut {
    number: u64,
    outcome: CutOver,
    deadline: Option<Instant>,
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

impl Registry {
    /// A client comes.
    pub(super) fn enter(&mut self, bell: Bell) -> ListenerId {
        let id = self.number();
        let listener = Listener {
            bell,
            places: HashMap::new(),
            cut: None,
            refused: false,
            waiting: VecDeque::new(),
            bytes: 0,
            standing: Standing::Sound,
        };
        self.listeners.insert(id, listener);
        id
    }

    /// A client goes.
    pub(super) fn leave(&mut self, id: ListenerId) {
        if let Some(listener) = self.listeners.remove(&id) {
            for channel in listener.places.into_keys() {
                self.part(id, &channel);
            }
            self.cutting.retain(|cutting| *cutting != id);
            self.wake();
        }
    }

    /// A client wants these channels heard; false if there is no room for them.
    pub(super) fn want(&mut self, id: ListenerId, channels: &[Channel]) -> bool {
        let fresh = channels.iter().filter(|channel| !self.channels.contains_key(*channel));
        if self.channels.len() + fresh.count() > limits::MAX_SHARED_CHANNELS {
            return false;
        }
        let Some(listener) = self.listeners.get_mut(&id).filter(|listener| !listener.refused) else {
            return false;
        };
        for channel in channels {
            if listener.places.contains_key(channel) {
                continue;
            }
            listener.places.insert(channel.clone(), Place::Wanted);
            let subject = self.channels.entry(channel.clone()).or_default();
            subject.listeners.push(id);
            if subject.on_server == OnServer::Unheard {
                self.due.push_back(channel.clone());
            }
        }
        self.wake();
        true
    }

    /// A client does not listen to these any more: also what waits for it of them is for nobody.
    pub(super) fn forget(&mut self, id: ListenerId, channels: &[Channel]) {
        let Some(listener) = self.listeners.get_mut(&id) else {
            return;
        };
        let gone: Vec<_> = channels
            .iter()
            .filter(|channel| listener.places.remove(*channel).is_some())
            .collect();
        if gone.is_empty() {
            return;
        }
        listener.waiting.retain(|waiting| !gone.contains(&&waiting.channel));
        listener.bytes = listener.waiting.iter().map(|waiting| waiting.message.len()).sum();
        for channel in gone {
            self.part(id, channel);
        }
        self.wake();
    }

    /// Begins a client's cut-over, if everything that it wants is heard and the connection is fit for it: the mark that
    /// its own connection has to notify of.
    pub(super) fn begin_cut(&mut self, id: ListenerId) -> Option<(u64, Channel)> {
        let Line::Up { marks, fitness, .. } = &self.line else {
            return None;
        };
        let listener = self.listeners.get_mut(&id)?;
        let is_free = listener.cut.as_ref().is_none_or(|cut| cut.outcome != CutOver::UnderWay);
        let heard = |channel: &Channel| {
            let subject = self.channels.get(channel);
            subject.is_some_and(|subject| subject.on_server == OnServer::Heard)
        };
        let mut wanted = listener.places.iter().filter(|(_, place)| **place != Place::Taken);
        if listener.refused || *fitness == Fitness::Unfit || !is_free || !wanted.all(|(channel, _)| heard(channel)) {
            return None;
        }
        for place in listener.places.values_mut().filter(|place| **place == Place::Wanted) {
            *place = Place::Cutting;
        }
        let marks = marks.clone();
        self.last += 1;
        listener.cut = Some(Cut {
            number: self.last,
            outcome: CutOver::UnderWay,
            deadline: None,
        });
        self.cutting.push(id);
        self.wake();
        Some((self.last, marks))
    }

    /// How far a cut-over is.
    pub(super) fn cut(&self, id: ListenerId, number: u64) -> CutOver {
        let cut = self.listeners.get(&id).and_then(|listener| listener.cut.as_ref());
        cut.filter(|cut| cut.number == number)
            .map_or(CutOver::Failed, |cut| cut.outcome)
    }

    /// The client's own connection did not do its part: it goes on as before. `for_good`: it need not be tried again.
    pub(super) fn abandon_cut(&mut self, id: ListenerId, for_good: bool) {
        let Some(listener) = self.listeners.get_mut(&id) else {
            return;
        };
        listener.fail_cut();
        self.cutting.retain(|cutting| *cutting != id);
        if for_good {
            self.refuse(id);
        }
    }

    /// What the client listens to beyond what is taken already stays with its own connection.
    fn refuse(&mut self, id: ListenerId) {
        let Some(listener) = self.listeners.get_mut(&id) else {
            return;
        };
        listener.refused = true;
        let wanted = listener.places.iter().filter(|(_, place)| **place != Place::Taken);
        let wanted: Vec<_> = wanted.map(|(channel, _)| channel.clone()).collect();
        self.forget(id, &wanted);
    }

    /// Nothing that was lost concerned the client: it begins anew.
    pub(super) fn restart(&mut self, id: ListenerId) {
        if let Some(listener) = self.listeners.get_mut(&id) {
            listener.restart();
        }
        self.wake();
    }

    /// What the client can rely on.
    pub(super) fn standing(&self, id: ListenerId) -> Standing {
        let listener = self.listeners.get(&id);
        listener.map_or(Standing::Lost(None), |listener| listener.standing.clone())
    }

    /// Takes out what waits for the client, at most `most` bytes at a time; whether more is waiting.
    pub(super) fn take(&mut self, id: ListenerId, most: usize, out: &mut BytesMut) -> bool {
        let Some(listener) = self.listeners.get_mut(&id) else {
            return false;
        };
        let mut taken = 0;
        while taken < most
            && let Some(waiting) = listener.waiting.pop_front()
        {
            taken += waiting.message.len();
            listener.bytes -= waiting.message.len();
            out.extend_from_slice(&waiting.message);
        }
        if listener.waiting.is_empty() {
            listener.waiting = VecDeque::new();
        }
        !listener.waiting.is_empty()
    }

    /// Whether anybody listens.
    pub(super) fn is_wanted(&self) -> bool {
        self.channels.values().any(|subject| !subject.listeners.is_empty())
    }

    /// The connection is there. `marks` is the channel that it listens to for marks: a name that nobody else has.
    pub(super) fn up(&mut self, marks: Channel) {
        self.line = Line::Up {
            marks,
            asked: None,
            fitness: Fitness::Unproven,
        };
        self.due = self.channels.keys().cloned().collect();
    }

    /// What the server has to be told, if anything and if it has answered what it was told before.
    pub(super) fn next_batch(&mut self) -> Option<Vec<u8>> {
        let Line::Up { asked: None, .. } = self.line else {
            return None;
        };
        let (mut text, mut asked) = (Vec::new(), Vec::new());
        while asked.len() < limits::MAX_LISTEN_BATCH
            && let Some(channel) = self.due.pop_front()
        {
            let Some(subject) = self.channels.get_mut(&channel) else {
                continue;
            };
            let (words, next) = match (subject.on_server, subject.listeners.is_empty()) {
                (OnServer::Unheard, false) => ("LISTEN", OnServer::Asked),
                (OnServer::Heard, true) => ("UNLISTEN", OnServer::Leaving),
                (OnServer::Unheard, true) => {
                    self.channels.remove(&channel);
                    continue;
                }
                _ => continue,
            };
            subject.on_server = next;
            quote_all(words, std::slice::from_ref(&channel), &mut text);
            asked.push(channel);
        }
        if asked.is_empty() {
            return None;
        }
        if let Line::Up { asked: slot, .. } = &mut self.line {
            *slot = Some(asked);
        }
        Some(text)
    }

    /// The server has done what it was told.
    pub(super) fn answered(&mut self) {
        let Line::Up { asked, .. } = &mut self.line else { return };
        for channel in asked.take().unwrap_or_default() {
            let Some(subject) = self.channels.get_mut(&channel) else {
                continue;
            };
            let is_wanted = !subject.listeners.is_empty();
            match (subject.on_server, is_wanted) {
                (OnServer::Asked, _) => {
                    subject.on_server = OnServer::Heard;
                    if !is_wanted {
                        self.due.push_back(channel);
                        continue;
                    }
                    for id in &subject.listeners {
                        if let Some(listener) = self.listeners.get(id) {
                            listener.bell.ring();
                        }
                    }
                }
                (OnServer::Leaving, true) => {
                    subject.on_server = OnServer::Unheard;
                    self.due.push_back(channel);
                }
                (OnServer::Leaving, false) => {
                    self.channels.remove(&channel);
                }
                (OnServer::Unheard | OnServer::Heard, _) => {}
            }
        }
    }

    /// A notification has come.
    pub(super) fn heard(&mut self, notification: &Notification<'_>) {
        let Line::Up { marks, fitness, .. } = &mut self.line else {
            return;
        };
        if *notification.channel == **marks {
            let Some((id, number)) = read_mark(notification.payload) else {
                return;
            };
            if let Some(listener) = self.listeners.get_mut(&id)
                && listener.pass_cut(number)
            {
                *fitness = Fitness::Proven;
                self.cutting.retain(|cutting| *cutting != id);
            }
            return;
        }
        let Some((channel, subject)) = self.channels.get_key_value(notification.channel) else {
            return;
        };
        let message = Bytes::copy_from_slice(notification.message);
        for id in &subject.listeners {
            if let Some(listener) = self.listeners.get_mut(id) {
                listener.deliver(channel, &message);
            }
        }
    }

    /// The connection is gone, or is closed because nobody needs it. Whoever relied on it is told.
    pub(super) fn down(&mut self, last_words: Option<&Rejection>) {
        self.line = Line::Down;
        self.due.clear();
        self.cutting.clear();
        self.channels.retain(|_, subject| {
            subject.on_server = OnServer::Unheard;
            !subject.listeners.is_empty()
        });
        for listener in self.listeners.values_mut() {
            listener.lose(last_words);
        }
    }

    /// Gives up on marks that did not come in time; when to look again. Marks that have just been set get their time.
    pub(super) fn expire(&mut self, now: Instant, patience: Duration) -> Option<Instant> {
        let mut earliest: Option<Instant> = None;
        let mut expired = Vec::new();
        let listeners = &mut self.listeners;
        self.cutting.retain(|id| {
            let Some(listener) = listeners.get_mut(id) else {
                return false;
            };
            let Some(cut) = &mut listener.cut else { return false };
            let deadline = *cut.deadline.get_or_insert(now + patience);
            if deadline > now {
                earliest = Some(earliest.map_or(deadline, |earliest| earliest.min(deadline)));
                return true;
            }
            listener.fail_cut();
            listener.bell.ring();
            expired.push(*id);
            false
        });
        if !expired.is_empty()
            && let Line::Up { fitness, .. } = &mut self.line
            && *fitness == Fitness::Unproven
        {
            *fitness = Fitness::Unfit;
        }
        for id in expired {
            self.refuse(id);
        }
        earliest
    }

    /// Whether the connection has turned out not to hear what it should.
    pub(super) fn is_unfit(&self) -> bool {
        matches!(
            self.line,
            Line::Up {
                fitness: Fitness::Unfit,
                ..
            }
        )
    }

    /// The task wants to be woken when something has to be done.
    pub(super) fn wake_me(&mut self, task: &Waker) {
        match &mut self.task {
            Some(known) if known.will_wake(task) => {}
            other => *other = Some(task.clone()),
        }
    }

    /// Moves when a client has changed something.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    fn wake(&mut self) {
        self.version = self.version.wrapping_add(1);
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }

    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn part(&mut self, id: ListenerId, channel: &Channel) {
        let Some(subject) = self.channels.get_mut(channel) else {
            return;
        };
        subject.listeners.retain(|listener| *listener != id);
        match self.line {
            _ if !subject.listeners.is_empty() => {}
            Line::Up { .. } => self.due.push_back(channel.clone()),
            Line::Down => {
                self.channels.remove(channel);
            }
        }
    }
}

impl Listener {
    fn deliver(&mut self, channel: &Channel, message: &Bytes) {
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
    fn pass_cut(&mut self, number: u64) -> bool {
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

    fn fail_cut(&mut self) {
        if let Some(cut) = &mut self.cut
            && cut.outcome == CutOver::UnderWay
        {
            cut.outcome = CutOver::Failed;
        }
        for place in self.places.values_mut().filter(|place| **place == Place::Cutting) {
            *place = Place::Wanted;
        }
    }

    fn lose(&mut self, last_words: Option<&Rejection>) {
        self.fail_cut();
        if self.places.values().any(|place| *place == Place::Taken) && self.standing == Standing::Sound {
            self.empty();
            self.standing = Standing::Lost(last_words.cloned().map(Box::new));
        }
        self.bell.ring();
    }

    fn restart(&mut self) {
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

/// What a mark says: whose it is, and its number.
pub(super) fn write_mark(id: ListenerId, number: u64) -> String {
    format!("{id}.{number}")
}

fn read_mark(payload: &[u8]) -> Option<(ListenerId, u64)> {
    let (id, number) = std::str::from_utf8(payload).ok()?.split_once('.')?;
    Some((id.parse().ok()?, number.parse().ok()?))
}
