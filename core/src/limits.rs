//! Every bound of the core, with its reason. Nothing that a peer can grow lacks one.

use std::time::Duration;

/// Bytes read from a socket at a time, into one scratch buffer per worker thread. 16 KiB is a TLS record and four
/// pages; small requests never fill it, and a slow client can be owed at most this much.
pub const SCRATCH: usize = 16 * 1024;

/// Bytes that a dialogue may ask to see of one message before it decides (`Step::Need`). A prepared statement's text
/// has to be kept to prepare it elsewhere; longer ones are streamed and pin their connection instead.
pub const MAX_PEEK: usize = 1024 * 1024;

/// Bytes of a client that are kept while it waits for a server connection. Beyond it the client is simply not read.
pub const MAX_HELD: usize = 64 * 1024;

/// Bytes that may wait for a client to read them before the client itself is no longer read. Only answers that the
/// gateway makes up can add to what the server sent, and a client controls how many it asks for.
pub const MAX_OWED: usize = 64 * 1024;

/// Bytes of an answer that are read and thrown away after its client has left; a bigger rest costs more than a login.
pub const MAX_DRAIN: u64 = 16 * 1024 * 1024;

/// Time from accept to a finished login. Hyperdrive's and PgBouncer's order of magnitude.
pub const LOGIN_TIMEOUT: Duration = Duration::from_secs(15);

/// Bytes that a client may send before it is authenticated, in all its messages together.
pub const LOGIN_BYTES: usize = 16 * 1024;

/// Bytes read from a peer at a time before it is logged in. A login is a few hundred.
pub const LOGIN_READ: usize = 2048;

/// Bytes of one message to the console. Its commands are a few words, and what drivers say first a few lines.
pub const MAX_CONSOLE_MESSAGE: usize = 16 * 1024;

/// Bytes that a client of the console is read at a time.
pub const CONSOLE_READ: usize = 4 * 1024;

/// Logins under way at a time on one listener. Each costs a task, a socket and at most `LOGIN_BYTES`.
pub const MAX_HALF_OPEN: usize = 10_000;

/// Cancel requests on their way to one database at a time; further ones wait their turn, within their time limit.
pub const MAX_CANCELS_IN_FLIGHT: usize = 16;

/// Iterations of the verifiers that are made of clear passwords, and of the mock exchange for unknown users:
/// PostgreSQL's default, so that neither stands out.
pub const SCRAM_ITERATIONS: u32 = 4096;

/// Iterations accepted in a stored verifier. PostgreSQL clients compute them; for protocols
/// with passwords in clear the gateway does, off the reactor, some seconds of it at this bound.
pub const MAX_SCRAM_ITERATIONS: u32 = 10_000_000;

/// Bytes of salt that are made, as PostgreSQL makes them.
pub const SCRAM_SALT: usize = 16;

/// Clients that are told at a time that another process takes them. Each is not read while it is offered there, which
/// takes the time of a few messages; all of them at once would wait for each other.
pub const HANDED_OVER_AT_ONCE: usize = 32;

/// Until the next ones are told: 3,200 in a second.
pub const HAND_OVER_PAUSE: Duration = Duration::from_millis(10);

/// Bytes of what another process has to know of a client to go on with it, most of it its prepared statements: some hundred
/// of them, copied while the client waits. One with more stays with the process that it is with, until it leaves.
pub const MAX_PACKED: usize = 256 * 1024;
