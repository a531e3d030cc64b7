//! The directory of clients: every logged-in client has an id, a cancel secret and an inbox for events.
//!
//! Invariants: an id is given to one client at a time; secrets come from the operating system and are compared in
//! constant time; an event is handled by the client's own task, which alone knows what its server connection is doing,
//! so no event can reach a connection that has passed to somebody else (I6). The directory never touches a socket.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;
use subtle::ConstantTimeEq;
use tokio::sync::oneshot;

use super::{Card, ClientView, Identity, handover::Successor, places::Places};
use crate::{
    limits,
    observe::{Logins, LoginsView},
    secret::Secret,
};

/// All logged-in clients of this process.
#[derive(Debug, Default)]
pub struct Clients {
    directory: Mutex<Directory>,
    count: AtomicU32,
    /// Of all listeners together, those that are logging in included.
    places: Arc<Places>,
    /// By the listener's name: they outlive a listener that is opened anew.
    logins: Mutex<BTreeMap<Arc<str>, Arc<Logins>>>,
    elsewhere: OnceLock<Arc<dyn Elsewhere>>,
}

/// Other processes of ours whose clients may be meant by a cancel request that arrives here: a successor and its
/// predecessors have the same address.
pub trait Elsewhere: fmt::Debug + Send + Sync {
    /// Passes a cancel request on. Resolves when it has been dealt with, whether or not it was for anybody; the caller
    /// bounds the time.
    fn cancel(&self, id: u32, secret: &[u8]) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

#[derive(Debug, Default)]
struct Directory {
    slots: HashMap<u32, Arc<Slot>>,
    /// Changed under the same lock as `slots`, so that no client slips in between unseen.
    admission: Admission,
}

/// Whether clients that register now are to stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Admission {
    #[default]
    Open,
    /// They are told to end as soon as they arrive.
    Draining,
}

/// The directory is full: every id that was tried is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientsFull;

/// Something that a client's task has to deal with.
#[derive(Debug)]
pub enum Event {
    /// Cancel what the client is doing. Drop the ticket when that is done or decided to be nothing.
    Cancel(CancelTicket),
    /// End at the next transaction border.
    Drain(Farewell),
    /// What is declared of its source has changed.
    Renew,
    /// Another process takes clients: go there once at rest.
    Move(Arc<dyn Successor>),
    /// End now.
    Terminate,
}

/// Why a client has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// The process ends.
    Stopping,
    /// Its source is not declared any more.
    SourceRemoved,
}

/// Whether a client's bell was rung: somebody has something for it that no server connection brings, and its dialogue
/// has to be asked for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rung {
    /// No.
    #[default]
    No,
    /// At least once.
    Yes,
}

/// Rings at one client, from any task: [`crate::backend::Dialogue::on_bell`] is asked as soon as the client can be told
/// something. One that rings nowhere ([`Bell::default`]) is for clients without a relay, as in tests.
#[derive(Clone, Debug, Default)]
pub struct Bell(Option<Arc<Slot>>);

/// Keeps the sender of a cancel request waiting until it is dropped.
#[derive(Debug)]
pub struct CancelTicket(#[allow(dead_code)] oneshot::Sender<()>);

/// A client's place in the directory. Dropping it frees the id.
#[derive(Debug)]
pub struct Registration {
    clients: Arc<Clients>,
    slot: Arc<Slot>,
    id: u32,
}

#[derive(Debug)]
struct Slot {
    secret: Secret<Vec<u8>>,
    inbox: Mutex<Inbox>,
    /// Whether the inbox is worth a look: something was put into it, or it has no waker yet. Changed under its lock; read
    /// without it, because the client's task asks in each poll and mostly there is nothing.
    news: AtomicBool,
    card: Arc<Card>,
}

#[derive(Debug, Default)]
struct Inbox {
    owner: Owner,
    cancels: Vec<CancelTicket>,
    drain: Option<Farewell>,
    renew: bool,
    successor: Option<Arc<dyn Successor>>,
    terminate: bool,
    rung: Rung,
    waker: Option<Waker>,
}

/// Whether anybody still reads the inbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Owner {
    #[default]
    Here,
    Gone,
}

/// Cancel requests that may wait for one client at a time; further ones are answered by closing. One would do.
const MAX_CANCELS_PER_CLIENT: usize = 8;

impl Clients {
    /// An empty directory.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Gives a new client an id and a secret of `secret_len` random bytes.
    ///
    /// # Errors
    /// [`ClientsFull`] when no free id was found or the operating system gives no random bytes.
    pub fn register(self: &Arc<Self>, secret_len: usize) -> Result<Registration, ClientsFull> {
        const ID: usize = size_of::<u32>();
        let mut random = vec![0; secret_len + ID];
        getrandom::fill(&mut random).map_err(|_| ClientsFull)?;
        let mut id = random.split_off(secret_len);
        let mut directory = self.directory.lock();
        let slot = directory.slot(Secret::new(random));
        // Random ids: half of the 64 bits of a PostgreSQL 3.0 cancel key. A collision is rare below a million clients.
        for _ in 0..64 {
            let tried = u32::from_ne_bytes(id[..].try_into().expect("an id's length"));
            if tried != 0 && !directory.slots.contains_key(&tried) {
                return Ok(self.enter(&mut directory, tried, slot));
            }
            getrandom::fill(&mut id).map_err(|_| ClientsFull)?;
        }
        Err(ClientsFull)
    }

    /// The place of a client that another process has handed over: its cancel key stays valid.
    ///
    /// # Errors
    /// [`ClientsFull`] when somebody here has its id already.
    pub fn register_as(self: &Arc<Self>, id: u32, secret: Secret<Vec<u8>>) -> Result<Registration, ClientsFull> {
        let mut directory = self.directory.lock();
        if id == 0 || directory.slots.contains_key(&id) {
            return Err(ClientsFull);
        }
        let slot = directory.slot(secret);
        Ok(self.enter(&mut directory, id, slot))
    }

    fn enter(self: &Arc<Self>, directory: &mut Directory, id: u32, slot: Arc<Slot>) -> Registration {
        directory.slots.insert(id, slot.clone());
        self.count.fetch_add(1, Ordering::Relaxed);
        Registration {
            clients: self.clone(),
            slot,
            id,
        }
    }

    /// The logins of the listener of this name.
    pub(super) fn logins(&self, listener: &Arc<str>) -> Arc<Logins> {
        self.logins.lock().entry(listener.clone()).or_default().clone()
    }

    /// What became of the logins of each listener, by its name.
    pub fn login_views(&self) -> Vec<(Arc<str>, LoginsView)> {
        let all = self.logins.lock();
        all.iter().map(|(name, logins)| (name.clone(), logins.view())).collect()
    }

    /// Passes a cancel request to the client that it names, if the secret is right, and waits until it is dealt with; one
    /// that is for nobody here goes elsewhere, if there is such a place. Says nothing about whether there was such a client.
    pub async fn cancel(&self, id: u32, secret: &[u8]) {
        if !self.cancel_here(id, secret).await
            && let Some(elsewhere) = self.elsewhere.get()
        {
            elsewhere.cancel(id, secret).await;
        }
    }

    /// The same, for the clients of this process only. Whether it was for one of them.
    pub async fn cancel_here(&self, id: u32, secret: &[u8]) -> bool {
        let slot = self.directory.lock().slots.get(&id).cloned();
        let Some(slot) = slot else { return false };
        if !bool::from(slot.secret.expose().ct_eq(secret)) {
            return false;
        }
        let (sender, done) = oneshot::channel();
        {
            let mut inbox = slot.inbox.lock();
            if inbox.owner == Owner::Gone || inbox.cancels.len() >= MAX_CANCELS_PER_CLIENT {
                return true;
            }
            inbox.cancels.push(CancelTicket(sender));
            slot.announce(&mut inbox);
        }
        drop(slot);
        // An error is the ticket being dropped, which is how it ends.
        let _ = done.await;
        true
    }

    /// Where cancel requests go that are for nobody here. Once; a second call changes nothing.
    pub fn cancel_elsewhere(&self, elsewhere: Arc<dyn Elsewhere>) {
        let _ = self.elsewhere.set(elsewhere);
    }

    /// Peers of all listeners that have not gone yet, those that are logging in included.
    pub fn peers(&self) -> u32 {
        self.places.taken()
    }

    /// Tells every client, present and future, to end at its next transaction border.
    pub fn drain(&self) {
        self.directory.lock().admission = Admission::Draining;
        self.for_each(|inbox| inbox.drain = Some(Farewell::Stopping));
    }

    /// Tells the present clients of a source that is not declared any more to end at their next transaction border.
    pub fn drain_source(&self, source: &str) {
        self.for_each_of(source, |inbox| {
            inbox.drain = Some(inbox.drain.unwrap_or(Farewell::SourceRemoved))
        });
    }

    /// Tells the present clients of a source that what is declared of it has changed.
    pub fn renew_source(&self, source: &str) {
        self.for_each_of(source, |inbox| inbox.renew = true);
    }

    /// Tells the present clients that another process takes them once they are at rest; a few at a time, so that none waits
    /// long for its turn there.
    pub async fn hand_over(&self, successor: &Arc<dyn Successor>) {
        let slots: Vec<_> = self.directory.lock().slots.values().cloned().collect();
        for some in slots.chunks(limits::HANDED_OVER_AT_ONCE) {
            for slot in some {
                slot.put(|inbox| inbox.successor = Some(successor.clone()));
            }
            tokio::time::sleep(limits::HAND_OVER_PAUSE).await;
        }
    }

    /// Tells every client to end now.
    pub fn terminate(&self) {
        self.for_each(|inbox| inbox.terminate = true);
    }

    /// Tells the present clients of a source to end now.
    pub fn terminate_source(&self, source: &str) {
        self.for_each_of(source, |inbox| inbox.terminate = true);
    }

    /// Every client that has logged in, in no order.
    pub fn views(&self) -> Vec<ClientView> {
        let slots: Vec<_> = {
            let directory = self.directory.lock();
            directory.slots.iter().map(|(id, slot)| (*id, slot.clone())).collect()
        };
        slots.iter().filter_map(|(id, slot)| slot.card.view(*id)).collect()
    }

    /// Tells one client to end now. Whether there is such a client.
    pub fn terminate_one(&self, id: u32) -> bool {
        let slot = self.directory.lock().slots.get(&id).cloned();
        let Some(slot) = slot else { return false };
        slot.put(|inbox| inbox.terminate = true);
        true
    }

    /// How many clients there are.
    pub fn count(&self) -> u32 {
        self.count.load(Ordering::Relaxed)
    }

    /// The places for clients of all listeners.
    pub(super) fn places(&self) -> &Arc<Places> {
        &self.places
    }

    fn for_each(&self, change: impl Fn(&mut Inbox)) {
        self.for_each_if(|_| true, change);
    }

    /// Those that are logging in are not among them: they find out by what they get from the source.
    fn for_each_of(&self, source: &str, change: impl Fn(&mut Inbox)) {
        self.for_each_if(|card| card.is_of(source), change);
    }

    fn for_each_if(&self, which: impl Fn(&Card) -> bool, change: impl Fn(&mut Inbox)) {
        let slots: Vec<_> = self.directory.lock().slots.values().cloned().collect();
        for slot in slots.into_iter().filter(|slot| which(&slot.card)) {
            slot.put(&change);
        }
    }
}

impl Directory {
    /// A place for one more.
    fn slot(&self, secret: Secret<Vec<u8>>) -> Arc<Slot> {
        let drain = (self.admission == Admission::Draining).then_some(Farewell::Stopping);
        let inbox = Mutex::new(Inbox {
            drain,
            ..Inbox::default()
        });
        Arc::new(Slot {
            secret,
            inbox,
            news: AtomicBool::new(true),
            card: Arc::default(),
        })
    }
}

impl Registration {
    /// The id, for a cancel key.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The secret, for a cancel key.
    pub fn secret(&self) -> &[u8] {
        self.slot.secret.expose()
    }

    /// Who the client is, for views. The relay does it for the clients that it serves.
    pub fn introduce(&self, identity: Identity) {
        self.slot.card.introduce(identity);
    }

    /// What others see of the client.
    pub(crate) fn card(&self) -> &Arc<Card> {
        &self.slot.card
    }

    /// Its bell. Rings nowhere once the client is gone.
    pub fn bell(&self) -> Bell {
        Bell(Some(self.slot.clone()))
    }

    /// The next event, or the promise to wake. Notes in `rung` that the bell was rung, which is no event: whoever waits
    /// for something goes on waiting. Always to be polled by the same task.
    pub fn poll_event(&self, cx: &mut Context<'_>, rung: &mut Rung) -> Poll<Event> {
        if !self.slot.news.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        let mut inbox = self.slot.inbox.lock();
        if std::mem::take(&mut inbox.rung) == Rung::Yes {
            *rung = Rung::Yes;
        }
        if std::mem::take(&mut inbox.terminate) {
            return Poll::Ready(Event::Terminate);
        }
        if let Some(ticket) = inbox.cancels.pop() {
            return Poll::Ready(Event::Cancel(ticket));
        }
        if let Some(farewell) = inbox.drain.take() {
            return Poll::Ready(Event::Drain(farewell));
        }
        if std::mem::take(&mut inbox.renew) {
            return Poll::Ready(Event::Renew);
        }
        if let Some(successor) = inbox.successor.take() {
            return Poll::Ready(Event::Move(successor));
        }
        match &mut inbox.waker {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            other => *other = Some(cx.waker().clone()),
        }
        // Whoever puts something in from now on finds the waker.
        self.slot.news.store(false, Ordering::Release);
        Poll::Pending
    }
}

impl Bell {
    /// Rings. Any number of times before the client comes to the door is one.
    pub fn ring(&self) {
        if let Some(slot) = &self.0 {
            slot.put(|inbox| inbox.rung = Rung::Yes);
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.clients.directory.lock().slots.remove(&self.id);
        self.clients.count.fetch_sub(1, Ordering::Relaxed);
        let mut inbox = self.slot.inbox.lock();
        inbox.owner = Owner::Gone;
        inbox.cancels.clear();
    }
}

impl Slot {
    /// Puts something into the inbox, and wakes its reader.
    fn put(&self, what: impl FnOnce(&mut Inbox)) {
        let mut inbox = self.inbox.lock();
        what(&mut inbox);
        self.announce(&mut inbox);
    }

    fn announce(&self, inbox: &mut Inbox) {
        self.news.store(true, Ordering::Release);
        if let Some(waker) = inbox.waker.take() {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use super::*;

    #[tokio::test]
    async fn only_the_right_secret_reaches_the_client() {
        let clients = Clients::new();
        let registration = clients.register(32).expect("an empty directory has room");
        let mut wrong = registration.secret().to_vec();
        wrong[31] ^= 1;
        clients.cancel(registration.id(), &wrong).await;
        clients.cancel(registration.id(), &registration.secret()[..31]).await;
        clients.cancel(registration.id() ^ 1, registration.secret()).await;
        let nothing = tokio::time::timeout(
            Duration::from_millis(20),
            poll_fn(|cx| registration.poll_event(cx, &mut Rung::No)),
        )
        .await;
        assert!(nothing.is_err(), "a wrong key must not be heard: {nothing:?}");

        let (id, secret) = (registration.id(), registration.secret().to_vec());
        let sender = tokio::spawn({
            let clients = clients.clone();
            async move { clients.cancel(id, &secret).await }
        });
        let Event::Cancel(ticket) = poll_fn(|cx| registration.poll_event(cx, &mut Rung::No)).await else {
            panic!("no cancel event")
        };
        assert!(!sender.is_finished(), "the sender waits for the ticket");
        drop(ticket);
        sender.await.expect("the sender's task ends");
    }

    /// Stands for another process with one client.
    #[derive(Debug)]
    struct Another(Arc<Clients>);

    impl Elsewhere for Another {
        fn cancel(&self, id: u32, secret: &[u8]) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
            let secret = secret.to_vec();
            Box::pin(async move {
                let _ = self.0.cancel_here(id, &secret).await;
            })
        }
    }

    #[tokio::test]
    async fn what_is_for_nobody_here_goes_elsewhere_and_hits_nobody_by_its_number() {
        let (here, there) = (Clients::new(), Clients::new());
        here.cancel_elsewhere(Arc::new(Another(there.clone())));
        let meant = there.register(4).expect("room");
        // The same number here, with another secret.
        let slot = here.register(4).expect("room");
        let namesake = {
            let mut directory = here.directory.lock();
            let own = directory.slots.remove(&slot.id).expect("it is registered");
            directory.slots.insert(meant.id, own);
            slot
        };
        let (id, secret) = (meant.id(), meant.secret().to_vec());
        let sender = tokio::spawn({
            let here = here.clone();
            async move { here.cancel(id, &secret).await }
        });
        let Event::Cancel(ticket) = poll_fn(|cx| meant.poll_event(cx, &mut Rung::No)).await else {
            panic!("no cancel event")
        };
        drop(ticket);
        sender.await.expect("the sender is let go");
        let untouched = poll_fn(|cx| Poll::Ready(namesake.poll_event(cx, &mut Rung::No).is_pending())).await;
        assert!(untouched);
    }

    #[tokio::test]
    async fn a_bell_wakes_its_client_and_is_no_event() {
        let clients = Clients::new();
        let registration = clients.register(4).expect("room");
        let bell = registration.bell();
        let mut rung = Rung::No;
        let heard = poll_fn(|cx| {
            assert!(registration.poll_event(cx, &mut rung).is_pending());
            if rung == Rung::Yes {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        let (ring, ()) = tokio::join!(async { bell.ring() }, heard);
        let () = ring;
        let printed = format!("{bell:?}");
        assert!(!printed.contains(&format!("{:?}", registration.secret())), "{printed}");
        drop(registration);
        bell.ring();
        Bell::default().ring();
    }

    #[test]
    fn a_secret_is_not_printed() {
        let clients = Clients::new();
        let registration = clients.register(4).expect("room");
        let secret = format!("{:?}", registration.secret());
        let printed = format!("{registration:?} {clients:?}");
        assert!(!printed.contains(&secret), "{printed}");
    }

    #[tokio::test]
    async fn a_client_that_comes_during_a_drain_is_told_at_once() {
        let clients = Clients::new();
        clients.drain();
        let late = clients.register(4).expect("room");
        assert!(matches!(
            poll_fn(|cx| late.poll_event(cx, &mut Rung::No)).await,
            Event::Drain(Farewell::Stopping)
        ));
    }

    #[tokio::test]
    async fn leaving_frees_the_id_and_the_senders() {
        let clients = Clients::new();
        let registration = clients.register(4).expect("room");
        let (id, secret) = (registration.id(), registration.secret().to_vec());
        let sender = tokio::spawn({
            let clients = clients.clone();
            async move { clients.cancel(id, &secret).await }
        });
        tokio::task::yield_now().await;
        drop(registration);
        sender.await.expect("the sender is let go");
        assert_eq!(clients.count(), 0);
    }
}
