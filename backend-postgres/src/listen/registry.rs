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

use super::{
    line::{Notification, quote_all},
    listener::{Cut, CutOver, Listener, Place, Readable, Standing, Taken},
};
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

impl Registry {
    /// A client comes.
    pub(super) fn enter(&mut self, bell: Bell) -> ListenerId {
        let id = self.number();
        self.listeners.insert(id, Listener::new(bell));
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
            // While the connection is down, all of them are due when it comes.
            if subject.on_server == OnServer::Unheard && matches!(self.line, Line::Up { .. }) {
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
        listener.drop_waiting(&gone);
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

    /// Takes out what waits for the client.
    pub(super) fn take(&mut self, id: ListenerId, most: usize, readable: Readable, out: &mut BytesMut) -> Taken {
        let listener = self.listeners.get_mut(&id);
        listener.map_or(Taken::All, |listener| listener.take(most, readable, out))
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

/// What a mark says: whose it is, and its number.
pub(super) fn write_mark(id: ListenerId, number: u64) -> String {
    format!("{id}.{number}")
}

fn read_mark(payload: &[u8]) -> Option<(ListenerId, u64)> {
    let (id, number) = std::str::from_utf8(payload).ok()?.split_once('.')?;
    Some((id.parse().ok()?, number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(registry: &mut Registry, channel: &str, payload: &str) {
        let message = [
            b"A\0\0\0\0\0\0\0\0",
            channel.as_bytes(),
            b"\0",
            payload.as_bytes(),
            b"\0",
        ]
        .concat();
        registry.heard(&Notification {
            channel: channel.as_bytes(),
            payload: payload.as_bytes(),
            message: &message,
        });
    }

    fn channel(name: &str) -> Channel {
        name.as_bytes().into()
    }

    /// A registry with a connection, and one client that has passed its mark for this channel.
    fn with_listener(name: &str) -> (Registry, ListenerId) {
        let mut registry = Registry::default();
        let id = registry.enter(Bell::default());
        assert!(registry.want(id, &[channel(name)]));
        registry.up(channel("marks"));
        assert_eq!(registry.next_batch(), Some(format!("LISTEN \"{name}\"; ").into_bytes()));
        assert_eq!(registry.begin_cut(id), None, "not heard yet");
        registry.answered();
        let (number, marks) = registry.begin_cut(id).expect("a mark");
        heard(&mut registry, name, "before");
        heard(
            &mut registry,
            std::str::from_utf8(&marks).unwrap(),
            &write_mark(id, number),
        );
        assert_eq!(registry.cut(id, number), CutOver::Passed);
        (registry, id)
    }

    fn take(registry: &mut Registry, id: ListenerId, readable: Readable) -> (Taken, usize) {
        let mut out = BytesMut::new();
        let taken = registry.take(id, usize::MAX, readable, &mut out);
        (taken, out.iter().filter(|byte| **byte == b'A').count())
    }

    #[test]
    fn only_what_stands_behind_the_mark_is_told() {
        let (mut registry, id) = with_listener("a");
        heard(&mut registry, "a", "behind");
        heard(&mut registry, "b", "of another channel");
        assert_eq!(take(&mut registry, id, Readable::All), (Taken::All, 1));
    }

    #[test]
    fn what_waits_is_bounded_and_then_the_client_is_ended() {
        for payload in [String::new(), "x".repeat(7_000)] {
            let (mut registry, id) = with_listener("a");
            for _ in 0..=limits::MAX_WAITING_NOTIFICATIONS {
                heard(&mut registry, "a", &payload);
            }
            assert_eq!(registry.standing(id), Standing::TooSlow);
            assert_eq!(take(&mut registry, id, Readable::All), (Taken::All, 0));
        }
    }

    #[test]
    fn a_client_of_another_encoding_is_told_what_is_the_same_in_all() {
        let (mut registry, id) = with_listener("a");
        heard(&mut registry, "a", "plain");
        heard(&mut registry, "a", "b\u{fc}cher");
        assert_eq!(take(&mut registry, id, Readable::Ascii), (Taken::Unreadable, 1));
    }

    #[test]
    fn channels_that_nobody_wants_are_left() {
        let (mut registry, id) = with_listener("a");
        registry.leave(id);
        assert!(!registry.is_wanted());
        assert_eq!(registry.next_batch().as_deref(), Some(&b"UNLISTEN \"a\"; "[..]));
        // Somebody comes while that is on its way.
        let id = registry.enter(Bell::default());
        assert!(registry.want(id, &[channel("a")]));
        assert_eq!(registry.next_batch(), None);
        registry.answered();
        assert_eq!(registry.next_batch().as_deref(), Some(&b"LISTEN \"a\"; "[..]));
        registry.leave(id);
        registry.answered();
        assert_eq!(registry.next_batch().as_deref(), Some(&b"UNLISTEN \"a\"; "[..]));
        registry.answered();
        assert!(registry.channels.is_empty() && registry.listeners.is_empty());
    }

    #[test]
    fn clients_that_come_and_go_while_the_connection_is_down_leave_nothing() {
        let mut registry = Registry::default();
        let id = registry.enter(Bell::default());
        for _ in 0..1_000 {
            assert!(registry.want(id, &[channel("a")]));
            registry.forget(id, &[channel("a")]);
        }
        assert!(registry.due.is_empty() && registry.channels.is_empty());
        registry.want(id, &[channel("a")]);
        registry.up(channel("marks"));
        assert_eq!(registry.next_batch().as_deref(), Some(&b"LISTEN \"a\"; "[..]));
    }

    #[test]
    fn there_is_room_for_so_many_channels() {
        let mut registry = Registry::default();
        let id = registry.enter(Bell::default());
        for number in 0..limits::MAX_SHARED_CHANNELS {
            assert!(registry.want(id, &[channel(&number.to_string())]));
        }
        assert!(!registry.want(id, &[channel("one more")]));
        assert!(registry.want(id, &[channel("7")]), "one that is there");
    }

    #[test]
    fn a_connection_that_hears_no_mark_is_unfit() {
        let mut registry = Registry::default();
        let id = registry.enter(Bell::default());
        registry.want(id, &[channel("a")]);
        registry.up(channel("marks"));
        registry.next_batch();
        registry.answered();
        let (number, _) = registry.begin_cut(id).expect("a mark");
        let (now, patience) = (weir_core::clock::now(), Duration::from_secs(5));
        assert_eq!(registry.expire(now, patience), Some(now + patience));
        assert_eq!(registry.expire(now + patience, patience), None);
        assert_eq!(registry.cut(id, number), CutOver::Failed);
        assert!(registry.is_unfit() && !registry.is_wanted() && !registry.want(id, &[channel("a")]));
    }

    #[test]
    fn marks_of_others_and_nonsense_pass_nobody() {
        let (mut registry, id) = with_listener("a");
        registry.want(id, &[channel("b")]);
        registry.next_batch();
        registry.answered();
        let (number, _) = registry.begin_cut(id).expect("a mark");
        let others = [
            write_mark(id + 1, number),
            write_mark(id, number - 1),
            "1".to_owned(),
            "x.y".to_owned(),
        ];
        for payload in others {
            heard(&mut registry, "marks", &payload);
            assert_eq!(registry.cut(id, number), CutOver::UnderWay, "{payload}");
        }
    }
}
