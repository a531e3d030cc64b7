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
