//! Calls that need no server: handles are the gateway's, so it releases them itself and says so when there is none.

use weir_core::{
    backend::{Outbox, Step},
    refusal::{Limit, Refusal},
};

use crate::{
    dialogue::{
        Conversation,
        answers::Ending,
        request::{Asks, Request},
    },
    limits, refusals,
    session::{Session, classify::Calls},
    wire::{
        done::{Done, DoneStatus},
        packet::{HEADER, Header, ResetBit},
        rpc::WellKnown,
        token,
        utf16::{self, Utf16},
    },
};

impl Conversation {
    /// Answers calls that need no server; `None` if they do.
    pub(in crate::dialogue) fn answer_call(
        &mut self,
        request: &Request<'_>,
        session: Option<&mut Session>,
        out: &mut Outbox,
    ) -> Option<Step> {
        let front = match &request.asks {
            Asks::Procedures(front) => front,
            Asks::Batch(findings)
                if findings.calls == Calls::Procedures && request.body.len() <= limits::MAX_RELEASING_TEXT =>
            {
                let released = released_by_text(&Utf16(request.body).decode()?)?;
                let handles = released.statements_only()?;
                return Some(self.release_by_text(&handles, request, session, out));
            }
            _ => return None,
        };
        let is_single = front.calls == 1 && request.header.status.ends_message();
        match (front.first?, front.handle) {
            (WellKnown::ResetConnection, _) if is_single => self.answer_reset(request, session, out),
            (WellKnown::Unprepare, Some(handle)) if is_single => {
                match self.give_back_handle(Some(handle), session) {
                    Some(()) => self.succeed_call(out),
                    None => self.refuse_handle(handle, out),
                }
                Some(self.drop_packet(request))
            }
            (WellKnown::Execute, Some(handle)) if self.handles.find(handle).is_none() => {
                self.refuse_handle(handle, out);
                Some(self.drop_packet(request))
            }
            (WellKnown::Prepare | WellKnown::PrepExec | WellKnown::PrepExecRpc, _) if self.handles.is_full() => {
                let limit = Limit {
                    name: "prepared statements of one connection",
                    value: limits::MAX_CLIENT_STATEMENTS.to_string(),
                    set_in: "built-in limit".to_owned(),
                };
                let answer = self.answer().error(&refusals::describe(&Refusal::TooLarge(limit)));
                answer.failed(Ending::Procedure, out);
                Some(self.drop_packet(request))
            }
            _ => None,
        }
    }

    fn release_by_text(
        &mut self,
        handles: &[i32],
        request: &Request<'_>,
        mut session: Option<&mut Session>,
        out: &mut Outbox,
    ) -> Step {
        let mut answer = self.answer();
        if self.has_asked_for_reset() {
            answer = answer.reset();
        }
        let mut rest = handles.len();
        for handle in handles {
            rest -= 1;
            answer = match self.handles.find(*handle) {
                Some(_) => answer.procedure(rest > 0),
                None => answer.error(&no_such_handle(*handle)),
            };
        }
        answer.done(Done::procedure(DoneStatus::default()), out);
        for handle in handles {
            self.give_back_handle(Some(*handle), session.as_deref_mut());
        }
        self.drop_packet(request)
    }

    fn succeed_call(&self, out: &mut Outbox) {
        let mut answer = self.answer();
        if self.has_asked_for_reset() {
            answer = answer.reset();
        }
        answer
            .tokens(&[token::RETURN_STATUS, 0, 0, 0, 0])
            .succeeded(Ending::Procedure, out);
    }

    fn refuse_handle(&self, handle: i32, out: &mut Outbox) {
        let mut answer = self.answer();
        if self.has_asked_for_reset() {
            answer = answer.reset();
        }
        answer.error(&no_such_handle(handle)).failed(Ending::Procedure, out);
    }

    /// `sp_reset_connection` as a call does what the bit does (TDS 6.1).
    fn answer_reset(&mut self, request: &Request<'_>, session: Option<&mut Session>, out: &mut Outbox) -> Option<Step> {
        if !self.has_asked_for_reset() {
            self.reset_client(ResetBit::Connection);
        }
        if let Some(session) = session
            && !self.reset_by_itself(session, &mut out.to_server)
        {
            return Some(Step::Hold);
        }
        self.answer()
            .tokens(&[token::RETURN_STATUS, 0, 0, 0, 0])
            .succeeded(Ending::Procedure, out);
        Some(self.drop_packet(request))
    }
}

/// SQL Server's own words.
fn no_such_handle(handle: i32) -> refusals::Words {
    const NO_SUCH_HANDLE: i32 = 8179;
    let text = format!("Could not find prepared statement with handle {handle}.");
    refusals::Words::new(NO_SUCH_HANDLE, 16, text)
}

/// Handles that a batch releases, if it does nothing else: one driver gives them back as text, in rows of
/// `EXEC sp_unprepare 5;`, with those of cursors between them. What the former mean only the gateway knows, and what the
/// latter mean only the server.
#[derive(Debug, PartialEq, Eq)]
struct Released(Vec<(HandleOf, i32)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HandleOf {
    Statement,
    Cursor,
}

impl Released {
    /// `None` if there is a cursor among them.
    fn statements_only(&self) -> Option<Vec<i32>> {
        let statement = |(what, handle): &(HandleOf, i32)| (*what == HandleOf::Statement).then_some(*handle);
        self.0.iter().map(statement).collect()
    }

    fn of(&self, wanted: HandleOf) -> impl Iterator<Item = i32> {
        let those = self.0.iter().filter(move |(what, _)| *what == wanted);
        those.map(|(_, handle)| *handle)
    }

    /// What is left for the server.
    fn cursors_text(&self) -> String {
        let statements = self.of(HandleOf::Cursor);
        statements
            .map(|handle| format!("EXEC sp_cursorunprepare {handle};"))
            .collect()
    }
}

impl Conversation {
    /// The packet without the handles that are the gateway's, if it is a batch that gives back those and cursors' (TDS
    /// 7.2).
    pub(in crate::dialogue) fn without_own_handles(
        &mut self,
        request: &Request<'_>,
        mut session: Option<&mut Session>,
    ) -> Option<(Header, Vec<u8>)> {
        let released = match &request.asks {
            Asks::Batch(findings)
                if findings.calls == Calls::Procedures && request.body.len() <= limits::MAX_RELEASING_TEXT =>
            {
                released_by_text(&Utf16(request.body).decode()?)?
            }
            _ => return None,
        };
        if released.statements_only().is_some() || released.of(HandleOf::Statement).next().is_none() {
            return None;
        }
        for handle in released.of(HandleOf::Statement) {
            self.give_back_handle(Some(handle), session.as_deref_mut());
        }
        let text = utf16::encode(&released.cursors_text());
        let headers = &request.packet[HEADER..request.packet.len() - request.body.len()];
        let header = Header {
            length: u16::try_from(HEADER + headers.len() + text.len()).ok()?,
            ..request.header
        };
        Some((header, [&header.to_bytes()[..], headers, &text].concat()))
    }
}

fn released_by_text(text: &str) -> Option<Released> {
    let statements = text.split(';').map(str::trim).filter(|statement| !statement.is_empty());
    let handle = |statement: &str| {
        let mut words = statement.split_ascii_whitespace();
        let (exec, name, number) = (words.next()?, words.next()?, words.next()?);
        let is_call = ["EXEC", "EXECUTE"].iter().any(|word| exec.eq_ignore_ascii_case(word));
        let name = name.to_ascii_lowercase();
        let what = match name.strip_prefix("sys.").unwrap_or(&name) {
            "sp_unprepare" => HandleOf::Statement,
            "sp_cursorunprepare" => HandleOf::Cursor,
            _ => return None,
        };
        match words.next() {
            None if is_call => Some((what, number.parse().ok()?)),
            _ => None,
        }
    };
    let handles: Option<Vec<_>> = statements.map(handle).collect();
    handles.filter(|handles| !handles.is_empty()).map(Released)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_batch_that_gives_handles_back_and_nothing_else_is_one() {
        let released =
            released_by_text("EXEC sp_unprepare 5;exec SYS.sp_cursorunprepare 7;\n execute sp_unprepare -1 ;")
                .expect("three handles");
        assert_eq!(released.of(HandleOf::Statement).collect::<Vec<_>>(), [5, -1]);
        assert_eq!(released.cursors_text(), "EXEC sp_cursorunprepare 7;");
        assert_eq!(released.statements_only(), None);
        for text in [
            "",
            ";",
            "EXEC sp_unprepare",
            "EXEC sp_unprepare 5, 6",
            "EXEC sp_unprepare @h",
            "EXEC sp_unprepare 5; SELECT 1",
            "SELECT sp_unprepare 5",
            "EXEC other.sp_unprepare 5",
            "EXEC sp_unprepare 99999999999",
        ] {
            assert_eq!(released_by_text(text), None, "{text}");
        }
    }
}
