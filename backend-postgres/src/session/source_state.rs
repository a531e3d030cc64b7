//! What all clients and server connections of one source share: statement texts, settings known to be accepted, the
//! usual reports of its servers.
//!
//! Invariants: bounded (see [`limits`]); locks are held for a look-up, never across anything that waits; a Bind of a
//! statement that the client knows takes none of them. Statements are kept by reference count: the last client or server
//! connection that knows one takes it along.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use weir_core::settings::SequenceFunctions;

use super::{
    classify::classify,
    last_values::{Asker, Askers},
    overlay::{Overlay, Setting},
    parameters::Parameters,
    statement::Statement,
};
use crate::{limits, listen::Hub, wire};

/// Shared by everything of one source (or one endpoint of it).
#[derive(Debug, Default)]
pub struct SourceState {
    hasher: RandomState,
    statements: Mutex<Interner>,
    accepted: Mutex<HashSet<u64>>,
    parameters: Mutex<Parameters>,
    /// What the last client brought along.
    overlay: Mutex<Overlay>,
    /// What it was told.
    welcome: Mutex<Option<Welcome>>,
    /// Names of custom settings that its clients have used: a function may set them for others.
    custom_settings: Mutex<Vec<Arc<str>>>,
    askers: Askers,
    /// Hears notifications for its clients. `None`: each listens for itself.
    hub: Option<Arc<Hub>>,
}

/// What clients are told at their login: the same for all that come to the same session with the same settings.
#[derive(Debug)]
struct Welcome {
    fresh: Parameters,
    overlay: Overlay,
    told: Parameters,
    messages: Arc<[u8]>,
}

/// Statements by the hash of their key. Dead ones are swept when the map has doubled.
#[derive(Debug, Default)]
struct Interner {
    by_hash: HashMap<u64, Vec<Weak<Statement>>>,
    entries: usize,
    bytes: usize,
    sweep_at: usize,
}

impl SourceState {
    /// Nothing known yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The same, with a shared listener.
    pub fn listening(hub: Arc<Hub>) -> Arc<Self> {
        Arc::new(SourceState {
            hub: Some(hub),
            ..SourceState::default()
        })
    }

    /// What hears notifications for its clients, if anything does.
    pub(crate) fn hub(&self) -> Option<&Arc<Hub>> {
        self.hub.as_ref()
    }

    /// The statement with this Parse body (text, terminator, types), the same for every client whose planner-relevant
    /// settings are the same (`fingerprint`; specification S1 rule 1). Makes it if need be.
    pub fn intern(&self, fingerprint: u64, body: &[u8]) -> Arc<Statement> {
        let hash = self.hasher.hash_one((fingerprint, body));
        let found = self.statements.lock().find(hash, body);
        found.unwrap_or_else(|| {
            // Classifying reads the whole text: not under the lock. Two makers at a time are resolved by the second look.
            let text = wire::split_string(body).map_or(body, |(text, _)| text);
            let statement = Arc::new(Statement::kept(body, classify(text)));
            self.statements.lock().add(hash, statement)
        })
    }

    /// The statement with this Parse body, if a server has prepared it before and somebody still uses it.
    pub(crate) fn accepted_statement(&self, fingerprint: u64, body: &[u8]) -> Option<Arc<Statement>> {
        let hash = self.hasher.hash_one((fingerprint, body));
        let found = self.statements.lock().find(hash, body);
        found.filter(|statement| statement.is_accepted())
    }

    /// Whether all these settings were accepted by a server of this source before.
    pub fn accepts<'a>(&self, mut settings: impl Iterator<Item = &'a Setting>) -> bool {
        let accepted = self.accepted.lock();
        settings.all(|setting| accepted.contains(&self.hash(setting)))
    }

    /// Takes note that a server accepted them.
    pub fn accepted<'a>(&self, settings: impl Iterator<Item = &'a Setting>) {
        let mut accepted = self.accepted.lock();
        for setting in settings {
            if accepted.len() >= limits::MAX_ACCEPTED_SETTINGS {
                return;
            }
            accepted.insert(self.hash(setting));
        }
    }

    /// Takes note that a server did not accept one of them after all: they are tried with care again.
    pub fn not_accepted<'a>(&self, settings: impl Iterator<Item = &'a Setting>) {
        let mut accepted = self.accepted.lock();
        for setting in settings {
            accepted.remove(&self.hash(setting));
        }
    }

    /// The same reports, as the one allocation that others of the source have too, if they are equal.
    pub fn share_parameters(&self, parameters: Parameters) -> Parameters {
        let mut usual = self.parameters.lock();
        if *usual != parameters {
            *usual = parameters;
        }
        usual.clone()
    }

    /// The same settings, as the one allocation that others of the source have too, if they are equal.
    pub fn share_overlay(&self, overlay: Overlay) -> Overlay {
        let mut usual = self.overlay.lock();
        if !usual.is_same(&overlay) {
            *usual = overlay;
        }
        usual.clone()
    }

    /// What a client with these settings is told of a session that reports `fresh`, and the messages for it: those of
    /// the last client, if that is the same, or what `make` makes.
    pub(crate) fn welcome(
        &self,
        fresh: &Parameters,
        overlay: &Overlay,
        make: impl FnOnce() -> (Parameters, Box<[u8]>),
    ) -> (Parameters, Arc<[u8]>) {
        let mut last = self.welcome.lock();
        if let Some(last) = &*last
            && last.fresh.is_same(fresh)
            && last.overlay.is_same(overlay)
        {
            return (last.told.clone(), last.messages.clone());
        }
        let (told, messages) = make();
        let messages: Arc<[u8]> = messages.into();
        *last = Some(Welcome {
            fresh: fresh.clone(),
            overlay: overlay.clone(),
            told: told.clone(),
            messages: messages.clone(),
        });
        (told, messages)
    }

    /// What clients were told and sessions report has become this list: the next client gets it at once.
    pub(crate) fn note_told(&self, told: &Parameters) {
        if let Some(last) = &mut *self.welcome.lock()
            && last.told == *told
        {
            last.told = told.clone();
        }
    }

    /// Takes note of a custom setting's name, as long as there is room.
    pub(crate) fn note_custom_setting(&self, name: &str) {
        let mut known = self.custom_settings.lock();
        let is_news = known.len() < limits::MAX_SHARED_CUSTOM_NAMES && !known.iter().any(|known| **known == *name);
        if is_news {
            known.push(name.into());
        }
    }

    /// Names of custom settings that clients have used so far.
    pub(crate) fn custom_settings(&self) -> Vec<Arc<str>> {
        self.custom_settings.lock().clone()
    }

    /// Whether a user's clients rely on `currval` and `lastval`, as far as it is known by then.
    pub fn asker(&self, user: &str, policy: SequenceFunctions) -> Asker {
        self.askers.find(user, policy)
    }

    fn hash(&self, setting: &Setting) -> u64 {
        self.hasher
            .hash_one((setting.name.to_ascii_lowercase(), &setting.value))
    }
}

impl Interner {
    fn find(&self, hash: u64, body: &[u8]) -> Option<Arc<Statement>> {
        let candidates = self.by_hash.get(&hash)?;
        candidates
            .iter()
            .filter_map(Weak::upgrade)
            .find(|statement| statement.body() == Some(body))
    }

    /// Keeps a statement, unless somebody else has just kept its equal, or there is no room: then it stays private.
    fn add(&mut self, hash: u64, statement: Arc<Statement>) -> Arc<Statement> {
        if let Some(found) = statement.body().and_then(|body| self.find(hash, body)) {
            return found;
        }
        if self.entries >= self.sweep_at || self.bytes >= limits::MAX_INTERNED_BYTES {
            self.sweep();
        }
        if self.bytes < limits::MAX_INTERNED_BYTES {
            self.entries += 1;
            self.bytes += statement.weight();
            self.by_hash.entry(hash).or_default().push(Arc::downgrade(&statement));
        }
        statement
    }

    fn sweep(&mut self) {
        let (mut entries, mut bytes) = (0, 0);
        self.by_hash.retain(|_, statements| {
            statements.retain(|statement| {
                let alive = statement.upgrade();
                entries += usize::from(alive.is_some());
                bytes += alive.as_ref().map_or(0, |statement| statement.weight());
                alive.is_some()
            });
            !statements.is_empty()
        });
        (self.entries, self.bytes) = (entries, bytes);
        self.sweep_at = (2 * entries).max(1024);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_statements_are_one_while_anybody_knows_them() {
        let source = SourceState::new();
        let first = source.intern(0, b"SELECT 1\0\0\0");
        assert!(Arc::ptr_eq(&first, &source.intern(0, b"SELECT 1\0\0\0")));
        assert_ne!(first.id(), source.intern(0, b"SELECT 2\0\0\0").id());
        assert_ne!(
            first.id(),
            source.intern(1, b"SELECT 1\0\0\0").id(),
            "another search_path (S1.1)"
        );
        let id = first.id();
        drop(first);
        assert_ne!(source.intern(0, b"SELECT 1\0\0\0").id(), id);
    }

    #[test]
    fn statements_that_nobody_knows_do_not_pile_up() {
        let source = SourceState::new();
        for n in 0..100_000 {
            source.intern(0, format!("SELECT {n}\0\0\0").as_bytes());
        }
        let interner = source.statements.lock();
        assert!(interner.entries <= 2048, "{} entries", interner.entries);
        assert!(interner.by_hash.len() <= 2048);
    }

    #[test]
    fn settings_are_known_by_name_and_value() {
        let source = SourceState::new();
        let known = Overlay::from_pairs([("TimeZone", "UTC")]);
        source.accepted(known.iter());
        assert!(source.accepts(Overlay::from_pairs([("timezone", "UTC")]).iter()));
        assert!(!source.accepts(Overlay::from_pairs([("timezone", "utc")]).iter()));
        source.not_accepted(known.iter());
        assert!(!source.accepts(known.iter()));
    }
}
