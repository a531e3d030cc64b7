//! One process follows another without anybody noticing: `--takeover`, `weir restart`.
//!
//! The process that serves keeps a control socket (`place`, `seat`). A successor gets ready, asks there for the listening
//! sockets, which both have open for a moment (`predecessor`), and accepts before the old process stops to: no connection
//! attempt is refused. The old process then finishes with its clients. As long as both live they stay in touch (`kin`):
//! cancel requests find their client in whichever it is, clients at rest go on in the new one (`clients`), the limits on server connections hold for both together
//! (`budget`), and so does what administrators have made of the sources (`standing`).
//!
//! What goes over the socket is `message` inside of `frame`, both pure; `channel` moves it with its descriptors. Whatever
//! goes wrong with a successor before it serves leaves the old process as it was.

mod budget;
mod channel;
mod clients;
mod frame;
mod kin;
mod limits;
mod message;
pub(crate) mod place;
mod predecessor;
pub(crate) mod restart;
mod seat;
mod standing;

pub(super) use budget::Budget;
pub(super) use clients::Annexes;
pub(super) use kin::Kin;
pub(super) use predecessor::Predecessor;
pub(super) use seat::{Offer, Seat, Wish, some_names};
pub(super) use standing::Standings;
