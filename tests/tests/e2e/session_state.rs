//! `session_state: follow`: what a client does to its session is there in its next transaction, whichever server
//! connection serves it, and never in anybody else's (I10).
//!
//! Pools of two, and a neighbour that takes one of them in turn, so that a client never has the same connection twice in
//! a row unless something ties it there.

use std::time::Duration;

use serde_json::json;
use weir_tests::{
    clock,
    cluster::{CHIEF, ROLE_PASSWORD},
    site::{Plan, Site, is_direct},
    wire::{self, RawClient, describe, first_error},
};

/// A site, one client, and the neighbour that drives it from one server connection to the other.
pub(crate) struct Place {
    pub(crate) site: Site,
    pub(crate) client: RawClient,
    pub(crate) neighbour: RawClient,
    turns: u32,
}

impl Place {
    pub(crate) async fn start() -> Place {
        Place::with(Plan::default(), &[]).await
    }

    pub(crate) async fn with(plan: Plan, settings: &[(&str, &str)]) -> Place {
        let pool = json!({ "pool_timeout": 5 });
        let site = Site::start(Plan {
            connections: 2,
            pool,
            ..plan
        })
        .await;
        let client = log_in(&site, settings).await;
        let neighbour = site.raw().await;
        Place {
            site,
            client,
            neighbour,
            turns: 0,
        }
    }

    /// The client asks, on the connection that it did not have last.
    pub(crate) async fn ask(&mut self, sql: &str) -> Vec<String> {
        self.turn().await;
        let answer = self.client.simple(sql).await.unwrap();
        let told = told(&answer);
        self.neighbour.simple("commit").await.unwrap();
        told
    }

    /// The neighbour takes the connection that the client had last: somebody new whose settings nobody else has gets the
    /// free one that was used last.
    pub(crate) async fn turn(&mut self) {
        self.turns += 1;
        settle().await;
        let name = format!("neighbour {}", self.turns);
        self.neighbour = log_in(&self.site, &[("application_name", &name)]).await;
        self.neighbour.simple("begin; select 1").await.unwrap();
    }

    pub(crate) async fn expect(&mut self, sql: &str, expected: &str) {
        for _ in 0..3 {
            let found = self.ask(sql).await;
            assert_eq!(found, [expected], "{sql}, after {} turns", self.turns);
        }
    }

    /// Somebody else on both connections.
    pub(crate) async fn others_see(&mut self, sql: &str, expected: &str) {
        let mut other = self.site.raw().await;
        for _ in 0..3 {
            settle().await;
            self.neighbour.simple("begin").await.unwrap();
            let answer = other.simple(sql).await.unwrap();
            assert_eq!(told(&answer), [expected], "{sql}, somebody else's");
            self.neighbour.simple("commit").await.unwrap();
            let answer = self.neighbour.simple(sql).await.unwrap();
            assert_eq!(told(&answer), [expected], "{sql}, the neighbour's");
        }
        other.leave().await;
    }
}

async fn log_in(site: &Site, settings: &[(&str, &str)]) -> RawClient {
    let parameters = [&[("user", site.role), ("database", &*site.database)], settings].concat();
    RawClient::log_in_with(site.address(), &wire::Security::Clear, ROLE_PASSWORD, 0, &parameters)
        .await
        .unwrap()
}

/// A connection goes back a moment after its client has had the answer.
pub(crate) async fn settle() {
    tokio::time::sleep(Duration::from_millis(5)).await;
}

pub(crate) fn told(answer: &[wire::Message]) -> Vec<String> {
    let told = answer.iter().filter_map(|message| match message.tag {
        b'D' => Some(message.text()),
        b'E' => Some(format!("error {}", message.sqlstate().unwrap_or_default())),
        _ => None,
    });
    told.collect()
}

/// Waits for what others see of a connection that is being tidied up.
async fn eventually(mut client: impl AsyncFnMut() -> bool, what: &str) {
    let began = clock::now();
    while !client().await {
        assert!(began.elapsed() < Duration::from_secs(10), "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn settings_follow_however_they_were_set() {
    let mut place = Place::start().await;
    let admin = place.site.admin().await;
    admin
        .batch_execute(
            "CREATE FUNCTION set_it(name text, value text) RETURNS void LANGUAGE plpgsql AS $$
             BEGIN PERFORM set_config(name, value, false); END $$",
        )
        .await
        .unwrap();
    for (set, value) in [
        ("set work_mem = '7MB'", "7MB"),
        ("set session work_mem to '8MB'", "8MB"),
        ("select from (select set_config('work_mem', '9MB', false)) s", "9MB"),
        ("select set_it('work_mem', '10MB') is null where false", "9MB"),
        ("select from set_it('work_mem', '11MB')", "11MB"),
        ("do $$ begin execute 'set work_mem = ''12MB'''; end $$", "12MB"),
        ("begin; set local work_mem = '20MB'; commit", "12MB"),
        ("begin; set work_mem = '13MB'; commit", "13MB"),
        ("begin; set work_mem = '21MB'; rollback", "13MB"),
        (
            "begin; set work_mem = '14MB'; savepoint a; set work_mem = '22MB'; rollback to a; commit",
            "14MB",
        ),
        ("begin; savepoint a; set work_mem = '15MB'; release a; commit", "15MB"),
        ("reset work_mem", "4MB"),
        ("set work_mem = '16MB'; reset all", "4MB"),
        ("set work_mem = '17MB'", "17MB"),
    ] {
        let answer = place.ask(set).await;
        assert!(!answer.iter().any(|row| row.starts_with("error")), "{set}: {answer:?}");
        place.expect("show work_mem", value).await;
        place.others_see("show work_mem", "4MB").await;
    }
    let answer = place.ask("begin; set work_mem = '23MB'; select 1/0").await;
    assert_eq!(answer, ["error 22012"]);
    place.client.simple("rollback").await.unwrap();
    place.expect("show work_mem", "17MB").await;
    place.ask("discard all").await;
    place.expect("show work_mem", "4MB").await;
}

/// Texts that look harmless, or as if they meant another setting.
#[tokio::test]
async fn what_is_hard_to_see_leaks_to_nobody() {
    const SEEN: &str = "select concat_ws(',', current_setting('work_mem'), \
        nullif(current_setting('app.tenant', true), ''), nullif(current_setting('local.tenant', true), ''), \
        nullif(current_setting('session.tenant', true), ''), nullif(current_setting('app.mändant', true), ''), \
        (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()))";
    for dirt in [
        "select E'a'\n'\\'', set_config('work_mem', '7MB', false), 'x'",
        "select E'a' -- '\n '\\'', pg_advisory_lock(1), 'x'",
        "select set_config('work_mem', '7MB', not true)",
        "select set_config('work_mem', '7MB', false = true)",
        "set local.tenant = 'dirty'",
        "set session.tenant = 'dirty'",
        "set app.mändant = 'dirty'",
        "select set_config('app.' || 'tenant', 'dirty', false)",
        "select set_config('app.ten'\n'ant', 'dirty', false)",
        "select set_config(E'app.ten\\x61nt', 'dirty', false)",
        "select set_config(name, 'dirty', false) from (values ('app.tenant')) as v(name)",
    ] {
        let mut place = Place::start().await;
        let answer = place.ask(dirt).await;
        assert!(!answer.iter().any(|row| row.starts_with("error")), "{dirt}: {answer:?}");
        place.client.leave().await;
        settle().await;
        let mut other = place.site.raw().await;
        for _ in 0..2 {
            assert_eq!(told(&other.simple(SEEN).await.unwrap()), ["4MB,0"], "{dirt}");
            place.neighbour.simple("begin; select 1").await.unwrap();
            assert_eq!(told(&other.simple(SEEN).await.unwrap()), ["4MB,0"], "{dirt}");
            place.neighbour.simple("commit").await.unwrap();
        }
    }
}

/// Where `search_path` begins with the schema of temporary objects, a table is temporary that does not look so.
#[tokio::test]
async fn tables_that_are_temporary_by_search_path_leak_to_nobody() {
    for how in ["set", "start-up", "inside"] {
        let path = [("search_path", "pg_temp, public")];
        let mut place = Place::with(Plan::default(), if how == "start-up" { &path } else { &[] }).await;
        place.turn().await;
        for sql in match how {
            "set" => &["set search_path = pg_temp, public", "create table hidden as select 1"][..],
            "start-up" => &["create table hidden as select 1"],
            _ => &[
                "begin",
                "set local search_path = pg_temp, public",
                "create table hidden as select 1",
                "commit",
            ],
        } {
            let answer = place.client.simple(sql).await.unwrap();
            assert!(!answer.iter().any(|message| message.tag == b'E'), "{how}: {sql}");
        }
        place.neighbour.simple("commit").await.unwrap();
        for _ in 0..3 {
            place.expect("select count(*) from hidden", "1").await;
        }
        place.client.leave().await;
        settle().await;
        let mut other = place.site.raw().await;
        for _ in 0..2 {
            let left = "select count(*) from pg_class where relnamespace = pg_my_temp_schema()";
            assert_eq!(told(&other.simple(left).await.unwrap()), ["0"], "{how}");
            place.neighbour.simple("begin; select 1").await.unwrap();
            assert_eq!(told(&other.simple(left).await.unwrap()), ["0"], "{how}");
            place.neighbour.simple("commit").await.unwrap();
        }
    }
}

#[tokio::test]
async fn values_are_exact() {
    let mut place = Place::start().await;
    place
        .ask(r#"create schema "Odd ""Name"; create schema "x,y"; set search_path = "Odd ""Name", "$user", "x,y", 'Public'"#)
        .await;
    place
        .expect("show search_path", r#""Odd ""Name", "$user", "x,y", "Public""#)
        .await;
    place
        .expect("select current_schemas(false)::text", r#"{"Odd \"Name","x,y"}"#)
        .await;
    place.ask(r"set app.tenant = E'it''s \\ bücher \n 東京'").await;
    place
        .expect("select current_setting('app.tenant')", "it's \\ bücher \n 東京")
        .await;
    place.ask("set client_encoding = 'LATIN1'; set app.other = 'x'").await;
    place
        .expect(
            "select current_setting('app.tenant') = U&'it''s \\005C b\\00FCcher \\000A \\6771\\4EAC'",
            "t",
        )
        .await;
    place
        .ask("set client_encoding = 'UTF8'; set time zone interval '-07:30' hour to minute; set datestyle = german")
        .await;
    place
        .expect(
            "select timestamptz '2020-01-02 00:00 UTC'",
            "01.01.2020 16:30:00 -07:30",
        )
        .await;
    place
        .ask("set extra_float_digits = -3; set random_page_cost = 1.25; set jit = off; set bytea_output = escape")
        .await;
    place
        .expect("select array[current_setting('extra_float_digits'), current_setting('random_page_cost'), current_setting('jit'), current_setting('bytea_output')]::text", "{-3,1.25,off,escape}")
        .await;
    place
        .others_see("select current_setting('app.tenant', true) <> ''", "f")
        .await;
}

#[tokio::test]
async fn custom_settings_follow_wherever_they_are_named() {
    let mut place = Place::start().await;
    let tenant = "select current_setting('app.tenant', true)";
    place.ask("select set_config('app.tenant', 'one', false)").await;
    place.expect(tenant, "one").await;
    let bound = [
        wire::parse("", "select set_config($1, $2, false)", &[]),
        wire::bind("", "", &[Some(b"app.bound"), Some(b"two")]),
        wire::execute("", 0),
        wire::sync(),
    ]
    .concat();
    place.turn().await;
    place.client.ask(&bound).await.unwrap();
    place.neighbour.simple("commit").await.unwrap();
    place.expect("select current_setting('app.bound', true)", "two").await;
    place
        .ask("do $$ begin perform set_config('app.tenant', 'three', false); end $$")
        .await;
    place.expect(tenant, "three").await;
    place.ask("set app.tenant = ''").await;
    place.expect("select current_setting('app.tenant') = ''", "t").await;
    // A name that is put together as the code runs is nobody's to know: it is gone elsewhere, but never anybody else's.
    place
        .ask("do $$ begin perform set_config('app' || '.secret', 'four', false); end $$")
        .await;
    place
        .others_see("select coalesce(current_setting('app.secret', true), '') = ''", "t")
        .await;
}

#[tokio::test]
async fn roles_follow() {
    let mut place = Place::with(
        Plan {
            role: CHIEF,
            ..Plan::default()
        },
        &[],
    )
    .await;
    let who = "select current_user || ' ' || session_user || ' ' || current_setting('role')";
    place.expect(who, "chief chief none").await;
    place
        .ask("set log_min_duration_statement = 12345; set role other")
        .await;
    place.expect(who, "other chief other").await;
    place.expect("select 1", "1").await;
    place.ask("reset role; set session authorization other").await;
    place.expect(who, "other other none").await;
    place.ask("set work_mem = '5MB'").await;
    place.expect("show work_mem", "5MB").await;
    place.others_see(who, "chief chief none").await;
    place.ask("set session authorization default; set role none").await;
    place.expect(who, "chief chief none").await;
    place.expect("show log_min_duration_statement", "12345ms").await;
    place.others_see("show log_min_duration_statement", "-1").await;
}

#[tokio::test]
async fn what_the_client_brought_along_comes_back() {
    let brought = [
        ("TimeZone", "asia/tokyo"),
        ("options", "-c work_mem=6MB -c app.tenant=brought"),
    ];
    let mut place = Place::with(Plan::default(), &brought).await;
    let all = "select current_setting('timezone') || ' ' || current_setting('work_mem') || ' ' || current_setting('app.tenant')";
    place.expect(all, "Asia/Tokyo 6MB brought").await;
    for forget in ["reset all", "discard all"] {
        place
            .ask("set timezone = 'UTC'; set work_mem = '7MB'; set app.tenant = 'mine'")
            .await;
        place.expect(all, "UTC 7MB mine").await;
        // Also for what comes right behind it.
        place.turn().await;
        place
            .client
            .send(&[wire::query(forget), wire::query(all)].concat())
            .await
            .unwrap();
        place.client.until(b'Z').await.unwrap();
        let answer = place.client.until(b'Z').await.unwrap();
        assert_eq!(told(&answer), ["Asia/Tokyo 6MB brought"], "right behind {forget}");
        place.neighbour.simple("commit").await.unwrap();
        place.expect(all, "Asia/Tokyo 6MB brought").await;
    }
    place.ask("set work_mem = '7MB'; reset timezone").await;
    place.expect(all, "Asia/Tokyo 7MB brought").await;
    place.others_see("show work_mem", "4MB").await;
}

#[tokio::test]
async fn many_clients_with_values_of_their_own() {
    let site = Site::start(Plan::default()).await;
    let mut clients = Vec::new();
    for number in 0..6 {
        let mut client = site.raw().await;
        let set = format!("set app.tenant = 'tenant {number}'; set search_path = 's{number}'");
        client.simple(&set).await.unwrap();
        clients.push(client);
    }
    for round in 0..20 {
        let mut asked = Vec::new();
        for client in &mut clients {
            let question = "select current_setting('app.tenant') || current_setting('search_path'), pg_sleep(0.001)";
            client.send(&wire::query(question)).await.unwrap();
            asked.push(client);
        }
        for (number, client) in asked.into_iter().enumerate() {
            let answer = client.until(b'Z').await.unwrap();
            let found = wire::first_columns(&answer);
            assert_eq!(found, [format!("tenant {number}s{number}")], "round {round}");
        }
    }
}

/// Each kind that ties: what makes it, what shows it, what ends it.
#[tokio::test]
async fn what_cannot_be_elsewhere_ties_its_client_until_it_is_over() {
    if is_direct() {
        return;
    }
    let kinds = [
        (
            "select from pg_advisory_lock(5)",
            "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()",
            "select pg_advisory_unlock(5)",
        ),
        (
            "create temp table t as select 1 as v",
            "select v from t",
            "drop table t",
        ),
        (
            "create temp table t as select 1 as v",
            "select v from t",
            "discard temp",
        ),
        (
            "begin; create temp table t as select 1 as v; commit",
            "select v from t",
            "begin; drop table t; commit",
        ),
        (
            "listen news",
            "select count(*) from pg_listening_channels()",
            "unlisten news",
        ),
        (
            "declare c cursor with hold for values (1), (1), (1), (1)",
            "fetch 1 from c",
            "close c",
        ),
        ("begin; prepare p as select 1; commit", "execute p", "deallocate p"),
        (
            "do $$ begin perform pg_advisory_lock(6); end $$",
            "select pg_try_advisory_lock_shared(7)::int",
            "select pg_advisory_unlock_all()",
        ),
        (
            "prepare p as select 'now'::text <> '' as v",
            "select (count(*))::int from pg_prepared_statements where from_sql",
            "discard all",
        ),
        (
            "select 1 as currval; create sequence s; select nextval('s')",
            "select lastval()",
            "discard sequences",
        ),
        (
            "create sequence s; select 1 as lastval; select setval('s', 1)",
            "select currval('s')",
            "discard all",
        ),
    ];
    for (make, show, end) in kinds {
        let mut place = Place::start().await;
        place.ask(make).await;
        for _ in 0..3 {
            assert_eq!(place.ask(show).await, ["1"], "{make}");
        }
        settle().await;
        // Two others at a time do not fit beside it.
        place.neighbour.simple("begin").await.unwrap();
        let mut other = place.site.raw().await;
        other.send(&wire::query("select 'at last'")).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(other.buffered().is_empty());
        let answer = place.client.simple(end).await.unwrap();
        assert!(first_error(&answer).is_none(), "{}", describe(&answer));
        let answer = other.until(b'Z').await.unwrap();
        assert_eq!(told(&answer), ["at last"], "{end} unties");
        place.neighbour.simple("commit").await.unwrap();
    }
}

/// A pool of two, and a table whose identities come from a sequence.
async fn items(overlay: serde_json::Value) -> Site {
    let site = Site::start(Plan {
        pool: json!({ "pool_timeout": 20 }),
        overlay,
        ..Plan::default()
    })
    .await;
    let mut client = site.raw().await;
    client
        .simple("create table items (id serial, owner text)")
        .await
        .unwrap();
    client.leave().await;
    site
}

/// Ten clients at a time.
async fn crowd(work: impl AsyncFn(u32)) {
    futures_util::future::join_all((0..10).map(|number| work(number))).await;
}

/// An application without RETURNING, as PHP's `lastInsertId` has it: it asks behind the INSERT's own transaction.
#[tokio::test]
async fn everybody_who_asks_gets_its_own_last_value() {
    let site = items(json!({})).await;
    let mut teacher = site.raw().await;
    let answer = teacher.simple("select lastval()").await.unwrap();
    assert_eq!(told(&answer), ["error 55000"]);
    crowd(async |number| {
        for round in 0..20 {
            let mut client = site.raw().await;
            let owner = format!("{number}-{round}");
            let insert = format!("insert into items (owner) values ('{owner}')");
            client.simple(&insert).await.unwrap();
            tokio::task::yield_now().await;
            let last = told(&client.simple("select lastval()").await.unwrap());
            let current = told(&client.simple("select currval('items_id_seq')").await.unwrap());
            let own = format!("select id from items where owner = '{owner}'");
            let own = told(&client.simple(&own).await.unwrap());
            assert_eq!((&last, &current), (&own, &own), "client {number}, round {round}");
            client.leave().await;
        }
    })
    .await;
}

/// More clients than connections, all of which stay: none may keep one.
#[tokio::test]
async fn who_never_asks_or_asks_in_the_same_transaction_is_never_tied() {
    let site = items(json!({})).await;
    for asks in [
        "insert into items (owner) values ('x') returning id > 0",
        "insert into items (owner) values ('x'); select lastval() > 0",
        "begin; insert into items (owner) values ('x'); select currval('items_id_seq') > 0; commit",
    ] {
        crowd(async |number| {
            let mut client = site.raw().await;
            for round in 0..20 {
                let answer = client.simple(asks).await.unwrap();
                assert_eq!(told(&answer), ["t"], "{asks}: client {number}, round {round}");
            }
        })
        .await;
    }
}

/// Where nobody keeps a connection for it, the answer is the client's own or none: never another's, never an older one.
#[tokio::test]
async fn a_last_value_is_ones_own_or_undefined() {
    let site = items(json!({ "sequence_functions": "forget" })).await;
    crowd(async |number| {
        let mut client = site.raw().await;
        for round in 0..20 {
            let insert = "insert into items (owner) values ('x') returning id";
            let own = told(&client.simple(insert).await.unwrap());
            let last = told(&client.simple("select lastval()").await.unwrap());
            assert!(
                last == own || last == ["error 55000"],
                "client {number}, round {round}: {last:?} instead of {own:?}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn notifications_arrive_while_the_client_is_at_rest() {
    let mut place = Place::start().await;
    place.ask("listen news").await;
    for number in 0..3 {
        let notify = format!("notify news, 'number {number}'");
        place.neighbour.simple(&notify).await.unwrap();
        let answer = place.client.until(b'A').await.unwrap();
        let news = answer.last().unwrap().to_string();
        assert!(news.contains(&format!("number {number}")), "{news}");
    }
    place.ask("unlisten *").await;
    place.neighbour.simple("notify news").await.unwrap();
    let rest = place.client.drain(Duration::from_millis(50)).await.unwrap();
    assert!(!rest.iter().any(|message| message.tag == b'A'), "{}", describe(&rest));
}

#[tokio::test]
async fn who_leaves_leaves_nothing_behind() {
    let mut place = Place::start().await;
    let admin = place.site.admin().await;
    place
        .ask("select pg_advisory_lock(77); create temp table t (v int); listen news; prepare p as select 1; set work_mem = '7MB'; set app.tenant = 'x'")
        .await;
    let Place {
        site,
        client,
        mut neighbour,
        ..
    } = place;
    drop(client);
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 77";
    eventually(
        async || admin.query_one(locks, &[]).await.unwrap().get::<_, i64>(0) == 0,
        "the lock is released",
    )
    .await;
    let mut other = site.raw().await;
    neighbour.simple("begin").await.unwrap();
    let left = "select (select count(*) from pg_listening_channels()) + (select count(*) from pg_prepared_statements where from_sql)
        + (select count(*) from pg_class where relnamespace = pg_my_temp_schema()) || current_setting('work_mem')
        || coalesce(current_setting('app.tenant', true), '')";
    for client in [&mut neighbour, &mut other] {
        let answer = client.simple(left).await.unwrap();
        assert_eq!(told(&answer), ["04MB"]);
    }
}

#[tokio::test]
async fn a_cancel_request_that_comes_late_does_no_harm() {
    let mut place = Place::start().await;
    for number in 0..20 {
        let set = format!("set app.tenant = 'number {number}'");
        place.turn().await;
        place.client.simple(&set).await.unwrap();
        place
            .client
            .cancel(place.site.address(), &wire::Security::Clear)
            .await
            .unwrap();
        place.neighbour.simple("commit").await.unwrap();
        let expected = format!("number {number}");
        // The request itself may strike what comes next, as it may without a gateway.
        let found = place.ask("select current_setting('app.tenant')").await;
        assert!(found == [&*expected] || found == ["error 57014"], "{found:?}");
        assert_eq!(place.ask("select current_setting('app.tenant')").await, [expected]);
    }
}

#[tokio::test]
async fn time_limits_of_one_client_are_not_anothers() {
    let mut place = Place::start().await;
    for limit in [
        "statement_timeout = '30ms'",
        "idle_session_timeout = '50ms'",
        "lock_timeout = 1",
    ] {
        place.ask(&format!("set {limit}")).await;
        place.others_see("select pg_sleep(0.06)::text = ''", "t").await;
        place.ask("reset all").await;
    }
    place.ask("set statement_timeout = '30ms'").await;
    assert_eq!(place.ask("select pg_sleep(5)").await, ["error 57014"]);
    place.expect("show statement_timeout", "30ms").await;
}

#[tokio::test]
async fn reset_forgets() {
    let mut place = Place::with(
        Plan {
            overlay: json!({ "session_state": "reset" }),
            ..Plan::default()
        },
        &[],
    )
    .await;
    if is_direct() {
        return;
    }
    place.ask("set work_mem = '7MB'").await;
    place.expect("show work_mem", "4MB").await;
    place.ask("create temp table t (v int)").await;
    assert_eq!(place.ask("select * from t").await, ["error 42P01"]);
}
