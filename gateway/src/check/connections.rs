//! Each declared connection opened once, all in parallel: what was found, and whether the pools fit.
//!
//! Invariants: every probe is bounded by its connection's `connect_timeout`; one that fails says nothing about another.

use std::{collections::BTreeMap, time::Duration};

use tokio::task::JoinSet;
use weir_config::model::{Definition, Metadata, MssqlConnection, PostgresConnection, Source};
use weir_core::{refusal::OpenError, settings::PoolSettings};

/// One connection of a source, and how the look at it ended.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The source's name.
    pub(crate) source: String,
    /// Which of its connections: `primary`, `read_replicas[0]`, `connection_set eu_shard`.
    pub(crate) part: String,
    /// What it is called in the metadata; without a password.
    pub(crate) label: String,
    /// The most connections that its pool opens: `max_connections` and `overflow_connections` together.
    pub(crate) pool_limit: u32,
    /// Where the limit is set.
    pub(crate) limit_set_in: String,
    /// What was found, or why nothing was.
    pub(crate) outcome: Result<Found, OpenError>,
}

/// A database that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// `host:port`, as far as it tells one server from another.
    pub(crate) server: String,
    /// `PostgreSQL 17.2`
    pub(crate) version: String,
    /// As whom the gateway is logged in.
    pub(crate) role: String,
    /// Whether the connection is encrypted, where that is known.
    pub(crate) encrypted: Option<bool>,
    /// What the server allows, and what it keeps for others; `None` when it does not say.
    pub(crate) capacity: Option<Capacity>,
    /// Name lookup, TCP, TLS and login.
    pub(crate) connect_time: Duration,
    /// One statement on the open connection.
    pub(crate) round_trip: Duration,
}

/// How many connections a server takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capacity {
    /// The server's `max_connections`.
    pub(crate) max_connections: u32,
    /// Of these, kept for superusers and the like.
    pub(crate) reserved: u32,
    /// A limit of the role or the database that is lower, if there is one.
    pub(crate) role_limit: Option<u32>,
}

impl Capacity {
    /// What remains for a gateway.
    pub(crate) fn usable(self) -> u32 {
        let free = self.max_connections.saturating_sub(self.reserved);
        self.role_limit.map_or(free, |limit| free.min(limit))
    }
}

/// The pools that share one server, and what it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fit {
    /// The sum of the pools' limits.
    pub(crate) wanted: u32,
    /// Each pool by name, with its limit.
    pub(crate) pools: Vec<(String, u32)>,
    /// What the server takes.
    pub(crate) capacity: Capacity,
}

impl Fit {
    /// Whether all pools can be full at the same time.
    pub(crate) fn fits(&self) -> bool {
        self.wanted <= self.capacity.usable()
    }
}

/// Opens every connection of every usable source.
pub(crate) async fn probe_all(metadata: &Metadata) -> Vec<Connection> {
    let mut probes = JoinSet::new();
    for (position, (source, part, target)) in declared(metadata).into_iter().enumerate() {
        let name = source.name.clone();
        probes.spawn(async move { (position, target.probe(name, part).await) });
    }
    let mut connections = BTreeMap::new();
    while let Some(result) = probes.join_next().await {
        // A probe cannot be cancelled, and a panic of ours is a bug to be seen.
        let (position, connection) = result.expect("a probe contains the panics of its driver");
        connections.insert(position, connection);
    }
    connections.into_values().collect()
}

/// The pools by the server that they share. Only servers that told their capacity.
pub(crate) fn fits(connections: &[Connection]) -> BTreeMap<String, Fit> {
    let mut fits: BTreeMap<String, Fit> = BTreeMap::new();
    for connection in connections {
        let Ok(found) = &connection.outcome else { continue };
        let Some(capacity) = found.capacity else { continue };
        let fit = fits.entry(found.server.clone()).or_insert_with(|| Fit {
            wanted: 0,
            pools: Vec::new(),
            capacity,
        });
        // The pools may log in as different roles: the tightest limit is the one that is hit first.
        if capacity.usable() < fit.capacity.usable() {
            fit.capacity = capacity;
        }
        fit.wanted = fit.wanted.saturating_add(connection.pool_limit);
        fit.pools.push((connection.name(), connection.pool_limit));
    }
    fits
}

impl Connection {
    /// `orders`, or `orders read_replicas[0]`.
    pub(crate) fn name(&self) -> String {
        match self.part.as_str() {
            "primary" => self.source.clone(),
            part => format!("{} {part}", self.source),
        }
    }

    /// What to do about a failure.
    pub(crate) fn advice(&self) -> Option<String> {
        self.outcome.as_ref().err().map(|error| advice(error, &self.label))
    }
}

/// What can be opened, in the order of the metadata.
fn declared(metadata: &Metadata) -> Vec<(&Source, String, Target)> {
    let mut all = Vec::new();
    for source in &metadata.sources {
        let mut add = |part: String, target: Target| all.push((source, part, target));
        match &source.definition {
            Definition::Postgres(definition) => {
                let target = |connection: &PostgresConnection| Target::Postgres(Box::new(connection.clone()));
                add("primary".to_owned(), target(&definition.primary));
                for (index, replica) in definition.read_replicas.iter().enumerate() {
                    add(format!("read_replicas[{index}]"), target(replica));
                }
                for (name, member) in &definition.connection_set {
                    add(format!("connection_set {name}"), target(member));
                }
            }
            Definition::Mssql(definition) => {
                let target = |connection: &MssqlConnection| Target::Mssql(Box::new(connection.clone()));
                add("primary".to_owned(), target(&definition.primary));
                for (index, replica) in definition.read_replicas.iter().enumerate() {
                    add(format!("read_replicas[{index}]"), target(replica));
                }
            }
        }
    }
    all
}

enum Target {
    Postgres(Box<PostgresConnection>),
    Mssql(Box<MssqlConnection>),
}

impl Target {
    async fn probe(self, source: String, part: String) -> Connection {
        let (label, settings, outcome) = match self {
            Target::Postgres(connection) => {
                let outcome = postgres(&connection).await;
                (connection.label, connection.pool, outcome)
            }
            Target::Mssql(connection) => {
                let outcome = mssql(&connection).await;
                (connection.label, connection.pool, outcome)
            }
        };
        Connection {
            source,
            part,
            label,
            pool_limit: settings.max_connections.saturating_add(settings.overflow_connections),
            limit_set_in: limit_origin(&settings),
            outcome,
        }
    }
}

fn limit_origin(settings: &PoolSettings) -> String {
    settings.origins.of("max_connections").to_owned()
}

async fn postgres(connection: &PostgresConnection) -> Result<Found, OpenError> {
    let probe = weir_postgres::probe(connection).await?;
    let standby = if probe.in_recovery == Some(true) {
        ", standby"
    } else {
        ""
    };
    Ok(Found {
        server: probe.server,
        version: format!("{}{standby}", probe.version),
        role: probe.role,
        encrypted: probe.encrypted,
        capacity: probe.max_connections.map(|max_connections| Capacity {
            max_connections,
            reserved: probe.reserved_connections,
            role_limit: probe.role_limit,
        }),
        connect_time: probe.connect_time,
        round_trip: probe.round_trip,
    })
}

async fn mssql(connection: &MssqlConnection) -> Result<Found, OpenError> {
    let probe = weir_mssql::probe(connection).await?;
    Ok(Found {
        server: connection.label.clone(),
        version: format!("SQL Server {} ({})", probe.version, probe.edition),
        role: probe.login,
        encrypted: None,
        capacity: Some(Capacity {
            max_connections: probe.max_connections,
            reserved: 0,
            role_limit: None,
        }),
        connect_time: probe.connect_time,
        round_trip: probe.round_trip,
    })
}

fn advice(error: &OpenError, label: &str) -> String {
    match error {
        OpenError::Rejected(rejection) => match rejection.code.as_str() {
            "28P01" | "18456" => format!("check the user name and the password in {label}"),
            "28000" => format!(
                "the server's pg_hba.conf does not let this role in from this machine, or the role may not log in; see {label}"
            ),
            "3D000" | "4060" => format!("check the database name in {label}"),
            "53300" => "the database is full: lower max_connections here or raise it there".to_owned(),
            "42501" => "grant CONNECT on the database to this role".to_owned(),
            _ => format!("the words are the database's own; the address is {label}"),
        },
        OpenError::Unreachable(_) => {
            format!("is the database running there, and may this machine reach it? The address is {label}")
        }
        OpenError::Untrusted(_) => {
            "check sslmode and sslrootcert; sslmode=verify-full needs the issuer of the server's certificate".to_owned()
        }
        OpenError::TimedOut(_) => format!("a firewall that drops packets looks like this; the address is {label}"),
        OpenError::Misconfigured(_) => "the metadata is valid, but what it refers to is not".to_owned(),
    }
}
