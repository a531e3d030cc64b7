//! Statements prepared with SQL, over the model: what goes to which server connection, and when (S1.10).

use weir_core::{
    backend::{PinReason, SessionState, TransactionDetection as _},
    settings::SessionStatePolicy,
};

use weir_postgres::{dialogue::Conversation, session::SourceState};

use crate::{
    gateway::{Gateway, init},
    messages::*,
    model::Model,
};

fn gateway(connections: usize) -> Gateway<Model> {
    Gateway::new((0..connections).map(|_| Model::default()))
}

/// The client takes a connection, and the others have to do with the rest.
fn hold(gateway: &mut Gateway<Model>, client: usize) {
    assert_eq!(gateway.ask(client, &query("BEGIN")), "C[BEGIN] ZT");
}

fn let_go(gateway: &mut Gateway<Model>, client: usize) {
    gateway.ask(client, &query("ROLLBACK"));
}

fn prepared(gateway: &Gateway<Model>, connection: usize) -> Vec<String> {
    let all = gateway.connections[connection].server.sql_statements();
    all.into_iter().map(|(_, text)| text).collect()
}

/// What ran on a connection since the last time.
fn ran(gateway: &mut Gateway<Model>, connection: usize) -> Vec<String> {
    std::mem::take(&mut gateway.connections[connection].server.ran)
}

#[test]
fn they_are_there_when_a_text_could_use_them_and_not_before() {
    let mut gateway = gateway(2);
    let (client, other) = (gateway.client(), gateway.client());
    assert_eq!(
        gateway.ask(client, &query("PREPARE p AS SELECT 'mine'")),
        "C[PREPARE] ZI"
    );
    assert_eq!(gateway.connections[0].session.state(), SessionState::Idle, "not pinned");
    hold(&mut gateway, other);
    assert_eq!(
        prepared(&gateway, 0),
        [""; 0],
        "gone before the next client's first request"
    );
    assert_eq!(gateway.ask(client, &query("SELECT 'x'")), "T D[x] C[SELECT 1] ZI");
    assert_eq!(prepared(&gateway, 1), [""; 0]);
    assert_eq!(gateway.ask(client, &query("EXECUTE p")), "T D[mine] C[SELECT 1] ZI");
    assert_eq!(prepared(&gateway, 1), ["PREPARE p AS SELECT 'mine'"]);
    ran(&mut gateway, 1);
    for _ in 0..3 {
        assert_eq!(gateway.ask(client, &query("EXECUTE p")), "T D[mine] C[SELECT 1] ZI");
    }
    assert_eq!(
        ran(&mut gateway, 1),
        ["EXECUTE p"; 3],
        "known, and nothing to ask about"
    );
    assert_eq!(
        gateway.ask(other, &query("EXECUTE p")),
        "E26000 ZE",
        "nobody else's, in a transaction"
    );
    let_go(&mut gateway, other);
    assert_eq!(gateway.ask(other, &query("EXECUTE p")), "E26000 ZI");
}

#[test]
fn the_same_name_with_different_texts() {
    let mut gateway = gateway(1);
    let clients: Vec<_> = (0..4).map(|_| gateway.client()).collect();
    for client in &clients {
        let prepare = format!("PREPARE p AS SELECT 'client {client}'");
        assert_eq!(gateway.ask(*client, &query(&prepare)), "C[PREPARE] ZI");
    }
    for _ in 0..3 {
        for client in &clients {
            let expected = format!("T D[client {client}] C[SELECT 1] ZI");
            assert_eq!(gateway.ask(*client, &query("EXECUTE p")), expected);
        }
    }
    assert_eq!(
        gateway.ask(clients[0], &query("PREPARE p AS SELECT 'again'")),
        "E42P05 ZI"
    );
}

#[test]
fn who_never_prepares_with_sql_pays_nothing() {
    let mut gateway = gateway(1);
    let client = gateway.client();
    gateway.ask(client, &[parse("a", "SELECT 'x'"), sync()].concat());
    gateway.ask(client, &query("DEALLOCATE a"));
    gateway.ask(client, &query("SELECT 'x'"));
    gateway.ask(client, &query("EXPLAIN SELECT 'x'"));
    assert_eq!(
        ran(&mut gateway, 0),
        ["DEALLOCATE \"weir_-passing\"", "SELECT 'x'", "EXPLAIN SELECT 'x'"]
    );
}

#[test]
fn inside_of_a_transaction_a_savepoint_takes_back_all_but_the_statement() {
    let mut gateway = gateway(2);
    let (client, other) = (gateway.client(), gateway.client());
    gateway.ask(client, &query("PREPARE p AS SELECT 'mine'"));
    hold(&mut gateway, other);
    hold(&mut gateway, client);
    assert_eq!(gateway.ask(client, &query("EXECUTE p")), "T D[mine] C[SELECT 1] ZT");
    let ran = ran(&mut gateway, 1);
    assert_eq!(ran[..2], ["BEGIN", "SAVEPOINT \"weir_-prepare\""]);
    assert_eq!(ran[3], "PREPARE p AS SELECT 'mine'");
    assert!(ran[4].starts_with("ROLLBACK TO SAVEPOINT") && ran[5] == "EXECUTE p");
    assert_eq!(gateway.ask(client, &query("FAIL")), "E42601 ZE");
    assert_eq!(gateway.ask(client, &query("EXECUTE p")), "E25P02 ZE");
    let_go(&mut gateway, client);
    assert_eq!(gateway.ask(client, &query("EXECUTE p")), "T D[mine] C[SELECT 1] ZI");
}

#[test]
fn one_that_cannot_be_prepared_any_more_fails_with_its_own_error_and_may_come_back() {
    for in_transaction in [false, true] {
        let mut gateway = gateway(2);
        let (client, other) = (gateway.client(), gateway.client());
        let text = "PREPARE p AS SELECT 'mine'";
        gateway.ask(client, &query(text));
        gateway.ask(client, &query("PREPARE q AS SELECT 'other'"));
        hold(&mut gateway, other);
        gateway.connections[1].server.gone = vec![text.to_owned()];
        let status = if in_transaction {
            hold(&mut gateway, client);
            "ZE"
        } else {
            "ZI"
        };
        assert_eq!(gateway.ask(client, &query("EXECUTE p")), format!("E42P01 {status}"));
        if in_transaction {
            let_go(&mut gateway, client);
        }
        let extended = [parse("", "EXECUTE p"), bind("", "", &[]), execute("", 0), sync()].concat();
        assert_eq!(gateway.ask(client, &extended), "1 2 E42P01 ZI");
        // Texts that only might use it do without, and leave the server's log alone.
        ran(&mut gateway, 1);
        assert_eq!(gateway.ask(client, &query("SELECT g()")), "E42601 ZI");
        assert_eq!(gateway.ask(client, &query("EXECUTE q")), "T D[other] C[SELECT 1] ZI");
        assert!(!ran(&mut gateway, 1).iter().any(|ran| ran == text));
        gateway.connections[1].server.gone.clear();
        assert_eq!(gateway.ask(client, &query("EXECUTE p")), "T D[mine] C[SELECT 1] ZI");
    }
}

#[test]
fn deallocate_needs_no_statement() {
    let mut gateway = gateway(2);
    let (client, other) = (gateway.client(), gateway.client());
    let text = "PREPARE p AS SELECT 'mine'";
    gateway.ask(client, &query(text));
    hold(&mut gateway, other);
    gateway.connections[1].server.gone = vec![text.to_owned()];
    assert_eq!(gateway.ask(client, &query("EXECUTE p")), "E42P01 ZI");
    assert_eq!(gateway.ask(client, &query("DEALLOCATE p")), "C[DEALLOCATE] ZI");
    assert_eq!(gateway.ask(client, &query("DEALLOCATE p")), "E26000 ZI");
    assert_eq!(gateway.ask(client, &query("EXECUTE p")), "E26000 ZI");
}

#[test]
fn what_is_forgotten_is_forgotten_everywhere() {
    for forget in ["DEALLOCATE ALL", "DISCARD ALL", "DEALLOCATE p"] {
        let mut gateway = gateway(2);
        let (client, other) = (gateway.client(), gateway.client());
        gateway.ask(client, &query("PREPARE p AS SELECT 'mine'"));
        gateway.ask(client, &[parse("a", "SELECT 'x'"), sync()].concat());
        hold(&mut gateway, other);
        gateway.ask(client, &query(forget));
        assert_eq!(gateway.ask(client, &query("EXECUTE p")), "E26000 ZI", "{forget}");
        let_go(&mut gateway, other);
        hold(&mut gateway, client);
        assert_eq!(gateway.ask(client, &query("EXECUTE p")), "E26000 ZE", "{forget}");
        let_go(&mut gateway, client);
        assert_eq!(
            gateway.ask(client, &query("PREPARE p AS SELECT 'new'")),
            "C[PREPARE] ZI"
        );
        hold(&mut gateway, other);
        assert_eq!(gateway.ask(client, &query("EXECUTE p")), "T D[new] C[SELECT 1] ZI");
    }
}

#[test]
fn a_text_of_several_statements_ties_its_client() {
    let mut gateway = gateway(1);
    let (client, other) = (gateway.client(), gateway.client());
    gateway.ask(client, &query("PREPARE p AS SELECT 'mine'; SELECT 'x'"));
    let pinned = SessionState::Pinned(PinReason::SqlPrepared);
    assert_eq!(gateway.connections[0].session.state(), pinned);
    assert_eq!(gateway.ask(client, &query("EXECUTE p")), "T D[mine] C[SELECT 1] ZI");
    assert_eq!(gateway.ask(client, &query("DEALLOCATE p")), "C[DEALLOCATE] ZI");
    assert_eq!(gateway.connections[0].session.state(), SessionState::Idle);
    gateway.ask(client, &query("PREPARE p AS SELECT 'mine'; SELECT 'x'"));
    gateway.leave(client);
    assert_eq!(gateway.ask(other, &query("EXECUTE p")), "E26000 ZI");
    assert_eq!(prepared(&gateway, 0), [""; 0]);
}

#[test]
fn a_lost_connection_takes_none_with_it() {
    let mut gateway = gateway(2);
    let client = gateway.client();
    gateway.ask(client, &query("PREPARE p AS SELECT 'mine'"));
    gateway.connections[0].server.shut_down();
    gateway.settle();
    assert_eq!(gateway.ask(client, &query("EXECUTE p")), "T D[mine] C[SELECT 1] ZI");
}

#[test]
fn who_leaves_takes_all_of_them_along() {
    let mut gateway = gateway(1);
    let (client, other) = (gateway.client(), gateway.client());
    gateway.ask(client, &query("PREPARE p AS SELECT 'mine'"));
    gateway.post(client, &query("PREPARE q AS SELECT 'late'"));
    gateway.leave(client);
    assert_eq!(gateway.ask(other, &query("SELECT 'x'")), "T D[x] C[SELECT 1] ZI");
    assert_eq!(prepared(&gateway, 0), [""; 0]);
}

#[test]
fn without_following_they_last_as_long_as_their_transaction() {
    let mut gateway = gateway(1);
    let client = gateway.client_with(|init| init.session_state = SessionStatePolicy::Reset);
    hold(&mut gateway, client);
    assert_eq!(
        gateway.ask(client, &query("PREPARE p AS SELECT 'mine'")),
        "C[PREPARE] ZT"
    );
    assert_eq!(gateway.ask(client, &query("EXECUTE p")), "T D[mine] C[SELECT 1] ZT");
    let_go(&mut gateway, client);
    assert_eq!(gateway.ask(client, &query("EXECUTE p")), "E26000 ZI");
}

#[test]
fn pipelines_in_every_size_of_pieces() {
    for chunk in [1, 3, 7, 50, usize::MAX] {
        let mut gateway = gateway(2);
        let (client, other) = (gateway.client(), gateway.client());
        gateway.ask(client, &query("PREPARE p AS SELECT 'mine'"));
        hold(&mut gateway, other);
        gateway.chunk = chunk;
        let run = [parse("", "EXECUTE p"), bind("", "", &[]), execute("", 0), sync()].concat();
        let all = [
            query("SELECT 'x'"),
            run.clone(),
            query("BEGIN"),
            run,
            query("DEALLOCATE p"),
            query("EXECUTE p"),
            query("ROLLBACK"),
            query("EXECUTE p"),
        ]
        .concat();
        let expected = "T D[x] C[SELECT 1] ZI 1 2 D[mine] C[SELECT 1] ZI C[BEGIN] ZT 1 2 D[mine] C[SELECT 1] ZT \
                        C[DEALLOCATE] ZT E26000 ZE C[ROLLBACK] ZI E26000 ZI";
        assert_eq!(gateway.ask(client, &all), expected, "pieces of {chunk}");
    }
}

#[test]
fn they_go_along_when_another_process_goes_on() {
    let mut gateway = gateway(2);
    let (client, other) = (gateway.client(), gateway.client());
    gateway.ask(client, &query("PREPARE p AS SELECT 'mine'"));
    gateway.ask(client, &query("PREPARE q AS SELECT 'other'"));
    assert!(gateway.hand_over(client));
    hold(&mut gateway, other);
    assert_eq!(gateway.ask(client, &query("EXECUTE p")), "T D[mine] C[SELECT 1] ZI");
    assert_eq!(gateway.ask(client, &query("DEALLOCATE q")), "C[DEALLOCATE] ZI");
    assert!(gateway.hand_over(client));
    assert_eq!(gateway.ask(client, &query("EXECUTE q")), "E26000 ZI");
    assert_eq!(gateway.ask(client, &query("EXECUTE p")), "T D[mine] C[SELECT 1] ZI");
}

#[test]
fn what_another_process_says_was_prepared_prepares_that_and_nothing_else() {
    let mut gateway = gateway(1);
    let client = gateway.client();
    gateway.ask(client, &query("PREPARE p AS SELECT 'mine'"));
    let packed = gateway.clients[client].conversation.packed().expect("it is at rest");
    assert_eq!(packed.sql_statements.len(), 1);
    let resume = |packed| Conversation::resume(init(&SourceState::new()), packed).map(drop);
    assert_eq!(resume(packed.clone()), Ok(()));
    for text in [
        "DROP TABLE t",
        "PREPARE p AS SELECT 1; DROP TABLE t",
        "PREPARE q AS SELECT 1",
        "",
    ] {
        let mut packed = packed.clone();
        packed.sql_statements[0].1 = text.to_owned();
        assert!(resume(packed).is_err(), "{text}");
    }
    let mut many = packed.clone();
    for number in 0..1_000 {
        many.sql_statements.push((
            format!("p{number}"),
            format!("PREPARE p{number} AS SELECT 1"),
            Vec::new(),
        ));
    }
    assert!(resume(many).is_err());
}
