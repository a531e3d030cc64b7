//! The shell around a conversation with the console: reads, answers, and ends when the client or the gateway does. What
//! waiting takes is [`weir_core::admin::Visit`]'s.

use bytes::{Buf as _, BytesMut};
use weir_core::{
    admin::{Answer, Command, Parting, Unanswered, Visit},
    refusal::Refusal,
};

use super::conversation::{ConsoleConversation, Form, Verdict};
use crate::{login::stream::TdsStream, refusals};

/// Answers until one side ends it.
pub(crate) async fn serve(mut visit: Visit<TdsStream>, mut conversation: ConsoleConversation) {
    let mut out = BytesMut::new();
    if let Err(Parted::End(why, form)) = converse(&mut visit, &mut conversation, &mut out).await {
        conversation.fail(&refusals::describe(&why), form, &mut out);
        // It is told, if it listens.
        let _ = visit.send(&mut out).await;
    }
    visit.leave().await;
}

/// What ends it, and what it was asked last: the answer to that is the place to say why.
enum Parted {
    Gone,
    End(Refusal, Form),
}

async fn converse(
    visit: &mut Visit<TdsStream>,
    conversation: &mut ConsoleConversation,
    out: &mut BytesMut,
) -> Result<(), Parted> {
    loop {
        let mut input = &visit.buffer[..];
        let verdict = conversation.judge(&mut input, out);
        let taken = visit.buffer.len() - input.len();
        visit.buffer.advance(taken);
        let needs_more = verdict == Verdict::Need;
        let is_over = verdict == Verdict::Finish;
        if let Verdict::Ask(commands, form) = verdict {
            let asked = ask(visit, &commands).await;
            conversation.answer(asked.map_err(|parting| parted(parting, form))?, form, out);
        }
        let at_rest = |parting| parted(parting, Form::Batch);
        visit.send(out).await.map_err(at_rest)?;
        if is_over {
            return Ok(());
        }
        if needs_more {
            visit.listen().await.map_err(at_rest)?;
        }
    }
}

fn parted(parting: Parting, form: Form) -> Parted {
    match parting {
        Parting::Gone => Parted::Gone,
        Parting::End(why) => Parted::End(why, form),
    }
}

/// The answers to the commands of one request, up to the first that has none.
async fn ask(visit: &mut Visit<TdsStream>, commands: &[Command]) -> Result<Vec<Result<Answer, Unanswered>>, Parting> {
    let mut answers = Vec::new();
    for command in commands {
        // Cancelling is in band.
        let answer = visit.answer_to(command, ConsoleConversation::takes_back).await?;
        let is_error = answer.is_err();
        answers.push(answer);
        if is_error {
            break;
        }
    }
    Ok(answers)
}
