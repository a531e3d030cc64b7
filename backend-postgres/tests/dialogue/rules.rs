//! Rule by rule, by the specification's numbers; and bugs that other poolers had, by their issue.

use weir_config::{SequenceFunctions, SessionStatePolicy};
use weir_core::{
    backend::{Access, Dialogue, Onward, Outbox, PinReason, SessionState, Step, TransactionDetection},
    refusal::{Limit, Refusal},
    settings::{PoolMode, ReplicaRouting},
};
use weir_postgres::{dialogue::Conversation, session::Overlay};

use crate::{
    gateway::{Gateway, init, session},
    messages::*,
    model::Model,
};

fn gateway(connections: usize) -> Gateway<Model> {
    Gateway::new((0..connections).map(|_| Model::default()))
}

fn limit() -> Limit {
    Limit {
        name: "max_connections",
        value: "20".to_owned(),
        set_in: "databases.yaml:9:9".to_owned(),
    }
}

/// Makes `client` hold the first free connection, so that others get another one.
fn hold(gateway: &mut Gateway<Model>, client: usize) {
    assert_eq!(gateway.ask(client, &query("BEGIN")), "C[BEGIN] ZT");
}

fn let_go(gateway: &mut Gateway<Model>, client: usize) {
    gateway.ask(client, &query("ROLLBACK"));
}

#[test]
fn what_was_asked_before_good_bye_is_answered() {
    let mut gateway = gateway(1);
    let client = gateway.client();
    let answer = gateway.ask(client, &[query("SELECT 'x'"), terminate()].concat());
    assert_eq!(answer, "T D[x] C[SELECT 1] ZI");
}

mod s1_statements {
    use super::*;

    #[test]
    fn a_named_statement_follows_its_client_to_another_connection() {
        let mut gateway = gateway(2);
        let (client, other) = (gateway.client(), gateway.client());
        assert_eq!(
            gateway.ask(client, &[parse("a", "SELECT 'x'"), sync()].concat()),
            "1 ZI"
        );
        hold(&mut gateway, other);
        let again = [bind("", "a", &[]), execute("", 0), sync()].concat();
        assert_eq!(gateway.ask(client, &again), "2 D[x] C[SELECT 1] ZI");
        assert_eq!(
            gateway.ask(client, &[describe_statement("a"), sync()].concat()),
            "t T ZI"
        );
        assert_eq!(gateway.connections[1].server.statement_names().len(), 1);
    }

    #[test]
    fn a_statement_that_is_known_is_prepared_without_a_server() {
        let mut gateway = gateway(1);
        let (first, holder, second) = (gateway.client(), gateway.client(), gateway.client());
        let prepare = [parse("a", "SELECT 'x'"), sync()].concat();
        assert_eq!(gateway.ask(first, &prepare), "1 ZI");
        hold(&mut gateway, holder);
        assert_eq!(gateway.ask(second, &prepare), "1 ZI", "the only connection is taken");
        let_go(&mut gateway, holder);
        let execute = [bind("", "a", &[]), execute("", 0), sync()].concat();
        assert_eq!(gateway.ask(second, &execute), "2 D[x] C[SELECT 1] ZI");
    }

    #[test]
    fn what_one_client_has_prepared_is_no_other_clients_statement() {
        let mut gateway = gateway(1);
        let (client, other) = (gateway.client(), gateway.client());
        gateway.ask(
            client,
            &[parse("a", "SELECT 'mine'"), parse("", "SELECT 'mine too'"), sync()].concat(),
        );
        assert_eq!(gateway.ask(other, &[bind("", "a", &[]), sync()].concat()), "E26000 ZI");
        assert_eq!(gateway.ask(other, &[bind("", "", &[]), sync()].concat()), "E26000 ZI");
        gateway.send(other, &[describe_statement("a"), sync()].concat());
        let texts = error_texts(&gateway.receive(other));
        assert_eq!(texts, ["prepared statement \"a\" does not exist"]);
    }

    /// Specification, finding 3; asyncpg#1058, supavisor#1172, pgbouncer#1118.
    #[test]
    fn an_unnamed_statement_parsed_in_one_group_is_bound_in_the_next_wherever_that_is() {
        let mut gateway = gateway(2);
        let (client, other) = (gateway.client(), gateway.client());
        assert_eq!(
            gateway.ask(
                client,
                &[parse("", "SELECT 'mine'"), describe_statement(""), sync()].concat()
            ),
            "1 t T ZI"
        );
        assert_eq!(
            gateway.ask(other, &one_shot("SELECT 'theirs'")),
            "1 2 D[theirs] C[SELECT 1] ZI"
        );
        let again = [bind("", "", &[]), execute("", 0), sync()].concat();
        assert_eq!(gateway.ask(client, &again), "2 D[mine] C[SELECT 1] ZI");
        hold(&mut gateway, other);
        assert_eq!(gateway.ask(client, &again), "2 D[mine] C[SELECT 1] ZI");
        assert_eq!(gateway.ask(client, &query("SELECT 'x'")), "T D[x] C[SELECT 1] ZI");
        assert_eq!(gateway.ask(client, &again), "E26000 ZI", "a simple query destroys it");
    }

    #[test]
    fn equal_texts_of_two_clients_are_one_statement_on_the_server() {
        let mut gateway = gateway(1);
        let (client, other) = (gateway.client(), gateway.client());
        for (client, name) in [(client, "a"), (other, "b")] {
            let all = [parse(name, "SELECT 'x'"), bind("", name, &[]), execute("", 0), sync()].concat();
            assert_eq!(gateway.ask(client, &all), "1 2 D[x] C[SELECT 1] ZI");
        }
        assert_eq!(gateway.connections[0].server.statement_names().len(), 1);
    }

    #[test]
    fn a_one_shot_group_goes_through_untouched() {
        let mut gateway = gateway(1);
        let client = gateway.client();
        let all = one_shot("SELECT 'x'");
        let mut conversation = Conversation::new(init(&gateway.shared));
        let mut session = session(&gateway.shared, 3);
        let mut out = Outbox::default();
        conversation.adopt(&mut session, &mut out);
        let mut rest = &all[..];
        while !rest.is_empty() {
            match conversation.from_client(rest, Some(&mut session), &mut out) {
                Ok(Step::Forward(count)) => rest = &rest[count as usize..],
                other => panic!("{other:?}"),
            }
        }
        assert!(out.to_server.is_empty() && out.to_client.is_empty());
        assert_eq!(gateway.ask(client, &all), "1 2 D[x] C[SELECT 1] ZI");
    }

    #[test]
    fn rule_3_a_client_with_too_many_statements_gets_an_error_and_stays() {
        let mut gateway = gateway(1);
        let client = gateway.client();
        for n in 0..5_000 {
            assert_eq!(
                gateway.ask(client, &[parse(&format!("s{n}"), "SELECT 'x'"), sync()].concat()),
                "1 ZI"
            );
        }
        assert_eq!(
            gateway.ask(client, &[parse("one more", "SELECT 'x'"), sync()].concat()),
            "E53400 ZI"
        );
        assert_eq!(gateway.ask(client, &[close_statement("s0"), sync()].concat()), "3 ZI");
        assert_eq!(
            gateway.ask(client, &[parse("one more", "SELECT 'x'"), sync()].concat()),
            "1 ZI"
        );
    }

    #[test]
    fn rule_3_the_error_aborts_the_transaction_too() {
        let mut gateway = gateway(1);
        let client = gateway.client();
        let long = format!("SELECT '{}'", "x".repeat(900_000));
        hold(&mut gateway, client);
        for n in 0..18 {
            gateway.ask(
                client,
                &[parse(&format!("s{n}"), &format!("{long}{n}'")), sync()].concat(),
            );
        }
        assert_eq!(gateway.ask(client, &[parse("t", &long), sync()].concat()), "E53400 ZE");
    }

    #[test]
    fn rule_4_the_least_recently_used_statement_is_closed_ahead_of_the_next_group() {
        let mut gateway = gateway(1);
        let client = gateway.client();
        for n in 0..5 {
            let name = format!("s{n}");
            let all = [
                parse(&name, &format!("SELECT 'x{n}'")),
                bind("", &name, &[]),
                execute("", 0),
                sync(),
            ]
            .concat();
            assert_eq!(gateway.ask(client, &all), format!("1 2 D[x{n}] C[SELECT 1] ZI"));
        }
        assert!(
            gateway.connections[0].server.statement_names().len() <= 4,
            "3 are kept, and what the last group added"
        );
        for n in 0..5 {
            let all = [bind("", &format!("s{n}"), &[]), execute("", 0), sync()].concat();
            assert_eq!(gateway.ask(client, &all), format!("2 D[x{n}] C[SELECT 1] ZI"));
        }
    }

    #[test]
    fn rule_4_nothing_is_closed_inside_a_transaction() {
        let mut gateway = gateway(1);
        let client = gateway.client();
        hold(&mut gateway, client);
        for n in 0..6 {
            let name = format!("s{n}");
            gateway.ask(client, &[parse(&name, &format!("SELECT 'x{n}'")), sync()].concat());
        }
        assert_eq!(gateway.connections[0].server.statement_names().len(), 6);
        let_go(&mut gateway, client);
        gateway.ask(client, &[bind("", "s5", &[]), sync()].concat());
        assert_eq!(gateway.connections[0].server.statement_names().len(), 3);
    }

    #[test]
    fn rule_6_an_answer_that_is_made_up_waits_for_its_turn() {
        let mut gateway = gateway(1);
        let client = gateway.client();
        let all = [
            parse("", "SELECT 'x'"),
            close_statement("none"),
            bind("", "", &[]),
            close_statement("none"),
            sync(),
        ];
        assert_eq!(gateway.ask(client, &all.concat()), "1 3 2 3 ZI");
    }

    #[test]
    fn rule_7_errors_about_names_are_the_servers_own_and_abort_its_transaction() {
        let mut gateway = gateway(1);
        let client = gateway.client();
        hold(&mut gateway, client);
        gateway.send(client, &[bind("", "nope", &[]), sync()].concat());
        let answer = gateway.receive(client);
        assert_eq!(told(&answer), "E26000 ZE");
        assert_eq!(error_texts(&answer), ["prepared statement \"nope\" does not exist"]);
        let_go(&mut gateway, client);

        gateway.ask(client, &[parse("a", "SELECT 'x'"), sync()].concat());
        gateway.send(client, &[parse("a", "SELECT 'y'"), sync()].concat());
        let answer = gateway.receive(client);
        assert_eq!(told(&answer), "E42P05 ZI");
        assert_eq!(error_texts(&answer), ["prepared statement \"a\" already exists"]);
        let all = [bind("", "a", &[]), execute("", 0), sync()].concat();
        assert_eq!(gateway.ask(client, &all), "2 D[x] C[SELECT 1] ZI", "still the first");
        assert_eq!(
            gateway.ask(client, &[parse("a", "SELEC"), sync()].concat()),
            "E42601 ZI",
            "syntax comes first"
        );
    }

    #[test]
    fn rule_7_other_errors_name_the_clients_statement_too() {
        let mut gateway = gateway(1);
        let client = gateway.client();
        gateway.ask(client, &[parse("mine", "SELECT $1::text"), sync()].concat());
        gateway.send(client, &[bind("", "mine", &[]), sync()].concat());
        let text = &error_texts(&gateway.receive(client))[0];
        assert!(
            text.contains("\"mine\" requires 1") && !text.contains("weir_"),
            "{text}"
        );
    }

    #[test]
    fn rule_8_a_parse_of_the_gateways_own_that_fails_is_the_clients_error() {
        let mut gateway = gateway(2);
        let (client, other) = (gateway.client(), gateway.client());
        gateway.ask(client, &[parse("a", "SELECT 'x'"), sync()].concat());
        hold(&mut gateway, other);
        hold(&mut gateway, client);
        gateway.ask(client, &query("SELEC"));
        // In a failed transaction, on a connection that does not have it.
        let all = [bind("", "a", &[]), execute("", 0), sync()].concat();
        assert_eq!(gateway.ask(client, &all), "E25P02 ZE");
        let_go(&mut gateway, client);
        assert_eq!(gateway.ask(client, &all), "2 D[x] C[SELECT 1] ZI");
    }

    // Rule 9 has a file of its own: `heal`.

    /// postgres.js sends COMMIT as a named statement and takes 26000 for a reason to try again (porsager#1212).
    #[test]
    fn a_named_commit_never_fails_for_want_of_its_statement() {
        let mut gateway = gateway(2);
        let (client, other) = (gateway.client(), gateway.client());
        let commit = |first: bool| {
            let parse = if first { parse("c", "COMMIT") } else { Vec::new() };
            [parse, bind("", "c", &[]), execute("", 0), sync()].concat()
        };
        hold(&mut gateway, client);
        assert_eq!(gateway.ask(client, &commit(true)), "1 2 C[COMMIT] ZI");
        hold(&mut gateway, other);
        hold(&mut gateway, client);
        assert_eq!(gateway.ask(client, &commit(false)), "2 C[COMMIT] ZI");
        hold(&mut gateway, client);
        gateway.ask(client, &query("SELEC"));
        assert_eq!(gateway.ask(client, &commit(false)), "2 C[ROLLBACK] ZI");
    }

    /// psycopg says DEALLOCATE in SQL about statements of the protocol.
    #[test]
    fn deallocate_in_sql_knows_the_clients_names() {
        let mut gateway = gateway(2);
        let (client, other) = (gateway.client(), gateway.client());
        gateway.ask(
            client,
            &[parse("_pg3_0", "SELECT 'x'"), parse("_pg3_1", "SELECT 'x'"), sync()].concat(),
        );
        hold(&mut gateway, other);
        assert_eq!(gateway.ask(client, &query("DEALLOCATE _pg3_0")), "C[DEALLOCATE] ZI");
        assert_eq!(gateway.ask(client, &query("DEALLOCATE \"_pg3_0\"")), "E26000 ZI");
        assert_eq!(
            gateway.ask(client, &one_shot("DEALLOCATE _pg3_1")),
            "1 2 C[DEALLOCATE] ZI"
        );
        assert_eq!(
            gateway.ask(client, &[bind("", "_pg3_1", &[]), sync()].concat()),
            "E26000 ZI"
        );
        assert_eq!(
            gateway.ask(client, &[parse("_pg3_1", "SELECT 'y'"), sync()].concat()),
            "1 ZI"
        );
    }

    #[test]
    fn deallocate_all_and_discard_all_forget_everything_on_both_sides() {
        for text in ["DEALLOCATE ALL", "DISCARD ALL"] {
            let mut gateway = gateway(1);
            let client = gateway.client();
            gateway.ask(client, &[parse("a", "SELECT 'x'"), sync()].concat());
            assert_eq!(gateway.ask(client, &query(text)), format!("C[{text}] ZI"));
            assert_eq!(gateway.ask(client, &[bind("", "a", &[]), sync()].concat()), "E26000 ZI");
            let all = [
                query(text),
                parse("a", "SELECT 'y'"),
                bind("", "a", &[]),
                execute("", 0),
                sync(),
            ]
            .concat();
            assert_eq!(
                gateway.ask(client, &all),
                format!("C[{text}] ZI 1 2 D[y] C[SELECT 1] ZI")
            );
        }
    }

    #[test]
    fn a_statement_too_long_to_keep_pins_its_connection_until_it_is_closed() {
        let mut gateway = gateway(2);
        let client = gateway.client();
        let long = format!("SELECT '{}'", "x".repeat(2_000_000));
        assert_eq!(gateway.ask(client, &[parse("long", &long), sync()].concat()), "1 ZI");
        assert!(matches!(
            gateway.connections[0].session.state(),
            SessionState::Pinned(_)
        ));
        for _ in 0..2 {
            gateway.send(client, &[bind("", "long", &[]), execute("", 0), sync()].concat());
            assert_eq!(gateway.receive(client).len(), 5 + (11 + 2_000_000) + 14 + 6);
        }
        assert_eq!(
            gateway.ask(client, &[parse("long", &long), sync()].concat()),
            "E42P05 ZI"
        );
        assert_eq!(gateway.ask(client, &[close_statement("long"), sync()].concat()), "3 ZI");
        assert_eq!(gateway.connections[0].holder, None);

        assert_eq!(gateway.ask(client, &[parse("", &long), sync()].concat()), "1 ZI");
        assert!(matches!(
            gateway.connections[0].session.state(),
            SessionState::Pinned(_)
        ));
        assert_eq!(gateway.ask(client, &query("SELECT 'x'")), "T D[x] C[SELECT 1] ZI");
        assert_eq!(gateway.connections[0].holder, None);
    }

    #[test]
    fn parameters_stream_behind_a_bind_of_any_size() {
        for chunk in [3, 1000, 16_384, usize::MAX] {
            let mut gateway = gateway(1);
            let client = gateway.client();
            gateway.chunk = chunk;
            gateway.ask(client, &[parse("a", "SELECT $1::text"), sync()].concat());
            let value = "v".repeat(30_000);
            let all = [bind("", "a", &[&value]), execute("", 0), sync()].concat();
            assert_eq!(gateway.ask(client, &all), format!("2 D[{value}] C[SELECT 1] ZI"));
        }
    }

    #[test]
    fn names_are_compared_as_far_as_postgresql_does() {
        let mut gateway = gateway(1);
        let client = gateway.client();
        let long = "n".repeat(63);
        gateway.ask(client, &[parse(&long, "SELECT 'x'"), sync()].concat());
        let all = [bind("", &format!("{long}more"), &[]), execute("", 0), sync()].concat();
        assert_eq!(gateway.ask(client, &all), "2 D[x] C[SELECT 1] ZI");
    }
}

mod s2_pipelines {
    use super::*;

    /// Postgrex, `mode: :savepoint` (pgdog#1356): a simple query inside a broken group has no answer.
    #[test]
    fn rule_3_a_query_inside_a_broken_group_is_not_answered() {
        let mut gateway = gateway(1);
        let client = gateway.client();
        let all = [bind("", "nope", &[]), execute("", 0), query("SELECT 'x'")].concat();
        assert_eq!(gateway.ask(client, &all), "E26000");
        assert_eq!(gateway.connections[0].session.state(), SessionState::Busy);
        assert_eq!(gateway.ask(client, &query("SELECT 'x'")), "");
        assert_eq!(gateway.ask(client, &sync()), "ZI");
    }

    /// supavisor#1061, #1079, #1176; porsager#970.
    #[test]
    fn rule_7_an_error_in_one_group_leaves_the_next_alone() {
        let mut gateway = gateway(1);
        let client = gateway.client();
        let all = [
            one_shot("SELEC"),
            one_shot("SELECT 'x'"),
            query("SELEC"),
            one_shot("SELECT 'y'"),
        ]
        .concat();
        assert_eq!(
            gateway.ask(client, &all),
            "E42601 ZI 1 2 D[x] C[SELECT 1] ZI E42601 ZI 1 2 D[y] C[SELECT 1] ZI"
        );
    }

    #[test]
    fn what_a_failed_group_would_have_prepared_is_not_prepared() {
        let mut gateway = gateway(1);
        let client = gateway.client();
        let all = [parse("", "SELEC"), parse("a", "SELECT 'x'"), sync()].concat();
        assert_eq!(gateway.ask(client, &all), "E42601 ZI");
        assert_eq!(gateway.ask(client, &[bind("", "a", &[]), sync()].concat()), "E26000 ZI");
        // In one go: whether the second Parse is a duplicate depends on how the first group ends.
        let all = [
            parse("", "SELEC"),
            parse("a", "SELECT 'x'"),
            sync(),
            parse("a", "SELECT 'y'"),
            sync(),
        ]
        .concat();
        assert_eq!(gateway.ask(client, &all), "E42601 ZI 1 ZI");
    }

    #[test]
    fn a_very_long_pipeline_is_held_back_and_not_forgotten() {
        let mut gateway = gateway(1);
        let client = gateway.client();
        let many: Vec<u8> = (0..5_000).flat_map(|_| close_statement("x")).collect();
        let all = [parse("", "SELECT 'x'"), many, sync()].concat();
        let answer = gateway.ask(client, &all);
        assert_eq!(answer.matches('3').count(), 5_000);
        // One group, and a server that sits on its answers until it is asked for them.
        let many: Vec<u8> = (0..5_000).flat_map(|_| parse("", "SELECT 'x'")).collect();
        let answer = gateway.ask(client, &[many, sync()].concat());
        assert_eq!(answer.matches('1').count(), 5_000);
        assert!(answer.ends_with("ZI"));
        let many: Vec<u8> = (0..5_000).flat_map(|_| one_shot("SELECT 'x'")).collect();
        assert_eq!(gateway.ask(client, &many).matches("C[SELECT 1] ZI").count(), 5_000);
    }
}

mod s2_bounds {
    use super::*;

    /// Each Parse of the unnamed statement replaces one that may have to come back: they must not pile up.
    #[test]
    fn large_statements_do_not_pile_up_in_a_pipeline() {
        let gateway = gateway(0);
        let mut conversation = Conversation::new(init(&gateway.shared));
        let mut session = session(&gateway.shared, 3);
        let mut out = Outbox::default();
        conversation.adopt(&mut session, &mut out);
        let long = parse("", &format!("SELECT '{}'", "x".repeat(500_000)));
        let mut sent = 0;
        while let Ok(Step::Forward(_)) = conversation.from_client(&long, Some(&mut session), &mut out) {
            sent += 1;
            assert!(sent < 20);
        }
        assert_eq!(&out.to_server[..], flush(), "the server may sit on its answers");
        for _ in 0..sent {
            assert_eq!(
                conversation.from_server(b"1\0\0\0\x04", &mut session, &mut out),
                Ok(Step::Forward(5))
            );
        }
        let step = conversation.from_client(&long, Some(&mut session), &mut out);
        assert!(matches!(step, Ok(Step::Forward(_))));
    }
}

mod s3_release {
    use super::*;

    /// asyncpg#1065: Flush is no boundary.
    #[test]
    fn rule_1_after_flush_the_connection_stays() {
        let mut gateway = gateway(1);
        let client = gateway.client();
        assert_eq!(
            gateway.ask(
                client,
                &[parse("", "SELECT 'x'"), describe_statement(""), flush()].concat()
            ),
            "1 t T"
        );
        assert_eq!(gateway.connections[0].session.state(), SessionState::Busy);
        assert_eq!(
            gateway.ask(client, &[bind("", "", &[]), execute("", 0), sync()].concat()),
            "2 D[x] C[SELECT 1] ZI"
        );
        assert_eq!(gateway.connections[0].holder, None);
    }

    #[test]
    fn rule_2_the_connection_stays_through_a_transaction_and_a_failed_one() {
        let mut gateway = gateway(1);
        let client = gateway.client();
        hold(&mut gateway, client);
        assert_eq!(
            gateway.connections[0].session.state(),
            SessionState::InTransaction { failed: false }
        );
        gateway.ask(client, &query("SELEC"));
        assert_eq!(
            gateway.connections[0].session.state(),
            SessionState::InTransaction { failed: true }
        );
        let_go(&mut gateway, client);
        assert_eq!(gateway.connections[0].holder, None);
    }

    #[test]
    fn what_needs_no_server_gets_none() {
        let mut gateway = gateway(0);
        let client = gateway.client();
        let all = [
            sync(),
            flush(),
            close_statement("x"),
            close_portal("x"),
            copy_data("late"),
            copy_done(),
            sync(),
        ];
        assert_eq!(gateway.ask(client, &all.concat()), "ZI 3 3 ZI");
        gateway.send(client, &terminate());
        assert!(gateway.clients[client].finished);
    }

    #[test]
    fn statement_mode_rolls_a_transaction_back_and_keeps_the_client() {
        let mut gateway = gateway(1);
        let client = gateway.client_with(|init| init.pool_mode = PoolMode::Statement);
        assert_eq!(gateway.ask(client, &query("BEGIN")), "C[BEGIN] E25001 ZI");
        assert_eq!(gateway.connections[0].holder, None);
        assert_eq!(gateway.ask(client, &one_shot("BEGIN")), "1 2 C[BEGIN] E25001 ZI");
        let all = [query("BEGIN"), query("SELECT 'x'")].concat();
        assert_eq!(gateway.ask(client, &all), "C[BEGIN] E25001 ZI T D[x] C[SELECT 1] ZI");
    }

    #[test]
    fn session_mode_keeps_the_connection_until_the_client_leaves() {
        let mut gateway = gateway(1);
        let client = gateway.client_with(|init| {
            init.pool_mode = PoolMode::Session;
            init.overlay = Overlay::from_pairs([("app.x", "mine")]);
        });
        assert_eq!(gateway.ask(client, &query("SHOW app.x")), "T D[mine] C[SHOW] ZI");
        assert!(matches!(
            gateway.connections[0].session.state(),
            SessionState::Pinned(_)
        ));
        gateway.ask(client, &query("SET app.y = 'kept'"));
        assert_eq!(gateway.ask(client, &query("SHOW app.y")), "T D[kept] C[SHOW] ZI");
        gateway.ask(client, &query("DISCARD ALL"));
        assert_eq!(
            gateway.ask(client, &query("SHOW app.x")),
            "T D[mine] C[SHOW] ZI",
            "RESET returns to the client's own"
        );
        gateway.ask(client, &query("SELECT pg_advisory_lock(1)"));
        assert!(gateway.leave(client));
        assert_eq!(gateway.connections[0].server.leftovers(), [""; 0]);
        let next = gateway.client();
        assert_eq!(gateway.ask(next, &query("SHOW app.x")), "T D[] C[SHOW] ZI");
    }
}

mod s5_copy {
    use super::*;

    #[test]
    fn rule_2_a_sync_inside_of_copy_does_not_count() {
        let mut gateway = gateway(1);
        let client = gateway.client();
        // Sent ahead of the data, before the server says that it copies, and after.
        let all = [one_shot("COPY t FROM STDIN"), copy_data("1\n"), copy_done()].concat();
        assert_eq!(gateway.ask(client, &all), "1 2 G");
        assert_eq!(gateway.connections[0].session.state(), SessionState::Busy);
        assert_eq!(gateway.ask(client, &sync()), "C[COPY 1] ZI");
        let group = [
            parse("", "COPY t FROM STDIN"),
            bind("", "", &[]),
            execute("", 0),
            flush(),
        ]
        .concat();
        assert_eq!(gateway.ask(client, &group), "1 2 G");
        assert_eq!(
            gateway.ask(client, &[sync(), copy_data("1\n"), sync(), flush()].concat()),
            ""
        );
        assert_eq!(gateway.ask(client, &[copy_done(), sync()].concat()), "C[COPY 1] ZI");
    }

    /// pgbouncer#1471.
    #[test]
    fn rule_4_late_data_of_a_failed_copy_disturbs_nobody() {
        let mut gateway = gateway(1);
        let (client, other) = (gateway.client(), gateway.client());
        assert_eq!(gateway.ask(client, &query("COPY t FROM STDIN")), "G");
        assert_eq!(gateway.ask(client, &copy_data("bad\n")), "E22P02 ZI");
        assert_eq!(gateway.connections[0].holder, None);
        assert_eq!(gateway.ask(client, &copy_data("more\n")), "");
        assert_eq!(gateway.connections[0].holder, None, "late data asks for no connection");
        assert_eq!(gateway.ask(other, &query("SELECT 'x'")), "T D[x] C[SELECT 1] ZI");
        let rest = [copy_data("more\n"), copy_done(), query("SELECT 'y'")].concat();
        assert_eq!(gateway.ask(client, &rest), "T D[y] C[SELECT 1] ZI");
    }

    #[test]
    fn rule_5_a_client_that_vanishes_in_copy_leaves_nothing_behind() {
        for prefix in [query("COPY t FROM STDIN"), one_shot("COPY t FROM STDIN")] {
            for wait in [true, false] {
                let mut gateway = gateway(1);
                let client = gateway.client();
                match wait {
                    true => gateway.send(client, &[prefix.clone(), copy_data("1\n")].concat()),
                    false => gateway.send(client, &prefix),
                }
                assert!(gateway.leave(client));
                let next = gateway.client();
                assert_eq!(gateway.ask(next, &query("SELECT 'x'")), "T D[x] C[SELECT 1] ZI");
            }
        }
    }

    #[test]
    fn copy_out_passes_through() {
        let mut gateway = gateway(1);
        let client = gateway.client();
        assert_eq!(
            gateway.ask(client, &query("COPY (SELECT 'x') TO STDOUT")),
            "H d c C[COPY 1] ZI"
        );
        assert_eq!(
            gateway.ask(client, &one_shot("COPY (SELECT 'x') TO STDOUT")),
            "1 2 H d c C[COPY 1] ZI"
        );
    }
}

mod s7_settings {
    use super::*;

    #[test]
    fn start_up_settings_are_there_on_every_connection_and_nobody_else_has_them() {
        let mut gateway = gateway(2);
        let client = gateway.client_with(|init| init.overlay = Overlay::from_pairs([("app.x", "mine")]));
        let other = gateway.client();
        for _ in 0..2 {
            assert_eq!(gateway.ask(client, &query("SHOW app.x")), "T D[mine] C[SHOW] ZI");
            assert_eq!(gateway.ask(other, &query("SHOW app.x")), "T D[] C[SHOW] ZI");
        }
        hold(&mut gateway, other);
        assert_eq!(gateway.ask(client, &one_shot("SHOW app.x")), "1 2 D[mine] C[SHOW] ZI");
    }

    #[test]
    fn values_are_never_sql() {
        let mut gateway = gateway(1);
        let value = "'; DROP TABLE t; --";
        let client = gateway.client_with(|init| init.overlay = Overlay::from_pairs([("app.x", value)]));
        assert_eq!(
            gateway.ask(client, &query("SHOW app.x")),
            format!("T D[{value}] C[SHOW] ZI")
        );
        assert!(
            gateway.connections[0]
                .server
                .ran
                .iter()
                .all(|text| !text.contains("DROP"))
        );
    }

    #[test]
    fn a_setting_that_the_server_refuses_is_told_at_each_request_with_its_own_code() {
        let mut gateway = gateway(1);
        let pairs = [("app.good", "1"), ("app.x", "invalid")];
        let client = gateway.client_with(|init| init.overlay = Overlay::from_pairs(pairs));
        let other = gateway.client();
        for request in [query("SELECT 'x'"), one_shot("SELECT 'x'"), one_shot("SELECT 'x'")] {
            assert_eq!(gateway.ask(client, &request), "E22023 ZI");
        }
        assert!(
            gateway.connections[0]
                .server
                .ran
                .iter()
                .all(|text| !text.contains("'x'")),
            "it never ran"
        );
        assert_eq!(
            gateway.ask(other, &query("SHOW app.good")),
            "T D[] C[SHOW] ZI",
            "the group has failed as a whole"
        );
    }

    #[test]
    fn settings_accepted_before_cost_no_round_trip() {
        let mut gateway = gateway(2);
        let overlay = Overlay::from_pairs([("app.x", "mine")]);
        let client = gateway.client_with(|init| init.overlay = overlay.clone());
        let other = gateway.client();
        gateway.ask(client, &query("SHOW app.x"));
        hold(&mut gateway, other);
        let mut conversation = Conversation::new({
            let mut init = init(&gateway.shared);
            init.overlay = overlay;
            init
        });
        let mut session = session(&gateway.shared, 3);
        let mut out = Outbox::default();
        conversation.adopt(&mut session, &mut out);
        assert!(!out.to_server.is_empty());
        let step = conversation.from_client(&query("SELECT 'x'"), Some(&mut session), &mut out);
        assert_eq!(step, Ok(Step::Forward(16)), "not held");
    }

    #[test]
    fn settings_that_stop_being_accepted_never_let_a_request_run_without_them() {
        let mut gateway = gateway(1);
        let pairs = [("app.x", "invalid")];
        gateway.shared.accepted(Overlay::from_pairs(pairs).iter());
        let mut init = init(&gateway.shared);
        init.overlay = Overlay::from_pairs(pairs);
        let (mut conversation, mut session) = (Conversation::new(init), session(&gateway.shared, 3));
        let mut out = Outbox::default();
        conversation.adopt(&mut session, &mut out);
        let step = conversation.from_client(&query("SELECT 'x'"), Some(&mut session), &mut out);
        assert!(matches!(step, Ok(Step::Forward(_))));
        for answer in [&b"1\0\0\0\x04"[..], b"2\0\0\0\x04"] {
            assert_eq!(
                conversation.from_server(answer, &mut session, &mut out),
                Ok(Step::Skip(5))
            );
        }
        assert!(
            conversation
                .from_server(b"E\0\0\0\x0cC22023\0\0", &mut session, &mut out)
                .is_err()
        );
        let mut out = Outbox::default();
        conversation.server_lost(&mut session, false, &mut out);
        assert_eq!(
            told(&out.to_client),
            "E08006 ZI",
            "the request may have run without its settings"
        );

        // Nothing was sent behind the settings: the request waits for a better connection.
        gateway.shared.accepted(Overlay::from_pairs(pairs).iter());
        let client = gateway.client_with(|init| init.overlay = Overlay::from_pairs(pairs));
        assert_eq!(gateway.ask(client, &query("SELECT 'x'")), "");
        gateway.replace(0, Model::default());
        assert_eq!(gateway.ask(client, b""), "E22023 ZI", "tried with care again");
    }

    /// A client with `session_state: reset`.
    fn forgetful(gateway: &mut Gateway<Model>) -> usize {
        gateway.client_with(|init| init.session_state = SessionStatePolicy::Reset)
    }

    #[test]
    fn what_a_client_set_is_gone_for_the_next_and_for_itself() {
        let mut gateway = gateway(1);
        let (client, other) = (forgetful(&mut gateway), forgetful(&mut gateway));
        assert_eq!(gateway.ask(client, &query("SET app.x = 'leak'")), "C[SET] ZI");
        assert_eq!(gateway.ask(other, &query("SHOW app.x")), "T D[] C[SHOW] ZI");
        gateway.ask(client, &query("SET app.x = 'leak'"));
        assert_eq!(gateway.ask(client, &query("SHOW app.x")), "T D[] C[SHOW] ZI");
    }

    #[test]
    fn locks_are_gone_as_soon_as_the_connection_goes_back() {
        let mut gateway = gateway(1);
        let client = forgetful(&mut gateway);
        gateway.ask(client, &query("SELECT pg_advisory_lock(1)"));
        assert_eq!(gateway.connections[0].server.leftovers(), [""; 0]);
        gateway.ask(client, &one_shot("SELECT pg_advisory_lock(1)"));
        assert_eq!(gateway.connections[0].server.leftovers(), [""; 0]);
        gateway.ask(client, &[parse("lock", "SELECT pg_advisory_lock(1)"), sync()].concat());
        gateway.ask(client, &[bind("", "lock", &[]), execute("", 0), sync()].concat());
        assert_eq!(gateway.connections[0].server.leftovers(), [""; 0]);
    }

    #[test]
    fn reports_are_passed_on_only_when_they_are_news() {
        let mut gateway = gateway(1);
        let (client, other) = (forgetful(&mut gateway), forgetful(&mut gateway));
        assert_eq!(
            gateway.ask(client, &query("SET TimeZone = 'CET'")),
            "S[TimeZone=CET] C[SET] ZI"
        );
        assert_eq!(
            gateway.ask(client, &query("SET TimeZone = 'CET'")),
            "S[TimeZone=UTC] S[TimeZone=CET] C[SET] ZI"
        );
        // What the reset reports is news only for whoever was told otherwise.
        assert_eq!(
            gateway.ask(other, &query("SELECT 'x'")),
            "S[TimeZone=UTC] T D[x] C[SELECT 1] ZI"
        );
        assert_eq!(gateway.ask(other, &query("SELECT 'x'")), "T D[x] C[SELECT 1] ZI");
        assert_eq!(
            gateway.ask(client, &query("SELECT 'x'")),
            "S[TimeZone=UTC] T D[x] C[SELECT 1] ZI"
        );
        let mine = gateway.client_with(|init| {
            init.overlay = Overlay::from_pairs([("TimeZone", "EST")]);
            init.session_state = SessionStatePolicy::Reset;
        });
        assert_eq!(
            gateway.ask(mine, &query("SELECT 'x'")),
            "S[TimeZone=EST] T D[x] C[SELECT 1] ZI"
        );
        assert_eq!(gateway.ask(client, &query("SELECT 'x'")), "T D[x] C[SELECT 1] ZI");
        assert_eq!(gateway.ask(mine, &query("SELECT 'x'")), "T D[x] C[SELECT 1] ZI");
    }
}

/// `currval` and `lastval`.
mod s7_last_values {
    use super::*;

    const PIN: SessionState = SessionState::Pinned(PinReason::Sequence);
    const UNDEFINED: &str = "T E55000 ZI";

    fn state(gateway: &Gateway<Model>, connection: usize) -> SessionState {
        gateway.connections[connection].session.state()
    }

    /// A client of a user who is known to ask.
    fn asking(gateway: &mut Gateway<Model>) -> usize {
        let client = gateway.client();
        assert_eq!(gateway.ask(client, &query("SELECT lastval()")), UNDEFINED);
        client
    }

    #[test]
    fn who_asks_gets_its_own_and_keeps_the_connection_for_it() {
        let mut gateway = gateway(1);
        let (client, other) = (asking(&mut gateway), gateway.client());
        assert_eq!(state(&gateway, 0), SessionState::Idle, "nothing was drawn yet");
        let drawn = gateway.ask(client, &query("INSERT INTO s"));
        assert_eq!(state(&gateway, 0), PIN);
        assert_eq!(gateway.ask(other, &query("INSERT INTO s")), "", "has to wait");
        for _ in 0..3 {
            assert_eq!(gateway.ask(client, &query("SELECT lastval()")), drawn);
        }
        assert!(gateway.leave(client));
        assert_ne!(gateway.ask(other, b""), drawn);
    }

    #[test]
    fn who_never_asks_never_keeps_a_connection() {
        let mut gateway = gateway(1);
        let (client, other) = (gateway.client(), gateway.client());
        for _ in 0..3 {
            for text in ["INSERT INTO s", "SELECT setval('s', 7)"] {
                gateway.ask(client, &query(text));
                assert_eq!(state(&gateway, 0), SessionState::Idle);
                assert_ne!(gateway.ask(other, &query("SELECT nextval('s')")), "");
            }
        }
        let ran = &gateway.connections[0].server.ran;
        assert!(!ran.iter().any(|text| text.contains("lastval")), "{ran:?}");
    }

    #[test]
    fn what_draws_nothing_ties_nobody() {
        let mut gateway = gateway(1);
        let client = asking(&mut gateway);
        gateway.ask(client, &query("INSERT INTO t"));
        assert_eq!(state(&gateway, 0), SessionState::Idle);
        let ran = gateway.connections[0].server.ran.last().unwrap();
        assert!(
            ran.starts_with("DO $weir$ BEGIN PERFORM") && ran.contains("SELECT 'drawn'"),
            "{ran}"
        );
        // Of setval the server knows nothing.
        gateway.ask(client, &query("SELECT setval('s', 7)"));
        assert_eq!(state(&gateway, 0), PIN);
    }

    #[test]
    fn discarding_unties() {
        for discard in ["DISCARD SEQUENCES", "DISCARD ALL"] {
            let mut gateway = gateway(1);
            let client = asking(&mut gateway);
            gateway.ask(client, &query("INSERT INTO s"));
            assert_eq!(state(&gateway, 0), PIN);
            gateway.ask(client, &query(discard));
            assert_eq!(state(&gateway, 0), SessionState::Idle);
            assert_eq!(gateway.ask(client, &query("SELECT lastval()")), UNDEFINED);
            gateway.ask(client, &[query(discard), query("INSERT INTO s")].concat());
            assert_eq!(state(&gateway, 0), PIN, "drawn behind {discard}");
        }
    }

    #[test]
    fn nobody_gets_anybody_elses() {
        let mut gateway = gateway(1);
        let (client, other) = (gateway.client(), gateway.client());
        gateway.ask(client, &query("INSERT INTO s"));
        assert_eq!(gateway.ask(other, &query("SELECT lastval()")), UNDEFINED);
        assert_eq!(
            gateway.ask(client, &query("SELECT lastval()")),
            UNDEFINED,
            "discarded for the other one"
        );
    }

    #[test]
    fn at_first_sight_it_works_where_nobody_came_between() {
        let mut gateway = gateway(2);
        let client = gateway.client();
        let drawn = gateway.ask(client, &query("INSERT INTO s"));
        assert_eq!(gateway.ask(client, &query("SELECT lastval()")), drawn);
    }

    /// An outdated answer would be worse than none.
    #[test]
    fn older_draws_of_ones_own_on_another_connection_are_not_told() {
        let mut gateway = gateway(2);
        let (client, other) = (gateway.client(), gateway.client());
        gateway.ask(client, &query("INSERT INTO s"));
        hold(&mut gateway, other);
        gateway.ask(client, &query("INSERT INTO s"));
        let_go(&mut gateway, other);
        let answers: Vec<_> = (0..2)
            .map(|_| gateway.ask(client, &query("SELECT lastval()")))
            .collect();
        assert_eq!(answers, [UNDEFINED, UNDEFINED]);
    }

    #[test]
    fn what_was_discarded_elsewhere_is_not_told() {
        let mut gateway = gateway(2);
        let (client, other) = (gateway.client(), gateway.client());
        gateway.ask(client, &query("INSERT INTO s"));
        hold(&mut gateway, other);
        gateway.ask(client, &query("DISCARD SEQUENCES"));
        let_go(&mut gateway, other);
        assert_eq!(gateway.ask(client, &query("SELECT lastval()")), UNDEFINED);
    }

    #[test]
    fn what_one_user_does_is_nothing_to_another() {
        let mut gateway = gateway(1);
        let shared = gateway.shared.clone();
        let somebody = asking(&mut gateway);
        let another = gateway.client_with(|init| init.asker = shared.asker("another", SequenceFunctions::Learn));
        gateway.ask(another, &query("INSERT INTO s"));
        assert_eq!(state(&gateway, 0), SessionState::Idle);
        gateway.ask(somebody, &query("CREATE FUNCTION f() AS 'SELECT lastval()'"));
        gateway.ask(another, &query("INSERT INTO s"));
        assert_eq!(state(&gateway, 0), SessionState::Idle, "it may well draw itself");
        // But what is defined is for everybody.
        gateway.ask(somebody, &query("CREATE TABLE u (a int DEFAULT lastval())"));
        gateway.ask(another, &query("INSERT INTO s"));
        assert_eq!(state(&gateway, 0), PIN);
    }

    #[test]
    fn who_asks_in_the_transaction_that_drew_needs_nothing() {
        let mut gateway = gateway(1);
        let client = gateway.client();
        for _ in 0..2 {
            hold(&mut gateway, client);
            let drawn = gateway.ask(client, &query("INSERT INTO s"));
            assert_eq!(gateway.ask(client, &query("SELECT lastval()")), drawn);
            gateway.ask(client, &query("COMMIT"));
            gateway.ask(client, &query("INSERT INTO s; SELECT lastval()"));
            assert_eq!(state(&gateway, 0), SessionState::Idle);
        }
        gateway.ask(client, &query("INSERT INTO s"));
        gateway.ask(client, &query("SELECT lastval()"));
        assert_eq!(
            state(&gateway, 0),
            SessionState::Idle,
            "nothing was drawn since it is known"
        );
        gateway.ask(client, &query("INSERT INTO s"));
        assert_eq!(state(&gateway, 0), PIN);
    }

    #[test]
    fn an_error_teaches_too() {
        let mut gateway = gateway(1);
        let client = gateway.client();
        assert_eq!(gateway.ask(client, &one_shot("SELECT f()")), "1 2 E55000 ZI");
        gateway.ask(client, &query("INSERT INTO s"));
        assert_eq!(state(&gateway, 0), PIN);
    }

    #[test]
    fn the_setting_decides() {
        for (policy, expected) in [
            (SequenceFunctions::Pin, PIN),
            (SequenceFunctions::Forget, SessionState::Idle),
        ] {
            let mut gateway = gateway(1);
            let shared = gateway.shared.clone();
            let client = gateway.client_with(|init| init.asker = shared.asker("x", policy));
            gateway.ask(client, &query("SELECT lastval()"));
            gateway.ask(client, &query("INSERT INTO s"));
            assert_eq!(state(&gateway, 0), expected, "{policy:?}");
        }
    }

    #[test]
    fn without_plpgsql_the_worst_is_taken_for_true() {
        let mut gateway = gateway(1);
        gateway.connections[0].server.refuses_blocks = true;
        let client = asking(&mut gateway);
        gateway.ask(client, &query("INSERT INTO t"));
        assert_eq!(state(&gateway, 0), PIN);
        let ran = gateway.connections[0].server.ran.len();
        gateway.ask(client, &query("INSERT INTO t"));
        assert_eq!(gateway.connections[0].server.ran.len(), ran + 1, "asked in vain once");
    }

    #[test]
    fn losing_what_was_drawn_is_no_reason_to_go() {
        let mut gateway = gateway(2);
        let client = asking(&mut gateway);
        gateway.ask(client, &query("INSERT INTO s"));
        let lost = (0..2).find(|index| state(&gateway, *index) == PIN).unwrap();
        gateway.lose(lost);
        assert!(!gateway.clients[client].finished);
        assert_eq!(gateway.ask(client, &query("SELECT lastval()")), UNDEFINED);
    }
}

/// `session_state: follow`.
mod s7_following {
    use super::*;

    const PIN: SessionState = SessionState::Pinned(PinReason::AdvisoryLock);

    fn state(gateway: &Gateway<Model>) -> SessionState {
        gateway.connections[0].session.state()
    }

    #[test]
    fn what_a_client_set_goes_where_it_goes_and_nobody_else_has_it() {
        let mut gateway = gateway(2);
        let (client, other) = (gateway.client(), gateway.client());
        assert_eq!(gateway.ask(client, &query("SET app.x = 'mine'")), "C[SET] ZI");
        assert_eq!(gateway.ask(other, &query("SHOW app.x")), "T D[] C[SHOW] ZI");
        hold(&mut gateway, other);
        assert_eq!(gateway.ask(client, &query("SHOW app.x")), "T D[mine] C[SHOW] ZI");
        assert_eq!(gateway.ask(other, &query("SHOW app.x")), "T D[] C[SHOW] ZT");
        assert_eq!(gateway.ask(client, &query("SET app.x = 'another'")), "C[SET] ZI");
        let_go(&mut gateway, other);
        assert_eq!(gateway.ask(client, &query("SHOW app.x")), "T D[another] C[SHOW] ZI");
    }

    #[test]
    fn what_is_set_while_the_server_is_being_asked_is_asked_about_next() {
        let mut gateway = gateway(1);
        let (client, other) = (gateway.client(), gateway.client());
        let set_config = "SELECT pg_catalog.set_config($1, $2, false) IS NULL";
        gateway.ask(client, &[parse("s", set_config), sync()].concat());
        let first = query(&format!("{:114}", "SET app.a = 'one'"));
        let second = [bind("", "s", &["app.b", "two"]), execute("", 0), sync()].concat();
        assert!(second.len() < first.len() / 2);
        // In pieces, so that the second is on its way before the question behind the first has been answered.
        gateway.chunk = first.len() / 2;
        gateway.ask(client, &[first, second].concat());
        gateway.chunk = usize::MAX;
        assert_eq!(gateway.ask(other, &query("SHOW app.b")), "T D[] C[SHOW] ZI");
        assert_eq!(gateway.ask(client, &query("SHOW app.b")), "T D[two] C[SHOW] ZI");
        assert_eq!(gateway.ask(client, &query("SHOW app.a")), "T D[one] C[SHOW] ZI");
    }

    #[test]
    fn more_custom_settings_than_can_be_asked_about_stay_with_their_client() {
        let mut gateway = gateway(1);
        let (client, other) = (gateway.client(), gateway.client());
        for number in 0..80 {
            gateway.ask(client, &query(&format!("SET app.s{number} = 'mine'")));
        }
        assert_eq!(state(&gateway), SessionState::Pinned(PinReason::Unprovable));
        // What is asked about locks proves nothing of settings.
        gateway.ask(client, &query("SELECT pg_advisory_lock(1)"));
        gateway.ask(client, &query("SELECT pg_catalog.pg_advisory_unlock_all()"));
        assert_eq!(state(&gateway), SessionState::Pinned(PinReason::Unprovable));
        for number in 0..80 {
            let show = query(&format!("SHOW app.s{number}"));
            assert_eq!(gateway.ask(client, &show), "T D[mine] C[SHOW] ZI", "app.s{number}");
        }
        assert!(gateway.leave(client));
        for number in 0..80 {
            let show = query(&format!("SHOW app.s{number}"));
            assert_eq!(gateway.ask(other, &show), "T D[] C[SHOW] ZI", "app.s{number}");
        }
    }

    #[test]
    fn what_is_rolled_back_was_never_set() {
        let mut gateway = gateway(1);
        let (client, other) = (gateway.client(), gateway.client());
        gateway.ask(client, &query("SET app.x = 'kept'"));
        gateway.ask(client, &query("BEGIN"));
        gateway.ask(client, &query("SET app.x = 'undone'"));
        gateway.ask(client, &query("ROLLBACK"));
        assert_eq!(gateway.ask(other, &query("SHOW app.x")), "T D[] C[SHOW] ZI");
        assert_eq!(gateway.ask(client, &query("SHOW app.x")), "T D[kept] C[SHOW] ZI");
    }

    #[test]
    fn reset_returns_to_what_the_client_brought_along() {
        let mut gateway = gateway(1);
        let client = gateway.client_with(|init| init.overlay = Overlay::from_pairs([("app.x", "brought")]));
        gateway.ask(client, &query("SET app.x = 'mine'"));
        assert_eq!(gateway.ask(client, &query("SHOW app.x")), "T D[mine] C[SHOW] ZI");
        let all = [query("RESET ALL"), query("SHOW app.x")].concat();
        assert_eq!(gateway.ask(client, &all), "C[RESET] ZI T D[brought] C[SHOW] ZI");
        gateway.ask(client, &query("SET app.x = 'mine'"));
        assert_eq!(gateway.ask(client, &query("DISCARD ALL")), "C[DISCARD ALL] ZI");
        assert_eq!(gateway.ask(client, &query("SHOW app.x")), "T D[brought] C[SHOW] ZI");
    }

    #[test]
    fn what_one_client_reset_is_not_held_against_the_next() {
        let mut gateway = gateway(1);
        let resetting = gateway.client_with(|init| init.session_state = SessionStatePolicy::Reset);
        gateway.ask(resetting, &query("RESET ALL"));
        let client = gateway.client_with(|init| init.overlay = Overlay::from_pairs([("app.x", "brought")]));
        gateway.ask(client, &query("SET app.x = ''"));
        assert_eq!(gateway.ask(client, &query("SHOW app.x")), "T D[] C[SHOW] ZI");
    }

    #[test]
    fn a_lock_ties_its_client_to_the_connection_until_it_is_released() {
        let mut gateway = gateway(1);
        let (client, other) = (gateway.client(), gateway.client());
        gateway.ask(client, &query("SELECT pg_advisory_lock(1)"));
        assert_eq!(state(&gateway), PIN);
        assert_eq!(gateway.ask(other, &query("SELECT 'x'")), "", "has to wait");
        assert_eq!(gateway.ask(client, &query("SELECT 'y'")), "T D[y] C[SELECT 1] ZI");
        assert_eq!(state(&gateway), PIN);
        gateway.ask(client, &query("SELECT pg_catalog.pg_advisory_unlock_all()"));
        assert_eq!(gateway.ask(other, b""), "T D[x] C[SELECT 1] ZI");
        assert_eq!(state(&gateway), SessionState::Idle);
    }

    #[test]
    fn a_client_that_leaves_takes_its_lock_along() {
        let mut gateway = gateway(1);
        let (client, other) = (gateway.client(), gateway.client());
        gateway.ask(client, &query("SELECT pg_advisory_lock(1)"));
        assert!(gateway.leave(client));
        assert_eq!(gateway.connections[0].server.leftovers(), [""; 0]);
        assert_eq!(gateway.ask(other, &query("SELECT 'x'")), "T D[x] C[SELECT 1] ZI");
    }

    #[test]
    fn who_loses_a_connection_that_it_relied_on_has_to_go() {
        let mut gateway = gateway(1);
        let client = gateway.client();
        gateway.ask(client, &query("SELECT pg_advisory_lock(1)"));
        gateway.lose(0);
        assert!(gateway.clients[client].finished);
        assert_eq!(told(&gateway.receive(client)), "E08006");
    }

    #[test]
    fn who_counts_on_a_temporary_schema_of_its_own_does_not_get_anothers() {
        let mut gateway = gateway(2);
        let (client, other) = (gateway.client(), gateway.client());
        for _ in 0..2 {
            gateway.ask(other, &query("CREATE TEMP TABLE t () ON COMMIT DROP"));
        }
        assert_eq!(state(&gateway), SessionState::Idle);
        // Of two connections one has it, the client's next one or the one that it has at the moment.
        let set = query(&format!("{:114}", "SET search_path = 'pg_temp'"));
        // In pieces, so that the second request comes while the server is being asked about the first.
        gateway.chunk = set.len() / 2;
        assert_eq!(
            gateway.ask(client, &[set, query("BEGIN")].concat()),
            "C[SET] ZI C[BEGIN] ZT"
        );
        gateway.chunk = usize::MAX;
        let lease = gateway.clients[client].lease.unwrap();
        assert!(!gateway.connections[lease].server.has_temporary_schema);
        // Its own is no obstacle.
        gateway.ask(client, &query("CREATE TEMP TABLE t () ON COMMIT DROP"));
        gateway.ask(client, &query("COMMIT"));
        assert_eq!(
            gateway.ask(client, &query("SHOW search_path")),
            "T D[pg_temp] C[SHOW] ZI"
        );
        assert!(gateway.connections[lease].server.has_temporary_schema);
    }

    #[test]
    fn who_touches_nothing_is_not_asked_about() {
        let mut gateway = gateway(1);
        let client = gateway.client();
        gateway.ask(client, &query("SELECT 'x'"));
        gateway.ask(client, &one_shot("SELECT 'y'"));
        gateway.ask(client, &[query("BEGIN"), query("COMMIT")].concat());
        let ran = &gateway.connections[0].server.ran;
        assert_eq!(ran, &["SELECT 'x'", "SELECT 'y'", "BEGIN", "COMMIT"]);
    }

    /// A conversation whose SET has been answered, and which has asked the server about it.
    fn settling() -> (Conversation, weir_postgres::session::Session) {
        let gateway = gateway(1);
        let (mut conversation, mut session) = (Conversation::new(init(&gateway.shared)), session(&gateway.shared, 3));
        let mut out = Outbox::default();
        conversation.adopt(&mut session, &mut out);
        let set = query("SET app.x = 'mine'");
        conversation.from_client(&set, Some(&mut session), &mut out).unwrap();
        let answers = [&b"C\0\0\0\x08SET\0"[..], b"Z\0\0\0\x05I"];
        for answer in answers {
            let step = conversation.from_server(answer, &mut session, &mut out);
            assert_eq!(step, Ok(Step::Forward(answer.len() as u64)), "the client does not wait");
        }
        assert!(said(&out.to_server).starts_with("Q(SELECT 'set', "));
        assert_eq!(session.state(), SessionState::Busy);
        (conversation, session)
    }

    #[test]
    fn what_cannot_be_found_out_ties_the_client() {
        let (mut conversation, mut session) = settling();
        let mut out = Outbox::default();
        let refused = [&b"E\0\0\0\x0cC42501\0\0"[..], b"Z\0\0\0\x05I"];
        for answer in refused {
            let step = conversation.from_server(answer, &mut session, &mut out);
            assert_eq!(step, Ok(Step::Skip(answer.len() as u64)));
        }
        assert_eq!(session.state(), SessionState::Pinned(PinReason::Unprovable));
        assert!(out.to_client.is_empty() && out.to_server.is_empty());
    }

    #[test]
    fn a_cancelled_question_is_asked_again_but_not_for_ever() {
        let (mut conversation, mut session) = settling();
        for asks_again in [true, true, false] {
            let mut out = Outbox::default();
            for answer in [&b"E\0\0\0\x0cC57014\0\0"[..], b"Z\0\0\0\x05I"] {
                conversation.from_server(answer, &mut session, &mut out).unwrap();
            }
            assert_eq!(!out.to_server.is_empty(), asks_again);
        }
        assert_eq!(session.state(), SessionState::Pinned(PinReason::Unprovable));
    }

    #[test]
    fn a_client_whose_setting_may_be_lost_has_to_go() {
        let (mut conversation, mut session) = settling();
        let mut out = Outbox::default();
        assert_eq!(conversation.server_lost(&mut session, false, &mut out), Onward::Finish);
    }
}

mod s8_leaving {
    use super::*;

    /// Whatever state a client leaves its connection in, the next one finds it fresh (I5).
    #[test]
    fn every_way_to_leave_brings_the_connection_to_rest() {
        let ways: [(&str, Vec<u8>); 9] = [
            ("at rest", query("SELECT 'x'")),
            ("in a transaction", query("BEGIN")),
            ("in a failed transaction", [query("BEGIN"), query("SELEC")].concat()),
            ("without Sync", parse("", "SELECT 'x'")),
            ("with Flush", [parse("", "SELECT 'x'"), flush()].concat()),
            ("skipping to Sync", [parse("", "SELEC"), flush()].concat()),
            (
                "in a transaction without Sync",
                [query("BEGIN"), parse("a", "SELECT 'x'"), flush()].concat(),
            ),
            ("with settings", [query("BEGIN"), query("SET app.x = '1'")].concat()),
            (
                "in a failed group of a transaction",
                [query("BEGIN"), parse("", "SELEC")].concat(),
            ),
        ];
        for (way, bytes) in ways {
            for chunk in [1, usize::MAX] {
                let mut gateway = gateway(1);
                gateway.chunk = chunk;
                let client = gateway.client();
                gateway.send(client, &bytes);
                assert!(gateway.leave(client), "{way}");
                let next = gateway.client();
                assert_eq!(gateway.ask(next, &query("SHOW app.x")), "T D[] C[SHOW] ZI", "{way}");
                assert_eq!(gateway.connections[0].holder, None, "{way}");
            }
        }
    }

    #[test]
    fn half_a_message_cannot_be_mended() {
        let mut gateway = gateway(1);
        let client = gateway.client();
        hold(&mut gateway, client);
        gateway.send(client, &copy_data("x")[..3]);
        gateway.ask(client, &[parse("a", "SELECT $1::text"), sync()].concat()[3..]);
        let mut gateway = super::gateway(1);
        let client = gateway.client();
        gateway.ask(client, &[parse("a", "SELECT $1::text"), sync()].concat());
        hold(&mut gateway, client);
        let long = bind("", "a", &[&"v".repeat(20_000)]);
        gateway.send(client, &long[..10_000]);
        assert!(!gateway.leave(client), "the rest of the Bind will never come");
    }

    #[test]
    fn good_bye_in_mid_answer_is_leaving_too() {
        let mut gateway = gateway(1);
        let client = gateway.client();
        gateway.send(client, &[query("BEGIN"), terminate()].concat());
        let next = gateway.client();
        assert_eq!(gateway.ask(next, &query("SELECT 'x'")), "T D[x] C[SELECT 1] ZI");
    }
}

mod s9_losing_the_server {
    use super::*;

    #[test]
    fn a_client_that_asked_nothing_does_not_notice() {
        let mut gateway = gateway(1);
        let client = gateway.client();
        gateway.ask(client, &query("SELECT 'x'"));
        gateway.connections[0].server.shut_down();
        gateway.settle();
        assert!(matches!(
            gateway.connections[0].session.state(),
            SessionState::Broken(_)
        ));
        gateway.replace(0, Model::default());
        assert_eq!(gateway.ask(client, &query("SELECT 'x'")), "T D[x] C[SELECT 1] ZI");
    }

    /// Drives one conversation by hand up to the loss.
    fn lost(sent: &[&[u8]], answered: &[&[u8]]) -> (String, Onward, Conversation) {
        let gateway = gateway(0);
        let mut conversation = Conversation::new(init(&gateway.shared));
        let mut session = session(&gateway.shared, 3);
        let mut out = Outbox::default();
        conversation.adopt(&mut session, &mut out);
        for bytes in sent {
            let step = conversation.from_client(bytes, Some(&mut session), &mut out);
            assert!(matches!(step, Ok(Step::Forward(_) | Step::Skip(_))), "{step:?}");
        }
        for bytes in answered {
            let step = conversation.from_server(bytes, &mut session, &mut out);
            assert!(matches!(step, Ok(Step::Forward(_) | Step::Skip(_))), "{step:?}");
        }
        let mut out = Outbox::default();
        let onward = conversation.server_lost(&mut session, false, &mut out);
        assert!(matches!(session.state(), SessionState::Broken(_)));
        (told(&out.to_client), onward, conversation)
    }

    const FATAL: &[u8] = b"E\0\0\0\x1eSFATAL\0VFATAL\0C57P01\0Mbye\0\0\0";

    #[test]
    fn rule_2_each_request_under_way_gets_one_error_and_one_ready() {
        let (told, onward, _) = lost(&[&query("SELECT 1")], &[]);
        assert_eq!((&*told, onward), ("E08006 ZI", Onward::Continue));
        let (told, ..) = lost(&[&query("SELECT 1"), &query("SELECT 2"), &parse("", "x"), &sync()], &[]);
        assert_eq!(told, "E08006 ZI E08006 ZI E08006 ZI");
        let (told, ..) = lost(&[&parse("", "x"), &query("SELECT 2"), &sync()], &[]);
        assert_eq!(
            told, "E08006 ZI",
            "a query inside a group that is lost has no answer of its own"
        );
    }

    #[test]
    fn rule_2_the_rest_of_a_group_is_swallowed_up_to_its_sync() {
        let (told, onward, mut conversation) = lost(&[&parse("", "SELECT 'x'")], &[]);
        assert_eq!((&*told, onward), ("E08006", Onward::Continue));
        let mut out = Outbox::default();
        for bytes in [bind("", "", &[]), execute("", 0), query("SELECT 'no'"), sync()] {
            assert!(matches!(
                conversation.from_client(&bytes, None, &mut out),
                Ok(Step::Skip(_))
            ));
        }
        assert_eq!(super::told(&out.to_client), "ZI");
        assert_eq!(
            conversation.from_client(&query("SELECT 1"), None, &mut out),
            Ok(Step::Lease(Access::ReadWrite))
        );
    }

    #[test]
    fn rule_2_a_group_that_has_had_its_error_gets_no_second_one() {
        let error = b"E\0\0\0\x0cC42601\0\0";
        let (told, ..) = lost(&[&parse("", "SELEC"), &sync()], &[error]);
        assert_eq!(told, "ZI");
        let (told, _, mut conversation) = lost(&[&parse("", "SELEC")], &[error]);
        assert_eq!(told, "");
        let mut out = Outbox::default();
        assert!(matches!(
            conversation.from_client(&sync(), None, &mut out),
            Ok(Step::Skip(_))
        ));
        assert_eq!(super::told(&out.to_client), "ZI");
    }

    #[test]
    fn rule_2_the_servers_last_words_are_passed_on_as_an_error() {
        let (told, onward, _) = lost(&[&query("SELECT 1")], &[FATAL]);
        assert_eq!((&*told, onward), ("E57P01 ZI", Onward::Continue));
    }

    #[test]
    fn rule_2_a_lost_explicit_transaction_ends_the_client() {
        let (told, onward, _) = lost(&[&query("BEGIN")], &[b"Z\0\0\0\x05T", FATAL]);
        assert_eq!((&*told, onward), ("E57P01", Onward::Finish));
    }

    #[test]
    fn rule_4_a_lost_commit_says_that_nobody_knows() {
        let (told, onward, _) = lost(&[&query("BEGIN"), &query("COMMIT")], &[b"Z\0\0\0\x05T"]);
        assert_eq!((&*told, onward), ("E08007", Onward::Finish));
        let named = [parse("c", "COMMIT"), bind("", "c", &[]), execute("", 0), sync()];
        let named: Vec<&[u8]> = named.iter().map(|message| &message[..]).collect();
        assert_eq!(lost(&named, &[]).0, "E08007 ZI");
    }
}

mod refusals {
    use super::*;

    fn timeout() -> Refusal {
        Refusal::PoolTimeout {
            source: "default".into(),
            in_use: 20,
            limit: limit(),
            waiting: 1,
            waited: std::time::Duration::from_secs(1),
        }
    }

    #[test]
    fn a_refused_request_is_answered_whole_and_the_client_stays() {
        for (request, rest) in [
            (query("SELECT 'x'"), Vec::new()),
            (
                parse("", "SELECT 'x'"),
                [bind("", "", &[]), execute("", 0), query("SELECT 'no'"), sync()].concat(),
            ),
            (one_shot("SELECT 'x'"), Vec::new()),
        ] {
            let mut gateway = gateway(1);
            let (client, other) = (gateway.client(), gateway.client());
            hold(&mut gateway, other);
            assert_eq!(gateway.ask(client, &request), "");
            assert_eq!(gateway.refuse(client, &timeout()), Onward::Continue);
            let answer = [gateway.ask(client, b""), gateway.ask(client, &rest)].join(" ");
            assert_eq!(answer.trim(), "E53300 ZI");
            let_go(&mut gateway, other);
            assert_eq!(gateway.ask(client, &query("SELECT 'y'")), "T D[y] C[SELECT 1] ZI");
        }
    }

    #[test]
    fn cancelled_in_the_queue_is_57014() {
        let mut gateway = gateway(0);
        let client = gateway.client();
        gateway.send(client, &query("SELECT 'x'"));
        assert_eq!(gateway.refuse(client, &Refusal::Cancelled), Onward::Continue);
        assert_eq!(gateway.ask(client, b""), "E57014 ZI");
    }

    #[test]
    fn an_idle_client_that_has_to_go_is_told_why() {
        for (why, code) in [
            (Refusal::ShuttingDown, "57P01"),
            (Refusal::SourceRemoved { source: "a".into() }, "57P01"),
            (Refusal::SourceDisabled { source: "a".into() }, "55000"),
            (Refusal::Terminated, "57P01"),
            (Refusal::ClientIdle(limit()), "57P05"),
            (Refusal::ProtocolViolation("invalid message length"), "08P01"),
        ] {
            let mut gateway = gateway(0);
            let client = gateway.client();
            assert_eq!(gateway.refuse(client, &why), Onward::Finish);
            assert_eq!(gateway.ask(client, b""), format!("E{code}"));
        }
    }

    #[test]
    fn a_transaction_that_was_idle_for_too_long_is_told_with_the_next_statement() {
        for request in [query("SELECT 'x'"), one_shot("SELECT 'x'")] {
            let mut gateway = gateway(1);
            let client = gateway.client();
            hold(&mut gateway, client);
            let why = Refusal::IdleInTransaction(limit());
            gateway.abandon(client, &why);
            gateway.settle();
            assert_eq!(gateway.connections[0].holder, None);
            assert_eq!(gateway.ask(client, &request), "E25P03 ZI");
            assert!(gateway.ask(client, &request).ends_with("D[x] C[SELECT 1] ZI"));
        }
    }

    /// A client that knows that its transaction has failed, which is then rolled back behind its back.
    fn in_failed_block(mode: PoolMode) -> (Gateway<Model>, usize) {
        let mut gateway = gateway(1);
        let client = gateway.client_with(|init| init.pool_mode = mode);
        gateway.ask(
            client,
            &[parse("c", "COMMIT"), parse("s", "SELECT 'x'"), sync()].concat(),
        );
        hold(&mut gateway, client);
        assert_eq!(gateway.ask(client, &query("SELEC")), "E42601 ZE");
        gateway.abandon(client, &Refusal::TransactionTimeout(limit()));
        gateway.settle();
        assert_eq!(gateway.ask(client, b""), "");
        if mode == PoolMode::Transaction {
            assert_eq!(gateway.connections[0].holder, None);
        }
        (gateway, client)
    }

    #[test]
    fn who_knows_that_its_transaction_failed_ends_it_like_any_failed_one() {
        let extended = |statement: &str| [bind("", statement, &[]), describe_portal(""), execute("", 0)].concat();
        for mode in [PoolMode::Transaction, PoolMode::Session] {
            for (request, answer) in [
                (query("ROLLBACK"), "C[ROLLBACK] ZI"),
                (query("commit;"), "C[ROLLBACK] ZI"),
                (query("END"), "C[ROLLBACK] ZI"),
                (query("SELECT 'x'"), "E25P02 ZE"),
                (query("ROLLBACK TO a"), "E25P02 ZE"),
                (query("COMMIT; SELECT 'x'"), "E25P02 ZE"),
                (query(""), "I ZE"),
                (call(1), "E25P02 ZE"),
                (sync(), "ZE"),
                ([flush(), copy_data("late"), copy_done()].concat(), ""),
                (one_shot("ROLLBACK"), "1 2 C[ROLLBACK] ZI"),
                (one_shot("SELECT 'x'"), "E25P02 ZE"),
                ([extended("c"), sync()].concat(), "2 n C[ROLLBACK] ZI"),
                ([extended("s"), sync()].concat(), "E25P02 ZE"),
                ([describe_statement("c"), sync()].concat(), "t n ZE"),
                ([close_statement("s"), sync()].concat(), "3 ZE"),
                (
                    [parse("n", "ROLLBACK"), sync(), extended("n"), sync()].concat(),
                    "1 ZE 2 n C[ROLLBACK] ZI",
                ),
                (
                    [bind("", "c", &[]), execute("p", 0), query("ROLLBACK"), sync()].concat(),
                    "2 E25P02 ZE",
                ),
                // What follows the end is a transaction of its own.
                (
                    [extended("c"), extended("s"), sync()].concat(),
                    "2 n C[ROLLBACK] 2 T D[x] C[SELECT 1] ZI",
                ),
                (
                    [query("ROLLBACK"), query("SELECT 'y'")].concat(),
                    "C[ROLLBACK] ZI T D[y] C[SELECT 1] ZI",
                ),
                // As asyncpg puts a connection back.
                (query("ROLLBACK; SELECT 'y'"), "C[ROLLBACK] T D[y] C[SELECT 1] ZI"),
            ] {
                let (mut gateway, client) = in_failed_block(mode);
                assert_eq!(gateway.ask(client, &request), answer, "{}", said(&request));
                if !answer.ends_with("ZI") {
                    assert_eq!(gateway.ask(client, &query("ROLLBACK")), "C[ROLLBACK] ZI");
                }
                let again = [bind("", "c", &[]), execute("", 0), sync()].concat();
                assert_eq!(gateway.ask(client, &again), "2 C[COMMIT] ZI");
                assert!(
                    gateway
                        .ask(client, &query("SELECT 'x'"))
                        .ends_with("D[x] C[SELECT 1] ZI")
                );
            }
        }
    }

    #[test]
    fn in_a_failed_block_of_its_own_a_client_holds_no_connection_and_is_told_why() {
        let (mut gateway, client) = in_failed_block(PoolMode::Transaction);
        let other = gateway.client();
        hold(&mut gateway, other);
        gateway.send(client, &query("SELECT 'x'"));
        let told = String::from_utf8_lossy(&gateway.receive(client)).into_owned();
        assert!(told.contains("max_connections = 20 (databases.yaml:9:9)"), "{told}");
        assert_eq!(gateway.ask(client, &query("ROLLBACK")), "C[ROLLBACK] ZI");
        let_go(&mut gateway, other);
    }
}

mod routing {
    use super::*;

    fn access(routing: ReplicaRouting, bytes: &[u8]) -> Access {
        let gateway = gateway(0);
        let mut init = init(&gateway.shared);
        init.replica_routing = routing;
        match Conversation::new(init).from_client(bytes, None, &mut Outbox::default()) {
            Ok(Step::Lease(access)) => access,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_what_cannot_write_may_go_to_a_replica() {
        use Access::{ReadOnly, ReadWrite};
        use ReplicaRouting::{None, ReadOnlyStatements, ReadOnlyTransactions};
        let begin = query("BEGIN READ ONLY");
        assert_eq!(access(None, &begin), ReadWrite);
        assert_eq!(access(ReadOnlyTransactions, &begin), ReadOnly);
        assert_eq!(access(ReadOnlyStatements, &begin), ReadOnly);
        assert_eq!(access(ReadOnlyTransactions, &query("SELECT 1")), ReadWrite);
        assert_eq!(access(ReadOnlyStatements, &query("SELECT 1")), ReadOnly);
        assert_eq!(access(ReadOnlyStatements, &query("SELECT 1 FOR UPDATE")), ReadWrite);
        assert_eq!(access(ReadOnlyStatements, &one_shot("SELECT 1")), ReadOnly);
        assert_eq!(
            access(ReadOnlyStatements, &parse("", "SELECT 1")),
            ReadWrite,
            "who knows what follows"
        );
        let two = [
            parse("", "SELECT 1"),
            bind("", "", &[]),
            one_shot("INSERT INTO t VALUES (1)"),
        ]
        .concat();
        assert_eq!(access(ReadOnlyStatements, &two), ReadWrite);
    }

    #[test]
    fn a_write_behind_a_read_waits_for_the_primary() {
        let gateway = gateway(0);
        let mut init = init(&gateway.shared);
        init.replica_routing = ReplicaRouting::ReadOnlyStatements;
        let mut conversation = Conversation::new(init);
        let mut session = session(&gateway.shared, 3);
        let mut out = Outbox::default();
        let (read, write) = (query("SELECT 1"), query("INSERT INTO t VALUES (1)"));
        assert_eq!(
            conversation.from_client(&read, None, &mut out),
            Ok(Step::Lease(Access::ReadOnly))
        );
        conversation.adopt(&mut session, &mut out);
        assert!(matches!(
            conversation.from_client(&read, Some(&mut session), &mut out),
            Ok(Step::Forward(_))
        ));
        assert_eq!(
            conversation.from_client(&write, Some(&mut session), &mut out),
            Ok(Step::Hold)
        );
        assert!(matches!(
            conversation.from_server(b"Z\0\0\0\x05I", &mut session, &mut out),
            Ok(Step::Forward(6))
        ));
        let step = conversation.from_client(&write, Some(&mut session), &mut out);
        assert_eq!(step, Ok(Step::Lease(Access::ReadWrite)));
    }

    #[test]
    fn a_client_that_may_only_read_has_read_only_transactions() {
        let mut gateway = gateway(1);
        let client = gateway.client_with(|init| init.read_only = true);
        assert_eq!(
            gateway.ask(client, &query("SHOW default_transaction_read_only")),
            "T D[on] C[SHOW] ZI"
        );
    }
}

mod replication {
    use super::*;

    #[test]
    fn a_replication_connection_is_passed_through_both_ways() {
        let gateway = gateway(0);
        let mut init = init(&gateway.shared);
        init.replication = true;
        let mut conversation = Conversation::new(init);
        let mut session = weir_postgres::session::Session::new(weir_postgres::session::SessionInit {
            parameters: weir_postgres::session::Parameters::default(),
            max_prepared_statements: 3,
            shared: gateway.shared.clone(),
            replication: true,
        });
        let mut out = Outbox::default();
        let start = query("START_REPLICATION SLOT s LOGICAL 0/0");
        assert_eq!(
            conversation.from_client(&start, None, &mut out),
            Ok(Step::Lease(Access::ReadWrite))
        );
        conversation.adopt(&mut session, &mut out);
        assert!(matches!(session.state(), SessionState::Pinned(_)));
        let forwarded = Ok(Step::Forward(start.len() as u64));
        assert_eq!(
            conversation.from_client(&start, Some(&mut session), &mut out),
            forwarded
        );
        let answer = [b"W\0\0\0\x07\0\0\0".to_vec(), copy_data("wal"), copy_data("keepalive")].concat();
        let all = Ok(Step::Forward(answer.len() as u64));
        assert_eq!(conversation.from_server(&answer, &mut session, &mut out), all);
        let standby = copy_data("standby status");
        let forwarded = Ok(Step::Forward(standby.len() as u64));
        assert_eq!(
            conversation.from_client(&standby, Some(&mut session), &mut out),
            forwarded
        );
        assert!(out.to_client.is_empty() && out.to_server.is_empty());
        assert_eq!(
            conversation.from_client(&terminate(), Some(&mut session), &mut out),
            Ok(Step::Finish)
        );
        let left = conversation.leave(&mut session, false, &mut out);
        assert!(matches!(left, weir_core::backend::Leave::Discard(_)));
    }
}
