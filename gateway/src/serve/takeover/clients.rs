//! Clients at rest on their way from a predecessor to its successor.
//!
//! The predecessor stops reading a client, then sends what is known of it with its socket. The successor makes everything
//! ready and says so, without reading. Only then the predecessor gives the client up, by saying so, and the successor
//! begins. Invariants: the successor reads nothing before it is told that the client is its own, and the predecessor
//! nothing after it has said so; one that changes its mind in time says that instead, which the successor obeys; when the
//! connection between them ends in the middle, each goes on with what was its own by then, and a client that was under way
//! in doubt is closed rather than read twice.

use std::{
    collections::{BTreeMap, HashMap},
    os::fd::OwnedFd,
    pin::Pin,
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::{sync::mpsc, time::timeout};
use tracing::debug;
use weir_core::{
    front::{Annex, HandedClient, Life, Offer, Successor},
    net::Peer,
    registry::Target,
    secret::Secret,
};

use super::{
    kin::{Kin, Link},
    limits::{MAX_ARRIVING, OFFER_PATIENCE},
    message::{Blob, Message, Origin, Traveller},
};

/// The listeners that take clients in, by name.
#[derive(Default)]
pub(in crate::serve) struct Annexes(Mutex<BTreeMap<String, Arc<dyn Annex>>>);

impl Annexes {
    /// The listener of this name is open.
    pub(in crate::serve) fn open(&self, name: &str, annex: Arc<dyn Annex>) {
        self.0.lock().insert(name.to_owned(), annex);
    }

    /// It is not any more.
    pub(in crate::serve) fn close(&self, name: &str) {
        self.0.lock().remove(name);
    }

    fn of(&self, name: &str) -> Option<Arc<dyn Annex>> {
        self.0.lock().get(name).cloned()
    }
}

impl std::fmt::Debug for Annexes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.lock().keys()).finish()
    }
}

/// Those that a predecessor has offered, and that it has not given up yet.
#[derive(Default)]
pub(super) struct Arriving(Mutex<HashMap<u64, Stage>>);

enum Stage {
    /// Being made ready.
    Preparing,
    /// Ready to begin.
    Ready(Life),
}

/// Those that are offered to a successor, and what it answers.
#[derive(Debug, Default)]
pub(super) struct Leaving(Mutex<HashMap<u64, mpsc::Sender<Answer>>>);

#[derive(Debug)]
enum Answer {
    Accepted,
    Declined(String),
    Running,
}

impl Arriving {
    /// The predecessor is not heard any more: what it has not given up is its own, or closed with it.
    pub(super) fn clear(&self) {
        self.0.lock().clear();
    }
}

impl Leaving {
    /// The successor is not heard any more.
    pub(super) fn clear(&self) {
        self.0.lock().clear();
    }

    /// What the successor says about a client; `None` when nobody waits for that any more.
    fn tell(&self, number: u64, answer: Answer) -> Option<()> {
        let waiting = self.0.lock().get(&number).cloned()?;
        // There is room for both answers that a client gets; one that says more is not listened to.
        waiting.try_send(answer).ok()
    }
}

impl Kin {
    /// What a predecessor says about one of its clients.
    pub(super) fn hear_of_client(self: &Arc<Self>, message: Message, descriptors: Vec<OwnedFd>, link: &Link) {
        match message {
            Message::Client { number, client } => {
                let (kin, link) = (self.clone(), link.clone());
                tokio::spawn(async move {
                    let answer = match kin.make_ready(number, *client, descriptors, &link).await {
                        Ok(()) => Message::Accepted { number },
                        Err(reason) => {
                            link.arriving().0.lock().remove(&number);
                            Message::Declined { number, reason }
                        }
                    };
                    // The predecessor may have gone.
                    let _ = link.send(answer).await;
                });
            }
            Message::Yours { number } => {
                let stage = link.arriving().0.lock().remove(&number);
                if let Some(Stage::Ready(life)) = stage {
                    tokio::spawn(life);
                    let link = link.clone();
                    tokio::spawn(async move { link.send(Message::Running { number }).await });
                }
            }
            Message::Kept { number } => drop(link.arriving().0.lock().remove(&number)),
            other => debug!(?other, "passed over"),
        }
    }

    async fn make_ready(
        &self,
        number: u64,
        client: Traveller,
        descriptors: Vec<OwnedFd>,
        link: &Link,
    ) -> Result<(), String> {
        {
            let mut arriving = link.arriving().0.lock();
            if arriving.len() >= MAX_ARRIVING {
                return Err(format!("{MAX_ARRIVING} clients are under way already"));
            }
            arriving.insert(number, Stage::Preparing);
        }
        let mut descriptors = descriptors.into_iter();
        let (Some(socket), None) = (descriptors.next(), descriptors.next()) else {
            return Err("it has not come with one socket".to_owned());
        };
        let annex = self.annexes().and_then(|annexes| annexes.of(&client.listener));
        let annex = annex.ok_or_else(|| format!("listener \"{}\" is not open here", client.listener))?;
        let life = annex.take_in(arrived(client, socket)).await?;
        // With its place taken: what this process may hold was reckoned up with this client, or is not reckoned up yet.
        if self.successor().is_some() {
            return Err("it has a successor itself".to_owned());
        }
        match link.arriving().0.lock().get_mut(&number) {
            Some(stage) => *stage = Stage::Ready(life),
            None => return Err("the predecessor has thought better of it".to_owned()),
        }
        Ok(())
    }

    /// What a successor says about a client that it was offered.
    pub(super) fn hear_of_offer(&self, message: Message, link: &Link) {
        let (number, answer) = match message {
            Message::Accepted { number } => (number, Answer::Accepted),
            Message::Declined { number, reason } => (number, Answer::Declined(reason)),
            Message::Running { number } => (number, Answer::Running),
            other => return debug!(?other, "passed over"),
        };
        let _ = link.leaving().tell(number, answer);
    }
}

impl Successor for Link {
    fn offer(&self, client: HandedClient) -> Pin<Box<dyn Future<Output = Offer> + Send + '_>> {
        Box::pin(async move {
            let number = self.next_number();
            let (sender, mut answers) = mpsc::channel(2);
            self.leaving().0.lock().insert(number, sender);
            let outcome = self.negotiate(number, client, &mut answers).await;
            self.leaving().0.lock().remove(&number);
            outcome
        })
    }
}

impl Link {
    async fn negotiate(&self, number: u64, client: HandedClient, answers: &mut mpsc::Receiver<Answer>) -> Offer {
        let (traveller, socket) = departing(client);
        let message = Message::Client {
            number,
            client: Box::new(traveller),
        };
        let accepted = async {
            self.send_with(message, vec![socket]).await.ok()?;
            answers.recv().await
        };
        match timeout(OFFER_PATIENCE, accepted).await {
            Ok(Some(Answer::Accepted)) => {}
            Ok(Some(Answer::Declined(reason))) => {
                debug!(reason, "a client stays with this process");
                return Offer::Refused;
            }
            // Whatever it says from now on, it must not begin. It cannot have begun: it was not told to.
            Ok(Some(Answer::Running) | None) | Err(_) => {
                self.try_send(Message::Kept { number });
                return Offer::Refused;
            }
        }
        // Not on its way if it takes too long to be queued, or if there is no queue any more.
        match timeout(OFFER_PATIENCE, self.send(Message::Yours { number })).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return Offer::Refused,
        }
        // From here on it is not ours, whether or not the other one lives to read this. If it does not, the client's
        // connection is closed, as any of a process that has died. Until the answer it counts as a client of this process,
        // which does not end before.
        let _ = answers.recv().await;
        Offer::Taken
    }
}

fn departing(client: HandedClient) -> (Traveller, OwnedFd) {
    let traveller = Traveller {
        listener: client.listener.to_string(),
        user: client.user.to_string(),
        source: client.source.to_string(),
        target: client.target.suffix().map(str::to_owned),
        application_name: client.application_name.to_string(),
        origin: match client.peer {
            Peer::Tcp(address) => Origin::Tcp(address),
            Peer::Unix => Origin::Unix,
            Peer::Proxied(address) => Origin::Proxied(address),
        },
        id: client.id,
        secret: Blob(client.secret.expose().clone()),
        dialogue: Blob(client.dialogue.expose().clone()),
    };
    (traveller, client.socket)
}

fn arrived(client: Traveller, socket: OwnedFd) -> HandedClient {
    HandedClient {
        listener: client.listener.into(),
        user: client.user.into(),
        source: client.source.into(),
        target: Target::of_suffix(client.target.as_deref()),
        application_name: client.application_name.into(),
        peer: match client.origin {
            Origin::Tcp(address) => Peer::Tcp(address),
            Origin::Unix => Peer::Unix,
            Origin::Proxied(address) => Peer::Proxied(address),
        },
        socket,
        id: client.id,
        secret: Secret::new(client.secret.0),
        dialogue: Secret::new(client.dialogue.0),
    }
}
