//! A gateway with an administrator and somebody who may look, for the tests of the console.

use std::process::Command;

use serde_json::json;
use tokio_postgres::Client;
use weir_tests::{
    cluster::{self, ROLE, ROLE_PASSWORD},
    gateway::Gateway,
    metadata::Metadata,
    site::{Plan, Site, is_direct},
    wire::RawClient,
};

/// Canaries: none may ever be shown.
pub(crate) const BOSS_PASSWORD: &str = "canary-boss-5e1";
pub(crate) const WATCHER_PASSWORD: &str = "canary-watcher-9a4";

pub(crate) struct Place {
    pub(crate) site: Site,
    pub(crate) gateway: Gateway,
    pub(crate) metadata: Metadata,
}

impl Place {
    /// `None` where the tests go without a gateway.
    pub(crate) async fn start(plan: Plan) -> Option<Place> {
        if is_direct() {
            return None;
        }
        let site = Site::start(plan.clone()).await;
        let metadata = Site::metadata(&plan, site.cluster, &site.database, &site.authority)
            .user(json!({ "name": "boss", "password": BOSS_PASSWORD, "sources": [], "role": "admin" }))
            .user(json!({ "name": "watcher", "password": WATCHER_PASSWORD, "sources": [], "role": "stats" }));
        let gateway = Gateway::start(&metadata);
        Some(Place {
            site,
            gateway,
            metadata,
        })
    }

    pub(crate) async fn boss(&self) -> Client {
        cluster::connect(self.gateway.address("pg"), "boss", BOSS_PASSWORD, "weir")
            .await
            .unwrap()
    }

    pub(crate) async fn client(&self) -> RawClient {
        RawClient::log_in(self.gateway.address("pg"), ROLE, ROLE_PASSWORD, &self.site.database)
            .await
            .unwrap()
    }

    /// `psql` at the console, which is told each of these commands.
    pub(crate) fn psql(&self, user: &str, password: &str, commands: &[&str]) -> Command {
        let address = self.gateway.address("pg");
        let mut psql = Command::new("psql");
        psql.args(["--no-psqlrc", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-d", "weir"])
            .args(["-p", &address.port().to_string(), "-U", user])
            .env("PGPASSWORD", password)
            .env("PGSSLMODE", "disable")
            .env("LC_ALL", "C.UTF-8");
        for command in commands {
            psql.args(["-c", command]);
        }
        psql
    }
}
