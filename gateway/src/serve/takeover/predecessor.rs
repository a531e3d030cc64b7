//! This process as the successor of one that runs: it asks for the listening sockets, gets ready with them, and takes the
//! place only when it could serve.
//!
//! Invariant: whatever goes wrong before [`Predecessor::serving`] ends this process and leaves the other one serving.

use std::{io, os::fd::OwnedFd, path::Path, sync::Arc};

use tokio::{net::UnixStream, time::timeout};
use tracing::{info, warn};
use weir_core::front::{Bound, HandedDoor, Inheritance};

use super::{
    channel::{self, Reader, Writer},
    kin::{Kin, Side},
    limits::{PATIENCE, RELEASE},
    message::{Door, Held, Message, Place, VERSION},
    standing::{Agreed, Standing},
};

/// One that runs, and that has handed its listening sockets over.
#[derive(Debug)]
pub(in crate::serve) struct Predecessor {
    reader: Reader,
    writer: Writer,
    pid: u32,
    held: Vec<Held>,
    sources: Vec<String>,
    users: Vec<String>,
    standings: Vec<Standing>,
    agreed: Agreed,
}

impl Predecessor {
    /// Asks whoever listens on the control socket. `None` when nobody does: then there is nobody to take over from.
    ///
    /// # Errors
    /// Somebody is there and does not hand over; why.
    pub(in crate::serve) async fn meet(path: &Path) -> Result<Option<(Self, Inheritance)>, String> {
        let stream = match UnixStream::connect(path).await {
            Ok(stream) => stream,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        let (reader, writer) = channel::open(stream);
        match timeout(PATIENCE, introduce(reader, writer)).await {
            Ok(met) => met.map(Some),
            Err(_) => Err(silent()),
        }
    }

    /// Its process number.
    pub(in crate::serve) fn pid(&self) -> u32 {
        self.pid
    }

    /// The sources that it serves, as far as its version says.
    pub(in crate::serve) fn sources(&self) -> &[String] {
        &self.sources
    }

    /// The users that may log in there, likewise.
    pub(in crate::serve) fn users(&self) -> &[String] {
        &self.users
    }

    /// Everything is there that is needed to serve: waits for the word to begin. Nothing is opened to any database yet.
    ///
    /// # Errors
    /// The predecessor does not give its place up after all.
    pub(in crate::serve) async fn ready(&mut self, kin: &Kin) -> Result<(), String> {
        kin.budget().predecessor_holds(std::mem::take(&mut self.held));
        for standing in std::mem::take(&mut self.standings) {
            self.agreed.hear(standing, kin.standings());
        }
        let go = async {
            self.writer.send(&Message::Ready, &[]).await.map_err(broken)?;
            match self.reader.next().await.map_err(broken)? {
                Some((Message::Go, _)) => Ok(()),
                Some((Message::Refused { reason }, _)) => Err(reason),
                _ => Err("it broke off".to_owned()),
            }
        };
        timeout(PATIENCE, go).await.unwrap_or_else(|_| Err(silent()))
    }

    /// This process accepts now: the predecessor stops accepting, and both stay in touch until it ends.
    pub(in crate::serve) async fn serving(self, kin: &Arc<Kin>) {
        let Predecessor {
            mut reader,
            mut writer,
            pid,
            agreed,
            ..
        } = self;
        let released = async {
            writer.send(&Message::Serving, &[]).await?;
            match reader.next().await? {
                Some((Message::Released, _)) => Ok(()),
                other => Err(io::Error::other(format!("unexpected answer {other:?}"))),
            }
        };
        let outcome = timeout(RELEASE, released).await;
        match outcome.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(()) => info!(
                predecessor = pid,
                "taken over; the predecessor finishes with its clients"
            ),
            // Both accept, or the other one has died: in either case somebody serves, and it is this one.
            Err(error) => {
                warn!(predecessor = pid, %error, "the predecessor does not say that it has stopped accepting")
            }
        }
        kin.meet(Side::Predecessor, reader, writer, agreed);
    }
}

async fn introduce(mut reader: Reader, mut writer: Writer) -> Result<(Predecessor, Inheritance), String> {
    let hello = Message::Hello {
        version: VERSION,
        build: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        takes_clients: true,
    };
    writer.send(&hello, &[]).await.map_err(broken)?;
    match reader.next().await.map_err(broken)? {
        Some((
            Message::Welcome {
                doors,
                pid,
                held,
                sources,
                users,
                standings,
                ..
            },
            sockets,
        )) => {
            let inherited = inherit(doors, sockets)?;
            let predecessor = Predecessor {
                reader,
                writer,
                pid,
                held,
                sources,
                users,
                standings,
                agreed: Agreed::default(),
            };
            Ok((predecessor, inherited))
        }
        Some((Message::Refused { reason }, _)) => Err(reason),
        Some(_) => Err("it answers something else than was asked".to_owned()),
        None => Err("it broke off".to_owned()),
    }
}

fn inherit(doors: Vec<Door>, sockets: Vec<OwnedFd>) -> Result<Inheritance, String> {
    if doors.len() != sockets.len() {
        return Err(format!(
            "it names {} listening sockets and hands over {}",
            doors.len(),
            sockets.len()
        ));
    }
    let doors = doors.into_iter().zip(sockets);
    Ok(Inheritance::new(
        doors
            .map(|(door, socket)| HandedDoor {
                listener: door.listener.into(),
                bound: match door.place {
                    Place::Tcp(address) => Bound::Tcp(address),
                    Place::Unix(path) => Bound::Unix(path),
                },
                socket,
            })
            .collect(),
    ))
}

fn broken(error: io::Error) -> String {
    format!("the connection to it broke: {error}")
}

fn silent() -> String {
    format!("it has said nothing for {} s", PATIENCE.as_secs())
}
