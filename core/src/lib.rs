//! The backend-agnostic heart of Weir: pools, the relay loop, listeners, TLS, cancel requests.
//!
//! Knows no protocol and no YAML. See `backend` for the boundary and ARCHITECTURE.md for the invariants I1-I10.

pub mod admin;
mod alarm;
pub mod backend;
pub mod clock;
pub mod front;
pub mod limits;
pub mod net;
pub mod observe;
pub mod pool;
pub mod refusal;
pub mod registry;
pub mod relay;
pub mod secret;
pub mod settings;
pub mod spread;
pub mod testing;
pub mod verifier;
