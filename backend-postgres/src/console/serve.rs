//! The shell around a conversation with the console: reads, answers, and ends when the client or the gateway does. What
//! waiting takes is [`weir_core::admin::Visit`]'s.

use bytes::{Buf as _, BytesMut};
use weir_core::{
    admin::{Parting, Visit},
    net::Stream,
};

use super::conversation::{ConsoleConversation, Verdict};
use crate::{dialogue::refusals, limits, wire::write};

/// Answers until one side ends it.
pub(crate) async fn serve(mut visit: Visit<Stream>) {
    let mut conversation = ConsoleConversation::default();
    let mut out = BytesMut::new();
    let parting = converse(&mut visit, &mut conversation, &mut out).await;
    if let Err(Parting::End(why)) = parting {
        write::error_response(&mut out, &refusals::fatal(&why));
        // It is told, if it listens.
        let _ = visit.send(&mut out).await;
    }
    visit.leave().await;
}

async fn converse(
    visit: &mut Visit<Stream>,
    conversation: &mut ConsoleConversation,
    out: &mut BytesMut,
) -> Result<(), Parting> {
    loop {
        let verdict = conversation.judge(&visit.buffer, out);
        if let Verdict::Taken(count) = verdict {
            visit.buffer.advance(count);
            if out.len() < limits::MAX_CONSOLE_ANSWER {
                continue;
            }
        }
        visit.send(out).await?;
        match verdict {
            Verdict::Need => visit.listen().await?,
            // Cancelling is out of band.
            Verdict::Ask(command) => conversation.answered(visit.answer_to(&command, |_| false).await?, out),
            Verdict::Taken(_) => {}
            Verdict::Finish => return Ok(()),
        }
    }
}
