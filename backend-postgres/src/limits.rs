//! Every bound of the PostgreSQL dialogue, with its reason. Nothing that a peer can grow lacks one.

/// Longest message of the types that PostgreSQL itself keeps small (Close, Describe, Execute, Flush, Sync, CopyDone,
/// CopyFail, Terminate): its `PQ_SMALL_MESSAGE_LIMIT`, length field included.
pub const MAX_SMALL_MESSAGE: u32 = 10_000;

/// Longest message of all the others: PostgreSQL's `PQ_LARGE_MESSAGE_LIMIT` (`MaxAllocSize - 1`), length field included.
pub const MAX_LARGE_MESSAGE: u32 = 0x3fff_fffe;

/// Longest message that a server may send. The protocol knows no other bound; bodies stream, so it costs nothing.
pub const MAX_SERVER_MESSAGE: u32 = i32::MAX as u32;

/// A message that we look into as a whole is at most this long; a longer one is streamed, and judged by its head.
/// The core never shows more.
pub const MAX_PEEK: usize = weir_core::limits::MAX_PEEK;

/// A Bind up to this length is copied when its statement's name is replaced; a longer one streams behind its new names.
pub const MAX_COPIED: usize = 4 * 1024;

/// Bytes of one group that are kept until the server has begun to answer it, so that it can be sent again when its plan
/// turns out to be stale. Each server connection may hold that much memory; parameters are rarely longer.
pub const MAX_KEPT_GROUP: usize = 16 * 1024;

/// An error or a notice is looked into up to here: SQLSTATE, routine and a statement's name stand well before.
pub const MAX_ERROR_PEEK: usize = 64 * 1024;

/// A command tag is a few words; a longer one is passed on unread.
pub const MAX_TAG_PEEK: usize = 1024;

/// A setting that the server reports (ParameterStatus). `search_path` is the longest in practice.
pub const MAX_PARAMETER_PEEK: usize = 64 * 1024;

/// Settings that a server may report; PostgreSQL 18 reports 16. Further ones are passed on but not remembered.
pub const MAX_PARAMETERS: usize = 128;

/// Settings that one client may bring along in its StartupMessage. The packet itself is at most 10,000 bytes.
pub const MAX_OVERLAY_SETTINGS: usize = 200;

/// Answers outstanding on one server connection. Beyond it the client is not read until the server has caught up:
/// enough for a driver's pipeline, and about 100 KiB of memory.
pub const MAX_PENDING: usize = 1024;

/// Bytes of statement texts that outstanding messages hold on to, so that they can be undone. Beyond it the client waits
/// for answers too: a pipeline of ordinary statements never comes near.
pub const MAX_PENDING_BYTES: usize = 4 * 1024 * 1024;

/// Bytes of the texts of prepared statements that one server connection keeps alive for clients to come. Beyond it the
/// least recently used ones are closed, as beyond their number.
pub const MAX_PREPARED_BYTES: usize = 8 * 1024 * 1024;

/// The same while a transaction is open, when none should be closed.
pub const MAX_PREPARED_BYTES_IN_TRANSACTION: usize = 4 * MAX_PREPARED_BYTES;

/// Named prepared statements of one client. Drivers keep 100 to 256; a client that needs more has a leak.
pub const MAX_CLIENT_STATEMENTS: usize = 5_000;

/// Bytes of the texts and names of one client's named prepared statements.
pub const MAX_CLIENT_STATEMENT_BYTES: usize = 16 * 1024 * 1024;

/// Bytes of statement texts that one source shares between its clients. Beyond it each client keeps its own copy,
/// which its own bound covers.
pub const MAX_INTERNED_BYTES: usize = 256 * 1024 * 1024;

/// Prepared statements beyond the configured number that may pile up on a server connection while a transaction is
/// open, because none may be closed under it; then the oldest ones are closed after all.
pub const PREPARED_OVERSHOOT: usize = 1_000;

/// `(name, value)` pairs of settings that one source has accepted before. Past it, a new pair simply costs a round trip.
pub const MAX_ACCEPTED_SETTINGS: usize = 10_000;

/// Names of statements and portals: PostgreSQL's `NAMEDATALEN` less its terminator. It compares no more than that.
pub const MAX_NAME: usize = 63;

/// Bytes of half a message that may wait on a connection that nobody holds. Notices are short.
pub const MAX_IDLE_BYTES: usize = 16 * 1024;

/// Server connections lost while they were being prepared for one request, before its client is told.
pub const MAX_LOST_IN_ADOPTION: u8 = 3;

/// Users of one source of whom it is remembered whether they ask for `currval` and `lastval`; those beyond share it.
pub const MAX_ASKING_USERS: usize = 10_000;

/// Bytes of SQL that are put into parentheses or statements deep; only keeps a counter from overflowing.
pub const MAX_NESTING: u32 = 100_000;

/// Bytes of the answer about what a session is like. Settings are short; what is more than this is not followed, and the
/// client keeps its server connection instead.
pub const MAX_SETTLED_BYTES: usize = 256 * 1024;

/// Statements that one client may have prepared with SQL and have follow it. Who prepares in SQL does it by hand; beyond
/// it the client keeps its server connection.
pub const MAX_SQL_STATEMENTS: usize = 200;

/// Bytes of their names and texts. Twice as many stand in the answer, as hexadecimal digits.
pub const MAX_SQL_STATEMENT_BYTES: usize = 64 * 1024;

/// How often that question is asked when it is cancelled, before the client keeps its server connection.
pub const MAX_SETTLE_ATTEMPTS: u8 = 3;

/// Bytes of the name of a custom setting that is followed. PostgreSQL sets no bound.
pub const MAX_CUSTOM_NAME: usize = 128;

/// Names of custom settings that one statement, or one client, may set and have followed. A client with more of them
/// keeps its server connection: those beyond could not be found again.
pub const MAX_CUSTOM_NAMES: usize = 64;

/// Names of custom settings that a source remembers for all of its clients.
pub const MAX_SHARED_CUSTOM_NAMES: usize = 32;

/// Channels that one client may listen to through the shared connection. A client with more keeps its server connection.
pub const MAX_CLIENT_CHANNELS: usize = 256;

/// Channels of all clients of an endpoint together: the server looks through its list for every notification. Clients
/// beyond it keep their server connections.
pub const MAX_SHARED_CHANNELS: usize = 10_000;

/// Channels that one command of the shared connection is about.
pub const MAX_LISTEN_BATCH: usize = 200;

/// Notifications that may wait for one client, because it is in a transaction or does not read. Beyond it the client is
/// disconnected; PostgreSQL would let them fill its queue, and then refuse NOTIFY to everybody.
pub const MAX_WAITING_NOTIFICATIONS: usize = 16 * 1024;

/// Bytes of them. Clients share them, so that this is not multiplied by the number of clients.
pub const MAX_WAITING_NOTIFICATION_BYTES: usize = 4 * 1024 * 1024;

/// Bytes of notifications that are handed to a client at a time, before it has to read them.
pub const MAX_TOLD_AT_ONCE: usize = 64 * 1024;

/// Bytes that one read of the shared connection may bring.
pub const LISTENER_READ: usize = 16 * 1024;

/// Bytes of a statement that are shown as the reason why a client keeps its server connection: enough to recognize it.
pub const MAX_SHOWN_STATEMENT: usize = 200;

/// Statements that are remembered for that while a client holds a server connection.
pub const MAX_SUSPECTS: usize = 4;

/// Prepared statements, portals, or commands in one message, of one client of the console.
pub const MAX_CONSOLE_STATEMENTS: usize = 64;

/// Bytes of the console's answers that are written before the next command of a pipeline is looked at.
pub const MAX_CONSOLE_ANSWER: usize = 256 * 1024;
