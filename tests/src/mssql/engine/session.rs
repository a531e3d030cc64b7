//! One session: its SQLite connection, its settings, its scopes, and what is done with each request.

use std::{
    collections::{BTreeMap, HashMap},
    rc::Rc,
    sync::Arc,
};

use rusqlite::{Connection, types::Value};

use super::{
    Work, batch::Stop, bulk::BulkTarget, cursor::Cursors, functions, login::Admitted, output::Output,
    procedures::Prepared, settings::Settings, states::States, transaction::Transaction, transaction_requests::describe,
};
use crate::mssql::{
    failure::{Failure, Reach},
    faults::{DropPoint, Faults},
    observe::{RequestKind, RequestRecord},
    shared::{Cancel, LockOwner, Shared},
    wire::{
        Malformed,
        login::Login,
        packet::{Message, status},
        request::{self, Headers, Request},
        tokens::{self, Done, DoneKind, Width, command, done},
        types::SqlType,
    },
};

/// See the module.
pub(crate) struct Session {
    pub(super) shared: Arc<Shared>,
    pub(super) cancel: Arc<Cancel>,
    pub(super) output: Output,
    pub(super) spid: u16,
    pub(super) user: String,
    pub(super) host: String,
    pub(super) application: String,
    pub(super) version: u32,
    pub(super) engine: Rc<Connection>,
    pub(super) database: String,
    pub(super) home: (String, Settings),
    pub(super) settings: Settings,
    pub(super) isolation: u8,
    pub(super) transaction: Transaction,
    pub(super) prepared: HashMap<i32, Prepared>,
    pub(super) next_handle: i32,
    pub(super) cursors: Cursors,
    pub(super) bulk: Option<BulkTarget>,
    pub(super) frames: Vec<Frame>,
    /// Local temporary tables: name, and the depth of the scope that made it.
    pub(super) temporary: Vec<(String, usize)>,
    pub(super) next_table: u32,
    pub(super) row_count: i64,
    pub(super) last_error: i32,
    pub(super) identity: Option<i64>,
    pub(super) fetch_status: i64,
    /// Inside so many TRY blocks.
    pub(super) tries: usize,
    pub(super) caught: Vec<Failure>,
    pub(super) context_info: Option<Vec<u8>>,
    pub(super) session_context: BTreeMap<String, Value>,
    /// Who the session acts as, the last one now, and the depth of the scope that began it.
    pub(super) impersonations: Vec<(usize, Principal)>,
    /// Of sp_setapprole: for as long as the connection lives.
    pub(super) application_role: Option<String>,
    pub(super) identity_insert_table: Option<String>,
    /// ENVCHANGE that a server of the probe kind sends at the end of a transaction manager request.
    pub(super) late_environment: Vec<(u8, u64)>,
    pub(super) in_transaction_request: bool,
    pub(super) states: Option<States>,
    pub(super) client_is_gone: bool,
}

/// Whom EXECUTE AS names.
#[derive(Clone, Debug)]
pub(super) enum Principal {
    /// A user of the database.
    User(String),
    /// A login of the server.
    Login(String),
}

/// A scope: a batch, a procedure, dynamic SQL.
#[derive(Debug, Default)]
pub(super) struct Frame {
    pub(super) variables: HashMap<String, (SqlType, Value)>,
    pub(super) tables: HashMap<String, String>,
    pub(super) identity: Option<i64>,
    pub(super) procedure: String,
}

impl Session {
    pub(super) fn open(
        shared: Arc<Shared>,
        login: &Login,
        admitted: Admitted,
        cancel: Arc<Cancel>,
        output: Output,
    ) -> Result<Session, Failure> {
        let engine_failure = |error: rusqlite::Error| Failure::of_engine(&error, "LOGIN");
        let engine = Connection::open_in_memory().map_err(engine_failure)?;
        functions::register(&engine, cancel.clone()).map_err(engine_failure)?;
        if shared.probe() {
            cancel.be_patient();
        }
        let settings = Settings::at_login(login.flags[1] & 2 != 0, &admitted.language);
        let states = admitted.session_state.then(|| States {
            settings: settings.states(&admitted.database),
            ..States::default()
        });
        let mut session = Session {
            spid: admitted.spid,
            user: login.user.clone(),
            host: login.host.clone(),
            application: login.application.clone(),
            version: admitted.version,
            engine: Rc::new(engine),
            database: String::new(),
            home: (admitted.database.clone(), settings.clone()),
            settings,
            isolation: 2,
            transaction: Transaction::default(),
            prepared: HashMap::new(),
            next_handle: 1,
            cursors: Cursors::default(),
            bulk: None,
            frames: vec![Frame::default()],
            temporary: Vec::new(),
            next_table: 0,
            row_count: 0,
            last_error: 0,
            identity: None,
            fetch_status: 0,
            tries: 0,
            caught: Vec::new(),
            context_info: None,
            session_context: BTreeMap::new(),
            impersonations: Vec::new(),
            application_role: None,
            identity_insert_table: None,
            late_environment: Vec::new(),
            in_transaction_request: false,
            states,
            client_is_gone: false,
            shared,
            cancel,
            output,
        };
        session.attach(&admitted.database)?;
        Ok(session)
    }

    /// Makes a database the current one.
    pub(super) fn attach(&mut self, database: &str) -> Result<(), Failure> {
        let failure = |error: rusqlite::Error| Failure::of_engine(&error, "USE");
        if self.database == database {
            return Ok(());
        }
        if !self.engine.is_autocommit() {
            return Err(Failure::unknown("USE inside a transaction that has read or written"));
        }
        if !self.database.is_empty() {
            self.engine.execute_batch("DETACH data").map_err(failure)?;
        }
        let file = self.shared.file(database);
        let outcome = self
            .engine
            .execute("ATTACH ?1 AS data", [file.to_string_lossy()])
            .and_then(|_| self.engine.execute_batch(super::catalog::ATTACHED));
        outcome.map_err(failure)?;
        database.clone_into(&mut self.database);
        Ok(())
    }

    /// Does what was asked. False when the session is over.
    pub(super) fn work(&mut self, work: Work) -> bool {
        match work {
            Work::Attention => {
                if let Some(delay) = self.shared.faults.now().late_attention {
                    std::thread::sleep(delay);
                }
                self.output.attention_acknowledged();
                self.cancel.acknowledged();
            }
            Work::Malformed(malformed) => return self.malformed(&malformed),
            Work::Message(message) => match request::parse(&message, self.output.width()) {
                Ok((headers, request)) => self.request(&message, headers, request),
                // One that its client gave up may end anywhere.
                Err(_) if self.is_given_up(&message) => {
                    self.output.start(Faults::default());
                    self.give_up();
                }
                Err(malformed) => return self.malformed(&malformed),
            },
        }
        self.shared.observed.change(self.spid, |record| {
            record.isolation = self.isolation;
            record.transaction_count = self.transaction.count;
        });
        !self.client_is_gone && !self.output.is_dead()
    }

    fn is_given_up(&self, message: &Message) -> bool {
        message.status & status::IGNORE != 0 && !self.shared.probe()
    }

    fn give_up(&mut self) {
        self.output.done(self.done(done::ERROR, 0, 0));
        self.output.finish();
    }

    fn malformed(&mut self, malformed: &Malformed) -> bool {
        self.output.start(Faults::default());
        let text = format!("A problem was encountered in the incoming TDS stream: {}.", malformed.0);
        self.output
            .failure(&Failure::new(4002, 20, 1, text), self.shared.name());
        self.output.done(self.done(done::ERROR, command::NONE, 0));
        self.output.finish();
        self.output.hang_up();
        false
    }

    pub(super) fn end(&mut self) {
        self.abandon_transaction();
        self.engine.flush_prepared_statement_cache();
    }

    fn request(&mut self, message: &Message, headers: Headers, request: Request) {
        let text = describe(&request);
        let faults = self.shared.faults.for_text(&text);
        self.shared.observed.requested(
            self.spid,
            RequestRecord {
                kind: match &request {
                    Request::Batch(_) => RequestKind::Batch,
                    Request::Rpc(_) => RequestKind::Rpc,
                    Request::Transaction(_) => RequestKind::Transaction,
                    Request::Bulk(_) => RequestKind::Bulk,
                },
                text,
                reset: message.status & status::RESET != 0,
                reset_keeping_transaction: message.status & status::RESET_SKIP_TRANSACTION != 0,
                descriptor: headers.descriptor,
                options: match &request {
                    Request::Rpc(calls) => calls.first().map_or(0, |call| call.options),
                    _ => 0,
                },
                packets: message.packets,
            },
        );
        if faults.drop_at == Some(DropPoint::Request) {
            self.client_is_gone = true;
            self.output.hang_up();
            return;
        }
        let silent = faults.missing_reset_acknowledgement;
        self.output.start(faults);
        if self.is_given_up(message) {
            self.give_up();
            return;
        }
        let kind = if matches!(request, Request::Rpc(_)) {
            DoneKind::Procedure
        } else {
            DoneKind::Done
        };
        let outcome = self
            .check_descriptor(message.status, headers, &request)
            .and_then(|()| self.reset_as_asked(message.status, silent))
            .map_err(Stop::Failed);
        let outcome = outcome.and_then(|()| match request {
            Request::Batch(text) => self.batch(&text),
            Request::Rpc(calls) => self.calls(calls),
            Request::Transaction(request) => {
                self.in_transaction_request = true;
                let outcome = self.transaction_request(request);
                self.in_transaction_request = false;
                outcome
            }
            Request::Bulk(rows) => self.bulk_rows(&rows).map_err(Stop::Failed),
        });
        self.close_request(outcome, kind);
    }

    fn close_request(&mut self, outcome: Result<(), Stop>, kind: DoneKind) {
        let failed = |status| Done {
            kind,
            status,
            command: if kind == DoneKind::Procedure {
                command::EXECUTE
            } else {
                command::NONE
            },
            rows: 0,
        };
        self.frames.truncate(1);
        self.tries = 0;
        self.caught.clear();
        match outcome {
            Ok(()) | Err(Stop::Told) => {}
            Err(Stop::Failed(failure)) => {
                let over = failure.reach == Reach::Connection || failure.class >= 20;
                self.tell(&failure);
                self.output.done(failed(done::ERROR));
                if over {
                    self.output.finish();
                    self.output.hang_up();
                    self.client_is_gone = true;
                    return;
                }
            }
            Err(Stop::Attention) => {
                if self.settings.is_on("XACT_ABORT") && self.transaction.count > 0 {
                    self.roll_back_all(true);
                }
                self.output.done(failed(done::ERROR));
            }
        }
        self.end_doomed_transaction(kind);
        self.drop_temporary(1);
        self.announce_states();
        self.output.finish();
        // What a batch declares ends with it; SCOPE_IDENTITY() of the session's own scope stays.
        let identity = self.frames.first().and_then(|frame| frame.identity);
        self.frames = vec![Frame {
            identity,
            ..Frame::default()
        }];
    }

    /// The reset bits of a request's status.
    fn reset_as_asked(&mut self, bits: u8, silent: bool) -> Result<(), Failure> {
        let resets = bits & (status::RESET | status::RESET_SKIP_TRANSACTION) != 0;
        if resets && !self.shared.probe() && (self.application_role.is_some() || !self.impersonations.is_empty()) {
            let text = "The connection has been dropped because the principal that opened it subsequently assumed a new security context, and then tried to reset the connection under its impersonated security context.";
            return Err(Failure::new(18_059, 20, 1, text));
        }
        if bits & status::RESET_SKIP_TRANSACTION != 0 {
            if self.shared.probe() {
                return Err(Failure::new(33_557_097, 16, 1, "RESETCONSKIPTRAN is not supported"));
            }
            self.reset(true);
        } else if bits & status::RESET != 0 {
            self.reset(false);
        } else {
            return Ok(());
        }
        if !silent {
            self.output.token(|out| out.extend(tokens::RESET_DONE));
        }
        Ok(())
    }

    /// The session as it was after login, but for its isolation level.
    pub(super) fn reset(&mut self, keep_transaction: bool) {
        let probe = self.shared.probe();
        if !keep_transaction && self.transaction.count > 0 {
            // A server of the probe kind rolls back and goes on counting.
            let count = self.transaction.count;
            self.abandon_transaction();
            if probe && !self.transaction.by_request {
                self.transaction.count = count;
            }
        }
        self.prepared.clear();
        self.cursors = Cursors::default();
        self.shared.application_locks.release_all(
            self.spid,
            if keep_transaction {
                Some(LockOwner::Session)
            } else {
                None
            },
        );
        self.drop_all_temporary();
        self.bulk = None;
        self.row_count = 0;
        self.last_error = 0;
        self.identity = None;
        self.frame().identity = None;
        self.impersonations.clear();
        self.identity_insert_table = None;
        self.session_context.clear();
        self.settings = self.home.1.clone();
        if !probe {
            self.context_info = None;
            let home = self.home.0.clone();
            // Inside a transaction that is kept the engine cannot change its database: then it stays.
            let _ = self.attach(&home);
        }
        if let Some(states) = &mut self.states {
            *states = States {
                settings: self.settings.states(&self.home.0),
                sequence: states.sequence,
                unrecoverable: BTreeMap::new(),
            };
        }
    }

    /// The client's transaction must be the session's; a request that resets may name none instead.
    fn check_descriptor(&self, bits: u8, headers: Headers, request: &Request) -> Result<(), Failure> {
        let is_named = self.output.width() == Width::Wide;
        if self.shared.probe() || !is_named || matches!(request, Request::Bulk(_)) {
            return Ok(());
        }
        let current = self.transaction.descriptor();
        let resets = bits & status::RESET != 0 && headers.descriptor == 0;
        if headers.descriptor == current || resets {
            return Ok(());
        }
        if current == 0 {
            let text = format!(
                "The server failed to resume the transaction. Desc:{:x}.",
                headers.descriptor
            );
            return Err(Failure::new(3971, 16, 1, text));
        }
        Err(Failure::new(
            3989,
            16,
            1,
            "New request is not allowed to start because it should come with valid transaction descriptor.",
        ))
    }

    /// Runs T-SQL for the test itself.
    pub(super) fn direct(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>, Failure> {
        let outcome = self.batch(sql);
        self.close_request(outcome, DoneKind::Done);
        self.output.collected()
    }

    /// A DONE of the kind that this scope uses.
    pub(super) fn done(&self, status: u16, command: u16, rows: u64) -> Done {
        Done {
            kind: if self.frames.len() > 1 {
                DoneKind::InProcedure
            } else {
                DoneKind::Done
            },
            status,
            command: if self.shared.probe() {
                probe_command(command)
            } else {
                command
            },
            rows,
        }
    }

    /// The end of a statement that changed or returned rows.
    pub(super) fn done_rows(&mut self, command: u16, rows: i64) {
        self.row_count = rows;
        let quiet = self.settings.is_on("NOCOUNT");
        if quiet && self.frames.len() > 1 && command != command::SELECT {
            return;
        }
        let status = if quiet { 0 } else { done::COUNT };
        let done = self.done(status, command, if quiet { 0 } else { rows as u64 });
        self.output.done(done);
    }

    /// The end of another statement.
    pub(super) fn done_plain(&mut self, command: u16) {
        if self.frames.len() == 1 {
            let done = self.done(0, command, 0);
            self.output.done(done);
        }
    }

    /// An ERROR token.
    pub(super) fn tell(&mut self, failure: &Failure) {
        let mut failure = failure.clone();
        if failure.procedure.is_empty()
            && let Some(frame) = self.frames.last()
        {
            failure.procedure.clone_from(&frame.procedure);
        }
        self.output.failure(&failure, self.shared.name());
    }

    pub(super) fn info(&mut self, failure: &Failure) {
        let name = self.shared.name();
        self.output.info(failure, name);
    }
}

fn probe_command(command: u16) -> u16 {
    match command {
        command::SELECT
        | command::INSERT
        | command::UPDATE
        | command::DELETE
        | command::EXECUTE
        | command::BULK
        | command::NONE => command,
        _ => command::OTHER,
    }
}
