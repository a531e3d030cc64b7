//! `session_state: follow`: what a client does to its session is there in its next transaction, wherever that runs.
//!
//! At the end of a transaction that may have touched session state the server is asked what is so ([`settle`]); the client
//! has its answer already and does not wait. Settings, role and session authorization become the client's own overlay,
//! which every server connection is given before the client's next request; what cannot be given to another connection
//! ties the client to this one until it is proved to be over (specification S7.2 to S7.6).
//!
//! Invariants: what was touched is forgotten only with the server's answer in hand; a question that fails ties the client
//! to its connection; a client that touches nothing is never asked about.
//!
//! [`settle`]: Conversation::settle

use bytes::BytesMut;
use weir_core::{
    backend::Step,
    refusal::Fault,
    settings::{PoolMode, SessionStatePolicy},
};

use super::{Adoption, Conversation, prepare};
use crate::{
    limits,
    session::{
        CopyState, Followed, Group, Listens, Overlay, OverlayKept, Session,
        classify::{Class, Shape},
        custom::{self, CustomSettings},
        last_values::Names,
        pending::{Disposition, Purpose, Weight},
        settle::{self, Found, Settling, TemporarySchema, Unsettled},
        sql_statements::SqlStatements,
        touched::Touches,
    },
    wire::{Head, bind, effective_name, ready_for_query::TransactionStatus},
};

impl Conversation {
    /// Whether session state follows this client.
    pub(super) fn follows(&self) -> bool {
        self.session_state == SessionStatePolicy::Follow && self.pool_mode == PoolMode::Transaction
    }

    /// Takes note of what carrying out a text of this class may leave behind, and how much it weighs.
    pub(super) fn touch(&mut self, class: &Class, session: &mut Session) -> Weight {
        if class.names == Names::LastValues {
            match class.shape {
                Shape::Code => self.asker.defines_what_asks(),
                _ if session.touched.any(Touches::DRAWS) => {}
                _ => self.asker.asks(),
            }
        }
        session.touch(class);
        if class.touches.any(Touches::CREATES) && self.may_create_temporary(session) {
            session.touched |= Touches::TEMPORARY;
        }
        if let Shape::Execute(name) = &class.shape {
            session.touched |= self.touches_of_execute(effective_name(name), session);
        }
        if !class.custom_settings.is_empty() && self.follows() {
            for name in class.custom_settings.iter() {
                self.custom_settings.note(name.as_bytes());
                self.shared.note_custom_setting(name);
            }
        }
        match class.shape {
            Shape::Commit => Weight::Commit,
            Shape::ForgetsStatements => Weight::Barrier,
            // What comes behind it waits until the client's start-up settings are there again.
            Shape::Reset if self.follows() && !self.brought.is_empty() => Weight::Barrier,
            _ => Weight::Ordinary,
        }
    }

    /// Takes note of names that are bound to a statement which sets something by a name of its client's. Says how many
    /// bytes of the Bind it takes to see them, if they are not all there.
    pub(super) fn note_bound_names(&mut self, head: Head, bytes: &[u8], session: &mut Session) -> Option<usize> {
        if !self.follows() {
            return None;
        }
        if head.total() > limits::MAX_PEEK as u64 {
            session.touched |= Touches::UNKNOWN;
            return None;
        }
        let Some(message) = head.message(bytes) else {
            return Some(head.total() as usize);
        };
        for value in bind::text_values(message) {
            self.custom_settings.note(value);
            if custom::is_odd_name(value) {
                // It cannot be asked for.
                session.touched |= Touches::UNKNOWN;
            }
        }
        None
    }

    /// The client has had its answer, and nothing is outstanding: what its transaction did to the session is looked into.
    pub(super) fn settle(&mut self, session: &mut Session, out: &mut BytesMut) {
        if !self.follows() || self.is_gone() || session.status != TransactionStatus::Idle || session.is_replication() {
            return;
        }
        let is_anything_to_ask = what_to_ask(session, &self.sql_statements).is_some();
        if session.settling.is_some() || !is_at_rest(session) {
            if is_anything_to_ask {
                session.followed = Followed::NotYet;
            }
            return;
        }
        let draws = self.settle_draws(session);
        if !is_anything_to_ask && draws.is_empty() {
            session.touched = session.touched.without(Touches::HINTS);
            self.pin(session);
            self.put_back_what_was_brought(session, out);
            return self.share_channels(session, out);
        }
        let about = what_to_ask(session, &self.sql_statements).unwrap_or_default() | draws;
        self.ask_to_settle(about, 0, session, out);
    }

    fn ask_to_settle(&mut self, about: Touches, failures: u8, session: &mut Session, out: &mut BytesMut) {
        let kept = session.touched.without(Touches::FOLLOWED | Touches::HINTS);
        // Nothing repeats these, and nothing tells when they are over.
        session.living |= kept.among(Touches::IRREVERSIBLE);
        session.touched = kept.without(Touches::IRREVERSIBLE);
        if about.any(Touches::UNKNOWN) {
            session.touched |= Touches::CUSTOM;
        }
        if !about.any(Touches::FOLLOWED | Touches::SEQUENCES) {
            return self.pin(session);
        }
        let known = self.shared.custom_settings();
        let used = std::mem::take(&mut self.custom_settings);
        let own = self.overlay.iter().chain(self.brought.iter());
        let mut names = used.clone();
        own.for_each(|setting| names.note(setting.name.as_bytes()));
        let mut settling = Settling::new(about, failures, used);
        if names.is_full() && settle::asks_for_settings(about) {
            settling.cannot_prove_all();
        }
        known.iter().for_each(|name| names.note(name.as_bytes()));
        let text = settle::question(about, names.iter());
        session.followed = Followed::NotYet;
        session.settling = Some(Box::new(settling));
        session.ask(text.as_bytes(), Purpose::Settle, out);
    }

    /// A row of the server's answer.
    pub(super) fn settle_row(&mut self, head: Head, bytes: &[u8], session: &mut Session) -> Result<Step, Fault> {
        let Some(settling) = &mut session.settling else {
            return Err(session.fail("an answer to a question that was not asked"));
        };
        if head.total() > limits::MAX_PEEK as u64 {
            settling.unreadable();
            return Ok(Step::Skip(head.total()));
        }
        let Some(message) = head.message(bytes) else {
            return Ok(Step::Need(head.total() as usize));
        };
        settling.row(head.body(message));
        Ok(Step::Skip(head.total()))
    }

    /// The server's answer is complete.
    pub(super) fn settled(&mut self, session: &mut Session, out: &mut BytesMut) {
        let Some(mut settling) = session.settling.take() else {
            return;
        };
        let (about, failures) = (settling.about, settling.failures);
        let names = std::mem::take(&mut settling.names);
        match settling.finish() {
            Ok(found) => self.settle_for(about, names, found, session),
            Err(why) => {
                names.iter().for_each(|name| self.custom_settings.note(name.as_bytes()));
                session.touched |= about;
                let may_ask = is_at_rest(session) && !self.is_gone();
                if why == Unsettled::Cancelled && may_ask {
                    return self.ask_to_settle(about, failures + 1, session, out);
                }
                if why == Unsettled::Refused && about.any(Touches::SEQUENCES) && may_ask {
                    return self.settle_without_proof_of_draws(about, failures, session, out);
                }
                session.living |= Touches::UNKNOWN;
            }
        }
        if self.is_gone() {
            session.untie();
        }
        self.pin(session);
        if session.pin.is_none() && is_at_rest(session) && self.lacks_own_temporary_schema(session) {
            session.fail(ANOTHERS_TEMPORARY_SCHEMA);
            return;
        }
        self.put_back_what_was_brought(session, out);
        self.share_channels(session, out);
    }

    /// There may be no PL/pgSQL to ask about draws with: the rest is asked alone, and the worst taken for true.
    fn settle_without_proof_of_draws(
        &mut self,
        about: Touches,
        failures: u8,
        session: &mut Session,
        out: &mut BytesMut,
    ) {
        self.asker.cannot_be_proved();
        session.living |= Touches::SEQUENCES;
        session.touched = session.touched.without(Touches::SEQUENCES);
        self.ask_to_settle(about.without(Touches::SEQUENCES), failures, session, out);
    }

    fn settle_for(&mut self, about: Touches, names: CustomSettings, mut found: Found, session: &mut Session) {
        if found.temporary_schema == TemporarySchema::Exists {
            session.temporary_schema.get_or_insert(self.serial);
        }
        if found
            .settings
            .iter()
            .any(|(name, value)| is_another_user(name, value, session))
        {
            // The login is a superuser: elsewhere its settings are set before it becomes somebody else.
            found.living = found.living.without(Touches::SETTINGS);
        }
        // What could not be read by the settings of then cannot be read by those of now.
        let was_tied = match session.living.any(Touches::SQL_PREPARED) {
            true => Touches::LOCAL_SETTINGS,
            false => Touches::NONE,
        };
        session.living = session.living.without(about | Touches::UNKNOWN) | found.living;
        self.take_channels(about, found.channels, session);
        if settle::asks_for_settings(about) {
            self.take_settings(found.settings, &names, session);
        } else {
            names.iter().for_each(|name| self.custom_settings.note(name.as_bytes()));
        }
        if about.any(Touches::SQL_PREPARED | Touches::UNKNOWN) {
            let ties = self.take_statements(about | was_tied, found.statements, session);
            session.living |= ties;
        }
        if session.touched.among(Touches::FOLLOWED).is_empty() {
            session.followed = Followed::Completely;
        }
    }

    /// What is set on the session is exactly this: it is the client's from now on, over what the client brought along.
    fn take_settings(&mut self, found: Vec<(String, String)>, names: &CustomSettings, session: &mut Session) {
        let was_reset = std::mem::replace(&mut session.overlay_kept, OverlayKept::Surely) == OverlayKept::Maybe;
        let is_set = |(name, value): &(String, String)| match &**name {
            "role" => value != "none",
            "session_authorization" => is_another_user(name, value, session),
            // A custom setting that was ever set on the connection, by whomever, is empty rather than unknown.
            name if value.is_empty() && custom::is_custom_name(name) => {
                let is_own = self.overlay.get(name).is_some() || names.iter().any(|own| own == name);
                is_own && !(was_reset && self.brought.get(name).is_some())
            }
            _ => true,
        };
        let set = Overlay::from_pairs(
            found
                .iter()
                .filter(|pair| is_set(pair))
                .map(|(name, value)| (name, value)),
        );
        self.shared.accepted(set.iter());
        let missing = self
            .brought
            .iter()
            .filter(|brought| set.get(current_name(&brought.name)).is_none());
        let missing: Vec<_> = missing.map(|brought| (&*brought.name, &*brought.value)).collect();
        let all = match missing.is_empty() {
            true => set.clone(),
            false => {
                let set = set.iter().map(|setting| (&*setting.name, &*setting.value));
                Overlay::from_pairs(set.chain(missing))
            }
        };
        if !all.is_same(&self.overlay) {
            self.fingerprint = prepare::fingerprint(&all);
            self.overlay = all;
        }
        session.overlay = if set.is_same(&self.overlay) {
            self.overlay.clone()
        } else {
            set
        };
    }

    /// Whether what comes next should wait for the answer, because it may turn out to belong on another connection.
    pub(super) fn may_lack_own_temporary_schema(&self, session: &Session) -> bool {
        let is_asked =
            |settling: &Settling| settling.about.any(Touches::TEMPORARY) && settling.about.any(Touches::SETTINGS);
        self.is_temporary_schema_anothers(session) && session.settling.as_deref().is_some_and(is_asked)
    }

    /// Whether what is created now may go to the schema of temporary objects, which need not be the first in a
    /// `search_path` for that: schemas that do not exist are passed over.
    fn may_create_temporary(&self, session: &Session) -> bool {
        let names_it = |search_path: &str| search_path.to_ascii_lowercase().contains("pg_temp");
        let asked = session
            .settling
            .as_deref()
            .map_or(Touches::NONE, |settling| settling.about);
        (session.touched | asked).any(Touches::CONTEXT | Touches::UNKNOWN)
            || self.overlay.get("search_path").is_some_and(names_it)
    }

    fn is_temporary_schema_anothers(&self, session: &Session) -> bool {
        session.temporary_schema.is_some_and(|owner| owner != self.serial)
    }

    /// Whether the client counts on a schema of temporary objects of its own, and the one here was made for somebody else.
    /// Objects that it creates go there, and PostgreSQL makes the schema for whoever names it first in `search_path`: a
    /// session on which it exists, empty, since long ago, behaves differently (PREPARE TRANSACTION).
    pub(super) fn lacks_own_temporary_schema(&self, session: &Session) -> bool {
        self.is_temporary_schema_anothers(session)
            && self.follows()
            && self.overlay.get("search_path").is_some_and(creates_temporary_objects)
    }

    /// A client that has put its settings back gets what it brought along again, on top.
    fn put_back_what_was_brought(&mut self, session: &mut Session, out: &mut BytesMut) {
        let is_settled = session.settling.is_none() && !session.living.any(Touches::UNKNOWN);
        if is_settled && is_at_rest(session) && !self.is_gone() && matches!(self.adoption, Adoption::Settled) {
            self.apply_overlay(session, out);
        }
    }
}

/// Whether this says that the session's user is not the one who logged in.
fn is_another_user(name: &str, value: &str, session: &Session) -> bool {
    name == "session_authorization" && Some(value) != session.login_role.as_deref()
}

/// Why a connection is of no use to a client whose temporary objects it would take for another's.
pub(super) const ANOTHERS_TEMPORARY_SCHEMA: &str = "its schema of temporary objects was made for another client";

/// Whether the schema of temporary objects comes first in this `search_path`.
fn creates_temporary_objects(search_path: &str) -> bool {
    let first = search_path.split(',').next().unwrap_or_default();
    first.trim().trim_matches('"').eq_ignore_ascii_case("pg_temp")
}

/// What has to be asked about, if anything.
fn what_to_ask(session: &Session, prepared: &SqlStatements) -> Option<Touches> {
    let touched = session.touched;
    let mut about = touched.among(Touches::FOLLOWED);
    if touched.any(Touches::UNDOES) {
        about |= session.living.among(Touches::FOLLOWED);
        if session.listens == Listens::Yes {
            about |= Touches::LISTEN;
        }
    }
    if touched.any(Touches::STATEMENTS) && !prepared.is_empty() {
        about |= Touches::SQL_PREPARED;
    }
    if about.any(Touches::SQL_PREPARED) {
        about |= touched.among(Touches::LOCAL_SETTINGS);
    }
    if !about.is_empty() && session.living.any(Touches::UNKNOWN) {
        // What could not be proved stays so until it is.
        about |= Touches::SETTINGS;
    }
    (!about.is_empty() || touched.any(Touches::IRREVERSIBLE)).then_some(about)
}

/// Whether the gateway may ask something of its own.
pub(super) fn is_at_rest(session: &Session) -> bool {
    session.pending.is_empty() && session.group == Group::Closed && session.copy == CopyState::None
}

/// Whether the front is the question.
pub(super) fn is_settling(session: &Session) -> bool {
    let front = session.pending.front();
    front.is_some_and(|entry| entry.disposition == Disposition::Own(Purpose::Settle))
}

/// The name that the catalog has for a setting which goes by an older one too.
fn current_name(name: &str) -> &str {
    match () {
        () if name.eq_ignore_ascii_case("sort_mem") => "work_mem",
        () if name.eq_ignore_ascii_case("vacuum_mem") => "maintenance_work_mem",
        () => name,
    }
}
