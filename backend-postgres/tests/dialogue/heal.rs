//! S1 rule 9: stale plans after DDL.

use weir_core::backend::{Dialogue, Onward, Outbox, SessionState, Step, TransactionDetection};
use weir_postgres::{
    dialogue::Conversation,
    session::{Overlay, Session},
};

use crate::{
    gateway::{Gateway, init, session},
    messages::*,
    model::Model,
    random::{Dice, direct, script},
};

/// A client that has prepared `a`, and DDL has changed what it returns.
fn with_stale_plan() -> (Gateway<Model>, usize) {
    let mut gateway = Gateway::new([Model::default()]);
    let client = gateway.client();
    gateway.ask(client, &[parse("a", "SELECT 'x'"), sync()].concat());
    gateway.connections[0].server.forget_statement_texts();
    (gateway, client)
}

const ANSWER: &str = "2 D[x] C[SELECT 1] ZI";
const DESCRIBED: &str = "2 T D[x] C[SELECT 1] ZI";

fn run() -> Vec<u8> {
    [bind("", "a", &[]), execute("", 0), sync()].concat()
}

fn run_described() -> Vec<u8> {
    [bind("", "a", &[]), describe_portal(""), execute("", 0), sync()].concat()
}

/// pgbouncer#1038, multigres#1219.
#[test]
fn a_stale_plan_is_healed_and_runs_once() {
    for (request, answer) in [(run(), ANSWER), (run_described(), DESCRIBED)] {
        let (mut gateway, client) = with_stale_plan();
        assert_eq!(gateway.ask(client, &request), answer);
        assert_eq!(gateway.connections[0].server.ran, ["SELECT 'x'"]);
        assert_eq!(gateway.connections[0].holder, None);
        assert_eq!(gateway.ask(client, &request), answer);
        assert_eq!(gateway.connections[0].server.statement_names().len(), 1);
    }
}

#[test]
fn start_up_settings_ahead_and_parameters_are_no_obstacle() {
    let mut gateway = Gateway::new([Model::default()]);
    let client = gateway.client_with(|init| init.overlay = Overlay::from_pairs([("app.x", "own")]));
    let other = gateway.client();
    gateway.ask(client, &[parse("a", "SELECT $1::text"), sync()].concat());
    for length in [1, 5_000, 16_000] {
        gateway.ask(other, &query("SELECT 'x'"));
        gateway.connections[0].server.forget_statement_texts();
        let value = "v".repeat(length);
        let all = [bind("", "a", &[&value]), execute("", 0), sync()].concat();
        assert_eq!(gateway.ask(client, &all), format!("2 D[{value}] C[SELECT 1] ZI"));
    }
    // Too long to keep: for the next use.
    gateway.connections[0].server.forget_statement_texts();
    let value = "v".repeat(17_000);
    let all = [bind("", "a", &[&value]), execute("", 0), sync()].concat();
    assert_eq!(gateway.ask(client, &all), "E0A000 ZI");
    assert_eq!(gateway.ask(client, &all), format!("2 D[{value}] C[SELECT 1] ZI"));
}

/// Other rows than it takes them for would be worse than the error; drivers that remember know what to do with it.
#[test]
fn who_has_been_told_what_rows_look_like_is_not_surprised() {
    let (mut gateway, client) = with_stale_plan();
    gateway.ask(client, &[describe_statement("a"), sync()].concat());
    assert_eq!(gateway.ask(client, &run()), "E0A000 ZI");
    assert_eq!(gateway.ask(client, &run()), ANSWER);
    gateway.connections[0].server.forget_statement_texts();
    assert_eq!(gateway.ask(client, &run_described()), DESCRIBED);
}

#[test]
fn only_a_group_of_its_own_outside_of_transactions_is_sent_again() {
    let before = |message: Vec<u8>| [message, run()].concat();
    let open = [bind("", "a", &[]), execute("", 0)].concat();
    for (request, answer) in [
        (before(query("BEGIN")), "C[BEGIN] ZT E0A000 ZE"),
        (before(bind("p", "b", &[])), "2 E0A000 ZI"),
        (before(parse("", "SELECT 'y'")), "1 E0A000 ZI"),
        ([&*open, &*execute("", 0), &*sync()].concat(), "E0A000 ZI"),
        ([&*open, &*close_portal(""), &*sync()].concat(), "E0A000 ZI"),
        ([&*open, &*flush(), &*sync()].concat(), "E0A000 ZI"),
        (
            [describe_statement("a"), bind("", "a", &[]), execute("", 0), sync()].concat(),
            "t T E0A000 ZI",
        ),
    ] {
        let (mut gateway, client) = with_stale_plan();
        gateway.ask(client, &[parse("b", "SELECT 'b'"), sync()].concat());
        assert_eq!(gateway.ask(client, &request), answer, "{}", said(&request));
        gateway.ask(client, &query("ROLLBACK"));
        assert_eq!(gateway.connections[0].holder, None);
    }
}

#[test]
fn a_pipeline_is_answered_in_order() {
    let (mut gateway, client) = with_stale_plan();
    let answer = gateway.ask(client, &[run(), query("SELECT 'y'")].concat());
    let (healed, passed_on) = (
        "2 D[x] C[SELECT 1] ZI T D[y] C[SELECT 1] ZI",
        "E0A000 ZI T D[y] C[SELECT 1] ZI",
    );
    assert!(answer == healed || answer == passed_on, "{answer}");
}

/// One client, one server connection, and no server: answers come when the test says so.
struct Pair {
    conversation: Conversation,
    session: Session,
    to_server: Vec<u8>,
    to_client: Vec<u8>,
}

impl Pair {
    /// The client has prepared `a`, and asked for it.
    fn running() -> Self {
        let gateway: Gateway<Model> = Gateway::new([]);
        let mut pair = Pair {
            conversation: Conversation::new(init(&gateway.shared)),
            session: session(&gateway.shared, 3),
            to_server: Vec::new(),
            to_client: Vec::new(),
        };
        let prepare = [parse("a", "SELECT 'x'"), sync()].concat();
        let mut out = Outbox::default();
        assert!(pair.conversation.from_client(&prepare, None, &mut out).is_ok());
        pair.conversation.adopt(&mut pair.session, &mut out);
        pair.ask(&prepare);
        pair.answer(&[parse_complete(), ready()].concat());
        pair.ask(&run());
        pair.to_server.clear();
        pair.to_client.clear();
        pair
    }

    fn ask(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let mut out = Outbox::default();
            let step = self.conversation.from_client(bytes, Some(&mut self.session), &mut out);
            self.to_server.extend_from_slice(&out.to_server);
            self.to_client.extend_from_slice(&out.to_client);
            bytes = match step {
                Ok(Step::Forward(count)) => {
                    let (forwarded, rest) = bytes.split_at(count as usize);
                    self.to_server.extend_from_slice(forwarded);
                    rest
                }
                Ok(Step::Skip(count)) => &bytes[count as usize..],
                other => panic!("{other:?}"),
            };
        }
    }

    fn answer(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let mut out = Outbox::default();
            let step = self.conversation.from_server(bytes, &mut self.session, &mut out);
            self.to_server.extend_from_slice(&out.to_server);
            self.to_client.extend_from_slice(&out.to_client);
            bytes = match step {
                Ok(Step::Forward(count)) => {
                    let (forwarded, rest) = bytes.split_at(count as usize);
                    self.to_client.extend_from_slice(forwarded);
                    rest
                }
                Ok(Step::Skip(count)) => &bytes[count as usize..],
                other => panic!("{other:?}"),
            };
        }
    }
}

fn stale() -> Vec<u8> {
    let fields = b"SERROR\0VERROR\0C0A000\0Mcached plan must not change result type\0RRevalidateCachedQuery\0\0";
    [b"E", &(fields.len() as u32 + 4).to_be_bytes()[..], fields].concat()
}

fn ready() -> Vec<u8> {
    b"Z\0\0\0\x05I".to_vec()
}

fn parse_complete() -> Vec<u8> {
    b"1\0\0\0\x04".to_vec()
}

fn close_complete() -> Vec<u8> {
    b"3\0\0\0\x04".to_vec()
}

fn done() -> Vec<u8> {
    b"2\0\0\0\x04C\0\0\0\x0dSELECT 1\0".to_vec()
}

#[test]
fn what_comes_meanwhile_waits_its_turn_and_a_second_refusal_is_told() {
    for second in [done(), stale()] {
        let mut pair = Pair::running();
        pair.answer(&stale());
        assert!(pair.to_client.is_empty());
        let sent = said(&pair.to_server);
        let name = sent["C(S".len()..].split(')').next().unwrap();
        assert_eq!(
            sent,
            format!("C(S{name}) P({name}|SELECT 'x') B(|{name}) E() S()"),
            "closed, prepared, and the group again"
        );
        pair.ask(&query("SELECT 'y'"));
        pair.answer(&[ready(), close_complete(), parse_complete()].concat());
        assert!(pair.to_client.is_empty());
        let rest = [&*second, &*ready(), b"C\0\0\0\x0dSELECT 1\0", &*ready()].concat();
        pair.answer(&rest);
        assert_eq!(told(&pair.to_client), told(&rest));
        assert_eq!(pair.session.state(), SessionState::Idle);
    }
}

#[test]
fn a_server_that_goes_meanwhile_leaves_one_error() {
    for answered in [
        stale(),
        [stale(), ready()].concat(),
        [stale(), ready(), close_complete()].concat(),
    ] {
        let mut pair = Pair::running();
        pair.answer(&answered);
        let mut out = Outbox::default();
        let onward = pair.conversation.server_lost(&mut pair.session, false, &mut out);
        assert_eq!(
            (onward, told(&out.to_client)),
            (Onward::Continue, "E08006 ZI".to_owned())
        );
    }
}

#[test]
fn for_a_client_that_has_gone_nothing_is_sent_again() {
    let mut pair = Pair::running();
    pair.conversation
        .leave(&mut pair.session, false, &mut Outbox::default());
    pair.answer(&[stale(), ready()].concat());
    assert!(pair.to_server.is_empty());
    assert_eq!(pair.session.state(), SessionState::Idle);
    let mut pair = Pair::running();
    pair.answer(&stale());
    pair.conversation
        .leave(&mut pair.session, false, &mut Outbox::default());
    pair.answer(&[ready(), close_complete(), parse_complete(), done(), ready()].concat());
    assert_eq!(pair.session.state(), SessionState::Idle);
}

/// A Parse of the gateway's own that the DDL has made impossible is the client's error (S1.8).
#[test]
fn a_statement_that_cannot_be_prepared_any_more_says_so() {
    let mut pair = Pair::running();
    pair.answer(&stale());
    let gone = b"E\0\0\0\x12SERROR\0C42P01\0\0\0".to_vec();
    let gone = [&gone[..1], &(gone.len() as u32 - 1).to_be_bytes(), &gone[5..]].concat();
    pair.answer(&[ready(), close_complete(), gone, ready()].concat());
    assert_eq!(told(&pair.to_client), "E42P01 ZI");
    assert_eq!(pair.session.state(), SessionState::Idle);
}

/// Clients of a driver that describes what it binds, over fewer connections, with DDL at any moment: none of them ever
/// hears of a stale plan outside of a transaction, and each hears its own rows.
#[test]
fn ddl_at_random_is_noticed_only_inside_of_transactions() {
    for seed in 0..2_000 {
        let mut dice = Dice::new(seed);
        let mut gateway = Gateway::new((0..1 + dice.roll(2)).map(|_| Model::default()));
        let clients = [gateway.client(), gateway.client(), gateway.client()];
        for (index, client) in clients.iter().enumerate() {
            for name in ["a", "b"] {
                let text = format!("SELECT 'token {index} {name}'");
                gateway.ask(*client, &[parse(name, &text), sync()].concat());
            }
        }
        let mut in_transaction = None;
        for _ in 0..20 {
            if dice.roll(2) == 0 {
                let changed = dice.roll(gateway.connections.len());
                gateway.connections[changed].server.forget_statement_texts();
            }
            let index = dice.roll(clients.len());
            if in_transaction.is_some_and(|holder| holder != index) && gateway.connections.len() == 1 {
                continue;
            }
            let (client, name) = (clients[index], ["a", "b"][dice.roll(2)]);
            if dice.roll(6) == 0 && in_transaction.is_none() {
                gateway.ask(client, &query("BEGIN"));
                in_transaction = Some(index);
                continue;
            }
            let group = [bind("", name, &[]), describe_portal(""), execute("", 0), sync()].concat();
            let answer = gateway.ask(client, &group);
            let inside = in_transaction == Some(index);
            let row = format!(
                "2 T D[token {index} {name}] C[SELECT 1] Z{}",
                if inside { 'T' } else { 'I' }
            );
            assert!(
                answer == row || inside && answer == "E0A000 ZE",
                "seed {seed}: {answer}"
            );
            if inside {
                gateway.ask(client, &query("ROLLBACK"));
                in_transaction = None;
            }
        }
    }
}

/// The random pipelines of [`crate::random`], with DDL at any moment: until a stale plan is told, everybody hears what a
/// connection of its own would have told, and nobody is left waiting.
#[test]
fn ddl_in_random_pipelines_changes_nothing_but_for_the_error() {
    for seed in 0..3_000 {
        let mut dice = Dice::new(seed);
        let mut gateway = Gateway::new((0..1 + dice.roll(2)).map(|_| Model::default()));
        let clients = [gateway.client(), gateway.client()];
        let scripts = [script(&mut dice, 0), script(&mut dice, 1)];
        let mut heard = [Vec::new(), Vec::new()];
        for burst in 0..scripts.iter().map(Vec::len).max().unwrap() {
            for (index, client) in clients.iter().enumerate() {
                if dice.roll(3) == 0 {
                    let changed = dice.roll(gateway.connections.len());
                    gateway.connections[changed].server.forget_statement_texts();
                }
                gateway.chunk = [usize::MAX, 1 + dice.roll(20)][dice.roll(2)];
                if let Some(bytes) = scripts[index].get(burst) {
                    gateway.send(*client, bytes);
                }
                for (heard, client) in heard.iter_mut().zip(clients) {
                    heard.extend(gateway.receive(client));
                }
            }
        }
        for (index, script) in scripts.iter().enumerate() {
            let expected = told(&direct(&mut Model::default(), script).concat());
            let heard = told(&heard[index]);
            let (mut heard_words, mut expected_words) = (heard.split(' '), expected.split(' '));
            let differing = heard_words
                .by_ref()
                .zip(expected_words.by_ref())
                .find(|(heard, expected)| heard != expected);
            match differing {
                Some(("E0A000" | "E25P02", _)) => {}
                Some(_) => panic!("seed {seed}, client {index}: {heard} instead of {expected}"),
                None => assert_eq!(heard, expected, "seed {seed}, client {index}"),
            }
        }
        assert!(
            gateway.connections.iter().all(|connection| connection.holder.is_none()),
            "seed {seed}"
        );
    }
}
