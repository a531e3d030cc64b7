//! Where users of PostgreSQL listeners are looked up: `gateway.yaml`, and the database of the source that they ask for.

mod auth_query;
mod users;

pub use auth_query::AuthQuery;
pub use users::{Users, Verifiers};
pub use weir_core::front::{Account, Chain, Credentials, Grant, Lookup, UserCounts, UserPlace};
