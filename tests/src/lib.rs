//! Harness of the end-to-end tests: private PostgreSQL clusters, the gateway as a process, a byte-exact client, a fault
//! proxy and the answer oracle.
//!
//! A black box on purpose: it knows the gateway by its command line, its files and its sockets, and links none of its
//! crates. With `WEIR_TEST_DIRECT=1` the tests talk to PostgreSQL itself, which checks the tests.

// A harness that cannot go on has found a failure: it says what and panics.
#![allow(clippy::unwrap_used)]

pub mod activity;
pub mod certificates;
pub mod clock;
pub mod cluster;
pub mod exactness;
pub mod fault_proxy;
pub mod gateway;
pub mod http;
pub mod metadata;
pub mod mssql;
pub mod oracle;
pub mod otlp;
pub mod process;
pub mod prometheus;
pub mod random;
pub mod site;
pub mod standby;
pub mod transcript;
pub mod turn;
pub mod wire;
