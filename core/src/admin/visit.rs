//! Somebody's stay at the console, whatever it speaks: waiting for its commands and for their answers, and the end.
//!
//! Invariants: what it may do is asked for each command anew; an answer that nobody waits for any more is dropped, which
//! takes back what can be taken back; nobody waits for a peer for ever, nor keeps more of it than a command needs. Must not
//! know how a command or an answer is written.

use std::{
    future::{poll_fn, ready},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::{Answer, Command, Console, Problem};
use crate::{
    front::{CancelTicket, Event, Farewell, Registration, Rung},
    limits,
    refusal::Refusal,
};

/// How long a client may take to read an answer. The console is for people and scripts; whoever stops reading is gone.
const PATIENCE: Duration = Duration::from_secs(60);

/// Somebody who has logged in to the console.
pub struct Visit<S> {
    /// Its stream.
    pub stream: S,
    /// What has arrived and is not understood yet.
    pub buffer: BytesMut,
    /// Its place in the directory of clients.
    pub registration: Registration,
    /// Who answers.
    pub console: Arc<Console>,
    /// Who asks. What it may do is looked up for each command.
    pub user: Arc<str>,
    /// Its place among the clients of its user.
    pub place: Box<dyn Send>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// What is wrong with the command.
    Problem(Problem),
    /// Whoever asked has taken it back.
    Cancelled,
}

/// What ends a visit.
#[derive(Debug, PartialEq, Eq)]
pub enum Parting {
    /// The client has gone.
    Gone,
    /// It has to go, and is told why.
    End(Refusal),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Visit<S> {
    /// Waits until more has arrived.
    ///
    /// # Errors
    /// What ends the visit.
    pub async fn listen(&mut self) -> Result<(), Parting> {
        loop {
            tokio::select! {
                heard = read(&mut self.stream, &mut self.buffer) => return heard,
                told = told(&self.registration) => match told {
                    // There is nothing under way that could be cancelled.
                    Told::Cancel(ticket) => drop(ticket),
                    Told::End(why) => return Err(Parting::End(why)),
                },
            }
        }
    }

    /// The answer to a command. It is taken back by a cancel request, or where `takes_back` finds a word for that in what
    /// has arrived meanwhile.
    ///
    /// # Errors
    /// What ends the visit.
    pub async fn answer_to(
        &mut self,
        command: &Command,
        takes_back: impl Fn(&[u8]) -> bool,
    ) -> Result<Result<Answer, Unanswered>, Parting> {
        let mut answer = pin!(self.console.answer_to(&self.user, command));
        loop {
            // Whoever sends on and on is not listened to; then it is seen only by the next answer that it has gone.
            let may_read = self.buffer.len() < limits::MAX_CONSOLE_MESSAGE;
            tokio::select! {
                biased;
                answer = &mut answer => return Ok(answer.map_err(Unanswered::Problem)),
                () = ready(()), if takes_back(&self.buffer) => return Ok(Err(Unanswered::Cancelled)),
                heard = read(&mut self.stream, &mut self.buffer), if may_read => heard?,
                told = told(&self.registration) => match told {
                    Told::Cancel(ticket) => {
                        drop(ticket);
                        return Ok(Err(Unanswered::Cancelled));
                    }
                    Told::End(why) => return Err(Parting::End(why)),
                },
            }
        }
    }

    /// Sends all of `out`.
    ///
    /// # Errors
    /// The client has gone, or does not read.
    pub async fn send(&mut self, out: &mut BytesMut) -> Result<(), Parting> {
        if out.is_empty() {
            return Ok(());
        }
        let stream = &mut self.stream;
        let sent = tokio::time::timeout(PATIENCE, async {
            stream.write_all(out).await?;
            stream.flush().await
        });
        match sent.await {
            Ok(Ok(())) => {
                out.clear();
                Ok(())
            }
            Ok(Err(_)) | Err(_) => Err(Parting::Gone),
        }
    }

    /// Closes the stream, and gives back its places.
    pub async fn leave(mut self) {
        // The peer may have closed already; there is nobody left to tell.
        let _ = tokio::time::timeout(PATIENCE, self.stream.shutdown()).await;
    }
}

impl<S> std::fmt::Debug for Visit<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Visit")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

async fn read(stream: &mut (impl AsyncRead + Unpin), buffer: &mut BytesMut) -> Result<(), Parting> {
    buffer.reserve(limits::CONSOLE_READ);
    match stream.read_buf(buffer).await {
        Ok(count) if count > 0 => Ok(()),
        _ => Err(Parting::Gone),
    }
}

enum Told {
    Cancel(CancelTicket),
    End(Refusal),
}

async fn told(registration: &Registration) -> Told {
    loop {
        let mut rung = Rung::No;
        match poll_fn(|cx| registration.poll_event(cx, &mut rung)).await {
            Event::Cancel(ticket) => return Told::Cancel(ticket),
            Event::Drain(Farewell::Stopping) => return Told::End(Refusal::ShuttingDown),
            // The console has no source.
            Event::Drain(Farewell::SourceRemoved) | Event::Renew | Event::Move(_) => {}
            Event::Terminate => return Told::End(Refusal::Terminated),
        }
    }
}
