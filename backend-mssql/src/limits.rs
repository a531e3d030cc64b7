//! Every bound of this crate, with its reason.

/// Redirections followed by one probe. Azure SQL sends one, from its gateway to the node; a second is a loop.
pub const MAX_REDIRECTIONS: u32 = 1;

/// Characters kept of a name or text that the server reports about itself. `@@VERSION` has about 250.
pub const MAX_REPORTED: usize = 512;

/// Characters kept of one word or constant of a text. The longest that is of use is a CONTEXT_INFO constant, 258.
pub const MAX_TOKEN: usize = 300;

/// Bytes of a batch that are looked at for what it does to its session (TDS 6.3). A longer one counts as not understood
/// and ties its client.
pub const MAX_CLASSIFIED: usize = 1024 * 1024;

/// Settings that one batch may change; the drivers that set most at once change about 20.
pub const MAX_CHANGES: usize = 64;

/// Parts of a session's state that a server may report in SESSIONSTATE. StateId is a byte.
pub const MAX_STATES: usize = 256;

/// Bytes kept of all the states that a server reports about one session; beyond it nothing is concluded from them.
pub const MAX_STATE_BYTES: usize = 64 * 1024;

/// Prepared statements of one client. A driver that never releases them is told so, not fed.
pub const MAX_CLIENT_STATEMENTS: usize = 10_000;

/// Bytes of the parameters and the text of a prepared statement that are kept to prepare it elsewhere. A longer one stays
/// on its server connection, with its client.
pub const MAX_STATEMENT: usize = 256 * 1024;

/// Bytes of a request that are kept until it is known that the server still had its prepared statement (TDS 7.2).
pub const MAX_KEPT_REQUEST: usize = 64 * 1024;

/// Server connections that may be lost before a request could be sent on them, until its client is told.
pub const MAX_LOST_IN_ADOPTION: u8 = 3;

/// Bytes of an answer to a request of the gateway's own (settings, begin, probe); they are about a hundred.
pub const MAX_OWN_ANSWER: usize = 256 * 1024;
