//! Who may log in, and how they prove it: looked up once per login.
//!
//! Invariants: what comes out never contains a password, only what is needed to check one; a user that does not exist is
//! as expensive to look up as one that does. Must not know how the proof is exchanged.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;

use super::Allowance;
use crate::{
    admin,
    refusal::{Limit, OpenError, Refusal},
    settings::{Origins, PoolMode, UserSources},
    verifier::Verifier,
};

/// A place where users are looked up.
#[async_trait]
pub trait Credentials: Send + Sync + 'static {
    /// What is known of `user`, who wants to use `database`.
    async fn lookup(&self, user: &str, database: &str) -> Lookup;

    /// A login with what [`Credentials::lookup`] gave has failed: it may be out of date, so the next lookup should not
    /// rely on a memory of it.
    fn doubt(&self, user: &str, database: &str);
}

/// What a lookup gave.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// The user exists.
    Found(Account),
    /// Nobody of that name.
    Unknown,
    /// The user exists but cannot log in; the reason is for the log.
    Unusable(String),
    /// It cannot be found out at the moment.
    Unavailable(OpenError),
}

/// A user that can log in.
#[derive(Clone, Debug)]
pub struct Account {
    /// How its password is checked; `None` where only a certificate will do.
    pub verifier: Option<Arc<Verifier>>,
    /// The common name of the client certificate that is as good as a password.
    pub certificate: Option<String>,
    /// What it may do.
    pub grant: Arc<Grant>,
}

/// What a user may do, and what applies to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    /// Which sources.
    pub sources: UserSources,
    /// Transactions are READ ONLY unless the client says otherwise; replicas may serve it.
    pub read_only: bool,
    /// Instead of the source's.
    pub pool_mode: Option<PoolMode>,
    /// Instead of the source's; `Some(None)` = no limit.
    pub query_timeout: Option<Option<Duration>>,
    /// Instead of the source's; `Some(None)` = for ever.
    pub pool_timeout: Option<Option<Duration>>,
    /// Clients at a time.
    pub max_client_connections: Option<u32>,
    /// Server connections that its clients may hold at a time, over all sources.
    pub max_connections: Option<u32>,
    /// What it may do on the console; `None` = nothing.
    pub console: Option<admin::Role>,
    /// Where each of these was set.
    pub origins: Origins,
}

impl Grant {
    /// Every source, without limits. The console is for declared users only.
    pub fn everything() -> Self {
        Grant {
            sources: UserSources::All,
            read_only: false,
            pool_mode: None,
            query_timeout: None,
            pool_timeout: None,
            max_client_connections: None,
            max_connections: None,
            console: None,
            origins: Origins::default(),
        }
    }

    /// One source, without limits.
    pub fn of_source(name: &str) -> Self {
        Grant {
            sources: UserSources::Named(vec![name.to_owned()]),
            ..Grant::everything()
        }
    }

    /// Whether the source may be used.
    pub fn covers(&self, source: &str) -> bool {
        self.sources.cover(source)
    }
}

/// Who needs no proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Nobody.
    Nobody,
    /// Whoever connects from this machine, and is a user: `trust_loopback`.
    Loopback,
    /// Whoever connects from this machine, under any name: there are no users to be.
    LoopbackAsAnybody,
}

/// Whether somebody could log in with a password or certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsersDeclared {
    /// There are users, or an way to look them up; or there would be, were they not wrong.
    Some,
    /// Nobody: only trust can let anybody in.
    None,
}

impl Trust {
    /// What a listener's `trust_loopback` means, given who is declared.
    pub fn of(trust_loopback: bool, declared: UsersDeclared) -> Self {
        match (trust_loopback, declared) {
            (false, _) => Trust::Nobody,
            (true, UsersDeclared::Some) => Trust::Loopback,
            (true, UsersDeclared::None) => Trust::LoopbackAsAnybody,
        }
    }
}

/// Several places, asked in order; the first that knows the user decides.
pub struct Chain(pub Vec<Arc<dyn Credentials>>);

#[async_trait]
impl Credentials for Chain {
    async fn lookup(&self, user: &str, database: &str) -> Lookup {
        for place in &self.0 {
            match place.lookup(user, database).await {
                Lookup::Unknown => {}
                decided => return decided,
            }
        }
        Lookup::Unknown
    }

    fn doubt(&self, user: &str, database: &str) {
        self.0.iter().for_each(|place| place.doubt(user, database));
    }
}

/// How many clients each user has, over all listeners and reloads, and what they hold.
#[derive(Debug, Default)]
pub struct UserCounts {
    clients: Mutex<HashMap<Arc<str>, Arc<AtomicU32>>>,
    /// Only of users whose server connections are counted.
    allowances: Mutex<HashMap<Arc<str>, Weak<Allowance>>>,
}

/// One client of a user; ends with it.
#[derive(Debug)]
pub struct UserPlace(Arc<AtomicU32>);

impl UserCounts {
    /// Takes a place among the clients of `user`.
    ///
    /// # Errors
    /// [`Refusal::ClientLimit`].
    pub fn admit(&self, user: &Arc<str>, grant: &Grant) -> Result<UserPlace, Refusal> {
        let mut counts = self.clients.lock();
        // Users without clients are forgotten now and then, so that the map follows the users that are there.
        if counts.len() > 1024 && counts.len().is_power_of_two() {
            counts.retain(|_, count| Arc::strong_count(count) > 1);
        }
        let count = counts.entry(user.clone()).or_default();
        let most = grant.max_client_connections.unwrap_or(u32::MAX);
        // Under the lock, so that looking and taking are one; leaving only lowers it.
        if count.load(Ordering::Relaxed) >= most {
            return Err(Refusal::ClientLimit(Limit {
                name: "users[].max_client_connections",
                value: most.to_string(),
                set_in: grant.origins.of("max_client_connections").to_owned(),
            }));
        }
        count.fetch_add(1, Ordering::Relaxed);
        Ok(UserPlace(count.clone()))
    }

    /// What the clients of `user` may hold together, the same for all of them; `None` = no limit. Another limit than
    /// before counts anew.
    pub fn allowance(&self, user: &Arc<str>, grant: &Grant) -> Option<Arc<Allowance>> {
        let most = grant.max_connections?;
        let mut allowances = self.allowances.lock();
        let known = allowances.get(user).and_then(Weak::upgrade);
        if let Some(known) = known.filter(|known| known.most() == most) {
            return Some(known);
        }
        allowances.retain(|_, allowance| allowance.strong_count() > 0);
        let fresh = Arc::new(Allowance::new(most, grant.origins.of("max_connections").to_owned()));
        allowances.insert(user.clone(), Arc::downgrade(&fresh));
        Some(fresh)
    }
}

impl Drop for UserPlace {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back() {
        let counts = UserCounts::default();
        let ann: Arc<str> = "ann".into();
        let one = Grant {
            max_client_connections: Some(1),
            ..Grant::everything()
        };
        let first = counts.admit(&ann, &one).expect("a place");
        assert!(matches!(counts.admit(&ann, &one), Err(Refusal::ClientLimit(limit)) if limit.value == "1"));
        assert!(counts.admit(&"bob".into(), &one).is_ok());
        drop(first);
        assert!(counts.admit(&ann, &one).is_ok());
    }

    #[test]
    fn grants_name_sources() {
        assert!(Grant::everything().covers("ledger"));
        assert!(Grant::of_source("ledger").covers("ledger"));
        assert!(!Grant::of_source("ledger").covers("Ledger"));
    }
}
