//! The loader from outside: files and environment in, settings and problems out.
#![allow(missing_docs, clippy::unwrap_used)]

mod addresses;
mod common;
mod examples;
mod gateway_yaml;
mod includes;
mod layouts;
mod listeners;
mod mssql;
mod pools;
mod properties;
mod samples;
mod sources;
mod telemetry;
mod users;
