//! Message heads and every message that is looked into, from both sides.

use weir_postgres::wire::{
    self, Head, bind::Bind, command_complete::Tag, copy::Direction, error_response::ErrorFields, named::Named,
    parameter_status, parse::Parse, query, ready_for_query::TransactionStatus,
};

/// Reads `data` as a stream of messages.
pub fn run(data: &[u8]) {
    let mut rest = data;
    while let Some(head) = Head::read(rest) {
        let client = head.check_client();
        let server = head.check_server();
        if client.is_err() && server.is_err() {
            return;
        }
        assert!(
            head.total() >= wire::HEAD as u64,
            "a message that is shorter than its head"
        );
        let Some(message) = head.message(rest) else {
            look(head, rest, head.body(rest));
            return;
        };
        assert_eq!(message.len() as u64, head.total());
        look(head, message, head.body(message));
        rest = &rest[message.len()..];
    }
}

/// Everything that could be asked of these bytes, whatever kind they claim to be.
fn look(head: Head, message: &[u8], body: &[u8]) {
    assert!(body.len() <= message.len());
    if let Some(bind) = Bind::read(message) {
        assert!(bind.prefix <= message.len());
    }
    if let Some(parse) = Parse::read(message) {
        assert!(parse.text().len() <= parse.body.len());
        let _ = parse.is_well_formed();
    }
    let _ = Named::read(message);
    let _ = (Tag::read(body), Direction::of(head.kind), TransactionStatus::read(body));
    let fields = ErrorFields::read(body);
    assert!(!fields.sqlstate().is_empty());
    let _ = (fields.ends_the_connection(), fields.says_plan_is_stale());
    let rejection = fields.to_rejection();
    assert!(!rejection.code.is_empty());
    let _ = (parameter_status::read(body), query::text(body));
}
