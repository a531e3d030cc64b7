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
    session::{Session, classify::Calls, handles::Prepared, pins::Tie},
    wire::{
        done::{Done, DoneStatus},
        packet::ResetBit,
        rpc::WellKnown,
        token,
        utf16::Utf16,
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
                let handles = released_by_text(&Utf16(request.body).decode()?)?;
                return Some(self.release_by_text(&handles, request, session, out));
            }
            _ => return None,
        };
        let is_single = front.calls == 1 && request.header.status.ends_message();
        match (front.first?, front.handle) {
            (WellKnown::ResetConnection, _) if is_single => self.answer_reset(request, session, out),
            (WellKnown::Unprepare, Some(handle)) if is_single => {
                match self.handles.remove(handle) {
                    Some(Prepared::Anywhere(_)) => self.succeed_call(out),
                    Some(Prepared::Here(owner)) => {
                        if let Some(session) = session {
                            session.pins.remove(Tie::Statement, 1);
                            session.handles.release(owner.handle);
                        }
                        self.succeed_call(out);
                    }
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
            if let Some(Prepared::Here(owner)) = self.handles.remove(*handle)
                && let Some(session) = &mut session
            {
                session.pins.remove(Tie::Statement, 1);
                session.handles.release(owner.handle);
            }
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
/// `EXEC sp_unprepare 5;`. What they mean only the gateway knows.
fn released_by_text(text: &str) -> Option<Vec<i32>> {
    let statements = text.split(';').map(str::trim).filter(|statement| !statement.is_empty());
    let handle = |statement: &str| {
        let mut words = statement.split_ascii_whitespace();
        let (exec, name, number) = (words.next()?, words.next()?, words.next()?);
        let is_release = ["EXEC", "EXECUTE"].iter().any(|word| exec.eq_ignore_ascii_case(word))
            && ["sp_unprepare", "sys.sp_unprepare"]
                .iter()
                .any(|word| name.eq_ignore_ascii_case(word));
        match words.next() {
            None if is_release => number.parse().ok(),
            _ => None,
        }
    };
    let handles: Option<Vec<i32>> = statements.map(handle).collect();
    handles.filter(|handles| !handles.is_empty())
}
