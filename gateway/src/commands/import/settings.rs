//! Each of PgBouncer's settings and what becomes of it: the table that the import goes by, and that
//! docs/migrate-from-pgbouncer.md shows (a test holds the two together).

/// What becomes of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is carried over.
    Carried,
    /// It is carried over, and means something a little different.
    Differs,
    /// What it was for happens anyway, or there is nothing to set.
    NotNeeded,
    /// There is nothing like it.
    Lost,
}

impl Fate {
    /// As the report and the document say it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Fate::Carried => "carried over",
            Fate::Differs => "differs",
            Fate::NotNeeded => "not needed",
            Fate::Lost => "no equivalent",
        }
    }
}

/// A setting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    pub(super) name: &'static str,
    pub(super) fate: Fate,
    /// Weir's word for it, if any, and what there is to know, in Markdown.
    pub(super) here: &'static str,
}

const fn carried(name: &'static str, here: &'static str) -> Setting {
    Setting {
        name,
        fate: Fate::Carried,
        here,
    }
}

const fn differs(name: &'static str, here: &'static str) -> Setting {
    Setting {
        name,
        fate: Fate::Differs,
        here,
    }
}

const fn not_needed(name: &'static str, here: &'static str) -> Setting {
    Setting {
        name,
        fate: Fate::NotNeeded,
        here,
    }
}

const fn lost(name: &'static str, here: &'static str) -> Setting {
    Setting {
        name,
        fate: Fate::Lost,
        here,
    }
}

/// `[pgbouncer]`
pub(super) const PGBOUNCER: &[Setting] = &[
    carried("listen_addr", "`listeners[].host`, one listener for each address"),
    carried("listen_port", "`listeners[].port`"),
    carried(
        "unix_socket_dir",
        "`listeners[].unix_socket_dir`; a socket in the abstract namespace (`@…`) is left out",
    ),
    lost("unix_socket_mode", "the process's umask decides"),
    lost("unix_socket_group", "the process's group decides"),
    not_needed("user", "start it as the user that it shall run as (`User=` of systemd)"),
    carried(
        "pool_mode",
        "`pool_settings.pool_mode`. PgBouncer's default is `session`, Weir's is `transaction`, which carries session state over: try it",
    ),
    carried("max_client_conn", "`defaults.max_client_connections`"),
    differs(
        "default_pool_size",
        "`pool_settings.max_connections`: for a source as a whole, not for each user of it",
    ),
    carried("min_pool_size", "`pool_settings.min_connections`"),
    carried("reserve_pool_size", "`pool_settings.overflow_connections`"),
    lost(
        "reserve_pool_timeout",
        "overflow connections are used after half a second",
    ),
    differs(
        "max_db_connections",
        "`pool_settings.max_connections`, which is hard and for all users of the source",
    ),
    carried("max_db_client_connections", "`sources[].max_client_connections`"),
    carried("max_user_connections", "`users[].max_connections`"),
    carried("max_user_client_connections", "`users[].max_client_connections`"),
    lost(
        "server_round_robin",
        "the connection that was used last is used first, so that the others can be closed",
    ),
    not_needed("track_extra_parameters", "every parameter follows its client"),
    not_needed(
        "ignore_startup_parameters",
        "no start-up parameter is refused; those that PostgreSQL knows are set",
    ),
    lost(
        "peer_id",
        "cancel requests find their client in one process; several processes need a balancer that keeps a client's address",
    ),
    lost("disable_pqexec", "there is no filter on statements"),
    lost(
        "application_name_add_host",
        "`SHOW CLIENTS` tells where each client comes from",
    ),
    not_needed("conffile", "the directory is an argument of `weir serve`"),
    not_needed("service_name", "of Windows"),
    not_needed("job_name", "of Windows"),
    not_needed("stats_period", "metrics are counters; rates are the reader's"),
    differs(
        "max_prepared_statements",
        "`pool_settings.max_prepared_statements`, which keeps statements prepared; 0 does not switch the support off",
    ),
    not_needed("scram_iterations", "no verifier is made"),
    carried(
        "auth_type",
        "`md5`, `scram-sha-256`, `plain`: clients log in with SCRAM-SHA-256; `cert`: `certificate: true`; `trust`: `trust_loopback` where the listener is bound to loopback; `hba`, `pam`, `ldap`, `any`: no equivalent",
    ),
    lost(
        "auth_hba_file",
        "users have `sources`; addresses belong into a firewall",
    ),
    lost(
        "auth_ident_file",
        "`users[].certificate` names the CN of a user's certificate",
    ),
    lost("auth_ldap_options", "`auth_query`, or users with passwords"),
    lost("auth_pam_confdir", "`auth_query`, or users with passwords"),
    lost("auth_pam_service", "`auth_query`, or users with passwords"),
    carried(
        "auth_file",
        "`users`, with their secrets in files of their own. An md5 hash cannot be used",
    ),
    carried("auth_user", "`auth_query.user_database_url`"),
    carried(
        "auth_query",
        "`auth_query.query`; without it the built-in one, which is the same",
    ),
    carried("auth_dbname", "the database of `auth_query.user_database_url`"),
    carried("admin_users", "`users[].role: admin`"),
    carried("stats_users", "`users[].role: stats`"),
    differs(
        "server_reset_query",
        "`server_reset: auto` puts back what was touched; an empty query is `never`; another one has no equivalent",
    ),
    carried("server_reset_query_always", "`server_reset: always`"),
    not_needed(
        "server_check_query",
        "a connection that the server closed is noticed when it is closed",
    ),
    not_needed("server_check_delay", "as `server_check_query`"),
    lost("server_fast_close", "a session ends when its client does"),
    carried("server_lifetime", "`pool_settings.connection_lifetime`"),
    carried("server_idle_timeout", "`pool_settings.idle_timeout`"),
    carried("server_connect_timeout", "`pool_settings.connect_timeout`"),
    not_needed(
        "server_login_retry",
        "attempts back off by themselves; `pool_settings.retries` says after how many the waiters are told",
    ),
    not_needed("client_login_timeout", "a login has 15 s"),
    not_needed("autodb_idle_timeout", "there are no automatic databases"),
    not_needed("pool_idle_timeout", "a pool without connections costs nothing"),
    differs(
        "query_timeout",
        "`query_timeout`: the statement is cancelled and the client stays, instead of being disconnected",
    ),
    differs(
        "query_wait_timeout",
        "`pool_settings.pool_timeout`: the statement fails with 53300 and the client stays, instead of being disconnected",
    ),
    lost("query_wait_notify", "`SHOW WAITS` and the metrics tell who waits"),
    lost(
        "login_notify_message",
        "nothing is said to clients that they did not ask for",
    ),
    not_needed("cancel_wait_timeout", "a cancel request has 10 s"),
    carried("client_idle_timeout", "`client_idle_timeout`"),
    differs(
        "idle_transaction_timeout",
        "`idle_in_transaction_timeout`: the transaction is rolled back and the client stays, instead of being disconnected",
    ),
    differs(
        "transaction_timeout",
        "`transaction_timeout`: the transaction is rolled back and the client stays",
    ),
    not_needed(
        "suspend_timeout",
        "there is no SUSPEND; `weir restart` hands the listeners over",
    ),
    carried("client_tls_sslmode", "`listeners[].ssl_configuration.sslmode`"),
    carried("client_tls_key_file", "`listeners[].ssl_configuration.sslkey`, copied"),
    carried(
        "client_tls_cert_file",
        "`listeners[].ssl_configuration.sslcert`, copied",
    ),
    carried(
        "client_tls_ca_file",
        "`listeners[].ssl_configuration.sslrootcert`, copied",
    ),
    not_needed("client_tls_protocols", "TLS 1.2 and 1.3"),
    lost("client_tls_ciphers", "rustls' own, which are all sound"),
    lost("client_tls13_ciphers", "rustls' own, which are all sound"),
    lost("client_tls_ecdhcurve", "rustls' own"),
    lost("client_tls_dheparams", "there is no finite-field Diffie-Hellman"),
    carried("server_tls_sslmode", "`defaults.ssl_configuration.sslmode`"),
    carried("server_tls_key_file", "`defaults.ssl_configuration.sslkey`, copied"),
    carried("server_tls_cert_file", "`defaults.ssl_configuration.sslcert`, copied"),
    carried("server_tls_ca_file", "`defaults.ssl_configuration.sslrootcert`, copied"),
    not_needed("server_tls_protocols", "TLS 1.2 and 1.3"),
    lost("server_tls_ciphers", "rustls' own, which are all sound"),
    lost("server_tls13_ciphers", "rustls' own, which are all sound"),
    not_needed(
        "logfile",
        "log lines go to standard error; systemd or the container keeps them",
    ),
    not_needed("pidfile", "systemd is notified instead (`Type=notify`)"),
    not_needed("syslog", "systemd's journal takes standard error"),
    not_needed("syslog_ident", "as `syslog`"),
    not_needed("syslog_facility", "as `syslog`"),
    not_needed("log_connections", "at the level `debug`"),
    not_needed("log_disconnections", "at the level `debug`"),
    not_needed("log_pooler_errors", "refusals are always logged"),
    not_needed("log_stats", "metrics"),
    not_needed("verbose", "`--log-level debug`"),
    not_needed(
        "dns_max_ttl",
        "names are looked up for each new connection, by the system",
    ),
    not_needed("dns_nxdomain_ttl", "as `dns_max_ttl`"),
    not_needed("dns_zone_check_period", "as `dns_max_ttl`"),
    not_needed("resolv_conf", "the system's"),
    not_needed("pkt_buf", "a client owns no buffer while it is idle"),
    not_needed(
        "max_packet_size",
        "messages stream; what has to be kept whole is bounded",
    ),
    not_needed("listen_backlog", "4096, or what the system allows"),
    not_needed("sbuf_loopcnt", "clients take turns"),
    not_needed(
        "so_reuseport",
        "one process uses all cores; `weir restart` replaces it without a gap",
    ),
    not_needed("tcp_defer_accept", "logins have a time limit"),
    not_needed("tcp_socket_buffer", "the system's"),
    not_needed("tcp_keepalive", "always on"),
    not_needed("tcp_keepcnt", "fixed"),
    not_needed("tcp_keepidle", "fixed"),
    not_needed("tcp_keepintvl", "fixed"),
    not_needed("tcp_user_timeout", "fixed"),
];

/// The words of a line of `[databases]`.
pub(super) const DATABASE: &[Setting] = &[
    carried("dbname", "the address' database"),
    carried(
        "host",
        "the address' host; those of a list are tried in order, not in turn",
    ),
    carried("port", "the address' port"),
    carried("user", "the role of the source"),
    carried("password", "its password, in a file"),
    carried("auth_user", "`auth_query.user_database_url`"),
    carried("auth_query", "`auth_query.query`"),
    carried("auth_dbname", "the database of `auth_query.user_database_url`"),
    carried("pool_size", "`pool_settings.max_connections`"),
    carried("min_pool_size", "`pool_settings.min_connections`"),
    carried("reserve_pool_size", "`pool_settings.overflow_connections`"),
    carried("reserve_pool", "its older name"),
    lost(
        "connect_query",
        "`startup_parameters` set parameters; a query is not run",
    ),
    carried("pool_mode", "`pool_settings.pool_mode`"),
    lost(
        "load_balance_hosts",
        "the hosts of a list are tried in order; a `database_url` with `load_balance_hosts=random` takes turns",
    ),
    carried("max_db_connections", "`pool_settings.max_connections`"),
    carried("max_db_client_connections", "`sources[].max_client_connections`"),
    carried("server_lifetime", "`pool_settings.connection_lifetime`"),
    carried("client_encoding", "`startup_parameters`"),
    carried("datestyle", "`startup_parameters`"),
    carried("timezone", "`startup_parameters`"),
    carried("application_name", "`application_name`"),
];

/// The words of a line of `[users]`.
pub(super) const USER: &[Setting] = &[
    lost(
        "pool_size",
        "a source has one pool for all users; `users[].max_connections` bounds this one's part",
    ),
    lost("reserve_pool_size", "of the source"),
    carried("pool_mode", "`users[].pool_mode`"),
    carried("max_user_connections", "`users[].max_connections`"),
    carried("max_user_client_connections", "`users[].max_client_connections`"),
    carried("query_timeout", "`users[].query_timeout`"),
    lost("idle_transaction_timeout", "of the source"),
    lost("transaction_timeout", "of the source"),
    lost("client_idle_timeout", "of the source"),
];

/// A setting of one of the tables.
pub(super) fn find(table: &'static [Setting], name: &str) -> Option<&'static Setting> {
    table.iter().find(|setting| setting.name.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    /// `WEIR_UPDATE_DOCS=1 cargo test -p weir --bin weir migrat` writes the tables.
    #[test]
    fn the_migration_document_has_every_setting() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/migrate-from-pgbouncer.md");
        let mut document = fs::read_to_string(&path).unwrap();
        let before = document.clone();
        for (name, table) in [("pgbouncer", PGBOUNCER), ("databases", DATABASE), ("users", USER)] {
            let mut rows = String::from("| PgBouncer | | Weir |\n|---|---|---|\n");
            for setting in table {
                rows.push_str(&format!(
                    "| `{}` | {} | {} |\n",
                    setting.name,
                    setting.fate.word(),
                    setting.here
                ));
            }
            let start = document.find(&format!("<!-- {name} -->\n")).unwrap() + name.len() + 10;
            let end = document.find(&format!("<!-- /{name} -->")).unwrap();
            document.replace_range(start..end, &rows);
        }
        if std::env::var_os("WEIR_UPDATE_DOCS").is_some() {
            fs::write(&path, document).unwrap();
        } else {
            assert!(
                before == document,
                "stale; WEIR_UPDATE_DOCS=1 cargo test -p weir --bin weir migrat"
            );
        }
    }

    #[test]
    fn no_setting_is_twice_in_a_table() {
        for table in [PGBOUNCER, DATABASE, USER] {
            for (position, setting) in table.iter().enumerate() {
                assert!(
                    table[..position].iter().all(|other| other.name != setting.name),
                    "{}",
                    setting.name
                );
            }
        }
    }
}
