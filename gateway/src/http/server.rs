//! Accepts connections and speaks HTTP/1.1 on them, within limits that a peer cannot stretch.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Weak},
};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream, lookup_host},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::{JoinHandle, JoinSet},
};
use tracing::{debug, warn};
use weir_core::clock;
use weir_core::front::{HandedDoor, Inheritance};

use super::limits;

/// A socket that listens, and that nobody answers yet.
pub(super) struct Bound {
    /// Where it really is.
    pub(super) address: SocketAddr,
    listener: Arc<TcpListener>,
}

/// Its name among the listening sockets that are handed over. A listener that is called so as well has another port.
const NAME: &str = "(http)";

/// A server that answers.
pub(super) struct Server {
    /// Dropped, it ends.
    stop: watch::Sender<()>,
    task: JoinHandle<()>,
    listener: Weak<TcpListener>,
}

/// Why nothing listens.
pub(super) struct Failure {
    pub(super) kind: io::ErrorKind,
    /// Also what to do.
    pub(super) reason: String,
}

/// Binds, or takes a predecessor's socket; a name is looked up, its first address that can be bound counts.
///
/// # Errors
/// Why not, and what to do.
pub(super) async fn bind(host: &str, port: u16, inherited: &Inheritance) -> Result<Bound, Failure> {
    let failed = |error: io::Error| {
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => "; is another process listening there? See \"ss -ltnp\"",
            io::ErrorKind::PermissionDenied => "; ports below 1024 need a privilege",
            io::ErrorKind::AddrNotAvailable => "; this machine has no such address",
            _ => "",
        };
        Failure {
            kind: error.kind(),
            reason: format!("cannot listen on {host}:{port}: {error}{advice}"),
        }
    };
    let wanted: Vec<_> = lookup_host((host, port)).await.map_err(failed)?.collect();
    let listener = match inherited.take_listener(NAME, &wanted).map_err(failed)? {
        Some(listener) => listener,
        None => TcpListener::bind(&wanted[..]).await.map_err(failed)?,
    };
    let listener = Arc::new(listener);
    let address = listener.local_addr().map_err(failed)?;
    Ok(Bound { address, listener })
}

impl Bound {
    /// Answers with `router` from now on.
    pub(super) fn serve(self, router: Router) -> Server {
        let (stop, stopping) = watch::channel(());
        let listener = Arc::downgrade(&self.listener);
        let task = tokio::spawn(accept(self.listener, router, stopping));
        Server { stop, task, listener }
    }
}

impl Server {
    /// The same socket for a successor.
    pub(super) fn hand_over(&self) -> Option<io::Result<HandedDoor>> {
        let listener = self.listener.upgrade()?;
        Some(HandedDoor::of(NAME.into(), &listener))
    }

    /// Resolves when the address is free and nothing is answered any more.
    pub(super) async fn stop(self) {
        drop(self.stop);
        // A task that panicked has closed its socket as well.
        let _ = self.task.await;
    }
}

async fn accept(listener: Arc<TcpListener>, router: Router, mut stopping: watch::Receiver<()>) {
    let places = Arc::new(Semaphore::new(limits::MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let arrival = async {
            let place = places.clone().acquire_owned().await;
            let place = place.expect("the semaphore is never closed");
            listener.accept().await.map(|(stream, _)| (stream, place))
        };
        tokio::select! {
            // An error is the other end being dropped, which is the word to stop.
            _ = stopping.changed() => break,
            Some(_) = connections.join_next() => {}
            arrived = arrival => match arrived {
                Ok((stream, place)) => {
                    connections.spawn(serve(stream, place, router.clone(), stopping.clone()));
                }
                Err(error) => {
                    warn!(%error, "HTTP interface: a connection could not be accepted");
                    tokio::time::sleep(limits::ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let finish = async { while connections.join_next().await.is_some() {} };
    // Whoever needs longer is cut off.
    let _ = tokio::time::timeout(limits::GOODBYE, finish).await;
}

async fn serve(stream: TcpStream, _place: OwnedSemaphorePermit, router: Router, mut stopping: watch::Receiver<()>) {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HEAD_TIMEOUT)
        .max_headers(limits::MAX_HEADERS)
        .max_header_size(limits::MAX_HEAD)
        .max_buf_size(limits::MAX_BUFFER);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let accepted = clock::now();
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        _ = stopping.changed() => None,
        () = tokio::time::sleep(limits::CONNECTION_LIFETIME) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            // Without a request yet it would be closed at once; but somebody who has just come is about to ask.
            let coming = limits::FIRST_REQUEST.saturating_sub(accepted.elapsed());
            match tokio::time::timeout(coming, connection.as_mut()).await {
                Ok(ended) => ended,
                Err(_) => {
                    connection.as_mut().graceful_shutdown();
                    let last = tokio::time::timeout(limits::LAST_ANSWER, connection).await;
                    last.unwrap_or(Ok(()))
                }
            }
        }
    };
    if let Err(error) = ended {
        // A peer's doing, of whatever kind: of interest to nobody else.
        debug!(%error, "HTTP connection ended");
    }
}
