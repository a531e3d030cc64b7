//! L1: three reloads a second, by every cause in rotation, while the oracle asks, half of its clients over TLS. Limits go
//! up and down, time-outs change, sources and users come and go, passwords are rotated in the database and in the file
//! (one of the two first), those of the gateway's own users too, and the listener's certificate is renewed.

mod rotated;

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use weir_tests::{
    activity::Sampler,
    certificates::{Authority, Identity},
    clock,
    cluster::{self, ROLE, ROLE_PASSWORD},
    exactness::{Change, GRACE, Seen, Watch},
    gateway::Gateway,
    http::Http,
    metadata::Metadata,
    oracle::{Oracle, Verdict},
    random::Random,
    site::{Plan, Site, database_url, is_direct, new_name},
    wire::{self, RawClient},
};

use rotated::{MOST, PasswordPlace, Rotated};

/// A change is seen, read and applied. Generous for a busy machine.
const SOON: Duration = Duration::from_secs(20);
/// Three times a second.
const TURN: Duration = Duration::from_millis(333);
/// Added to the 100 ms within which a limit is exact: two looks at the database, and what two cores that gateway, database
/// and eighty clients share need until each of them had its turn.
const SLACK: Duration = Duration::from_millis(100);
const LIMITS: [u32; 4] = [10, 4, 20, 7];
const SECRET: &str = "canary-reload-admin-41c";
const PREFIX: &str = "HASURA_GRAPHQL_DYNAMIC_SECRETS_ALLOWED_PATH_PREFIX";

/// How the gateway gets to know of a change.
#[derive(Clone, Copy, Debug)]
enum Cause {
    /// Written in place; SIGHUP besides.
    Signal,
    /// Written in place, and nobody says anything.
    Files,
    /// A new folder, and a link that leads to it.
    Swap,
    /// Written in place; `reload_metadata` answers when it applies.
    Api,
}

/// For so many turns a limit holds. It applies once the API has answered, in the first one; from then on it is measured.
const TURNS_OF_LIMIT: u32 = 8;
const CAUSES: [Cause; 4] = [Cause::Api, Cause::Signal, Cause::Swap, Cause::Files];

/// As it should be done: nobody ever reads half of it.
fn replace(path: &Path, content: &str) {
    let new = path.with_extension("new");
    fs::write(&new, content).unwrap();
    fs::rename(new, path).unwrap();
}

/// The whole place: what is declared, and who writes it.
struct Scene {
    site: Site,
    gateway: Gateway,
    secrets: TempDir,
    another: String,
    present: Mutex<Present>,
}

/// What changes.
struct Present {
    rotated: Vec<Rotated>,
    /// Password of the gateway's user `scribe`, which is written in the metadata.
    written: String,
}

/// What was done beside the reloads.
#[derive(Debug, Default)]
struct Done {
    certificates: u32,
    users: u32,
    passwords: u32,
    /// The longest time for which the database and the file had different passwords. The gateway waits for ten seconds.
    longest_rotation: Duration,
}

impl Scene {
    async fn start() -> Scene {
        let site = Site::start(Plan {
            connections: LIMITS[0],
            heavy: true,
            ..Plan::default()
        })
        .await;
        Oracle::prepare(&site.admin().await).await;
        let another = new_name("db");
        site.cluster.create_database(&another).await;
        let secrets = tempfile::tempdir().unwrap();
        let at = |name: &str| secrets.path().join(name);
        let rotated = vec![
            Rotated::create(&site, "url", PasswordPlace::UrlFile(at("url"))).await,
            Rotated::create(&site, "password", PasswordPlace::PasswordFile(at("password"))).await,
            Rotated::create(&site, "written", PasswordPlace::Written).await,
        ];
        fs::write(at("keeper"), "canary-keeper-0").unwrap();
        renew(&site.authority, secrets.path(), 0);
        let written = "canary-scribe-0".to_owned();
        let metadata = declare(&site, secrets.path(), &rotated, &another, &written, 0);
        let folder = tempfile::tempdir().unwrap();
        metadata.write(&folder.path().join("..0"));
        symlink("..0", folder.path().join("..data")).unwrap();
        for name in ["version.yaml", "gateway.yaml", "databases"] {
            symlink(Path::new("..data").join(name), folder.path().join(name)).unwrap();
        }
        let gateway = Gateway::serve(folder, &[], &[(PREFIX, secrets.path().to_str().unwrap())]);
        Scene {
            site,
            gateway,
            secrets,
            another,
            present: Mutex::new(Present { rotated, written }),
        }
    }

    fn oracle(&self, database: &str, clients: u32, seconds: u64) -> JoinHandle<Verdict> {
        let security = self.site.tls();
        let oracle = Oracle {
            address: self.gateway.address("pg"),
            database: database.to_owned(),
            clients,
            duration: Duration::from_secs(seconds),
            rude: 1,
            leaving: 1,
            patience: Duration::from_secs(30),
            tolerated: &[],
        };
        tokio::spawn(async move { oracle.run_mixed(&security).await })
    }

    /// Declares what this turn's metadata are, and lets the gateway know. When the API has answered, `watch` is told.
    fn reload(&self, turn: u32, watch: &Arc<Watch>) -> Option<JoinHandle<()>> {
        let cause = CAUSES[turn as usize % CAUSES.len()];
        let metadata = {
            let present = self.present.lock();
            declare(
                &self.site,
                self.secrets.path(),
                &present.rotated,
                &self.another,
                &present.written,
                turn,
            )
        };
        let folder = self.gateway.folder();
        match cause {
            Cause::Swap => {
                let name = format!("..{turn}");
                metadata.write(&folder.join(&name));
                let before = fs::read_link(folder.join("..data")).unwrap();
                symlink(&name, folder.join("..new")).unwrap();
                fs::rename(folder.join("..new"), folder.join("..data")).unwrap();
                // As Kubernetes does: at once.
                fs::remove_dir_all(folder.join(before)).unwrap();
            }
            Cause::Signal | Cause::Files | Cause::Api => metadata.write(folder),
        }
        match cause {
            Cause::Signal => self.gateway.signal("HUP"),
            Cause::Files | Cause::Swap => {}
            Cause::Api => {
                let (http, watch) = (Http::new(self.gateway.http()).with_secret(SECRET), watch.clone());
                return Some(tokio::spawn(async move {
                    let answer = http.metadata(&json!({ "type": "reload_metadata", "args": {} })).await;
                    assert_eq!(answer.status, 200, "{}", answer.text);
                    watch.told(Change::now(limit(turn)));
                }));
            }
        }
        None
    }

    /// What else changes, one after the other; each is seen to have its effect.
    async fn disturb(&self, over: &AtomicBool) -> Done {
        let (mut done, mut random) = (Done::default(), Random::new(7));
        for number in 1.. {
            if over.load(Ordering::Relaxed) {
                break;
            }
            match number % 5 {
                0 => {
                    self.renew_certificate(number).await;
                    done.certificates += 1;
                }
                1 => {
                    self.change_users(number).await;
                    done.users += 2;
                }
                _ => {
                    let took = self.rotate(number as usize % 3, number, &mut random).await;
                    done.longest_rotation = done.longest_rotation.max(took);
                    done.passwords += 1;
                }
            }
        }
        done
    }

    /// The next password of a role, in the database and in its file, one of them a moment before the other.
    async fn rotate(&self, which: usize, number: u32, random: &mut Random) -> Duration {
        let role = self.present.lock().rotated[which].role.clone();
        let password = format!("canary-{role}-{number}");
        let admin = self.site.cluster.admin("postgres").await;
        let sql = format!("ALTER ROLE {role} PASSWORD '{password}'");
        let write = || {
            let rotated = &mut self.present.lock().rotated[which];
            rotated.password = password.clone();
            rotated.write(self.site.cluster);
        };
        let is_database_first = random.percent(50);
        let began = clock::now();
        match is_database_first {
            true => admin.batch_execute(&sql).await.unwrap(),
            false => write(),
        }
        tokio::time::sleep(Duration::from_millis(50 + random.below(350))).await;
        match is_database_first {
            true => write(),
            false => admin.batch_execute(&sql).await.unwrap(),
        }
        let took = began.elapsed();
        // So that there are logins with it before the next one.
        tokio::time::sleep(Duration::from_millis(500)).await;
        took
    }

    /// New handshakes see the new one.
    async fn renew_certificate(&self, number: u32) {
        renew(&self.site.authority, self.secrets.path(), number);
        let (name, config) = (certificate_name(number), self.site.authority.client(&[]));
        let handshake = async || {
            let mut client = RawClient::open(self.gateway.address("pg")).await?;
            client.send(&wire::ssl_request()).await?;
            assert_eq!(client.byte().await?, b'S');
            client.into_tls_as(config.clone(), &name).await
        };
        until_ok(&name, handshake).await;
    }

    /// New logins use the new password as soon as it applies, and the old one is void then.
    async fn change_users(&self, number: u32) {
        let file = self.secrets.path().join("keeper");
        let old = fs::read_to_string(&file).unwrap();
        let new = format!("canary-keeper-{number}");
        replace(&file, &new);
        self.log_in("keeper", &new).await.expect("read for each login");
        assert!(self.log_in("keeper", &old).await.is_err());
        let new = format!("canary-scribe-{number}");
        let old = std::mem::replace(&mut self.present.lock().written, new.clone());
        until_ok("scribe", async || self.log_in("scribe", &new).await).await;
        assert!(self.log_in("scribe", &old).await.is_err());
    }

    /// From outside: no more server connections than the limit that applies.
    async fn watch(&self) -> Watch {
        let admin = self.site.cluster.admin("postgres").await;
        let console = cluster::connect(self.gateway.address("pg"), "watcher", "watcher", "weir").await;
        Watch::start(
            admin,
            console.expect("the console lets its user in"),
            &self.site.database,
        )
    }

    async fn log_in(&self, user: &str, secret: &str) -> std::io::Result<RawClient> {
        RawClient::log_in(self.gateway.address("pg"), user, secret, &self.site.database).await
    }
}

/// What was changed applies soon.
async fn until_ok<T>(what: &str, attempt: impl AsyncFn() -> std::io::Result<T>) -> T {
    let deadline = clock::now() + SOON;
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(error) => assert!(clock::now() < deadline, "{what}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn limit(turn: u32) -> u32 {
    LIMITS[(turn / TURNS_OF_LIMIT) as usize % LIMITS.len()]
}

fn declare(site: &Site, secrets: &Path, rotated: &[Rotated], another: &str, written: &str, turn: u32) -> Metadata {
    let file = |name: &str| json!({ "dynamic_from_file": secrets.join(name) });
    let of = |values: &[u32], turn: u32| values[turn as usize % values.len()];
    let pool = json!({
        "max_connections": limit(turn),
        "idle_timeout": of(&[180, 1], turn),
        "pool_timeout": of(&[30, 25], turn / 3),
    });
    let url = |database: &str| Value::from(database_url(site.cluster, ROLE, database, "sslmode=disable"));
    let ssl = json!({ "sslmode": "prefer", "sslcert": file("cert.pem"), "sslkey": file("key.pem") });
    let user = |name: &str, password: Value| json!({ "name": name, "password": password, "sources": "*" });
    let mut metadata = Metadata::new()
        .postgres(&site.database, url(&site.database), pool)
        .listener(json!({ "name": "pg", "kind": "postgres", "host": "127.0.0.1", "port": 0, "ssl_configuration": ssl }))
        .user(user(ROLE, ROLE_PASSWORD.into()))
        .user(user("keeper", file("keeper")))
        .user(user("scribe", written.into()))
        .user(json!({ "name": "watcher", "password": "watcher", "sources": "*", "role": "stats" }))
        .defaults(json!({ "query_timeout": 60 + turn }))
        .top_level("admin", json!({ "host": "127.0.0.1", "admin_secret": SECRET }));
    if turn % 3 == 1 {
        metadata = metadata.postgres(another, url(another), json!({ "max_connections": 2 }));
    }
    if turn % 2 == 1 {
        metadata = metadata.user(user(&format!("guest_{turn}"), "guest".into()));
    }
    rotated
        .iter()
        .fold(metadata, |metadata, rotated| rotated.declare(site.cluster, metadata))
}

fn certificate_name(number: u32) -> String {
    format!("renewed-{number}.weir.test")
}

fn renew(authority: &Authority, folder: &Path, number: u32) {
    let Identity { certificate, key } = authority.issue("localhost", &["localhost", &certificate_name(number)]);
    replace(&folder.join("key.pem"), &key);
    replace(&folder.join("cert.pem"), &certificate);
}

async fn reload_under_load(seconds: u64) {
    let scene = Scene::start().await;
    let staying = stay(&scene).await;
    let databases: Vec<String> = {
        let present = scene.present.lock();
        present.rotated.iter().map(|rotated| rotated.database.clone()).collect()
    };
    let began = clock::now();
    let mut asking = vec![scene.oracle(&scene.site.database, 60, seconds)];
    asking.extend(databases.iter().map(|database| scene.oracle(database, 6, seconds)));
    let mut samplers = Vec::new();
    for database in &databases {
        let admin = scene.site.cluster.admin("postgres").await;
        samplers.push((database, Sampler::start(admin, database)));
    }
    // What is disturbed to the end needs reloads to the end.
    let (over, at_rest) = (AtomicBool::new(false), AtomicBool::new(false));
    let disturbing = async {
        let done = scene.disturb(&over).await;
        at_rest.store(true, Ordering::Relaxed);
        done
    };
    let is_over = || {
        over.store(asking[0].is_finished(), Ordering::Relaxed);
        at_rest.load(Ordering::Relaxed)
    };
    let stays_in = keep_asking(staying, &at_rest);
    let ((turns, limits), done, ()) = tokio::join!(keep_reloading(&scene, is_over), disturbing, stays_in);
    conclude(&scene, asking, turns, began.elapsed(), done).await;
    expect_exact(&limits);
    for (database, sampler) in samplers {
        let most = sampler.stop().await;
        assert!(
            most <= MOST,
            "{most} server connections in {database}, the limit is {MOST}"
        );
    }
}

/// Three times a second, until it is over; how often, and what was seen of the limits.
async fn keep_reloading(scene: &Scene, is_over: impl Fn() -> bool) -> (u32, Vec<Seen>) {
    let (mut turn, watch) = (0, Arc::new(scene.watch().await));
    let mut ordered = None::<JoinHandle<()>>;
    let mut clock = tokio::time::interval(TURN);
    while !is_over() {
        clock.tick().await;
        if turn % TURNS_OF_LIMIT == 0 {
            if let Some(ordered) = ordered.take() {
                ordered.await.expect("it applies");
            }
            watch.look_away();
        }
        if let Some(answered) = scene.reload(turn, &watch)
            && let Some(before) = ordered.replace(answered)
        {
            before.await.expect("it applies");
        }
        turn += 1;
    }
    if let Some(ordered) = ordered {
        ordered.await.expect("it applies");
    }
    let watch = Arc::into_inner(watch).expect("nobody else watches any more");
    (turn, watch.stop().await)
}

/// Never more than the limit, and as many where there is work for them.
fn expect_exact(limits: &[Seen]) {
    let most = |of: fn(&Seen) -> Duration| limits.iter().map(of).max().unwrap_or_default();
    eprintln!(
        "limits: {} changes, {} looks, the longest gap {:?}; too many for {:?} after the change in the database, {:?} on \
         the console",
        limits.len(),
        limits.iter().map(|seen| seen.looks).sum::<u32>(),
        most(|seen| seen.longest_gap),
        most(|seen| seen.late),
        most(|seen| seen.late_on_console),
    );
    for seen in limits {
        let late = seen.late.max(seen.late_on_console);
        assert!(late <= GRACE + SLACK, "too many for {late:?}: {seen:?}");
    }
    for limit in LIMITS {
        let seen = || limits.iter().filter(|seen| seen.limit == limit);
        let (there, on_console) = (
            seen().map(|seen| seen.most).max(),
            seen().map(|seen| seen.most_on_console).max(),
        );
        // Seen so often, it has applied for as long as it should and with all of the load at least once.
        let is_reached = || there.min(on_console).is_some_and(|most| most >= limit);
        assert!(
            seen().count() < 3 || is_reached(),
            "no more than {there:?}, {on_console:?} of {limit} were used"
        );
    }
}

/// Clients that log in before everything changes, one of them over TLS.
async fn stay(scene: &Scene) -> Vec<RawClient> {
    let parameters = [("user", ROLE), ("database", scene.site.database.as_str())];
    let (address, tls) = (scene.gateway.address("pg"), scene.site.tls());
    let secured = RawClient::log_in_with(address, &tls, ROLE_PASSWORD, 0, &parameters).await;
    vec![
        secured.unwrap(),
        scene.log_in("keeper", "canary-keeper-0").await.unwrap(),
        scene.log_in("scribe", "canary-scribe-0").await.unwrap(),
    ]
}

/// As often as there are reloads, whether or not an answer takes longer than a turn: who is in stays in.
async fn keep_asking(mut staying: Vec<RawClient>, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        for client in &mut staying {
            assert_eq!(client.rows("select 'here'").await, ["here"], "who is in stays in");
        }
        tokio::time::sleep(TURN).await;
    }
}

async fn conclude(scene: &Scene, asking: Vec<JoinHandle<Verdict>>, turn: u32, took: Duration, done: Done) {
    let mut verdicts = Vec::new();
    for asked in asking {
        verdicts.push(asked.await.expect("the oracle ends"));
    }
    let (applied, failed) = (said(scene, "metadata applied"), said(scene, "28P01"));
    let right: Vec<u64> = verdicts.iter().map(|verdict| verdict.right).collect();
    eprintln!(
        "reload: {turn} reloads in {took:?}, {applied} applied; {done:?}; {failed} log lines of logins that failed; \
         right answers: {right:?}"
    );
    if verdicts.iter().any(|verdict| verdict.failed > 0) {
        let log = scene.gateway.log();
        let told = log
            .lines()
            .filter(|line| line.contains("opened") && !line.contains("\"debug\""));
        told.for_each(|line| eprintln!("{line}"));
    }
    verdicts.iter().for_each(Verdict::expect_clean);
    verdicts[0].expect_written(&scene.site.admin().await).await;
    assert!(
        applied as u32 > turn / 4,
        "written {turn} times, applied {applied} times only"
    );
    assert!(!scene.gateway.log().contains("canary-"), "a secret is in the log");
}

fn said(scene: &Scene, what: &str) -> usize {
    scene.gateway.log().matches(what).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_under_load_disturb_nobody() {
    if !is_direct() {
        reload_under_load(15).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "five minutes: make nightly"]
async fn reloads_under_load_disturb_nobody_for_long() {
    if !is_direct() {
        reload_under_load(300).await;
    }
}
