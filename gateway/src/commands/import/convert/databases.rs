//! `[databases]`: sources, each with one role. PgBouncer connects as the client unless a line says `user=`.

use weir_core::secret::Secret;

use super::{Converter, Map, Yaml, file_name, ini, is_clear, put, variable_name};
use crate::commands::import::ini::{Entry, Place};

/// A source and what gateway.yaml says about it.
pub(super) struct Source {
    pub(super) metadata: Yaml,
    pub(super) overlay: Option<Yaml>,
}

/// The words of a line.
struct Words<'e> {
    entry: &'e Entry,
    pairs: Vec<(String, String)>,
}

impl Words<'_> {
    /// The last of repeated ones counts; an empty one is not set.
    fn get(&self, key: &str) -> Option<&str> {
        let found = self
            .pairs
            .iter()
            .rev()
            .find(|(known, _)| known.eq_ignore_ascii_case(key))?;
        Some(found.1.as_str()).filter(|value| !value.is_empty())
    }

    fn place(&self) -> Place {
        self.entry.place.clone()
    }
}

impl Converter<'_> {
    pub(super) fn sources(&mut self) -> Vec<Source> {
        let ini = self.ini;
        let mut sources = Vec::new();
        for entry in ini.section("databases") {
            let words = Words {
                entry,
                pairs: ini::connect_string(&entry.value),
            };
            let later = ini
                .section("databases")
                .any(|other| other.key == entry.key && other.place != entry.place && is_later(other, entry, ini));
            if later {
                self.report().note(
                    &entry.place,
                    &entry.key,
                    "left out",
                    "the database is defined again further down",
                );
                continue;
            }
            match entry.key.as_str() {
                "*" => {
                    let text = "a database has to be declared by name: add a source for each one that clients use";
                    self.report().note(&entry.place, "*", "no equivalent", text);
                }
                name if name.contains('@') => {
                    let text = "@ separates a database's name from @primary and its like: give it another name";
                    self.report().note(&entry.place, name, "left out", text);
                }
                _ => sources.push(self.source(&words)),
            }
        }
        sources
    }

    fn source(&mut self, words: &Words<'_>) -> Source {
        let name = words.entry.key.clone();
        let mut info: Map = vec![("database_url".to_owned(), self.address(words))];
        let mut pool = Map::new();
        let size = self.pool_size(words);
        put(&mut pool, "max_connections", size, true);
        info.push(("pool_settings".to_owned(), Yaml::Map(pool)));
        let configuration = vec![("connection_info".to_owned(), Yaml::Map(info))];
        let metadata = vec![
            ("name".to_owned(), Yaml::text(&name)),
            ("kind".to_owned(), Yaml::text("postgres")),
            ("configuration".to_owned(), Yaml::Map(configuration)),
        ];
        let overlay = self.overlay(words);
        let entry = |overlay| {
            let mut entry: Map = vec![("name".to_owned(), Yaml::text(&name))];
            entry.extend::<Map>(overlay);
            Yaml::Map(entry)
        };
        Source {
            metadata: Yaml::Map(metadata),
            overlay: (!overlay.is_empty()).then(|| entry(overlay)),
        }
    }

    fn address(&mut self, words: &Words<'_>) -> Yaml {
        let name = words.entry.key.as_str();
        let user = self.role(words);
        let password = match (&user, words.get("password")) {
            (_, Some(password)) => Some(Secret::new(password.to_owned())).filter(is_clear),
            (Some(user), None) => self.clear_password(user),
            (None, None) => None,
        };
        let password = match password {
            Some(password) => self.secret(format!("{}.password", file_name(name)), password),
            None => {
                let variable = format!("{}_PASSWORD", variable_name(name));
                let role = user.as_deref().unwrap_or("its role");
                self.report().ask(format!(
                    "set the environment variable {variable} to the clear-text password of {role} for {name}"
                ));
                Yaml::from_env(&variable)
            }
        };
        let user = match user {
            Some(user) => Yaml::text(user),
            None => {
                let variable = format!("{}_USERNAME", variable_name(name));
                self.report().ask(format!("set the environment variable {variable} to the role that {name} is connected to as: PgBouncer used each client's own, here a source has one"));
                Yaml::from_env(&variable)
            }
        };
        self.parameters(words, words.get("dbname").unwrap_or(name), user, password)
    }

    /// `{connection_parameters: …}` for the host of a line.
    fn parameters(&mut self, words: &Words<'_>, database: &str, user: Yaml, password: Yaml) -> Yaml {
        let host = match words.get("host") {
            Some(host) => host.to_owned(),
            None => self.socket_folder(words),
        };
        if host.contains(',') {
            self.report().note(
                &words.place(),
                "host",
                "differs",
                "the hosts are tried in order, not in turn",
            );
        }
        let parameters = vec![
            ("host".to_owned(), Yaml::text(host)),
            ("port".to_owned(), Yaml::plain(words.get("port").unwrap_or("5432"))),
            ("database".to_owned(), Yaml::text(database)),
            ("username".to_owned(), user),
            ("password".to_owned(), password),
        ];
        Yaml::Map(vec![("connection_parameters".to_owned(), Yaml::Map(parameters))])
    }

    /// Without a host PgBouncer takes the Unix socket in its own folder.
    fn socket_folder(&mut self, words: &Words<'_>) -> String {
        let folder = self.setting("unix_socket_dir").unwrap_or("/tmp").to_owned();
        if folder.starts_with('@') {
            self.report().note(
                &words.place(),
                "host",
                "no equivalent",
                "a socket in the abstract namespace: localhost is taken",
            );
            return "localhost".to_owned();
        }
        folder
    }

    /// As whom the source connects: `user=`, or the only one whose password is known.
    fn role(&mut self, words: &Words<'_>) -> Option<String> {
        if let Some(user) = words.get("user") {
            return Some(user.to_owned());
        }
        let mut known = self
            .credentials
            .iter()
            .filter(|credentials| is_clear(&credentials.password));
        let only = known.next().map(|credentials| credentials.user.clone());
        let only = only.filter(|_| known.next().is_none());
        let text = match &only {
            Some(user) => format!(
                "clients shared nothing but the address: each logged in as itself. Here all are served as {user}, the only one whose password is known"
            ),
            None => "clients shared nothing but the address: each logged in as itself. Here a source has one role"
                .to_owned(),
        };
        self.report().note(&words.place(), "user", "differs", text);
        only
    }

    /// One pool for all users: PgBouncer has one for each.
    fn pool_size(&mut self, words: &Words<'_>) -> f64 {
        let default = self.number("default_pool_size", 20.0);
        let global = self.number("max_db_connections", 0.0);
        let own = |name: &str| words.get(name).and_then(|text| text.parse::<f64>().ok());
        let size = own("pool_size").unwrap_or(default);
        let bound = own("max_db_connections").unwrap_or(global);
        let total = match (words.get("user").is_some(), bound > 0.0) {
            (true, true) => size.min(bound),
            (false, true) => bound,
            _ => size,
        };
        if total > 0.0 {
            return total;
        }
        let text = "0 was without limit: the most that PostgreSQL itself can have is taken; a number near its max_connections is better";
        self.report().note(&words.place(), "pool_size", "differs", text);
        f64::from(weir_config::limits::MAX_CONNECTIONS)
    }

    /// What Hasura has no word for.
    fn overlay(&mut self, words: &Words<'_>) -> Map {
        let mut overlay = Map::new();
        let mut pool = Map::new();
        if let Some(mode) = words.get("pool_mode") {
            pool.push(("pool_mode".to_owned(), Yaml::text(mode)));
        }
        let number = |name: &str| words.get(name).and_then(|text| text.parse::<f64>().ok());
        for (key, value) in [
            ("min_connections", number("min_pool_size")),
            (
                "overflow_connections",
                number("reserve_pool_size").or(number("reserve_pool")),
            ),
            ("connection_lifetime", number("server_lifetime")),
        ] {
            put(&mut pool, key, value.unwrap_or_default(), value.is_some());
        }
        if !pool.is_empty() {
            overlay.push(("pool_settings".to_owned(), Yaml::Map(pool)));
        }
        let global = self.number("max_db_client_connections", 0.0);
        let clients = number("max_db_client_connections").unwrap_or(global);
        put(&mut overlay, "max_client_connections", clients, clients > 0.0);
        if let Some(name) = words.get("application_name") {
            overlay.push(("application_name".to_owned(), Yaml::text(name)));
        }
        let parameters = ["client_encoding", "datestyle", "timezone"].into_iter();
        let parameters: Map = parameters
            .filter_map(|key| Some((key.to_owned(), Yaml::text(words.get(key)?))))
            .collect();
        if !parameters.is_empty() {
            overlay.push(("startup_parameters".to_owned(), Yaml::Map(parameters)));
        }
        if let Some(query) = self.auth_query(words) {
            overlay.push(("auth_query".to_owned(), Yaml::Map(query)));
        }
        overlay
    }

    /// Clients that are not in `auth_file`, where an `auth_user` looks them up.
    fn auth_query(&mut self, words: &Words<'_>) -> Option<Map> {
        let user = words.get("auth_user").or(self.setting("auth_user"))?.to_owned();
        let mut query = Map::new();
        if let Some(text) = words.get("auth_query").or(self.setting("auth_query")) {
            query.push(("query".to_owned(), Yaml::text(text)));
        }
        let password = match self.clear_password(&user) {
            Some(password) => self.secret(format!("{}.auth-user", file_name(&user)), password),
            None => {
                let variable = format!("{}_PASSWORD", variable_name(&user));
                self.report().ask(format!(
                    "set the environment variable {variable} to the clear-text password of auth_user {user}"
                ));
                Yaml::from_env(&variable)
            }
        };
        let database = words.get("auth_dbname").or(self.setting("auth_dbname"));
        let database = database.or(words.get("dbname")).unwrap_or(&words.entry.key).to_owned();
        let address = self.parameters(words, &database, Yaml::text(user), password);
        query.push(("user_database_url".to_owned(), address));
        Some(query)
    }
}

fn is_later(other: &Entry, entry: &Entry, ini: &ini::Ini) -> bool {
    let position = |wanted: &Entry| {
        ini.entries
            .iter()
            .position(|known| known.place == wanted.place && known.key == wanted.key)
    };
    position(other) > position(entry)
}
