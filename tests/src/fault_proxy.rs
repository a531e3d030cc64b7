//! A TCP proxy that behaves as badly as a network can, and remembers what went through it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// What happens to the bytes of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Toxic {
    /// They pass.
    #[default]
    None,
    /// Each read arrives this much later.
    Latency(Duration),
    /// They arrive in packets of this size.
    Slice(usize),
    /// After this many bytes nothing arrives any more, and the connection stays open.
    Stall(u64),
    /// After this many bytes the connection is reset.
    Reset(u64),
    /// After this many bytes the direction ends (FIN), the other one lives on.
    HalfClose(u64),
}

/// A function that may change the bytes of one direction as they pass: a man in the middle.
pub type Tamper = Arc<dyn Fn(&mut Vec<u8>) + Send + Sync>;

/// What the proxy does.
#[derive(Clone, Default)]
pub struct Faults {
    /// To bytes from the client.
    pub upstream: Toxic,
    /// To bytes from the server.
    pub downstream: Toxic,
    /// Changes to bytes from the client.
    pub tamper_upstream: Option<Tamper>,
    /// Changes to bytes from the server.
    pub tamper_downstream: Option<Tamper>,
}

impl std::fmt::Debug for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Faults({:?}, {:?})", self.upstream, self.downstream)
    }
}

/// A running proxy; ends when dropped.
#[derive(Debug)]
pub struct FaultProxy {
    /// Where it listens.
    pub address: SocketAddr,
    captured: Arc<Mutex<Captured>>,
    faults: watch::Sender<Faults>,
    task: JoinHandle<()>,
}

/// Bytes that went through, of all connections together.
#[derive(Clone, Debug, Default)]
pub struct Captured {
    /// From clients.
    pub upstream: Vec<u8>,
    /// From the server.
    pub downstream: Vec<u8>,
    /// Number of connections.
    pub connections: u32,
}

impl FaultProxy {
    /// Forwards to `target`.
    pub async fn start(target: SocketAddr, faults: Faults) -> FaultProxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let address = listener.local_addr().expect("a bound listener has an address");
        let captured = Arc::new(Mutex::new(Captured::default()));
        let (sender, receiver) = watch::channel(faults);
        let task = tokio::spawn(accept(listener, target, captured.clone(), receiver));
        FaultProxy {
            address,
            captured,
            faults: sender,
            task,
        }
    }

    /// Changes what happens, for connections that are open as well.
    pub fn inflict(&self, faults: Faults) {
        self.faults.send_replace(faults);
    }

    /// What went through so far.
    pub fn captured(&self) -> Captured {
        self.captured.lock().clone()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    captured: Arc<Mutex<Captured>>,
    faults: watch::Receiver<Faults>,
) {
    // Dropped, and with them all connections, when the proxy is.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        captured.lock().connections += 1;
        let Ok(server) = TcpStream::connect(target).await else {
            continue;
        };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let up = Lane {
            from: from_client,
            to: to_server,
            captured: captured.clone(),
            faults: faults.clone(),
            side: Side::Up,
        };
        let down = Lane {
            from: from_server,
            to: to_client,
            captured: captured.clone(),
            faults: faults.clone(),
            side: Side::Down,
        };
        connections.spawn(async move {
            // A reset ends both directions; everything else ends each by itself.
            tokio::select! {
                biased;
                () = up.carry() => {}
                () = down.carry() => {}
            }
        });
    }
}

#[derive(Clone, Copy)]
enum Side {
    Up,
    Down,
}

struct Lane {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    captured: Arc<Mutex<Captured>>,
    faults: watch::Receiver<Faults>,
    side: Side,
}

impl Lane {
    /// Returns only to have both directions torn down.
    async fn carry(mut self) {
        let mut passed = 0_u64;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let Ok(read) = self.from.read(&mut buffer).await else {
                return;
            };
            if read == 0 {
                let _ = self.to.shutdown().await;
                return std::future::pending().await;
            }
            let mut bytes = buffer[..read].to_vec();
            let (toxic, tamper) = {
                let faults = self.faults.borrow();
                match self.side {
                    Side::Up => (faults.upstream, faults.tamper_upstream.clone()),
                    Side::Down => (faults.downstream, faults.tamper_downstream.clone()),
                }
            };
            if let Some(tamper) = tamper {
                tamper(&mut bytes);
            }
            self.remember(&bytes);
            if !self.deliver(&bytes, toxic, passed).await {
                return;
            }
            passed += bytes.len() as u64;
        }
    }

    fn remember(&self, bytes: &[u8]) {
        let mut captured = self.captured.lock();
        match self.side {
            Side::Up => captured.upstream.extend(bytes),
            Side::Down => captured.downstream.extend(bytes),
        }
    }

    /// False tears the connection down.
    async fn deliver(&mut self, bytes: &[u8], toxic: Toxic, passed: u64) -> bool {
        let allowed = |limit: u64| {
            usize::try_from(limit.saturating_sub(passed))
                .unwrap_or(usize::MAX)
                .min(bytes.len())
        };
        match toxic {
            Toxic::None => self.to.write_all(bytes).await.is_ok(),
            Toxic::Latency(delay) => {
                tokio::time::sleep(delay).await;
                self.to.write_all(bytes).await.is_ok()
            }
            Toxic::Slice(size) => {
                for slice in bytes.chunks(size.max(1)) {
                    if self.to.write_all(slice).await.is_err() {
                        return false;
                    }
                    tokio::task::yield_now().await;
                }
                true
            }
            Toxic::Stall(limit) => {
                let count = allowed(limit);
                if count < bytes.len() {
                    let _ = self.to.write_all(&bytes[..count]).await;
                    return std::future::pending().await;
                }
                self.to.write_all(bytes).await.is_ok()
            }
            Toxic::Reset(limit) => {
                let count = allowed(limit);
                let written = self.to.write_all(&bytes[..count]).await.is_ok();
                if count < bytes.len() {
                    let _ = self.to.as_ref().set_zero_linger();
                    return false;
                }
                written
            }
            Toxic::HalfClose(limit) => {
                let count = allowed(limit);
                let written = self.to.write_all(&bytes[..count]).await.is_ok();
                if count < bytes.len() {
                    let _ = self.to.shutdown().await;
                    return std::future::pending().await;
                }
                written
            }
        }
    }
}
