//! The gate that every login passes: a deadline, and a budget of bytes.
//!
//! Whoever reads from a peer that is not authenticated yet asks the gate first, so that memory and time are bounded
//! before identity is known.

use std::{future::Future, time::Duration};

use crate::{
    clock::{self, Instant},
    limits,
    refusal::{Limit, Refusal},
};

/// The bounds of one login.
#[derive(Debug)]
pub struct LoginGate {
    deadline: Instant,
    patience: Duration,
    bytes: u32,
    bytes_left: u32,
    refusal: Option<Refusal>,
}

/// The gate has closed: too late, or too much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GateClosed {
    /// The deadline passed.
    TooLate(Duration),
    /// The byte budget is used up.
    TooMuch(usize),
}

impl LoginGate {
    /// A gate that closes after `patience`.
    pub fn new(patience: Duration) -> Self {
        LoginGate {
            deadline: clock::now() + patience,
            patience,
            bytes: limits::LOGIN_BYTES as u32,
            bytes_left: limits::LOGIN_BYTES as u32,
            refusal: None,
        }
    }

    /// A gate for a protocol whose login takes more bytes, or less, than most. Before the first are counted.
    pub fn allowing(mut self, bytes: u32) -> Self {
        (self.bytes, self.bytes_left) = (bytes, bytes);
        self
    }

    /// A gate for a peer that cannot become a client, whoever it is.
    pub fn refusing(mut self, why: Refusal) -> Self {
        self.refusal = Some(why);
        self
    }

    /// What to tell the peer as soon as its protocol allows a "no" (for PostgreSQL: in answer to its StartupMessage,
    /// through TLS if it asked for it), instead of authenticating it. A cancel request is still taken: it needs no
    /// place, and somebody who fills up all places must be stoppable.
    pub fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_ref()
    }

    /// When it closes.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Runs a step of the login, within the deadline.
    ///
    /// # Errors
    /// [`GateClosed::TooLate`] when the deadline passes first; the future is dropped.
    pub async fn within<T>(&self, step: impl Future<Output = T>) -> Result<T, GateClosed> {
        tokio::time::timeout_at(self.deadline.into(), step)
            .await
            .map_err(|_| GateClosed::TooLate(self.patience))
    }

    /// Accounts for bytes about to be read or just read.
    ///
    /// # Errors
    /// [`GateClosed::TooMuch`] beyond [`limits::LOGIN_BYTES`], or what [`LoginGate::allowing`] said.
    pub fn count(&mut self, bytes: usize) -> Result<(), GateClosed> {
        let left = u32::try_from(bytes)
            .ok()
            .and_then(|bytes| self.bytes_left.checked_sub(bytes));
        self.bytes_left = left.ok_or(GateClosed::TooMuch(self.bytes as usize))?;
        Ok(())
    }
}

impl From<GateClosed> for Refusal {
    fn from(closed: GateClosed) -> Self {
        Refusal::LoginLimit(match closed {
            GateClosed::TooLate(patience) => Limit {
                name: "client_login_timeout",
                value: format!("{} s", patience.as_secs_f64()),
                set_in: "built-in default".to_owned(),
            },
            GateClosed::TooMuch(bytes) => Limit {
                name: "login size",
                value: format!("{bytes} bytes"),
                set_in: "built-in default".to_owned(),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_deadline_ends_a_step_that_never_ends() {
        let gate = LoginGate::new(Duration::from_secs(3));
        let closed = gate.within(std::future::pending::<()>()).await;
        assert_eq!(closed, Err(GateClosed::TooLate(Duration::from_secs(3))));
    }

    #[tokio::test]
    async fn the_budget_is_for_all_messages_together() {
        let mut gate = LoginGate::new(Duration::from_secs(3));
        assert_eq!(gate.count(limits::LOGIN_BYTES), Ok(()));
        assert_eq!(gate.count(1), Err(GateClosed::TooMuch(limits::LOGIN_BYTES)));
        let mut gate = LoginGate::new(Duration::from_secs(3)).allowing(100_000);
        assert_eq!(gate.count(100_000), Ok(()));
        assert_eq!(gate.count(1), Err(GateClosed::TooMuch(100_000)));
    }
}
