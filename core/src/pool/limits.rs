//! Every bound of the pool's own, with its reason.

use std::time::Duration;

/// How long a connection that is being closed is waited for until the database has closed its end too, so that the
/// database never counts more connections of ours than the limit. A backend that is busy does not notice that we left;
/// waiting longer would only keep the place from being used.
pub(super) const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// Bytes that a connection being closed may still send before the wait for its end is given up; closing with unread
/// bytes resets the connection, which ends the backend's sending as well.
pub(super) const CLOSE_BYTES: usize = 256 * 1024;

/// How long a reset between two clients may take. It is a few statements without work; a database that needs longer is
/// better served by closing one connection.
pub(super) const RESET_TIME: Duration = Duration::from_secs(5);

/// Bytes of the answer to a reset: a few dozen are normal, notices may add some.
pub(super) const RESET_BYTES: usize = 64 * 1024;

/// Bytes that may arrive on an idle connection each time it is looked at. Notices and parameter changes are a few
/// hundred; more than this is not what an idle server connection sends.
pub(super) const IDLE_BYTES: usize = 64 * 1024;

/// Profiles remembered beyond those in use before the unused ones are forgotten. Clients may bring one each.
pub(super) const SPARE_PROFILES: usize = 256;

/// How long the server connection of a client that was ended by KILL gets to come to rest, so that what runs on it is
/// cancelled on the database too. Longer would not be at once.
pub(super) const KILL_PATIENCE: Duration = Duration::from_millis(500);

/// At most one log line about failed opens, and one about lost idle connections, per pool in this time; the others are
/// counted in the next one. A restarted database is one event, not one per connection.
pub(super) const LOG_INTERVAL: Duration = Duration::from_secs(5);
