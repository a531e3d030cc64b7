//! Users of the database itself: their verifiers are asked for with `auth_query` (specification S10 rules 1 to 4).
//!
//! Invariants: the query runs on connections of its own, with a fixed `search_path`, read only, bounded in time, the
//! user name bound as a parameter, and nothing of the client's startup packet applied (CVE-2025-12819); the built-in
//! query qualifies every object and operator and honours VALID UNTIL (CVE-2025-2291), which the memory of an answer does
//! too; one question per user at a time; answers are bounded in number and age.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio_postgres::Row;
use tracing::warn;
use weir_core::{
    clock::{self, Instant},
    refusal::OpenError,
    secret::Secret,
};

use super::{Account, Credentials, Grant, Lookup, Verifiers};
use crate::{
    control::{ControlPool, open_error},
    login::{
        limits,
        scram::{Verifier, VerifierFault},
        server::Opener,
    },
};

/// Nothing in it can be redirected by a `search_path`, neither names nor the operators between them.
const BUILT_IN: &str = "SELECT rolname::pg_catalog.text, rolpassword::pg_catalog.text, \
     pg_catalog.date_part('epoch'::pg_catalog.text, rolvaliduntil)::pg_catalog.float8 \
     FROM pg_catalog.pg_authid \
     WHERE rolname OPERATOR(pg_catalog.=) $1::pg_catalog.text::pg_catalog.name AND rolcanlogin";

/// The users that a source's database knows.
pub struct AuthQuery {
    source: Arc<str>,
    database_names: Vec<String>,
    query: Option<String>,
    pool: ControlPool,
    verifiers: Arc<Verifiers>,
    grant: Arc<Grant>,
    remembered: Mutex<HashMap<Box<str>, Arc<Slot>>>,
}

/// The place of one user's answer. Whoever asks holds its lock; the others wait for the answer.
#[derive(Default)]
struct Slot {
    doubted: AtomicBool,
    heard: tokio::sync::Mutex<Heard>,
}

/// What asking about one user has given.
#[derive(Default)]
struct Heard {
    answer: Option<Answer>,
    /// The last question that failed, and when it did. Only for those who waited for it: whoever comes later asks anew.
    failure: Option<(Instant, OpenError)>,
}

#[derive(Clone)]
struct Answer {
    at: Instant,
    known: Known,
}

#[derive(Clone)]
enum Known {
    Found {
        verifier: Arc<Verifier>,
        valid_until: Option<SystemTime>,
    },
    Unusable(String),
    Nobody,
}

impl AuthQuery {
    /// `query`: `None` for the built-in one. `opener`: where and as whom it runs.
    pub fn new(
        source: Arc<str>,
        database_names: Vec<String>,
        query: Option<String>,
        opener: Opener,
        verifiers: Arc<Verifiers>,
    ) -> Self {
        let parameters = vec![
            ("application_name", "weir auth_query".to_owned()),
            ("client_encoding", "UTF8".to_owned()),
            ("search_path", "pg_catalog".to_owned()),
            ("default_transaction_read_only", "on".to_owned()),
            ("statement_timeout", limits::LOOKUP_TIMEOUT.as_millis().to_string()),
        ];
        AuthQuery {
            grant: Arc::new(Grant::of_source(&source)),
            pool: ControlPool::new(
                Arc::new(opener),
                parameters,
                limits::LOOKUP_CONNECTIONS,
                limits::LOOKUP_TIMEOUT,
            ),
            source,
            database_names,
            query,
            verifiers,
            remembered: Mutex::default(),
        }
    }

    /// Whether `database`, perhaps with a target behind an `@`, is one of this source's names.
    fn serves(&self, database: &str) -> bool {
        let named = |name: &str| self.database_names.iter().any(|known| known == name);
        named(database) || database.rsplit_once('@').is_some_and(|(name, _)| named(name))
    }

    /// The slot of a user, if there is room to remember one more.
    fn slot(&self, user: &str) -> Arc<Slot> {
        let mut remembered = self.remembered.lock();
        if let Some(slot) = remembered.get(user) {
            return slot.clone();
        }
        if remembered.len() >= limits::LOOKED_UP_USERS {
            // Names come from peers that are not logged in: let go of those that nobody waits for and that are nobody's.
            remembered.retain(|_, slot| Arc::strong_count(slot) > 1 || slot.is_worth_keeping());
        }
        let slot = Arc::<Slot>::default();
        if remembered.len() < limits::LOOKED_UP_USERS {
            remembered.insert(user.into(), slot.clone());
        }
        slot
    }

    async fn ask(&self, user: &str) -> Result<Known, OpenError> {
        let work = async {
            let client = self.pool.client().await?;
            let query = self.query.as_deref().unwrap_or(BUILT_IN);
            client
                .query_opt(query, &[&user])
                .await
                .map_err(|error| open_error(&error))
        };
        let row = tokio::time::timeout(limits::LOOKUP_TIMEOUT, work)
            .await
            .map_err(|_| OpenError::TimedOut(limits::LOOKUP_TIMEOUT))??;
        let Some(row) = row else { return Ok(Known::Nobody) };
        let read = read(&row, self.query.is_none())
            .map_err(|error| OpenError::Misconfigured(format!("auth_query does not return texts: {error}")))?;
        self.judge(user, read).await
    }

    async fn judge(&self, user: &str, read: Read) -> Result<Known, OpenError> {
        // Byte for byte: a truncated or case-folded match is somebody else (S10 rule 4).
        if read.name.as_deref().is_some_and(|name| name != user) {
            return Ok(Known::Nobody);
        }
        let Some(stored) = read.password.filter(|password| !password.is_empty()) else {
            return Ok(Known::Unusable("the role has no password".to_owned()));
        };
        let stored = Secret::new(stored);
        let verifier = match Verifier::parse(stored.expose()) {
            Ok(verifier) => Arc::new(verifier),
            // A query of the operator's own may return clear passwords.
            Err(VerifierFault::Malformed) if self.query.is_some() && !stored.expose().starts_with("SCRAM-SHA-256$") => {
                let (verifiers, user) = (self.verifiers.clone(), user.to_owned());
                tokio::task::spawn_blocking(move || verifiers.derived(&user, &stored))
                    .await
                    .map_err(|_| OpenError::Misconfigured("the gateway is stopping".to_owned()))?
            }
            Err(fault) => return Ok(Known::Unusable(fault.as_str().to_owned())),
        };
        Ok(Known::Found {
            verifier,
            valid_until: read.valid_until,
        })
    }

    /// The question failed: an older answer may still do.
    fn without_an_answer(&self, heard: &Heard, error: OpenError) -> Lookup {
        match &heard.answer {
            Some(old) if old.is_better_than_nothing() => self.lookup_of(old.known.clone()),
            _ => Lookup::Unavailable(error),
        }
    }

    fn lookup_of(&self, known: Known) -> Lookup {
        match known {
            Known::Nobody => Lookup::Unknown,
            Known::Unusable(reason) => Lookup::Unusable(reason),
            Known::Found {
                valid_until: Some(until),
                ..
            } if until <= SystemTime::now() => {
                Lookup::Unusable("the role's password has expired (VALID UNTIL)".to_owned())
            }
            Known::Found { verifier, .. } => Lookup::Found(Account {
                verifier: Some(verifier),
                certificate: None,
                grant: self.grant.clone(),
            }),
        }
    }
}

#[async_trait]
impl Credentials for AuthQuery {
    async fn lookup(&self, user: &str, database: &str) -> Lookup {
        if !self.serves(database) || user.len() > limits::USER_NAME {
            return Lookup::Unknown;
        }
        let slot = self.slot(user);
        let came = clock::now();
        let mut heard = slot.heard.lock().await;
        if let Some(answer) = &heard.answer
            && answer.is_fresh(slot.doubted.load(Ordering::Relaxed))
        {
            return self.lookup_of(answer.known.clone());
        }
        // Many clients of one user that come while the database does not answer must not time out one after the other.
        if let Some((at, error)) = &heard.failure
            && *at >= came
        {
            return self.without_an_answer(&heard, error.clone());
        }
        match self.ask(user).await {
            Ok(known) => {
                slot.doubted.store(false, Ordering::Relaxed);
                *heard = Heard {
                    answer: Some(Answer {
                        at: clock::now(),
                        known: known.clone(),
                    }),
                    failure: None,
                };
                self.lookup_of(known)
            }
            Err(error) => {
                warn!(source = %self.source, %error, "auth_query failed");
                heard.failure = Some((clock::now(), error.clone()));
                self.without_an_answer(&heard, error)
            }
        }
    }

    fn doubt(&self, user: &str, database: &str) {
        if self.serves(database)
            && let Some(slot) = self.remembered.lock().get(user)
        {
            slot.doubted.store(true, Ordering::Relaxed);
        }
    }
}

impl Slot {
    fn is_worth_keeping(&self) -> bool {
        self.heard.try_lock().is_ok_and(|heard| {
            matches!(
                &heard.answer,
                Some(Answer {
                    known: Known::Found { .. },
                    ..
                })
            )
        })
    }
}

impl Answer {
    fn age(&self) -> Duration {
        clock::now().duration_since(self.at)
    }

    fn is_fresh(&self, doubted: bool) -> bool {
        let lifetime = match (&self.known, doubted) {
            (_, true) => limits::LOOKUP_MIN_INTERVAL,
            (Known::Found { .. }, false) => limits::LOOKUP_TTL,
            (Known::Nobody | Known::Unusable(_), false) => limits::LOOKUP_NEGATIVE_TTL,
        };
        self.age() < lifetime
    }

    /// While the database cannot be asked, yesterday's verifier still is one.
    fn is_better_than_nothing(&self) -> bool {
        matches!(self.known, Known::Found { .. }) && self.age() < limits::LOOKUP_STALE
    }
}

struct Read {
    name: Option<String>,
    password: Option<String>,
    valid_until: Option<SystemTime>,
}

/// One column is the password; of two, the first is the name; the built-in query has the end of validity as a third.
fn read(row: &Row, built_in: bool) -> Result<Read, tokio_postgres::Error> {
    let mut valid_until = None;
    if built_in {
        let seconds: Option<f64> = row.try_get(2)?;
        // `infinity` and what no clock can show are no limit; what lies before 1970 has passed.
        valid_until = seconds
            .and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok())
            .map(|since| UNIX_EPOCH + since);
    }
    if row.len() == 1 {
        return Ok(Read {
            name: None,
            password: row.try_get(0)?,
            valid_until,
        });
    }
    Ok(Read {
        // A NULL name is nobody's.
        name: Some(row.try_get::<_, Option<String>>(0)?.unwrap_or_default()),
        password: row.try_get(1)?,
        valid_until,
    })
}
