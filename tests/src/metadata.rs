//! Writes metadata directories for the tests.

use std::{fs, path::Path};

use serde_json::{Value, json};

/// A metadata directory in the making. Written as JSON, which every YAML reader reads.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    sources: Vec<Value>,
    listeners: Vec<Value>,
    users: Vec<Value>,
    overlays: Vec<Value>,
    defaults: Option<Value>,
    top_level: Vec<(String, Value)>,
}

impl Metadata {
    /// Nothing declared yet.
    pub fn new() -> Metadata {
        Metadata::default()
    }

    /// A source of `databases.yaml` with this connection and pool.
    pub fn postgres(self, name: &str, database_url: Value, pool_settings: Value) -> Metadata {
        let connection = json!({ "database_url": database_url, "pool_settings": pool_settings });
        self.source(json!({ "name": name, "kind": "postgres", "configuration": { "connection_info": connection }, "tables": [] }))
    }

    /// A source of `databases.yaml`, as it stands there.
    pub fn source(mut self, source: Value) -> Metadata {
        self.sources.push(source);
        self
    }

    /// An entry of `gateway.yaml`'s `listeners`.
    pub fn listener(mut self, listener: Value) -> Metadata {
        self.listeners.push(listener);
        self
    }

    /// A loopback listener named `pg` on a free port.
    pub fn loopback(self) -> Metadata {
        self.listener(json!({ "name": "pg", "kind": "postgres", "host": "127.0.0.1", "port": 0 }))
    }

    /// An entry of `users`.
    pub fn user(mut self, user: Value) -> Metadata {
        self.users.push(user);
        self
    }

    /// An entry of `gateway.yaml`'s `sources`.
    pub fn overlay(mut self, overlay: Value) -> Metadata {
        self.overlays.push(overlay);
        self
    }

    /// `gateway.yaml`'s `defaults`.
    pub fn defaults(mut self, defaults: Value) -> Metadata {
        self.defaults = Some(defaults);
        self
    }

    /// Any other key at the top of `gateway.yaml`.
    pub fn top_level(mut self, key: &str, value: Value) -> Metadata {
        self.top_level.push((key.to_owned(), value));
        self
    }

    /// Writes the directory.
    pub fn write(&self, folder: &Path) {
        let mut gateway =
            json!({ "version": 1, "listeners": self.listeners, "users": self.users, "sources": self.overlays });
        if let Some(defaults) = &self.defaults {
            gateway["defaults"] = defaults.clone();
        }
        for (key, value) in &self.top_level {
            gateway[key] = value.clone();
        }
        fs::create_dir_all(folder.join("databases")).unwrap();
        fs::write(folder.join("version.yaml"), "version: 3\n").unwrap();
        fs::write(
            folder.join("databases/databases.yaml"),
            format!("{:#}\n", Value::from(self.sources.clone())),
        )
        .unwrap();
        fs::write(folder.join("gateway.yaml"), format!("{gateway:#}\n")).unwrap();
    }
}
