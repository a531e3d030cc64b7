//! S9: every command of administrators against everybody who may try it: on the console, by the simple and the extended
//! protocol and by TDS, and over HTTP; every cell is asserted, and so is that what was denied has not
//! happened.

use std::{fs, time::Duration};

use serde_json::{Value, json};
use tokio_postgres::{Client, Error, SimpleQueryMessage};
use weir_tests::{
    cluster::{self, ROLE, ROLE_PASSWORD},
    gateway::Gateway,
    http::Http,
    mssql::{
        DATABASE, Kind,
        client::{Call, Credentials, RawClient as TdsClient},
    },
    site::{Plan, Site, is_direct},
};

use super::mssql_gateway::{gateway_with, server};

const PASSWORD: &str = "canary-roles-3b8";
const SECRET: &str = "canary-admin-secret-5d0";
const METRICS_SECRET: &str = "canary-metrics-secret-1f6";

/// The commands of SHOW HELP, how to give each, and whether `stats` may. `admin` may give all of them, nobody else any.
/// In an order in which they can all be given: the last two end the gateway.
const COMMANDS: [(&str, &str, bool); 28] = [
    ("SHOW CLIENTS", "SHOW CLIENTS", true),
    ("SHOW CONFIG", "SHOW CONFIG", true),
    ("SHOW DATABASES", "SHOW DATABASES", true),
    ("SHOW HELP", "SHOW HELP", true),
    ("SHOW LISTS", "SHOW LISTS", true),
    ("SHOW PINS", "SHOW PINS", true),
    ("SHOW PIN_TOTALS", "SHOW PIN_TOTALS", true),
    ("SHOW POOLS", "SHOW POOLS", true),
    ("SHOW SERVERS", "SHOW SERVERS", true),
    ("SHOW STATE", "SHOW STATE", true),
    ("SHOW STATS", "SHOW STATS", true),
    ("SHOW STATS_AVERAGES", "SHOW STATS_AVERAGES", true),
    ("SHOW STATS_TOTALS", "SHOW STATS_TOTALS", true),
    ("SHOW USERS", "SHOW USERS", true),
    ("SHOW VERSION", "SHOW VERSION", true),
    ("SHOW WAITS", "SHOW WAITS", true),
    ("EXPLAIN POOL source", "EXPLAIN POOL SOURCE", true),
    ("KILL_CLIENT id", "KILL_CLIENT 0", false),
    ("PAUSE [source]", "PAUSE", false),
    ("RESUME [source]", "RESUME", false),
    ("RECONNECT [source]", "RECONNECT", false),
    ("WAIT_CLOSE [source]", "WAIT_CLOSE", false),
    ("KILL [source]", "KILL; RESUME", false),
    ("DISABLE source", "DISABLE SOURCE", false),
    ("ENABLE source", "ENABLE SOURCE", false),
    ("RELOAD", "RELOAD", false),
    ("SHUTDOWN WAIT_FOR_SERVERS", "SHUTDOWN WAIT_FOR_SERVERS", false),
    ("SHUTDOWN", "SHUTDOWN", false),
];

struct Place {
    site: Site,
    gateway: Gateway,
}

impl Place {
    async fn start() -> Option<Place> {
        if is_direct() {
            return None;
        }
        let plan = Plan::default();
        let site = Site::start(plan.clone()).await;
        let user = |name, role| json!({ "name": name, "password": PASSWORD, "sources": "*", "role": role });
        let metadata = Site::metadata(&plan, site.cluster, &site.database, &site.authority)
            .listener(json!({ "name": "trusting", "kind": "postgres", "host": "127.0.0.1", "port": 0, "trust_loopback": true }))
            .user(user("boss", "admin"))
            .user(user("watcher", "stats"))
            .user(user("somebody", "support"))
            .user(json!({ "name": "plain", "password": PASSWORD, "sources": "*" }))
            .top_level(
                "admin",
                json!({ "host": "127.0.0.1", "admin_secret": SECRET, "metrics_secret": METRICS_SECRET }),
            );
        let gateway = Gateway::start(&metadata);
        Some(Place { site, gateway })
    }

    async fn console(&self, user: &str) -> Client {
        cluster::connect(self.gateway.address("pg"), user, PASSWORD, "weir")
            .await
            .unwrap()
    }

    fn command(&self, command: &str) -> String {
        command.replace("SOURCE", &format!("\"{}\"", self.site.database))
    }
}

fn code<T>(outcome: &Result<T, Error>) -> Option<&str> {
    outcome.as_ref().err().and_then(Error::code).map(|code| code.code())
}

async fn table(console: &Client, topic: &str) -> Vec<Vec<String>> {
    let answer = console.simple_query(&format!("SHOW {topic}")).await.unwrap();
    let rows = answer.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    rows.map(|row| {
        let cells = 0..row.len();
        cells.map(|cell| row.get(cell).unwrap_or_default().to_owned()).collect()
    })
    .collect()
}

#[tokio::test]
async fn s9_every_command_by_everybody_on_the_console() {
    let Some(mut place) = Place::start().await else { return };
    let boss = place.console("boss").await;
    let help = table(&boss, "HELP").await;
    let listed = |name: &str| help.iter().find(|row| row[0] == name);
    assert_eq!(
        help.len(),
        COMMANDS.len(),
        "a command is missing in the table of this test"
    );

    // Who has no role, or another one, or no secret, does not even come in, by whichever name and listener.
    for (user, password, expected) in [
        ("somebody", PASSWORD, "42501"),
        ("plain", PASSWORD, "42501"),
        (ROLE, ROLE_PASSWORD, "42501"),
        ("boss", "wrong", "28P01"),
        ("boss", "", "28P01"),
        ("nobody", PASSWORD, "28P01"),
    ] {
        for database in ["weir", "pgbouncer"] {
            let refused = cluster::connect(place.gateway.address("pg"), user, password, database).await;
            assert_eq!(code(&refused), Some(expected), "{user}");
        }
    }
    let trusted = cluster::connect(place.gateway.address("trusting"), "plain", "", "weir").await;
    assert_eq!(code(&trusted), Some("42501"), "trust makes no administrator");

    let watcher = place.console("watcher").await;
    for (name, command, stats_may) in COMMANDS {
        let row = listed(name).unwrap_or_else(|| panic!("{name} is not in SHOW HELP"));
        assert_eq!(row[1], if stats_may { "stats, admin" } else { "admin" }, "{name}");
        let command = place.command(command);
        let simple = watcher.simple_query(&command).await;
        let first = command.split(';').next().unwrap();
        let extended = watcher.query(first, &[]).await;
        let expected = if stats_may { None } else { Some("42501") };
        assert_eq!(code(&simple), expected, "stats: {command}");
        assert_eq!(code(&extended), expected, "stats, extended protocol: {command}");
        assert_eq!((simple.is_ok(), extended.is_ok()), (stats_may, stats_may), "{command}");
    }
    let state = table(&boss, "STATE").await;
    assert_eq!(state[1], ["paused", "no"], "nothing that was denied has happened");
    let databases = boss.query("SHOW DATABASES", &[]).await.unwrap();
    assert!(databases.iter().all(|row| row.get::<_, i64>("disabled") == 0));
    assert!(place.gateway.is_running());

    for (_, command, _) in &COMMANDS[..COMMANDS.len() - 2] {
        let command = place.command(command);
        let simple = boss.simple_query(&command).await;
        let first = command.split(';').next().unwrap();
        let extended = boss.query(first, &[]).await;
        // There is no client 0, which only who may kill one is told.
        let expected = command.starts_with("KILL_CLIENT").then_some("42704");
        assert_eq!(code(&simple), expected, "admin: {command}");
        assert_eq!(code(&extended), expected, "admin, extended protocol: {command}");
    }
    let gone = boss.simple_query("SHUTDOWN WAIT_FOR_SERVERS").await;
    assert_ne!(code(&gone), Some("42501"));
    let limit = Duration::from_secs(60);
    assert!(place.gateway.wait(limit).is_some(), "admin: SHUTDOWN");
}

/// Declares that `boss` has this role, and waits until it applies.
async fn declare(gateway: &Gateway, role: &str) {
    let path = gateway.folder().join("gateway.yaml");
    let mut declared: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let users = declared["users"].as_array_mut().unwrap();
    let boss = users.iter_mut().find(|user| user["name"] == "boss").unwrap();
    boss["role"] = role.into();
    let applied = || gateway.log().matches("metadata applied").count();
    let before = applied();
    fs::write(&path, declared.to_string()).unwrap();
    let waiting = async {
        while applied() == before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(30), waiting).await;
    assert!(waited.is_ok(), "{role} does not apply:\n{}", gateway.log());
}

/// What an open console may do after each change of its user's role: look, act.
const PROMOTIONS: [(&str, bool, bool); 5] = [
    ("stats", true, false),
    ("support", false, false),
    ("admin", true, true),
    ("user", false, false),
    ("stats", true, false),
];

#[tokio::test]
async fn s9_a_role_that_is_taken_away_is_gone_from_an_open_console() {
    let Some(place) = Place::start().await else { return };
    let boss = place.console("boss").await;
    assert!(boss.simple_query("PAUSE; RESUME").await.is_ok());
    // Prepared while it might be given.
    let prepared = boss.prepare("PAUSE").await.unwrap();
    for (role, may_look, may_act) in PROMOTIONS {
        declare(&place.gateway, role).await;
        let denied = |may: bool| (!may).then_some("42501");
        assert_eq!(code(&boss.simple_query("SHOW POOLS").await), denied(may_look), "{role}");
        assert_eq!(code(&boss.query("SHOW POOLS", &[]).await), denied(may_look), "{role}");
        assert_eq!(code(&boss.simple_query("RECONNECT").await), denied(may_act), "{role}");
        assert_eq!(code(&boss.execute(&prepared, &[]).await), denied(may_act), "{role}");
        if may_act {
            assert!(boss.simple_query("RESUME").await.is_ok(), "{role}");
        }
    }
    let watcher = place.console("watcher").await;
    let state = table(&watcher, "STATE").await;
    assert_eq!(state[1], ["paused", "no"], "nothing that was denied has happened");
}

#[tokio::test]
async fn s9_a_role_that_is_taken_away_is_gone_from_an_open_console_over_tds() {
    let server = server(Kind::SqlServer);
    let gateway = gateway_with(&server, 2, |metadata| {
        metadata.user(json!({ "name": "boss", "password": PASSWORD, "sources": "*", "role": "admin" }))
    });
    let credentials = Credentials {
        user: "boss",
        password: PASSWORD,
        database: "weir",
        ..Credentials::default()
    };
    let (mut boss, _) = TdsClient::log_in(gateway.address("tds"), &credentials).await.unwrap();
    assert_eq!(error_number(&boss.batch("RECONNECT").await), None);
    for (role, may_look, may_act) in PROMOTIONS {
        declare(&gateway, role).await;
        let denied = |may: bool| (!may).then_some("229");
        for (command, may) in [("SHOW POOLS", may_look), ("RECONNECT", may_act)] {
            let answer = boss.batch(command).await;
            assert_eq!(error_number(&answer), denied(may), "{role}: {command}: {answer:?}");
            let called = boss.call(Call::id(10).text("", command).body()).await;
            assert_eq!(error_number(&called), denied(may), "{role}: {command}: {called:?}");
        }
    }
    // Who comes only now is not let in at all by a role that is none.
    declare(&gateway, "support").await;
    let (_, answer) = TdsClient::log_in(gateway.address("tds"), &credentials).await.unwrap();
    assert_eq!(error_number(&answer), Some("916"), "{answer:?}");
}

#[tokio::test]
async fn s9_every_order_by_everybody_over_http() {
    let Some(place) = Place::start().await else { return };
    let name = &place.site.database;
    let nobody = Http::new(place.gateway.http());
    let callers = [
        ("nobody", nobody.clone(), 401),
        ("a wrong secret", nobody.clone().with_secret("wrong"), 401),
        ("an empty secret", nobody.clone().with_secret(""), 401),
        ("the metrics secret", nobody.clone().with_secret(METRICS_SECRET), 401),
        ("a user's password", nobody.clone().with_secret(PASSWORD), 401),
        (
            "the secret, in another role",
            nobody.clone().with_secret(SECRET).with("x-hasura-role", "stats"),
            400,
        ),
        ("the secret", nobody.clone().with_secret(SECRET), 200),
    ];
    let orders = [
        ("get_pool_stats", json!({})),
        ("pause_source", json!({ "name": name })),
        ("resume_source", json!({ "name": name })),
        ("restart_source", json!({ "name": name })),
        ("reload_metadata", json!({})),
    ];
    for (who, http, expected) in &callers {
        for (kind, args) in &orders {
            let answer = http.metadata(&json!({ "type": kind, "args": args })).await;
            assert_eq!(answer.status, *expected, "{kind} by {who}: {}", answer.text);
            if *expected != 200 {
                assert_eq!(answer.json()["code"], "access-denied", "{kind} by {who}");
            }
            assert!(!answer.text.contains("canary"), "{kind} by {who}: {}", answer.text);
        }
    }
    let boss = place.console("boss").await;
    assert_eq!(table(&boss, "STATE").await[1], ["paused", "no"]);
}

/// The number of the first error of an answer over TDS.
fn error_number(answer: &[String]) -> Option<&str> {
    let error = answer.iter().find_map(|line| line.strip_prefix("error "));
    error.and_then(|error| error.split(' ').next())
}

#[tokio::test]
async fn s9_every_command_by_everybody_over_tds() {
    let server = server(Kind::SqlServer);
    let mut gateway = gateway_with(&server, 2, |metadata| {
        let user = |name, role| json!({ "name": name, "password": PASSWORD, "sources": "*", "role": role });
        metadata
            .user(user("boss", "admin"))
            .user(user("watcher", "stats"))
            .user(user("somebody", "support"))
    });
    let address = gateway.address("tds");
    let log_in = async |user: &str, password: &str, database: &str| {
        let credentials = Credentials {
            user,
            password,
            database,
            ..Credentials::default()
        };
        TdsClient::log_in(address, &credentials).await.unwrap()
    };
    for (user, password, expected) in [
        ("somebody", PASSWORD, "916"),
        ("boss", "wrong", "18456"),
        ("nobody", PASSWORD, "18456"),
    ] {
        for database in ["weir", "pgbouncer"] {
            let (_, answer) = log_in(user, password, database).await;
            assert_eq!(error_number(&answer), Some(expected), "{user}: {answer:?}");
        }
    }
    let (mut watcher, _) = log_in("watcher", PASSWORD, "weir").await;
    let (mut boss, _) = log_in("boss", PASSWORD, "weir").await;
    let (mut client, _) = log_in("somebody", PASSWORD, DATABASE).await;
    let written = |command: &str| command.replace("SOURCE", &format!("\"{DATABASE}\""));
    for (_, command, stats_may) in COMMANDS {
        let command = written(command);
        let answer = watcher.batch(&command).await;
        let expected = if stats_may { None } else { Some("229") };
        assert_eq!(error_number(&answer), expected, "stats: {command}: {answer:?}");
    }
    client.batch("SELECT 1").await;
    assert!(gateway.is_running(), "nothing that was denied has happened");
    for (_, command, _) in &COMMANDS[..COMMANDS.len() - 2] {
        let command = written(command);
        let answer = boss.batch(&command).await;
        let expected = command.starts_with("KILL_CLIENT").then_some("6106");
        assert_eq!(error_number(&answer), expected, "admin: {command}: {answer:?}");
        if command == "PAUSE" {
            client.start(0, "SELECT 2").await;
            let paused = tokio::time::timeout(Duration::from_millis(300), client.read()).await;
            assert!(paused.is_err(), "no request is served in a pause");
        }
        if command == "RESUME" {
            let answer = client.read().await.unwrap();
            assert_eq!(error_number(&answer), None, "{answer:?}");
        }
    }
    boss.start(0, "SHUTDOWN").await;
    assert!(gateway.wait(Duration::from_secs(60)).is_some(), "admin: SHUTDOWN");
}
