//! What the PostgreSQL backend is told about clients and endpoints, apart from what `weir_config` already types.

use std::sync::Arc;

/// Whether a connection replicates, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Replication {
    /// An ordinary session.
    #[default]
    No,
    /// `replication=true`: a WAL sender without a database.
    Physical,
    /// `replication=database`: a WAL sender that also takes SQL.
    Logical,
}

impl Replication {
    /// The value of the startup parameter, where there is one.
    pub fn parameter(self) -> Option<&'static str> {
        match self {
            Replication::No => None,
            Replication::Physical => Some("true"),
            Replication::Logical => Some("database"),
        }
    }
}

/// What must be equal for a server connection to serve a client at all. Everything else about a session can be put
/// right on an open connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Profile {
    /// A WAL sender is another kind of server process.
    pub replication: Replication,
    /// Settings for the startup packet: a WAL sender takes them nowhere else. Empty for ordinary sessions, which can be
    /// given to any client.
    pub settings: Arc<[(String, String)]>,
}
