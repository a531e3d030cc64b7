//! A place to test at: a database of its own, the gateway before it, and a turn on the machine.

use std::{
    net::SocketAddr,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use serde_json::{Value, json};

use crate::{
    activity::Sampler,
    certificates::{Authority, Identity},
    cluster::{self, Cluster, ROLE, ROLE_PASSWORD, Version},
    gateway::Gateway,
    metadata::Metadata,
    turn::{self, Turn},
    wire::{RawClient, Security},
};

/// What the site shall be like.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Server version.
    pub version: Version,
    /// Whom clients log in as, and the gateway too.
    pub role: &'static str,
    /// `max_connections`.
    pub connections: u32,
    /// `pool_mode`.
    pub mode: &'static str,
    /// Further `pool_settings`.
    pub pool: Value,
    /// Further keys of the source's overlay in `gateway.yaml`.
    pub overlay: Value,
    /// `sslmode` of the listener, with a certificate, or none.
    pub tls: Option<&'static str>,
    /// Query string of the database URL.
    pub url_options: &'static str,
    /// `--workers`.
    pub workers: Option<u32>,
    /// Whether the test needs the machine to itself.
    pub heavy: bool,
    /// Log level of the gateway, when the test reads its log.
    pub log: Option<&'static str>,
}

impl Default for Plan {
    fn default() -> Self {
        Plan {
            version: Version::Distribution,
            role: ROLE,
            connections: 2,
            mode: "transaction",
            pool: json!({}),
            overlay: json!({}),
            tls: None,
            url_options: "sslmode=disable",
            workers: None,
            heavy: false,
            log: None,
        }
    }
}

/// See the module. Client names, passwords and the database's name are the same with and without the gateway.
#[derive(Debug)]
pub struct Site {
    /// Of this site's server.
    pub cluster: &'static Cluster,
    /// Name of its database.
    pub database: String,
    /// None when the tests talk to PostgreSQL directly.
    pub gateway: Option<Gateway>,
    /// Signs the gateway's certificate.
    pub authority: Authority,
    /// Whom clients log in as.
    pub role: &'static str,
    _turn: Turn,
}

/// Whether `WEIR_TEST_DIRECT` is set: no gateway, the tests check themselves.
pub fn is_direct() -> bool {
    std::env::var_os("WEIR_TEST_DIRECT").is_some_and(|value| value != "0")
}

impl Site {
    /// A new database and a gateway before it, user [`ROLE`] on both sides.
    pub async fn start(plan: Plan) -> Site {
        let turn = if plan.heavy { turn::heavy() } else { turn::light() };
        let cluster = Cluster::shared(plan.version);
        let database = new_name("db");
        cluster.create_database(&database).await;
        let authority = Authority::generate();
        let gateway = (!is_direct()).then(|| {
            let metadata = Site::metadata(&plan, cluster, &database, &authority);
            let mut arguments = Vec::new();
            let workers = plan.workers.map(|count| count.to_string());
            if let Some(count) = &workers {
                arguments.extend(["--workers", count]);
            }
            let environment: Vec<(&str, &str)> = plan
                .log
                .iter()
                .flat_map(|level| [("RUST_LOG", *level), ("WEIR_LOG", *level)])
                .collect();
            Gateway::start_with(&metadata, &arguments, &environment)
        });
        Site {
            cluster,
            database,
            gateway,
            authority,
            role: plan.role,
            _turn: turn,
        }
    }

    /// The metadata that [`Site::start`] writes, for tests that want to change it.
    pub fn metadata(plan: &Plan, cluster: &Cluster, database: &str, authority: &Authority) -> Metadata {
        let mut pool = json!({ "max_connections": plan.connections });
        merge(&mut pool, &plan.pool);
        let mut overlay = json!({ "name": database, "pool_settings": { "pool_mode": plan.mode } });
        merge(&mut overlay, &plan.overlay);
        let mut listener = json!({ "name": "pg", "kind": "postgres", "host": "127.0.0.1", "port": 0 });
        if let Some(sslmode) = plan.tls {
            let Identity { certificate, key } = authority.issue("localhost", &["localhost", "127.0.0.1"]);
            listener["ssl_configuration"] = json!({ "sslmode": sslmode, "sslcert": certificate, "sslkey": key });
        }
        Metadata::new()
            .postgres(
                database,
                database_url(cluster, plan.role, database, plan.url_options).into(),
                pool,
            )
            .listener(listener)
            .user(json!({ "name": plan.role, "password": ROLE_PASSWORD, "sources": "*" }))
            .overlay(overlay)
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.gateway
            .as_ref()
            .map_or(self.cluster.address(), |gateway| gateway.address("pg"))
    }

    /// How clients secure their connection when they want TLS.
    pub fn tls(&self) -> Security {
        let authority = if self.gateway.is_some() {
            &self.authority
        } else {
            &self.cluster.authority
        };
        Security::Negotiated(authority.client(&[]))
    }

    /// A logged-in client of the harness.
    pub async fn raw(&self) -> RawClient {
        RawClient::log_in(self.address(), self.role, ROLE_PASSWORD, &self.database)
            .await
            .expect("the client can log in")
    }

    /// The same past the gateway.
    pub async fn raw_direct(&self) -> RawClient {
        RawClient::log_in(self.cluster.address(), self.role, ROLE_PASSWORD, &self.database)
            .await
            .expect("the client can log in")
    }

    /// A tokio-postgres client.
    pub async fn connect(&self) -> tokio_postgres::Client {
        cluster::connect(self.address(), self.role, ROLE_PASSWORD, &self.database)
            .await
            .expect("the client can log in")
    }

    /// A superuser of the database, past the gateway.
    pub async fn admin(&self) -> tokio_postgres::Client {
        self.cluster.admin(&self.database).await
    }

    /// Watches the number of server connections, from outside of the database.
    pub async fn sampler(&self) -> Sampler {
        Sampler::start(self.cluster.admin("postgres").await, &self.database)
    }

    /// Number of server connections at this moment.
    pub async fn server_connections(&self) -> u32 {
        crate::activity::count(&self.cluster.admin("postgres").await, &self.database).await
    }

    /// libpq's environment variables, which every PostgreSQL program reads.
    pub fn environment(&self, command: &mut Command) {
        let address = self.address();
        command
            .env("PGHOST", address.ip().to_string())
            .env("PGPORT", address.port().to_string());
        command
            .env("PGUSER", self.role)
            .env("PGPASSWORD", ROLE_PASSWORD)
            .env("PGDATABASE", &self.database);
        command
            .env("PGSSLMODE", "disable")
            .env("PGGSSENCMODE", "disable")
            .env("LC_ALL", "C.UTF-8");
    }
}

/// A URL for `databases.yaml`.
pub fn database_url(cluster: &Cluster, role: &str, database: &str, options: &str) -> String {
    format!(
        "postgres://{role}:{ROLE_PASSWORD}@{}/{database}?{options}",
        cluster.address()
    )
}

/// A name that no other test of this process has.
pub fn new_name(prefix: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    format!("{prefix}_{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}
