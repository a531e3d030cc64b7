//! Transactions: `@@TRANCOUNT` and descriptors as SQL Server counts them, over one transaction of the engine.
//!
//! Under READ COMMITTED the engine's transaction begins with the first write, so that reads before it see what others
//! have committed; from REPEATABLE READ on it begins with the first read. One session at a time writes in a database.

use std::time::Duration;

use super::{batch::Stop, session::Session};
use crate::mssql::{
    failure::Failure,
    shared::LockOwner,
    wire::tokens::{Done, DoneKind, command, done},
};

#[derive(Debug, Default)]
pub(crate) struct Transaction {
    /// `@@TRANCOUNT`
    pub(super) count: u32,
    descriptor: u64,
    name: String,
    /// It can only be rolled back.
    pub(super) doomed: bool,
    engine: Engine,
    savepoints: Vec<String>,
    /// Begun by a request of the transaction manager, not by text.
    pub(super) by_request: bool,
    probe_counter: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Engine {
    #[default]
    None,
    Reads,
    Writes,
}

impl Transaction {
    /// What ALL_HEADERS must say.
    pub(super) fn descriptor(&self) -> u64 {
        if self.count > 0 { self.descriptor } else { 0 }
    }

    /// The number that a server of the probe kind would say next.
    pub(super) fn descriptor_for_probe(&self) -> u64 {
        if self.count > 0 {
            self.descriptor
        } else {
            self.probe_counter + 1
        }
    }
}

impl Session {
    /// BEGIN TRANSACTION.
    pub(super) fn begin_transaction(&mut self, name: &str, by_request: bool) -> Result<(), Failure> {
        let probe = self.shared.probe();
        if self.transaction.doomed {
            return Err(doomed());
        }
        self.transaction.count += 1;
        if self.transaction.count == 1 {
            self.transaction.descriptor = if probe {
                self.transaction.probe_counter += 1;
                self.transaction.probe_counter
            } else {
                self.shared.next_descriptor()
            };
            name.clone_into(&mut self.transaction.name);
            self.transaction.by_request = by_request;
        }
        if probe && by_request {
            self.output.done(self.done(0, command::OTHER, 0));
        }
        let descriptor = self.transaction.descriptor;
        if probe && by_request {
            self.late_environment.push((8, descriptor));
        } else if !probe && self.transaction.count == 1 {
            self.environment(8, descriptor);
        }
        Ok(())
    }

    /// COMMIT.
    pub(super) fn commit_transaction(&mut self) -> Result<(), Failure> {
        if self.transaction.count == 0 {
            return Err(Failure::new(
                3902,
                16,
                1,
                "The COMMIT TRANSACTION request has no corresponding BEGIN TRANSACTION.",
            ));
        }
        if self.transaction.doomed {
            return Err(doomed());
        }
        if self.transaction.count == 1 {
            self.end_engine("COMMIT")?;
        }
        self.transaction.count -= 1;
        self.transaction_ended(9, self.transaction.count == 0, false);
        Ok(())
    }

    /// ROLLBACK, to a savepoint or of everything.
    pub(super) fn roll_back_transaction(&mut self, name: Option<&str>) -> Result<(), Failure> {
        if self.transaction.count == 0 {
            return Err(Failure::new(
                3903,
                16,
                1,
                "The ROLLBACK TRANSACTION request has no corresponding BEGIN TRANSACTION.",
            ));
        }
        if let Some(name) = name {
            if let Some(at) = self
                .transaction
                .savepoints
                .iter()
                .rposition(|savepoint| savepoint.eq_ignore_ascii_case(name))
            {
                if self.transaction.doomed {
                    return Err(doomed());
                }
                if self.transaction.engine == Engine::Writes {
                    self.engine_batch(&format!("ROLLBACK TO {}", savepoint(at)))?;
                }
                self.transaction.savepoints.truncate(at + 1);
                return Ok(());
            }
            if !self.transaction.name.eq_ignore_ascii_case(name) {
                let text = format!("Cannot roll back {name}. No transaction or savepoint of that name was found.");
                return Err(Failure::new(6401, 16, 1, text));
            }
        }
        self.roll_back_all(false);
        Ok(())
    }

    /// SAVE TRANSACTION.
    pub(super) fn save_transaction(&mut self, name: &str) -> Result<(), Failure> {
        if self.transaction.count == 0 {
            return Err(Failure::new(
                628,
                16,
                0,
                "Cannot issue SAVE TRANSACTION when there is no active transaction.",
            ));
        }
        if self.transaction.doomed {
            return Err(doomed());
        }
        if self.transaction.engine == Engine::Writes {
            let at = self.transaction.savepoints.len();
            self.engine_batch(&format!("SAVEPOINT {}", savepoint(at)))?;
        }
        self.transaction.savepoints.push(name.to_owned());
        Ok(())
    }

    /// Rolls back whatever is open, and says so.
    pub(super) fn roll_back_all(&mut self, by_error: bool) {
        // The engine may have rolled back by itself; what counts is that nothing is open afterwards.
        let _ = self.end_engine("ROLLBACK");
        self.transaction.count = 0;
        self.transaction.doomed = false;
        self.transaction_ended(10, true, by_error);
    }

    /// Rolls back without a word: a reset, or the end of the session.
    pub(super) fn abandon_transaction(&mut self) {
        let _ = self.end_engine("ROLLBACK");
        self.transaction.count = 0;
        self.transaction.doomed = false;
        self.shared
            .application_locks
            .release_all(self.spid, Some(LockOwner::Transaction));
    }

    fn transaction_ended(&mut self, kind: u8, outermost: bool, by_error: bool) {
        let probe = self.shared.probe();
        let descriptor = self.transaction.descriptor;
        if probe && self.in_transaction_request {
            self.output.done(self.done(0, command::OTHER, 0));
            self.late_environment.push((kind, descriptor));
        } else if (!probe && outermost) || (probe && by_error) {
            self.environment(kind, descriptor);
        }
        if outermost {
            self.shared
                .application_locks
                .release_all(self.spid, Some(LockOwner::Transaction));
        }
    }

    /// What is left of a transaction that can only be rolled back goes when the request ends.
    pub(super) fn end_doomed_transaction(&mut self, kind: DoneKind) {
        if self.transaction.doomed && self.transaction.count > 0 {
            self.roll_back_all(true);
            self.tell(&Failure::new(
                3998,
                16,
                1,
                "Uncommittable transaction is detected at the end of the batch. The transaction is rolled back.",
            ));
            self.output.done(Done {
                kind,
                status: done::ERROR,
                command: command::NONE,
                rows: 0,
            });
        }
        self.transaction.doomed = false;
    }

    /// Before a statement reads tables.
    pub(super) fn before_reading(&mut self) -> Result<(), Failure> {
        if self.transaction.count > 0 && self.isolation >= 3 && self.transaction.engine == Engine::None {
            self.engine_batch("BEGIN; SELECT 1 FROM data.sqlite_schema LIMIT 1")?;
            self.transaction.engine = Engine::Reads;
        }
        Ok(())
    }

    /// Before a statement writes. True when the statement stands alone: [`Session::after_writing`] ends it.
    pub(super) fn before_writing(&mut self) -> Result<bool, Failure> {
        if self.transaction.doomed {
            return Err(Failure::new(
                3930,
                16,
                1,
                "The current transaction cannot be committed and cannot support operations that write to the log file. Roll back the transaction.",
            ));
        }
        if self.transaction.engine == Engine::Writes {
            return Ok(false);
        }
        let limit = match self.settings.number("LOCK_TIMEOUT") {
            -1 => None,
            milliseconds => Some(Duration::from_millis(milliseconds.max(0) as u64)),
        };
        self.shared
            .write_lock(&self.database)
            .acquire(self.spid, limit, &self.cancel)?;
        if self.transaction.engine == Engine::Reads {
            // An older snapshot cannot be written to when others have written since.
            if let Err(failure) = self.engine_batch("UPDATE data.weir_columns SET ordinal = ordinal WHERE 0") {
                self.release_writing();
                return Err(if failure.number != 1205 || self.isolation != 5 {
                    failure
                } else {
                    Failure::new(
                        3960,
                        16,
                        2,
                        "Snapshot isolation transaction aborted due to update conflict.",
                    )
                });
            }
        } else if let Err(failure) = self.engine_batch("BEGIN IMMEDIATE") {
            self.release_writing();
            return Err(failure);
        }
        if self.transaction.count == 0 {
            return Ok(true);
        }
        self.transaction.engine = Engine::Writes;
        for at in 0..self.transaction.savepoints.len() {
            self.engine_batch(&format!("SAVEPOINT {}", savepoint(at)))?;
        }
        Ok(false)
    }

    /// After a statement that stands alone.
    pub(super) fn after_writing(&mut self, alone: bool, fine: bool) -> Result<(), Failure> {
        if !alone {
            return Ok(());
        }
        let outcome = self.engine_batch(if fine { "COMMIT" } else { "ROLLBACK" });
        if outcome.is_err() && !self.engine.is_autocommit() {
            let _ = self.engine_batch("ROLLBACK");
        }
        self.release_writing();
        outcome
    }

    /// SET IMPLICIT_TRANSACTIONS ON: a statement of this kind begins a transaction.
    pub(super) fn begin_implicitly(&mut self) -> Result<(), Failure> {
        if self.transaction.count == 0 && self.settings.is_on("IMPLICIT_TRANSACTIONS") {
            self.begin_transaction("", false)?;
        }
        Ok(())
    }

    fn end_engine(&mut self, verb: &str) -> Result<(), Failure> {
        let engine = std::mem::take(&mut self.transaction.engine);
        self.transaction.savepoints.clear();
        let outcome = if engine == Engine::None || self.engine.is_autocommit() {
            Ok(())
        } else {
            self.engine_batch(verb)
        };
        if outcome.is_err() && !self.engine.is_autocommit() {
            let _ = self.engine_batch("ROLLBACK");
        }
        self.release_writing();
        if verb == "ROLLBACK" {
            self.forget_rolled_back_tables();
        }
        outcome
    }

    fn release_writing(&self) {
        self.shared.write_lock(&self.database).release(self.spid);
    }

    fn engine_batch(&self, sql: &str) -> Result<(), Failure> {
        self.engine
            .execute_batch(sql)
            .map_err(|error| Failure::of_engine(&error, sql))
    }

    /// After an error that ends the transaction, or under XACT_ABORT.
    pub(super) fn abort_transaction(&mut self) -> Stop {
        if self.transaction.count > 0 {
            self.roll_back_all(true);
        }
        Stop::Told
    }
}

fn doomed() -> Failure {
    Failure::new(
        3930,
        16,
        1,
        "The current transaction cannot be committed and cannot support operations that write to the log file. Roll back the transaction.",
    )
}

/// Savepoints are numbered, because T-SQL lets a name come again.
fn savepoint(at: usize) -> String {
    format!("\"weir {at}\"")
}
