//! Sources whose passwords change, each written at another place.

use std::path::PathBuf;

use serde_json::json;
use weir_tests::{
    cluster::{Cluster, ROLE},
    metadata::Metadata,
    oracle::Oracle,
    site::{Site, new_name},
};

use super::replace;

/// Server connections of each. Those of the pool that a password written in `databases.yaml` leaves behind included.
pub(super) const MOST: u32 = 2;

/// A source whose role's password changes.
pub(super) struct Rotated {
    pub(super) database: String,
    pub(super) role: String,
    pub(super) password: String,
    pub(super) place: PasswordPlace,
}

pub(super) enum PasswordPlace {
    /// The whole URL in a file.
    UrlFile(PathBuf),
    /// The password alone in a file.
    PasswordFile(PathBuf),
    /// Written in `databases.yaml`.
    Written,
}

impl Rotated {
    pub(super) async fn create(site: &Site, name: &str, place: PasswordPlace) -> Rotated {
        let (database, role) = (new_name("db"), new_name(name));
        site.cluster.create_database(&database).await;
        let admin = site.cluster.admin(&database).await;
        Oracle::prepare(&admin).await;
        let sql = format!("CREATE ROLE {role} LOGIN IN ROLE {ROLE} PASSWORD 'canary-{role}-0'");
        admin.batch_execute(&sql).await.unwrap();
        let rotated = Rotated {
            password: format!("canary-{role}-0"),
            database,
            role,
            place,
        };
        rotated.write(site.cluster);
        rotated
    }

    pub(super) fn write(&self, cluster: &Cluster) {
        match &self.place {
            PasswordPlace::UrlFile(path) => replace(path, &self.url(cluster)),
            PasswordPlace::PasswordFile(path) => replace(path, &self.password),
            PasswordPlace::Written => {}
        }
    }

    fn url(&self, cluster: &Cluster) -> String {
        let Rotated {
            database,
            role,
            password,
            ..
        } = self;
        format!(
            "postgres://{role}:{password}@{}/{database}?sslmode=disable",
            cluster.address()
        )
    }

    /// Each connection lives for a second or two, so that there are logins in every rotation.
    pub(super) fn declare(&self, cluster: &Cluster, metadata: Metadata) -> Metadata {
        let url = match &self.place {
            PasswordPlace::UrlFile(path) => json!({ "dynamic_from_file": path }),
            PasswordPlace::PasswordFile(path) => json!({ "connection_parameters": {
                "host": cluster.address().ip().to_string(), "port": cluster.address().port(), "username": self.role,
                "database": self.database, "password": { "dynamic_from_file": path } } }),
            PasswordPlace::Written => self.url(cluster).into(),
        };
        let pool = json!({ "max_connections": MOST, "connection_lifetime": 2 });
        metadata.postgres(&self.database, url, pool)
    }
}
