//! Sessions: each one a thread with a SQLite connection of its own, and what SQL Server keeps for a session.

mod batch;
mod binding;
mod bulk;
pub(crate) mod catalog;
mod changes;
pub(crate) mod convert;
mod cursor;
mod date_functions;
mod definition;
mod expression;
mod functions;
mod infer;
pub(crate) mod login;
mod messages;
mod names;
mod operands;
mod output;
mod procedures;
mod query;
mod server_procedures;
mod session;
mod settings;
mod states;
mod table;
mod transaction;
mod transaction_requests;
mod translate;
mod values;
mod views;

use std::sync::{Arc, mpsc};

use super::{
    failure::Failure,
    shared::{Cancel, Shared},
    wire::{Malformed, login::Login, packet::Message, tokens::Width},
};
use output::Output;
use session::Session;

/// What a session's thread is given.
#[derive(Debug)]
pub(crate) enum Work {
    Message(Message),
    Attention,
    /// The client cannot be understood: it is told, and closed.
    Malformed(Malformed),
}

/// The life of a session, on its own thread.
pub(crate) fn run(
    shared: Arc<Shared>,
    login: Login,
    admitted: login::Admitted,
    cancel: Arc<Cancel>,
    answers: tokio::sync::mpsc::Sender<Vec<u8>>,
    works: mpsc::Receiver<Work>,
) {
    let spid = admitted.spid;
    let wire_spid = if shared.probe() { 0 } else { spid };
    let output = Output::new(
        answers,
        wire_spid,
        usize::from(admitted.packet_size),
        shared.probe(),
        Width::of(admitted.version),
    );
    match Session::open(shared.clone(), &login, admitted, cancel.clone(), output) {
        Ok(mut session) => {
            while let Ok(work) = works.recv() {
                if !session.work(work) {
                    break;
                }
            }
            session.end();
            // Before the client can see the end of the connection, which comes when the session's output goes.
            shared.dismiss(spid);
        }
        Err(failure) => {
            // As when the client went before its session was there.
            if !cancel.is_closed() {
                eprintln!("stand-in: session {spid} cannot open its database: {failure}");
            }
            shared.dismiss(spid);
        }
    }
    cancel.close();
}

/// Runs a batch for the test itself.
pub(crate) fn run_directly(
    shared: &Arc<Shared>,
    database: &str,
    sql: &str,
) -> Result<Vec<Vec<Option<String>>>, Failure> {
    let cancel = Arc::new(Cancel::default());
    let spid = shared.admit(&cancel);
    let admitted = login::Admitted::internal(spid, database, cancel.clone());
    let outcome = Session::open(
        shared.clone(),
        &Login::default(),
        admitted,
        cancel,
        Output::collecting(),
    )
    .and_then(|mut session| {
        let outcome = session.direct(sql);
        session.end();
        outcome
    });
    shared.dismiss(spid);
    outcome
}
