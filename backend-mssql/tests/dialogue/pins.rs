//! What is told of a client that keeps its server connection: to administrators the statement, to itself the reason.

use weir_core::backend::{Dialogue, Outbox, PinNews, PinReason};
use weir_mssql::wire::packet::Status;

use crate::{
    gateway::Gateway,
    messages::{Calls, attention, batch, batch_with, handle},
    model::{Kind, Model},
};

/// Why the client keeps its connection, as an administrator is told.
fn cause(gateway: &Gateway, client: usize) -> Option<String> {
    let client = &gateway.clients[client];
    let session = &gateway.connections[client.lease.expect("a connection that it keeps")].session;
    client.conversation.pin_cause(session).map(String::from)
}

/// The core tells the conversation.
fn tell(gateway: &mut Gateway, client: usize, news: PinNews) {
    let mut out = Outbox::default();
    gateway.clients[client].conversation.tell_pin(news, &mut out);
    assert!(out.to_client.is_empty(), "a server says nothing unasked");
}

#[test]
fn the_statement_is_known_and_its_constants_are_not() {
    let mut gateway = Gateway::to(Kind::SqlServer, 1);
    let client = gateway.client();
    gateway.ask(client, &batch("SELECT 'canary'"));
    gateway.ask(client, &batch("CREATE TABLE #t 'canary'"));
    gateway.ask(client, &batch("SELECT show"));
    assert_eq!(cause(&gateway, client).as_deref(), Some("CREATE TABLE #T ?"));
    // The next client is not told of what this one did.
    gateway.leave(client);
    let next = gateway.client();
    gateway.ask(
        next,
        &Calls::new().named("sp_getapplock", &["canary", "x", "Session"]).done(),
    );
    assert_eq!(cause(&gateway, next).as_deref(), Some("EXEC SP_GETAPPLOCK"));
}

#[test]
fn a_prepared_statement_is_the_cause_wherever_it_was_prepared() {
    let mut gateway = Gateway::to(Kind::SqlServer, 2);
    let (one, two) = (gateway.client(), gateway.client());
    let text = "DECLARE c CURSOR GLOBAL FOR SELECT 'canary'; PRINT 4711";
    gateway.send(one, &Calls::new().prepare(text).done());
    let number = handle(&gateway.receive(one));
    gateway.ask(two, &Calls::new().prepare(text).done());
    gateway.ask(one, &Calls::new().execute(number, 1).done());
    assert_eq!(
        cause(&gateway, one).as_deref(),
        Some("DECLARE C CURSOR GLOBAL FOR SELECT ?; PRINT ?")
    );
}

#[test]
fn long_batches_and_settings_that_may_be_set_are_shown_too() {
    let mut gateway = Gateway::to(Kind::SqlServer, 1);
    let client = gateway.client();
    gateway.ask(client, &batch("SET ROWCOUNT 5; RAISERROR"));
    assert_eq!(cause(&gateway, client).as_deref(), Some("SET ROWCOUNT ?; RAISERROR"));
    let mut gateway = Gateway::to(Kind::SqlServer, 1);
    let client = gateway.client();
    gateway.ask(client, &batch(&format!("CREATE TABLE #{}", "x".repeat(2_000))));
    let shown = cause(&gateway, client).expect("a cause");
    assert!(
        shown.starts_with("CREATE TABLE #XXX") && shown.ends_with('…') && shown.len() < 250,
        "{shown}"
    );
}

#[test]
fn a_client_is_told_with_its_next_answer() {
    let mut model = Model::new(Kind::SqlServer, 1);
    model.packet_size = 4096;
    let mut gateway = Gateway::new([model]);
    let client = gateway.client_with(|init| init.pin_notice = true);
    gateway.ask(client, &batch("CREATE TABLE #t"));
    tell(&mut gateway, client, PinNews::Begun(PinReason::TemporaryTable));
    // An acknowledgement of an Attention comes alone.
    assert_eq!(gateway.ask(client, &attention()), "Done(attention)");
    let told = gateway.ask(client, &batch("SELECT server"));
    assert!(
        told.starts_with("Info(This session keeps its server connection: temporary table.") && told.ends_with("Done()"),
        "{told}"
    );
    assert_eq!(
        gateway.ask(client, &batch("SELECT server")),
        "[server 1] Done()",
        "once"
    );
    tell(&mut gateway, client, PinNews::Over(PinReason::TemporaryTable));
    // Behind the acknowledgement of a reset, which has to come first.
    let told = gateway.ask(client, &batch_with(Status::RESET_CONNECTION, 0, "SELECT server"));
    assert!(
        told.starts_with("Reset Info(This session needs its server connection no more: temporary table is over.)"),
        "{told}"
    );
}

#[test]
fn nobody_is_told_unasked() {
    let mut gateway = Gateway::to(Kind::SqlServer, 1);
    let client = gateway.client();
    gateway.ask(client, &batch("CREATE TABLE #t"));
    tell(&mut gateway, client, PinNews::Begun(PinReason::TemporaryTable));
    assert_eq!(gateway.ask(client, &batch("SELECT server")), "[server 1] Done()");
}
