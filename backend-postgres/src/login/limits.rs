//! Every bound of the two logins, with its reason.

use std::time::Duration;

pub use weir_core::limits::SCRAM_ITERATIONS;

/// Bytes of one message that a server may send while logging in. PostgreSQL's longest is an ErrorResponse; libpq
/// believes in 30,000 bytes for these as well.
pub const SERVER_LOGIN_MESSAGE: usize = 30_000;

/// Bytes that a server may send in all while logging in: some twenty parameters, a key, a handful of notices.
pub const SERVER_LOGIN_BYTES: usize = 128 * 1024;

/// Parameters that are remembered of one server. PostgreSQL 18 reports 15.
pub const SERVER_PARAMETERS: usize = 64;

/// Random bytes of the gateway's part of a nonce, as PostgreSQL makes them (18); base64 makes it 24 characters.
pub const SCRAM_NONCE: usize = 18;

/// Clear-text passwords whose verifiers are kept at a time. A rotated file adds one each time.
pub const DERIVED_VERIFIERS: usize = 10_000;

/// Users that are remembered from `auth_query`, found or not. Names come from peers that are not logged in yet.
pub const LOOKED_UP_USERS: usize = 10_000;

/// Bytes of a user name that is looked up. PostgreSQL's longest name has 63; anything longer matches nobody there.
pub const USER_NAME: usize = 63;

/// How long an answer of `auth_query` is used without asking again.
pub const LOOKUP_TTL: Duration = Duration::from_secs(60);

/// How long "no such user" is believed (specification S10 rule 2).
pub const LOOKUP_NEGATIVE_TTL: Duration = Duration::from_secs(30);

/// How long an answer of `auth_query` is used while the database cannot be asked (S10 rule 1), never past VALID UNTIL.
pub const LOOKUP_STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// A wrong password makes the gateway ask again, so that a changed one works at once; but not more often than this.
pub const LOOKUP_MIN_INTERVAL: Duration = Duration::from_secs(3);

/// Time limit of one `auth_query`, also its `statement_timeout`.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections of one source's `auth_query`. Lookups are rare: each answer is kept for [`LOOKUP_TTL`].
pub const LOOKUP_CONNECTIONS: u32 = 2;
