//! `health_check` of a source: its statement, run at its interval over the control plane, and a log line when the answer
//! changes. Hasura's words: OK, TIMEOUT, FAILED (the statement failed), ERROR (no connection).
//!
//! Only tells; whether a pool is up is the pool's own knowledge.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use tracing::{info, warn};
use weir_config::model::{HealthCheck, MssqlConnection, PostgresConnection};
use weir_mssql::control::{Control, Failed};
use weir_postgres::{
    control::{self, ControlPool},
    login::server::Opener,
};

/// As whom the checks appear in the database.
const APPLICATION: &str = "weir health check";

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// The statement went well.
    Ok,
    /// There was no answer in this time.
    Timeout(Duration),
    /// The statement failed, and how.
    Failed(String),
    /// There is no connection, and why.
    Error(String),
}

impl Health {
    /// Hasura's word.
    pub(crate) fn status(&self) -> &'static str {
        match self {
            Health::Ok => "OK",
            Health::Timeout(_) => "TIMEOUT",
            Health::Failed(_) => "FAILED",
            Health::Error(_) => "ERROR",
        }
    }
}

/// The last finding about each source that has a `health_check`.
#[derive(Debug, Default)]
pub(crate) struct Board(Mutex<BTreeMap<String, Finding>>);

/// What a check found, and when.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    /// What.
    pub(crate) health: Health,
    /// When.
    pub(crate) time: SystemTime,
}

impl Board {
    /// All findings, by source.
    pub(crate) fn findings(&self) -> BTreeMap<String, Finding> {
        self.0.lock().clone()
    }

    fn enter(&self, source: &str, health: Health) {
        let finding = Finding {
            health,
            time: weir_core::clock::wall(),
        };
        self.0.lock().insert(source.to_owned(), finding);
    }

    /// Forgets every source that is not checked any more.
    pub(super) fn retain(&self, is_checked: impl Fn(&str) -> bool) {
        self.0.lock().retain(|source, _| is_checked(source));
    }
}

/// Whom a check asks.
pub(super) enum Database {
    /// The PostgreSQL family.
    Postgres(ControlPool),
    /// SQL Server.
    Mssql(Box<Control>),
}

impl Database {
    pub(super) fn postgres(connection: PostgresConnection, check: &HealthCheck) -> Self {
        let name = vec![("application_name", APPLICATION.to_owned())];
        let opener = Arc::new(Opener::new(connection, Vec::new()));
        // A little longer than the check itself, so that it is the check's limit that is reported.
        let patience = check.timeout + Duration::from_secs(1);
        Database::Postgres(ControlPool::new(opener, name, 1, patience))
    }

    pub(super) fn mssql(connection: MssqlConnection) -> Self {
        Database::Mssql(Box::new(Control::new(connection, APPLICATION)))
    }

    async fn ask(&self, sql: &str) -> Result<(), Health> {
        match self {
            Database::Postgres(pool) => {
                let client = pool.client().await.map_err(|error| Health::Error(error.to_string()))?;
                let answer = client.simple_query(sql).await;
                answer
                    .map(drop)
                    .map_err(|error| Health::Failed(control::open_error(&error).to_string()))
            }
            Database::Mssql(control) => control.run(sql).await.map_err(|failed| match failed {
                Failed::Open(error) => Health::Error(error.to_string()),
                Failed::Statement(error) => Health::Failed(error.to_string()),
            }),
        }
    }
}

/// Watches a source until the task is dropped.
pub(super) async fn watch(source: String, database: Database, check: HealthCheck, board: Arc<Board>) {
    let mut last = None;
    loop {
        let health = with_retries(&check, || once(&database, &check)).await;
        if changed(last.as_ref(), &health) {
            tell(&source, &health);
        }
        board.enter(&source, health.clone());
        last = Some(health);
        tokio::time::sleep(check.interval).await;
    }
}

/// The first good answer, or the last bad one.
async fn with_retries<F: Future<Output = Health>>(check: &HealthCheck, once: impl Fn() -> F) -> Health {
    let mut health = once().await;
    for _ in 0..check.retries {
        if health == Health::Ok {
            break;
        }
        tokio::time::sleep(check.retry_interval).await;
        health = once().await;
    }
    health
}

async fn once(database: &Database, check: &HealthCheck) -> Health {
    match tokio::time::timeout(check.timeout, database.ask(&check.sql)).await {
        Ok(Ok(())) => Health::Ok,
        Ok(Err(health)) => health,
        Err(_) => Health::Timeout(check.timeout),
    }
}

/// Another status, or the first one if it is bad. Another text of the same status is no news.
fn changed(last: Option<&Health>, now: &Health) -> bool {
    match last {
        Some(last) => std::mem::discriminant(last) != std::mem::discriminant(now),
        None => *now != Health::Ok,
    }
}

fn tell(source: &str, health: &Health) {
    match health {
        Health::Ok => info!(source, status = "OK", "health check"),
        Health::Timeout(limit) => warn!(
            source,
            status = "TIMEOUT",
            timeout = limit.as_secs_f64(),
            "health check"
        ),
        Health::Failed(reason) => warn!(source, status = "FAILED", reason, "health check"),
        Health::Error(reason) => warn!(source, status = "ERROR", reason, "health check"),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn check(retries: u32) -> HealthCheck {
        HealthCheck {
            sql: "SELECT 1".to_owned(),
            interval: Duration::from_secs(15),
            retries,
            retry_interval: Duration::from_millis(1),
            timeout: Duration::from_secs(1),
        }
    }

    #[tokio::test]
    async fn a_source_is_unhealthy_only_after_its_retries() {
        let asked = Cell::new(0);
        let third_time_lucky = || {
            asked.set(asked.get() + 1);
            let health = if asked.get() == 3 {
                Health::Ok
            } else {
                Health::Error("down".to_owned())
            };
            std::future::ready(health)
        };
        assert_eq!(with_retries(&check(3), third_time_lucky).await, Health::Ok);
        assert_eq!(asked.get(), 3);
        asked.set(3);
        assert_eq!(
            with_retries(&check(2), third_time_lucky).await,
            Health::Error("down".to_owned())
        );
        assert_eq!(asked.get(), 6);
    }

    #[test]
    fn only_changes_are_told() {
        let down = Health::Error("connection refused".to_owned());
        assert!(!changed(None, &Health::Ok));
        assert!(changed(None, &down));
        assert!(changed(Some(&down), &Health::Ok));
        assert!(!changed(Some(&down), &Health::Error("no route".to_owned())));
        assert!(changed(Some(&down), &Health::Timeout(Duration::from_secs(1))));
    }
}
