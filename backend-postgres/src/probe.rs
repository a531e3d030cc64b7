//! One look at a PostgreSQL server: can it be reached as declared, what is it, and does the pool fit?
//!
//! Invariants: bounded by `connect_timeout`; the same rules for TLS and passwords as on the data path; nothing is
//! written to the database; no secret enters an error.

use std::{sync::Arc, time::Duration};

use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};
use weir_config::PostgresConnection;
use weir_core::{clock, refusal::OpenError};

use crate::{
    control::{ControlPool, open_error},
    login::server::Opener,
};

/// Everything that each server of the family answers, in one round trip.
const QUESTIONS: &str = "SELECT pg_catalog.version(), pg_catalog.current_setting('server_version'), current_user, \
    pg_catalog.current_database(), pg_catalog.current_setting('max_connections', true), \
    pg_catalog.current_setting('superuser_reserved_connections', true), \
    pg_catalog.current_setting('reserved_connections', true)";

/// What only a real PostgreSQL knows of itself; others do without.
const FURTHER: &str = "SELECT pg_catalog.pg_is_in_recovery(), \
    (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user), \
    (SELECT rolconnlimit FROM pg_catalog.pg_roles WHERE rolname = current_user), \
    (SELECT datconnlimit FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()), \
    (SELECT ssl FROM pg_catalog.pg_stat_ssl WHERE pid = pg_catalog.pg_backend_pid()), \
    pg_catalog.host(pg_catalog.inet_server_addr()), pg_catalog.inet_server_port()";

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The host that was declared, or of several the one that answered, with its port.
    pub server: String,
    /// `PostgreSQL 17.2`, `CockroachDB CCL v24.1.0`
    pub version: String,
    /// As whom the gateway is logged in.
    pub role: String,
    /// Where.
    pub database: String,
    /// Whether it is a standby. `None`: it does not say.
    pub in_recovery: Option<bool>,
    /// Whether the connection is encrypted. `None`: it does not say.
    pub encrypted: Option<bool>,
    /// Connections that the server allows. `None`: it does not say.
    pub max_connections: Option<u32>,
    /// Of these, kept from this role (`superuser_reserved_connections`, `reserved_connections`).
    pub reserved_connections: u32,
    /// A limit of the role or of the database, if there is one.
    pub role_limit: Option<u32>,
    /// Name lookup, TCP, TLS and login together.
    pub connect_time: Duration,
    /// One statement on the open connection.
    pub round_trip: Duration,
}

impl Probe {
    /// Connections that this role can have open, as far as the server says.
    pub fn usable_connections(&self) -> Option<u32> {
        let free = self
            .max_connections
            .map(|all| all.saturating_sub(self.reserved_connections));
        match (free, self.role_limit) {
            (Some(free), Some(limit)) => Some(free.min(limit)),
            (free, limit) => free.or(limit),
        }
    }

    /// Whether a pool of this size can be full.
    pub fn fits(&self, pool_limit: u32) -> bool {
        self.usable_connections().is_none_or(|usable| pool_limit <= usable)
    }
}

/// Opens one connection as declared, asks, and closes it. Never takes longer than the connection's `connect_timeout`.
///
/// # Errors
/// Why it could not be opened or asked.
pub async fn probe(connection: &PostgresConnection) -> Result<Probe, OpenError> {
    let limit = connection.pool.connect_timeout;
    tokio::time::timeout(limit, ask(connection.clone(), limit))
        .await
        .map_err(|_| OpenError::TimedOut(limit))?
}

async fn ask(connection: PostgresConnection, limit: Duration) -> Result<Probe, OpenError> {
    let opener = Arc::new(Opener::new(connection, Vec::new()));
    let hosts = opener.resolve().await?.hosts;
    let name = vec![("application_name", "weir check".to_owned())];
    let pool = ControlPool::new(opener, name, 1, limit);
    let before = clock::now();
    let client = pool.client().await?;
    let connected = clock::now();
    let main = first_row(&client, QUESTIONS).await?;
    let answered = clock::now();
    let further = first_row(&client, FURTHER).await.ok();
    let further = |column| further.as_ref().and_then(|row| row.get(column));
    let is_superuser = further(1) == Some("t");
    let server = match (hosts.as_slice(), further(5), further(6)) {
        ([only], _, _) => only.to_string(),
        (_, Some(address), Some(port)) => format!("{address}:{port}"),
        (several, _, _) => several.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
    };
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<u32>().ok());
    let reserved = if is_superuser {
        [None, None]
    } else {
        [number(main.get(5)), number(main.get(6))]
    };
    Ok(Probe {
        server,
        version: version(main.get(0).unwrap_or_default(), main.get(1).unwrap_or_default()),
        role: main.get(2).unwrap_or_default().to_owned(),
        database: main.get(3).unwrap_or_default().to_owned(),
        in_recovery: further(0).map(|answer| answer == "t"),
        encrypted: further(4).map(|answer| answer == "t"),
        max_connections: number(main.get(4)),
        reserved_connections: reserved.into_iter().flatten().sum(),
        // -1, which is no number here, means none.
        role_limit: [number(further(2)), number(further(3))]
            .into_iter()
            .flatten()
            .min()
            .filter(|_| !is_superuser),
        connect_time: connected - before,
        round_trip: answered - connected,
    })
}

async fn first_row(client: &Client, question: &str) -> Result<SimpleQueryRow, OpenError> {
    let messages = client
        .simple_query(question)
        .await
        .map_err(|error| open_error(&error))?;
    let rows = messages.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    rows.into_iter()
        .next()
        .ok_or_else(|| OpenError::Unreachable("the server answered with no row".to_owned()))
}

/// The short form of `version()`: `PostgreSQL 15.18 (Debian 15.18-0+deb12u1) on x86_64…` says too much.
fn version(long: &str, short: &str) -> String {
    match long.split_once(' ') {
        Some(("PostgreSQL", _)) | None => format!("PostgreSQL {}", short.split(' ').next().unwrap_or(short)),
        Some(_) => long.split(" (").next().unwrap_or(long).chars().take(80).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_short() {
        assert_eq!(
            version("PostgreSQL 15.18 (Debian 15.18-0) on x86_64", "15.18 (Debian 15.18-0)"),
            "PostgreSQL 15.18"
        );
        assert_eq!(
            version("CockroachDB CCL v24.1.0 (x86_64-pc-linux-gnu)", "13.0.0"),
            "CockroachDB CCL v24.1.0"
        );
    }

    #[test]
    fn whether_a_pool_fits() {
        let probe = |max_connections, role_limit| Probe {
            server: String::new(),
            version: String::new(),
            role: String::new(),
            database: String::new(),
            in_recovery: None,
            encrypted: None,
            max_connections,
            reserved_connections: 3,
            role_limit,
            connect_time: Duration::ZERO,
            round_trip: Duration::ZERO,
        };
        assert!(probe(Some(100), None).fits(97));
        assert!(!probe(Some(100), None).fits(98));
        assert!(!probe(Some(100), Some(10)).fits(11));
        assert!(probe(None, None).fits(u32::MAX));
        assert_eq!(probe(None, Some(5)).usable_connections(), Some(5));
    }
}
