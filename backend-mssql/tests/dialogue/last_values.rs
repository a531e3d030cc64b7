//! What the last statement came to is nobody else's, and one's own where that is asked for (TDS 6.6).

use weir_core::{
    backend::{PinReason, SessionState, TransactionDetection},
    settings::{PoolMode, SessionFunctions},
};
use weir_mssql::wire::rpc::WellKnown;

use crate::{
    gateway::Gateway,
    messages::{Calls, batch, batch_in, begin, commit, descriptor, handle},
    model::Kind,
};

const BOTH: [Kind; 2] = [Kind::SqlServer, Kind::Probe];
const PINNED: SessionState = SessionState::Pinned(PinReason::LastValues);

fn as_user(gateway: &mut Gateway, user: &str, policy: SessionFunctions) -> usize {
    let shared = gateway.shared.clone();
    gateway.client_with(|init| init.asker = shared.asker(user, policy))
}

#[test]
fn nobody_is_told_anothers() {
    for kind in BOTH {
        for question in ["SELECT @@IDENTITY", "SELECT @@ROWCOUNT"] {
            let mut gateway = Gateway::to(kind, 1);
            let (one, two) = (gateway.client(), gateway.client());
            gateway.ask(one, &batch("INSERT mine"));
            let answer = gateway.ask(two, &batch(question));
            assert!(["[null] Done()", "[zero] Done()"].contains(&&*answer), "{answer}");
            let log = &gateway.connections[0].server.log;
            assert!(log.contains(&format!("reset {question}")), "{log:?}");
            // And what the second has asked for since is no stranger to it.
            assert!(gateway.ask(two, &batch("INSERT its")).ends_with("Done()"));
            assert_eq!(gateway.ask(two, &batch("SELECT @@IDENTITY")), "[its] Done()");
        }
    }
}

#[test]
fn what_the_request_sets_itself_needs_no_reset() {
    let mut gateway = Gateway::to(Kind::SqlServer, 1);
    let (one, two) = (gateway.client(), gateway.client());
    gateway.ask(one, &batch("INSERT mine"));
    assert_eq!(
        gateway.ask(two, &batch("SELECT show ; SELECT @@ROWCOUNT")),
        "[app READ COMMITTED] Done(more) [SELECT] Done()"
    );
    gateway.ask(two, &batch("PRINT @@IDENTITY_OF_NOBODY"));
    let log = &gateway.connections[0].server.log;
    assert!(!log.iter().any(|request| request.starts_with("reset")), "{log:?}");
}

#[test]
fn ones_own_of_long_ago_is_not_taken_for_the_latest() {
    let mut gateway = Gateway::to(Kind::SqlServer, 2);
    gateway.in_turn = true;
    let client = as_user(&mut gateway, "ann", SessionFunctions::Forget);
    gateway.ask(client, &batch("INSERT one"));
    gateway.ask(client, &batch("INSERT two"));
    assert_eq!(gateway.ask(client, &batch("SELECT @@IDENTITY")), "[null] Done()");
}

#[test]
fn whose_user_is_known_to_ask_keeps_its_connection_until_it_has() {
    for kind in BOTH {
        let mut gateway = Gateway::to(kind, 2);
        gateway.in_turn = true;
        let client = gateway.client();
        gateway.ask(client, &batch("INSERT one"));
        // The first one of all is told what a new session is told.
        assert_eq!(gateway.ask(client, &batch("SELECT @@IDENTITY")), "[null] Done()");
        let another = gateway.client();
        for client in [client, another] {
            gateway.ask(client, &batch("INSERT two"));
            let lease = gateway.clients[client].lease.expect("it is kept");
            assert_eq!(gateway.connections[lease].session.state(), PINNED);
            gateway.ask(client, &batch("SELECT show"));
            assert_eq!(gateway.clients[client].lease, Some(lease));
            assert_eq!(gateway.ask(client, &batch("SELECT @@IDENTITY")), "[two] Done()");
            assert_eq!(gateway.clients[client].lease, None);
        }
        // Reading ties nobody, nor does the user who never asks.
        gateway.ask(client, &batch("SELECT show"));
        assert_eq!(gateway.clients[client].lease, None);
        let stranger = as_user(&mut gateway, "bob", SessionFunctions::Learn);
        gateway.ask(stranger, &batch("INSERT three"));
        assert_eq!(gateway.clients[stranger].lease, None);
    }
}

#[test]
fn who_asks_in_the_transaction_that_wrote_is_never_kept() {
    let mut gateway = Gateway::to(Kind::SqlServer, 2);
    gateway.in_turn = true;
    let client = gateway.client();
    for _ in 0..2 {
        gateway.send(client, &begin(0));
        let v = descriptor(&gateway.receive(client));
        gateway.ask(client, &batch_in(v, "INSERT one"));
        assert_eq!(gateway.ask(client, &batch_in(v, "SELECT @@IDENTITY")), "[one] Done()");
        gateway.ask(client, &commit(v));
        assert_eq!(gateway.clients[client].lease, None);
    }
    gateway.ask(client, &batch("INSERT two"));
    assert_eq!(gateway.clients[client].lease, None);
}

#[test]
fn policies() {
    for (policy, kept) in [(SessionFunctions::Pin, true), (SessionFunctions::Forget, false)] {
        let mut gateway = Gateway::to(Kind::SqlServer, 2);
        gateway.in_turn = true;
        let client = as_user(&mut gateway, "ann", policy);
        gateway.ask(client, &batch("INSERT one"));
        assert_eq!(gateway.clients[client].lease.is_some(), kept, "{policy:?}");
        let expected = if kept { "[one] Done()" } else { "[null] Done()" };
        assert_eq!(gateway.ask(client, &batch("SELECT @@IDENTITY")), expected, "{policy:?}");
        // It comes back to where it wrote, or has never left.
        assert_eq!(
            gateway.ask(client, &batch("SELECT @@IDENTITY")),
            "[one] Done()",
            "{policy:?}"
        );
        assert_eq!(gateway.clients[client].lease.is_some(), kept, "{policy:?}");
    }
}

#[test]
fn inside_of_a_transaction_it_is_forgotten_without_a_reset() {
    for kind in BOTH {
        let mut gateway = Gateway::to(kind, 1);
        let (one, two) = (gateway.client(), gateway.client());
        gateway.ask(one, &batch("INSERT mine"));
        gateway.send(two, &begin(0));
        let v = descriptor(&gateway.receive(two));
        gateway.ask(two, &batch_in(v, "PRINT x"));
        assert_eq!(gateway.ask(two, &batch_in(v, "SELECT @@IDENTITY")), "[null] Done()");
        assert!(gateway.connections[0].server.in_transaction());
        gateway.ask(two, &batch_in(v, "INSERT its"));
        assert_eq!(gateway.ask(two, &batch_in(v, "SELECT @@IDENTITY")), "[its] Done()");
    }
}

#[test]
fn calls_ask_as_well() {
    for kind in BOTH {
        let mut gateway = Gateway::to(kind, 1);
        let (one, two) = (gateway.client(), gateway.client());
        gateway.send(two, &Calls::new().prepare("SELECT @@IDENTITY").done());
        let prepared = handle(&gateway.receive(two));
        for question in [
            Calls::new().sql("SELECT @@IDENTITY").done(),
            Calls::new().prepare_and_execute(None, "SELECT @@IDENTITY", 1).done(),
            Calls::new().execute(prepared, 1).done(),
        ] {
            gateway.ask(one, &batch("INSERT mine"));
            gateway.connections[0].server.log.clear();
            gateway.ask(two, &question);
            let log = &gateway.connections[0].server.log;
            assert!(log[0].starts_with("reset"), "{log:?}");
        }
        gateway.ask(one, &batch("INSERT mine"));
        gateway.connections[0].server.log.clear();
        gateway.ask(two, &Calls::new().sql("PRINT x").done());
        let log = &gateway.connections[0].server.log;
        assert!(!log[0].starts_with("reset"), "{log:?}");
    }
}

/// What a cursor is opened on runs as well, and so may what a call does not tell.
#[test]
fn cursors_ask_as_well() {
    let question = "SELECT @@IDENTITY";
    for kind in BOTH {
        for (request, resets) in [
            (Calls::new().cursor(WellKnown::CursorOpen, 1, &[question]), true),
            (Calls::new().cursor(WellKnown::CursorPrepare, 1, &["", question]), true),
            (Calls::new().cursor(WellKnown::CursorPrepExec, 2, &["", question]), true),
            (Calls::new().cursor(WellKnown::CursorExecute, 2, &[]), true),
            (Calls::new().cursor(WellKnown::PrepExecRpc, 1, &["p"]), true),
            (Calls::new().numbered(200), true),
            (Calls::new().named("sp_cursoropen", &["", question]), true),
            (
                Calls::new()
                    .sql("PRINT x")
                    .then()
                    .cursor(WellKnown::CursorOpen, 1, &[question]),
                true,
            ),
            (Calls::new().cursor(WellKnown::CursorOpen, 1, &["SELECT show"]), false),
            (
                Calls::new().cursor(WellKnown::CursorPrepare, 1, &["", "SELECT show"]),
                false,
            ),
            (
                Calls::new().cursor(WellKnown::CursorPrepExec, 2, &["", "SELECT show"]),
                false,
            ),
            (Calls::new().cursor(WellKnown::CursorFetch, 1, &[]), false),
        ] {
            let mut gateway = Gateway::to(kind, 1);
            let (one, two) = (gateway.client(), gateway.client());
            gateway.ask(one, &batch("INSERT mine"));
            gateway.connections[0].server.log.clear();
            let request = request.done();
            gateway.ask(two, &request);
            let log = &gateway.connections[0].server.log;
            assert_eq!(log[0].starts_with("reset"), resets, "{log:?} {request:?}");
        }
    }
}

/// Only so many handles of a packet are looked at one by one.
#[test]
fn the_last_of_many_handles_asks_as_well() {
    for kind in BOTH {
        let mut gateway = Gateway::to(kind, 1);
        let (one, two) = (gateway.client(), gateway.client());
        let handles: Vec<i32> = (0..17)
            .map(|index| {
                let text = if index == 16 { "SELECT @@IDENTITY" } else { "PRINT x" };
                gateway.send(two, &Calls::new().prepare(text).done());
                handle(&gateway.receive(two))
            })
            .collect();
        gateway.ask(one, &batch("INSERT mine"));
        let mut calls = Calls::new().execute(handles[0], 1);
        for handle in &handles[1..] {
            calls = calls.then().execute(*handle, 1);
        }
        let answer = gateway.ask(two, &calls.done());
        assert!(answer.contains("[null]") && !answer.contains("[mine]"), "{answer}");
    }
}

/// An INSERT that fails does not end its batch, and leaves the identity of the one before.
#[test]
fn an_insert_that_fails_does_not_tell_anothers() {
    for kind in BOTH {
        let mut gateway = Gateway::to(kind, 1);
        let (one, two) = (gateway.client(), gateway.client());
        let insert = batch("INSERT duplicate VALUES (1) ; SELECT @@IDENTITY");
        gateway.ask(one, &batch("INSERT mine"));
        let answer = gateway.ask(two, &insert);
        assert!(
            answer.contains("Error(2627") && answer.ends_with("[null] Done()"),
            "{answer}"
        );
        // What stands there is its own from now on.
        gateway.connections[0].server.log.clear();
        gateway.ask(two, &batch("INSERT its ; SELECT @@IDENTITY"));
        let log = &gateway.connections[0].server.log;
        assert!(!log.iter().any(|request| request.starts_with("reset")), "{log:?}");
    }
}

/// `EXEC p`, or an INSERT that failed: what stands there afterwards may be somebody else's still.
#[test]
fn what_may_have_inserted_does_not_tell_anothers() {
    for kind in BOTH {
        for perhaps in [
            batch("EXEC p"),
            batch("INSERT duplicate VALUES (1)"),
            batch("UPDATE its"),
            Calls::new().named("p", &[]).done(),
            Calls::new().sql("EXEC p").done(),
            Calls::new().prepare_and_execute(None, "EXEC p", 1).done(),
        ] {
            let mut gateway = Gateway::to(kind, 1);
            let (one, two) = (gateway.client(), gateway.client());
            gateway.ask(one, &batch("INSERT mine"));
            gateway.ask(two, &perhaps);
            assert_eq!(gateway.ask(two, &batch("SELECT @@IDENTITY")), "[null] Done()");
        }
    }
}

#[test]
fn nobody_comes_back_to_what_another_may_have_left_there() {
    for kind in BOTH {
        for perhaps in [
            batch("EXEC inserts its"),
            batch("UPDATE its"),
            Calls::new().named("inserts", &[]).done(),
            Calls::new().sql("EXEC inserts its").done(),
        ] {
            let mut gateway = Gateway::to(kind, 1);
            let one = as_user(&mut gateway, "ann", SessionFunctions::Forget);
            let two = as_user(&mut gateway, "bob", SessionFunctions::Forget);
            gateway.ask(one, &batch("INSERT mine"));
            gateway.ask(two, &perhaps);
            assert_eq!(gateway.ask(one, &batch("SELECT @@IDENTITY")), "[null] Done()");
        }
    }
}

/// Whoever is known to ask finds nobody else's where it may insert: so what it is told is its own, or nothing.
#[test]
fn who_asks_is_told_its_own_of_what_may_have_inserted() {
    for kind in BOTH {
        for (perhaps, told) in [
            (batch("EXEC inserts its"), "[its] Done()"),
            (Calls::new().named("inserts", &[]).done(), "[its] Done()"),
            (Calls::new().sql("EXEC inserts its").done(), "[its] Done()"),
            (batch("EXEC p"), "[null] Done()"),
            (Calls::new().named("p", &[]).done(), "[null] Done()"),
            (batch("INSERT duplicate VALUES (1)"), "[null] Done()"),
            (batch("INSERT its"), "[its] Done()"),
        ] {
            let mut gateway = Gateway::to(kind, 1);
            let one = gateway.client();
            let two = as_user(&mut gateway, "bob", SessionFunctions::Pin);
            gateway.ask(one, &batch("INSERT mine"));
            gateway.connections[0].server.log.clear();
            gateway.ask(two, &perhaps);
            let log = &gateway.connections[0].server.log;
            assert!(log[0].starts_with("reset"), "{log:?}");
            assert_eq!(gateway.ask(two, &batch("SELECT @@IDENTITY")), told);
            // What was reset once is its own from now on.
            gateway.connections[0].server.log.clear();
            gateway.ask(two, &perhaps);
            let log = &gateway.connections[0].server.log;
            assert!(!log[0].starts_with("reset"), "{log:?}");
        }
    }
}

#[test]
fn who_asks_is_learned_and_told_its_own_from_then_on() {
    for kind in BOTH {
        let mut gateway = Gateway::to(kind, 1);
        let (one, two) = (
            as_user(&mut gateway, "ann", SessionFunctions::Learn),
            as_user(&mut gateway, "bob", SessionFunctions::Learn),
        );
        gateway.ask(one, &batch("INSERT mine"));
        gateway.ask(two, &batch("EXEC inserts its"));
        assert_eq!(gateway.ask(two, &batch("SELECT @@IDENTITY")), "[null] Done()");
        for _ in 0..3 {
            gateway.ask(one, &batch("INSERT mine"));
            gateway.ask(two, &batch("EXEC inserts its"));
            assert_eq!(gateway.ask(two, &batch("SELECT @@IDENTITY")), "[its] Done()");
        }
        // Nobody else pays for it.
        gateway.ask(one, &batch("PRINT x"));
        gateway.ask(two, &batch("INSERT its"));
        gateway.ask(two, &batch("SELECT @@IDENTITY"));
        gateway.connections[0].server.log.clear();
        gateway.ask(one, &batch("EXEC inserts mine"));
        let log = &gateway.connections[0].server.log;
        assert!(!log[0].starts_with("reset"), "{log:?}");
    }
}

/// A batch that has inserted rows says so: nothing of anybody else's is left, and no reset is due.
#[test]
fn an_insert_that_is_proven_is_ones_own() {
    for kind in BOTH {
        let mut gateway = Gateway::to(kind, 1);
        let (one, two) = (gateway.client(), gateway.client());
        gateway.ask(one, &batch("INSERT mine"));
        gateway.ask(two, &batch("INSERT its"));
        assert_eq!(gateway.ask(two, &batch("SELECT @@IDENTITY")), "[its] Done()");
        let log = &gateway.connections[0].server.log;
        assert!(!log.iter().any(|request| request.starts_with("reset")), "{log:?}");
    }
}

#[test]
fn in_the_middle_of_a_transaction_what_may_insert_finds_nobody_elses() {
    for kind in BOTH {
        for (perhaps, told) in [("EXEC inserts its", "[its] Done()"), ("EXEC p", "[null] Done()")] {
            let mut gateway = Gateway::to(kind, 1);
            let one = gateway.client();
            let two = as_user(&mut gateway, "bob", SessionFunctions::Pin);
            gateway.ask(one, &batch("INSERT mine"));
            gateway.send(two, &begin(0));
            let v = descriptor(&gateway.receive(two));
            gateway.ask(two, &batch_in(v, "SELECT show"));
            gateway.ask(two, &batch_in(v, perhaps));
            assert_eq!(gateway.ask(two, &batch_in(v, "SELECT @@IDENTITY")), told);
            assert!(gateway.connections[0].server.in_transaction());
        }
    }
}

/// Where an INSERT begins a transaction, the gateway's own must not.
#[test]
fn forgetting_begins_no_transaction() {
    for kind in BOTH {
        for implicit in ["SET IMPLICIT_TRANSACTIONS ON", "IF 1 = 1 SET IMPLICIT_TRANSACTIONS ON"] {
            let mut gateway = Gateway::to(kind, 1);
            let (one, two) = (gateway.client(), gateway.client());
            gateway.ask(one, &batch("INSERT mine"));
            // It keeps its connection, on which its first request has left what stood there.
            gateway.ask(two, &batch("CREATE TABLE #t"));
            gateway.ask(two, &batch(implicit));
            assert_eq!(gateway.ask(two, &batch("SELECT @@IDENTITY")), "[null] Done()");
            assert!(!gateway.connections[0].server.in_transaction());
            let shown = gateway.ask(two, &batch("SELECT show"));
            assert!(shown.contains("IMPLICIT_TRANSACTIONS=ON"), "{shown}");
        }
    }
}

#[test]
fn where_a_server_does_not_forget_nothing_is_asked() {
    for kind in BOTH {
        let mut gateway = Gateway::to(kind, 1);
        let (one, two) = (gateway.client(), gateway.client());
        gateway.ask(one, &batch("INSERT mine"));
        gateway.send(two, &begin(0));
        let v = descriptor(&gateway.receive(two));
        gateway.ask(two, &batch_in(v, "SELECT show"));
        gateway.connections[0].server.forgets_nothing = true;
        let answer = gateway.ask(two, &batch_in(v, "SELECT @@IDENTITY"));
        assert_eq!(answer, "Error(3930 the transaction cannot be committed) Done(error)");
        assert_eq!(
            gateway.ask(two, &batch_in(v, "SELECT show")),
            "[app READ COMMITTED transaction 1] Done()"
        );
        // Nor is it taken for forgotten.
        gateway.connections[0].server.forgets_nothing = false;
        assert_eq!(gateway.ask(two, &batch_in(v, "SELECT @@IDENTITY")), "[null] Done()");
    }
}

/// What sets nothing leaves what somebody else's statement came to.
#[test]
fn a_declaration_does_not_make_the_outcome_ones_own() {
    for kind in BOTH {
        let mut gateway = Gateway::to(kind, 1);
        let (one, two) = (gateway.client(), gateway.client());
        gateway.ask(one, &batch("INSERT mine"));
        gateway.ask(two, &batch("DECLARE @x int"));
        assert_eq!(gateway.ask(two, &batch("SELECT @@ROWCOUNT")), "[zero] Done()");
        // In a transaction no reset can be sent.
        gateway.ask(one, &batch("INSERT mine"));
        gateway.send(two, &begin(0));
        let v = descriptor(&gateway.receive(two));
        gateway.ask(two, &batch_in(v, "DECLARE @x int"));
        let answer = gateway.ask(two, &batch_in(v, "SELECT @@ROWCOUNT"));
        assert!(!answer.contains("[INSERT]"), "{answer}");
    }
}

/// Only the first packet of a request is read at once; what comes behind it asks as well.
#[test]
fn the_last_call_of_a_long_request_asks_as_well() {
    let long = "x".repeat(2_000);
    for chunk in [100, 513, usize::MAX] {
        for (question, resets) in [
            (
                Calls::new()
                    .sql("PRINT x")
                    .text_argument(&long)
                    .then()
                    .sql("SELECT @@IDENTITY"),
                true,
            ),
            (
                Calls::new().sql("PRINT x").text_argument(&long).then().sql("PRINT y"),
                false,
            ),
            (
                Calls::new().sql("PRINT x").text_argument(&long).then().named("p", &[]),
                false,
            ),
            (Calls::new().named("p", &[&long]).then().sql("SELECT @@IDENTITY"), true),
            (
                Calls::new()
                    .sql("PRINT x")
                    .text_argument(&long)
                    .then()
                    .sql("SELECT @@ROWCOUNT"),
                false,
            ),
            (
                Calls::new()
                    .sql("PRINT x")
                    .text_argument(&long)
                    .then()
                    .sql("PRINT y")
                    .text_argument(&long)
                    .then()
                    .prepare_and_execute(None, "SELECT @@IDENTITY", 1),
                true,
            ),
        ] {
            let question = question.done();
            let mut gateway = Gateway::to(Kind::SqlServer, 1);
            gateway.chunk = chunk;
            let (one, two) = (gateway.client(), gateway.client());
            gateway.ask(one, &batch("INSERT mine"));
            gateway.connections[0].server.log.clear();
            let answer = gateway.ask(two, &question);
            assert!(!answer.contains("[mine]"), "{answer}");
            let log = &gateway.connections[0].server.log;
            assert_eq!(log[0].starts_with("reset"), resets, "{log:?}");
        }
    }
}

/// What is longer than is looked at may ask.
#[test]
fn what_is_not_looked_at_asks() {
    let long = "x".repeat(600_000);
    let mut gateway = Gateway::to(Kind::SqlServer, 1);
    let (one, two) = (gateway.client(), gateway.client());
    gateway.ask(one, &batch("INSERT mine"));
    gateway.connections[0].server.log.clear();
    let call = Calls::new()
        .sql("PRINT x")
        .text_argument(&long)
        .then()
        .sql("SELECT @@IDENTITY");
    let answer = gateway.ask(two, &call.done());
    assert!(answer.contains("[null]"), "{answer}");
    assert!(gateway.connections[0].server.log[0].starts_with("reset"));
    // Where nobody else's stands, nothing has to be looked at.
    gateway.connections[0].server.log.clear();
    gateway.ask(two, &Calls::new().sql("PRINT x").text_argument(&long).done());
    let log = &gateway.connections[0].server.log;
    assert!(!log[0].starts_with("reset"), "{log:?}");
}

#[test]
fn long_requests_are_seen_to_their_end() {
    for chunk in [100, 513, usize::MAX] {
        let mut gateway = Gateway::to(Kind::SqlServer, 1);
        gateway.chunk = chunk;
        let (one, two) = (gateway.client(), gateway.client());
        let long = "x".repeat(2_000);
        for (question, resets) in [
            (batch(&format!("DECLARE @{long}; SELECT @@IDENTITY")), true),
            (batch(&format!("PRINT {long}; SELECT @@ROWCOUNT")), false),
            (batch(&format!("PRINT {long}")), false),
            (Calls::new().sql(&format!("DECLARE {long} @@IDENTITY")).done(), true),
            (Calls::new().sql(&format!("PRINT {long}")).done(), false),
        ] {
            gateway.ask(one, &batch("INSERT mine"));
            gateway.connections[0].server.log.clear();
            let answer = gateway.ask(two, &question);
            assert!(!answer.contains("[mine]"), "{answer}");
            let log = &gateway.connections[0].server.log;
            assert_eq!(log[0].starts_with("reset"), resets, "{log:?}");
        }
    }
}

/// A server that has to be asked whether a transaction is open is asked later, once somebody is known to ask.
#[test]
fn what_the_gateway_asks_is_not_what_the_client_is_told() {
    let mut gateway = Gateway::to(Kind::Probe, 2);
    gateway.in_turn = true;
    let client = gateway.client();
    gateway.ask(client, &batch("EXEC p"));
    // Not known yet.
    gateway.ask(client, &batch("SELECT @@ROWCOUNT"));
    gateway.ask(client, &batch("EXEC p"));
    let lease = gateway.clients[client].lease.expect("it is kept");
    assert_eq!(gateway.connections[lease].session.state(), PINNED);
    assert_eq!(gateway.ask(client, &batch("SELECT @@ROWCOUNT")), "[EXEC] Done()");
    assert_eq!(gateway.clients[client].lease, None);
    // Whoever does something else is asked about first.
    gateway.ask(client, &batch("EXEC p ; BEGIN TRAN"));
    assert_eq!(gateway.ask(client, &batch("INSERT one")), "Done()");
    let lease = gateway.clients[client].lease.expect("in a transaction");
    assert_eq!(
        gateway.connections[lease].session.state(),
        SessionState::InTransaction { failed: false }
    );
    // Or leaves.
    gateway.ask(client, &batch("ROLLBACK"));
    gateway.ask(client, &batch("EXEC p ; BEGIN TRAN"));
    gateway.leave(client);
    gateway.settle();
    for connection in &gateway.connections {
        assert_eq!(connection.session.state(), SessionState::Idle);
        assert!(!connection.server.in_transaction());
    }
}

#[test]
fn whoever_does_not_ask_in_time_is_asked_about() {
    for (left_open, state) in [
        (true, SessionState::InTransaction { failed: false }),
        (false, SessionState::Idle),
    ] {
        let mut gateway = Gateway::to(Kind::Probe, 1);
        let client = as_user(&mut gateway, "ann", SessionFunctions::Learn);
        // So it is known to ask for this, and for no identity.
        gateway.ask(client, &batch("EXEC p"));
        gateway.ask(client, &batch("SELECT @@ROWCOUNT"));
        let text = if left_open { "EXEC p ; BEGIN TRAN" } else { "EXEC p" };
        gateway.ask(client, &batch(text));
        assert_eq!(gateway.connections[0].session.state(), PINNED);
        assert!(gateway.connections[0].session.may_be_in_transaction());
        gateway.ask_for_transaction(client);
        assert!(!gateway.connections[0].session.may_be_in_transaction());
        assert_eq!(gateway.connections[0].session.state(), state);
        // Which is the server's own word on it.
        assert_eq!(gateway.connections[0].server.in_transaction(), left_open);
    }
}

#[test]
fn in_session_mode_nobody_is_kept_for_it_and_nobody_told() {
    let mut gateway = Gateway::to(Kind::SqlServer, 1);
    let one = gateway.client_with(|init| init.pool_mode = PoolMode::Session);
    gateway.ask(one, &batch("INSERT mine"));
    assert_eq!(gateway.ask(one, &batch("SELECT @@IDENTITY")), "[mine] Done()");
    gateway.leave(one);
    gateway.settle();
    let two = gateway.client_with(|init| init.pool_mode = PoolMode::Session);
    assert_eq!(gateway.ask(two, &batch("SELECT @@IDENTITY")), "[null] Done()");
}
