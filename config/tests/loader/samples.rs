//! The five sample directories of the metadata specification.

use std::time::Duration;

use weir_config::*;

use crate::common::*;

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----";
const KEY: &str = "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----";

#[test]
fn minimal() {
    let env = [("ORDERS_DATABASE_URL", "postgres://orders:pw@db.internal/orders")];
    for path in [
        "1-minimal",
        "1-minimal/metadata",
        "1-minimal/metadata/databases/databases.yaml",
    ] {
        let loaded = load(&sample(path), &env, true);
        assert_eq!(problems(&loaded), "", "{path}");
        let orders = postgres(&loaded, "orders");
        assert_eq!(orders.primary.pool.max_connections, 40);
        assert_eq!(
            orders.primary.pool.origins.of("max_connections"),
            "databases/databases.yaml:11:26"
        );
        assert_eq!(orders.primary.isolation_level, Some(IsolationLevel::ReadCommitted));
        assert!(orders.primary.use_prepared_statements);
        assert_eq!(orders.primary.label, "ORDERS_DATABASE_URL");
        assert_eq!(
            endpoint(&loaded, "orders").to_string(),
            "postgres://orders@db.internal:5432/orders"
        );
    }
    let loaded = load(&sample("1-minimal"), &[("OTHER", "x"); 1], false);
    assert_eq!(
        problems(&loaded),
        "databases/databases.yaml:6:9: error: environment variable 'ORDERS_DATABASE_URL' not set\n"
    );
    assert_eq!(
        loaded.metadata.inconsistent,
        [InconsistentSource {
            name: "orders".to_owned(),
            kind: Some(SourceKind::Postgres),
            database_names: vec!["orders".to_owned()],
            reason: "databases/databases.yaml:6:9: environment variable 'ORDERS_DATABASE_URL' not set".to_owned(),
        }]
    );
}

#[test]
fn postgres_full() {
    let env = [
        ("HASURA_GRAPHQL_DYNAMIC_SECRETS_ALLOWED_PATH_PREFIX", "/run/secrets"),
        ("LEDGER_CA_PEM", CERTIFICATE),
        ("LEDGER_CLIENT_CERT_PEM", CERTIFICATE),
        ("LEDGER_CLIENT_KEY_PEM", KEY),
        ("LEDGER_CLIENT_KEY_PASSPHRASE", "open sesame"),
        ("LEDGER_REPLICA_A_URL", "postgres://ro:pw@replica-a/ledger"),
        ("LEDGER_EU_URL", "postgres://app:pw@eu:6000/ledger?connect_timeout=7"),
    ];
    let loaded = load(&sample("2-postgres-full"), &env, true);
    assert_eq!(
        problems(&loaded),
        "databases/databases.yaml:8:28: warning: dynamic_from_file: /run/secrets/ledger/primary.url cannot be read: No such file or directory (os error 2); it is read again each time it is needed\n\
         databases/databases.yaml:55:9: warning: connection_template is not supported yet: every client gets $.default, unless it connects to name@primary, name@read_replicas or name@member\n"
    );
    let ledger = postgres(&loaded, "ledger");
    let pool = &ledger.primary.pool;
    assert_eq!((pool.max_connections, pool.retries), (90, 3));
    assert_eq!(
        pool.origins.of("max_connections"),
        "databases/databases.yaml:12:32 (total_max_connections: 90)"
    );
    assert_eq!(pool.pool_timeout, Some(Duration::from_secs(20)));
    assert_eq!(pool.connection_lifetime, Some(Duration::from_secs(1800)));
    assert_eq!(ledger.primary.tls.as_ref().unwrap().mode, SslMode::VerifyFull);
    assert_eq!(ledger.read_replicas[0].pool.connection_lifetime, None);
    assert_eq!(ledger.read_replicas[1].pool, Default::default());
    let b = ledger.read_replicas[1].resolve().unwrap();
    assert_eq!(b.password.unwrap().expose(), "p@ss/word%");
    assert_eq!(
        b.hosts,
        [Host {
            name: HostName::Tcp("ledger-replica-b.internal".to_owned()),
            port: 6543,
            address: None
        }]
    );
    let (name, shard) = &ledger.connection_set[0];
    assert_eq!(
        (name.as_str(), shard.pool.max_connections, shard.pool.connect_timeout),
        ("eu_shard", 10, Duration::from_secs(7))
    );
    assert_eq!(ledger.extensions_schema, "extensions");
    assert_eq!(
        source(&loaded, "ledger").health_check,
        Some(HealthCheck {
            sql: "SELECT 1".to_owned(),
            interval: Duration::from_secs(15),
            retries: 2,
            retry_interval: Duration::from_secs(5),
            timeout: Duration::from_secs(3),
        })
    );
}

#[test]
fn sql_server() {
    let env = [(
        "ERP_ODBC",
        "Driver={ODBC Driver 17 for SQL Server};Server=tcp:erp,1433;Database=erp;Uid=sa;Pwd=x",
    )];
    let loaded = load(&sample("3-mssql"), &env, true);
    assert_eq!(problems(&loaded), "");
    let erp = mssql(&loaded, "erp");
    assert_eq!(erp.primary.isolation_level, Some(MssqlIsolationLevel::Snapshot));
    assert_eq!(erp.primary.pool.max_connections, 60);
    let replica = erp.read_replicas[0].resolve().unwrap();
    assert_eq!(
        replica.authentication,
        MssqlAuthentication::Password {
            user: "reporting".to_owned(),
            password: "a;b}c".to_owned().into()
        }
    );
    assert_eq!(
        (replica.encrypt, replica.application_intent),
        (Encrypt::Mandatory, ApplicationIntent::ReadOnly)
    );
    let hr = mssql(&loaded, "legacy_hr");
    assert_eq!(hr.primary.pooling, Pooling::PerUse);
    assert_eq!(hr.primary.pool.idle_timeout, Some(Duration::from_secs(180)));
    assert_eq!(hr.primary.resolve().unwrap().encrypt, Encrypt::Optional);
    let listeners: Vec<_> = loaded
        .metadata
        .listeners
        .iter()
        .map(|listener| (listener.kind, listener.port))
        .collect();
    assert_eq!(listeners, [(ListenerKind::Mssql, 14330)]);
}

#[test]
fn mixed() {
    let env = [
        ("CORE_DB_PASSWORD", "secret"),
        ("EVENTS_COORDINATOR_URL", "postgres://e@events/e"),
        ("ALLOYDB_URL", "postgres://a@alloy/a"),
        ("BILLING_URL", "postgres://b@billing/b"),
    ];
    let loaded = load(&sample("4-mixed"), &env, true);
    assert_eq!(problems(&loaded), "");
    let kinds: Vec<_> = loaded
        .metadata
        .sources
        .iter()
        .map(|source| (source.name.as_str(), source.kind))
        .collect();
    assert_eq!(
        kinds,
        [
            ("core", SourceKind::Postgres),
            ("events", SourceKind::Citus),
            ("global", SourceKind::Cockroach),
            ("analytics", SourceKind::Postgres),
            ("billing", SourceKind::Postgres)
        ]
    );
    let core = endpoint(&loaded, "core");
    assert_eq!(core.password.unwrap().expose(), "secret");
    assert_eq!(
        (core.ssl_mode, core.application_name.as_deref()),
        (SslMode::Require, Some("gateway"))
    );
    assert_eq!(postgres(&loaded, "analytics").primary.pool.max_connections, 30);
    assert_eq!(endpoint(&loaded, "global").password, None);
}

#[test]
fn gateway_overlay_alone() {
    let env = [
        ("GATEWAY_TLS_CERT", CERTIFICATE),
        ("GATEWAY_TLS_KEY", KEY),
        ("GATEWAY_APP_PASSWORD", "app"),
        ("HASURA_GRAPHQL_DYNAMIC_SECRETS_ALLOWED_PATH_PREFIX", "/run/secrets"),
    ];
    let loaded = load(&sample("5-gateway-overlay"), &env, false);
    assert_eq!(
        problems(&loaded),
        "databases/databases.yaml: warning: there is no such file: no source is declared\n\
         gateway.yaml:33:15: error: there is no source \"orders\" in the metadata\n\
         gateway.yaml:33:23: error: there is no source \"ledger\" in the metadata\n\
         gateway.yaml:35:35: warning: dynamic_from_file: /run/secrets/etl.pw cannot be read: No such file or directory (os error 2); it is read again each time it is needed\n\
         gateway.yaml:36:15: error: there is no source \"ledger\" in the metadata\n\
         gateway.yaml:40:15: warning: the SCRAM verifier's stored key has 6 bytes instead of 32: nobody can log in with it\n\
         gateway.yaml:40:15: warning: the SCRAM verifier's server key has 6 bytes instead of 32: nobody can log in with it\n\
         gateway.yaml:45:11: error: sources: there is no source \"ledger\" in the metadata: declare it there, or remove its entry here\n\
         gateway.yaml:53:7: warning: caching is not supported yet: every query goes to the database\n"
    );
    assert_eq!(loaded.metadata.listeners.len(), 2);
}

/// Sample 5's `gateway.yaml` over the sources of samples 1 and 2.
#[test]
fn gateway_overlay_over_its_sources() {
    let gateway = std::fs::read_to_string(sample("5-gateway-overlay/metadata/gateway.yaml")).unwrap();
    let databases = "- name: orders\n  configuration: {connection_info: {database_url: postgres://o@o/o}}\n\
                     - name: ledger\n  configuration: {connection_info: {database_url: postgres://l@l/l, pool_settings: {max_connections: 7}}}\n";
    let env = [
        ("GATEWAY_TLS_CERT", CERTIFICATE),
        ("GATEWAY_TLS_KEY", KEY),
        ("GATEWAY_APP_PASSWORD", "app"),
        ("HASURA_GRAPHQL_DYNAMIC_SECRETS_ALLOWED_PATH_PREFIX", "/run/secrets"),
    ];
    let loaded = both(databases, Some(&gateway), &env);
    assert!(!loaded.has_errors(), "{}", problems(&loaded));
    let ledger = source(&loaded, "ledger");
    assert_eq!(ledger.database_names, ["ledger", "ledger_rw"]);
    assert_eq!(ledger.timeouts.query, Some(Duration::from_secs(60)));
    assert_eq!(ledger.origins.of("query_timeout"), "gateway.yaml:24:18");
    assert_eq!(
        ledger.replica_routing,
        weir_core::settings::ReplicaRouting::ReadOnlyTransactions
    );
    let pool = &postgres(&loaded, "ledger").primary.pool;
    assert_eq!((pool.min_connections, pool.max_connections), (2, 7));
    assert_eq!(loaded.metadata.max_client_connections, Some(5000));
    let users: Vec<_> = loaded
        .metadata
        .users
        .iter()
        .map(|user| (user.name.as_str(), user.sources.clone(), user.read_only))
        .collect();
    assert_eq!(
        users,
        [
            (
                "app",
                UserSources::Named(vec!["orders".to_owned(), "ledger".to_owned()]),
                false
            ),
            ("etl", UserSources::Named(vec!["ledger".to_owned()]), false),
            ("bi", UserSources::All, true)
        ]
    );
    assert_eq!(
        loaded.metadata.listeners[0].tls.as_ref().unwrap().mode,
        ListenerTlsMode::Required
    );
    assert_eq!(
        loaded.metadata.listeners[1].tls.as_ref().unwrap().mode,
        ListenerTlsMode::Optional
    );
}
