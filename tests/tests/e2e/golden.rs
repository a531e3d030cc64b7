//! C4: golden transcripts. Whatever a client sends, it gets from the gateway byte for byte what PostgreSQL would answer.

use std::{fmt::Write as _, time::Duration};

use weir_tests::{
    cluster::{ROLE, ROLE_PASSWORD, Version},
    site::{Plan, Site},
    transcript::{self, Heard, Transcript},
    wire::{self, Message, Patience, RawClient, Security},
};

const FIXTURE: &str = "
    CREATE TABLE g (id int PRIMARY KEY, name text, n numeric);
    INSERT INTO g VALUES (1, 'one', 1.5), (2, 'two', NULL), (3, 'three', -3), (4, NULL, 4e20), (5, 'fünf', 0);
    CREATE TABLE log (v int);
    CREATE TABLE later (id int REFERENCES g DEFERRABLE INITIALLY DEFERRED);
    CREATE FUNCTION noisy(n int) RETURNS int LANGUAGE plpgsql AS
        $$ BEGIN RAISE NOTICE 'noise %', n; IF n % 2 = 0 THEN RAISE WARNING 'even'; END IF; RETURN n; END $$;
    DO $$ BEGIN EXECUTE (SELECT 'CREATE TABLE wide (' || string_agg('c' || n || ' bool', ',') || ')' FROM generate_series(1, 1600) n); END $$;
    INSERT INTO wide DEFAULT VALUES;
    GRANT ALL ON ALL TABLES IN SCHEMA public TO app;
";

/// Pipelines of three groups, with an error of each kind in each group, for statements that are new, known, or unnamed,
/// inside a transaction and outside of one. Each group also writes, so that a wrong rollback shows.
fn matrix() -> String {
    let mut text = String::new();
    for (statements, ahead) in [
        ("named, new", false),
        ("named, known", true),
        ("unnamed, new", false),
        ("unnamed, known", true),
    ] {
        for explicit in [true, false] {
            for error in ["Parse", "Bind", "Describe", "Execute"] {
                for broken in 1..=3 {
                    let scope = if explicit { "in a transaction" } else { "on its own" };
                    writeln!(
                        text,
                        "== matrix: {statements}, {scope}, {error} fails in group {broken}"
                    )
                    .unwrap();
                    pipeline(
                        &mut text,
                        statements.starts_with("named"),
                        ahead,
                        explicit,
                        error,
                        broken,
                    );
                }
            }
        }
    }
    text
}

fn pipeline(text: &mut String, named: bool, ahead: bool, explicit: bool, error: &str, broken: u32) {
    // Volatile, so that the division fails in Execute: a plan that knows its parameter would fail in Bind already, and
    // how often a shared statement was run before decides what the plan knows.
    const SQL: &str = "select 10 / ($1::int + (random() * 0)::int)";
    let statement = |group: u32| if named { format!("s{group}") } else { "-".to_owned() };
    let mut line = |line: &str| text.extend([line, "\n"]);
    if ahead {
        for group in 1..=3 {
            line(&format!("P {} {SQL}", statement(group)));
        }
        line("S");
        line("< Z");
    }
    if explicit {
        // By the extended protocol: a simple query would take the unnamed statement away.
        for part in ["P begin begin", "B - begin", "E -", "S", "< Z"] {
            line(part);
        }
    }
    for group in 1..=3 {
        let here = group == broken;
        line("P w insert into log values ($1)");
        line(&format!("B - w {group}"));
        line("E -");
        line("C S w");
        match (ahead, here && error == "Parse") {
            (_, true) => line(&format!("P {} selec", if named { "broken" } else { "-" })),
            (false, false) => line(&format!("P {} {SQL}", statement(group))),
            (true, false) => {}
        }
        let value = match error {
            "Bind" if here => "none",
            "Execute" if here => "0",
            _ => "5",
        };
        line(&format!("B - {} {value}", statement(group)));
        line(if here && error == "Describe" {
            "D P nobody"
        } else {
            "D P -"
        });
        line("E -");
        line("S");
    }
    line("< Z 3");
    // Afterwards: what was prepared is there or not, what was written is there or not.
    for group in 1..=3 {
        line(&format!("B - {} 2", statement(group)));
        line("E -");
        line("S");
        line("< Z");
    }
    if explicit {
        line("Q rollback");
        line("< Z");
    }
    line("Q select v from log order by v; truncate log");
    line("< Z");
}

async fn compare(plan: Plan, transcripts: &[Transcript]) {
    let site = Site::start(plan).await;
    let admin = site.admin().await;
    admin.batch_execute(FIXTURE).await.unwrap();
    admin.batch_execute("SET lock_timeout = '2s'").await.unwrap();
    let mut differences = String::new();
    let mut different = 0;
    for transcript in transcripts {
        let expected = play(&site, &admin, transcript, site.raw_direct().await).await;
        assert!(
            matches!(expected.last(), Some(Heard::Messages(_))),
            "{}: {}",
            transcript.name,
            expected.last().unwrap()
        );
        // Twice: the second client finds the first one's statements on the server connection.
        for round in ["by the first client", "by the second client"] {
            let found = match RawClient::log_in(site.address(), ROLE, ROLE_PASSWORD, &site.database).await {
                Ok(client) => play(&site, &admin, transcript, client).await,
                Err(error) => vec![Heard::BrokenOff(format!("login: {error}"))],
            };
            if found != expected {
                different += 1;
                let at = expected
                    .iter()
                    .zip(&found)
                    .position(|(expected, found)| expected != found)
                    .unwrap_or(found.len().min(expected.len()));
                let show = |heard: &[Heard]| {
                    heard
                        .get(at)
                        .map_or("  nothing".to_owned(), |heard| shorten(&heard.to_string()))
                };
                write!(
                    differences,
                    "\n{}, {round}, step {}\n expected\n{} found\n{}",
                    transcript.name,
                    at + 1,
                    show(&expected),
                    show(&found)
                )
                .unwrap();
                break;
            }
        }
    }
    assert!(
        different == 0,
        "{different} of {} transcripts differ:\n{differences}",
        transcripts.len()
    );
}

fn shorten(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let more = if lines.len() > 20 {
        format!("  ... {} lines\n", lines.len())
    } else {
        String::new()
    };
    lines
        .iter()
        .take(20)
        .map(|line| format!("{line}\n"))
        .collect::<String>()
        + &more
}

async fn play(
    site: &Site,
    admin: &tokio_postgres::Client,
    transcript: &Transcript,
    mut client: RawClient,
) -> Vec<Heard> {
    // What an earlier failure may have left.
    if admin.batch_execute("TRUNCATE log, later").await.is_err() {
        let others =
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()";
        admin.execute(others, &[&site.database]).await.unwrap();
    }
    client.patience = Patience(Duration::from_secs(10));
    let heard = transcript.play(&mut client).await;
    client.leave().await;
    heard
}

fn chosen(text: &str) -> Vec<Transcript> {
    // WEIR_TEST_TRANSCRIPT=<part of a name> plays only those.
    let wanted = std::env::var("WEIR_TEST_TRANSCRIPT").unwrap_or_default();
    transcript::read(text)
        .into_iter()
        .filter(|transcript| transcript.name.contains(&wanted))
        .collect()
}

#[tokio::test]
async fn transcripts_in_transaction_mode() {
    compare(
        Plan {
            connections: 1,
            ..Plan::default()
        },
        &chosen(include_str!("golden.txt")),
    )
    .await;
}

#[tokio::test]
async fn transcripts_in_session_mode() {
    compare(
        Plan {
            connections: 1,
            mode: "session",
            ..Plan::default()
        },
        &chosen(include_str!("golden.txt")),
    )
    .await;
}

#[tokio::test]
async fn transcripts_with_room_for_four_statements() {
    let pool = serde_json::json!({ "max_prepared_statements": 4 });
    let overlay = serde_json::json!({ "pool_settings": pool });
    compare(
        Plan {
            connections: 1,
            overlay,
            ..Plan::default()
        },
        &chosen(include_str!("golden.txt")),
    )
    .await;
}

#[tokio::test]
async fn transcripts_on_version_18() {
    // A simple query inside an extended group breaks PostgreSQL 18.4's own bookkeeping: the next statement on that
    // connection fails with XX000 "unexpected state STARTED", whoever sends it.
    let mut transcripts = chosen(include_str!("golden.txt"));
    transcripts.retain(|transcript| transcript.name != "groups: Query between Execute and Sync");
    compare(
        Plan {
            connections: 1,
            version: Version::Eighteen,
            ..Plan::default()
        },
        &transcripts,
    )
    .await;
}

#[tokio::test]
async fn pipelines_with_an_error_in_every_place() {
    compare(
        Plan {
            connections: 1,
            ..Plan::default()
        },
        &chosen(&matrix()),
    )
    .await;
}

#[tokio::test]
async fn pipelines_with_an_error_in_every_place_and_room_for_two_statements() {
    let overlay = serde_json::json!({ "pool_settings": { "max_prepared_statements": 2 } });
    compare(
        Plan {
            connections: 1,
            overlay,
            ..Plan::default()
        },
        &chosen(&matrix()),
    )
    .await;
}

/// A row of 120 MB, by both protocols, and a parameter of 60 MB.
#[tokio::test]
async fn a_row_and_a_parameter_of_any_size() {
    let site = Site::start(Plan {
        connections: 1,
        heavy: true,
        ..Plan::default()
    })
    .await;
    let mut client = site.raw().await;
    let before = site.gateway.as_ref().map(weir_tests::gateway::Gateway::resident);
    for request in [
        wire::query("select repeat('x', 120000000)"),
        extended("select repeat('x', 120000000)", &[]),
    ] {
        let answer = client.ask(&request).await.unwrap();
        let row = answer
            .iter()
            .find(|message| message.tag == b'D')
            .unwrap_or_else(|| panic!("{}", wire::describe(&answer)));
        assert!(
            row.columns()[0].unwrap() == vec![b'x'; 120_000_000],
            "the row is another"
        );
    }
    let parameter = vec![b'p'; 60_000_000];
    let answer = client
        .ask(&extended("select length($1::text), md5($1)", &[Some(&parameter)]))
        .await
        .unwrap();
    assert_eq!(
        wire::first_columns(&answer),
        ["60000000"],
        "{}",
        wire::describe(&answer)
    );
    if let (Some(gateway), Some(before)) = (&site.gateway, before) {
        let grown = gateway.resident().saturating_sub(before);
        assert!(
            grown < 4 * 1024 * 1024,
            "the gateway grew by {grown} bytes while 300 MB streamed through"
        );
    }
}

fn extended(sql: &str, parameters: &[Option<&[u8]>]) -> Vec<u8> {
    [
        wire::parse("", sql, &[]),
        wire::bind("", "", parameters),
        wire::execute("", 0),
        wire::sync(),
    ]
    .concat()
}

/// What a login tells, its keys and the order aside.
#[tokio::test]
async fn login_tells_the_same() {
    for version in [Version::Distribution, Version::Eighteen] {
        let site = Site::start(Plan {
            version,
            ..Plan::default()
        })
        .await;
        let extra: &[&[(&str, &str)]] = &[
            &[],
            &[("application_name", "golden"), ("client_encoding", "LATIN1")],
            &[
                ("DateStyle", "German"),
                ("TimeZone", "Asia/Tokyo"),
                ("options", "-c intervalstyle=iso_8601"),
            ],
        ];
        for extra in extra {
            let mut parameters = vec![("user", ROLE), ("database", site.database.as_str())];
            parameters.extend(*extra);
            let mut told = Vec::new();
            for address in [site.cluster.address(), site.address()] {
                let mut client = RawClient::log_in_with(address, &Security::Clear, ROLE_PASSWORD, 0, &parameters)
                    .await
                    .unwrap();
                assert!(client.process != 0 && client.key.len() == 4);
                client.parameters.sort();
                // The overlay holds for the session as well, not only in what is told.
                let shown = client.rows("select string_agg(name || '=' || setting, ';' order by name) from pg_settings where name in ('DateStyle', 'TimeZone', 'IntervalStyle', 'client_encoding', 'application_name')").await;
                told.push((client.parameters.clone(), shown));
            }
            assert_eq!(told[0], told[1], "{version:?} {extra:?}");
        }
    }
}

/// Protocol 3.2, minor versions to come, and options nobody knows: NegotiateProtocolVersion, and the login goes on.
#[tokio::test]
async fn protocol_versions_are_negotiated() {
    let site = Site::start(Plan {
        version: Version::Eighteen,
        ..Plan::default()
    })
    .await;
    for minor in [0, 1, 2, 3, 9999] {
        for options in [
            &[][..],
            &[("_pq_.unknown", "1")],
            &[("_pq_.one", "1"), ("_pq_.test_protocol_negotiation", "")],
        ] {
            let mut parameters = vec![("user", ROLE), ("database", site.database.as_str())];
            parameters.extend(options);
            let mut answers = Vec::new();
            for address in [site.cluster.address(), site.address()] {
                let mut client = RawClient::open(address).await.unwrap();
                client.send(&wire::startup(minor, &parameters)).await.unwrap();
                let others = client.authenticate(ROLE_PASSWORD).await.unwrap();
                let negotiation: Vec<Message> = others.into_iter().filter(|message| message.tag == b'v').collect();
                // PostgreSQL 18 speaks 3.0 and 3.2: longer keys in the latter.
                assert_eq!(
                    client.key.len() > 4,
                    minor >= 2,
                    "key of {} bytes for 3.{minor}",
                    client.key.len()
                );
                assert_eq!(client.rows("select 1").await, ["1"]);
                answers.push(wire::describe(&negotiation));
            }
            assert_eq!(answers[0], answers[1], "3.{minor} {options:?}");
        }
    }
}
