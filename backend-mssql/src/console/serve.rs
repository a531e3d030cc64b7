//! The shell around a conversation with the console: reads, answers, and ends when the client or the gateway does.

use std::{future::poll_fn, sync::Arc, time::Duration};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use weir_core::{
    admin::{Console, Role},
    front::{Event, Farewell, Registration, Rung},
    refusal::Refusal,
};

use super::conversation::{ConsoleConversation, Form, Verdict};
use crate::{limits, login::stream::TdsStream, refusals};

/// Somebody who has logged in to the console.
pub(crate) struct ConsoleClient {
    pub(crate) stream: TdsStream,
    /// What arrived behind the login.
    pub(crate) buffer: BytesMut,
    pub(crate) conversation: ConsoleConversation,
    pub(crate) registration: Registration,
    pub(crate) console: Arc<Console>,
    pub(crate) role: Role,
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
        role,
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
            let answers = commands.iter().map(|command| console.answer(command, role)).collect();
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
    loop {
        buffer.reserve(limits::CONSOLE_READ);
        let mut rung = Rung::No;
        tokio::select! {
            read = stream.read_buf(buffer) => return match read {
                Ok(count) if count > 0 => Heard::More,
                _ => Heard::Gone,
            },
            event = poll_fn(|cx| registration.poll_event(cx, &mut rung)) => match event {
                // There is never anything under way that could be cancelled.
                Event::Cancel(ticket) => drop(ticket),
                Event::Drain(Farewell::Stopping) => return Heard::End(Refusal::ShuttingDown),
                // The console has no source.
                Event::Drain(Farewell::SourceRemoved) | Event::Renew => {}
                Event::Terminate => return Heard::End(Refusal::Terminated),
            },
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
