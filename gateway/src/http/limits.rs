//! Every bound of the HTTP interface, with its reason. Whoever reaches the port is a hostile peer until it has shown the
//! admin secret, and the data plane runs on the same threads.

use std::time::Duration;

/// Connections at a time. People, a load balancer's checks and a Prometheus need a dozen; more are left in the kernel's
/// queue until one is closed.
pub(super) const MAX_CONNECTIONS: usize = 256;

/// From the first wait for a request to the end of its head. Closes idle connections as well, so that slow peers hold a
/// place for this long at most.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(15);

/// Bytes of a request's head.
pub(super) const MAX_HEAD: usize = 16 * 1024;

/// Header lines of a request.
pub(super) const MAX_HEADERS: usize = 64;

/// From the end of the head to the end of the body.
pub(super) const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of a request's body: what a metadata file may have, because `replace_metadata` carries the whole of it.
#[allow(clippy::cast_possible_truncation, reason = "16 MiB fit")]
pub(super) const MAX_BODY: usize = weir_config::limits::MAX_FILE_BYTES as usize;

/// Bodies of full size are held in memory, as text and as a tree: this many requests with a body at a time.
pub(super) const MAX_BODIES: usize = 4;

/// Bytes of an answer that may wait for a peer to read them, beside the answer itself.
pub(super) const MAX_BUFFER: usize = 64 * 1024;

/// Age at which a connection is closed after its present answer, so that a peer that does not read its answers holds a
/// place no longer than this and [`LAST_ANSWER`] together.
pub(super) const CONNECTION_LIFETIME: Duration = Duration::from_secs(600);

/// How long the last answer of such a connection may take.
pub(super) const LAST_ANSWER: Duration = Duration::from_secs(120);

/// How long answers under way get at the end.
pub(super) const GOODBYE: Duration = Duration::from_millis(300);

/// At the end, how long after its beginning a connection is expected to bring its first request: who was accepted has not
/// been refused. Shorter than [`GOODBYE`], which is what is left for the answer.
pub(super) const FIRST_REQUEST: Duration = Duration::from_millis(200);

/// Pause after an accept that the system refused, such as for want of file descriptors.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Requests in one `bulk`, those in a `bulk` within it included.
pub(super) const MAX_BULK: usize = 1_000;

/// Bulks within one another. Nobody means it.
pub(super) const MAX_BULK_DEPTH: usize = 8;

/// Requests of a `concurrent_bulk` at a time: some of them open connections to databases.
pub(super) const MAX_CONCURRENT: usize = 16;
