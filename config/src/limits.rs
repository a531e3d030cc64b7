//! Every bound of the metadata loader, with its reason. Metadata is written by the operator, but a directory may come
//! from a repository that many people write to, and `weir check` runs in their CI.

/// Bytes of one metadata file. An export of a Hasura project with thousands of tables stays below a tenth of it.
pub const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// Nested lists and mappings in one file. Real metadata stays below 20; deeper trees would cost stack while walking.
pub const MAX_DEPTH: usize = 64;

/// Scalars, lists and mappings of one file after aliases are expanded: "billion laughs" end here.
pub const MAX_NODES: usize = 1_000_000;

/// Files included by one another in a chain. Hasura's own layout has two.
pub const MAX_INCLUDE_DEPTH: usize = 16;

/// Files read for one load, so that files that include each other twice do not fan out for ever.
pub const MAX_FILES: usize = 20_000;

/// Bytes of a file behind `dynamic_from_file`: a URL, a password or a PEM bundle.
pub const MAX_SECRET_BYTES: u64 = 1024 * 1024;

/// Problems kept. A file that is wrong from top to bottom says so well before.
pub const MAX_PROBLEMS: usize = 1_000;

/// Errors that an inconsistent source's reason repeats. Its clients read it in an error message.
pub const MAX_REASONS: usize = 20;

/// Characters of a wrong value that a message quotes.
pub const MAX_QUOTED: usize = 60;

/// Hosts of one multi-host address; each is tried in turn within one `connect_timeout`.
pub const MAX_HOSTS: usize = 32;

/// `max_connections` and its relatives. PostgreSQL itself stops at 262,143 connections.
pub const MAX_CONNECTIONS: u32 = 262_143;

/// `linger_ms`: a minute. Longer is session mode by another name.
pub const MAX_LINGER_MS: u32 = 60_000;

/// Seconds in any setting: about 68 years, as in PostgreSQL's own settings, so that sums of durations never overflow.
pub const MAX_SECONDS: f64 = i32::MAX as f64;

/// Iterations accepted in a SCRAM verifier. A client would compute for minutes above it.
pub const MAX_SCRAM_ITERATIONS: u32 = 10_000_000;
