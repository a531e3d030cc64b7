//! Clients at rest on their way from a predecessor to its successor.
//!
//! The predecessor stops reading a client, then sends what is known of it with its socket. The successor makes everything
//! ready and says so, without reading. Only then the predecessor gives the client up, by saying so, and the successor
//! begins. A process that has a successor itself passes clients on to that, by the same steps: so old processes end soon,
//! however many there are. Invariants: the successor reads nothing before it is told that the client is its own, and the
//! predecessor nothing after it has said so; one that changes its mind in time says that instead, which the successor obeys;
//! when the connection between them ends in the middle, each goes on with what was its own by then, and a client that was
//! under way in doubt is closed rather than read twice.

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
        let life = match self.successor() {
            Some(last) => last.pass_on(arrived(client, socket)).await?,
            None => self.take_in(client, socket).await?,
        };
        match link.arriving().0.lock().get_mut(&number) {
            Some(stage) => *stage = Stage::Ready(life),
            None => return Err("the predecessor has thought better of it".to_owned()),
        }
        Ok(())
    }

    async fn take_in(&self, client: Traveller, socket: OwnedFd) -> Result<Life, String> {
        let annex = self.annexes().and_then(|annexes| annexes.of(&client.listener));
        let annex = annex.ok_or_else(|| format!("listener \"{}\" is not open here", client.listener))?;
        let life = annex.take_in(arrived(client, socket)).await?;
        // With its place taken: what this process may hold was reckoned up with this client, or is not reckoned up yet.
        match self.successor() {
            Some(_) => Err("it has got a successor itself just now".to_owned()),
            None => Ok(life),
        }
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
            let (mut offered, client) = Offered::of(self, client);
            match offered.ask(client).await {
                Ok(()) => offered.give_up().await,
                Err(reason) => {
                    match reason.as_deref().filter(|reason| self.leaving().is_news(reason)) {
                        Some(reason) => info!(reason, "clients stay with this process"),
                        None => debug!(reason, "a client stays with this process"),
                    }
                    Offer::Refused
                }
            }
        })
    }
}

/// A client that a successor is offered. Dropped before it is given up, it stays, and the successor is told so.
struct Offered {
    link: Link,
    number: u64,
    answers: mpsc::Receiver<Answer>,
    decision: Decision,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Open,
    /// It is, or may be, the successor's.
    Made,
}

impl Offered {
    fn of(link: &Link, client: HandedClient) -> (Self, HandedClient) {
        let number = link.next_number();
        let (sender, answers) = mpsc::channel(2);
        link.leaving().offered.lock().insert(number, sender);
        let offered = Offered {
            link: link.clone(),
            number,
            answers,
            decision: Decision::Open,
        };
        (offered, client)
    }

    /// Whether the successor takes it; if not, why, as far as it says so.
    async fn ask(&mut self, client: HandedClient) -> Result<(), Option<String>> {
        let (traveller, socket) = departing(client);
        let message = Message::Client {
            number: self.number,
            client: Box::new(traveller),
        };
        let accepted = async {
            self.link.send_with(message, vec![socket]).await.ok()?;
            self.answers.recv().await
        };
        match timeout(OFFER_PATIENCE, accepted).await {
            Ok(Some(Answer::Accepted)) => Ok(()),
            Ok(Some(Answer::Declined(reason))) => Err(Some(reason)),
            // Whatever it says from now on, it must not begin. It cannot have begun: it was not told to.
            Ok(Some(Answer::Running) | None) | Err(_) => Err(None),
        }
    }

    /// It is the successor's, which has accepted it.
    async fn give_up(mut self) -> Offer {
        // Not on its way if it takes too long to be queued, or if there is no queue any more.
        let word = Message::Yours { number: self.number };
        match timeout(OFFER_PATIENCE, self.link.send(word)).await {
            Ok(Ok(())) => self.decision = Decision::Made,
            Ok(Err(_)) | Err(_) => return Offer::Refused,
        }
        // From here on it is not ours, whether or not the other one lives to read this. If it does not, the client's
        // connection is closed, as any of a process that has died. Until the answer it counts as a client of this process,
        // which does not end before.
        let _ = self.answers.recv().await;
        Offer::Taken
    }
}

impl Drop for Offered {
    fn drop(&mut self) {
        self.link.leaving().offered.lock().remove(&self.number);
        if self.decision == Decision::Open {
            self.link.try_send(Message::Kept { number: self.number });
        }
    }
}

impl Link {
    /// A predecessor's client, for the process behind this one: what it would become here, it becomes there. The life is
    /// over as soon as it has begun there.
    async fn pass_on(&self, client: HandedClient) -> Result<Life, String> {
        let (mut offered, client) = Offered::of(self, client);
        let asked = offered.ask(client).await;
        asked.map_err(|reason| reason.unwrap_or_else(|| "the last process does not answer in time".to_owned()))?;
        Ok(Box::pin(async move {
            // Whatever comes of it: it is not its predecessor's any more, and cannot be served here.
            let _ = offered.give_up().await;
        }))
    }

    /// Whether clients are on their way to the other process.
    pub(super) fn has_offers(&self) -> bool {
        !self.leaving().offered.lock().is_empty()
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
    async fn a_process_in_the_middle_passes_clients_on() {
        let pair = || {
            let (one, two) = UnixStream::pair().expect("a pair");
            (channel::open(one), channel::open(two))
        };
        let (first, last) = (kin(), kin());
        // It could serve nobody.
        let clients = Clients::new();
        let budget = Budget::new(Registry::new(), Registry::new(), clients.clone());
        let middle = Kin::new(clients, budget, Standings::new(Registry::new(), Registry::new()));
        let (before, behind) = pair();
        let link = first.meet(Side::Successor, before.0, before.1, Agreed::default());
        middle.meet(Side::Predecessor, behind.0, behind.1, Agreed::default());
        let (before, behind) = pair();
        middle.meet(Side::Successor, before.0, before.1, Agreed::default());
        last.meet(Side::Predecessor, behind.0, behind.1, Agreed::default());
        let (known, mut far) = client("ann");
        assert_eq!(link.offer(known).await, Offer::Taken);
        let served = async {
            while heard(&mut far) != "served" {
                tokio::task::yield_now().await;
            }
            while middle.is_passing_on() {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(60), served)
            .await
            .expect("its life has begun, and nobody in the middle is needed");
        let (stranger, mut far) = client("stranger");
        let kept = stranger.socket.as_fd().try_clone_to_owned().expect("it can");
        assert_eq!(link.offer(stranger).await, Offer::Refused);
        Plain::from(kept).write_all(b"still here").expect("the socket is whole");
        assert_eq!(heard(&mut far), "still here");
    }

    #[tokio::test]
    async fn a_process_in_the_middle_begins_nothing_and_takes_it_back_with_its_predecessor() {
        let (kin, _, mut before, mut to_kin) = half(Side::Predecessor);
        let (one, two) = UnixStream::pair().expect("a pair");
        let ((reader, writer), (mut behind, mut from_last)) = (channel::open(one), channel::open(two));
        kin.meet(Side::Successor, reader, writer, Agreed::default());
        let (client, _far) = client("ann");
        let (traveller, socket) = departing(client);
        for (number, takes_back) in [(1, true), (2, false)] {
            let client = Box::new(traveller.clone());
            let offer = Message::Client { number, client };
            to_kin.send(&offer, &[socket.as_fd()]).await.expect("it listens");
            let Message::Client { number: there, .. } = next(&mut behind).await else {
                panic!("it is offered to the last")
            };
            let accepted = Message::Accepted { number: there };
            from_last.send(&accepted, &[]).await.expect("it listens");
            assert_eq!(next(&mut before).await, Message::Accepted { number });
            let word = match takes_back {
                true => Message::Kept { number },
                false => Message::Yours { number },
            };
            to_kin.send(&word, &[]).await.expect("it listens");
            let word = match takes_back {
                true => Message::Kept { number: there },
                false => Message::Yours { number: there },
            };
            assert_eq!(next(&mut behind).await, word);
        }
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
