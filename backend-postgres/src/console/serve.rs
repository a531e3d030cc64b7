//! The shell around a conversation with the console: reads, answers, and ends when the client or the gateway does.

use std::{future::poll_fn, pin::pin, sync::Arc, time::Duration};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use weir_core::{
    admin::{Answer, Console, Problem},
    front::{CancelTicket, Event, Farewell, Registration, Rung},
    net::Stream,
    refusal::Refusal,
};

use super::conversation::{ConsoleConversation, Unanswered, Verdict};
use crate::{dialogue::refusals, limits, wire::write};

/// Somebody who has logged in to the console.
pub(crate) struct ConsoleClient {
    pub(crate) stream: Stream,
    /// What arrived behind the login.
    pub(crate) buffer: BytesMut,
    pub(crate) registration: Registration,
    pub(crate) console: Arc<Console>,
    /// What it may do is looked up for each command.
    pub(crate) user: Arc<str>,
    /// Among the clients of its user.
    pub(crate) place: Box<dyn Send>,
}

/// How long a client may take to read an answer. The console is for people and scripts; whoever stops reading is gone.
const PATIENCE: Duration = Duration::from_secs(60);

/// Answers until one side ends it.
pub(crate) async fn serve(client: ConsoleClient) {
    let ConsoleClient {
        mut stream,
        mut buffer,
        registration,
        console,
        user,
        place,
    } = client;
    let mut conversation = ConsoleConversation::default();
    let mut out = BytesMut::new();
    loop {
        let verdict = conversation.judge(&buffer, &mut out);
        if let Verdict::Taken(count) = verdict {
            buffer.advance(count);
            if out.len() < limits::MAX_CONSOLE_ANSWER {
                continue;
            }
        }
        if send(&mut stream, &mut out).await.is_none() || verdict == Verdict::Finish {
            break;
        }
        let heard = match verdict {
            Verdict::Need => listen(&mut stream, &mut buffer, &registration).await,
            Verdict::Ask(command) => {
                let answer = console.answer_to(&user, &command);
                match wait(answer, &mut stream, &mut buffer, &registration).await {
                    Ok(answer) => {
                        conversation.answered(answer, &mut out);
                        Heard::More
                    }
                    Err(heard) => heard,
                }
            }
            Verdict::Taken(_) | Verdict::Finish => Heard::More,
        };
        match heard {
            Heard::More => {}
            Heard::Gone => break,
            Heard::End(why) => {
                write::error_response(&mut out, &refusals::fatal(&why));
                let _ = send(&mut stream, &mut out).await;
                break;
            }
        }
    }
    // The peer may have closed already; there is nobody left to tell.
    let _ = tokio::time::timeout(PATIENCE, stream.shutdown()).await;
    drop(place);
}

enum Heard {
    More,
    Gone,
    End(Refusal),
}

async fn listen(stream: &mut Stream, buffer: &mut BytesMut, registration: &Registration) -> Heard {
    loop {
        tokio::select! {
            heard = read(stream, buffer) => return heard,
            told = told(registration) => match told {
                // There is nothing under way that could be cancelled.
                Told::Cancel(ticket) => drop(ticket),
                Told::End(why) => return Heard::End(why),
            },
        }
    }
}

type Answered = Result<Answer, Unanswered>;

/// The answer; or what ends it: a cancel request, a client that goes away, the gateway's end. Dropping `answer` takes back
/// what can be taken back.
async fn wait(
    answer: impl Future<Output = Result<Answer, Problem>>,
    stream: &mut Stream,
    buffer: &mut BytesMut,
    registration: &Registration,
) -> Result<Answered, Heard> {
    let mut answer = pin!(answer);
    loop {
        // Whoever sends on and on is not listened to; then it is seen only by the next answer that it has gone.
        let may_read = buffer.len() < limits::MAX_CONSOLE_MESSAGE;
        tokio::select! {
            biased;
            answer = &mut answer => return Ok(answer.map_err(Unanswered::Problem)),
            heard = read(stream, buffer), if may_read => match heard {
                Heard::More => {}
                gone => return Err(gone),
            },
            told = told(registration) => match told {
                Told::Cancel(ticket) => {
                    drop(ticket);
                    return Ok(Err(Unanswered::Cancelled));
                }
                Told::End(why) => return Err(Heard::End(why)),
            },
        }
    }
}

async fn read(stream: &mut Stream, buffer: &mut BytesMut) -> Heard {
    buffer.reserve(limits::CONSOLE_READ);
    match stream.read_buf(buffer).await {
        Ok(count) if count > 0 => Heard::More,
        _ => Heard::Gone,
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
            Event::Drain(Farewell::SourceRemoved) | Event::Renew => {}
            Event::Terminate => return Told::End(Refusal::Terminated),
        }
    }
}

async fn send(stream: &mut Stream, out: &mut BytesMut) -> Option<()> {
    let sent = tokio::time::timeout(PATIENCE, async {
        stream.write_all(out).await?;
        stream.flush().await
    });
    sent.await.ok()?.ok()?;
    out.clear();
    Some(())
}
