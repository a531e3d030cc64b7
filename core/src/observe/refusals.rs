//! Refusals by kind, counted.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::refusal::Refusal;

/// What was refused, without its particulars: one for each [`Refusal`], and what only a login can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// No server connection in time.
    PoolTimeout,
    /// No server connection could be opened.
    Open,
    /// Too many clients.
    ClientLimit,
    /// No such database.
    UnknownDatabase,
    /// The source is inconsistent.
    Inconsistent,
    /// Wrong password, unknown user.
    Authentication,
    /// The user may not use this source, or the console.
    Denied,
    /// Login too slow or too long.
    LoginLimit,
    /// No TLS where the listener wants it.
    TlsRequired,
    /// Cancelled while waiting.
    Cancelled,
    /// Idle for too long.
    ClientIdle,
    /// Idle in a transaction for too long.
    IdleInTransaction,
    /// The transaction took too long.
    TransactionTimeout,
    /// The statement took too long.
    QueryTimeout,
    /// The server connection was lost.
    ServerLost,
    /// Beyond a bound on what one client may send or keep.
    TooLarge,
    /// Something that Weir does not do.
    Unsupported,
    /// The client broke its protocol.
    ProtocolViolation,
    /// The process ends.
    ShuttingDown,
    /// The source is not declared any more.
    SourceRemoved,
    /// An administrator has disabled the source.
    SourceDisabled,
    /// Ended by an administrator.
    Terminated,
    /// Nothing of the above.
    Other,
}

impl RefusalKind {
    /// All of them, in the order of their declaration.
    pub const ALL: [RefusalKind; 23] = [
        RefusalKind::PoolTimeout,
        RefusalKind::Open,
        RefusalKind::ClientLimit,
        RefusalKind::UnknownDatabase,
        RefusalKind::Inconsistent,
        RefusalKind::Authentication,
        RefusalKind::Denied,
        RefusalKind::LoginLimit,
        RefusalKind::TlsRequired,
        RefusalKind::Cancelled,
        RefusalKind::ClientIdle,
        RefusalKind::IdleInTransaction,
        RefusalKind::TransactionTimeout,
        RefusalKind::QueryTimeout,
        RefusalKind::ServerLost,
        RefusalKind::TooLarge,
        RefusalKind::Unsupported,
        RefusalKind::ProtocolViolation,
        RefusalKind::ShuttingDown,
        RefusalKind::SourceRemoved,
        RefusalKind::SourceDisabled,
        RefusalKind::Terminated,
        RefusalKind::Other,
    ];

    /// As in metrics and logs: does not change.
    pub fn as_str(self) -> &'static str {
        match self {
            RefusalKind::PoolTimeout => "pool_timeout",
            RefusalKind::Open => "connection_failed",
            RefusalKind::ClientLimit => "client_limit",
            RefusalKind::UnknownDatabase => "unknown_database",
            RefusalKind::Inconsistent => "inconsistent_source",
            RefusalKind::Authentication => "authentication",
            RefusalKind::Denied => "permission_denied",
            RefusalKind::LoginLimit => "login_limit",
            RefusalKind::TlsRequired => "tls_required",
            RefusalKind::Cancelled => "cancelled",
            RefusalKind::ClientIdle => "client_idle_timeout",
            RefusalKind::IdleInTransaction => "idle_in_transaction_timeout",
            RefusalKind::TransactionTimeout => "transaction_timeout",
            RefusalKind::QueryTimeout => "query_timeout",
            RefusalKind::ServerLost => "server_lost",
            RefusalKind::TooLarge => "too_large",
            RefusalKind::Unsupported => "unsupported",
            RefusalKind::ProtocolViolation => "protocol_violation",
            RefusalKind::ShuttingDown => "shutting_down",
            RefusalKind::SourceRemoved => "source_removed",
            RefusalKind::SourceDisabled => "source_disabled",
            RefusalKind::Terminated => "terminated",
            RefusalKind::Other => "other",
        }
    }
}

impl From<&Refusal> for RefusalKind {
    fn from(why: &Refusal) -> Self {
        match why {
            Refusal::PoolTimeout { .. } => RefusalKind::PoolTimeout,
            Refusal::Open { .. } => RefusalKind::Open,
            Refusal::ClientLimit(_) => RefusalKind::ClientLimit,
            Refusal::UnknownDatabase(_) => RefusalKind::UnknownDatabase,
            Refusal::Inconsistent { .. } => RefusalKind::Inconsistent,
            Refusal::Authentication { .. } => RefusalKind::Authentication,
            Refusal::LoginLimit(_) => RefusalKind::LoginLimit,
            Refusal::TlsRequired => RefusalKind::TlsRequired,
            Refusal::Cancelled => RefusalKind::Cancelled,
            Refusal::ClientIdle(_) => RefusalKind::ClientIdle,
            Refusal::IdleInTransaction(_) => RefusalKind::IdleInTransaction,
            Refusal::TransactionTimeout(_) => RefusalKind::TransactionTimeout,
            Refusal::QueryTimeout(_) => RefusalKind::QueryTimeout,
            Refusal::ServerLost { .. } => RefusalKind::ServerLost,
            Refusal::TooLarge(_) => RefusalKind::TooLarge,
            Refusal::Unsupported { .. } => RefusalKind::Unsupported,
            Refusal::ProtocolViolation(_) => RefusalKind::ProtocolViolation,
            Refusal::ShuttingDown => RefusalKind::ShuttingDown,
            Refusal::SourceRemoved { .. } => RefusalKind::SourceRemoved,
            Refusal::SourceDisabled { .. } => RefusalKind::SourceDisabled,
            Refusal::Terminated => RefusalKind::Terminated,
        }
    }
}

/// One counter for each kind.
#[derive(Debug, Default)]
pub struct RefusalCounts([AtomicU64; RefusalKind::ALL.len()]);

impl RefusalCounts {
    /// One more.
    pub fn count(&self, kind: RefusalKind) {
        self.0[kind as usize].fetch_add(1, Relaxed);
    }

    /// All kinds with their counts, in the order of [`RefusalKind::ALL`].
    pub fn view(&self) -> Vec<(RefusalKind, u64)> {
        let counts = self.0.iter().map(|count| count.load(Relaxed));
        RefusalKind::ALL.into_iter().zip(counts).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_place_and_a_name_of_its_own() {
        for (place, kind) in RefusalKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place);
            let same = RefusalKind::ALL.iter().filter(|other| other.as_str() == kind.as_str());
            assert_eq!(same.count(), 1, "{}", kind.as_str());
        }
        let counts = RefusalCounts::default();
        counts.count(RefusalKind::Terminated);
        counts.count(RefusalKind::Terminated);
        assert!(counts.view().contains(&(RefusalKind::Terminated, 2)));
        assert_eq!(counts.view().iter().map(|(_, count)| count).sum::<u64>(), 2);
    }
}
