//! Statements prepared with SQL (`PREPARE`, `EXECUTE`, `DEALLOCATE`) follow their client from one server connection to the
//! next, and are nobody else's (I10).
//!
//! Pools of two, and a neighbour that takes one of them in turn, so that a client never has the same connection twice in
//! a row unless something ties it there.

use serde_json::json;
use weir_tests::{
    cluster::CHIEF,
    site::{Plan, Site},
    wire,
};

use crate::session_state::{Place, settle, told};

/// What somebody can see of statements prepared with SQL.
const LEFT: &str = "select count(*) from pg_prepared_statements where from_sql";

#[tokio::test]
async fn ten_clients_over_two_connections_have_statements_of_their_own() {
    let pool = json!({ "pool_timeout": 30 });
    let site = Site::start(Plan {
        connections: 2,
        pool,
        ..Plan::default()
    })
    .await;
    let mut clients = Vec::new();
    for number in 0..10 {
        let mut client = site.raw().await;
        let prepare = format!("prepare p (int) as select 'client {number} says ' || $1, pg_sleep(0.001)");
        let answer = client.simple(&prepare).await.unwrap();
        assert_eq!(told(&answer), [""; 0]);
        clients.push(client);
    }
    for round in 0..20 {
        for client in &mut clients {
            client.send(&wire::query(&format!("execute p({round})"))).await.unwrap();
        }
        for (number, client) in clients.iter_mut().enumerate() {
            let answer = client.until(b'Z').await.unwrap();
            let found = wire::first_columns(&answer);
            assert_eq!(found, [format!("client {number} says {round}")]);
        }
    }
    for client in &mut clients {
        client.simple("deallocate p").await.unwrap();
        assert_eq!(told(&client.simple("execute p(1)").await.unwrap()), ["error 26000"]);
    }
}

#[tokio::test]
async fn they_follow_and_nobody_else_sees_them() {
    let mut place = Place::start().await;
    assert_eq!(place.ask("prepare p (int) as select $1 + 1").await, [""; 0]);
    place.expect("execute p(1)", "2").await;
    place.others_see(LEFT, "0").await;
    place.others_see("execute p(1)", "error 26000").await;
    place.expect("execute p(2)", "3").await;
    assert_eq!(
        place.ask("prepare \"Odd \"\"näme\" as select 'bücher 東京'").await,
        [""; 0]
    );
    place.expect("execute \"Odd \"\"näme\"", "bücher 東京").await;
    place
        .expect(
            "select string_agg(name || ': ' || statement, ' ' order by name) from pg_prepared_statements where from_sql",
            "Odd \"näme: prepare \"Odd \"\"näme\" as select 'bücher 東京' p: prepare p (int) as select $1 + 1",
        )
        .await;
    place.others_see(LEFT, "0").await;
    place
        .expect(
            "do $$ begin execute 'prepare q as select 5'; end $$; execute q; deallocate q",
            "5",
        )
        .await;
    assert_eq!(
        place.ask("do $$ begin execute 'prepare q as select 5'; end $$").await,
        [""; 0]
    );
    place.expect("execute q", "5").await;
    assert_eq!(place.ask("prepare p as select 7").await, ["error 42P05"]);
    assert_eq!(place.ask("deallocate p").await, [""; 0]);
    assert_eq!(place.ask("execute p(1)").await, ["error 26000"]);
    assert_eq!(place.ask("deallocate p").await, ["error 26000"]);
    assert_eq!(place.ask("prepare p as select 7").await, [""; 0]);
    place.expect("execute p", "7").await;
    for forget in ["deallocate all", "discard all"] {
        assert_eq!(place.ask(forget).await, [""; 0]);
        place.expect(LEFT, "0").await;
        assert_eq!(place.ask("execute q").await, ["error 26000"]);
        assert_eq!(place.ask("prepare q as select 8").await, [""; 0]);
        assert_eq!(place.ask("discard plans").await, [""; 0]);
        place.expect("execute q", "8").await;
    }
    place.others_see(LEFT, "0").await;
}

#[tokio::test]
async fn in_transactions_of_every_kind() {
    let mut place = Place::start().await;
    assert_eq!(place.ask("prepare p as select 1").await, [""; 0]);
    for number in 0..4 {
        place.turn().await;
        for (sql, expected) in [
            ("begin", None),
            ("set local datestyle = 'german'", None),
            ("execute p", Some("1")),
            ("show datestyle", Some("German, DMY")),
            ("savepoint a", None),
            ("select 1/0", Some("error 22012")),
            ("execute p", Some("error 25P02")),
            ("rollback to a", None),
            ("execute p", Some("1")),
            ("commit", None),
        ] {
            let answer = told(&place.client.simple(sql).await.unwrap());
            assert_eq!(answer.first().map(String::as_str), expected, "{sql}, turn {number}");
        }
        place.neighbour.simple("commit").await.unwrap();
        settle().await;
    }
    // PREPARE is not transactional.
    place.ask("begin").await;
    assert_eq!(
        told(&place.client.simple("prepare late as select 2").await.unwrap()),
        [""; 0]
    );
    assert_eq!(told(&place.client.simple("deallocate p").await.unwrap()), [""; 0]);
    place.client.simple("rollback").await.unwrap();
    place.expect("execute late", "2").await;
    assert_eq!(place.ask("execute p").await, ["error 26000"]);
    for isolation in ["repeatable read", "serializable, read only"] {
        place.turn().await;
        place.client.simple("begin").await.unwrap();
        let set = format!("set transaction isolation level {isolation}");
        assert_eq!(told(&place.client.simple(&set).await.unwrap()), [""; 0]);
        assert_eq!(told(&place.client.simple("execute late").await.unwrap()), ["2"]);
        place.client.simple("commit").await.unwrap();
        place.neighbour.simple("commit").await.unwrap();
    }
}

#[tokio::test]
async fn with_the_extended_protocol() {
    let mut place = Place::start().await;
    let extended = |texts: &[&str]| {
        let mut bytes = Vec::new();
        for text in texts {
            bytes.extend(wire::parse("", text, &[]));
            bytes.extend(wire::bind("", "", &[]));
            bytes.extend(wire::execute("", 0));
        }
        bytes.extend(wire::sync());
        bytes
    };
    place.turn().await;
    place
        .client
        .ask(&extended(&["prepare p (int) as select $1 * 2"]))
        .await
        .unwrap();
    place.neighbour.simple("commit").await.unwrap();
    for texts in [
        &["execute p(21)"][..],
        &["select 42", "execute p(21)"],
        &["execute p(21)"],
    ] {
        place.turn().await;
        let answer = place.client.ask(&extended(texts)).await.unwrap();
        assert!(
            told(&answer).iter().all(|row| row == "42") && !told(&answer).is_empty(),
            "{answer:?}"
        );
        place.neighbour.simple("commit").await.unwrap();
    }
    place.turn().await;
    let prepared = [wire::parse("s", "execute p(4)", &[]), wire::sync()].concat();
    place.client.ask(&prepared).await.unwrap();
    place.neighbour.simple("commit").await.unwrap();
    for _ in 0..3 {
        place.turn().await;
        let run = [wire::bind("", "s", &[]), wire::execute("", 0), wire::sync()].concat();
        assert_eq!(told(&place.client.ask(&run).await.unwrap()), ["8"]);
        place.neighbour.simple("commit").await.unwrap();
    }
    place.turn().await;
    place.client.ask(&extended(&["deallocate p"])).await.unwrap();
    place.neighbour.simple("commit").await.unwrap();
    assert_eq!(place.ask("execute p(1)").await, ["error 26000"]);
}

#[tokio::test]
async fn the_protocol_knows_them_by_name() {
    let mut place = Place::start().await;
    place.ask("prepare p as select 'by name'").await;
    let run = [wire::bind("", "p", &[]), wire::execute("", 0), wire::sync()].concat();
    for _ in 0..3 {
        place.turn().await;
        assert_eq!(told(&place.client.ask(&run).await.unwrap()), ["by name"]);
        place.neighbour.simple("commit").await.unwrap();
    }
    let again = [wire::parse("p", "select 1", &[]), wire::sync()].concat();
    place.turn().await;
    assert_eq!(told(&place.client.ask(&again).await.unwrap()), ["error 42P05"]);
    place.client.simple("begin; prepare q as select 'q'").await.unwrap();
    let other = [wire::bind("", "q", &[]), wire::execute("", 0), wire::sync()].concat();
    assert_eq!(told(&place.client.ask(&other).await.unwrap()), ["q"]);
    place.client.simple("commit").await.unwrap();
    place.neighbour.simple("commit").await.unwrap();
    let close = [wire::close(b'S', "p"), wire::sync()].concat();
    for name in ["p", "q"] {
        place.turn().await;
        place.client.ask(&close).await.unwrap();
        assert_eq!(told(&place.client.ask(&run).await.unwrap()), ["error 26000"], "{name}");
        place.neighbour.simple("commit").await.unwrap();
        assert_eq!(place.ask("execute p").await, ["error 26000"]);
    }
    place.expect("execute q", "q").await;
}

#[tokio::test]
async fn a_table_that_is_gone_fails_as_it_would_and_may_come_back() {
    let mut place = Place::start().await;
    place.ask("create table t (v int)").await;
    place.ask("insert into t values (5)").await;
    place.ask("prepare p as select v from t").await;
    place.ask("prepare q as select 1").await;
    place.expect("execute p", "5").await;
    place.ask("drop table t").await;
    place.expect("execute p", "error 42P01").await;
    // Everything else goes on.
    place.expect("execute q", "1").await;
    place
        .expect("select count(*) from pg_tables where tablename = 't'", "0")
        .await;
    for _ in 0..2 {
        place.turn().await;
        place.client.simple("begin").await.unwrap();
        assert_eq!(told(&place.client.simple("execute p").await.unwrap()), ["error 42P01"]);
        assert_eq!(told(&place.client.simple("execute q").await.unwrap()), ["error 25P02"]);
        place.client.simple("rollback").await.unwrap();
        place.neighbour.simple("commit").await.unwrap();
    }
    place.ask("create table t (v int)").await;
    place.ask("insert into t values (6)").await;
    place.expect("execute p", "6").await;
    place.ask("drop table t").await;
    place.expect("execute p", "error 42P01").await;
    assert_eq!(place.ask("deallocate p").await, [""; 0]);
    assert_eq!(place.ask("deallocate p").await, ["error 26000"]);
    place.expect("execute p", "error 26000").await;
    place.expect("execute q", "1").await;
}

#[tokio::test]
async fn a_statement_means_what_it_meant_when_it_was_prepared() {
    let mut place = Place::with(
        Plan {
            role: CHIEF,
            ..Plan::default()
        },
        &[],
    )
    .await;
    place
        .ask("create schema a; create schema b; create table a.t as select 'a' as v; create table b.t as select 'b' as v; create table only_a as select 1; alter table only_a set schema a")
        .await;
    place.ask("set datestyle = 'ISO, DMY'; set search_path = a").await;
    place.ask("prepare day as select '01/02/2020'::date::text").await;
    place.ask("prepare here as select v from t").await;
    place.ask("prepare away as select count(*) from only_a").await;
    place.ask("set datestyle = 'ISO, MDY'").await;
    place.expect("execute day", "2020-02-01").await;
    place.expect("show datestyle", "ISO, MDY").await;
    place.turn().await;
    place.client.simple("begin").await.unwrap();
    assert_eq!(told(&place.client.simple("execute day").await.unwrap()), ["2020-02-01"]);
    assert_eq!(
        told(&place.client.simple("show datestyle").await.unwrap()),
        ["ISO, MDY"]
    );
    place.client.simple("commit").await.unwrap();
    place.neighbour.simple("commit").await.unwrap();
    // Names are looked up by the search_path of the moment, as ever.
    place.ask("set search_path = b").await;
    place.expect("execute here", "b").await;
    place.expect("execute away", "error 42P01").await;
    place.ask("set search_path = a").await;
    place.expect("execute away", "1").await;
    place.ask("set role other").await;
    place.ask("prepare mine as select current_user").await;
    place.expect("execute mine", "other").await;
    place.expect("execute here", "error 42P01").await;
    place.turn().await;
    place.client.simple("begin").await.unwrap();
    assert_eq!(told(&place.client.simple("execute mine").await.unwrap()), ["other"]);
    place.client.simple("commit").await.unwrap();
    place.neighbour.simple("commit").await.unwrap();
    place.ask("reset role").await;
    place.expect("execute mine", "chief").await;
    // Each byte beyond ASCII is a character here.
    place.ask("set client_encoding = 'LATIN1'").await;
    place.ask("prepare latin as select 'bücher'").await;
    place.expect("execute latin", "bücher").await;
    place.expect("show client_encoding", "LATIN1").await;
    place.ask("set client_encoding = 'UTF8'").await;
    place.expect("execute latin", "bÃ¼cher").await;
    place.others_see(LEFT, "0").await;
}

/// The settings of the end of a transaction are not always those that a text in it was read by.
#[tokio::test]
async fn a_statement_keeps_the_settings_that_went_with_its_transaction() {
    for (set, end) in [
        ("set local datestyle = 'ISO, DMY'", "commit"),
        ("set datestyle = 'ISO, DMY'", "rollback"),
        ("select set_config('datestyle', 'ISO, DMY', true)", "commit"),
    ] {
        let mut place = Place::start().await;
        place.turn().await;
        for sql in [
            "begin",
            set,
            "prepare day as select '01/02/2020'::date::text",
            "prepare plain (int) as select $1 + 1",
            end,
        ] {
            let answer = place.client.simple(sql).await.unwrap();
            assert!(!answer.iter().any(|message| message.tag == b'E'), "{sql}");
        }
        place.neighbour.simple("commit").await.unwrap();
        place.expect("execute day", "2020-02-01").await;
        // Nor are they at the end of a later one.
        place.ask("do $$ begin perform 1; end $$").await;
        place.expect("execute day", "2020-02-01").await;
        place.expect("execute plain(1)", "2").await;
        place.ask("deallocate day").await;
        place.others_see(LEFT, "0").await;
        place.expect("execute plain(1)", "2").await;
    }
}

#[tokio::test]
async fn a_locked_table_holds_up_only_who_asks_for_it() {
    let mut place = Place::start().await;
    place.ask("create table t (v int)").await;
    place.ask("prepare p as select count(*) from t").await;
    place.ask("prepare q as select 2").await;
    settle().await;
    place.neighbour.simple("begin; lock table t").await.unwrap();
    for sql in ["select 1 + 1", "execute q", "begin", "execute q", "commit"] {
        let answer = told(&place.client.simple(sql).await.unwrap());
        assert!(answer.is_empty() || answer == ["2"], "{sql}: {answer:?}");
    }
    place.neighbour.simple("commit").await.unwrap();
    place.expect("execute p", "0").await;
}

#[tokio::test]
async fn statements_of_the_protocol_stay() {
    let mut place = Place::start().await;
    let parse = [wire::parse("named", "select 'protocol'", &[]), wire::sync()].concat();
    let run = [wire::bind("", "named", &[]), wire::execute("", 0), wire::sync()].concat();
    place.turn().await;
    place.client.ask(&parse).await.unwrap();
    place.neighbour.simple("commit").await.unwrap();
    place.ask("prepare p as select 'sql'").await;
    for _ in 0..3 {
        place.turn().await;
        assert_eq!(told(&place.client.ask(&run).await.unwrap()), ["protocol"]);
        place.neighbour.simple("commit").await.unwrap();
        place.expect("execute p", "sql").await;
        place.others_see(LEFT, "0").await;
    }
}

#[tokio::test]
async fn row_security_is_that_of_the_one_who_executes() {
    let mut place = Place::with(
        Plan {
            role: CHIEF,
            ..Plan::default()
        },
        &[],
    )
    .await;
    place
        .ask("create table t (v int); insert into t values (1), (2); grant select on t to other; alter table t enable row level security; create policy p on t using (v = 1); create function leak(v int) returns bool language plpgsql as $$ begin return v > 0; end $$ ")
        .await;
    place.ask("set session authorization other").await;
    place.ask("prepare p1 as select count(*) from t").await;
    place.expect("execute p1", "1").await;
    place.ask("reset session authorization").await;
    place.ask("set row_security to off").await;
    for _ in 0..5 {
        assert_eq!(place.ask("select v from t where leak(v)").await, ["1", "2"]);
        place.expect("execute p1", "2").await;
    }
    place.ask("set session authorization other").await;
    assert_eq!(place.ask("select v from t where leak(v)").await, ["error 42501"]);
    place.expect("execute p1", "error 42501").await;
    place.ask("set row_security to on").await;
    assert_eq!(place.ask("select v from t where leak(v)").await, ["1"]);
    place.expect("execute p1", "1").await;
}
