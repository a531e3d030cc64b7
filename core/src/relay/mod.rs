//! One client's life: its bytes to whichever server connection it holds, the answers back, until one of them goes.
//!
//! One task per client, one loop for every backend. The loop reads into a scratch buffer of its worker thread, lets the
//! dialogue judge, and writes: one read and one write per direction and round trip, nothing allocated when nothing is
//! split or slow. It reads a side only while the other side takes what was read, so memory per client is bounded by one
//! scratch buffer each way, and two sides that both stopped reading cannot block each other (S4.3).
//!
//! Knows nothing of protocols: the dialogue says where messages end, when a server connection is needed and what to
//! answer in its place.

mod asking;
mod cancel;
mod course;
mod events;
mod lane;
mod moving;
mod parting;
mod pump;
mod recovery;
mod scratch;
mod timers;
mod waiting;

use std::{future::poll_fn, sync::Arc};

use self::{
    cancel::Cancel,
    course::Course,
    lane::{Lane, Toward},
    timers::{Expired, Watch},
    waiting::Waiting,
};
use crate::{
    alarm::Alarm,
    backend::{Backend, PinNews, PinReason},
    front::{self, Client, Identity, Registration, Rung, Share, Successor, Terms},
    pool::{Lease, engine::Mark},
    refusal::Refusal,
    registry::Route,
};

/// Serves a client until it leaves or has to.
///
/// Not an `async fn`, and with rare stages in boxes: what an idle client costs is the size of this future (I8, M1).
pub fn serve<B: Backend>(client: Client<B>) -> impl std::future::Future<Output = ()> + Send {
    let mut life = Life::new(client);
    async move {
        tracing::debug!(client = %life.identity, "client connected");
        let ending = life.run().await;
        tracing::debug!(client = %life.identity, reason = ending.reason(), "client disconnected");
        Box::pin(life.end(ending)).await;
    }
}

/// How a client's life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// It said good-bye.
    Goodbye,
    /// Its connection broke or was closed.
    Vanished,
    /// It has been told why.
    Told(&'static str),
    /// Another process goes on with it.
    HandedOver,
}

/// What needs more than moving bytes.
enum Event {
    Inbox(front::Event),
    /// There is no server connection for what the client wants.
    Unserved(Box<Refusal>),
    Finish,
    ClientGone,
    ClientFault(&'static str),
    ServerGone(&'static str),
    Expired(Expired),
    /// A transaction ended while a drain was asked for.
    Drained,
    /// The client has been told why it cannot stay.
    Told(&'static str),
    /// Another process takes clients, and this one is at rest.
    MayMove,
}

/// Whether bytes of the client wait unjudged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    /// No, or only the head of an incomplete message.
    Nothing,
    /// They deserve another look.
    Again,
    /// The server has to answer first.
    UntilAnswered,
}

/// Whether the client may begin another transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Prospect {
    Open,
    Draining(front::Farewell),
}

/// A server connection in the client's hands.
struct Attached<B: Backend> {
    lease: Lease<B>,
    /// Of what its user may hold; given back with the lease.
    _share: Option<Share>,
    course: Course,
}

/// Tells the log when a client begins or ceases to keep its server connection between transactions. Without the
/// statement: it is the client's.
fn log_pin(news: PinNews, client: &Identity) {
    match news {
        // By configuration or by the protocol, not by what the client did.
        PinNews::Begun(PinReason::SessionMode | PinReason::Replication)
        | PinNews::Over(PinReason::SessionMode | PinReason::Replication) => {}
        PinNews::Begun(reason) => {
            tracing::info!(%client, reason = reason.as_str(), "client keeps its server connection");
        }
        PinNews::Over(reason) => {
            tracing::info!(%client, reason = reason.as_str(), "client needs its server connection no more");
        }
    }
}

struct Life<B: Backend> {
    io: B::ClientIo,
    dialogue: B::Dialogue,
    route: Route<B>,
    profile: B::Profile,
    terms: Terms,
    registration: Registration,
    identity: Identity,
    to_client: Lane,
    to_server: Lane,
    held: Held,
    attached: Option<Attached<B>>,
    waiting: Option<Waiting<B>>,
    /// At the end of its patience; from an earlier wait, as a rule.
    alarm: Alarm,
    /// To find the same server connection again.
    last_lease: Option<Mark>,
    cancel: Cancel,
    watch: Option<Box<Watch>>,
    prospect: Prospect,
    /// Until the dialogue has said what it has to say.
    rung: Rung,
    /// Another process that takes the client, once it is at rest.
    successor: Option<Arc<dyn Successor>>,
}

impl<B: Backend> Life<B> {
    fn new(client: Client<B>) -> Self {
        let Client {
            io,
            read_ahead,
            dialogue,
            route,
            profile,
            terms,
            registration,
            identity,
        } = client;
        let mut to_server = Lane::new(Toward::Server);
        to_server.keep(&read_ahead);
        registration.introduce(identity.clone());
        Life {
            io,
            dialogue,
            route,
            profile,
            watch: Watch::for_limits(&terms.timeouts),
            terms,
            registration,
            identity,
            to_client: Lane::new(Toward::Client),
            held: if read_ahead.is_empty() {
                Held::Nothing
            } else {
                Held::Again
            },
            to_server,
            attached: None,
            waiting: None,
            alarm: Alarm::Off,
            last_lease: None,
            cancel: Cancel::default(),
            prospect: Prospect::Open,
            rung: Rung::No,
            successor: None,
        }
    }

    async fn run(&mut self) -> Ending {
        loop {
            let event = poll_fn(|cx| self.poll(cx)).await;
            let ending = match event {
                Event::Unserved(why) => self.on_unserved(&why),
                Event::Inbox(event) if self.waiting.is_some() => self.on_inbox_while_waiting(event),
                Event::Inbox(event) => self.on_inbox(event),
                Event::Expired(expired) => self.on_expired(expired),
                Event::ServerGone(why) => self.on_server_gone(why),
                Event::ClientFault(what) => self
                    .refuse(&Refusal::ProtocolViolation(what))
                    .or(Some(Ending::Told(what))),
                Event::Drained => self.on_drain(),
                Event::Told(why) => Some(Ending::Told(why)),
                Event::MayMove => Box::pin(self.hand_over()).await,
                Event::Finish => Some(Ending::Goodbye),
                Event::ClientGone => Some(Ending::Vanished),
            };
            if let Some(ending) = ending {
                return ending;
            }
        }
    }
}

impl Ending {
    fn reason(self) -> &'static str {
        match self {
            Ending::Goodbye => "said good-bye",
            Ending::Vanished => "connection closed by the client",
            Ending::Told(why) => why,
            Ending::HandedOver => "handed over to another process",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::toy::Toy;

    /// Whatever is added here is paid ten thousand times over by idle clients.
    #[test]
    fn an_idle_client_costs_little_more_than_its_state() {
        fn future_of<F>(_: impl FnOnce(Client<Toy>) -> F) -> usize {
            std::mem::size_of::<F>()
        }
        let (future, life) = (future_of(serve::<Toy>), std::mem::size_of::<Life<Toy>>());
        assert!(
            future <= life + 256,
            "the future takes {future} bytes, the state in it {life}"
        );
    }
}
