//! ISO1, the leak matrix: every kind of session state, every way to leave, every pool mode, one server connection. The
//! next client must find what a fresh login finds.
//!
//! Two differences are let pass, because PostgreSQL keeps them for as long as a connection lives and they carry nothing: a
//! custom setting that somebody once set reads as an empty text where a server that never heard of it says null, and the
//! schema of temporary tables exists, empty, once it was used.

use std::{fmt::Write as _, time::Duration};

use serde_json::json;
use weir_tests::{
    cluster::{CHIEF, ROLE_PASSWORD},
    site::{Plan, Site, is_direct},
    transcript,
    wire::{self, Patience, RawClient, Security, first_columns},
};

use super::leaving::{WAYS, Way};

/// State that a client leaves behind, as a transcript (see `weir_tests::transcript`).
struct Kind {
    name: &'static str,
    dirt: &'static str,
}

const KINDS: &[Kind] = &[
    Kind {
        name: "SET",
        dirt: "Q set work_mem = '7MB'\n< Z",
    },
    Kind {
        name: "SET in a committed transaction",
        dirt: "Q begin; set work_mem = '7MB'; commit\n< Z",
    },
    Kind {
        name: "SET LOCAL",
        dirt: "Q begin\n< Z\nQ set local work_mem = '7MB'\n< Z",
    },
    Kind {
        name: "set_config",
        dirt: "Q select set_config('work_mem', '7MB', false)\n< Z",
    },
    Kind {
        name: "set_config, extended",
        dirt: "P - select set_config($1, $2, false)\nB - - work_mem 7MB\nE -\nS\n< Z",
    },
    Kind {
        name: "set_config inside DO",
        dirt: "Q do $$ begin perform set_config('work' || '_mem', '7MB', false); end $$\n< Z",
    },
    Kind {
        name: "a function that sets",
        dirt: "Q select sneaky()\n< Z",
    },
    Kind {
        name: "search_path",
        dirt: "Q set search_path to elsewhere, public\n< Z",
    },
    Kind {
        name: "role",
        dirt: "Q set role other\n< Z",
    },
    Kind {
        name: "session_authorization",
        dirt: "Q set session authorization other\n< Z",
    },
    Kind {
        name: "TimeZone",
        dirt: "Q set time zone 'Asia/Tokyo'\n< Z",
    },
    Kind {
        name: "client_encoding",
        dirt: "Q set names 'LATIN1'\n< Z",
    },
    Kind {
        name: "application_name",
        dirt: "Q set application_name = 'dirty'\n< Z",
    },
    Kind {
        name: "default isolation and read-only",
        dirt: "Q set session characteristics as transaction isolation level serializable read only\n< Z",
    },
    Kind {
        name: "custom setting",
        dirt: "Q set app.tenant = 'dirty'\n< Z",
    },
    Kind {
        name: "statement_timeout",
        dirt: "Q set statement_timeout = '17s'\n< Z",
    },
    Kind {
        name: "named prepared statement",
        dirt: "P dirty select 'dirty'\nS\n< Z",
    },
    Kind {
        name: "unnamed prepared statement",
        dirt: "P - select 'dirty'\nS\n< Z",
    },
    Kind {
        name: "SQL PREPARE",
        dirt: "Q prepare dirty_sql as select 'dirty'\n< Z",
    },
    Kind {
        name: "portal",
        dirt: "Q begin\n< Z\nP - select generate_series(1, 9)\nB dirty -\nE dirty 2\nS\n< Z",
    },
    Kind {
        name: "WITH HOLD cursor",
        dirt: "Q declare dirty_cursor cursor with hold for select 'dirty'\n< Z",
    },
    Kind {
        name: "temporary table",
        dirt: "Q create temp table dirty_temp as select 'dirty' as v\n< Z",
    },
    Kind {
        name: "temporary table hiding another",
        dirt: "Q create temp table honest as select 'dirty' as v\n< Z",
    },
    Kind {
        name: "LISTEN",
        dirt: "Q listen dirty_channel\n< Z",
    },
    Kind {
        name: "session advisory lock",
        dirt: "Q select pg_advisory_lock(4711)\n< Z",
    },
    Kind {
        name: "transaction advisory lock",
        dirt: "Q begin; select pg_advisory_xact_lock(4711)\n< Z",
    },
    Kind {
        name: "currval and lastval",
        dirt: "Q select nextval('numbers')\n< Z",
    },
    Kind {
        name: "lastval of a user who asks",
        dirt: "Q select lastval()\n< Z\nQ select nextval('numbers')\n< Z",
    },
    Kind {
        name: "currval after setval",
        dirt: "Q select setval('numbers', 9)\n< Z",
    },
    Kind {
        name: "lastval after a trigger",
        dirt: "Q update counted set v = v + 1\n< Z",
    },
    Kind {
        name: "open transaction",
        dirt: "Q begin; insert into written values ('dirty')\n< Z",
    },
    Kind {
        name: "implicit transaction without its Sync",
        dirt: "P - insert into written values ('dirty')\nB - -\nE -\nH\n< C",
    },
    Kind {
        name: "failed transaction",
        dirt: "Q begin; select 1/0\n< Z",
    },
    Kind {
        name: "COPY in progress",
        dirt: "Q copy written from stdin\n< G\nd dirty\\n",
    },
    Kind {
        name: "COPY in progress, extended",
        dirt: "P - copy written from stdin\nB - -\nE -\nH\n< G\nd dirty\\n",
    },
    Kind {
        name: "notices",
        dirt: "Q set client_min_messages = debug5; do $$ begin raise notice 'dirty'; end $$\n< Z",
    },
];

const FIXTURE: &str = "
    CREATE SCHEMA elsewhere; CREATE SEQUENCE numbers; CREATE TABLE written (v text);
    CREATE TABLE honest (v text); INSERT INTO honest VALUES ('honest');
    CREATE FUNCTION sneaky() RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'SET work_mem = ''7MB'''; RETURN 1; END $$;
    CREATE TABLE counted (v int); INSERT INTO counted VALUES (0); CREATE SEQUENCE counts;
    CREATE FUNCTION count_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('counts'); RETURN new; END $$;
    CREATE TRIGGER count_it BEFORE UPDATE ON counted FOR EACH ROW EXECUTE FUNCTION count_it();
";

/// What a client sees of its session, each question with the answer's rows or SQLSTATE.
async fn fingerprint(client: &mut RawClient) -> std::io::Result<Vec<String>> {
    const QUESTIONS: &[&str] = &[
        // Once somebody used PL/pgSQL, its library is loaded and has settings of its own; their values are checked by none.
        "select string_agg(name || '=' || coalesce(setting, 'null'), ' ' order by name) from pg_settings where name not like 'plpgsql.%'",
        "select current_user || ' ' || session_user || ' ' || current_setting('role') || ' ' || current_schemas(false)::text",
        "select 'custom ' || coalesce(nullif(current_setting('app.tenant', true), ''), 'none')",
        "select 'cursors ' || count(*) from pg_cursors",
        "select 'prepared ' || count(*) from pg_prepared_statements where from_sql",
        "select 'channels ' || count(*) from pg_listening_channels()",
        "select 'locks ' || count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()",
        "select 'temporary ' || count(*) from pg_class where relnamespace = pg_my_temp_schema()",
        "select 'transaction ' || (now() <> statement_timestamp())",
        "select v from honest",
        "select v from written",
        "select v from dirty_temp",
        "select lastval()",
        "select currval('numbers')",
        "execute dirty_sql",
        "fetch 1 from dirty_cursor",
        "notify dirty_channel",
        "do $$ begin raise debug 'unwanted'; end $$",
    ];
    // The unnamed statement first: a simple query would take it away.
    let unnamed = [wire::bind("", "", &[]), wire::execute("", 0), wire::sync()].concat();
    let named = [wire::bind("", "dirty", &[]), wire::execute("", 0), wire::sync()].concat();
    let portal = [wire::execute("dirty", 0), wire::sync()].concat();
    let mut request = [unnamed, named, portal].concat();
    let extended = 3;
    for question in QUESTIONS {
        request.extend(wire::query(question));
    }
    client.send(&request).await?;
    let mut found = Vec::new();
    for number in 0..extended + QUESTIONS.len() {
        let answer = client.until(b'Z').await?;
        let what = number
            .checked_sub(extended)
            .map_or("extended", |question| QUESTIONS[question]);
        let outcome = answer
            .iter()
            .filter_map(|message| match message.tag {
                b'D' => Some(message.text()),
                b'E' => Some(format!(
                    "error {} {}",
                    message.sqlstate().unwrap_or_default(),
                    message.field(b'M').unwrap_or_default()
                )),
                // Unasked: a notification, a notice, a change of a setting, a transaction left open.
                b'A' | b'N' | b'S' => Some(message.to_string()),
                b'Z' if message.body != b"I" => Some(message.to_string()),
                _ => None,
            })
            .collect::<Vec<_>>();
        found.push(format!(
            "{}: {}",
            what.chars().take(60).collect::<String>(),
            outcome.join(" | ")
        ));
    }
    Ok(found)
}

/// Makes the connection dirty and leaves it. Errors do not matter: a pool mode may refuse some of it.
async fn soil(site: &Site, client: &mut RawClient, kind: &Kind, way: Way) {
    let copying = kind.name.starts_with("COPY");
    if way == Way::InTransaction {
        let _ = client.simple("begin").await;
    }
    let script = transcript::read(&format!("== {}\n{}", kind.name, kind.dirt));
    script[0].play(client).await;
    match way {
        Way::Clean => {
            let _ = client.send(&wire::terminate()).await;
        }
        Way::AtRest | Way::InTransaction | Way::Stays => {}
        Way::InMidAnswer => {
            let large = "select repeat('dirty', 5000) from generate_series(1, 200)";
            let bytes = if copying {
                wire::copy_data(&b"dirty\n".repeat(1000))[..500].to_vec()
            } else if kind.name.starts_with("implicit") {
                // A simple query would end the group like a Sync; whether that commits depends on how much is read of it.
                [
                    wire::parse("", large, &[]),
                    wire::bind("", "", &[]),
                    wire::execute("", 0),
                    wire::flush(),
                ]
                .concat()
            } else {
                wire::query(large)
            };
            let _ = client.send(&bytes).await;
            if !copying {
                let _ = client.receive().await;
            }
        }
        Way::AfterAnError => {
            let bytes = if copying {
                wire::copy_fail("no more")
            } else {
                wire::query("select 1/0")
            };
            let _ = client.send(&[bytes, wire::sync()].concat()).await;
            let _ = client.until(b'Z').await;
            let _ = client.send(&wire::terminate()).await;
        }
        Way::AfterACancel => {
            if !copying {
                let _ = client.send(&wire::query("select pg_sleep(20)")).await;
            }
            // One that comes before the statement has begun is for nothing, as it is with PostgreSQL.
            for _ in 0..100 {
                tokio::time::sleep(Duration::from_millis(20)).await;
                let _ = client.cancel(site.address(), &Security::Clear).await;
                match client.drain(Duration::from_millis(20)).await {
                    Ok(heard) if heard.iter().all(|message| message.tag != b'E') => {}
                    _ => break,
                }
            }
            let _ = client.send(&wire::terminate()).await;
        }
    }
}

async fn next_client(site: &Site, way: Way) -> std::io::Result<Vec<String>> {
    let mut client = RawClient::log_in(site.address(), CHIEF, ROLE_PASSWORD, &site.database).await?;
    if way == Way::Stays {
        // One question before the many: each of them would wait for a pinned connection.
        let answer = client.simple("select 1").await?;
        if let Some(code) = wire::first_error(&answer).and_then(wire::Message::sqlstate) {
            return Ok(vec![code.to_owned()]);
        }
    }
    let found = fingerprint(&mut client).await;
    client.leave().await;
    found
}

async fn matrix(mode: &'static str) {
    let pool = json!({ "pool_timeout": 2 });
    let site = Site::start(Plan {
        connections: 1,
        role: CHIEF,
        mode,
        pool,
        ..Plan::default()
    })
    .await;
    let admin = site.admin().await;
    admin.batch_execute(FIXTURE).await.unwrap();
    admin.batch_execute("SET lock_timeout = '5s'").await.unwrap();
    let fresh = fingerprint(&mut site.raw_direct().await).await.unwrap();
    let mut leaks = String::new();
    let (mut cells, mut pinned, mut bad) = (0, 0, 0);
    for kind in KINDS {
        for way in WAYS {
            // In session mode a client that stays keeps its connection, whatever it did.
            if *way == Way::Stays && (mode == "session" || is_direct()) {
                continue;
            }
            cells += 1;
            // What the last cell may have left for good is its own failure, not this one's.
            if admin.batch_execute("TRUNCATE written").await.is_err() {
                let others =
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND usename = 'chief'";
                admin.execute(others, &[&site.database]).await.unwrap();
            }
            let mut client = site.raw().await;
            client.patience = Patience(Duration::from_secs(5));
            soil(&site, &mut client, kind, *way).await;
            let mut kept = Some(client);
            if *way != Way::Stays {
                drop(kept.take());
            }
            match next_client(&site, *way).await {
                Ok(found) if found == fresh => {}
                // Pinned to the client that is still there: as good, and said with the proper code.
                Ok(found) if *way == Way::Stays && found == ["53300"] => pinned += 1,
                Ok(found) => {
                    bad += 1;
                    writeln!(leaks, "{} / {way:?}:", kind.name).unwrap();
                    for (expected, found) in fresh.iter().zip(&found).filter(|(expected, found)| expected != found) {
                        writeln!(
                            leaks,
                            "   expected {}\n   found    {}",
                            difference(expected, found),
                            difference(found, expected)
                        )
                        .unwrap();
                    }
                }
                Err(error) => {
                    bad += 1;
                    writeln!(leaks, "{} / {way:?}: {error}", kind.name).unwrap();
                }
            }
        }
    }
    eprintln!("leak matrix, {mode} mode: {cells} cells, {pinned} of them pinned");
    assert!(bad == 0, "{bad} of {cells} cells leak in {mode} mode:\n{leaks}");
}

/// The words of one text that the other has not.
fn difference(text: &str, other: &str) -> String {
    let words: Vec<&str> = text
        .split(' ')
        .filter(|word| text.len() < 300 || !other.split(' ').any(|other| other == *word))
        .collect();
    words.join(" ")
}

#[tokio::test]
async fn nothing_leaks_in_transaction_mode() {
    matrix("transaction").await;
}

#[tokio::test]
async fn nothing_leaks_in_session_mode() {
    matrix("session").await;
}

#[tokio::test]
async fn nothing_leaks_in_statement_mode() {
    matrix("statement").await;
}

/// The matrix can fail: on the soiled connection itself every kind shows.
#[tokio::test]
async fn every_kind_of_dirt_is_seen_on_its_own_connection() {
    let site = Site::start(Plan {
        role: CHIEF,
        ..Plan::default()
    })
    .await;
    site.admin().await.batch_execute(FIXTURE).await.unwrap();
    let fresh = fingerprint(&mut site.raw_direct().await).await.unwrap();
    for kind in KINDS {
        let mut client = site.raw_direct().await;
        soil(&site, &mut client, kind, Way::Stays).await;
        client.patience = Patience(Duration::from_millis(300));
        // In the middle of a COPY there is no answer at all.
        let found = fingerprint(&mut client).await.unwrap_or_default();
        assert_ne!(found, fresh, "{} leaves no trace", kind.name);
    }
}

/// The statement of a client stays its own, however many others use the same name meanwhile.
#[tokio::test]
async fn names_of_prepared_statements_belong_to_their_client() {
    let site = Site::start(Plan {
        connections: 1,
        ..Plan::default()
    })
    .await;
    let mut clients = Vec::new();
    for number in 0..5 {
        let mut client = site.raw().await;
        let sql = format!("select 'statement of client {number}'");
        client
            .ask(
                &[
                    wire::parse("mine", &sql, &[]),
                    wire::parse("", &format!("{sql} ''unnamed''").replace("''", ""), &[]),
                    wire::sync(),
                ]
                .concat(),
            )
            .await
            .unwrap();
        clients.push(client);
    }
    for _ in 0..3 {
        for (number, client) in clients.iter_mut().enumerate() {
            for name in ["mine", ""] {
                let answer = client
                    .ask(&[wire::bind("", name, &[]), wire::execute("", 0), wire::sync()].concat())
                    .await
                    .unwrap();
                assert_eq!(
                    first_columns(&answer),
                    [format!("statement of client {number}")],
                    "{}",
                    wire::describe(&answer)
                );
            }
        }
    }
}
