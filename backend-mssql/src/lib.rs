//! SQL Server sources. This version reads and validates their metadata and can check that they are reachable; it does
//! not serve them to clients yet.
//!
//! Invariant: nothing here is on a data path. The TDS protocol of the data path will be code of our own, because the
//! driver used here neither hands its TLS session over nor sends the reset bit.

#![forbid(unsafe_code)]

pub mod dialogue;
pub mod limits;
pub mod login;
pub mod probe;
pub mod refusals;
pub mod session;
pub mod settings;
pub mod wire;

pub use probe::{Probe, probe};

/// What the operator and the clients of a SQL Server source are told.
pub const NOT_SERVED: &str = "this version validates SQL Server sources and `weir check --connect` reaches them, but `weir serve` does not serve them yet";
