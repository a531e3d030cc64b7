//! From a Hasura-style metadata directory to typed, validated settings.
//!
//! [`load`] reads a directory or file and returns [`Loaded`]: everything that can be run, and every problem with file,
//! line and column. It never fails as a whole: a source that is wrong makes itself inconsistent and nothing else.
//!
//! # What is understood
//!
//! Hasura's own keys, as far as sources go: `name`, `kind`, `configuration` (`connection_info`, `read_replicas`,
//! `connection_set`, `connection_template`, `extensions_schema`), `health_check`, `customization` and `query_tags`
//! (checked only); `tables`, `functions` and what else describes the GraphQL API is tolerated, whatever is in it.
//!
//! The gateway's own settings, in `gateway.yaml` beside `databases/`, or under `configuration.gateway`. See
//! [`gateway.yaml`](#gatewayyaml).
//!
//! Hasura's `opentelemetry.yaml`: where traces and metrics are sent.
//!
//! # Precedence
//!
//! First match wins: environment variable; the source's entry in `gateway.yaml`; `configuration.gateway`; Hasura's own
//! key; the address's own parameter (`connect_timeout`); `defaults` of `gateway.yaml`; built-in default.
//! `max_connections` and `total_max_connections` go together: the first place that has either decides, and there the total
//! wins. Replicas and connection sets have their own pools: sizes set for the source are those of the primary.
//!
//! # `gateway.yaml`
//!
//! ```yaml
//! version: 1
//! listeners:                        # default: one per protocol, 0.0.0.0:6432 and 0.0.0.0:14330
//!   - name: pg
//!     kind: postgres                # or mssql
//!     host: 0.0.0.0                 # WEIR_PG_LISTEN=host:port and WEIR_MSSQL_LISTEN win
//!     port: 6432
//!     unix_socket_dir: /run/weir    # postgres only
//!     max_client_connections: 5000
//!     proxy_protocol: false
//!     trust_loopback: false         # clients from this machine need no password
//!     ssl_configuration: {sslmode: require, sslcert: {from_env: CERT}, sslkey: {from_env: KEY}}
//! defaults:                         # any key of `sources` except name, database_names and configuration
//!   query_timeout: 60
//!   max_client_connections: 5000    # of the whole process when it stands here
//! users:                            # none, and no auth_query: loopback only, and trusted
//!   - name: app
//!     password: {from_env: APP_PASSWORD}   # clear, a SCRAM verifier, or {dynamic_from_file: /path}
//!     certificate: true             # or the CN: log in by client certificate
//!     sources: [orders]             # or "*"
//!     role: user
//!     read_only: false
//!     pool_mode: transaction
//!     query_timeout: 30
//!     pool_timeout: 5
//!     max_client_connections: 100
//!     max_connections: 10
//! sources:
//!   - name: orders                  # a source of databases.yaml
//!     database_names: [orders, orders_rw]
//!     configuration: {}             # replaces parts of the source's own configuration, key by key
//!     pool_settings: {max_connections: 40, min_connections: 2, overflow_connections: 0, idle_timeout: 180, retries: 1,
//!                     pool_timeout: 15, connection_lifetime: 600, pool_mode: transaction, max_prepared_statements: 200}
//!     connect_timeout: 15
//!     query_timeout: 60
//!     idle_in_transaction_timeout: 300
//!     transaction_timeout: 600
//!     client_idle_timeout: 3600
//!     read_replica_routing: none    # read-only-transactions, read-only-statements
//!     session_state: follow         # reset
//!     sequence_functions: learn     # pin, forget
//!     session_functions: learn      # pin, forget
//!     pin_notice: false             # tell clients that they keep their server connection, and why
//!     server_reset: auto            # always, never
//!     application_name: orders
//!     startup_parameters: {search_path: app}
//!     max_client_connections: 500
//!     auth_query: {query: "SELECT ... WHERE usename = $1", user_database_url: {from_env: AUTH_URL}}
//!     ssl_configuration: {sslmode: verify-full, sslrootcert: {from_env: CA}}
//!     health_check: {interval: 15}
//!     caching: {disabled: true}
//! admin: {host: 127.0.0.1, port: 8080, admin_secret: {from_env: SECRET}}
//! ```
//!
//! Every scalar may be `{from_env: NAME}`; secrets may also be `{dynamic_from_file: /path}`.
//!
//! # What this crate must not know
//!
//! Sockets, protocols, tokio. All of the environment comes through [`Environment`].
#![forbid(unsafe_code)]

mod address;
mod admin;
mod context;
pub mod document;
pub mod environment;
mod fields;
mod files;
mod gateway_file;
mod health_check;
pub mod keys;
mod layer;
mod layout;
mod libpq;
pub mod limits;
mod listeners;
mod load;
pub mod model;
mod odbc;
mod password;
mod pool;
pub mod problem;
mod quote;
pub mod reference;
mod scalars;
mod source;
mod suggest;
mod telemetry;
mod tls;
mod users;
mod words;
mod yaml;

pub use environment::{Environment, ProcessEnvironment};
pub use libpq::AddressError;
pub use load::{load, load_changed, load_document};
pub use model::*;
pub use odbc::ConnectionStringError;
pub use problem::{Place, Problem, Severity, Subject};
