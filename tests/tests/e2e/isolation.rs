//! ISO2: whatever clients of several users and databases do to their sessions, each is always itself, in its own
//! database, with its own settings.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use serde_json::json;
use tokio::task::JoinSet;
use tokio_postgres::Client;
use weir_tests::{
    cluster::{self, ROLE_PASSWORD},
    gateway::Gateway,
    metadata::Metadata,
    random::Random,
    site::{Plan, Site, database_url, is_direct, new_name},
};

/// Two users in two databases, with more clients than server connections.
const CLIENTS_EACH: usize = 4;
const POOL: u32 = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_stays_who_they_are_through_five_thousand_operations() {
    everybody_stays_who_they_are(5_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes: make nightly"]
async fn everybody_stays_who_they_are_through_a_million_operations() {
    everybody_stays_who_they_are(1_000_000).await;
}

async fn everybody_stays_who_they_are(operations: i64) {
    let place = Place::start().await;
    let left = Arc::new(AtomicI64::new(operations));
    let mut clients = JoinSet::new();
    for user in 0..2 {
        for database in 0..2 {
            for number in 0..CLIENTS_EACH {
                let (account, left) = (place.account(user, database), left.clone());
                let seed = (user * 100 + database * 10 + number) as u64 + operations as u64;
                clients.spawn(async move {
                    let mut visitor = Visitor::arrive(account, Random::new(seed)).await;
                    while left.fetch_sub(1, Ordering::Relaxed) > 0 {
                        visitor.act().await;
                    }
                    visitor.tally
                });
            }
        }
    }
    let mut all = [0_u64; 12];
    while let Some(tally) = clients.join_next().await {
        let tally = tally.unwrap();
        all.iter_mut().zip(tally).for_each(|(sum, count)| *sum += count);
    }
    eprintln!("operations by kind: {all:?}");
    assert!(
        all.iter().all(|count| *count > 0),
        "a kind of operation never happened: {all:?}"
    );
}

/// Two roles, two databases, and a gateway with one source for each pair.
struct Place {
    site: Site,
    gateway: Option<Gateway>,
    roles: [String; 2],
    databases: [String; 2],
    groups: [String; 2],
}

/// How to log in, and who one is then.
#[derive(Clone)]
struct Account {
    address: std::net::SocketAddr,
    /// What is asked for: a source's name, or the database itself.
    asked: String,
    role: String,
    database: String,
    groups: [String; 2],
}

impl Place {
    async fn start() -> Place {
        let site = Site::start(Plan {
            heavy: true,
            ..Plan::default()
        })
        .await;
        let databases = [new_name("iso_database"), new_name("iso_database")];
        let roles = [new_name("iso_user"), new_name("iso_user")];
        let groups = [new_name("iso_group"), new_name("iso_group")];
        let admin = site.admin().await;
        for group in &groups {
            admin.batch_execute(&format!("create role {group}")).await.unwrap();
        }
        for role in &roles {
            let grant = format!(
                "create role {role} login password '{ROLE_PASSWORD}'; grant {}, {} to {role}",
                groups[0], groups[1]
            );
            admin.batch_execute(&grant).await.unwrap();
        }
        let mut metadata = Metadata::new().loopback();
        for database in &databases {
            site.cluster.create_database(database).await;
            for role in &roles {
                let url = database_url(site.cluster, role, database, "sslmode=disable");
                metadata = metadata.postgres(
                    &format!("{role}_{database}"),
                    url.into(),
                    json!({ "max_connections": POOL, "pool_timeout": 60 }),
                );
            }
        }
        for role in &roles {
            let own: Vec<String> = databases.iter().map(|database| format!("{role}_{database}")).collect();
            metadata = metadata.user(json!({ "name": role, "password": ROLE_PASSWORD, "sources": own }));
        }
        let gateway = (!is_direct()).then(|| Gateway::start(&metadata));
        Place {
            site,
            gateway,
            roles,
            databases,
            groups,
        }
    }

    fn account(&self, user: usize, database: usize) -> Account {
        let (role, database) = (self.roles[user].clone(), self.databases[database].clone());
        let (address, asked) = match &self.gateway {
            Some(gateway) => (gateway.address("pg"), format!("{role}_{database}")),
            None => (self.site.cluster.address(), database.clone()),
        };
        Account {
            address,
            asked,
            role,
            database,
            groups: self.groups.clone(),
        }
    }
}

/// What a session is like, as its client knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Own {
    user: String,
    path: String,
    mark: String,
    memory: String,
}

struct Visitor {
    account: Account,
    random: Random,
    client: Client,
    fresh: Own,
    own: Own,
    number: u64,
    /// Differs between visitors by more than they do.
    identity: u64,
    tally: [u64; 12],
}

impl Visitor {
    async fn arrive(account: Account, random: Random) -> Visitor {
        let (mut random, client) = (random, log_in(&account).await);
        let identity = random.below(1 << 60);
        let fresh = Own {
            user: account.role.clone(),
            path: "\"$user\", public".to_owned(),
            mark: String::new(),
            memory: "4MB".to_owned(),
        };
        let mut visitor = Visitor {
            account,
            random,
            client,
            own: fresh.clone(),
            fresh,
            number: 0,
            identity,
            tally: [0; 12],
        };
        visitor.check().await;
        visitor
    }

    /// One operation, and a look at who one is.
    async fn act(&mut self) {
        self.number += 1;
        let kind = self.random.below(12) as usize;
        self.tally[kind] += 1;
        match kind {
            0 => self.become_somebody("set role").await,
            1 => {
                self.run("reset role").await;
                self.own.user = self.fresh.user.clone();
            }
            2 => self.look_elsewhere().await,
            3 => {
                let mark = self.mark();
                self.run(&format!("select set_config('iso.mark', '{mark}', false)"))
                    .await;
                self.own.mark = mark;
            }
            4 => {
                let memory = format!("{}MB", 5 + self.random.below(20));
                self.run(&format!("set work_mem = '{memory}'")).await;
                self.own.memory = memory;
            }
            5 => self.transact("commit").await,
            6 => self.transact("rollback").await,
            7 => self.locally().await,
            8 => {
                self.fails("select 1/0").await;
            }
            9 => self.fail_in_a_transaction().await,
            10 => {
                let all = ["discard all", "reset all"][self.random.below(2) as usize];
                self.run(all).await;
                let user = self.own.user.clone();
                self.own = self.fresh.clone();
                if all == "reset all" {
                    // The role is not one of "all".
                    self.own.user = user;
                }
            }
            // A login costs more than all the rest.
            _ if self.random.percent(10) => self.come_again().await,
            _ => self.run("select").await,
        }
        self.check().await;
    }

    async fn become_somebody(&mut self, how: &str) {
        let group = self.account.groups[self.random.below(2) as usize].clone();
        self.run(&format!("{how} {group}")).await;
        self.own.user = group;
    }

    async fn look_elsewhere(&mut self) {
        let path = format!("\"{}\", pg_catalog", self.mark());
        self.run(&format!("set search_path = {path}")).await;
        self.own.path = path;
    }

    /// What is set in a transaction is there if it commits.
    async fn transact(&mut self, end: &str) {
        let before = self.own.clone();
        self.run("begin").await;
        self.become_somebody("set role").await;
        self.check().await;
        self.look_elsewhere().await;
        self.check().await;
        self.run(end).await;
        if end == "rollback" {
            self.own = before;
        }
    }

    /// What is set for a transaction is not there behind it.
    async fn locally(&mut self) {
        let before = self.own.clone();
        self.run("begin").await;
        self.become_somebody("set local role").await;
        let mark = self.mark();
        self.run(&format!("select set_config('iso.mark', '{mark}', true)"))
            .await;
        self.own.mark = mark;
        self.check().await;
        self.run("commit").await;
        self.own = before;
    }

    async fn fail_in_a_transaction(&mut self) {
        let before = self.own.clone();
        self.run("begin").await;
        self.become_somebody("set role").await;
        self.fails("select 1/0").await;
        self.fails("select 1").await;
        self.run("commit").await;
        self.own = before;
    }

    /// Leaves in one of the ways in which clients leave, and comes back as somebody new.
    async fn come_again(&mut self) {
        match self.random.below(3) {
            0 => {
                self.run("begin; select set_config('iso.mark', 'left behind', false)")
                    .await
            }
            1 => {
                // In the middle of something.
                let leaving = self.client.batch_execute("set role none; select pg_sleep(0.01)");
                let _ = tokio::time::timeout(std::time::Duration::from_millis(1), leaving).await;
            }
            _ => {}
        }
        self.client = log_in(&self.account).await;
        self.own = self.fresh.clone();
    }

    /// By the simple protocol, a statement prepared now, or one that every client calls by the same name.
    async fn check(&mut self) {
        const WHO: &str = "select session_user::text, current_user::text, current_database()::text, \
             current_setting('search_path'), coalesce(current_setting('iso.mark', true), ''), current_setting('work_mem')";
        let found: Vec<String> = if self.random.percent(50) {
            let row = self.client.query_one(WHO, &[]).await.unwrap();
            (0..6).map(|column| row.get(column)).collect()
        } else {
            let answer = self.client.simple_query(WHO).await.unwrap();
            let row = answer.iter().find_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
                _ => None,
            });
            let row = row.unwrap();
            (0..6)
                .map(|column| row.get(column).unwrap_or_default().to_owned())
                .collect()
        };
        let Own {
            user,
            path,
            mark,
            memory,
        } = &self.own;
        let expected = [&self.account.role, user, &self.account.database, path, mark, memory];
        assert!(
            found.iter().eq(expected),
            "operation {}: {found:?} instead of {expected:?}",
            self.number
        );
    }

    /// Nobody else ever has the same.
    fn mark(&self) -> String {
        format!("{}.{}", self.account.asked, self.identity + self.number)
    }

    async fn run(&self, sql: &str) {
        if let Err(error) = self.client.batch_execute(sql).await {
            panic!("operation {}: {sql}: {error:?}", self.number);
        }
    }

    async fn fails(&self, sql: &str) {
        assert!(
            self.client.batch_execute(sql).await.is_err(),
            "operation {}: {sql}",
            self.number
        );
    }
}

async fn log_in(account: &Account) -> Client {
    cluster::connect(account.address, &account.role, ROLE_PASSWORD, &account.asked)
        .await
        .unwrap()
}
