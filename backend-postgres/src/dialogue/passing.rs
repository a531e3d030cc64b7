//! The passing name: a statement on the server that lives for one message, to make the server itself say what it would say
//! about the client's own statement (specification S1 rules 5 and 7).
//!
//! Invariant: it is closed ahead of each use, so that it does not matter whether the use before was carried out.

use bytes::BytesMut;

use crate::{
    session::{
        Session,
        pending::{ClientChange, Disposition, Entry, Expects},
        statement::{PASSING_NAME, Statement},
    },
    wire::write,
};

/// The text of a `DEALLOCATE` that succeeds exactly where the client's would: of an empty statement that is prepared for
/// the purpose, because the client's own may not be here, and others use it.
pub(super) fn deallocate_text(
    statement: &Statement,
    at_client: ClientChange,
    session: &mut Session,
    out: &mut BytesMut,
) -> Vec<u8> {
    close_passing(at_client, session, out);
    let name = match statement.body() {
        None => statement.server_name(),
        Some(_) => {
            parse_passing(session, out);
            PASSING_NAME
        }
    };
    [b"DEALLOCATE \"", name, b"\""].concat()
}

/// The same for a statement that is surely not here.
pub(super) fn deallocate_another(at_client: ClientChange, session: &mut Session, out: &mut BytesMut) -> Vec<u8> {
    close_passing(at_client, session, out);
    parse_passing(session, out);
    [b"DEALLOCATE \"", PASSING_NAME, b"\""].concat()
}

/// Closes the statement that lives for one message; that it does not exist is no error.
pub(super) fn close_passing(at_client: ClientChange, session: &mut Session, out: &mut BytesMut) {
    write::close_statement(out, PASSING_NAME);
    let entry = Entry::new(Expects::Close, Disposition::Injected, session.group_number);
    session.push(Entry { at_client, ..entry });
}

fn parse_passing(session: &mut Session, out: &mut BytesMut) {
    session.expect(Expects::Parse, Disposition::Injected);
    write::parse_text(out, PASSING_NAME, b"");
}

/// Makes the passing name taken, so that the next Parse of it is refused as the client's own name, prepared twice, would
/// be (S1.7). An empty text can be prepared in any state of a transaction. It stays until it is closed ahead of the next
/// use.
pub(super) fn take_passing(session: &mut Session, out: &mut BytesMut) {
    close_passing(ClientChange::None, session, out);
    parse_passing(session, out);
}
