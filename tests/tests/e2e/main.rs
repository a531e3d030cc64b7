//! End-to-end tests: real clients, the real gateway, real PostgreSQL servers.
//!
//! One binary, because linking costs more than running. `WEIR_TEST_DIRECT=1` leaves the gateway out, which checks the
//! tests themselves; those that ask for something only a gateway does are skipped then.

#![allow(clippy::unwrap_used)]

mod admin_roles;
mod admin_verbs;
mod administered;
mod affinity;
mod canaries;
mod cancel;
mod command_line;
mod console;
mod demo;
mod drivers;
mod faults;
mod golden;
mod harness;
mod hasura_cli;
mod http;
mod isolation;
mod leaks;
mod leaving;
mod libpq;
mod limits_and_timeouts;
mod listen;
mod memory;
mod metadata_api;
mod metrics;
mod mssql_addresses;
mod mssql_console;
mod mssql_drivers;
mod mssql_gateway;
mod mssql_leaks;
mod mssql_linger;
mod mssql_login;
mod mssql_old;
mod mssql_oracle;
mod mssql_profiles;
mod mssql_scripts;
mod mssql_stand_in;
mod mssql_stand_in_dialect;
mod mssql_stand_in_protocol;
mod oracle;
mod orm;
mod page;
mod pgbench;
mod pins;
mod pool;
mod reload;
mod reload_load;
mod replicas;
mod secrets;
mod security;
mod session_state;
mod sql_prepare;
mod sqlsmith;
mod startup;
mod stopping;
mod takeover;
mod takeover_mssql;
mod takeover_standing;
mod telemetry;
