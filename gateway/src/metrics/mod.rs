//! What Weir tells monitoring systems: every metric in one table, gathered when somebody asks, written as Prometheus reads
//! it.
//!
//! Invariants: gathering reads counters that are there anyway, and never waits for the data plane; nothing in a metric is
//! secret, and no label is something that a client may make up (user names, application names, SQL). A metric is in
//! [`TABLE`], or it does not exist; docs/metrics.md explains each one of the table.

mod gather;
mod process;
mod samples;
mod table;
mod text;

pub(crate) use gather::{Inputs, gather};
pub(crate) use samples::{Sample, Samples, Value};
pub(crate) use table::{Family, Kind, TABLE};
pub(crate) use text::{Format, write};
