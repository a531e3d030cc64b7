//! The control socket of a process that serves: whoever may, asks it there to hand over to a successor, or to start one.
//!
//! Invariants: only this user and the superuser are listened to; one successor at a time; until a successor has said that
//! it serves, nothing changes here, whatever becomes of it.

use std::{
    io,
    os::fd::AsFd as _,
    path::PathBuf,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    net::UnixStream,
    sync::{Semaphore, mpsc, oneshot, watch},
    task::JoinHandle,
    time::timeout,
};
use tracing::{debug, error, info, warn};
use weir_core::front::{Bound, HandedDoor, Inheritance, PrivateDoor, Successor};

use super::{
    channel::{self, Reader, Writer},
    kin::{Kin, Link, Side},
    limits::{MAX_DESCRIPTORS, MAX_NAMES, MAX_PEERS, OFFER_AGAIN, PATIENCE},
    message::{Door, Message, Place, VERSION},
    place, restart,
    standing::Agreed,
};

/// How often a process with a successor looks at what it can give up: a moment for a person, and nothing for a processor.
const LOOK: Duration = Duration::from_millis(20);

/// The seat of a process that serves.
#[derive(Debug)]
pub(in crate::serve) struct Seat {
    shared: Arc<Shared>,
    wishes: mpsc::Receiver<Wish>,
    /// Ends with it; the socket's file too, unless it was handed over.
    accepting: Option<JoinHandle<()>>,
}

/// What the conversations need.
#[derive(Debug)]
struct Shared {
    kin: Arc<Kin>,
    door: Mutex<Weak<PrivateDoor>>,
    wishes: mpsc::Sender<Wish>,
    /// One successor at a time.
    handshake: Semaphore,
    succession: watch::Sender<Succession>,
    /// Kept by everybody who has to be answered before the process ends.
    conversations: Arc<()>,
}

/// What is asked of the one that owns what runs.
#[derive(Debug)]
pub(in crate::serve) enum Wish {
    /// All listening sockets, for a successor, and what is served.
    Offer(oneshot::Sender<io::Result<Offer>>),
    /// A successor accepts on them: stop accepting, then say so. Nothing is to be done once nobody waits for that any
    /// more: the successor has died meanwhile.
    Yield { successor: u32, done: oneshot::Sender<()> },
}

/// What a successor is given.
#[derive(Debug)]
pub(in crate::serve) struct Offer {
    /// All listening sockets.
    pub(in crate::serve) doors: Vec<HandedDoor>,
    /// The names of the sources that are served.
    pub(in crate::serve) sources: Vec<String>,
    /// The names of the users that may log in, as many as there is room for.
    pub(in crate::serve) users: Vec<String>,
}

/// How far a successor has come, by its process number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Succession {
    Nobody,
    /// It accepts, and this process still does as well.
    Accepts(u32),
    /// This process accepts no more.
    TakenOver(u32),
}

impl Succession {
    /// Whether this process accepts.
    pub(super) fn is_served_by(self, pid: u32) -> bool {
        matches!(self, Succession::Accepts(by) | Succession::TakenOver(by) if by == pid)
    }
}

impl Seat {
    /// Takes the seat: from now on successors are heard. Where the socket cannot be opened, the log says why, and this
    /// process has no successor.
    pub(in crate::serve) async fn take(path: Result<PathBuf, String>, inherited: &Inheritance, kin: Arc<Kin>) -> Self {
        let (wishes, receiver) = mpsc::channel(1);
        let shared = Arc::new(Shared {
            kin,
            door: Mutex::default(),
            wishes,
            handshake: Semaphore::new(1),
            succession: watch::Sender::new(Succession::Nobody),
            conversations: Arc::default(),
        });
        let door = match path {
            Ok(path) => PrivateDoor::open(path, inherited)
                .await
                .map_err(|error| error.to_string()),
            Err(reason) => Err(reason),
        };
        let accepting = match door {
            Ok(door) => {
                let door = Arc::new(door);
                *shared.door.lock() = Arc::downgrade(&door);
                Some(tokio::spawn(accept(shared.clone(), door)))
            }
            Err(reason) => {
                warn!(
                    reason,
                    hint = "--control-socket sets another place",
                    "no control socket: weir restart and --takeover will not find this process"
                );
                None
            }
        };
        Seat {
            shared,
            wishes: receiver,
            accepting,
        }
    }

    /// The next wish. May be dropped and called again: nothing is lost.
    pub(in crate::serve) async fn next(&mut self) -> Wish {
        match self.wishes.recv().await {
            Some(wish) => wish,
            // A sender is kept with `shared`.
            None => std::future::pending().await,
        }
    }

    /// The control socket's own part of [`Wish::Offer`].
    pub(in crate::serve) fn door(&self) -> Option<io::Result<HandedDoor>> {
        let door = self.shared.door.lock().upgrade();
        door.map(|door| door.hand_over())
    }

    /// Gives the seat up to a successor, and from now on gives up server connections for it as well.
    pub(in crate::serve) async fn give_up(&mut self, successor: u32) {
        let door = self.shared.door.lock().upgrade();
        if let Some(door) = door {
            door.relinquish();
        }
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
            let _ = accepting.await;
        }
        self.shared.succession.send_replace(Succession::TakenOver(successor));
    }

    /// Whether somebody still waits for an answer here, or a predecessor of this process for its clients.
    pub(in crate::serve) fn is_needed(&self) -> bool {
        Arc::strong_count(&self.shared.conversations) > 1
            || self.shared.kin.has_predecessor()
            || self.shared.kin.is_passing_on()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(accepting) = &self.accepting {
            accepting.abort();
        }
    }
}

/// As many as there is room for in a welcome.
pub(in crate::serve) fn some_names<'a>(names: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut room = MAX_NAMES;
    let fits = |name: &&String| {
        let left = room.checked_sub(name.len());
        room = left.unwrap_or(0);
        left.is_some()
    };
    names.take_while(fits).cloned().collect()
}

async fn accept(shared: Arc<Shared>, door: Arc<PrivateDoor>) {
    let places = Arc::new(Semaphore::new(MAX_PEERS));
    loop {
        let place = places.clone().acquire_owned().await;
        match door.accept().await {
            Ok(stream) => {
                let shared = shared.clone();
                tokio::spawn(async move {
                    let _place = place;
                    let _waits = shared.conversations.clone();
                    if let Err(error) = converse(shared, stream).await {
                        debug!(%error, "a conversation over the control socket broke off");
                    }
                });
            }
            Err(error) => {
                warn!(%error, "control socket: a connection could not be accepted");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn converse(shared: Arc<Shared>, stream: UnixStream) -> io::Result<()> {
    let peer = stream.peer_cred()?;
    if peer.uid() != place::own_user() && peer.uid() != 0 {
        warn!(
            uid = peer.uid(),
            pid = peer.pid(),
            "control socket: another user is not listened to"
        );
        return Ok(());
    }
    let (mut reader, mut writer) = channel::open(stream);
    let Ok(first) = timeout(PATIENCE, reader.next()).await else {
        return Ok(());
    };
    match first? {
        Some((
            Message::Hello {
                version,
                build,
                pid,
                takes_clients,
            },
            _,
        )) => {
            let Ok(_turn) = shared.handshake.try_acquire() else {
                return refuse(&mut writer, "another successor is just taking over".to_owned()).await;
            };
            if version != VERSION {
                let reason = format!("it speaks version {VERSION} of the control socket's protocol, not {version}");
                return refuse(&mut writer, reason).await;
            }
            info!(successor = pid, build, "a successor introduces itself");
            let link = hand_over(&shared, pid, reader, writer)
                .await
                .inspect_err(|error| error!(successor = pid, %error, "not taken over; this process goes on"))?;
            tokio::spawn(give_up_connections(shared.kin.clone(), link.clone()));
            if takes_clients {
                tokio::spawn(offer_clients(shared.kin.clone(), link));
            }
            Ok(())
        }
        Some((Message::Restart, _)) => {
            info!(by = peer.pid(), "asked to start a successor");
            let answer = match restart::start_successor(shared.succession.subscribe()).await {
                Ok(pid) => Message::Restarted { pid },
                Err(reason) => {
                    error!(reason, "not restarted; this process goes on");
                    Message::Refused { reason }
                }
            };
            writer.send(&answer, &[]).await
        }
        Some(_) => refuse(&mut writer, "that is nothing that it knows".to_owned()).await,
        None => Ok(()),
    }
}

async fn refuse(writer: &mut Writer, reason: String) -> io::Result<()> {
    writer.send(&Message::Refused { reason }, &[]).await
}

async fn hand_over(shared: &Arc<Shared>, successor: u32, mut reader: Reader, mut writer: Writer) -> io::Result<Link> {
    let ready = async {
        let Offer { doors, sources, users } = ask(shared, Wish::Offer).await??;
        let standings = shared.kin.standings().unusual();
        if doors.len() > MAX_DESCRIPTORS {
            refuse(&mut writer, format!("it has {} listening sockets", doors.len())).await?;
            return Err(io::Error::other("too many listening sockets to hand over"));
        }
        let welcome = Message::Welcome {
            version: VERSION,
            build: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            doors: doors.iter().map(describe).collect(),
            held: shared.kin.budget().limits(),
            sources,
            users,
            standings: standings.clone(),
        };
        let sockets: Vec<_> = doors.iter().map(|door| door.socket.as_fd()).collect();
        writer.send(&welcome, &sockets).await?;
        match reader.next().await? {
            Some((Message::Ready, _)) => writer.send(&Message::Go, &[]).await.map(|()| standings),
            Some((Message::Refused { reason }, _)) => Err(io::Error::other(reason)),
            Some(_) => Err(io::Error::other("the successor answers something else than was asked")),
            None => Err(io::Error::other(
                "the successor ended before it could serve; its own log says why",
            )),
        }
    };
    let standings = timeout(PATIENCE, ready)
        .await
        .unwrap_or_else(|_| Err(io::Error::other("the successor does not get ready")))?;
    // Without a limit: one that hangs here accepts nothing either, and this process goes on.
    match reader.next().await? {
        Some((Message::Serving, _)) => {}
        _ => return Err(io::Error::other("the successor ended before it served")),
    }
    shared.succession.send_replace(Succession::Accepts(successor));
    tokio::select! {
        // What has been done cannot be taken back.
        biased;
        yielded = ask(shared, |done| Wish::Yield { successor, done }) => yielded?,
        error = until_gone(&mut reader) => {
            shared.succession.send_replace(Succession::Nobody);
            return Err(error);
        }
    }
    writer.send(&Message::Released, &[]).await?;
    let agreed = Agreed::told(standings);
    Ok(shared.kin.meet(Side::Successor, reader, writer, agreed))
}

/// Resolves when the successor has died: the one that owns what runs may be busy for long (a reload from a slow disk), and
/// nobody would serve if this process stopped accepting then. A successor that has lost patience may say something before it
/// hears that it is alone; that is passed over, as it is for a peer that is not there.
async fn until_gone(reader: &mut Reader) -> io::Error {
    loop {
        match reader.next().await {
            Ok(Some(_)) => {}
            Ok(None) => return io::Error::other("the successor ended before this process had stopped accepting"),
            Err(error) => return error,
        }
    }
}

/// Asks the one that owns what runs.
async fn ask<T>(shared: &Shared, wish: impl FnOnce(oneshot::Sender<T>) -> Wish) -> io::Result<T> {
    let (reply, answer) = oneshot::channel();
    let stopping = || io::Error::other("this process is stopping");
    shared.wishes.send(wish(reply)).await.map_err(|_| stopping())?;
    answer.await.map_err(|_| stopping())
}

fn describe(door: &HandedDoor) -> Door {
    Door {
        listener: door.listener.to_string(),
        place: match &door.bound {
            Bound::Tcp(address) => Place::Tcp(*address),
            Bound::Unix(path) => Place::Unix(path.clone()),
        },
    }
}

/// Tells the successor what is still held, whenever it has become less.
async fn give_up_connections(kin: Arc<Kin>, link: Link) {
    let mut told = None;
    while kin.successor().is_some() {
        let held = kin.budget().yield_more();
        if told.as_ref() != Some(&held) {
            let message = Message::Held { pools: held.clone() };
            if link.send(message).await.is_err() {
                return;
            }
            told = Some(held);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Tells the clients, again and again, that the successor takes them once they are at rest.
async fn offer_clients(kin: Arc<Kin>, link: Link) {
    let successor: Arc<dyn Successor> = Arc::new(link);
    while kin.successor().is_some() {
        kin.clients().hand_over(&successor).await;
        tokio::time::sleep(OFFER_AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use weir_core::{front::Clients, registry::Registry};

    use super::{
        super::{Budget, Standings},
        *,
    };

    #[test]
    fn of_very_many_users_some_are_named() {
        let many: Vec<_> = (0..100_000).map(|number| format!("user {number}")).collect();
        let some = some_names(many.iter());
        assert!(some.len() > 10_000 && some.len() < many.len());
        assert_eq!(some[..], many[..some.len()]);
        assert_eq!(some_names(many[..3].iter()).len(), 3);
    }

    async fn hear(reader: &mut Reader) -> Message {
        let heard = timeout(PATIENCE, reader.next()).await.expect("no hang");
        heard.expect("the connection stays").expect("something is said").0
    }

    #[tokio::test]
    async fn who_dies_before_this_process_gets_round_to_it_has_not_taken_over() {
        let folder = tempfile::tempdir().expect("there is a place for files");
        let path = folder.path().join("socket");
        let clients = Clients::new();
        let budget = Budget::new(Registry::new(), Registry::new(), clients.clone());
        let kin = Kin::new(clients, budget, Standings::new(Registry::new(), Registry::new()));
        let mut seat = Seat::take(Ok(path.clone()), &Inheritance::default(), kin).await;
        let mut succession = seat.shared.succession.subscribe();
        let stream = UnixStream::connect(&path).await.expect("it listens");
        let (mut reader, mut writer) = channel::open(stream);
        let hello = Message::Hello {
            version: VERSION,
            build: "0".to_owned(),
            pid: 7,
            takes_clients: false,
        };
        writer.send(&hello, &[]).await.expect("it is sent");
        let Wish::Offer(reply) = seat.next().await else {
            panic!("the offer comes first")
        };
        let offer = Offer {
            doors: Vec::new(),
            sources: vec!["one".to_owned()],
            users: Vec::new(),
        };
        reply.send(Ok(offer)).expect("somebody waits for it");
        assert!(matches!(hear(&mut reader).await, Message::Welcome { sources, .. } if sources == ["one"]));
        writer.send(&Message::Ready, &[]).await.expect("it is sent");
        assert_eq!(hear(&mut reader).await, Message::Go);
        writer.send(&Message::Serving, &[]).await.expect("it is sent");
        let served = succession.wait_for(|now| now.is_served_by(7)).await.map(|now| *now);
        assert_eq!(served.ok(), Some(Succession::Accepts(7)));
        // This process is busy; meanwhile the successor dies.
        drop((reader, writer));
        let Wish::Yield { mut done, .. } = seat.next().await else {
            panic!("then it is asked to yield")
        };
        timeout(PATIENCE, done.closed())
            .await
            .expect("nobody waits for it any more");
        let alone = succession.wait_for(|now| *now == Succession::Nobody);
        assert!(timeout(PATIENCE, alone).await.is_ok());
    }
}
