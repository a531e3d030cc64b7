//! Where clients connect.

use super::{Converter, Map, Yaml, list};

impl Converter<'_> {
    pub(super) fn listeners(&mut self) -> Vec<Yaml> {
        let port = self.setting("listen_port").unwrap_or("6432");
        let socket = self.socket();
        let tls = self.client_tls();
        let mut hosts: Vec<&str> = self
            .setting("listen_addr")
            .map(|hosts| list(hosts).collect())
            .unwrap_or_default();
        if hosts.is_empty() {
            let place = self.place("listen_addr");
            let text = "there is always a TCP listener: it is bound to 127.0.0.1";
            self.report().note(&place, "listen_addr", "not set", text);
            hosts.push("127.0.0.1");
        }
        if hosts.contains(&"*") {
            let place = self.place("listen_addr");
            let text = "* is every address of IPv4 here; a listener on :: takes IPv6";
            self.report().note(&place, "listen_addr", "differs", text);
            hosts = vec!["*"];
        }
        let trusts = self.setting("auth_type") == Some("trust");
        let mut listeners = Vec::new();
        for (position, host) in hosts.iter().enumerate() {
            let name = if position == 0 {
                "postgres".to_owned()
            } else {
                format!("postgres-{}", position + 1)
            };
            let mut listener: Map = vec![
                ("name".to_owned(), Yaml::text(name)),
                ("kind".to_owned(), Yaml::text("postgres")),
                ("host".to_owned(), Yaml::text(*host)),
                ("port".to_owned(), Yaml::plain(port)),
            ];
            if let Some(socket) = socket.as_ref().filter(|_| position == 0) {
                listener.push(("unix_socket_dir".to_owned(), Yaml::text(socket)));
            }
            if let Some(tls) = &tls {
                listener.push(("ssl_configuration".to_owned(), Yaml::Map(tls.clone())));
            }
            if trusts {
                listener.push(("trust_loopback".to_owned(), Yaml::plain(true)));
            }
            listeners.push(Yaml::Map(listener));
        }
        listeners
    }

    /// PgBouncer opens one in /tmp unless it is told otherwise.
    fn socket(&mut self) -> Option<String> {
        let folder = self
            .global
            .get("unix_socket_dir")
            .map_or("/tmp", |entry| entry.value.as_str());
        if folder.starts_with('@') {
            let place = self.place("unix_socket_dir");
            self.report().note(
                &place,
                "unix_socket_dir",
                "no equivalent",
                "a socket in the abstract namespace: left out",
            );
            return None;
        }
        Some(folder.to_owned()).filter(|folder| !folder.is_empty())
    }

    fn client_tls(&mut self) -> Option<Map> {
        let mode = self.setting("client_tls_sslmode").filter(|mode| *mode != "disable")?;
        Some(self.tls("client_tls", mode, "client"))
    }
}
