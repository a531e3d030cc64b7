//! The relay over the toy backend: no sockets, and time stands still unless a test lets it pass.

use std::{sync::Arc, time::Duration};

use tokio::io::AsyncReadExt;
use weir_core::{
    front::Allowance,
    pool::Pool,
    refusal::{Rejection, Retry},
    registry::SourceParts,
    settings::{PoolSettings, Timeouts},
    testing::{gateway::Gateway, toy::Toy},
};

fn gateway(max_connections: u32) -> Gateway {
    gateway_with(max_connections, Timeouts::default())
}

fn gateway_with(max_connections: u32, timeouts: Timeouts) -> Gateway {
    Gateway::new(
        PoolSettings {
            max_connections,
            ..PoolSettings::default()
        },
        timeouts,
    )
}

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Whoever asks to cancel waits until the request has come back; here nobody does.
fn cancel_in_background(gateway: &Gateway, id: u32, secret: &[u8]) {
    let (clients, secret) = (gateway.clients.clone(), secret.to_vec());
    tokio::spawn(async move { clients.cancel(id, &secret).await });
}

#[tokio::test(start_paused = true)]
async fn many_clients_share_few_connections_and_each_gets_its_own_answers() {
    let gateway = gateway(3);
    let mut tasks = Vec::new();
    for number in 0..60 {
        let mut client = gateway.connect();
        tasks.push(tokio::spawn(async move {
            for turn in 0..20 {
                let token = format!("{number}-{turn}");
                assert_eq!(client.ask(&format!("echo {token}")).await, token);
            }
        }));
    }
    for task in tasks {
        task.await.expect("a client's answers are its own");
    }
    assert!(gateway.database.most_open() <= 3);
}

#[tokio::test(start_paused = true)]
async fn a_transaction_keeps_its_connection_and_the_next_client_waits() {
    let gateway = gateway(1);
    let (mut first, mut second) = (gateway.connect(), gateway.connect());
    assert_eq!(first.ask("begin").await, "begun");
    second.send("echo second").await;
    pass(Duration::from_secs(1)).await;
    assert_eq!(first.ask("echo first").await, "first");
    assert_eq!(first.ask("commit").await, "ended");
    assert_eq!(second.answer().await, Some((b'i', "second".to_owned())));
    assert_eq!(gateway.database.log(), ["begin", "echo first", "commit", "echo second"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_client_set_is_put_back_before_the_next_one_comes() {
    let gateway = gateway(1);
    let (mut first, mut second) = (gateway.connect(), gateway.connect());
    assert_eq!(first.ask("set secret").await, "set");
    assert_eq!(second.ask("get").await, "");
    assert_eq!(gateway.database.log(), ["set secret", "reset", "get"]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_whose_client_left_never_reaches_the_next() {
    let gateway = gateway(1);
    let mut first = gateway.connect();
    first.send("big 100000").await;
    let mut head = [0; 100];
    first.io.read_exact(&mut head).await.expect("the answer begins");
    drop(first);
    let mut second = gateway.connect();
    assert_eq!(second.ask("echo mine").await, "mine");
    assert_eq!(
        gateway.database.most_open(),
        1,
        "the connection was recovered, not replaced"
    );
}

#[tokio::test(start_paused = true)]
async fn a_statement_whose_client_vanished_is_cancelled() {
    let gateway = gateway(1);
    let mut first = gateway.connect();
    first.send("slow 3600000").await;
    pass(Duration::from_millis(10)).await;
    drop(first);
    let mut second = gateway.connect();
    assert_eq!(second.ask("echo mine").await, "mine");
    assert_eq!(gateway.database.most_open(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_transaction_whose_client_vanished_is_rolled_back() {
    let gateway = gateway(1);
    let mut first = gateway.connect();
    first.ask("begin").await;
    drop(first);
    let mut second = gateway.connect();
    assert_eq!(second.ask("echo mine").await, "mine");
    assert_eq!(gateway.database.log(), ["begin", "rollback", "echo mine"]);
}

#[tokio::test(start_paused = true)]
async fn half_a_request_costs_the_connection() {
    let gateway = gateway(1);
    let mut first = gateway.connect();
    tokio::io::AsyncWriteExt::write_all(&mut first.io, b"\0\0\0\x20set half")
        .await
        .expect("written");
    pass(Duration::from_millis(10)).await;
    drop(first);
    let mut second = gateway.connect();
    assert_eq!(second.ask("get").await, "");
    assert_eq!(gateway.database.log(), ["get"]);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_request_stops_what_runs_and_nothing_else() {
    let gateway = gateway(1);
    let mut client = gateway.connect();
    let (id, secret) = client.key.clone();
    gateway.clients.cancel(id, &secret).await;
    client.send("slow 3600000").await;
    pass(Duration::from_millis(10)).await;
    gateway.clients.cancel(id, &secret).await;
    assert_eq!(client.answer().await, Some((b'i', "cancelled".to_owned())));
    assert_eq!(client.ask("echo after").await, "after");
}

#[tokio::test(start_paused = true)]
async fn a_second_cancel_request_does_not_forget_the_first_which_never_strikes_another_client() {
    let gateway = gateway(1);
    gateway.database.delay_cancels(Duration::from_millis(100));
    let (mut client, mut other) = (gateway.connect(), gateway.connect());
    let (id, secret) = client.key.clone();
    client.send("slow 50").await;
    pass(Duration::from_millis(10)).await;
    cancel_in_background(&gateway, id, &secret);
    assert_eq!(client.answer().await, Some((b'i', "slept".to_owned())));
    cancel_in_background(&gateway, id, &secret);
    pass(Duration::from_millis(1)).await;
    assert_eq!(other.ask("slow 1000").await, "slept");
}

#[tokio::test(start_paused = true)]
async fn a_cancel_request_that_came_while_the_connection_was_prepared_is_sent_when_the_statement_runs() {
    let gateway = gateway(1);
    let mut client = gateway.connect();
    let (id, secret) = client.key.clone();
    client.send("preslow 3600000").await;
    pass(Duration::from_millis(10)).await;
    cancel_in_background(&gateway, id, &secret);
    assert_eq!(client.answer().await, Some((b'i', "cancelled".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn what_runs_can_be_cancelled_while_what_follows_it_waits() {
    let gateway = gateway(1);
    let mut client = gateway.connect();
    let (id, secret) = client.key.clone();
    client.send("slow 3600000").await;
    client.send("one at a time").await;
    pass(Duration::from_millis(10)).await;
    cancel_in_background(&gateway, id, &secret);
    assert_eq!(client.answer().await, Some((b'i', "cancelled".to_owned())));
    assert_eq!(client.answer().await, Some((b'i', "what?".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn a_rollback_that_is_never_answered_costs_the_connection_and_not_the_client_its_life() {
    let timeouts = Timeouts {
        idle_in_transaction: Some(Duration::from_secs(10)),
        ..Timeouts::default()
    };
    let gateway = gateway_with(1, timeouts);
    let (mut client, mut other) = (gateway.connect(), gateway.connect());
    assert_eq!(client.ask("begin").await, "begun");
    gateway.database.slow_down("rollback", Duration::from_secs(3600));
    let answer = tokio::time::timeout(Duration::from_secs(600), client.answer());
    let answer = answer.await.expect("not for ever");
    assert_eq!(answer, Some((b'i', "server lost".to_owned())));
    assert_eq!(other.ask("echo mine").await, "mine");
}

#[tokio::test(start_paused = true)]
async fn who_has_written_keeps_its_connection_for_a_moment_and_not_longer() {
    let timeouts = Timeouts {
        linger: Some(Duration::from_secs(10)),
        ..Timeouts::default()
    };
    let gateway = gateway_with(1, timeouts);
    let (mut client, mut other) = (gateway.connect(), gateway.connect());
    assert_eq!(client.ask("echo nothing").await, "nothing");
    assert_eq!(other.ask("echo who reads goes at once").await, "who reads goes at once");
    assert_eq!(client.ask("set mine").await, "set");
    other.send("get").await;
    pass(Duration::from_secs(9)).await;
    assert_eq!(client.ask("get").await, "mine", "nobody was served in between");
    // The time counts from the write, not from the question.
    pass(Duration::from_secs(2)).await;
    let answer = tokio::time::timeout(Duration::from_secs(1), other.answer());
    assert_eq!(answer.await.expect("its turn"), Some((b'i', String::new())));
    // Over is over: it is asked again with the next write only.
    assert_eq!(client.ask("get").await, "");
    assert_eq!(other.ask("echo at once").await, "at once");
    // Who is told to go does not linger.
    assert_eq!(client.ask("set again").await, "set");
    gateway.clients.drain();
    let told = client.answer().await.expect("a farewell").1;
    assert!(told.contains("ShuttingDown"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn limits_apply_again_as_soon_as_a_transaction_has_been_rolled_back_for_one() {
    let timeouts = Timeouts {
        idle_in_transaction: Some(Duration::from_secs(10)),
        query: Some(Duration::from_secs(5)),
        ..Timeouts::default()
    };
    let gateway = gateway_with(1, timeouts);
    let mut client = gateway.connect();
    assert_eq!(client.ask("begin").await, "begun");
    gateway.database.slow_down("rollback", Duration::from_secs(1));
    pass(Duration::from_millis(10_500)).await;
    // While it is being rolled back: the connection does not come to rest in between.
    assert_eq!(client.ask("slow 3600000").await, "cancelled");
}

#[tokio::test(start_paused = true)]
async fn a_connection_left_in_the_middle_of_a_message_goes_to_nobody_and_its_bytes_to_nobody() {
    let gateway = gateway(2);
    let mut client = gateway.connect();
    assert_eq!(client.ask("half").await, "what?");
    pass(Duration::from_millis(10)).await;
    client.send("elsewhere").await;
    assert_eq!(client.answer().await, Some((b'i', "what?".to_owned())));
    assert_eq!(client.ask("echo after").await, "after");
}

#[tokio::test(start_paused = true)]
async fn a_client_in_the_queue_can_be_cancelled() {
    let gateway = gateway(1);
    let (mut first, mut second) = (gateway.connect(), gateway.connect());
    first.ask("begin").await;
    second.send("echo never").await;
    pass(Duration::from_millis(10)).await;
    let (id, secret) = second.key.clone();
    gateway.clients.cancel(id, &secret).await;
    let (_, said) = second.answer().await.expect("an answer");
    assert!(said.contains("Cancelled"), "{said}");
    first.ask("commit").await;
    assert!(!gateway.database.log().contains(&"echo never".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_client_in_the_queue_can_take_its_request_back() {
    let gateway = gateway(1);
    let (mut first, mut second, mut third) = (gateway.connect(), gateway.connect(), gateway.connect());
    first.ask("begin").await;
    second.send("echo never").await;
    pass(Duration::from_millis(10)).await;
    third.send("echo mine").await;
    pass(Duration::from_millis(10)).await;
    assert_eq!(gateway.source.parts().primary.stats().waiting, 2);
    second.send("undo").await;
    assert_eq!(second.answer().await, Some((b'i', "undone".to_owned())));
    assert_eq!(gateway.source.parts().primary.stats().waiting, 1, "it waits no more");
    first.ask("commit").await;
    assert_eq!(third.answer().await, Some((b'i', "mine".to_owned())));
    assert_eq!(second.ask("echo again").await, "again");
    assert!(!gateway.database.log().iter().any(|line| line.contains("never")));
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_ties_up_its_own_connection_only() {
    let gateway = gateway(2);
    let mut slow = gateway.connect();
    slow.send("big 5000000").await;
    pass(Duration::from_secs(30)).await;
    let mut other = gateway.connect();
    assert_eq!(other.ask("echo quick").await, "quick");
    let (_, text) = slow.answer().await.expect("the whole answer in the end");
    assert_eq!(text.len(), 5_000_000);
    assert_eq!(slow.ask("echo again").await, "again");
}

#[tokio::test(start_paused = true)]
async fn a_statement_beyond_query_timeout_is_cancelled_and_the_client_stays() {
    let timeouts = Timeouts {
        query: Some(Duration::from_secs(2)),
        ..Timeouts::default()
    };
    let gateway = gateway_with(1, timeouts);
    let mut client = gateway.connect();
    let before = weir_core::clock::now();
    assert_eq!(client.ask("slow 3600000").await, "cancelled");
    assert_eq!(before.elapsed().as_secs(), 2);
    for _ in 0..5 {
        assert_eq!(
            client.ask("slow 1500").await,
            "slept",
            "each statement has its own time"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_transaction_is_rolled_back_and_the_client_stays() {
    let timeouts = Timeouts {
        idle_in_transaction: Some(Duration::from_secs(2)),
        ..Timeouts::default()
    };
    let gateway = gateway_with(1, timeouts);
    let (mut first, mut second) = (gateway.connect(), gateway.connect());
    first.ask("begin").await;
    assert_eq!(second.ask("echo through").await, "through");
    assert_eq!(gateway.database.log(), ["begin", "rollback", "echo through"]);
    assert_eq!(first.ask("echo still here").await, "still here");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_idle_too_long_is_told_so_and_closed() {
    let timeouts = Timeouts {
        client_idle: Some(Duration::from_secs(5)),
        ..Timeouts::default()
    };
    let gateway = gateway_with(1, timeouts);
    let mut client = gateway.connect();
    pass(Duration::from_secs(4)).await;
    client.ask("echo busy").await;
    pass(Duration::from_secs(4)).await;
    client.ask("echo busy").await;
    let (_, said) = client.answer().await.expect("a word before the end");
    assert!(said.contains("client_idle_timeout"), "{said}");
    assert_eq!(client.answer().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_saturated_pool_says_so_after_pool_timeout() {
    let settings = PoolSettings {
        max_connections: 1,
        pool_timeout: Some(Duration::from_secs(3)),
        ..PoolSettings::default()
    };
    let gateway = Gateway::new(settings, Timeouts::default());
    let (mut first, mut second) = (gateway.connect(), gateway.connect());
    first.ask("begin").await;
    let said = second.ask("echo x").await;
    assert!(
        said.contains("PoolTimeout") && said.contains("max_connections"),
        "{said}"
    );
    assert_eq!(first.ask("commit").await, "ended", "the pool is unharmed");
}

#[tokio::test(start_paused = true)]
async fn the_databases_own_words_reach_every_waiter() {
    let gateway = gateway(2);
    let rejection = Rejection {
        code: "28P01".to_owned(),
        message: "wrong password".to_owned(),
        detail: None,
        hint: None,
        retry: Retry::Useless,
    };
    gateway.database.refuse_logins(Some(rejection));
    let mut clients: Vec<_> = (0..20).map(|_| gateway.connect()).collect();
    for client in &mut clients {
        client.send("echo x").await;
    }
    for client in &mut clients {
        let answered = tokio::time::timeout(Duration::from_secs(1), client.answer()).await;
        let (_, said) = answered.expect("within a second").expect("an answer");
        assert!(said.contains("28P01"), "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_server_costs_its_client_an_error_and_nobody_else_anything() {
    let gateway = gateway(2);
    let (mut first, mut second) = (gateway.connect(), gateway.connect());
    second.ask("begin").await;
    assert_eq!(first.ask("die").await, "server lost");
    assert_eq!(second.ask("echo alive").await, "alive");
    assert_eq!(gateway.connect().ask("echo new").await, "new");
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_clients_between_transactions_only() {
    let gateway = gateway(2);
    let (mut resting, mut working) = (gateway.connect(), gateway.connect());
    working.ask("begin").await;
    resting.ask("echo x").await;
    gateway.clients.drain();
    let (_, said) = resting.answer().await.expect("a word before the end");
    assert!(said.contains("ShuttingDown"), "{said}");
    assert_eq!(working.ask("echo y").await, "y");
    assert_eq!(working.ask("commit").await, "ended");
    let (_, said) = working.answer().await.expect("a word before the end");
    assert!(said.contains("ShuttingDown"), "{said}");
    working.task.await.expect("the client's task ends");
}

#[tokio::test(start_paused = true)]
async fn goodbye_in_mid_statement_lets_it_finish() {
    let gateway = gateway(1);
    let mut client = gateway.connect();
    client.send("slow 1000").await;
    client.send("bye").await;
    drop(client);
    pass(Duration::from_millis(1500)).await;
    let mut next = gateway.connect();
    assert_eq!(next.ask("echo next").await, "next");
    assert_eq!(gateway.database.most_open(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_bell_is_answered_between_messages_and_outside_of_transactions() {
    let gateway = gateway(1);
    let ding = || Some((b'i', "ding".to_owned()));
    let mut idle = gateway.connect();
    idle.bell.ring();
    assert_eq!(idle.answer().await, ding());

    let mut busy = gateway.connect();
    assert_eq!(busy.ask("begin").await, "begun");
    busy.bell.ring();
    busy.send("big 100000").await;
    pass(Duration::from_secs(1)).await;
    let (_, big) = busy.answer().await.expect("an answer");
    assert!(big.len() == 100_000 && !big.contains("ding"));
    let mut waiting = gateway.connect();
    waiting.send("echo x").await;
    pass(Duration::from_secs(1)).await;
    waiting.bell.ring();
    pass(Duration::from_secs(1)).await;
    assert_eq!(busy.ask("commit").await, "ended");
    assert_eq!(busy.answer().await, ding());
    assert_eq!(waiting.answer().await, Some((b'i', "x".to_owned())));
    assert_eq!(waiting.answer().await, ding());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_left_when_everybody_has_gone() {
    let gateway = gateway(4);
    for _ in 0..10 {
        let mut client = gateway.connect();
        client.ask("echo x").await;
        drop(client);
    }
    pass(Duration::from_secs(1)).await;
    assert_eq!(gateway.clients.count(), 0);
    assert_eq!(gateway.source.client_count(), 0);
    let stats = gateway.source.parts().primary.stats();
    assert_eq!((stats.leased, stats.waiting, stats.maintenance), (0, 0, 0));
}

/// The parts of a source like the present ones, with another pool and other time limits.
fn other_parts(gateway: &Gateway, timeouts: Timeouts) -> SourceParts<Toy> {
    let present = gateway.source.parts();
    let pool = PoolSettings {
        max_connections: 1,
        ..PoolSettings::default()
    };
    SourceParts {
        database_names: present.database_names.clone(),
        primary: Pool::new("toys".into(), "primary", Arc::new(Toy(gateway.database.clone())), pool),
        replicas: Vec::new(),
        named: Vec::new(),
        replica_routing: present.replica_routing,
        timeouts,
        max_client_connections: None,
        origins: present.origins.clone(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_exchanged_serves_from_its_new_pool_and_lets_transactions_end_in_the_old() {
    let gateway = gateway_with(2, Timeouts::default());
    let (mut busy, mut idle) = (gateway.connect(), gateway.connect());
    busy.send("begin").await;
    busy.answer().await.expect("it has begun");
    idle.send("echo before").await;
    idle.answer().await.expect("an answer");

    let old = gateway.source.exchange(other_parts(&gateway, Timeouts::default()));
    let closing = tokio::spawn(async move { old.primary.close().await });
    idle.send("echo after").await;
    idle.answer().await.expect("an answer from the new pool");
    assert_eq!(gateway.source.parts().primary.stats().counters.leases, 1);
    assert!(!closing.is_finished(), "a transaction still runs in the old pool");
    busy.send("commit").await;
    busy.answer().await.expect("it ends where it is");
    closing.await.expect("nothing is left of the old pool");
    busy.send("echo after").await;
    busy.answer().await.expect("an answer from the new pool");
    assert_eq!(gateway.source.parts().primary.stats().counters.leases, 2);
}

#[tokio::test(start_paused = true)]
async fn who_waits_in_a_pool_that_is_exchanged_is_served_by_it_and_who_comes_late_by_the_new_one() {
    let gateway = gateway_with(1, Timeouts::default());
    let (mut busy, mut waiting) = (gateway.connect(), gateway.connect());
    busy.send("begin").await;
    busy.answer().await.expect("it has begun");
    waiting.send("echo waiting").await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    let old = gateway.source.exchange(other_parts(&gateway, Timeouts::default()));
    gateway.clients.renew_source("toys");
    let closing = tokio::spawn(async move { old.primary.close().await });
    tokio::time::sleep(Duration::from_millis(1)).await;
    busy.send("commit").await;
    busy.answer().await.expect("it ends where it is");
    waiting.answer().await.expect("its turn has come");
    closing.await.expect("nothing is left of the old pool");
}

#[tokio::test(start_paused = true)]
async fn time_limits_that_change_apply_to_clients_that_are_there() {
    let gateway = gateway_with(1, Timeouts::default());
    let mut client = gateway.connect();
    client.send("echo here").await;
    client.answer().await.expect("an answer");
    let limits = Timeouts {
        client_idle: Some(Duration::from_secs(5)),
        ..Timeouts::default()
    };
    gateway.source.exchange(other_parts(&gateway, limits));
    gateway.clients.renew_source("another");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!client.task.is_finished(), "nobody has told it");
    gateway.clients.renew_source("toys");
    let (_, said) = client.answer().await.expect("it is told");
    assert!(said.contains("ClientIdle"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn clients_of_a_source_that_is_removed_go_at_their_next_transaction_border() {
    let gateway = gateway_with(2, Timeouts::default());
    let (mut busy, mut idle) = (gateway.connect(), gateway.connect());
    busy.send("begin").await;
    busy.answer().await.expect("it has begun");
    idle.send("echo here").await;
    idle.answer().await.expect("an answer");
    gateway.source.remove();
    gateway.clients.drain_source("toys");
    let (_, said) = idle.answer().await.expect("it is told");
    assert!(said.contains("SourceRemoved"), "{said}");
    busy.send("echo in it").await;
    busy.answer().await.expect("its transaction goes on");
    busy.send("commit").await;
    busy.answer().await.expect("and ends");
    let (_, said) = busy.answer().await.expect("then it is told");
    assert!(said.contains("SourceRemoved"), "{said}");
}

/// What the time of the only pool's clients went into, in milliseconds: waiting, connecting, resetting, server, client.
fn split(gateway: &Gateway) -> [u128; 5] {
    let latency = gateway.source.parts().primary.latency();
    latency.split.parts().map(|(_, time)| time.as_millis())
}

/// Timers round up to the next millisecond, and each exchange may take a few.
fn assert_about(found: [u128; 5], expected: [u128; 5]) {
    let close = |(found, expected): (&u128, &u128)| *found >= *expected && *found <= *expected + 10;
    assert!(
        found.iter().zip(&expected).all(close),
        "{found:?} instead of {expected:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_transaction_is_split_into_what_it_was_spent_on() {
    let gateway = gateway(1);
    gateway.database.delay_logins(Duration::from_millis(200));
    let (mut first, mut second) = (gateway.connect(), gateway.connect());
    assert_eq!(first.ask("preslow 300").await, "slept");
    assert_about(split(&gateway), [0, 200, 50, 300, 0]);

    assert_eq!(first.ask("begin").await, "begun");
    second.send("echo second").await;
    pass(Duration::from_secs(1)).await;
    assert_eq!(first.ask("slow 500").await, "slept");
    assert_eq!(first.ask("commit").await, "ended");
    assert_eq!(second.answer().await, Some((b'i', "second".to_owned())));
    assert_about(split(&gateway), [1_500, 200, 50, 800, 1_000]);

    // The answer is larger than what the gateway takes for a client that does not read.
    first.send("big 100000").await;
    pass(Duration::from_secs(3)).await;
    first.answer().await.expect("the answer");
    pass(Duration::from_millis(1)).await;
    assert_about(split(&gateway), [1_500, 200, 50, 800, 4_000]);

    let latency = gateway.source.parts().primary.latency();
    let counts = [&latency.wait, &latency.connect, &latency.transaction, &latency.query]
        .map(weir_core::observe::Snapshot::count);
    assert_eq!(counts, [4, 1, 4, 6]);
    assert!(latency.transaction.quantile(1.0) > Duration::from_secs(2));
    // Only two had to wait.
    assert_eq!(latency.wait.cumulative(&weir_core::observe::HASURA_WAIT)[0], 2);
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_is_cut_off_is_counted_up_to_its_end() {
    let gateway = gateway(1);
    let mut client = gateway.connect();
    assert_eq!(client.ask("begin").await, "begun");
    pass(Duration::from_secs(2)).await;
    assert_eq!(client.ask("die").await, "server lost");
    let latency = gateway.source.parts().primary.latency();
    assert_eq!(latency.transaction.count(), 1);
    assert_eq!(latency.transaction.sum().as_secs(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_paused_source_takes_nothing_from_its_users_clients_of_other_sources() {
    let (paused, other) = (gateway(2), gateway(2));
    let allowance = Arc::new(Allowance::new(1, "test".to_owned()));
    let mut waits_before = paused.connect_with(Some(allowance.clone()));
    let mut holder = other.connect_with(Some(allowance.clone()));
    assert_eq!(holder.ask("begin").await, "begun");
    // It waits for its share when the pause begins; another one comes when it has begun.
    waits_before.send("echo 1").await;
    pass(Duration::from_secs(1)).await;
    paused.source.pause();
    let mut waits_later = paused.connect_with(Some(allowance));
    waits_later.send("echo 2").await;
    pass(Duration::from_secs(3_600)).await;
    holder.ask("commit").await;
    assert_eq!(
        holder.ask("echo 3").await,
        "3",
        "nobody who is paused has the only share"
    );
    paused.source.resume();
    for (client, said) in [(&mut waits_before, "1"), (&mut waits_later, "2")] {
        let answer = tokio::time::timeout(Duration::from_secs(60), client.answer()).await;
        let (_, text) = answer.expect("served").expect("an hour of pause is nobody's wait");
        assert_eq!(text, said);
    }
}

/// I3, over a pause: those with a share, those who wait for one, and those whose connections are not counted.
#[tokio::test(start_paused = true)]
async fn a_pause_changes_nothing_about_the_order_of_arrival() {
    let gateway = gateway(1);
    let allowance = Arc::new(Allowance::new(2, "test".to_owned()));
    let mut busy = gateway.connect();
    assert_eq!(busy.ask("begin").await, "begun");
    let mut waiting = Vec::new();
    for number in 0..12 {
        let counted = (number % 2 == 0).then(|| allowance.clone());
        let mut client = gateway.connect_with(counted);
        client.send(&format!("echo {number}")).await;
        pass(Duration::from_millis(10)).await;
        waiting.push(client);
    }
    for _ in 0..3 {
        gateway.source.pause();
        pass(Duration::from_secs(60)).await;
        gateway.source.resume();
        pass(Duration::from_secs(1)).await;
    }
    gateway.database.slow_down("echo", Duration::from_millis(10));
    let order = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for (number, mut client) in waiting.into_iter().enumerate() {
        let order = order.clone();
        tasks.push(tokio::spawn(async move {
            let answer = tokio::time::timeout(Duration::from_secs(60), client.answer()).await;
            let (_, text) = answer.expect("served").expect("no pause is anybody's wait");
            assert_eq!(text, number.to_string());
            order.lock().push(number);
        }));
    }
    busy.ask("commit").await;
    for task in tasks {
        task.await.expect("served");
    }
    let counted = |of: usize| {
        order
            .lock()
            .iter()
            .copied()
            .filter(|number| number % 2 == of)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        counted(0),
        [0, 2, 4, 6, 8, 10],
        "of the user whose connections are counted"
    );
    assert_eq!(counted(1), [1, 3, 5, 7, 9, 11], "of the others");
    // Two shares: those two keep their places among all; who has none yet cannot.
    assert_eq!(order.lock()[..4], [0, 1, 2, 3]);
}

#[test]
fn who_waits_for_a_share_in_a_pause_moves_on_when_the_pool_is_replaced() {
    // On a thread of its own: what this looks for is a task that never yields, which no clock of its runtime would end.
    let (done, is_done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build();
        runtime.expect("a runtime").block_on(replace_a_paused_pool());
        let _ = done.send(());
    });
    let ended = is_done.recv_timeout(Duration::from_secs(60));
    ended.expect("neither a panic nor a task that spins");
}

async fn replace_a_paused_pool() {
    let (paused, other) = (gateway(2), gateway(2));
    let allowance = Arc::new(Allowance::new(1, "test".to_owned()));
    let mut holder = other.connect_with(Some(allowance.clone()));
    assert_eq!(holder.ask("begin").await, "begun");
    let mut busy = paused.connect();
    assert_eq!(busy.ask("begin").await, "begun");
    let mut waits = paused.connect_with(Some(allowance));
    waits.send("echo 1").await;
    pass(Duration::from_secs(1)).await;
    paused.source.pause();
    pass(Duration::from_secs(1)).await;
    let before = paused.source.exchange(other_parts(&paused, Timeouts::default()));
    let closing = tokio::spawn(async move { before.primary.close().await });
    pass(Duration::from_secs(1)).await;
    assert_eq!(busy.ask("commit").await, "ended");
    closing.await.expect("no panic");
    pass(Duration::from_secs(3_600)).await;
    paused.source.resume();
    assert_eq!(holder.ask("commit").await, "ended");
    let answer = tokio::time::timeout(Duration::from_secs(60), waits.answer()).await;
    let (_, text) = answer.expect("served").expect("an hour of pause is nobody's wait");
    assert_eq!(text, "1");
}

#[tokio::test(start_paused = true)]
async fn who_waits_in_a_pause_for_a_pool_that_ends_is_told_so() {
    let gateway = gateway(1);
    gateway.source.pause();
    let mut client = gateway.connect_with(Some(Arc::new(Allowance::new(1, "test".to_owned()))));
    client.send("echo 1").await;
    pass(Duration::from_secs(1)).await;
    gateway.source.parts().primary.close().await;
    let answer = tokio::time::timeout(Duration::from_secs(60), client.answer()).await;
    let (_, text) = answer.expect("woken").expect("a refusal");
    assert_ne!(text, "1");
}

#[tokio::test(start_paused = true)]
async fn kill_ends_clients_and_what_they_left_at_once() {
    let gateway = gateway(2);
    let mut busy = gateway.connect();
    gateway.database.slow_down("echo", Duration::from_secs(3_600));
    busy.send("echo 1").await;
    pass(Duration::from_millis(100)).await;
    assert_eq!(gateway.database.open(), 1);
    gateway.source.kill();
    gateway.clients.terminate_source("toys");
    let rest = tokio::time::timeout(Duration::from_secs(10), gateway.source.at_rest()).await;
    assert_eq!(rest, Ok(weir_core::pool::Rest::Reached));
    assert_eq!(gateway.clients.count(), 0);
}

/// One alarm serves all waits of a client: it is set for the end of the first, and must not be the end of another.
#[tokio::test(start_paused = true)]
async fn every_wait_has_its_own_patience() {
    let settings = PoolSettings {
        max_connections: 1,
        pool_timeout: Some(Duration::from_secs(3)),
        ..PoolSettings::default()
    };
    let gateway = Gateway::new(settings, Timeouts::default());
    let (mut first, mut second) = (gateway.connect(), gateway.connect());
    for round in 0..4 {
        assert_eq!(first.ask("begin").await, "begun");
        second.send("echo x").await;
        // Shorter than its patience, and in the end beyond that of the waits before.
        pass(Duration::from_millis(500 + round * 700)).await;
        assert_eq!(first.ask("commit").await, "ended");
        assert_eq!(second.answer().await, Some((b'i', "x".to_owned())));
        if round == 2 {
            // Long enough for the alarm to go off while nobody waits.
            pass(Duration::from_secs(60)).await;
        }
    }
    assert_eq!(first.ask("begin").await, "begun");
    let began = weir_core::clock::now();
    let said = second.ask("echo x").await;
    assert!(said.contains("PoolTimeout"), "{said}");
    assert_eq!(began.elapsed().as_secs(), 3);
    assert_eq!(first.ask("commit").await, "ended");
}

#[tokio::test(start_paused = true)]
async fn patience_stands_still_in_a_pause_in_which_the_alarm_goes_off() {
    let settings = PoolSettings {
        max_connections: 1,
        pool_timeout: Some(Duration::from_secs(3)),
        ..PoolSettings::default()
    };
    let gateway = Gateway::new(settings, Timeouts::default());
    let (mut first, mut second) = (gateway.connect(), gateway.connect());
    assert_eq!(first.ask("begin").await, "begun");
    let began = weir_core::clock::now();
    second.send("echo x").await;
    pass(Duration::from_secs(1)).await;
    gateway.source.pause();
    pass(Duration::from_secs(60)).await;
    gateway.source.resume();
    let (_, said) = second.answer().await.expect("an answer");
    assert!(said.contains("PoolTimeout"), "{said}");
    assert_eq!(began.elapsed().as_secs(), 63);
    assert_eq!(first.ask("commit").await, "ended");
}

/// A pool with less patience takes the place of one with more while the client's alarm is still set for the end of an
/// earlier, long wait.
#[tokio::test(start_paused = true)]
async fn a_shorter_patience_brings_the_alarm_forward() {
    let settings = |seconds| PoolSettings {
        max_connections: 1,
        pool_timeout: Some(Duration::from_secs(seconds)),
        ..PoolSettings::default()
    };
    let gateway = Gateway::new(settings(600), Timeouts::default());
    let (mut first, mut second) = (gateway.connect(), gateway.connect());
    assert_eq!(first.ask("begin").await, "begun");
    second.send("echo x").await;
    pass(Duration::from_secs(1)).await;
    assert_eq!(first.ask("commit").await, "ended");
    assert_eq!(second.answer().await, Some((b'i', "x".to_owned())));
    gateway.source.parts().primary.retune(settings(2));
    assert_eq!(first.ask("begin").await, "begun");
    let began = weir_core::clock::now();
    let said = second.ask("echo x").await;
    assert!(said.contains("PoolTimeout"), "{said}");
    assert_eq!(began.elapsed().as_secs(), 2);
    assert_eq!(first.ask("commit").await, "ended");
}

#[tokio::test(start_paused = true)]
async fn who_leaves_or_is_ended_in_the_queue_gives_its_place_up() {
    let gateway = gateway(1);
    let (mut first, mut last) = (gateway.connect(), gateway.connect());
    assert_eq!(first.ask("begin").await, "begun");
    let mut gone = gateway.connect();
    gone.send("echo never").await;
    pass(Duration::from_millis(10)).await;
    last.send("echo mine").await;
    pass(Duration::from_millis(10)).await;
    assert_eq!(gateway.source.parts().primary.stats().waiting, 2);
    drop(gone);
    pass(Duration::from_millis(10)).await;
    assert_eq!(gateway.source.parts().primary.stats().waiting, 1);
    assert_eq!(first.ask("commit").await, "ended");
    assert_eq!(last.answer().await, Some((b'i', "mine".to_owned())));
    assert!(!gateway.database.log().iter().any(|line| line.contains("never")));
}
