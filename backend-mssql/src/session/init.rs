//! What the two logins know, handed to the session of a server connection and to the conversation of a client.
//!
//! Only data: filled by `login`, read by `session` and `dialogue`. Holds nothing secret.

use std::sync::Arc;

use weir_config::{MssqlIsolationLevel, SessionStatePolicy};
use weir_core::settings::{PoolMode, ReplicaRouting};

use super::{Baseline, SourceState, last_values::Asker};
use crate::settings::{Profile, TdsVersion};

/// What login knows of a server connection that it has just opened.
#[derive(Clone, Debug)]
pub struct SessionInit {
    /// What was agreed on with the server; below 7.4 only for clients that are older themselves.
    pub tds_version: TdsVersion,
    /// As the server numbers it, for the headers of what clients are sent.
    pub spid: u16,
    /// Bytes of a packet to this server, header included: every one but the last of a message is exactly this long.
    pub packet_size: u16,
    /// The database after login, in the server's own spelling.
    pub database: String,
    /// The language after login.
    pub language: String,
    /// The collation after login (ENVCHANGE 7).
    pub collation: [u8; 5],
    /// Extensions that the server acknowledged.
    pub features: Features,
    /// What SESSIONRECOVERY's acknowledgement said the session starts with; `None`: the server does not tell what is
    /// alive in a session.
    pub initial_state: Option<Vec<u8>>,
    /// What else was fixed at login: the ODBC defaults, read-only intent.
    pub profile: Profile,
    /// How transactions are followed on this source's servers.
    pub tracker: Tracker,
    /// Isolation level that the metadata asks for; `None`: the server's own, READ COMMITTED.
    pub isolation_level: Option<MssqlIsolationLevel>,
    /// Prepared statements to keep; the least recently used one is released beyond that.
    pub max_prepared_statements: u32,
    /// What the source shares.
    pub shared: Arc<SourceState>,
}

/// What login knows of a client that it has just let in.
#[derive(Clone, Debug)]
pub struct ConversationInit {
    /// When its server connections go back.
    pub pool_mode: PoolMode,
    /// Whether its session state follows it from one server connection to the next.
    pub session_state: SessionStatePolicy,
    /// Which of its requests may go to replicas unasked.
    pub replica_routing: ReplicaRouting,
    /// It may only read, or says that it will: its user is `read_only`, or it logged in with `ApplicationIntent=ReadOnly`.
    pub read_only: bool,
    /// What was agreed on with the client.
    pub tds_version: TdsVersion,
    /// Bytes of a packet to and from this client, header included.
    pub packet_size: u16,
    /// The SPID that it was told, for packets that no server connection has sent.
    pub spid: u16,
    /// The database by which it asked for its source: a name of the gateway's, which it was told that it is in, and which
    /// `USE` may repeat. Empty when it named none.
    pub asked_database: String,
    /// The database that it really is in.
    pub database: String,
    /// The language that it was told.
    pub language: String,
    /// What it has to find set that its server connections do not have from their login.
    pub baseline: Baseline,
    /// Its login asked for another language than the source's own (`LANGUAGE` in its connection string).
    pub asked_language: Option<String>,
    /// The collation that it was told.
    pub collation: [u8; 5],
    /// Extensions that were acknowledged to it.
    pub features: Features,
    /// Which changes of its environment it wants to hear of.
    pub notices: Notices,
    /// What must be equal in a server connection to serve it; the ODBC defaults are in here.
    pub profile: Profile,
    /// How transactions are followed on its source's servers.
    pub tracker: Tracker,
    /// Isolation level that the metadata asks for.
    pub isolation_level: Option<MssqlIsolationLevel>,
    /// What the server calls itself, for errors of the gateway's own.
    pub server_name: String,
    /// What its source shares.
    pub shared: Arc<SourceState>,
    /// Whether its user asks for what its earlier requests came to.
    pub asker: Asker,
    /// It is told when it begins or ceases to keep its server connection.
    pub pin_notice: bool,
    /// Its place in the directory of clients.
    pub client_id: u32,
}

/// How the transaction state of a server connection is known (TDS 4.3, 4.3a).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Tracker {
    /// ENVCHANGE 8 to 12 and 17 tell every outermost begin and end: SQL Server.
    EnvChange,
    /// They do not: after whatever may have changed it, `@@TRANCOUNT` is asked for. Correct for every server, at the cost
    /// of a round trip.
    #[default]
    Probe,
}

/// Feature extensions in use on a connection (TDS 3.2); 0: not in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Features {
    /// UTF8_SUPPORT.
    pub utf8: bool,
    /// JSONSUPPORT's version.
    pub json: u8,
    /// VECTORSUPPORT's version.
    pub vector: u8,
}

/// What a client wants to be told when it changes (OptionFlags1 of its login).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notices {
    /// `fUseDB`: ENVCHANGE 1 and INFO 5701 when the database changes.
    pub database: bool,
    /// `fSetLang`: ENVCHANGE 2 and INFO 5703 when the language changes.
    pub language: bool,
}
