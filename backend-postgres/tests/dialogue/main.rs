//! Conversations over a model of PostgreSQL: each rule of the specification by its number, known bugs of other poolers,
//! random pipelines compared with a direct connection, hostile bytes.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, dead_code)]

mod gateway;
mod heal;
mod hostile;
mod messages;
mod model;
mod random;
mod rules;
mod sql_prepare;
