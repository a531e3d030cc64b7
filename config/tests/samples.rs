//! The five sample directories of the metadata specification load as they should.

mod common;

use common::*;
use weir_config::*;

const LEDGER: [(&str, &str); 8] = [
    ("HASURA_GRAPHQL_DYNAMIC_SECRETS_ALLOWED_PATH_PREFIX", "/run/secrets"),
    ("LEDGER_CA_PEM", "-----BEGIN CERTIFICATE-----"),
    ("LEDGER_CLIENT_CERT_PEM", "-----BEGIN CERTIFICATE-----"),
    ("LEDGER_CLIENT_KEY_PEM", "-----BEGIN PRIVATE KEY-----"),
    ("LEDGER_CLIENT_KEY_PASSPHRASE", "open sesame"),
    ("LEDGER_REPLICA_A_URL", "postgres://ro:pw@replica-a/ledger"),
    ("LEDGER_EU_URL", "postgres://app:pw@eu:6000/ledger?connect_timeout=7"),
    ("GATEWAY_APP_PASSWORD", "app"),
];

#[test]
fn print_all() {
    for name in [
        "1-minimal",
        "2-postgres-full",
        "3-mssql",
        "4-mixed",
        "5-gateway-overlay",
    ] {
        let loaded = load(&sample(name), &LEDGER, false);
        println!("== {name}\n{}\n{:#?}", problems(&loaded), loaded.metadata);
    }
}
