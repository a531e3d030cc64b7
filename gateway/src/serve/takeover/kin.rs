//! The processes before and behind this one, while there are any, and the cancel requests that go between them.
//!
//! A predecessor, this process and its successor have the same address, so a cancel request may arrive at one and be meant
//! for a client of another. Invariants: whoever is asked compares the secret itself, so no wrong client is ever hit (I6);
//! a request that came from behind goes on to the front only, and the other way round, so that none goes in circles;
//! requests that wait for an answer are bounded.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd as _, OwnedFd},
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, warn};
use weir_core::front::{Clients, Elsewhere};

use super::{
    budget::Budget,
    channel::{Reader, Writer},
    clients::{Annexes, Arriving, Leaving},
    limits::{CANCEL_WAIT, MAX_CANCELS, MAX_UNSENT, STANDING_TOLD},
    message::{Blob, Message},
    standing::{Agreed, Standings},
};

/// See the module.
#[derive(Debug)]
pub(in crate::serve) struct Kin {
    clients: Arc<Clients>,
    budget: Arc<Budget>,
    standings: Standings,
    annexes: OnceLock<Arc<Annexes>>,
    predecessor: Mutex<Option<Link>>,
    successor: Mutex<Option<Link>>,
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Predecessor,
    Successor,
}

/// The way to one of them.
#[derive(Clone)]
pub(super) struct Link(Arc<Way>);

struct Way {
    outgoing: mpsc::Sender<(Message, Vec<OwnedFd>)>,
    numbers: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<()>>>,
    arriving: Arriving,
    leaving: Leaving,
    agreed: Agreed,
    is_over: AtomicBool,
}

impl Kin {
    /// Nobody yet.
    pub(in crate::serve) fn new(clients: Arc<Clients>, budget: Arc<Budget>, standings: Standings) -> Arc<Self> {
        let kin = Arc::new(Kin {
            clients: clients.clone(),
            budget,
            standings,
            annexes: OnceLock::new(),
            predecessor: Mutex::default(),
            successor: Mutex::default(),
        });
        clients.cancel_elsewhere(kin.clone());
        kin
    }

    /// What the processes share.
    pub(super) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// What administrators have made of the sources here.
    pub(super) fn standings(&self) -> &Standings {
        &self.standings
    }

    /// Where clients of a predecessor may come to, from now on.
    pub(in crate::serve) fn welcome(&self, annexes: Arc<Annexes>) {
        let _ = self.annexes.set(annexes);
    }

    pub(super) fn annexes(&self) -> Option<&Arc<Annexes>> {
        self.annexes.get()
    }

    /// The clients of this process.
    pub(super) fn clients(&self) -> &Arc<Clients> {
        &self.clients
    }

    /// Whether there is a predecessor that has not ended yet.
    pub(in crate::serve) fn has_predecessor(&self) -> bool {
        self.predecessor.lock().is_some()
    }

    /// Whether clients are on their way to a successor, a predecessor's among them.
    pub(in crate::serve) fn is_passing_on(&self) -> bool {
        self.successor().is_some_and(|link| link.has_offers())
    }

    /// Whether a successor has been met.
    pub(super) fn successor(&self) -> Option<Link> {
        self.successor.lock().clone()
    }

    /// Stays in touch with one whose handshake is over, until it ends. `agreed`: what the handshake has said of sources.
    pub(super) fn meet(self: &Arc<Self>, side: Side, reader: Reader, writer: Writer, agreed: Agreed) -> Link {
        let (outgoing, unsent) = mpsc::channel(MAX_UNSENT);
        let link = Link(Arc::new(Way {
            outgoing,
            numbers: AtomicU64::new(1),
            waiting: Mutex::default(),
            arriving: Arriving::default(),
            leaving: Leaving::default(),
            agreed,
            is_over: AtomicBool::new(false),
        }));
        *self.slot(side).lock() = Some(link.clone());
        tokio::spawn(write(writer, unsent));
        tokio::spawn(self.clone().listen(side, reader, link.clone()));
        tokio::spawn(tell_standings(self.standings.clone(), link.clone()));
        link
    }

    fn slot(&self, side: Side) -> &Mutex<Option<Link>> {
        match side {
            Side::Predecessor => &self.predecessor,
            Side::Successor => &self.successor,
        }
    }

    async fn listen(self: Arc<Self>, side: Side, mut reader: Reader, link: Link) {
        let broken = loop {
            match reader.next().await {
                Ok(Some((message, descriptors))) => self.hear(side, message, descriptors, &link),
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        if let Some(error) = broken {
            warn!(?side, %error, "the connection to the other process broke");
        }
        *self.slot(side).lock() = None;
        link.0.is_over.store(true, Ordering::Relaxed);
        // Whoever waits for an answer is let go.
        link.0.waiting.lock().clear();
        link.0.leaving.clear();
        link.0.arriving.clear();
        if side == Side::Predecessor {
            self.budget.predecessor_is_gone();
        }
    }

    fn hear(self: &Arc<Self>, side: Side, message: Message, descriptors: Vec<OwnedFd>, link: &Link) {
        match message {
            Message::Cancel { number, id, secret } => {
                let (kin, link) = (self.clone(), link.clone());
                tokio::spawn(async move {
                    kin.cancel_from(side, id, &secret.0).await;
                    // The other one may have gone.
                    let _ = link.send(Message::Cancelled { number }).await;
                });
            }
            Message::Cancelled { number } => {
                let waiting = link.0.waiting.lock().remove(&number);
                if let Some(done) = waiting {
                    let _ = done.send(());
                }
            }
            Message::Stands(standing) => link.0.agreed.hear(standing, &self.standings),
            Message::Held { pools } if side == Side::Predecessor => self.budget.predecessor_holds(pools),
            message if side == Side::Predecessor => self.hear_of_client(message, descriptors, link),
            message => self.hear_of_offer(message, link),
        }
    }

    /// A cancel request that came from one side, for this process or those on the other side.
    async fn cancel_from(&self, side: Side, id: u32, secret: &[u8]) {
        if self.clients.cancel_here(id, secret).await {
            return;
        }
        let onward = match side {
            Side::Predecessor => Side::Successor,
            Side::Successor => Side::Predecessor,
        };
        let link = self.slot(onward).lock().clone();
        if let Some(link) = link {
            link.cancel(id, secret).await;
        }
    }
}

impl Elsewhere for Kin {
    fn cancel(&self, id: u32, secret: &[u8]) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let secret = secret.to_vec();
        Box::pin(async move {
            let links = [&self.predecessor, &self.successor].map(|slot| slot.lock().clone());
            let ask = async |link: &Option<Link>| {
                if let Some(link) = link {
                    link.cancel(id, &secret).await;
                }
            };
            tokio::join!(ask(&links[0]), ask(&links[1]));
        })
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

impl Link {
    pub(super) fn arriving(&self) -> &Arriving {
        &self.0.arriving
    }

    pub(super) fn leaving(&self) -> &Leaving {
        &self.0.leaving
    }

    /// For one more question.
    pub(super) fn next_number(&self) -> u64 {
        self.0.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Says something.
    ///
    /// # Errors
    /// The other one has gone.
    pub(super) async fn send(&self, message: Message) -> io::Result<()> {
        self.send_with(message, Vec::new()).await
    }

    /// The same, with descriptors.
    ///
    /// # Errors
    /// The other one has gone.
    pub(super) async fn send_with(&self, message: Message, descriptors: Vec<OwnedFd>) -> io::Result<()> {
        let sent = self.0.outgoing.send((message, descriptors)).await;
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }

    /// The same if there is room at once; nothing depends on it.
    pub(super) fn try_send(&self, message: Message) {
        let _ = self.0.outgoing.try_send((message, Vec::new()));
    }

    /// Passes a cancel request on and waits until it is dealt with there.
    async fn cancel(&self, id: u32, secret: &[u8]) {
        let number = self.next_number();
        let (done, answer) = oneshot::channel();
        {
            let mut waiting = self.0.waiting.lock();
            if waiting.len() >= MAX_CANCELS {
                return;
            }
            waiting.insert(number, done);
        }
        let secret = Blob(secret.to_vec());
        if self.send(Message::Cancel { number, id, secret }).await.is_ok() {
            // Whatever came of it: its sender only learns that it was dealt with.
            let _ = tokio::time::timeout(CANCEL_WAIT, answer).await;
        }
        self.0.waiting.lock().remove(&number);
    }
}

/// Tells the other process what administrators change, until it ends.
async fn tell_standings(standings: Standings, link: Link) {
    while !link.0.is_over.load(Ordering::Relaxed) {
        for standing in link.0.agreed.news(&standings) {
            if link.send(Message::Stands(standing)).await.is_err() {
                return;
            }
        }
        tokio::time::sleep(STANDING_TOLD).await;
    }
}

async fn write(mut writer: Writer, mut unsent: mpsc::Receiver<(Message, Vec<OwnedFd>)>) {
    while let Some((message, descriptors)) = unsent.recv().await {
        let borrowed: Vec<_> = descriptors.iter().map(OwnedFd::as_fd).collect();
        if let Err(error) = writer.send(&message, &borrowed).await {
            debug!(%error, "a message for the other process could not be sent");
            return;
        }
    }
}
