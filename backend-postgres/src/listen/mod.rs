//! The shared listener: one server connection for each endpoint of a source hears what all of its listening clients wait
//! for (specification S7.10), so that LISTEN ties nobody to a server connection.
//!
//! `registry` knows who listens to what, `listener` what waits for whom, `hub` lends it to the clients' conversations, `line`
//! reads and writes the shared connection's bytes; all four are pure. `task` opens the connection while somebody wants
//! it, and moves its bytes.
//!
//! The invariant behind it: notifications stand in one order for the whole server, the order of its queue. Where a
//! client's own connection stops and the shared one takes over is marked by a notification that both hear: what stands
//! before the mark comes from the one, what stands behind it from the other. So nothing is lost or told twice, and
//! nothing has to be compared.

mod hub;
mod line;
mod listener;
mod registry;
#[cfg(test)]
mod simulation;
mod task;

pub use self::hub::Hub;
pub(crate) use self::{
    hub::{Mark, Member},
    line::{Notification, quote_all},
    listener::{CutOver, Readable, Standing, Taken},
    registry::{Channel, MARK_PREFIX},
    task::Listener,
};
