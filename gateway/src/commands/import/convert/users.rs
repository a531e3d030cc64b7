//! Who may log in: `auth_file`, `[users]`, `admin_users`, `stats_users`.

use weir_core::secret::Secret;

use super::{Converter, Map, Yaml, file_name, ini, is_md5, list, put};
use crate::commands::import::ini::Place;

impl Converter<'_> {
    pub(super) fn users(&mut self) -> Vec<Yaml> {
        self.check_auth_type();
        let credentials = std::mem::take(&mut self.credentials);
        let mut users = Vec::new();
        let mut names: Vec<&str> = Vec::new();
        for known in &credentials {
            if names.contains(&known.user.as_str()) {
                self.report().note(
                    &known.place,
                    &known.user,
                    "left out",
                    "the user is listed twice; the first one counts",
                );
                continue;
            }
            names.push(&known.user);
            users.extend(self.user(&known.user, &known.password, &known.place));
        }
        self.unknown_names(&names);
        users
    }

    fn user(&mut self, name: &str, password: &Secret<String>, place: &Place) -> Option<Yaml> {
        let mut user: Map = vec![("name".to_owned(), Yaml::text(name))];
        let by_certificate = self.setting("auth_type") == Some("cert");
        match password.expose().as_str() {
            _ if by_certificate => user.push(("certificate".to_owned(), Yaml::plain(true))),
            "" => {
                self.report().note(
                    place,
                    name,
                    "left out",
                    "the user has no password: nobody could log in as it",
                );
                return None;
            }
            text if is_md5(text) => {
                let looked_up = self.setting("auth_user").is_some();
                let text = match looked_up {
                    true => {
                        "an md5 hash is of no use for SCRAM-SHA-256, which is the only login here: the user is looked up by auth_query"
                    }
                    false => "an md5 hash is of no use for SCRAM-SHA-256, which is the only login here: left out",
                };
                self.report().note(place, name, "left out", text);
                if !looked_up {
                    self.report().ask(format!("give {name} a SCRAM verifier (SET password_encryption = 'scram-sha-256'; ALTER ROLE … PASSWORD …; SELECT rolpassword FROM pg_authid) or an auth_query, and declare it in users"));
                }
                return None;
            }
            _ => {
                let file = self.secret(format!("users/{}", file_name(name)), password.clone());
                user.push(("password".to_owned(), file));
            }
        }
        user.push(("sources".to_owned(), Yaml::text("*")));
        for (setting, role) in [("stats_users", "stats"), ("admin_users", "admin")] {
            if self
                .setting(setting)
                .is_some_and(|names| list(names).any(|listed| listed == name))
            {
                user.retain(|(key, _)| key != "role");
                user.push(("role".to_owned(), Yaml::text(role)));
            }
        }
        self.overrides(name, &mut user);
        Some(Yaml::Map(user))
    }

    /// `[users]`, and the limits that are for every user.
    fn overrides(&mut self, name: &str, user: &mut Map) {
        let own = self.ini.section("users").filter(|entry| entry.key == name).last();
        let own = own.map(|entry| ini::connect_string(&entry.value)).unwrap_or_default();
        let word = |key: &str| {
            own.iter()
                .rev()
                .find(|(known, _)| known.eq_ignore_ascii_case(key))
                .map(|(_, value)| value.as_str())
        };
        if let Some(mode) = word("pool_mode") {
            user.push(("pool_mode".to_owned(), Yaml::text(mode)));
        }
        for (key, setting) in [
            ("max_connections", "max_user_connections"),
            ("max_client_connections", "max_user_client_connections"),
        ] {
            let global = self.number(setting, 0.0);
            let limit = word(setting).and_then(|text| text.parse().ok()).unwrap_or(global);
            put(user, key, limit, limit > 0.0);
        }
        let limit = word("query_timeout").and_then(|text| text.parse().ok()).unwrap_or(0.0);
        put(user, "query_timeout", limit, limit > 0.0);
    }

    fn check_auth_type(&mut self) {
        let place = self.place("auth_type");
        let kind = self.setting("auth_type").unwrap_or("md5");
        let text = match kind {
            "hba" => {
                "the rules of auth_hba_file are not carried over: users have sources, addresses belong into a firewall"
            }
            "pam" | "ldap" => "passwords are checked by Weir itself: declare users, or use auth_query",
            "any" => "nobody is let in under any name: declare users",
            "trust" => {
                "only clients of this machine are trusted (trust_loopback), and only where the listener is bound to loopback"
            }
            "plain" | "md5" if self.global.contains_key("auth_type") => {
                "clients log in with SCRAM-SHA-256, which every driver of the last years knows"
            }
            _ => return,
        };
        let verdict = if matches!(kind, "plain" | "md5") {
            "differs"
        } else {
            "no equivalent"
        };
        self.report()
            .note(&place, &format!("auth_type = {kind}"), verdict, text);
    }

    /// Names that are given rights or limits, and are no user of `auth_file`.
    fn unknown_names(&mut self, known: &[&str]) {
        for setting in ["admin_users", "stats_users"] {
            let names: Vec<String> = self
                .setting(setting)
                .map(|names| list(names).map(str::to_owned).collect())
                .unwrap_or_default();
            for name in names.iter().filter(|name| !known.contains(&name.as_str())) {
                let place = self.place(setting);
                let text = format!("{name} is not in auth_file: declare it in users, with a password");
                self.report().note(&place, setting, "left out", text);
            }
        }
        let ini = self.ini;
        for entry in ini
            .section("users")
            .filter(|entry| !known.contains(&entry.key.as_str()))
        {
            let text = "not in auth_file: its limits have no user to belong to";
            self.report().note(&entry.place, &entry.key, "left out", text);
        }
    }
}
