//! The shell around a conversation with the console: reads, answers, and ends when the client or the gateway does.

use std::{
    future::{poll_fn, ready},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use weir_core::{
    admin::{Answer, Console, Problem},
    front::{Event, Farewell, Registration, Rung},
    refusal::Refusal,
};

use super::conversation::{ConsoleConversation, Form, Unanswered, Verdict};
use crate::{limits, login::stream::TdsStream, refusals};

/// Somebody who has logged in to the console.
pub(crate) struct ConsoleClient {
    pub(crate) stream: TdsStream,
    /// What arrived behind the login.
    pub(crate) buffer: BytesMut,
    pub(crate) conversation: ConsoleConversation,
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
        mut conversation,
        registration,
        console,
        user,
        place,
    } = client;
    let mut out = BytesMut::new();
    loop {
        let mut input = &buffer[..];
        let verdict = conversation.judge(&mut input, &mut out);
        let taken = buffer.len() - input.len();
        buffer.advance(taken);
        let is_over = verdict == Verdict::Finish;
        let needs_more = verdict == Verdict::Need;
        if let Verdict::Ask(commands, form) = verdict {
            let mut answers = Vec::new();
            for command in &commands {
                let answer = console.answer_to(&user, command);
                let answer = match wait(answer, &mut stream, &mut buffer, &registration).await {
                    Ok(answer) => answer,
                    Err(Heard::End(why)) => {
                        conversation.fail(&refusals::describe(&why), form, &mut out);
                        let _ = send(&mut stream, &mut out).await;
                        return;
                    }
                    Err(_) => return,
                };
                let is_error = answer.is_err();
                answers.push(answer);
                if is_error {
                    break;
                }
            }
            conversation.answer(answers, form, &mut out);
        }
        if send(&mut stream, &mut out).await.is_none() || is_over {
            break;
        }
        if needs_more {
            match listen(&mut stream, &mut buffer, &registration).await {
                Heard::More => {}
                Heard::Gone => break,
                Heard::End(why) => {
                    conversation.fail(&refusals::describe(&why), Form::Batch, &mut out);
                    let _ = send(&mut stream, &mut out).await;
                    break;
                }
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

async fn listen(stream: &mut TdsStream, buffer: &mut BytesMut, registration: &Registration) -> Heard {
    tokio::select! {
        heard = read(stream, buffer) => heard,
        why = told(registration) => Heard::End(why),
    }
}

type Answered = Result<Answer, Unanswered>;

/// The answer; or what ends it: an Attention, a client that goes away, the gateway's end. Dropping `answer` takes back what
/// can be taken back.
async fn wait(
    answer: impl Future<Output = Result<Answer, Problem>>,
    stream: &mut TdsStream,
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
            () = ready(()), if ConsoleConversation::takes_back(buffer) => return Ok(Err(Unanswered::Interrupted)),
            heard = read(stream, buffer), if may_read => match heard {
                Heard::More => {}
                gone => return Err(gone),
            },
            why = told(registration) => return Err(Heard::End(why)),
        }
    }
}

async fn read(stream: &mut TdsStream, buffer: &mut BytesMut) -> Heard {
    buffer.reserve(limits::CONSOLE_READ);
    match stream.read_buf(buffer).await {
        Ok(count) if count > 0 => Heard::More,
        _ => Heard::Gone,
    }
}

/// Why the conversation has to end.
async fn told(registration: &Registration) -> Refusal {
    loop {
        let mut rung = Rung::No;
        match poll_fn(|cx| registration.poll_event(cx, &mut rung)).await {
            // Cancelling is in band.
            Event::Cancel(ticket) => drop(ticket),
            Event::Drain(Farewell::Stopping) => return Refusal::ShuttingDown,
            // The console has no source.
            Event::Drain(Farewell::SourceRemoved) | Event::Renew => {}
            Event::Terminate => return Refusal::Terminated,
        }
    }
}

async fn send(stream: &mut TdsStream, out: &mut BytesMut) -> Option<()> {
    if out.is_empty() {
        return Some(());
    }
    let sent = tokio::time::timeout(PATIENCE, async {
        stream.write_all(out).await?;
        stream.flush().await
    });
    sent.await.ok()?.ok()?;
    out.clear();
    Some(())
}
