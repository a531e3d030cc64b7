//! The bounds of the control socket, with their reasons. Its peers are this user's own processes, but possibly of another
//! version, and possibly hung.

use std::time::Duration;

/// Bytes of one message. The largest is a client that is handed over, most of it its prepared statements; thousands of
/// listeners or pools fit as well.
pub(super) const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// Bytes of the names of users in a welcome: ten thousand of them and more, and with every character escaped still less than
/// a message.
pub(super) const MAX_NAMES: usize = 256 * 1024;

/// Descriptors that come with one message: Linux passes at most 253 at a time.
pub(super) const MAX_DESCRIPTORS: usize = 250;

/// Connections to the control socket at a time: a successor, some `weir restart`, and who tries what it is.
pub(super) const MAX_PEERS: usize = 16;

/// Until a peer has said what it wants, and until a successor has made itself ready: names are looked up in it and
/// certificates are read.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Until a predecessor that was told so has stopped accepting; it only has to close sockets. The successor goes on
/// without its word.
pub(super) const RELEASE: Duration = Duration::from_secs(10);

/// Cancel requests that wait for an answer of another process.
pub(super) const MAX_CANCELS: usize = 1024;

/// How long a cancel request may take in another process. Longer than its `cancel_wait` by default.
pub(super) const CANCEL_WAIT: Duration = Duration::from_secs(15);

/// Messages that wait to be written to a peer; whoever writes more waits.
pub(super) const MAX_UNSENT: usize = 256;

/// How long a client waits, unread, for a successor to say whether it takes it. Making it ready takes a look at metadata,
/// or at most one query for its user's password; a process that hangs must not hang its clients as well.
pub(super) const OFFER_PATIENCE: Duration = Duration::from_secs(5);

/// Clients that are being taken in at a time. The predecessor offers some 30 at once.
pub(super) const MAX_ARRIVING: usize = 1024;

/// Different reasons for which clients stay that are logged at level info; a name in them makes many of one.
pub(super) const MAX_REASONS: usize = 32;

/// Until the other process hears of a PAUSE: a moment for a person.
pub(super) const STANDING_TOLD: Duration = Duration::from_millis(50);

/// Between two rounds of offers. Those that could not move in one may have become able to.
pub(super) const OFFER_AGAIN: Duration = Duration::from_secs(10);
