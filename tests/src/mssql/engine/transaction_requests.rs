//! Requests of the transaction manager, and how a request is shown in the record.

use rusqlite::types::Value;

use super::{batch::Stop, session::Session};
use crate::mssql::{
    failure::Failure,
    wire::{
        request::{self, Begin, Procedure, Request},
        tokens::{self, Done, DoneKind, Width, command, done},
    },
};

impl Session {
    /// A request of the transaction manager.
    pub(super) fn transaction_request(&mut self, request: request::Transaction) -> Result<(), Stop> {
        let probe = self.shared.probe();
        let before = self.transaction.descriptor_for_probe();
        let (command, outcome) = match request {
            request::Transaction::Begin(begin) => (command::BEGIN, self.begin_by_request(&begin)),
            request::Transaction::Commit(next) => {
                let outcome = self
                    .commit_transaction()
                    .and_then(|()| next.map_or(Ok(()), |begin| self.begin_by_request(&begin)));
                (command::COMMIT, outcome)
            }
            request::Transaction::Rollback(name, next) => {
                let outcome = self
                    .roll_back_transaction(Some(name).filter(|name| !name.is_empty()).as_deref())
                    .and_then(|()| next.map_or(Ok(()), |begin| self.begin_by_request(&begin)));
                (command::ROLLBACK, outcome)
            }
            request::Transaction::Save(name) => (command::OTHER, self.save_transaction(&name)),
            request::Transaction::Other(kind) => {
                return Err(Stop::Failed(Failure::unknown(&format!(
                    "transaction manager request {kind}"
                ))));
            }
        };
        if let Err(failure) = outcome {
            self.tell(&failure);
            if !probe {
                self.output.done(self.done(done::ERROR, command, 0));
                return Err(Stop::Told);
            }
            self.output.done(self.done(done::ERROR, command::OTHER, 0));
            if command == command::COMMIT {
                self.late_environment.push((9, before));
            }
        }
        for (kind, descriptor) in std::mem::take(&mut self.late_environment) {
            self.environment(kind, descriptor);
        }
        self.output.done(Done {
            kind: DoneKind::Done,
            status: 0,
            command,
            rows: 0,
        });
        Ok(())
    }

    /// ENVCHANGE of a transaction: 8 begun, 9 committed, 10 rolled back.
    pub(super) fn environment(&mut self, kind: u8, descriptor: u64) {
        if self.output.width() == Width::Narrow {
            return;
        }
        let bytes = descriptor.to_le_bytes();
        let (new, old): (&[u8], &[u8]) = if kind == 8 { (&bytes, &[]) } else { (&[], &bytes) };
        self.output.token(|out| tokens::environment_bytes(out, kind, new, old));
    }

    fn begin_by_request(&mut self, begin: &Begin) -> Result<(), Failure> {
        if begin.isolation > 5 {
            return Err(Failure::new(
                3969,
                16,
                1,
                "Invalid isolation level in a transaction request.",
            ));
        }
        if begin.isolation > 0 {
            self.isolation = begin.isolation;
        }
        self.begin_transaction(&begin.name, true)
    }
}

/// A request for the record.
pub(super) fn describe(request: &Request) -> String {
    match request {
        Request::Batch(text) => text.clone(),
        Request::Rpc(calls) => {
            let one = |call: &request::Call| {
                let name = match &call.procedure {
                    Procedure::Name(name) => name.clone(),
                    Procedure::Id(id) => super::procedures::name_of(*id).to_owned(),
                };
                let texts = call.parameters.iter().filter_map(|parameter| match &parameter.value {
                    request::ParameterValue::One(_, Value::Text(text)) => Some(text.as_str()),
                    _ => None,
                });
                std::iter::once(name.as_str())
                    .chain(texts.take(2))
                    .collect::<Vec<_>>()
                    .join(" ")
            };
            calls.iter().map(one).collect::<Vec<_>>().join("; ")
        }
        Request::Transaction(request) => match request {
            request::Transaction::Begin(_) => "begin".to_owned(),
            request::Transaction::Commit(next) => if next.is_some() { "commit and begin" } else { "commit" }.to_owned(),
            request::Transaction::Rollback(name, next) => {
                let what = if next.is_some() {
                    "rollback and begin"
                } else {
                    "rollback"
                };
                format!("{what} {name}").trim().to_owned()
            }
            request::Transaction::Save(name) => format!("save {name}"),
            request::Transaction::Other(kind) => format!("transaction request {kind}"),
        },
        Request::Bulk(bytes) => format!("{} bytes", bytes.len()),
    }
}
