//! From a Hasura-style metadata directory to typed, validated settings.
#![forbid(unsafe_code)]

pub mod environment;
mod libpq;
pub mod limits;
pub mod model;
mod odbc;
mod password;
pub mod problem;
mod quote;
mod suggest;
mod words;

pub use environment::{Environment, ProcessEnvironment};
pub use libpq::AddressError;
pub use model::*;
pub use odbc::ConnectionStringError;
pub use problem::{Place, Problem, Severity, Subject};
