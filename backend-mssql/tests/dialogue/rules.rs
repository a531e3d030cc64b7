//! Every rule of the specification's sections 5.3, 6.5, 7.2 and 8, one by one.

use weir_core::{
    backend::{Dialogue, Onward, SessionState, TransactionDetection},
    refusal::{Limit, Refusal},
    settings::{PoolMode, SessionStatePolicy},
};
use weir_mssql::wire::packet::Status;

use crate::{
    gateway::Gateway,
    messages::{
        Calls, attention, batch, batch_in, batch_with, begin, commit, commit_and_begin, descriptor, handle, message,
        rollback, rollback_and_begin, told,
    },
    model::{Kind, Model},
};

const BOTH: [Kind; 2] = [Kind::SqlServer, Kind::Probe];

fn limit() -> Limit {
    Limit {
        name: "idle_in_transaction_timeout",
        value: "1 s".to_owned(),
        set_in: "a test".to_owned(),
    }
}

// === requests and responses ===

#[test]
fn a_request_is_answered_and_the_connection_goes_back() {
    for kind in BOTH {
        let mut gateway = Gateway::to(kind, 1);
        let client = gateway.client();
        assert_eq!(gateway.ask(client, &batch("PRINT hello")), "[hello] Done()");
        assert_eq!(gateway.clients[client].lease, None);
        let sql = Calls::new().sql("PRINT there").done();
        assert_eq!(gateway.ask(client, &sql), "[there] Done(more) Status(0) Done()");
        assert_eq!(gateway.clients[client].lease, None);
    }
}

#[test]
fn errors_are_the_servers_own() {
    let mut gateway = Gateway::to(Kind::SqlServer, 1);
    let client = gateway.client();
    assert_eq!(
        gateway.ask(client, &batch("RAISERROR")),
        "Error(8134 divide by zero) Done(error)"
    );
    assert_eq!(gateway.clients[client].lease, None);
}

#[test]
fn long_requests_and_responses_stream() {
    for server in [512, 4096] {
        let mut model = Model::new(Kind::SqlServer, 1);
        model.packet_size = server;
        let mut gateway = Gateway::new([model]);
        let client = gateway.client();
        let long = "x".repeat(3_000);
        assert_eq!(
            gateway.ask(client, &batch(&format!("PRINT {long}"))),
            format!("[{long}] Done()")
        );
        let sql = Calls::new().sql(&format!("PRINT {long}")).done();
        assert_eq!(
            gateway.ask(client, &sql),
            format!("[{long}] Done(more) Status(0) Done()")
        );
        let many = gateway.ask(client, &batch("SELECT long 500"));
        assert!(many.ends_with("Done()"), "{many}");
        assert_eq!(gateway.clients[client].lease, None);
    }
}

// === virtual transactions (5.3) ===

#[test]
fn an_empty_transaction_needs_no_server() {
    for kind in BOTH {
        let mut gateway = Gateway::to(kind, 1);
        let client = gateway.client();
        gateway.send(client, &begin(0));
        let told_begin = gateway.receive(client);
        assert_eq!(told(&told_begin), "Begin(v) Done()");
        let v = descriptor(&told_begin);
        gateway.send(client, &commit_and_begin(v));
        let both = gateway.receive(client);
        assert_eq!(told(&both), "Commit(v) Begin(v) Done()");
        let next = descriptor(&both);
        assert_ne!(next, v);
        assert_eq!(gateway.ask(client, &rollback(next)), "Rollback(v) Done()");
        assert!(
            gateway.connections[0].server.log.is_empty(),
            "{:?}",
            gateway.connections[0].server.log
        );
    }
}

#[test]
fn a_transaction_begins_with_its_first_statement_and_ends_with_its_commit() {
    for kind in BOTH {
        let mut gateway = Gateway::to(kind, 1);
        let client = gateway.client();
        gateway.send(client, &begin(0));
        let v = descriptor(&gateway.receive(client));
        assert_eq!(gateway.ask(client, &batch_in(v, "INSERT one")), "Done()");
        assert!(gateway.clients[client].lease.is_some());
        assert_eq!(
            gateway.ask(client, &batch_in(v, "SELECT show")),
            "[app READ COMMITTED transaction 1] Done()"
        );
        gateway.send(client, &commit_and_begin(v));
        let answer = gateway.receive(client);
        assert_eq!(told(&answer), "Commit(v) Begin(v) Done()", "{kind:?}");
        assert_eq!(gateway.clients[client].lease, None, "released at commit ({kind:?})");
        assert!(gateway.connections[0].server.rows.contains("one"));
        assert_eq!(
            gateway.ask(client, &rollback(descriptor(&answer))),
            "Rollback(v) Done()"
        );
    }
}

#[test]
fn always_in_a_transaction_and_still_shared() {
    for kind in BOTH {
        let mut gateway = Gateway::to(kind, 1);
        let clients: Vec<usize> = (0..5).map(|_| gateway.client()).collect();
        let mut numbers = Vec::new();
        for client in &clients {
            gateway.send(*client, &begin(0));
            numbers.push(descriptor(&gateway.receive(*client)));
        }
        for round in 0..3 {
            for (client, number) in clients.iter().zip(&mut numbers) {
                let insert = batch_in(*number, &format!("INSERT {round}.{client}"));
                assert_eq!(gateway.ask(*client, &insert), "Done()");
                let end = if *client == 3 {
                    rollback_and_begin(*number)
                } else {
                    commit_and_begin(*number)
                };
                gateway.send(*client, &end);
                *number = descriptor(&gateway.receive(*client));
                assert_eq!(gateway.clients[*client].lease, None);
            }
        }
        let rows = &gateway.connections[0].server.rows;
        assert_eq!(rows.len(), 12);
        assert!(!rows.contains("1.3"));
    }
}

#[test]
fn batches_begin_and_end_transactions_too() {
    for kind in BOTH {
        let mut gateway = Gateway::to(kind, 1);
        let client = gateway.client();
        gateway.send(client, &batch("BEGIN TRAN"));
        let begun = gateway.receive(client);
        let v = match kind {
            Kind::SqlServer => descriptor(&begun),
            // Never names what a batch has begun.
            Kind::Probe => 0,
        };
        assert!(gateway.connections[0].server.log.is_empty());
        assert_eq!(gateway.ask(client, &batch_in(v, "INSERT a")), "Done()");
        assert!(gateway.clients[client].lease.is_some());
        let committed = gateway.ask(client, &batch_in(v, "COMMIT TRAN"));
        assert_eq!(
            committed,
            if kind == Kind::SqlServer {
                "Commit(v) Done()"
            } else {
                "Done()"
            }
        );
        assert_eq!(gateway.clients[client].lease, None);
        assert!(gateway.connections[0].server.rows.contains("a"));
        // The whole of it in one batch, and with an answer that tells both.
        let both = gateway.ask(client, &batch("BEGIN TRAN; INSERT b; COMMIT TRAN"));
        assert!(both.ends_with("Done()"), "{both}");
        assert_eq!(gateway.clients[client].lease, None);
    }
}

#[test]
fn a_transaction_that_the_server_ends_is_over() {
    for kind in BOTH {
        let mut gateway = Gateway::to(kind, 1);
        let client = gateway.client();
        gateway.send(client, &begin(0));
        let v = descriptor(&gateway.receive(client));
        gateway.ask(client, &batch_in(v, "INSERT a"));
        let doomed = gateway.ask(client, &batch_in(v, "SHUTDOWN"));
        let expected = match kind {
            Kind::SqlServer => "Error(1205 deadlock) Rollback(v) Done(error)",
            Kind::Probe => "Error(1205 deadlock) Done(error)",
        };
        assert_eq!(doomed, expected);
        assert_eq!(gateway.clients[client].lease, None, "{kind:?}");
        assert_eq!(
            gateway.ask(client, &batch("SELECT show")),
            "[app READ COMMITTED] Done()"
        );
    }
}

#[test]
fn an_error_in_a_transaction_leaves_it_open() {
    for kind in BOTH {
        let mut gateway = Gateway::to(kind, 1);
        let client = gateway.client();
        gateway.send(client, &begin(0));
        let v = descriptor(&gateway.receive(client));
        gateway.ask(client, &batch_in(v, "INSERT a"));
        assert_eq!(
            gateway.ask(client, &batch_in(v, "RAISERROR")),
            "Error(8134 divide by zero) Done(error)"
        );
        assert!(gateway.clients[client].lease.is_some());
        assert_eq!(gateway.ask(client, &commit(v)), "Commit(v) Done()");
        assert!(gateway.connections[0].server.rows.contains("a"));
    }
}

#[test]
fn with_implicit_transactions_nothing_is_virtual() {
    let mut gateway = Gateway::to(Kind::SqlServer, 1);
    let client = gateway.client();
    gateway.ask(client, &batch("SET IMPLICIT_TRANSACTIONS ON"));
    let begun = gateway.ask(client, &batch("BEGIN TRAN"));
    assert!(!begun.contains("(v)"), "{begun}");
    assert!(gateway.clients[client].lease.is_some());
}

#[test]
fn a_number_of_ours_that_is_over_is_refused() {
    let mut gateway = Gateway::to(Kind::SqlServer, 1);
    let client = gateway.client();
    gateway.send(client, &begin(0));
    let v = descriptor(&gateway.receive(client));
    gateway.ask(client, &commit(v));
    let answer = gateway.ask(client, &batch_in(v, "INSERT a"));
    assert!(
        answer.starts_with("Error(3971") && answer.ends_with("Done(error)"),
        "{answer}"
    );
    assert!(gateway.connections[0].server.rows.is_empty());
}

#[test]
fn an_isolation_level_of_a_begin_stays_with_its_client() {
    for kind in BOTH {
        let mut gateway = Gateway::to(kind, 1);
        let (one, two) = (gateway.client(), gateway.client());
        gateway.send(one, &begin(4));
        let v = descriptor(&gateway.receive(one));
        assert_eq!(
            gateway.ask(one, &batch_in(v, "SELECT show")),
            "[app SERIALIZABLE transaction 1] Done()"
        );
        gateway.ask(one, &commit(v));
        assert_eq!(gateway.ask(two, &batch("SELECT show")), "[app READ COMMITTED] Done()");
        assert_eq!(gateway.ask(one, &batch("SELECT show")), "[app SERIALIZABLE] Done()");
    }
}

#[test]
fn pool_mode_statement_has_no_transactions() {
    let mut gateway = Gateway::to(Kind::SqlServer, 1);
    let client = gateway.client_with(|init| init.pool_mode = PoolMode::Statement);
    for request in [begin(0), batch("BEGIN TRAN")] {
        let answer = gateway.ask(client, &request);
        assert!(answer.starts_with("Error(") && answer.contains("pool_mode"), "{answer}");
    }
    assert_eq!(gateway.ask(client, &batch("PRINT a")), "[a] Done()");
}

// === hand-over (6.5) ===

#[test]
fn settings_follow_their_client() {
    for kind in BOTH {
        let mut gateway = Gateway::to(kind, 2);
        gateway.in_turn = true;
        let (one, two) = (gateway.client(), gateway.client());
        assert_eq!(
            gateway
                .ask(one, &batch("SET NOCOUNT ON;SET DATEFIRST 3;USE other"))
                .matches("Done")
                .count(),
            3
        );
        for _ in 0..4 {
            assert_eq!(
                gateway.ask(one, &batch("SELECT show")),
                "[other READ COMMITTED DATEFIRST=3 NOCOUNT=ON] Done()"
            );
            assert_eq!(
                gateway.ask(two, &batch("SELECT show")),
                "[app READ COMMITTED] Done()",
                "{kind:?}"
            );
        }
    }
}

#[test]
fn isolation_levels_do_not_leak() {
    for kind in BOTH {
        let mut gateway = Gateway::to(kind, 1);
        let (one, two) = (gateway.client(), gateway.client());
        gateway.ask(one, &batch("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"));
        assert_eq!(gateway.ask(two, &batch("SELECT show")), "[app READ COMMITTED] Done()");
        assert_eq!(gateway.ask(one, &batch("SELECT show")), "[app SERIALIZABLE] Done()");
    }
}

#[test]
fn equal_settings_cost_nothing() {
    let mut gateway = Gateway::to(Kind::SqlServer, 1);
    let (one, two) = (gateway.client(), gateway.client());
    gateway.ask(one, &batch("SET NOCOUNT ON;SET TEXTSIZE 2147483647"));
    gateway.ask(two, &batch("SET TEXTSIZE 2147483647;SET NOCOUNT ON"));
    let before = gateway.connections[0].server.log.len();
    gateway.ask(one, &batch("PRINT a"));
    gateway.ask(two, &batch("PRINT b"));
    assert_eq!(gateway.connections[0].server.log[before..], ["PRINT a", "PRINT b"]);
}

#[test]
fn a_reset_rides_on_the_next_request() {
    let mut gateway = Gateway::to(Kind::SqlServer, 1);
    let (one, two) = (gateway.client(), gateway.client());
    gateway.ask(one, &batch("EXEC p"));
    assert_eq!(
        gateway.ask(two, &batch("PRINT a")),
        "[a] Done()",
        "the acknowledgement is not for the client"
    );
    assert_eq!(gateway.connections[0].server.log, ["EXEC p", "reset PRINT a"]);
    // The same client needs none.
    gateway.ask(two, &batch("EXEC p"));
    gateway.ask(two, &batch("PRINT b"));
    assert_eq!(gateway.connections[0].server.log[2..], ["EXEC p", "PRINT b"]);
}

#[test]
fn a_setting_that_the_server_refuses_fails_the_request_and_not_more() {
    let mut gateway = Gateway::to(Kind::SqlServer, 2);
    let client = gateway.client_with(|init| init.database = "nowhere".to_owned());
    assert_eq!(
        gateway.ask(client, &batch("INSERT a")),
        "Error(911 no such database) Done(error)"
    );
    assert!(
        gateway
            .connections
            .iter()
            .all(|connection| connection.server.rows.is_empty())
    );
    assert!(!gateway.clients[client].finished);
}

#[test]
fn what_lives_in_a_session_ties_its_client_until_a_reset() {
    for kind in BOTH {
        let mut gateway = Gateway::to(kind, 2);
        let (one, two) = (gateway.client(), gateway.client());
        gateway.ask(one, &batch("CREATE TABLE #t"));
        assert_eq!(gateway.clients[one].lease, Some(0));
        assert_eq!(
            gateway.ask(one, &batch("SELECT show")),
            "[app READ COMMITTED #t] Done()"
        );
        assert_eq!(gateway.ask(two, &batch("SELECT server")), "[server 2] Done()");
        let reset = batch_with(Status::RESET_CONNECTION, 0, "SELECT show");
        assert_eq!(gateway.ask(one, &reset), "Reset [app READ COMMITTED] Done()");
        assert_eq!(gateway.clients[one].lease, None, "{kind:?}");
    }
}

#[test]
fn what_a_client_leaves_behind_is_reset_before_the_next_one() {
    for kind in BOTH {
        let mut gateway = Gateway::to(kind, 1);
        let one = gateway.client();
        gateway.ask(
            one,
            &batch("CREATE TABLE ##t; SET TRANSACTION ISOLATION LEVEL SNAPSHOT"),
        );
        assert!(gateway.leave(one));
        let two = gateway.client();
        assert_eq!(gateway.ask(two, &batch("SELECT show")), "[app READ COMMITTED] Done()");
    }
}

#[test]
fn a_clients_reset_is_acknowledged_wherever_it_happens() {
    for kind in BOTH {
        let mut gateway = Gateway::to(kind, 1);
        let client = gateway.client();
        let reset = |text: &str| batch_with(Status::RESET_CONNECTION, 0, text);
        // Nothing to reset, as with the first request of drivers that always ask.
        assert_eq!(gateway.ask(client, &reset("PRINT a")), "Reset [a] Done()");
        assert_eq!(gateway.connections[0].server.log, ["PRINT a"]);
        gateway.ask(
            client,
            &batch("SET NOCOUNT ON;SET TRANSACTION ISOLATION LEVEL SNAPSHOT"),
        );
        assert_eq!(
            gateway.ask(client, &reset("SELECT show")),
            "Reset [app READ COMMITTED] Done()"
        );
        // In a transaction.
        gateway.send(client, &begin(0));
        let v = descriptor(&gateway.receive(client));
        gateway.ask(client, &batch_in(v, "INSERT a"));
        assert_eq!(
            gateway.ask(
                client,
                &batch_with(
                    Status::RESET_CONNECTION,
                    if kind == Kind::SqlServer { v } else { 0 },
                    "SELECT show"
                )
            ),
            "Reset [app READ COMMITTED] Done()"
        );
        assert!(gateway.connections[0].server.rows.is_empty());
        assert_eq!(gateway.clients[client].lease, None);
        // One that has only begun.
        gateway.send(client, &begin(0));
        gateway.receive(client);
        assert_eq!(
            gateway.ask(client, &reset("SELECT show")),
            "Reset [app READ COMMITTED] Done()"
        );
        // Answered here altogether.
        let begun = gateway.ask(client, &batch_with(Status::RESET_CONNECTION, 0, "BEGIN TRAN"));
        assert!(begun.starts_with("Reset"), "{begun}");
    }
}

#[test]
fn a_reset_may_come_as_a_call() {
    for kind in BOTH {
        let mut gateway = Gateway::to(kind, 1);
        let client = gateway.client();
        let reset = Calls::new().reset_connection().done();
        assert_eq!(gateway.ask(client, &reset), "Status(0) Done()");
        assert!(gateway.connections[0].server.log.is_empty());
        gateway.ask(client, &batch("CREATE TABLE #t; SET NOCOUNT ON"));
        assert_eq!(gateway.ask(client, &reset), "Status(0) Done()");
        assert_eq!(gateway.clients[client].lease, None);
        assert_eq!(
            gateway.ask(client, &batch("SELECT show")),
            "[app READ COMMITTED] Done()"
        );
        // As pytds does, in a transaction.
        gateway.send(client, &begin(0));
        let v = descriptor(&gateway.receive(client));
        gateway.ask(client, &batch_in(v, "INSERT a"));
        assert_eq!(gateway.ask(client, &reset), "Status(0) Done()");
        assert_eq!(gateway.clients[client].lease, None, "{kind:?}");
        assert!(gateway.connections[0].server.rows.is_empty());
    }
}

#[test]
fn session_state_reset_forgets_with_the_transaction() {
    let mut gateway = Gateway::to(Kind::SqlServer, 1);
    let client = gateway.client_with(|init| init.session_state = SessionStatePolicy::Reset);
    gateway.ask(client, &batch("SET NOCOUNT ON;CREATE TABLE #t"));
    assert_eq!(gateway.clients[client].lease, None);
    assert_eq!(
        gateway.ask(client, &batch("SELECT show")),
        "[app READ COMMITTED] Done()"
    );
}

#[test]
fn pool_mode_session_keeps_the_connection() {
    let mut gateway = Gateway::to(Kind::SqlServer, 1);
    let client = gateway.client_with(|init| init.pool_mode = PoolMode::Session);
    gateway.ask(client, &batch("CREATE TABLE #t;SET NOCOUNT ON"));
    assert_eq!(
        gateway.ask(client, &batch("SELECT show")),
        "[app READ COMMITTED NOCOUNT=ON #t] Done()"
    );
    assert!(gateway.leave(client));
    let other = gateway.client();
    assert_eq!(gateway.ask(other, &batch("SELECT show")), "[app READ COMMITTED] Done()");
}

#[test]
fn a_server_that_tells_its_state_is_believed() {
    let mut model = Model::new(Kind::SqlServer, 1);
    model.tells_state = true;
    let mut gateway = Gateway::new([model]);
    let client = gateway.client();
    // A table that no text shows.
    assert_eq!(gateway.ask(client, &batch("CREATE TABLE hidden")), "Done()");
    assert_eq!(gateway.clients[client].lease, Some(0));
    gateway.ask(client, &batch("DROP TABLE hidden"));
    assert_eq!(gateway.clients[client].lease, None);
}

// === bulk load ===

#[test]
fn bulk_data_goes_where_it_was_announced() {
    let mut gateway = Gateway::to(Kind::SqlServer, 2);
    let client = gateway.client();
    assert_eq!(gateway.ask(client, &batch("INSERT BULK t")), "Done()");
    assert_eq!(gateway.clients[client].lease, Some(0));
    let data = message(
        weir_mssql::wire::packet::PacketKind::BulkLoad,
        Status::default(),
        &[7; 2_000],
    );
    assert_eq!(gateway.ask(client, &data), "Done()");
    assert_eq!(gateway.connections[0].server.log.last().unwrap(), "bulk 2000");
    assert_eq!(gateway.clients[client].lease, None);
    let refused = gateway.ask(client, &data);
    assert!(refused.starts_with("Error("), "{refused}");
    assert_eq!(gateway.ask(client, &batch("PRINT a")), "[a] Done()");
}

// === prepared handles (7.2) ===

#[test]
fn a_handle_means_the_same_on_every_connection() {
    for kind in BOTH {
        let mut gateway = Gateway::to(kind, 2);
        gateway.in_turn = true;
        let client = gateway.client();
        gateway.send(client, &Calls::new().prepare_and_execute(None, "VALUE", 1).done());
        let answer = gateway.receive(client);
        assert_eq!(told(&answer), "[value 1] Done(more) Status(0) Value(1) Done()");
        let handle = handle(&answer);
        for value in 2..8 {
            assert_eq!(
                gateway.ask(client, &Calls::new().execute(handle, value).done()),
                format!("[value {value}] Done(more) Status(0) Done()")
            );
        }
        let executed = |index: usize| {
            let log = &gateway.connections[index].server.log;
            log.iter().filter(|line| line.contains("PrepExec")).count()
        };
        assert_eq!((executed(0), executed(1)), (1, 1), "prepared once on each");
        assert_eq!(
            gateway.ask(client, &Calls::new().unprepare(handle).done()),
            "Status(0) Done()"
        );
        let gone = gateway.ask(client, &Calls::new().execute(handle, 1).done());
        assert!(gone.starts_with("Error(8179"), "{gone}");
    }
}

#[test]
fn clients_have_numbers_of_their_own() {
    let mut gateway = Gateway::to(Kind::SqlServer, 1);
    let (one, two) = (gateway.client(), gateway.client());
    gateway.send(one, &Calls::new().prepare("VALUE").done());
    let first = handle(&gateway.receive(one));
    gateway.send(two, &Calls::new().prepare("PRINT two").done());
    let second = handle(&gateway.receive(two));
    assert_eq!((first, second), (1, 1));
    let execute = |handle| Calls::new().execute(handle, 9).done();
    assert_eq!(
        gateway.ask(one, &execute(first)),
        "[value 9] Done(more) Status(0) Done()"
    );
    assert_eq!(gateway.ask(two, &execute(second)), "[two] Done(more) Status(0) Done()");
    // What it does not have never reaches the server, where it would be somebody else's.
    let stolen = gateway.ask(one, &execute(101));
    assert!(stolen.starts_with("Error(8179"), "{stolen}");
    let stolen = gateway.ask(one, &Calls::new().execute(first, 1).then().execute(102, 1).done());
    assert!(stolen.contains("Error(8179"), "{stolen}");
}

#[test]
fn batches_of_calls_find_their_statements_prepared() {
    for kind in BOTH {
        let mut gateway = Gateway::to(kind, 2);
        gateway.in_turn = true;
        let client = gateway.client();
        gateway.send(client, &Calls::new().prepare("VALUE").done());
        let handle = handle(&gateway.receive(client));
        let mut calls = Calls::new().execute(handle, 0);
        for value in 1..60 {
            calls = calls.then().execute(handle, value);
        }
        let answer = gateway.ask(client, &calls.done());
        assert_eq!(answer.matches("Status(0)").count(), 60, "{answer}");
        assert!(answer.contains("[value 59]") && !answer.contains("Value("), "{answer}");
        assert_eq!(gateway.clients[client].lease, None);
    }
}

#[test]
fn a_handle_that_is_given_back_to_be_replaced_is_not_released_at_the_server() {
    let mut gateway = Gateway::to(Kind::SqlServer, 1);
    let client = gateway.client();
    gateway.send(client, &Calls::new().prepare_and_execute(None, "VALUE", 1).done());
    let first = handle(&gateway.receive(client));
    gateway.send(
        client,
        &Calls::new().prepare_and_execute(Some(first), "PRINT x", 1).done(),
    );
    let answer = gateway.receive(client);
    assert!(told(&answer).starts_with("[x]"), "{}", told(&answer));
    assert_ne!(handle(&answer), first);
}

#[test]
fn handles_may_be_released_in_text() {
    let mut gateway = Gateway::to(Kind::SqlServer, 1);
    let client = gateway.client();
    for _ in 0..2 {
        gateway.send(client, &Calls::new().prepare("VALUE").done());
        gateway.receive(client);
    }
    let before = gateway.connections[0].server.log.len();
    let answer = gateway.ask(client, &batch("EXEC sp_unprepare 1;EXEC sp_unprepare 2;"));
    assert_eq!(answer, "Status(0) Done(more) Status(0) Done()");
    assert_eq!(
        gateway.connections[0].server.log.len(),
        before,
        "the numbers are the gateway's"
    );
    let gone = gateway.ask(client, &Calls::new().execute(2, 1).done());
    assert!(gone.starts_with("Error(8179"), "{gone}");
}

#[test]
fn a_reset_takes_handles_along() {
    let mut gateway = Gateway::to(Kind::SqlServer, 1);
    let (one, two) = (gateway.client(), gateway.client());
    gateway.send(one, &Calls::new().prepare("VALUE").done());
    let number = handle(&gateway.receive(one));
    gateway.ask(two, &batch("EXEC p"));
    // The reset for the next client destroys it at the server, and the client does not notice.
    let execute = Calls::new().execute(number, 5);
    assert_eq!(
        gateway.ask(one, &execute.done()),
        "[value 5] Done(more) Status(0) Done()"
    );
    // Its own reset does, as with a server of its own.
    let own = Calls::new().execute(number, 5).done_with(Status::RESET_CONNECTION);
    let answer = gateway.ask(one, &own);
    assert!(answer.starts_with("Reset Error(8179"), "{answer}");
}

#[test]
fn a_statement_prepared_in_a_transaction_that_only_began() {
    for kind in BOTH {
        let mut gateway = Gateway::to(kind, 1);
        let client = gateway.client();
        gateway.send(client, &begin(0));
        let v = descriptor(&gateway.receive(client));
        gateway.send(client, &Calls::within(v).prepare_and_execute(None, "VALUE", 3).done());
        let answer = gateway.receive(client);
        assert!(told(&answer).starts_with("[value 3]"), "{}", told(&answer));
    }
}

#[test]
fn cursors_and_locks_tie_their_client() {
    let mut gateway = Gateway::to(Kind::SqlServer, 1);
    let client = gateway.client();
    gateway.ask(client, &Calls::new().named("sp_cursoropen", &["select 1"]).done());
    assert_eq!(gateway.clients[client].lease, Some(0));
    gateway.ask(client, &Calls::new().named("sp_cursorclose", &[]).done());
    assert_eq!(gateway.clients[client].lease, None);
    gateway.ask(
        client,
        &Calls::new()
            .named("sp_getapplock", &["r", "Exclusive", "Session"])
            .done(),
    );
    assert_eq!(gateway.clients[client].lease, Some(0));
    gateway.ask(
        client,
        &Calls::new().named("sp_releaseapplock", &["r", "Session"]).done(),
    );
    assert_eq!(gateway.clients[client].lease, None);
}

/// TDS 4.3a: servers of that kind send a status behind each fetched row without describing it.
#[test]
fn rows_that_a_cursor_fetched_may_have_a_status_that_is_not_described() {
    for kind in BOTH {
        let mut gateway = Gateway::to(kind, 1);
        let client = gateway.client();
        gateway.ask(client, &Calls::new().named("sp_cursoropen", &["select 1"]).done());
        for _ in 0..2 {
            gateway.send(client, &Calls::new().named("sp_cursorfetch", &[]).done());
            assert!(!gateway.receive(client).is_empty());
            assert_eq!(gateway.clients[client].lease, Some(0), "{kind:?}");
        }
        gateway.ask(client, &Calls::new().named("sp_cursorclose", &[]).done());
        assert_eq!(gateway.ask(client, &batch("PRINT a")), "[a] Done()");
    }
}

// === Attention (8) ===

#[test]
fn case_a_what_runs_is_interrupted() {
    for kind in BOTH {
        let mut gateway = Gateway::to(kind, 1);
        let client = gateway.client();
        assert_eq!(gateway.ask(client, &batch("WAITFOR")), "");
        assert_eq!(gateway.ask(client, &attention()), "Done(error) | Done(attention)");
        assert_eq!(gateway.clients[client].lease, None);
        // The next client's request is behind a reset.
        let other = gateway.client();
        assert_eq!(gateway.ask(other, &batch("PRINT a")), "[a] Done()");
        assert_eq!(gateway.connections[0].server.log.last().unwrap(), "reset PRINT a");
    }
}

#[test]
fn case_b_a_request_that_waits_for_a_connection_is_withdrawn() {
    let mut gateway = Gateway::to(Kind::SqlServer, 1);
    let (one, two) = (gateway.client(), gateway.client());
    gateway.ask(one, &batch("WAITFOR"));
    assert_eq!(gateway.ask(two, &batch("INSERT a")), "");
    assert_eq!(gateway.ask(two, &attention()), "Done(error) | Done(attention)");
    gateway.ask(one, &attention());
    assert_eq!(gateway.ask(two, &batch("PRINT b")), "[b] Done()");
    assert!(gateway.connections[0].server.rows.is_empty());
}

#[test]
fn case_c_nothing_runs() {
    let mut gateway = Gateway::to(Kind::SqlServer, 1);
    let client = gateway.client();
    assert_eq!(gateway.ask(client, &attention()), "Done(attention)");
    gateway.ask(client, &batch("CREATE TABLE #t"));
    assert_eq!(gateway.ask(client, &attention()), "Done(attention)");
    assert_eq!(gateway.connections[0].server.log, ["CREATE TABLE #t"]);
}

#[test]
fn case_e_an_attention_that_comes_too_late_is_waited_for() {
    let mut gateway = Gateway::to(Kind::SqlServer, 1);
    let client = gateway.client();
    let mut both = batch("PRINT a");
    gateway.post(client, &both);
    // Both are on their way before the server has answered.
    gateway.chunk = both.len();
    gateway.post(client, &attention());
    gateway.settle();
    both = gateway.receive(client);
    let words = told(&both);
    assert!(
        words == "[a] Done() | Done(attention)" || words == "Done(error) | Done(attention)",
        "{words}"
    );
    assert_eq!(gateway.clients[client].lease, None);
}

#[test]
fn every_attention_is_acknowledged() {
    let mut gateway = Gateway::to(Kind::SqlServer, 1);
    let client = gateway.client();
    gateway.ask(client, &batch("WAITFOR"));
    let mut two = attention();
    two.extend(attention());
    assert_eq!(
        gateway.ask(client, &two),
        "Done(error) | Done(attention) | Done(attention)"
    );
    assert_eq!(gateway.clients[client].lease, None);
}

#[test]
fn case_f_a_client_that_leaves_is_cleaned_up_after() {
    for kind in BOTH {
        let mut gateway = Gateway::to(kind, 1);
        let client = gateway.client();
        gateway.send(client, &begin(0));
        let v = descriptor(&gateway.receive(client));
        gateway.ask(client, &batch_in(v, "INSERT a"));
        gateway.ask(client, &batch_in(v, "WAITFOR"));
        assert!(gateway.leave(client));
        assert!(gateway.connections[0].server.rows.is_empty() && !gateway.connections[0].server.in_transaction());
        let other = gateway.client();
        assert_eq!(gateway.ask(other, &batch("SELECT show")), "[app READ COMMITTED] Done()");
    }
}

#[test]
fn case_g_a_message_that_is_broken_off() {
    let ignore = |bytes: &mut Vec<u8>, at: usize| {
        bytes.truncate(at + 512);
        bytes[at + 1] |= 0x03;
    };
    for server in [512, 4096] {
        let mut model = Model::new(Kind::SqlServer, 1);
        model.packet_size = server;
        let mut gateway = Gateway::new([model]);
        let client = gateway.client();
        let mut long = batch(&format!("INSERT {}", "x".repeat(2_000)));
        ignore(&mut long, 512);
        assert_eq!(gateway.ask(client, &long), "Done(error)", "packets of {server}");
        let mut short = batch("INSERT a");
        short[1] |= 0x02;
        assert_eq!(gateway.ask(client, &short), "Done(error)");
        assert_eq!(gateway.ask(client, &batch("PRINT b")), "[b] Done()");
        assert!(gateway.connections[0].server.rows.is_empty());
    }
}

#[test]
fn case_h_an_attention_in_the_middle_of_a_message_is_a_violation() {
    let mut gateway = Gateway::to(Kind::SqlServer, 1);
    let client = gateway.client();
    let long = batch(&format!("INSERT {}", "x".repeat(2_000)));
    let mut broken = long[..512].to_vec();
    broken.extend(attention());
    gateway.send(client, &broken);
    assert!(gateway.clients[client].finished);
}

#[test]
fn case_i_a_request_that_is_prepared_for_is_withdrawn() {
    let mut gateway = Gateway::to(Kind::SqlServer, 1);
    let client = gateway.client();
    gateway.send(client, &begin(0));
    let v = descriptor(&gateway.receive(client));
    let request = batch_in(v, "INSERT a");
    gateway.post(client, &request);
    gateway.post(client, &attention());
    gateway.settle();
    assert_eq!(told(&gateway.receive(client)), "Done(error) | Done(attention)");
    assert_eq!(gateway.ask(client, &commit(v)), "Commit(v) Done()");
    assert!(gateway.connections[0].server.rows.is_empty());
}

// === what the relay asks for ===

#[test]
fn a_request_that_took_too_long_is_told_why() {
    for kind in BOTH {
        let mut gateway = Gateway::to(kind, 1);
        let client = gateway.client();
        gateway.ask(client, &batch("WAITFOR"));
        gateway.interrupt(client, &Refusal::QueryTimeout(limit()));
        let words = told(&gateway.receive(client));
        assert!(
            words.starts_with("Error(3621") && words.ends_with("Done(error)") && !words.contains("attention"),
            "{words}"
        );
        assert_eq!(gateway.clients[client].lease, None);
        assert_eq!(gateway.ask(client, &batch("PRINT a")), "[a] Done()");
    }
}

#[test]
fn an_idle_transaction_is_rolled_back_and_its_client_is_told() {
    for kind in BOTH {
        for (request, expected) in [
            (0, "Rollback(v) Error(3998"),
            (1, "Rollback(v) Done()"),
            (2, "Rollback(v) Error(3998"),
        ] {
            let mut gateway = Gateway::to(kind, 1);
            let client = gateway.client();
            gateway.send(client, &begin(0));
            let v = descriptor(&gateway.receive(client));
            gateway.ask(client, &batch_in(v, "INSERT a"));
            gateway.abandon(client, &Refusal::IdleInTransaction(limit()));
            gateway.settle();
            assert_eq!(gateway.clients[client].lease, None, "{kind:?}");
            assert!(gateway.connections[0].server.rows.is_empty());
            let requests = [batch_in(v, "INSERT b"), rollback(v), commit(v)];
            let answer = gateway.ask(client, &requests[request]);
            assert!(answer.starts_with(expected), "{answer}");
            assert_eq!(
                gateway.ask(client, &batch("SELECT show")),
                "[app READ COMMITTED] Done()"
            );
        }
    }
}

#[test]
fn a_refused_client_may_go_on() {
    let mut gateway = Gateway::to(Kind::SqlServer, 1);
    let (one, two) = (gateway.client(), gateway.client());
    gateway.ask(one, &batch("WAITFOR"));
    let long = batch(&format!("PRINT {}", "x".repeat(2_000)));
    assert_eq!(gateway.ask(two, &long), "");
    assert_eq!(gateway.refuse(two, &Refusal::Cancelled), Onward::Continue);
    gateway.settle();
    assert!(told(&gateway.receive(two)).starts_with("Error(3621"));
    gateway.ask(one, &attention());
    assert_eq!(gateway.ask(two, &batch("PRINT a")), "[a] Done()");
    assert_eq!(gateway.refuse(two, &Refusal::ShuttingDown), Onward::Finish);
}

#[test]
fn a_lost_server_costs_no_more_than_what_was_with_it() {
    for kind in BOTH {
        // Nothing: the next one serves.
        let mut gateway = Gateway::to(kind, 2);
        let client = gateway.client();
        gateway.ask(client, &batch("WAITFOR"));
        gateway.lose(0);
        let words = told(&gateway.receive(client));
        assert!(words.starts_with("Error(") && words.ends_with("Done(error)"), "{words}");
        assert!(!gateway.clients[client].finished);
        // In a transaction, the client has to go.
        gateway.send(client, &begin(0));
        let v = descriptor(&gateway.receive(client));
        gateway.ask(client, &batch_in(v, "INSERT a"));
        gateway.lose(1);
        let words = told(&gateway.receive(client));
        assert!(words.starts_with("Error("), "{words}");
        assert!(gateway.clients[client].finished);
    }
}

#[test]
fn a_client_that_leaves_in_mid_message_costs_the_connection() {
    let mut gateway = Gateway::to(Kind::SqlServer, 1);
    let client = gateway.client();
    let long = batch(&format!("INSERT {}", "x".repeat(2_000)));
    gateway.send(client, &long[..600]);
    assert!(!gateway.leave(client));
}

#[test]
fn nothing_outstanding_is_idle_and_nothing_else() {
    let mut gateway = Gateway::to(Kind::SqlServer, 1);
    let client = gateway.client();
    gateway.ask(client, &batch("WAITFOR"));
    assert_eq!(gateway.connections[0].session.state(), SessionState::Busy);
    assert!(
        gateway.clients[client]
            .conversation
            .has_request_under_way(&gateway.connections[0].session)
    );
    gateway.ask(client, &attention());
    assert_eq!(gateway.connections[0].session.state(), SessionState::Idle);
}
