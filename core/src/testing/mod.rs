//! For tests only: a toy backend, the contract that every backend's dialogue has to keep, a gateway without sockets, and a rig
//! for dialogues.
//!
//! The toy is the measure of the boundary: it fits in a hundred lines and needs nothing of `core` that a real backend
//! does not (docs/adding-a-backend.md walks through it).

pub mod contract;
pub mod gateway;
pub mod rig;
pub mod toy;
pub mod toy_server;
