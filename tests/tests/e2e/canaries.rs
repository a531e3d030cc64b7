//! S7: a password never appears: not in the log at TRACE, not in a metric, on the console, in an answer of the HTTP
//! interface, in an error, or in what `weir check` prints; in clear or in any form in which it travels or is kept.
//!
//! The one exception is deliberate and Hasura's own: `export_metadata` hands literal passwords back to whoever has the
//! admin secret, because what is handed back must be what was written.

use std::{process::Command, time::Duration};

use serde_json::{Value, json};
use tiberius::{AuthMethod, Client, Config, EncryptionLevel};
use tokio::net::TcpStream;
use tokio_postgres::SimpleQueryMessage;
use tokio_util::compat::TokioAsyncWriteCompatExt as _;
use weir_tests::{
    cluster,
    gateway::{Gateway, program},
    http::Http,
    metadata::Metadata,
    mssql::{DATABASE, Options, StandIn},
    process,
    site::{Plan, Site, is_direct, new_name},
    wire::RawClient,
};

const LIMIT: Duration = Duration::from_secs(60);

/// Where each of them is used says its name. None is a part of another, and none is a word.
const ROLE: &str = "canary-Role-7Qx";
const USER: &str = "canary-User-2Wv";
const BOSS: &str = "canary-Boss-9Zk";
const WRONG: &str = "canary-Wrong-4Tj";
const UNREACHABLE: &str = "canary-Unreachable-6Yh";
const REJECTED: &str = "canary-Rejected-3Rb";
const MSSQL: &str = "canary-Mssql-8Pd";
const MSSQL_USER: &str = "canary-MsUser-5Lc";
const MSSQL_REJECTED: &str = "canary-MsRejected-1Nf";
const ADMIN: &str = "canary-Admin-0Vg";
const METRICS: &str = "canary-Metrics-7Sm";
const TRIED: &str = "canary-Tried-2Fq";
const BROKEN: &str = "canary-Broken-6Dz";
const CONSTANT: &str = "canary-Constant-3Jw";

const ALL: [&str; 14] = [
    ROLE,
    USER,
    BOSS,
    WRONG,
    UNREACHABLE,
    REJECTED,
    MSSQL,
    MSSQL_USER,
    MSSQL_REJECTED,
    ADMIN,
    METRICS,
    TRIED,
    BROKEN,
    CONSTANT,
];

/// What is looked for, and under which name it is reported.
struct Forms(Vec<(String, String)>);

impl Forms {
    /// Every canary in every form. MD5 is PostgreSQL's own.
    async fn of(site: &Site, users: &[&str]) -> Forms {
        let admin = site.admin().await;
        let mut forms = Vec::new();
        for canary in ALL {
            let mut add = |form: &str, text: String| forms.push((format!("{canary} as {form}"), text));
            let wide: Vec<u8> = canary.encode_utf16().flat_map(u16::to_le_bytes).collect();
            // TDS 2.2.6.4: halves of each byte exchanged, then all bits of 0xA5 turned.
            let obfuscated: Vec<u8> = wide.iter().map(|byte| byte.rotate_left(4) ^ 0xa5).collect();
            for (name, bytes) in [
                ("text", canary.as_bytes()),
                ("UTF-16", wide.as_slice()),
                ("obfuscated", obfuscated.as_slice()),
            ] {
                add(&format!("base64 of {name}"), base64(bytes));
                add(&format!("hex of {name}"), hex(bytes));
                add(&format!("HEX of {name}"), hex(bytes).to_uppercase());
                // As Rust shows bytes for debugging.
                let list: Vec<String> = bytes.iter().map(u8::to_string).collect();
                add(&format!("list of {name}"), list.join(", "));
            }
            add("text", canary.to_owned());
            add("UTF-16", String::from_utf8_lossy(&wide).into_owned());
            add(
                "escaped UTF-16",
                canary.chars().map(|c| format!("{c}\\u0000")).collect(),
            );
            add("debugged UTF-16", canary.chars().map(|c| format!("{c}\\0")).collect());
            add("URL", canary.replace('-', "%2D"));
            for user in users.iter().copied().chain([""]) {
                let row = admin
                    .query_one("SELECT md5($1 || $2)", &[&canary, &user])
                    .await
                    .unwrap();
                add(&format!("MD5 with {user:?}"), row.get(0));
            }
        }
        // A padded end depends on what follows.
        for (_, text) in &mut forms {
            text.truncate(text.trim_end_matches('=').len());
        }
        Forms(forms)
    }

    #[track_caller]
    fn assert_absent(&self, place: &str, text: &str) {
        for (name, form) in &self.0 {
            if let Some(at) = text.find(form.as_str()) {
                let from = text[..at].rfind('\n').map_or(0, |line| line + 1);
                let line: String = text[from..].chars().take(400).collect();
                panic!("{place} shows {name}: {line}");
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let mut bits = 0_u32;
        for place in 0..3 {
            bits = bits << 8 | u32::from(three.get(place).copied().unwrap_or(0));
        }
        for place in 0..=three.len() {
            text.push(DIGITS[(bits >> (18 - 6 * place)) as usize & 63].into());
        }
    }
    text
}

struct Place {
    site: Site,
    server: StandIn,
    metadata: Metadata,
    forms: Forms,
}

impl Place {
    async fn start() -> Place {
        let site = Site::start(Plan::default()).await;
        let role = new_name("canary");
        let create = format!("CREATE ROLE {role} LOGIN PASSWORD '{ROLE}'");
        site.admin().await.batch_execute(&create).await.unwrap();
        let server = StandIn::start(Options {
            logins: vec![("app".to_owned(), MSSQL.to_owned())],
            ..Options::default()
        });
        let forms = Forms::of(&site, &[&role, "ann", "boss", "mann", "app"]).await;
        let address = site.cluster.address();
        let url = |password: &str| {
            format!(
                "postgres://{role}:{password}@{address}/{}?sslmode=disable",
                site.database
            )
        };
        let odbc = |password: &str| {
            format!(
                "Driver={{ODBC Driver 18 for SQL Server}};Server=tcp:127.0.0.1,{};Database={DATABASE};UID=app;PWD={password};\
                 Encrypt=yes;TrustServerCertificate=yes",
                server.port()
            )
        };
        let mssql = |name: &str, password: &str| {
            json!({ "name": name, "kind": "mssql", "tables": [], "configuration": {
                "connection_info": { "connection_string": odbc(password) } } })
        };
        let fast = json!({ "retries": 0, "pool_timeout": 3 });
        let metadata = Metadata::new()
            .postgres("good", url(ROLE).into(), fast.clone())
            .postgres("rejected", url(REJECTED).into(), fast.clone())
            .postgres(
                "unreachable",
                format!("postgres://app:{UNREACHABLE}@127.0.0.1:1/x?sslmode=disable").into(),
                fast,
            )
            .source(mssql("erp", MSSQL))
            .source(mssql("erp_rejected", MSSQL_REJECTED))
            .loopback()
            .listener(json!({ "name": "tds", "kind": "mssql", "host": "127.0.0.1", "port": 0 }))
            .user(json!({ "name": "ann", "password": USER, "sources": "*" }))
            .user(json!({ "name": "mann", "password": MSSQL_USER, "sources": "*" }))
            .user(json!({ "name": "boss", "password": BOSS, "sources": [], "role": "admin" }))
            .top_level(
                "admin",
                json!({ "host": "127.0.0.1", "admin_secret": ADMIN, "metrics_secret": METRICS }),
            );
        Place {
            site,
            server,
            metadata,
            forms,
        }
    }
}

#[tokio::test]
async fn canary_passwords_appear_nowhere() {
    if is_direct() {
        return;
    }
    let place = Place::start().await;
    // Everything that Weir says, and everything that the libraries below it do.
    let gateway = Gateway::start_with(&place.metadata, &[], &[("RUST_LOG", "trace,rustls=trace")]);
    let forms = &place.forms;
    clients_of_postgres(&gateway, forms).await;
    clients_of_mssql(&gateway, forms).await;
    console(&gateway, forms).await;
    http(&gateway, forms, &place.site).await;
    reload(&gateway).await;
    check(&gateway, forms).await;
    let log = gateway.log();
    assert!(
        log.contains("\"level\":\"TRACE\"") || log.contains("\"level\":\"trace\""),
        "it is not at TRACE"
    );
    forms.assert_absent("the log", &log);
    drop(place.server);
}

/// Logins that go well and logins that do not; statements with constants; databases that refuse the gateway.
async fn clients_of_postgres(gateway: &Gateway, forms: &Forms) {
    let address = gateway.address("pg");
    for (user, password, database) in [
        ("ann", USER, "good"),
        ("ann", WRONG, "good"),
        ("nobody", WRONG, "good"),
        ("ann", USER, "rejected"),
        ("ann", USER, "unreachable"),
        ("ann", USER, "nowhere"),
        ("boss", BOSS, "good"),
    ] {
        let told = match RawClient::log_in(address, user, password, database).await {
            Err(error) => error.to_string(),
            Ok(mut client) => {
                let sql = format!("select '{CONSTANT}' is null, set_config('work_mem', '4MB', false)");
                let answer = client.simple(&sql).await.unwrap();
                let pin = format!("create temp table t as select '{CONSTANT}' as c");
                let _ = client.simple(&pin).await;
                let wrong = format!("selekt '{CONSTANT}'");
                let _ = client.simple(&wrong).await;
                weir_tests::wire::describe(&answer)
            }
        };
        forms.assert_absent("what a client of PostgreSQL reads", &told);
    }
}

async fn clients_of_mssql(gateway: &Gateway, forms: &Forms) {
    let address = gateway.address("tds");
    for (user, password, database) in [
        ("mann", MSSQL_USER, "erp"),
        ("mann", WRONG, "erp"),
        ("nobody", WRONG, "erp"),
        ("mann", MSSQL_USER, "erp_rejected"),
        ("mann", MSSQL_USER, "nowhere"),
    ] {
        let mut config = Config::new();
        config.host(address.ip());
        config.port(address.port());
        config.authentication(AuthMethod::sql_server(user, password));
        config.database(database);
        config.encryption(EncryptionLevel::Required);
        config.trust_cert();
        let socket = TcpStream::connect(address).await.unwrap();
        let connected = tokio::time::timeout(LIMIT, Client::connect(config, socket.compat_write())).await;
        let told = match connected.expect("no hang") {
            Err(error) => error.to_string(),
            Ok(mut client) => match client.simple_query(format!("SELECT '{CONSTANT}' + 1")).await {
                Err(error) => error.to_string().replace(CONSTANT, "(its own constant)"),
                Ok(answer) => {
                    let rows = answer.into_results().await;
                    // The database quotes the client's own constant to it.
                    format!("{rows:?}").replace(CONSTANT, "(its own constant)")
                }
            },
        };
        forms.assert_absent("what a client of SQL Server reads", &told);
    }
}

async fn console(gateway: &Gateway, forms: &Forms) {
    let console = cluster::connect(gateway.address("pg"), "boss", BOSS, "weir")
        .await
        .unwrap();
    let help = console.simple_query("SHOW HELP").await.unwrap();
    let commands = help.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    let shows: Vec<String> = commands.filter(|command| command.starts_with("SHOW")).collect();
    assert!(shows.len() >= 10, "{shows:?}");
    for command in shows.iter().map(String::as_str).chain(["SHOW NONSENSE", "RELOAD"]) {
        let said = match console.simple_query(command).await {
            Ok(answer) => format!("{answer:?}"),
            Err(error) => format!("{error:?}"),
        };
        forms.assert_absent(command, &said);
    }
}

async fn http(gateway: &Gateway, forms: &Forms, site: &Site) {
    let nobody = Http::new(gateway.http());
    let wrong = nobody
        .clone()
        .with_secret(WRONG)
        .with("authorization", &format!("Bearer {TRIED}"));
    let administrator = nobody.clone().with_secret(ADMIN);
    let metrics = nobody.clone().with("authorization", &format!("Bearer {METRICS}"));
    let paths = [
        "/healthz",
        "/healthz?strict=true",
        "/healthz/sources",
        "/v1/version",
        "/v1alpha1/config",
        "/v1/metrics",
        "/metrics",
        "/console",
        "/v1/metadata",
        "/nowhere",
    ];
    for path in paths {
        for client in [&nobody, &wrong, &administrator, &metrics] {
            let answer = client.get(path).await;
            forms.assert_absent(path, &answer.text);
        }
    }
    let unreachable = format!("postgres://app:{TRIED}@127.0.0.1:1/x?sslmode=disable");
    let rejected = format!(
        "postgres://app:{TRIED}@{}/{}?sslmode=disable",
        site.cluster.address(),
        site.database
    );
    let test = |kind: &str, info: Value| json!({ "type": format!("{kind}_test_connection"), "args": { "configuration": { "connection_info": info } } });
    let unusable =
        json!({ "connection_string": format!("Server=tcp:127.0.0.1,1;UID=app;PWD={TRIED};Nonsense={TRIED}") });
    for request in [
        json!({ "type": "get_inconsistent_metadata", "args": {} }),
        json!({ "type": "reload_metadata", "args": {} }),
        json!({ "type": "get_pool_stats", "args": {} }),
        test("pg", json!({ "database_url": unreachable })),
        test("pg", json!({ "database_url": rejected })),
        test("mssql", unusable.clone()),
        json!({ "type": "pg_add_source", "args": { "name": "good", "configuration": { "connection_info": { "database_url": unreachable } } } }),
        json!({ "type": "mssql_add_source", "args": { "name": "odd", "configuration": { "connection_info": unusable } } }),
        json!({ "type": "nonsense", "args": { "password": TRIED } }),
    ] {
        let answer = administrator.metadata(&request).await;
        forms.assert_absent(&request["type"].to_string(), &answer.text);
    }
    let broken = administrator
        .post("/v1/metadata", format!("{{\"type\": \"{TRIED}"))
        .await;
    forms.assert_absent("the answer to broken JSON", &broken.text);
}

/// Metadata that cannot be read has its password in the wrong place.
async fn reload(gateway: &Gateway) {
    let file = gateway.folder().join("gateway.yaml");
    let declared = std::fs::read_to_string(&file).unwrap();
    for broken in [
        format!("users: [{{name: x, password: [{BROKEN}]}}]\n"),
        format!("users:\n  - name: x\n    password: {BROKEN}\n   sources: '*'\n"),
    ] {
        let before = gateway.log().matches("the present one stays").count();
        std::fs::write(&file, broken).unwrap();
        gateway.signal("HUP");
        let refused = async {
            while gateway.log().matches("the present one stays").count() == before {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(LIMIT, refused)
            .await
            .expect("broken metadata is refused");
    }
    std::fs::write(&file, declared).unwrap();
}

/// `weir check` on the same folder, with the databases being asked.
async fn check(gateway: &Gateway, forms: &Forms) {
    for format in ["text", "json"] {
        let mut check = Command::new(program());
        check.arg("check").arg(gateway.folder()).args(["--format", format]);
        let outcome = process::run(check, LIMIT).await;
        forms.assert_absent("weir check", &outcome.output);
    }
}
