//! Read replicas that are real: streaming standbys, reached by name (`database@read_replicas`), by what a client declares
//! (`BEGIN READ ONLY`) and by what a statement can be seen to be; avoided while they are down.

use std::{collections::BTreeMap, sync::OnceLock, time::Duration};

use serde_json::{Value, json};
use weir_tests::{
    clock,
    cluster::{self, Cluster, ROLE, ROLE_PASSWORD, Version},
    gateway::Gateway,
    metadata::Metadata,
    site::{is_direct, new_name},
    standby::Standby,
    turn::{self, Turn},
    wire::{self, Message, RawClient, first_columns, first_error},
};

/// Which server answers, asked by a statement that any server may run.
const WHERE: &str = "select current_setting('port')";

/// A user of the gateway that may only read.
const READER: &str = "reader";

/// A primary and two standbys that the tests of this module share. None of them may break one.
struct Fleet {
    primary: Cluster,
    standbys: [Standby; 2],
}

fn fleet() -> &'static Fleet {
    static FLEET: OnceLock<Fleet> = OnceLock::new();
    FLEET.get_or_init(|| {
        let primary = Cluster::start(Version::Distribution, &[("wal_keep_size", "256MB")]);
        let standbys = [Standby::start(&primary), Standby::start(&primary)];
        Fleet { primary, standbys }
    })
}

/// A database on the fleet's primary, its replicas, and a gateway before them.
struct Place {
    gateway: Gateway,
    /// The source's name as well.
    database: String,
    /// Ports, as [`WHERE`] tells them.
    primary: String,
    standby: String,
    _turn: Turn,
}

impl Place {
    async fn start(routing: &str, standbys: &[&Standby]) -> Place {
        let turn = turn::light();
        let primary = &fleet().primary;
        let database = new_name("replicated");
        primary.create_database(&database).await;
        let owner = cluster::connect(primary.address(), ROLE, ROLE_PASSWORD, &database)
            .await
            .unwrap();
        owner
            .batch_execute(
                "CREATE TABLE items (id serial PRIMARY KEY, note text);
                 INSERT INTO items (note) VALUES ('first');
                 CREATE FUNCTION note_it() RETURNS int LANGUAGE sql VOLATILE
                 AS $$ INSERT INTO items (note) VALUES ('by a function') RETURNING id $$",
            )
            .await
            .unwrap();
        for standby in standbys {
            standby.catch_up(primary).await;
        }
        let metadata = Metadata::new()
            .source(source(&database, standbys))
            .loopback()
            .user(json!({ "name": ROLE, "password": ROLE_PASSWORD, "sources": "*" }))
            .user(json!({ "name": READER, "password": ROLE_PASSWORD, "sources": "*", "read_only": true }))
            .overlay(json!({ "name": database, "read_replica_routing": routing }));
        Place {
            gateway: Gateway::start(&metadata),
            database,
            primary: primary.port.to_string(),
            standby: standbys
                .first()
                .map(|standby| standby.port.to_string())
                .unwrap_or_default(),
            _turn: turn,
        }
    }

    /// A client of the database with this suffix.
    async fn client(&self, suffix: &str) -> RawClient {
        self.log_in(ROLE, suffix)
            .await
            .unwrap_or_else(|error| panic!("{}{suffix}: {error}", self.database))
    }

    async fn log_in(&self, user: &str, suffix: &str) -> std::io::Result<RawClient> {
        let database = format!("{}{suffix}", self.database);
        RawClient::log_in(self.gateway.address("pg"), user, ROLE_PASSWORD, &database).await
    }

    /// The server's name in words, for assertions that can be read.
    fn name(&self, port: &str) -> String {
        match port {
            port if port == self.primary => "primary".to_owned(),
            port if port == self.standby => "standby".to_owned(),
            other => other.to_owned(),
        }
    }

    /// Where this statement runs, which returns a port, asked by a simple query.
    #[track_caller]
    fn asked(&self, client: &mut RawClient, sql: &str) -> impl Future<Output = String> {
        let rows = client.rows(sql);
        async move { self.name(&rows.await.join(" ")) }
    }

    /// Every server that answered, in order.
    fn names(&self, answer: &[Message]) -> Vec<String> {
        if let Some(error) = first_error(answer) {
            panic!("{error}\n{}", wire::describe(answer));
        }
        first_columns(answer).iter().map(|port| self.name(port)).collect()
    }
}

fn source(database: &str, standbys: &[&Standby]) -> Value {
    let primary = &fleet().primary;
    let connection = |port: u16, database: &str| {
        json!({
            "database_url": format!("postgres://{ROLE}:{ROLE_PASSWORD}@127.0.0.1:{port}/{database}?sslmode=disable"),
            "pool_settings": { "max_connections": 2, "pool_timeout": 10, "retries": 0 },
        })
    };
    let replicas: Vec<Value> = standbys
        .iter()
        .map(|standby| connection(standby.port, database))
        .collect();
    json!({
        "name": database,
        "kind": "postgres",
        "tables": [],
        "configuration": {
            "connection_info": connection(primary.port, database),
            "read_replicas": replicas,
            "connection_set": [{ "name": "archive", "connection_info": connection(primary.port, "postgres") }],
        },
    })
}

fn extended(sql: &str) -> Vec<u8> {
    [
        wire::parse("", sql, &[]),
        wire::bind("", "", &[]),
        wire::execute("", 0),
        wire::sync(),
    ]
    .concat()
}

/// Sends all requests at once; the answers to all of them.
async fn pipeline(client: &mut RawClient, requests: &[Vec<u8>]) -> Vec<Message> {
    client.send(&requests.concat()).await.unwrap();
    let mut answers = Vec::new();
    for _ in requests {
        answers.extend(client.until(b'Z').await.unwrap());
    }
    answers
}

fn sqlstate(answer: &[Message]) -> &str {
    first_error(answer).and_then(Message::sqlstate).unwrap_or("none")
}

type Encode = fn(&str) -> Vec<u8>;

/// The two ways to ask.
const WAYS: [(&str, Encode); 2] = [("simple", wire::query), ("extended", extended)];

#[tokio::test]
async fn servers_are_reached_by_name() {
    if is_direct() {
        return;
    }
    let place = Place::start("none", &[&fleet().standbys[0]]).await;
    let role = "select pg_is_in_recovery()";
    for (suffix, standby) in [("", "f"), ("@primary", "f"), ("@read_replicas", "t"), ("@archive", "f")] {
        let mut client = place.client(suffix).await;
        for _ in 0..3 {
            assert_eq!(client.rows(role).await, [standby], "{suffix}");
            assert_eq!(
                first_columns(&client.ask(&extended(role)).await.unwrap()),
                [standby],
                "{suffix}"
            );
        }
    }
    let mut replica = place.client("@read_replicas").await;
    assert_eq!(replica.rows("select note from items").await, ["first"]);
    for (_, encode) in WAYS {
        let answer = replica
            .ask(&encode("insert into items (note) values ('no')"))
            .await
            .unwrap();
        assert_eq!(sqlstate(&answer), "25006", "{}", wire::describe(&answer));
    }
    let mut archive = place.client("@archive").await;
    assert_eq!(archive.rows("select current_database()").await, ["postgres"]);
    // Without routing nothing goes to a replica unasked.
    let mut client = place.client("").await;
    client.rows("begin read only").await;
    assert_eq!(place.asked(&mut client, WHERE).await, "primary");
    client.rows("commit").await;
}

#[tokio::test]
async fn a_target_that_does_not_exist_is_no_database() {
    if is_direct() {
        return;
    }
    let place = Place::start("none", &[&fleet().standbys[0]]).await;
    for suffix in ["@nowhere", "@", "@read_replicas@primary", "@Primary", "x@read_replicas"] {
        let error = place.log_in(ROLE, suffix).await.expect_err(suffix);
        assert!(error.to_string().starts_with("3D000"), "{suffix}: {error}");
    }
}

#[tokio::test]
async fn what_is_declared_read_only_goes_to_a_replica() {
    if is_direct() {
        return;
    }
    let place = Place::start("read-only-transactions", &[&fleet().standbys[0]]).await;
    let to_standby = [
        "begin read only",
        "START TRANSACTION READ ONLY",
        "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
        "/* a report */ begin work isolation level read committed read only;",
    ];
    let to_primary = [
        "begin",
        "begin read write",
        "start transaction isolation level repeatable read",
        "begin read only, read write",
        // A standby refuses it: "cannot set transaction read-write mode during recovery".
        "begin read write, read only",
        // A standby refuses it: "cannot use serializable mode in a hot standby".
        "begin isolation level serializable read only",
        "begin isolation level serializable, read only, deferrable",
    ];
    let mut client = place.client("").await;
    for (way, encode) in WAYS {
        for (begins, server) in [(&to_standby[..], "standby"), (&to_primary[..], "primary")] {
            for begin in begins {
                let answers = [
                    client.ask(&encode(begin)).await.unwrap(),
                    client.ask(&encode(WHERE)).await.unwrap(),
                    client.ask(&encode("commit")).await.unwrap(),
                ];
                assert_eq!(place.names(&answers.concat()), [server], "{way}: {begin}");
                let begin = encode(begin);
                let answers = pipeline(&mut client, &[begin.clone(), encode(WHERE), encode("commit")]).await;
                assert_eq!(
                    place.names(&answers),
                    [server],
                    "{way}, pipelined: {}",
                    begin.escape_ascii()
                );
            }
        }
        // Outside of such a transaction nothing is.
        assert_eq!(
            place.names(&client.ask(&encode(WHERE)).await.unwrap()),
            ["primary"],
            "{way}"
        );
        let insert = "insert into items (note) values ('written') returning current_setting('port')";
        assert_eq!(
            place.names(&client.ask(&encode(insert)).await.unwrap()),
            ["primary"],
            "{way}"
        );
    }
    // A promise that is not kept ends as it would on the primary.
    client.rows("begin read only").await;
    let answer = client.simple("delete from items").await.unwrap();
    assert_eq!(sqlstate(&answer), "25006");
    client.rows("rollback").await;
    let mut primary = place.client("@primary").await;
    primary.rows("begin read only").await;
    assert_eq!(place.asked(&mut primary, WHERE).await, "primary");
}

/// Requests that are sent before the transaction's end is answered belong to what comes after it.
#[tokio::test]
async fn what_follows_a_read_only_transaction_in_a_pipeline_may_write() {
    if is_direct() {
        return;
    }
    let insert = "insert into items (note) values ('piped') returning current_setting('port')";
    for routing in ["read-only-transactions", "read-only-statements"] {
        let place = Place::start(routing, &[&fleet().standbys[0]]).await;
        for (way, encode) in WAYS {
            for end in ["commit", "rollback", "end"] {
                let mut client = place.client("").await;
                let requests = ["begin read only", WHERE, end, insert, "begin", WHERE, insert, "commit"].map(encode);
                let answers = pipeline(&mut client, &requests).await;
                assert_eq!(
                    place.names(&answers),
                    ["standby", "primary", "primary", "primary"],
                    "{routing}, {way}: {end}"
                );
            }
            // The failed transaction's ROLLBACK, and what follows it.
            let mut client = place.client("").await;
            let requests = ["begin read only", "select 1 / 0", "rollback", insert].map(encode);
            let answers = pipeline(&mut client, &requests).await;
            let errors: Vec<_> = answers.iter().filter_map(Message::sqlstate).collect();
            assert_eq!(errors, ["22012"], "{routing}, {way}: {}", wire::describe(&answers));
            assert_eq!(place.name(&first_columns(&answers).join(" ")), "primary");
        }
    }
}

#[tokio::test]
async fn statements_that_cannot_write_go_to_a_replica() {
    if is_direct() {
        return;
    }
    let place = Place::start("read-only-statements", &[&fleet().standbys[0]]).await;
    let to_standby = [
        WHERE,
        "select current_setting('port') from items where note = 'first'",
        "with found as (select current_setting('port') as port from items where id = 1) select port from found",
        "(select current_setting('port')) union all (select note from items where false)",
        "values (current_setting('port'))",
        "select current_setting('port') from (select count(*), max(note) from items group by note) as counted limit 1",
    ];
    let to_primary = [
        "select current_setting('port') from items where id = 1 for update",
        "select current_setting('port') from items where id = 1 for no key update of items nowait",
        "select current_setting('port') from items where id = 1 for share",
        "select current_setting('port') from note_it()",
        "select current_setting('port') from public.note_it()",
        "select current_setting('port') from (select note_it()) as noted",
        "select current_setting('port') where nextval('items_id_seq') > 0",
        "select current_setting('port') from nextval('items_id_seq')",
        "with w as (insert into items (note) values ('w') returning 1) select current_setting('port') from w",
        "with w as materialized (update items set note = note where id = 1 returning 1) select current_setting('port') from w",
        "insert into items (note) values ('i') returning current_setting('port')",
        "update items set note = note where id = 1 returning current_setting('port')",
        "delete from items where id = (select max(id) from items) returning current_setting('port')",
    ];
    let mut client = place.client("").await;
    for (way, encode) in WAYS {
        for (statements, server) in [(&to_standby[..], "standby"), (&to_primary[..], "primary")] {
            for sql in statements {
                let answer = client.ask(&encode(sql)).await.unwrap();
                assert_eq!(place.names(&answer), [server], "{way}: {sql}");
            }
        }
        // One after the other without waiting, from server to server.
        let insert = to_primary[10];
        let requests = [WHERE, insert, WHERE, WHERE, insert, insert, WHERE].map(encode);
        let answers = pipeline(&mut client, &requests).await;
        let expected = [
            "standby", "primary", "standby", "standby", "primary", "primary", "standby",
        ];
        // A read that finds the primary at hand may as well run there.
        for (server, expected) in place.names(&answers).iter().zip(expected) {
            assert!(
                server == expected || expected == "standby",
                "{way}: {:?}",
                place.names(&answers)
            );
        }
        // In a transaction that may write, everything is the primary's.
        client.rows("begin").await;
        assert_eq!(
            place.names(&client.ask(&encode(WHERE)).await.unwrap()),
            ["primary"],
            "{way}"
        );
        client.rows("commit").await;
        client.rows("begin read only").await;
        assert_eq!(
            place.names(&client.ask(&encode(WHERE)).await.unwrap()),
            ["standby"],
            "{way}"
        );
        client.rows("commit").await;
        assert_eq!(
            place.names(&client.ask(&encode(WHERE)).await.unwrap()),
            ["standby"],
            "{way}"
        );
    }
    let two = "select current_setting('port'); insert into items (note) values ('two')";
    assert_eq!(place.asked(&mut client, two).await, "primary");
    let mut primary = place.client("@primary").await;
    assert_eq!(place.asked(&mut primary, WHERE).await, "primary");
}

/// Prepared statements are the client's, whichever server runs them; so are the settings it came with.
#[tokio::test]
async fn prepared_statements_and_settings_follow_the_client_to_either_server() {
    if is_direct() {
        return;
    }
    let place = Place::start("read-only-statements", &[&fleet().standbys[0]]).await;
    let parameters = [
        ("user", ROLE),
        ("database", place.database.as_str()),
        ("application_name", "traveller"),
        ("TimeZone", "Asia/Kathmandu"),
    ];
    let security = wire::Security::Clear;
    let mut client = RawClient::log_in_with(place.gateway.address("pg"), &security, ROLE_PASSWORD, 0, &parameters)
        .await
        .unwrap();
    let read = "select current_setting('port') || ' ' || current_setting('application_name') || ' ' || \
                current_setting('timezone')";
    let write = "insert into items (note) values ($1) returning current_setting('port') || ' ' || \
                 current_setting('application_name') || ' ' || current_setting('timezone')";
    let answer = client
        .ask(&[wire::parse("r", read, &[]), wire::parse("w", write, &[]), wire::sync()].concat())
        .await
        .unwrap();
    assert_eq!(sqlstate(&answer), "none", "{}", wire::describe(&answer));
    for round in 0..3 {
        for (statement, parameters, port) in [
            ("r", &[][..], &place.standby),
            ("w", &[Some(&b"prepared"[..])][..], &place.primary),
        ] {
            let run = [
                wire::bind("", statement, parameters),
                wire::execute("", 0),
                wire::sync(),
            ]
            .concat();
            let answer = client.ask(&run).await.unwrap();
            assert_eq!(
                first_columns(&answer),
                [format!("{port} traveller Asia/Kathmandu")],
                "round {round}: {}",
                wire::describe(&answer)
            );
        }
    }
}

/// A standby knows no SERIALIZABLE; a client that wants it for everything is served by the primary.
#[tokio::test]
async fn clients_that_want_serializable_transactions_stay_on_the_primary() {
    if is_direct() {
        return;
    }
    let place = Place::start("read-only-statements", &[&fleet().standbys[0]]).await;
    for (user, options) in [
        (ROLE, "-c default_transaction_isolation=serializable"),
        (READER, "-cdefault_transaction_isolation=Serializable"),
    ] {
        let parameters = [
            ("user", user),
            ("database", place.database.as_str()),
            ("options", options),
        ];
        let security = wire::Security::Clear;
        let mut client = RawClient::log_in_with(place.gateway.address("pg"), &security, ROLE_PASSWORD, 0, &parameters)
            .await
            .unwrap();
        assert_eq!(place.asked(&mut client, WHERE).await, "primary", "{user}");
        client.rows("begin read only").await;
        assert_eq!(client.rows("show transaction_isolation").await, ["serializable"]);
        assert_eq!(place.asked(&mut client, WHERE).await, "primary", "{user}");
        client.rows("commit").await;
    }
}

/// A replica is behind. What a client prepares or writes is never looked up there.
#[tokio::test]
async fn a_replica_that_is_behind_is_not_asked_about_writes() {
    if is_direct() {
        return;
    }
    let late = Standby::start(&fleet().primary);
    for routing in ["read-only-transactions", "read-only-statements"] {
        let place = Place::start(routing, &[&late]).await;
        let mut client = place.client("").await;
        assert_eq!(client.rows("begin read only").await, [""; 0]);
        assert_eq!(place.asked(&mut client, WHERE).await, "standby");
        client.rows("commit").await;
        late.admin("postgres")
            .await
            .batch_execute("SELECT pg_wal_replay_pause()")
            .await
            .unwrap();
        client.rows("create table fresh (v text)").await;
        let insert = "insert into fresh values ($1) returning v";
        let prepare = [
            wire::parse("i", insert, &[]),
            wire::describe_message(b'S', "i"),
            wire::sync(),
        ]
        .concat();
        let run = |name| {
            [
                wire::bind("", name, &[Some(b"new")]),
                wire::execute("", 0),
                wire::sync(),
            ]
            .concat()
        };
        let answer = client.ask(&prepare).await.unwrap();
        assert_eq!(sqlstate(&answer), "none", "{routing}: {}", wire::describe(&answer));
        // As drivers do that describe before they bind.
        let describe = [wire::describe_message(b'S', "i"), wire::sync()].concat();
        let answer = client.ask(&describe).await.unwrap();
        assert_eq!(sqlstate(&answer), "none", "{routing}: {}", wire::describe(&answer));
        let unnamed = [
            wire::parse("", insert, &[]),
            wire::describe_message(b'S', ""),
            wire::sync(),
        ]
        .concat();
        let answer = client.ask(&unnamed).await.unwrap();
        assert_eq!(sqlstate(&answer), "none", "{routing}: {}", wire::describe(&answer));
        for name in ["", "i"] {
            let answer = client.ask(&run(name)).await.unwrap();
            assert_eq!(
                first_columns(&answer),
                ["new"],
                "{routing}: {}",
                wire::describe(&answer)
            );
        }
        late.admin("postgres")
            .await
            .batch_execute("SELECT pg_wal_replay_resume()")
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_read_only_user_does_not_write() {
    if is_direct() {
        return;
    }
    for (routing, server) in [("none", "primary"), ("read-only-statements", "standby")] {
        let place = Place::start(routing, &[&fleet().standbys[0]]).await;
        let mut reader = place.log_in(READER, "").await.unwrap();
        assert_eq!(place.asked(&mut reader, WHERE).await, server);
        assert_eq!(reader.rows("show transaction_read_only").await, ["on"]);
        for (way, encode) in WAYS {
            for sql in [
                "insert into items (note) values ('no')",
                "select note_it()",
                "create table no (v int)",
            ] {
                let answer = reader.ask(&encode(sql)).await.unwrap();
                assert_eq!(sqlstate(&answer), "25006", "{routing}, {way}: {sql}");
            }
            let requests = ["begin", "insert into items (note) values ('no')", "rollback"].map(encode);
            let answers = pipeline(&mut reader, &requests).await;
            let errors: Vec<_> = answers.iter().filter_map(Message::sqlstate).collect();
            assert_eq!(errors, ["25006"], "{routing}, {way}: {}", wire::describe(&answers));
        }
        // Others of the same pool may write, before and after.
        let mut writer = place.client("").await;
        assert_eq!(
            writer
                .rows("insert into items (note) values ('yes') returning note")
                .await,
            ["yes"]
        );
        assert_eq!(sqlstate(&reader.simple("delete from items").await.unwrap()), "25006");
        assert_eq!(
            writer
                .rows("insert into items (note) values ('yes') returning note")
                .await,
            ["yes"]
        );
    }
}

/// A standby dies and comes back: who was in the middle of something is told, nobody else notices.
#[tokio::test]
async fn a_dead_replica_is_avoided_and_used_again() {
    if is_direct() {
        return;
    }
    let mortal = Standby::start(&fleet().primary);
    let place = Place::start("read-only-statements", &[&mortal]).await;
    let (mut by_name, mut routed, mut running, mut idle) = (
        place.client("@read_replicas").await,
        place.client("").await,
        place.client("@read_replicas").await,
        place.client("@read_replicas").await,
    );
    for client in [&mut by_name, &mut routed, &mut running, &mut idle] {
        assert_eq!(place.asked(client, WHERE).await, "standby");
    }
    running.send(&wire::query("select pg_sleep(30)")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    mortal.crash();
    let answer = running.until(b'Z').await.unwrap();
    assert!(
        sqlstate(&answer).starts_with("57P0") || sqlstate(&answer).starts_with("08"),
        "{}",
        wire::describe(&answer)
    );
    for round in 0..20 {
        for client in [&mut by_name, &mut routed, &mut running, &mut idle] {
            assert_eq!(place.asked(client, WHERE).await, "primary", "round {round}");
        }
        let mut late = place.client("@read_replicas").await;
        assert_eq!(place.asked(&mut late, WHERE).await, "primary", "round {round}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    mortal.restart();
    let started = clock::now();
    for client in [&mut by_name, &mut routed, &mut running, &mut idle] {
        while place.asked(client, WHERE).await != "standby" {
            assert!(
                started.elapsed() < Duration::from_secs(20),
                "the standby is not found again"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// A standby that nobody could ever reach does not keep anybody from working, nor from logging in.
#[tokio::test]
async fn a_replica_that_was_never_there_is_avoided() {
    if is_direct() {
        return;
    }
    let _turn = turn::light();
    let primary = &fleet().primary;
    let url = |port: u16| {
        let url = format!("postgres://{ROLE}:{ROLE_PASSWORD}@127.0.0.1:{port}/postgres?sslmode=disable");
        json!({ "database_url": url, "pool_settings": { "max_connections": 2, "retries": 0 } })
    };
    let metadata = Metadata::new()
        .source(json!({ "name": "hopeful", "kind": "postgres", "tables": [],
            "configuration": { "connection_info": url(primary.port), "read_replicas": [url(cluster::free_port())] } }))
        .loopback()
        .user(json!({ "name": ROLE, "password": ROLE_PASSWORD, "sources": "*" }))
        .overlay(json!({ "name": "hopeful", "read_replica_routing": "read-only-statements" }));
    let gateway = Gateway::start(&metadata);
    for name in ["hopeful", "hopeful@read_replicas"] {
        let mut client = RawClient::log_in(gateway.address("pg"), ROLE, ROLE_PASSWORD, name)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        for _ in 0..5 {
            assert_eq!(client.rows(WHERE).await, [primary.port.to_string()], "{name}");
        }
    }
}

/// Clients that come together are spread evenly; clients that come one after the other reach every replica too.
#[tokio::test]
async fn replicas_share_the_load() {
    if is_direct() {
        return;
    }
    let [one, two] = &fleet().standbys;
    let place = Place::start("none", &[one, two]).await;
    let mut together = BTreeMap::<String, u32>::new();
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = place.client("@read_replicas").await;
        client.rows("begin").await;
        *together.entry(client.rows(WHERE).await.join(" ")).or_default() += 1;
        clients.push(client);
    }
    let even = BTreeMap::from([(one.port.to_string(), 2), (two.port.to_string(), 2)]);
    assert_eq!(together, even);
    for client in &mut clients {
        client.rows("commit").await;
    }
    let mut in_turn = BTreeMap::<String, u32>::new();
    for _ in 0..20 {
        for client in &mut clients {
            *in_turn.entry(client.rows(WHERE).await.join(" ")).or_default() += 1;
        }
    }
    assert_eq!(in_turn.len(), 2, "{in_turn:?}");
    assert!(in_turn.values().all(|count| *count >= 20), "{in_turn:?}");
}

/// A test of the tests.
#[tokio::test]
async fn a_standby_follows_its_primary() {
    let _turn = turn::light();
    let fleet = fleet();
    let name = new_name("followed");
    fleet.primary.create_database(&name).await;
    for standby in &fleet.standbys {
        standby.catch_up(&fleet.primary).await;
        let admin = standby.admin(&name).await;
        let row = admin.query_one("SELECT pg_is_in_recovery()", &[]).await.unwrap();
        assert!(row.get::<_, bool>(0), "{}", standby.log());
    }
}
