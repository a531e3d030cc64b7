//! Typed connections of the control plane: few, slow paths only (`auth_query`, `weir check`), through a bb8 pool of
//! tokio-postgres clients. The data path never uses them.
//!
//! Invariants: nothing that a client of the gateway sent is applied to such a connection (CVE-2025-12819); lines and
//! passwords are guarded as on the data path; a failed connect is told at once and with the database's own words, which
//! bb8 alone would turn into a time-out.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bb8::{ManageConnection, Pool, PooledConnection, RunError};
use tokio::sync::watch;
use tokio_postgres::Client;
use weir_core::refusal::{OpenError, Rejection};

use crate::{login::server::Opener, wire::error_response::retry};

/// A small pool of typed connections, opened when first used.
pub struct ControlPool {
    manager: Manager,
    size: u32,
    patience: Duration,
    pool: OnceLock<Pool<Manager>>,
}

/// Opens typed connections with fixed parameters.
#[derive(Clone, Debug)]
pub struct Manager {
    opener: Arc<Opener>,
    parameters: Arc<[(&'static str, String)]>,
    failures: Arc<watch::Sender<Option<OpenError>>>,
}

impl ControlPool {
    /// At most `size` connections; `patience` bounds everything up to a usable one.
    pub fn new(opener: Arc<Opener>, parameters: Vec<(&'static str, String)>, size: u32, patience: Duration) -> Self {
        ControlPool {
            manager: Manager {
                opener,
                parameters: parameters.into(),
                failures: Arc::new(watch::Sender::new(None)),
            },
            size,
            patience,
            pool: OnceLock::new(),
        }
    }

    /// A connection.
    ///
    /// # Errors
    /// [`OpenError`], as soon as a connect fails.
    pub async fn client(&self) -> Result<PooledConnection<'_, Manager>, OpenError> {
        let pool = self.pool.get_or_init(|| {
            Pool::builder()
                .max_size(self.size)
                .connection_timeout(self.patience)
                .idle_timeout(Some(Duration::from_secs(60)))
                .retry_connection(false)
                .test_on_check_out(true)
                .build_unchecked(self.manager.clone())
        });
        let mut failures = self.manager.failures.subscribe();
        failures.mark_unchanged();
        tokio::select! {
            biased;
            got = pool.get() => got.map_err(|error| match error {
                RunError::User(error) => error,
                RunError::TimedOut => OpenError::TimedOut(self.patience),
            }),
            _ = failures.changed() => {
                Err(failures.borrow().clone().unwrap_or(OpenError::TimedOut(self.patience)))
            }
        }
    }
}

impl ManageConnection for Manager {
    type Connection = Client;
    type Error = OpenError;

    async fn connect(&self) -> Result<Client, OpenError> {
        let parameters: Vec<_> = self
            .parameters
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        self.opener.open_typed(&parameters).await.inspect_err(|error| {
            self.failures.send_replace(Some(error.clone()));
        })
    }

    async fn is_valid(&self, client: &mut Client) -> Result<(), OpenError> {
        client
            .simple_query("")
            .await
            .map(drop)
            .map_err(|error| open_error(&error))
    }

    fn has_broken(&self, client: &mut Client) -> bool {
        client.is_closed()
    }
}

/// What a statement's failure means, without anything that was sent.
pub fn open_error(error: &tokio_postgres::Error) -> OpenError {
    match error.as_db_error() {
        Some(said) => OpenError::Rejected(Rejection {
            code: said.code().code().to_owned(),
            message: said.message().to_owned(),
            detail: said.detail().map(str::to_owned),
            hint: said.hint().map(str::to_owned),
            retry: retry(said.code().code()),
        }),
        None => OpenError::Unreachable(error.to_string()),
    }
}
