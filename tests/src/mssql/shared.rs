//! What the sessions of one server have in common: databases, locks, numbers, the record of what happened.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::{Condvar, Mutex};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use super::{Kind, Options, failure::Failure, faults::Switch, observe::Observed};
use crate::{certificates::Identity, clock, process::Watchdog};

/// See the module.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) observed: Observed,
    pub(crate) faults: Switch,
    /// TLS inside PRELOGIN: 1.2 at most.
    pub(crate) tunnel_tls: Arc<ServerConfig>,
    /// TLS from the first byte.
    pub(crate) strict_tls: Arc<ServerConfig>,
    folder: tempfile::TempDir,
    /// Removes the folder when this process is killed.
    _watchdog: Watchdog,
    write_locks: Mutex<HashMap<String, Arc<WriteLock>>>,
    pub(crate) application_locks: ApplicationLocks,
    cancels: Mutex<HashMap<u16, Arc<Cancel>>>,
    next_spid: Mutex<u16>,
    next_descriptor: AtomicU64,
}

impl Shared {
    pub(crate) fn create(options: Options, identity: &Identity) -> Shared {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        for name in options.databases.iter().map(String::as_str).chain(["master", "tempdb"]) {
            let file = folder.path().join(format!("{name}.db"));
            super::engine::catalog::create_database(&file).expect("a database can be made in a temporary folder");
        }
        Shared {
            options,
            observed: Observed::default(),
            faults: Switch::default(),
            tunnel_tls: tls(identity, &[&rustls::version::TLS12], &[]),
            strict_tls: tls(identity, rustls::ALL_VERSIONS, &[b"tds/8.0"]),
            _watchdog: Watchdog::over(None, folder.path()),
            folder,
            write_locks: Mutex::default(),
            application_locks: ApplicationLocks::default(),
            cancels: Mutex::default(),
            next_spid: Mutex::new(50),
            next_descriptor: AtomicU64::new(0x0000_0035_0000_0001),
        }
    }

    pub(crate) fn probe(&self) -> bool {
        self.options.kind == Kind::Probe
    }

    /// The name of the server in errors.
    pub(crate) fn name(&self) -> &'static str {
        if self.probe() { "PROBE" } else { "STANDIN" }
    }

    /// Major, minor, build.
    pub(crate) fn version(&self) -> (u8, u8, u16) {
        if self.probe() { (12, 0, 2000) } else { (16, 0, 1000) }
    }

    /// The database of this name, in the spelling it was created with.
    pub(crate) fn database(&self, name: &str) -> Option<String> {
        let known = self
            .options
            .databases
            .iter()
            .map(String::as_str)
            .chain(["master", "tempdb"]);
        known
            .into_iter()
            .find(|known| known.eq_ignore_ascii_case(name))
            .map(str::to_owned)
    }

    pub(crate) fn file(&self, database: &str) -> PathBuf {
        self.folder.path().join(format!("{database}.db"))
    }

    pub(crate) fn write_lock(&self, database: &str) -> Arc<WriteLock> {
        self.write_locks.lock().entry(database.to_owned()).or_default().clone()
    }

    pub(crate) fn next_descriptor(&self) -> u64 {
        self.next_descriptor.fetch_add(1, Ordering::Relaxed)
    }

    /// A number that no open session has.
    pub(crate) fn admit(&self, cancel: &Arc<Cancel>) -> u16 {
        let mut cancels = self.cancels.lock();
        let mut next = self.next_spid.lock();
        loop {
            *next = if *next >= 32_000 { 51 } else { *next + 1 };
            if !cancels.contains_key(&next) {
                cancels.insert(*next, cancel.clone());
                return *next;
            }
        }
    }

    pub(crate) fn dismiss(&self, spid: u16) {
        self.cancels.lock().remove(&spid);
        self.application_locks.release_all(spid, None);
        self.observed.change(spid, |session| session.open = false);
    }

    pub(crate) fn disconnect_all(&self) {
        for cancel in self.cancels.lock().values() {
            cancel.close();
        }
    }

    pub(crate) fn disconnect(&self, spid: u16) -> bool {
        let cancels = self.cancels.lock();
        cancels.get(&spid).inspect(|cancel| cancel.close()).is_some()
    }
}

fn tls(
    identity: &Identity,
    versions: &[&'static rustls::SupportedProtocolVersion],
    protocols: &[&[u8]],
) -> Arc<ServerConfig> {
    let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes()).expect("a certificate as PEM");
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).expect("a key as PEM");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("the provider knows these versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("the key belongs to the certificate");
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

/// Whether a session's request shall end: an Attention waits, or the connection is gone.
#[derive(Debug, Default)]
pub(crate) struct Cancel {
    attentions: AtomicUsize,
    closed: AtomicBool,
    /// A server of the probe kind looks for Attention only between requests.
    patient: AtomicBool,
    changed: tokio::sync::Notify,
}

impl Cancel {
    pub(crate) fn attention(&self) {
        self.attentions.fetch_add(1, Ordering::SeqCst);
    }
    /// One Attention has been acknowledged.
    pub(crate) fn acknowledged(&self) {
        self.attentions.fetch_sub(1, Ordering::SeqCst);
    }
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.changed.notify_one();
    }
    pub(crate) async fn closing(&self) {
        self.changed.notified().await;
    }
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }
    pub(crate) fn be_patient(&self) {
        self.patient.store(true, Ordering::SeqCst);
    }
    pub(crate) fn is_wanted(&self) -> bool {
        self.is_closed() || (self.attentions.load(Ordering::SeqCst) > 0 && !self.patient.load(Ordering::SeqCst))
    }
}

/// How long a wait looks away before it asks whether it is cancelled.
const GLANCE: Duration = Duration::from_millis(5);

/// Who writes in a database: one session at a time, in the order of asking.
#[derive(Debug, Default)]
pub(crate) struct WriteLock {
    state: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    owner: Option<u16>,
    next_ticket: u64,
    waiting: Vec<u64>,
}

impl WriteLock {
    /// Waits for it; `limit` as LOCK_TIMEOUT means it. Error 1222 when it has passed.
    pub(crate) fn acquire(&self, spid: u16, limit: Option<Duration>, cancel: &Cancel) -> Result<(), Failure> {
        let mut state = self.state.lock();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.waiting.push(ticket);
        let start = clock::now();
        let outcome = loop {
            if state.owner.is_none() && state.waiting.first() == Some(&ticket) {
                state.owner = Some(spid);
                break Ok(());
            }
            if cancel.is_wanted() {
                break Err(Failure::interrupted());
            }
            if limit.is_some_and(|limit| start.elapsed() >= limit) {
                break Err(Failure::new(1222, 16, 51, "Lock request time out period exceeded."));
            }
            self.changed.wait_for(&mut state, GLANCE);
        };
        state.waiting.retain(|waiting| *waiting != ticket);
        self.changed.notify_all();
        outcome
    }

    pub(crate) fn release(&self, spid: u16) {
        let mut state = self.state.lock();
        if state.owner == Some(spid) {
            state.owner = None;
            self.changed.notify_all();
        }
    }
}

/// Locks of `sp_getapplock`.
#[derive(Debug, Default)]
pub(crate) struct ApplicationLocks {
    held: Mutex<Vec<Held>>,
    changed: Condvar,
}

#[derive(Clone, Debug)]
struct Held {
    resource: String,
    spid: u16,
    exclusive: bool,
    owner: LockOwner,
}

/// What ends an application lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LockOwner {
    Session,
    Transaction,
}

impl ApplicationLocks {
    /// 0 granted at once, 1 after waiting, -1 when the time has passed.
    pub(crate) fn acquire(
        &self,
        resource: &str,
        spid: u16,
        exclusive: bool,
        owner: LockOwner,
        limit: Option<Duration>,
        cancel: &Cancel,
    ) -> Result<i32, Failure> {
        let mut held = self.held.lock();
        let start = clock::now();
        let mut waited = 0;
        loop {
            let blocked = held
                .iter()
                .any(|lock| lock.resource == resource && lock.spid != spid && (lock.exclusive || exclusive));
            if !blocked {
                held.push(Held {
                    resource: resource.to_owned(),
                    spid,
                    exclusive,
                    owner,
                });
                return Ok(waited);
            }
            if cancel.is_wanted() {
                return Err(Failure::interrupted());
            }
            if limit.is_some_and(|limit| start.elapsed() >= limit) {
                return Ok(-1);
            }
            waited = 1;
            self.changed.wait_for(&mut held, GLANCE);
        }
    }

    /// Whether one was held.
    pub(crate) fn release(&self, resource: &str, spid: u16, owner: LockOwner) -> bool {
        let mut held = self.held.lock();
        let found = held
            .iter()
            .position(|lock| lock.resource == resource && lock.spid == spid && lock.owner == owner);
        if let Some(at) = found {
            held.remove(at);
            self.changed.notify_all();
        }
        found.is_some()
    }

    pub(crate) fn release_all(&self, spid: u16, owner: Option<LockOwner>) {
        self.held
            .lock()
            .retain(|lock| lock.spid != spid || owner.is_some_and(|owner| lock.owner != owner));
        self.changed.notify_all();
    }

    pub(crate) fn held_by(&self, spid: u16, owner: LockOwner) -> usize {
        self.held
            .lock()
            .iter()
            .filter(|lock| lock.spid == spid && lock.owner == owner)
            .count()
    }
}
