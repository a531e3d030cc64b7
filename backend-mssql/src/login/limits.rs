//! Every bound of the two logins, with its reason.

use std::time::Duration;

/// Bytes of a LOGIN7 message of a client: 128 units for each of ten texts, and room for what drivers put into feature
/// extensions. Less than the protocol allows, because nobody is known yet.
pub const CLIENT_LOGIN7: usize = 32 * 1024;

/// Bytes that a client may send before it is logged in, in all its messages together: PRELOGIN, LOGIN7, and the packets
/// around them. TLS has a bound of its own.
pub const GREETING: u32 = CLIENT_LOGIN7 as u32 + 8 * 1024;

/// Bytes that a peer may send inside PRELOGIN packets for one TLS handshake: a certificate chain fits several times.
pub const TLS_HANDSHAKE: usize = 64 * 1024;

/// Bytes read from a server at a time before we are logged in.
pub const GREETING_READ: usize = 4096;

/// Bytes of one message that a server may send while logging in. The initial session state of SESSIONRECOVERY is the
/// longest part, with some KiB.
pub const SERVER_LOGIN_MESSAGE: usize = 512 * 1024;

/// Errors of a server's login, and changes of transactions in the answer to a batch of our own, that are kept. Two would
/// do.
pub const NOTICES: usize = 8;

/// Places that a server may send us on to, one after the other. Azure SQL and read-only routing send once.
pub const REDIRECTIONS: usize = 3;

/// Kinds of sessions whose first words are remembered, for one endpoint. Each kind of driver makes one, and each login that
/// is passed through.
pub const WELCOMES: usize = 256;

/// Passwords that are hashed at a time. Each takes a thread for milliseconds, and whoever connects can ask for it: more
/// would keep the threads from name lookups and files.
pub const HASHES_AT_A_TIME: usize = 4;

/// A login that fails is answered this much after it was asked for, whatever the reason was and however long it took to
/// find out. Longer than the slowest check: 4,096 rounds of SHA-256, or a login at a server nearby.
pub const FAILURE_AFTER: Duration = Duration::from_millis(250);

/// Logins of one source that nobody has seen succeed yet and that are being tried at the server. Each takes a connection
/// of the pool, and whoever connects can ask for it.
pub const UNPROVEN_LOGINS: usize = 4;

/// Logins that were seen to succeed at the server, for one source.
pub const PROVEN_LOGINS: usize = 10_000;

/// Kinds of server connections that one client may have tried for it: with and without ODBC's defaults, with and without
/// extensions that a server turns out not to have.
pub const SETTLING: u32 = 4;
