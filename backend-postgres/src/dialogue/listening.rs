//! A listening client without a server connection of its own: what it listens to is heard by the shared connection
//! ([`crate::listen`]), and told to it between its transactions (specification S7.10).
//!
//! LISTEN and UNLISTEN are the server's business as ever. At the end of the transaction the server says which channels the
//! session listens to; for those the shared connection takes over, at a mark that both connections hear, and the session
//! lets go of them. Before anything that may change them again, or ask for them, the session is made to listen to them
//! once more. While both hear a channel, the client is told by one of them: by its own connection up to the mark, by the
//! shared one from there on.
//!
//! Invariants: a client that never listened owns nothing of this; nothing is told inside of its transactions or in the
//! middle of an answer; a connection that listens goes to nobody else.

use bytes::{BufMut as _, BytesMut};
use weir_core::{
    backend::{Heard, Outbox, Step},
    refusal::Fault,
};

use super::{Adoption, Conversation, Request, follow, refusals};
use crate::{
    limits,
    listen::{Channel, CutOver, MARK_PREFIX, Mark, Member, Notification, Readable, Standing, Taken, quote_all},
    session::{
        CopyState, Followed, Group, Listens, Parameters, Session,
        classify::{self, Opens, Shape},
        pending::{Disposition, Purpose},
        touched::Touches,
    },
    wire::{Head, client, query, ready_for_query::TransactionStatus, write},
};

/// What a client listens to.
#[derive(Debug)]
pub(super) struct Listening {
    member: Member,
    /// Heard by the shared connection.
    shared: Vec<Channel>,
    /// Heard by the server connection at hand, which the client keeps for them.
    own: Vec<Channel>,
    stage: Stage,
    /// Heard by the server connection at hand behind the mark, in case the shared one never comes to it.
    held_back: BytesMut,
    unreadable: Unreadable,
    /// Marks that could not be set.
    failures: u8,
}

/// Whether something has come that the client cannot read; it has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unreadable {
    No,
    Yes,
}

/// What became of telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    All,
    NotAll,
    Unreadable,
}

/// Whether the shared connection is taking over.
#[derive(Debug)]
enum Stage {
    Settled,
    Cutting {
        mark: Mark,
        /// For these.
        channels: Vec<Channel>,
        own: OwnMark,
    },
}

/// Whether the server connection at hand has heard the mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OwnMark {
    NotYet,
    Heard,
}

impl Conversation {
    /// Whether the shared connection hears something for the client.
    pub(super) fn is_listening(&self) -> bool {
        self.listening.is_some()
    }

    /// Ahead of what may change or ask for what the client listens to, the session is made to listen to it again.
    pub(super) fn load_channels(
        &mut self,
        head: Head,
        bytes: &[u8],
        session: &mut Session,
        out: &mut BytesMut,
    ) -> Option<Step> {
        let listening = self.listening.as_ref()?;
        let is_loaded = listening.shared.is_empty() || session.listens == Listens::Yes;
        if is_loaded || session.status != TransactionStatus::Idle {
            return None;
        }
        match leaves_listening_alone(head, bytes, session) {
            Err(needed) => return Some(Step::Need(needed)),
            Ok(true) => return None,
            Ok(false) => {}
        }
        if !is_only_ours(session) {
            return Some(Step::Hold);
        }
        let mut text = Vec::new();
        quote_all("LISTEN", &listening.shared, &mut text);
        session.ask(&text, Purpose::Listen, out);
        session.listens = Listens::Yes;
        self.pin(session);
        None
    }

    /// The server has said which channels the session listens to, if it was asked.
    pub(super) fn take_channels(&mut self, about: Touches, mut found: Vec<Channel>, session: &mut Session) {
        if !about.any(Touches::LISTEN | Touches::UNKNOWN) {
            return;
        }
        session.living = session.living.without(Touches::LISTEN);
        if found.len() > limits::MAX_CLIENT_CHANNELS {
            // Not all of them are known: the client keeps the connection, whatever else it listens to.
            session.living |= Touches::LISTEN;
            return;
        }
        let heard = found.len();
        found.retain(|channel| !channel.starts_with(MARK_PREFIX.as_bytes()));
        if self.listening.is_none()
            && !found.is_empty()
            // That of the server at hand: the source may have moved since the client came.
            && let Some(hub) = &session.hub
        {
            let member = hub.enter(self.bell.clone());
            self.listening = Some(Box::new(Listening::new(member)));
        }
        let Some(listening) = &mut self.listening else {
            if !found.is_empty() {
                session.living |= Touches::LISTEN;
            }
            return;
        };
        let is_loaded = listening.shared.is_empty() || session.listens == Listens::Yes;
        if is_loaded {
            let all = listening.shared.iter().chain(&listening.own);
            let gone: Vec<Channel> = all.filter(|channel| !found.contains(channel)).cloned().collect();
            listening.member.forget(&gone);
            if let Stage::Cutting { channels, .. } = &mut listening.stage {
                // Should it be listened to again, the mark on its way is not for it.
                channels.retain(|channel| !gone.contains(channel));
            }
            listening.shared.retain(|channel| found.contains(channel));
            session.listens = if heard == 0 { Listens::No } else { Listens::Yes };
        }
        found.retain(|channel| !listening.shared.contains(channel));
        listening.own = found;
        if !listening.own.is_empty() {
            session.living |= Touches::LISTEN;
        }
    }

    /// Between transactions: the shared connection takes over what it can, and the session lets go of what it has.
    pub(super) fn share_channels(&mut self, session: &mut Session, out: &mut BytesMut) {
        if self.listening.is_none() || !self.is_settled(session) {
            return;
        }
        let fits = self.can_share(session);
        let Some(listening) = &mut self.listening else { return };
        if matches!(listening.stage, Stage::Cutting { .. }) || !listening.held_back.is_empty() {
            return;
        }
        if !listening.own.is_empty() {
            if fits && session.living == Touches::LISTEN && listening.member.want(&listening.own) {
                listening.begin_cut(session, out);
            }
            return;
        }
        if !session.living.is_empty() {
            // The connection stays anyway.
            return;
        }
        if session.listens == Listens::Yes {
            if listening.failures >= limits::MAX_SETTLE_ATTEMPTS {
                // Not before something else has been done here.
                return;
            }
            session.ask(b"UNLISTEN *", Purpose::Unlisten, out);
            session.listens = Listens::No;
        }
        if listening.shared.is_empty() {
            self.listening = None;
        }
        self.pin(session);
    }

    /// Whether the shared connection hears what this session would, in the same bytes.
    fn can_share(&self, session: &Session) -> bool {
        let Some(listening) = &self.listening else { return false };
        let same_bytes = readable(&session.parameters) == Readable::All;
        let same_server = session.hub.as_ref().is_some_and(|hub| listening.member.is_of(hub));
        same_bytes && same_server && listening.shared.len() + listening.own.len() <= limits::MAX_CLIENT_CHANNELS
    }

    fn is_settled(&self, session: &Session) -> bool {
        self.follows()
            && !self.is_gone()
            && matches!(self.adoption, Adoption::Settled)
            && follow::is_at_rest(session)
            && session.status == TransactionStatus::Idle
            && has_settled(session)
    }

    /// A command of this is through; an error came first if it has failed.
    pub(super) fn listen_done(&mut self, purpose: Purpose, session: &mut Session) {
        let Some(listening) = &mut self.listening else { return };
        if purpose != Purpose::Mark {
            return;
        }
        if let Stage::Cutting {
            own: OwnMark::NotYet, ..
        } = listening.stage
        {
            // Without an error, and without the notification: a proxy has swallowed it.
            let for_good = listening.failures == 0 || listening.failures >= limits::MAX_SETTLE_ATTEMPTS;
            listening.member.abandon_cut(for_good);
            listening.stage = Stage::Settled;
        }
        self.advance_cut(session);
    }

    /// A command of this has failed.
    pub(super) fn listen_failed(&mut self, purpose: Purpose, session: &mut Session) -> Result<(), Fault> {
        match purpose {
            // The client's request runs behind it, on a session that does not listen. It must not be believed.
            Purpose::Listen => Err(session.fail("the server refused to listen again")),
            Purpose::Unlisten => {
                session.listens = Listens::Yes;
                self.pin(session);
                self.listening_failed(session);
                Ok(())
            }
            _ => {
                self.listening_failed(session);
                Ok(())
            }
        }
    }

    fn listening_failed(&mut self, session: &mut Session) {
        match &mut self.listening {
            Some(listening) => listening.failures = listening.failures.saturating_add(1),
            // Nobody is left to try again.
            None => session.touched |= Touches::LISTEN,
        }
    }

    /// A notification from the server connection at hand.
    pub(super) fn own_notification(
        &mut self,
        head: Head,
        bytes: &[u8],
        session: &mut Session,
        out: &mut Outbox,
    ) -> Result<Step, Fault> {
        if head.total() > limits::MAX_PEEK as u64 {
            return Err(session.fail("too long a notification"));
        }
        let Some(message) = head.message(bytes) else {
            return Ok(Step::Need(head.total() as usize));
        };
        let Some(notification) = Notification::read(message) else {
            return Err(session.fail("a notification that cannot be read"));
        };
        let is_told = match &mut self.listening {
            Some(listening) => listening.tells(&notification, &mut out.to_client),
            None => !notification.channel.starts_with(MARK_PREFIX.as_bytes()),
        };
        Ok(match is_told {
            true => Step::Forward(head.total()),
            false => Step::Skip(head.total()),
        })
    }

    /// Takes the next step of a cut-over, if there is one.
    fn advance_cut(&mut self, session: &mut Session) {
        let Some(listening) = &mut self.listening else { return };
        let Stage::Cutting { mark, own, .. } = &listening.stage else {
            return;
        };
        match (listening.member.cut(mark.number), own) {
            (CutOver::UnderWay, _) | (CutOver::Passed, OwnMark::NotYet) => return,
            (CutOver::Failed, _) => {
                listening.stage = Stage::Settled;
                return;
            }
            (CutOver::Passed, OwnMark::Heard) => {}
        }
        let Stage::Cutting { channels, .. } = std::mem::replace(&mut listening.stage, Stage::Settled) else {
            return;
        };
        let (taken, own) = std::mem::take(&mut listening.own)
            .into_iter()
            .partition(|channel| channels.contains(channel));
        listening.own = own;
        listening.shared.extend::<Vec<_>>(taken);
        listening.held_back = BytesMut::new();
        if listening.own.is_empty() {
            session.living = session.living.without(Touches::LISTEN);
        }
        self.pin(session);
    }

    /// The client's bell was rung.
    pub(super) fn hear_bell(&mut self, session: Option<&mut Session>, out: &mut Outbox) -> Heard {
        if self.is_gone() {
            return Heard::Done;
        }
        let may_tell = self.may_tell(session.as_deref());
        let Some(listening) = &mut self.listening else {
            return Heard::Done;
        };
        let ended = match listening.member.standing() {
            Standing::Sound => None,
            Standing::Lost(_) if listening.shared.is_empty() => {
                // Nothing of the client's has been left to it yet.
                listening.member.restart();
                listening.stage = Stage::Settled;
                None
            }
            Standing::Lost(last_words) => Some((
                refusals::listener_lost(last_words.as_deref()),
                "its shared listener was lost",
            )),
            Standing::TooSlow => Some((
                refusals::too_slow_listener(),
                "too many notifications were waiting for it",
            )),
        };
        if let Some((error, why)) = ended {
            if !may_tell {
                return Heard::Later;
            }
            write::error_response(&mut out.to_client, &error);
            return Heard::Finish(why);
        }
        if let Some(session) = session {
            self.advance_cut(session);
            if may_tell && let Some(listening) = &mut self.listening {
                listening.tell_held_back(&mut out.to_client);
            }
            self.share_channels(session, &mut out.to_server);
        }
        match &mut self.listening {
            Some(listening) if may_tell => match listening.tell(readable(&self.told), &mut out.to_client) {
                Told::All => Heard::Done,
                Told::NotAll => Heard::Later,
                Told::Unreadable => {
                    write::error_response(&mut out.to_client, &refusals::unreadable_notification());
                    Heard::Finish("a notification is not in its encoding")
                }
            },
            Some(_) => Heard::Later,
            None => Heard::Done,
        }
    }

    /// Ahead of ReadyForQuery, as PostgreSQL does: what has come for the client meanwhile.
    pub(super) fn tell_before_ready(&mut self, session: &Session, out: &mut BytesMut) {
        let Some(listening) = &mut self.listening else { return };
        listening.failures = 0;
        if session.status == TransactionStatus::Idle
            && has_settled(session)
            && listening.member.standing() == Standing::Sound
        {
            // What is left is told behind it.
            let _ = listening.tell(readable(&self.told), out);
        }
    }

    /// Whether the client stands between two of its transactions, in its own eyes.
    fn may_tell(&self, session: Option<&Session>) -> bool {
        let at_border = self.request == Request::None && self.abandoned.is_no();
        at_border
            && session.is_none_or(|session| {
                session.status == TransactionStatus::Idle && is_only_ours(session) && has_settled(session)
            })
    }
}

impl Listening {
    fn new(member: Member) -> Self {
        Listening {
            member,
            shared: Vec::new(),
            own: Vec::new(),
            stage: Stage::Settled,
            held_back: BytesMut::new(),
            unreadable: Unreadable::No,
            failures: 0,
        }
    }

    /// Asks the session to notify of the mark: in one transaction with the LISTEN for it, so that it hears it itself.
    fn begin_cut(&mut self, session: &mut Session, out: &mut BytesMut) {
        let Some(mark) = self.member.begin_cut() else { return };
        let marks = std::slice::from_ref(&mark.channel);
        let mut text = Vec::new();
        quote_all("LISTEN", marks, &mut text);
        // Both are of the gateway's own making.
        text.extend_from_slice(b"NOTIFY \"");
        text.extend_from_slice(&mark.channel);
        text.extend_from_slice(format!("\", '{}'", mark.payload).as_bytes());
        session.ask(&text, Purpose::Mark, out);
        let mut text = Vec::new();
        quote_all("UNLISTEN", marks, &mut text);
        session.ask(&text, Purpose::Unmark, out);
        self.stage = Stage::Cutting {
            mark,
            channels: self.own.clone(),
            own: OwnMark::NotYet,
        };
    }

    /// Whether the client is told of this by its own connection. What was held back goes first.
    fn tells(&mut self, notification: &Notification<'_>, out: &mut BytesMut) -> bool {
        let is_of = |channels: &[Channel]| channels.iter().any(|channel| **channel == *notification.channel);
        let is_shared = is_of(&self.shared);
        match &mut self.stage {
            Stage::Cutting { mark, own, .. } if *notification.channel == *mark.channel => {
                if notification.payload == mark.payload.as_bytes() {
                    *own = OwnMark::Heard;
                }
                return false;
            }
            Stage::Cutting {
                own: OwnMark::Heard,
                channels,
                ..
            } if is_of(channels) => {
                if self.held_back.len() + notification.message.len() <= limits::MAX_WAITING_NOTIFICATION_BYTES {
                    self.held_back.put_slice(notification.message);
                    return false;
                }
                // The shared connection is too late.
                self.member.abandon_cut(true);
                self.stage = Stage::Settled;
            }
            _ if is_shared || notification.channel.starts_with(MARK_PREFIX.as_bytes()) => return false,
            Stage::Cutting { .. } | Stage::Settled => {}
        }
        self.tell_held_back(out);
        true
    }

    /// What was held back in vain goes before anything else.
    fn tell_held_back(&mut self, out: &mut BytesMut) {
        if let Stage::Settled = self.stage {
            out.put_slice(&std::mem::take(&mut self.held_back));
        }
    }

    /// Tells what waits, as much as is good at a time.
    fn tell(&mut self, readable: Readable, out: &mut BytesMut) -> Told {
        if let Stage::Cutting { .. } = self.stage {
            return Told::NotAll;
        }
        self.tell_held_back(out);
        if self.unreadable == Unreadable::Yes {
            return Told::Unreadable;
        }
        match self.member.take(limits::MAX_TOLD_AT_ONCE, readable, out) {
            Taken::All => Told::All,
            Taken::Some => Told::NotAll,
            Taken::Unreadable => {
                self.unreadable = Unreadable::Yes;
                Told::Unreadable
            }
        }
    }
}

/// Whether a request certainly neither changes nor asks what the session listens to, and is a transaction of its own.
/// `Err` says how many bytes it takes to tell.
fn leaves_listening_alone(head: Head, bytes: &[u8], session: &Session) -> Result<bool, usize> {
    // Of an extended group, more may come than is here.
    if head.kind != client::QUERY || head.total() > limits::MAX_PEEK as u64 {
        return Ok(false);
    }
    let Some(message) = head.message(bytes) else {
        return Err(head.total() as usize);
    };
    let class = classify::classify(query::text(head.body(message)));
    let concerned = Touches::LISTEN | Touches::UNKNOWN | Touches::UNDOES;
    let runs_another = matches!(class.shape, Shape::Execute(_));
    Ok(class.opens == Opens::Nothing && !runs_another && !session.touches_of(&class).any(concerned))
}

/// Which notifications a client with these settings can read in the database's own bytes. PostgreSQL's encodings are all
/// ASCII where a byte is.
fn readable(settings: &Parameters) -> Readable {
    let (clients, servers) = (settings.get("client_encoding"), settings.get("server_encoding"));
    match clients.is_some() && (clients == servers || clients == Some("SQL_ASCII")) {
        true => Readable::All,
        false => Readable::Ascii,
    }
}

/// Whether nothing of the client's is under way.
fn is_only_ours(session: &Session) -> bool {
    let ours = |disposition| matches!(disposition, Disposition::Own(_));
    session.group == Group::Closed
        && session.copy == CopyState::None
        && session.pending.iter().all(|entry| ours(entry.disposition))
}

/// Whether it is known what the client listens to by now.
fn has_settled(session: &Session) -> bool {
    let concerned = Touches::LISTEN | Touches::UNKNOWN | Touches::UNDOES;
    session.settling.is_none() && session.followed == Followed::Completely && !session.touched.any(concerned)
}
