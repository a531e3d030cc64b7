//! From PgBouncer's settings to metadata. Reads `auth_file` and TLS files, and writes nothing.
//!
//! Values are written even where they are PgBouncer's defaults, when Weir's are others: the result shall behave as before,
//! and a person who reads it shall see how that was.

mod databases;
mod listeners;
mod users;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use weir_core::secret::Secret;

use super::{
    Import, Report, SECRETS,
    ini::{self, Credentials, Entry, Ini, Place},
    settings::{self, Fate, Setting},
};
use crate::commands::yaml::{Map, Yaml};

/// Converts the settings. `secrets` is where the secret files will be.
pub(super) fn convert(ini: &Ini, file: &Path, secrets: &Path) -> Import {
    let mut converter = Converter::new(ini, file, secrets);
    converter.remarks();
    let sources = converter.sources();
    let defaults = converter.defaults();
    let listeners = converter.listeners();
    let users = converter.users();
    let overlays: Vec<Yaml> = sources.iter().filter_map(|source| source.overlay.clone()).collect();
    let databases = Yaml::List(sources.into_iter().map(|source| source.metadata).collect());
    let mut gateway = vec![
        ("version".to_owned(), Yaml::plain(1)),
        ("listeners".to_owned(), Yaml::List(listeners)),
    ];
    let parts = [("users", Yaml::List(users)), ("sources", Yaml::List(overlays))];
    gateway.push(("defaults".to_owned(), Yaml::Map(defaults)));
    gateway.extend(
        parts
            .into_iter()
            .filter(|(_, part)| !matches!(part, Yaml::List(items) if items.is_empty()))
            .map(|(key, part)| (key.to_owned(), part)),
    );
    let head = "# Made by `weir import` from a pgbouncer.ini; docs/configuration.md has every key.\n";
    let mut import = converter.import;
    import.files = vec![
        (PathBuf::from("version.yaml"), "version: 3\n".to_owned()),
        (
            PathBuf::from("databases/databases.yaml"),
            head.to_owned() + &databases.document(),
        ),
        (
            PathBuf::from("gateway.yaml"),
            head.to_owned() + &Yaml::Map(gateway).document(),
        ),
    ];
    import
}

struct Converter<'i> {
    ini: &'i Ini,
    file: &'i Path,
    secrets: &'i Path,
    /// `[pgbouncer]`: the last of repeated settings counts.
    global: BTreeMap<String, &'i Entry>,
    credentials: Vec<Credentials>,
    import: Import,
}

impl<'i> Converter<'i> {
    fn new(ini: &'i Ini, file: &'i Path, secrets: &'i Path) -> Self {
        let global = ini
            .section("pgbouncer")
            .map(|entry| (entry.key.to_ascii_lowercase(), entry))
            .collect();
        let mut converter = Converter {
            ini,
            file,
            secrets,
            global,
            credentials: Vec::new(),
            import: Import::default(),
        };
        converter.read_credentials();
        converter
    }

    fn report(&mut self) -> &mut Report {
        &mut self.import.report
    }

    /// A setting of `[pgbouncer]` that is not empty.
    fn setting(&self, name: &str) -> Option<&'i str> {
        self.global
            .get(name)
            .map(|entry| entry.value.as_str())
            .filter(|value| !value.is_empty())
    }

    fn place(&self, name: &str) -> Place {
        let none = Place {
            file: self.file.to_owned(),
            line: 0,
        };
        self.global.get(name).map_or(none, |entry| entry.place.clone())
    }

    /// A number of `[pgbouncer]`; what is none is reported.
    fn number(&mut self, name: &str, default: f64) -> f64 {
        let Some(text) = self.setting(name) else { return default };
        match text.parse() {
            Ok(number) => number,
            Err(_) => {
                let place = self.place(name);
                self.report()
                    .note(&place, name, "wrong", format!("not a number: {default} is taken"));
                default
            }
        }
    }

    fn flag(&self, name: &str) -> bool {
        matches!(self.setting(name), Some("1" | "on" | "yes" | "true"))
    }

    /// One line for each setting that is not simply carried over.
    fn remarks(&mut self) {
        for (place, line) in self.ini.odd.clone() {
            self.report().note(&place, &line, "wrong", "not a setting: left out");
        }
        for entry in &self.ini.entries {
            match entry.section.as_str() {
                "pgbouncer" => self.remark(settings::PGBOUNCER, &entry.key, &entry.value, &entry.place),
                "databases" | "users" => {
                    let table = if entry.section == "users" {
                        settings::USER
                    } else {
                        settings::DATABASE
                    };
                    for (key, value) in ini::connect_string(&entry.value) {
                        self.remark(table, &key, &value, &entry.place);
                    }
                }
                "peers" => self.report().note(
                    &entry.place,
                    &format!("[peers] {}", entry.key),
                    Fate::Lost.word(),
                    "one process uses all cores; several need a balancer that keeps a client's address",
                ),
                other => self.report().note(
                    &entry.place,
                    &entry.key,
                    "wrong",
                    format!("there is no section [{other}]: left out"),
                ),
            }
        }
    }

    fn remark(&mut self, table: &'static [Setting], key: &str, value: &str, place: &Place) {
        let Some(Setting { fate, here, .. }) = settings::find(table, key) else {
            return self.report().note(
                place,
                key,
                "unknown",
                "PgBouncer has no such setting that is known here: left out",
            );
        };
        // What is set to nothing or to "off" is not missed.
        let is_off = matches!(value, "" | "0" | "off" | "no");
        let matters = match fate {
            Fate::Carried => false,
            Fate::Lost => !is_off,
            Fate::Differs => !is_off || key == "max_prepared_statements" || key == "server_reset_query",
            Fate::NotNeeded => true,
        };
        if matters {
            self.report().note(place, key, fate.word(), *here);
        }
    }

    /// `defaults` of gateway.yaml.
    fn defaults(&mut self) -> Map {
        let mode = self.pool_mode();
        let mut pool: Map = vec![("pool_mode".to_owned(), Yaml::text(mode))];
        let sizes = [
            ("min_connections", "min_pool_size", 0.0),
            ("overflow_connections", "reserve_pool_size", 0.0),
        ];
        for (key, name, default) in sizes {
            let value = self.number(name, default);
            put(&mut pool, key, value, value != default);
        }
        // 0 is for ever there; a year is as good here, where an idle connection always ends.
        let idle = Some(self.number("server_idle_timeout", 600.0))
            .filter(|idle| *idle > 0.0)
            .unwrap_or(31_536_000.0);
        put(&mut pool, "idle_timeout", idle.max(0.5), true);
        let lifetime = self.number("server_lifetime", 3600.0);
        put(&mut pool, "connection_lifetime", lifetime, true);
        match self.number("query_wait_timeout", 120.0) {
            0.0 => pool.push(("pool_timeout".to_owned(), Yaml::plain("null"))),
            wait => put(&mut pool, "pool_timeout", wait, true),
        }
        let connect = self.number("server_connect_timeout", 15.0);
        put(
            &mut pool,
            "connect_timeout",
            connect.max(0.1),
            connect != 15.0 && connect > 0.0,
        );
        if self.setting("max_prepared_statements").is_some() {
            let kept = self.number("max_prepared_statements", 200.0);
            put(&mut pool, "max_prepared_statements", kept, true);
        }
        if let Some(reset) = self.server_reset() {
            pool.push(("server_reset".to_owned(), Yaml::text(reset)));
        }
        let mut defaults: Map = vec![("pool_settings".to_owned(), Yaml::Map(pool))];
        let clients = self.number("max_client_conn", 100.0);
        put(&mut defaults, "max_client_connections", clients.max(1.0), true);
        for (key, name) in [
            ("query_timeout", "query_timeout"),
            ("idle_in_transaction_timeout", "idle_transaction_timeout"),
            ("transaction_timeout", "transaction_timeout"),
            ("client_idle_timeout", "client_idle_timeout"),
        ] {
            let limit = self.number(name, 0.0);
            put(&mut defaults, key, limit, limit > 0.0);
        }
        if let Some(tls) = self.server_tls() {
            defaults.push(("ssl_configuration".to_owned(), Yaml::Map(tls)));
        }
        defaults
    }

    fn pool_mode(&mut self) -> &'static str {
        match self.setting("pool_mode").unwrap_or("session") {
            "transaction" => "transaction",
            "statement" => "statement",
            other => {
                let place = self.place("pool_mode");
                let what = if other == "session" { "" } else { "not a mode; " };
                let text = format!(
                    "{what}kept as session (PgBouncer's default). transaction carries session state over and needs far fewer connections: try it"
                );
                self.report().note(&place, "pool_mode", "kept", text);
                "session"
            }
        }
    }

    /// Only what is said expressly; `auto` does what `DISCARD ALL` is there for.
    fn server_reset(&mut self) -> Option<&'static str> {
        let query = self.global.get("server_reset_query")?.value.as_str();
        match query.trim_end_matches(';').to_ascii_uppercase().as_str() {
            "" => Some("never"),
            "DISCARD ALL" => self.flag("server_reset_query_always").then_some("always"),
            _ => None,
        }
    }

    /// Towards databases. PgBouncer's default is `prefer`, as ours.
    fn server_tls(&mut self) -> Option<Map> {
        let mode = self.setting("server_tls_sslmode")?;
        if mode == "prefer"
            && self.setting("server_tls_ca_file").is_none()
            && self.setting("server_tls_cert_file").is_none()
        {
            return None;
        }
        Some(self.tls("server_tls", mode, "server"))
    }

    /// `ssl_configuration` with the files of a side, which are copied to where secrets may be read from.
    fn tls(&mut self, prefix: &str, mode: &str, folder: &str) -> Map {
        let mut tls: Map = vec![("sslmode".to_owned(), Yaml::text(mode))];
        for (key, name) in [
            ("sslrootcert", "ca_file"),
            ("sslcert", "cert_file"),
            ("sslkey", "key_file"),
        ] {
            let setting = format!("{prefix}_{name}");
            let Some(path) = self.setting(&setting) else { continue };
            let target = format!("tls/{folder}-{key}.pem");
            let source = ini::beside(self.file, path);
            match ini::text(&source) {
                Ok(text) => {
                    let place = self.place(&setting);
                    let text_ = format!("copied to {SECRETS}/{target}: a renewed one has to be written there");
                    self.report().note(&place, &setting, "copied", text_);
                    tls.push((key.to_owned(), self.secret(target, Secret::new(text))));
                }
                Err(error) => {
                    let path = self.secrets.join(&target).display().to_string();
                    self.report().ask(format!("{error}; put it at {path} yourself"));
                    tls.push((key.to_owned(), Yaml::from_file(&path)));
                }
            }
        }
        tls
    }

    /// Keeps a secret for a file, and refers to it.
    fn secret(&mut self, name: String, secret: Secret<String>) -> Yaml {
        let path = self.secrets.join(&name);
        if !self.import.secrets.iter().any(|(known, _)| *known == name) {
            self.import.secrets.push((name, secret));
        }
        Yaml::from_file(&path.display().to_string())
    }

    /// `auth_file`, when it can be read.
    fn read_credentials(&mut self) {
        let Some(path) = self.setting("auth_file") else { return };
        let path = ini::beside(self.file, path);
        match ini::text(&path) {
            Ok(text) => self.credentials = ini::userlist(&path, &text),
            Err(error) => {
                let place = self.place("auth_file");
                self.report().note(&place, "auth_file", "not read", error);
                self.report()
                    .ask("declare the users of auth_file in gateway.yaml, or run the import where it can be read");
            }
        }
    }

    /// The clear-text password of a user of `auth_file`.
    fn clear_password(&self, user: &str) -> Option<Secret<String>> {
        let found = self.credentials.iter().find(|known| known.user == user)?;
        is_clear(&found.password).then(|| found.password.clone())
    }
}

fn is_clear(password: &Secret<String>) -> bool {
    let text = password.expose();
    !text.is_empty() && !is_md5(text) && !text.starts_with("SCRAM-SHA-256$")
}

fn is_md5(text: &str) -> bool {
    text.len() == 35 && text.starts_with("md5") && text[3..].bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn put(map: &mut Map, key: &str, number: f64, wanted: bool) {
    if wanted {
        map.push((key.to_owned(), Yaml::plain(number)));
    }
}

/// Part of a file's name.
fn file_name(text: &str) -> String {
    let mut name = String::new();
    for c in text.chars() {
        match c {
            c if c.is_ascii_alphanumeric() || c == '_' || c == '-' => name.push(c),
            c => name.push_str(&format!("%{:X}", u32::from(c))),
        }
    }
    name
}

/// Part of a variable's name.
fn variable_name(text: &str) -> String {
    let upper = text.to_ascii_uppercase();
    upper
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect()
}

/// The parts of a comma-separated list.
fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}
