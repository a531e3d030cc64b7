//! What the pool tells the log. Lines are collected under the pool's lock and written after it.
//!
//! A database that goes away takes all its connections along: that is one event and one line, with a count.

use crate::{
    pool::{engine::Moment, limits::LOG_INTERVAL},
    refusal::OpenError,
};

/// One line.
pub(super) enum Line {
    Opened {
        connection: u64,
    },
    OpenFailed {
        error: OpenError,
        unreported: u32,
        waiting: u32,
    },
    Recovered {
        failures: u32,
    },
    Closed {
        connection: u64,
        reason: &'static str,
    },
    Lost {
        connection: u64,
        reason: &'static str,
        unreported: u32,
    },
}

impl Line {
    pub(super) fn write(self, source: &str, role: &'static str) {
        match self {
            Line::Opened { connection } => {
                tracing::debug!(source, role, connection, "server connection opened");
            }
            Line::OpenFailed {
                error,
                unreported,
                waiting,
            } => {
                tracing::warn!(source, role, %error, unreported, waiting, "server connection could not be opened");
            }
            Line::Recovered { failures } => {
                tracing::info!(source, role, failures, "server connections can be opened again");
            }
            Line::Closed { connection, reason } => {
                tracing::debug!(source, role, connection, reason, "server connection closed");
            }
            Line::Lost {
                connection,
                reason,
                unreported,
            } => {
                tracing::warn!(
                    source,
                    role,
                    connection,
                    reason,
                    unreported,
                    "idle server connection lost"
                );
            }
        }
    }
}

/// What has been said already.
#[derive(Debug, Default)]
pub(super) struct Journal {
    open_failures: Storm,
    losses: Storm,
    failures_in_a_row: u32,
}

impl Journal {
    pub(super) fn opened(&mut self, connection: u64, lines: &mut Vec<Line>) {
        let failures = std::mem::take(&mut self.failures_in_a_row);
        if failures > 0 {
            self.open_failures = Storm::default();
            lines.push(Line::Recovered { failures });
        }
        lines.push(Line::Opened { connection });
    }

    /// `waiting` clients go on waiting nevertheless.
    pub(super) fn open_failed(&mut self, error: &OpenError, waiting: u32, now: Moment, lines: &mut Vec<Line>) {
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        if let Some(unreported) = self.open_failures.admit(now) {
            lines.push(Line::OpenFailed {
                error: error.clone(),
                unreported,
                waiting,
            });
        }
    }

    pub(super) fn lost(&mut self, connection: u64, reason: &'static str, now: Moment, lines: &mut Vec<Line>) {
        match self.losses.admit(now) {
            Some(unreported) => lines.push(Line::Lost {
                connection,
                reason,
                unreported,
            }),
            None => lines.push(Line::Closed { connection, reason }),
        }
    }
}

#[derive(Debug, Default)]
struct Storm {
    last: Option<Moment>,
    unreported: u32,
}

impl Storm {
    /// Whether a line is due, and how many were held back since the last one.
    fn admit(&mut self, now: Moment) -> Option<u32> {
        if self.last.is_some_and(|last| now.saturating_sub(last) < LOG_INTERVAL) {
            self.unreported = self.unreported.saturating_add(1);
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.unreported))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_storm_is_one_line_and_a_count() {
        let mut journal = Journal::default();
        let mut lines = Vec::new();
        for connection in 0..20 {
            journal.lost(connection, "closed by the database", Duration::ZERO, &mut lines);
        }
        let warned = lines.iter().filter(|line| matches!(line, Line::Lost { .. })).count();
        assert_eq!((warned, lines.len()), (1, 20));
        lines.clear();
        journal.lost(20, "closed by the database", LOG_INTERVAL, &mut lines);
        assert!(matches!(lines[..], [Line::Lost { unreported: 19, .. }]));
    }

    #[test]
    fn failed_opens_are_counted_until_one_succeeds() {
        let mut journal = Journal::default();
        let mut lines = Vec::new();
        let error = OpenError::Unreachable("connection refused".to_owned());
        for second in 0..10 {
            journal.open_failed(&error, 0, Duration::from_secs(second), &mut lines);
        }
        assert!(matches!(
            lines[..],
            [
                Line::OpenFailed { unreported: 0, .. },
                Line::OpenFailed { unreported: 4, .. }
            ]
        ));
        lines.clear();
        journal.opened(1, &mut lines);
        assert!(matches!(
            lines[..],
            [Line::Recovered { failures: 10 }, Line::Opened { connection: 1 }]
        ));
        journal.open_failed(&error, 0, Duration::from_secs(10), &mut lines);
        assert_eq!(lines.len(), 3, "a new event is told at once");
    }
}
