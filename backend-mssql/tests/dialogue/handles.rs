//! Prepared statements where servers and clients do not keep them: handles that a server has lost, statements that are
//! prepared again and again, handles given back as text (TDS 7.2).

use weir_mssql::wire::packet::Status;

use crate::{
    gateway::Gateway,
    messages::{Calls, batch, batch_in, begin, descriptor, handle, told},
    model::Kind,
};

const BOTH: [Kind; 2] = [Kind::SqlServer, Kind::Probe];

fn forget(gateway: &mut Gateway, forgets: bool) {
    for connection in &mut gateway.connections {
        connection.server.forgets_handles = forgets;
    }
}

fn sent(gateway: &Gateway, what: &str) -> usize {
    let log = &gateway.connections[0].server.log;
    log.iter().filter(|line| line.contains(what)).count()
}

#[test]
fn a_handle_that_the_server_has_lost_is_prepared_again() {
    for kind in BOTH {
        for chunk in [usize::MAX, 100, 1] {
            let mut gateway = Gateway::to(kind, 1);
            gateway.chunk = chunk;
            let client = gateway.client();
            gateway.send(client, &Calls::new().prepare("VALUE").done());
            let number = handle(&gateway.receive(client));
            forget(&mut gateway, true);
            for value in 1..4 {
                assert_eq!(
                    gateway.ask(client, &Calls::new().execute(number, value).done()),
                    format!("[value {value}] Done(more) Status(0) Done()"),
                    "{kind:?}"
                );
                assert_eq!(gateway.clients[client].lease, None);
            }
            forget(&mut gateway, false);
            gateway.ask(client, &Calls::new().execute(number, 9).done());
            assert_eq!(sent(&gateway, "PrepExec"), 3, "and stays when it is not lost");
        }
    }
}

#[test]
fn so_is_one_of_a_request_of_many_packets_and_in_a_transaction() {
    let mut gateway = Gateway::to(Kind::SqlServer, 1);
    let client = gateway.client();
    gateway.send(client, &Calls::new().prepare("VALUE").done());
    let number = handle(&gateway.receive(client));
    gateway.send(client, &begin(0));
    let v = descriptor(&gateway.receive(client));
    gateway.ask(client, &batch_in(v, "INSERT one"));
    forget(&mut gateway, true);
    let long = Calls::within(v).execute(number, 7).text_argument(&"x".repeat(3_000));
    assert_eq!(
        gateway.ask(client, &long.done()),
        "[value 7] Done(more) Status(0) Done()"
    );
    assert!(gateway.connections[0].server.in_transaction());
    // Too long to be kept: the error is the client's, and the next attempt works.
    forget(&mut gateway, true);
    gateway.ask(client, &Calls::within(v).prepare_and_execute(None, "VALUE", 1).done());
    let longer = Calls::within(v).execute(number, 7).text_argument(&"x".repeat(40_000));
    let refused = gateway.ask(client, &longer.done());
    assert!(refused.starts_with("Error(8179"), "{refused}");
    let again = Calls::within(v).execute(number, 7).done();
    assert_eq!(gateway.ask(client, &again), "[value 7] Done(more) Status(0) Done()");
}

/// There an error may have ended the transaction, and the answer would not say so.
#[test]
fn in_a_transaction_of_a_server_that_has_to_be_asked_nothing_is_repeated() {
    let mut gateway = Gateway::to(Kind::Probe, 1);
    let client = gateway.client();
    gateway.send(client, &Calls::new().prepare("VALUE").done());
    let number = handle(&gateway.receive(client));
    gateway.send(client, &begin(0));
    let v = descriptor(&gateway.receive(client));
    gateway.ask(client, &batch_in(v, "INSERT one"));
    forget(&mut gateway, true);
    let execute = || Calls::within(v).execute(number, 7).done();
    let refused = gateway.ask(client, &execute());
    assert!(refused.starts_with("Error(8179"), "{refused}");
    assert_eq!(
        gateway.ask(client, &execute()),
        "[value 7] Done(more) Status(0) Done()",
        "the handle was forgotten"
    );
}

#[test]
fn several_calls_in_one_request_are_not_repeated_and_the_handle_is_forgotten() {
    let mut gateway = Gateway::to(Kind::SqlServer, 1);
    let client = gateway.client();
    gateway.send(client, &Calls::new().prepare("VALUE").done());
    let number = handle(&gateway.receive(client));
    forget(&mut gateway, true);
    let twice = || Calls::new().execute(number, 1).then().execute(number, 2).done();
    let answer = gateway.ask(client, &twice());
    assert_eq!(answer.matches("Error(8179").count(), 2, "{answer}");
    forget(&mut gateway, false);
    let answer = gateway.ask(client, &twice());
    assert_eq!(answer.matches("Status(0)").count(), 2, "{answer}");
}

#[test]
fn a_statement_that_the_connection_has_is_only_executed() {
    for kind in BOTH {
        let mut gateway = Gateway::to(kind, 1);
        let (one, two) = (gateway.client(), gateway.client());
        let prepare = || Calls::new().prepare_and_execute(None, "PRINT there", 1).done();
        let told_one = gateway.ask(one, &prepare());
        assert_eq!(told_one, "[there] Done(more) Status(0) Value(1) Done()");
        gateway.send(two, &prepare());
        let answer = gateway.receive(two);
        assert_eq!(told(&answer), told_one);
        assert_eq!((sent(&gateway, "PrepExec"), sent(&gateway, "(Execute)")), (1, 1));
        let execute = Calls::new().execute(handle(&answer), 3).done();
        assert_eq!(gateway.ask(two, &execute), "[there] Done(more) Status(0) Done()");
        // It is prepared after all where it is lost.
        forget(&mut gateway, true);
        assert_eq!(
            gateway.ask(two, &prepare()),
            "[there] Done(more) Status(0) Value(2) Done()"
        );
        assert_eq!(sent(&gateway, "PrepExec"), 2);
    }
}

#[test]
fn the_name_of_the_parameter_is_the_clients_and_output_parameters_keep_their_numbers() {
    let mut gateway = Gateway::to(Kind::SqlServer, 1);
    let client = gateway.client();
    let ask = || Calls::new().prepare_and_execute_named("handle", "OUTPUT", 5).done();
    let first = gateway.ask(client, &ask());
    assert_eq!(first, "Done(more) Status(0) Value(1) Value(#3 5) Done()");
    let second = gateway.ask(client, &ask());
    assert_eq!(second, "Done(more) Status(0) Value(@handle 2) Value(#3 5) Done()");
}

#[test]
fn handles_given_back_for_new_ones_do_not_pile_up() {
    let mut gateway = Gateway::to(Kind::SqlServer, 1);
    let client = gateway.client();
    let mut last = None;
    for round in 0..10_050 {
        let text = if round % 2 == 0 { "VALUE" } else { "PRINT x" };
        gateway.send(client, &Calls::new().prepare_and_execute(last, text, 1).done());
        last = Some(handle(&gateway.receive(client)));
    }
    // The one before the last is not there any more.
    let old = Calls::new().execute(last.unwrap() - 1, 1).done();
    let gone = gateway.ask(client, &old);
    assert!(gone.starts_with("Error(8179"), "{gone}");
}

#[test]
fn text_that_gives_back_statements_and_cursors_reaches_the_server_without_the_former() {
    let mut gateway = Gateway::to(Kind::SqlServer, 1);
    let client = gateway.client();
    for text in ["VALUE", "PRINT x"] {
        gateway.ask(client, &Calls::new().prepare(text).done());
    }
    gateway.ask(client, &Calls::new().named("sp_cursorprepare", &["select 1"]).done());
    assert_eq!(
        gateway.clients[client].lease,
        Some(0),
        "a cursor's handle is the server's"
    );
    let mixed = batch("EXEC sp_unprepare 1;EXEC sp_cursorunprepare 7;EXEC sp_unprepare 2;");
    assert_eq!(gateway.ask(client, &mixed), "Done()");
    let log = &gateway.connections[0].server.log;
    assert!(log.iter().any(|line| line == "EXEC sp_cursorunprepare 7"), "{log:?}");
    assert!(!log.iter().any(|line| line.contains("sp_unprepare")), "{log:?}");
    assert_eq!(
        gateway.clients[client].lease, None,
        "and with it the connection goes back"
    );
    let gone = gateway.ask(client, &Calls::new().execute(2, 1).done());
    assert!(gone.starts_with("Error(8179"), "{gone}");
}

#[test]
fn what_was_prepared_as_a_cursor_ties_until_it_is_given_back() {
    let mut gateway = Gateway::to(Kind::SqlServer, 1);
    let client = gateway.client();
    gateway.ask(client, &Calls::new().named("sp_cursorprepexec", &["select 1"]).done());
    gateway.ask(client, &Calls::new().named("sp_cursorclose", &[]).done());
    assert_eq!(
        gateway.clients[client].lease,
        Some(0),
        "its handle can be executed again"
    );
    gateway.ask(client, &Calls::new().named("sp_cursorunprepare", &[]).done());
    assert_eq!(gateway.clients[client].lease, None);
}

#[test]
fn behind_a_reset_there_is_nothing_to_repeat() {
    let mut gateway = Gateway::to(Kind::SqlServer, 1);
    let client = gateway.client();
    gateway.send(client, &Calls::new().prepare("VALUE").done());
    let number = handle(&gateway.receive(client));
    forget(&mut gateway, true);
    let reset = Calls::new().execute(number, 1).done_with(Status::RESET_CONNECTION);
    let answer = gateway.ask(client, &reset);
    assert!(answer.starts_with("Reset Error(8179"), "{answer}");
    let prepare = Calls::new().prepare_and_execute(None, "VALUE", 5);
    let answer = gateway.ask(client, &prepare.done_with(Status::RESET_CONNECTION));
    assert!(answer.starts_with("Reset [value 5]"), "{answer}");
}
