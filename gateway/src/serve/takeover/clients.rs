//! Clients at rest on their way from a predecessor to its successor.
//!
//! The predecessor stops reading a client, then sends what is known of it with its socket. The successor makes everything
//! ready and says so, without reading. Only then the predecessor gives the client up, by saying so, and the successor
//! begins. Invariants: the successor reads nothing before it is told that the client is its own, and the predecessor
//! nothing after it has said so; one that changes its mind in time says that instead, which the successor obeys; when the
//! connection between them ends in the middle, each goes on with what was its own by then, and a client that was under way
//! in doubt is closed rather than read twice.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    os::fd::OwnedFd,
    pin::Pin,
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::{sync::mpsc, time::timeout};
use tracing::{debug, info};
use weir_core::{
    front::{Annex, HandedClient, Life, Offer, Successor},
    net::Peer,
    registry::Target,
    secret::Secret,
};

use super::{
    kin::{Kin, Link},
    limits::{MAX_ARRIVING, MAX_REASONS, OFFER_PATIENCE},
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
pub(super) struct Leaving {
    offered: Mutex<HashMap<u64, mpsc::Sender<Answer>>>,
    /// Why it declined some, as far as that is in the log.
    reasons: Mutex<HashSet<String>>,
}

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
        self.offered.lock().clear();
    }

    /// Whether nobody was declined for this reason before.
    fn is_news(&self, reason: &str) -> bool {
        let mut reasons = self.reasons.lock();
        reasons.len() < MAX_REASONS && reasons.insert(reason.to_owned())
    }

    /// What the successor says about a client; `None` when nobody waits for that any more.
    fn tell(&self, number: u64, answer: Answer) -> Option<()> {
        let waiting = self.offered.lock().get(&number).cloned()?;
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
            self.leaving().offered.lock().insert(number, sender);
            let outcome = self.negotiate(number, client, &mut answers).await;
            self.leaving().offered.lock().remove(&number);
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
                match self.leaving().is_news(&reason) {
                    true => info!(reason, "clients stay with this process"),
                    false => debug!(reason, "a client stays with this process"),
                }
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
        profile: Blob(client.profile),
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
        profile: client.profile.0,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        os::{fd::AsFd as _, unix::net::UnixStream as Plain},
        time::Duration,
    };

    use tokio::net::UnixStream;
    use weir_core::{front::Clients, registry::Registry};

    use super::*;
    use crate::serve::takeover::{
        budget::Budget,
        channel::{self, Reader, Writer},
        kin::Side,
        standing::{Agreed, Standings},
    };

    /// Answers what it reads with its name, once its life begins.
    struct Echo;

    impl Annex for Echo {
        fn take_in(
            self: Arc<Self>,
            client: HandedClient,
        ) -> Pin<Box<dyn Future<Output = Result<Life, String>> + Send>> {
            Box::pin(async move {
                assert_eq!(client.secret.expose(), b"secret");
                let life: Life = Box::pin(async move {
                    let mut socket = Plain::from(client.socket);
                    socket.write_all(b"served").expect("the test reads");
                });
                match &*client.user {
                    "stranger" => Err("it is a stranger".to_owned()),
                    _ => Ok(life),
                }
            })
        }
    }

    fn kin() -> Arc<Kin> {
        let clients = Clients::new();
        let budget = Budget::new(Registry::new(), Registry::new(), clients.clone());
        let kin = Kin::new(clients, budget, Standings::new(Registry::new(), Registry::new()));
        let annexes = Annexes::default();
        annexes.open("pg", Arc::new(Echo));
        kin.welcome(Arc::new(annexes));
        kin
    }

    /// A client and the other end of its connection.
    fn client(user: &str) -> (HandedClient, Plain) {
        let (near, far) = Plain::pair().expect("a pair");
        far.set_nonblocking(true).expect("it can");
        let client = HandedClient {
            listener: "pg".into(),
            user: user.into(),
            source: "s".into(),
            target: Target::Default,
            application_name: "".into(),
            peer: Peer::Unix,
            socket: near.into(),
            id: 7,
            secret: Secret::new(b"secret".to_vec()),
            dialogue: Secret::new(b"packed".to_vec()),
            profile: Vec::new(),
        };
        (client, far)
    }

    /// One process of ours, and the bare connection of the other one.
    fn half(side: Side) -> (Arc<Kin>, Link, Reader, Writer) {
        let (one, two) = UnixStream::pair().expect("a pair");
        let ((reader, writer), (far_reader, far_writer)) = (channel::open(one), channel::open(two));
        let kin = kin();
        let link = kin.meet(side, reader, writer, Agreed::default());
        (kin, link, far_reader, far_writer)
    }

    async fn next(reader: &mut Reader) -> Message {
        let next = timeout(Duration::from_secs(60), reader.next()).await;
        next.expect("no hang")
            .expect("it is there")
            .expect("it says something")
            .0
    }

    fn heard(far: &mut Plain) -> String {
        let mut some = [0; 64];
        let count = far.read(&mut some).unwrap_or(0);
        String::from_utf8_lossy(&some[..count]).into_owned()
    }

    #[tokio::test]
    async fn a_client_goes_over_or_stays() {
        let (one, two) = UnixStream::pair().expect("a pair");
        let ((reader, writer), (far_reader, far_writer)) = (channel::open(one), channel::open(two));
        let (old, new) = (kin(), kin());
        let link = old.meet(Side::Successor, reader, writer, Agreed::default());
        new.meet(Side::Predecessor, far_reader, far_writer, Agreed::default());
        let (known, mut far) = client("ann");
        assert_eq!(link.offer(known).await, Offer::Taken);
        let served = async {
            while heard(&mut far) != "served" {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(60), served)
            .await
            .expect("its life has begun");
        let (stranger, mut far) = client("stranger");
        let kept = stranger.socket.as_fd().try_clone_to_owned().expect("it can");
        assert_eq!(link.offer(stranger).await, Offer::Refused);
        assert_eq!(heard(&mut far), "");
        Plain::from(kept).write_all(b"still here").expect("the socket is whole");
        assert_eq!(heard(&mut far), "still here");
    }

    #[tokio::test]
    async fn nothing_begins_before_the_word_and_nothing_after_it_was_taken_back() {
        let (_kin, _link, mut reader, mut writer) = half(Side::Predecessor);
        let (client, mut far) = client("ann");
        let (traveller, socket) = departing(client);
        let offer = |number| Message::Client {
            number,
            client: Box::new(traveller.clone()),
        };
        for number in [1, 2, 3] {
            writer
                .send(&offer(number), &[socket.as_fd()])
                .await
                .expect("it listens");
            assert_eq!(next(&mut reader).await, Message::Accepted { number });
        }
        assert_eq!(heard(&mut far), "", "nobody has said that it is theirs");
        writer
            .send(&Message::Kept { number: 1 }, &[])
            .await
            .expect("it listens");
        writer
            .send(&Message::Yours { number: 1 }, &[])
            .await
            .expect("it listens");
        writer
            .send(&Message::Yours { number: 9 }, &[])
            .await
            .expect("it listens");
        writer
            .send(&Message::Yours { number: 2 }, &[])
            .await
            .expect("it listens");
        assert_eq!(next(&mut reader).await, Message::Running { number: 2 });
        // The third is its predecessor's, which is gone: its end is closed with it.
        drop((reader, writer, socket));
        let closed = async {
            let mut all = String::new();
            loop {
                let mut some = [0; 64];
                match far.read(&mut some) {
                    Ok(0) => return all,
                    Ok(count) => all += &String::from_utf8_lossy(&some[..count]),
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        let all = timeout(Duration::from_secs(60), closed)
            .await
            .expect("nobody keeps the socket");
        assert_eq!(all, "served", "one life, and one only");
    }

    #[tokio::test]
    async fn without_one_socket_nobody_is_taken() {
        let (_kin, _link, mut reader, mut writer) = half(Side::Predecessor);
        let (client, _far) = client("ann");
        let (traveller, socket) = departing(client);
        for (number, sockets) in [(1, vec![]), (2, vec![socket.as_fd(), socket.as_fd()])] {
            let client = Box::new(traveller.clone());
            let message = Message::Client { number, client };
            writer.send(&message, &sockets).await.expect("it listens");
            assert!(matches!(next(&mut reader).await, Message::Declined { .. }));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_successor_that_says_nothing_in_time_gets_nobody() {
        let (_kin, link, mut reader, mut writer) = half(Side::Successor);
        let (known, _far) = client("ann");
        let offering = tokio::spawn(async move { (link.offer(known).await, link) });
        let Message::Client { number, .. } = next(&mut reader).await else {
            panic!("an offer")
        };
        let (offer, link) = offering.await.expect("no panic");
        assert_eq!(offer, Offer::Refused);
        assert_eq!(next(&mut reader).await, Message::Kept { number });
        // Too late: it is not told to begin.
        writer
            .send(&Message::Accepted { number }, &[])
            .await
            .expect("it listens");
        drop((reader, writer));
        let (known, _far) = client("ann");
        assert_eq!(link.offer(known).await, Offer::Refused, "there is nobody any more");
    }
}
