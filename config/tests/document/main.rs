//! The metadata as one document: read from every layout, changed, and written back with what nobody touched untouched.

#![allow(clippy::unwrap_used)]

mod common;
mod example;
mod layouts;
mod operations;
mod properties;
mod writing;
