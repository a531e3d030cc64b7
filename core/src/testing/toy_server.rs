//! The toy's database: in memory, one task per connection, with a session variable, transactions and slow statements.
//!
//! `echo x`, `set x`, `get`, `begin`, `commit`, `rollback`, `big n` (n bytes), `slow ms` (can be cancelled), `die`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::Notify,
};

use super::toy::answer;
use crate::refusal::{OpenError, Rejection};

/// All connections together.
#[derive(Debug, Default)]
pub struct Database {
    open: AtomicU32,
    most_open: AtomicU32,
    refuse_with: Mutex<Option<Rejection>>,
    log: Mutex<Vec<String>>,
    cancel_delay: Mutex<Duration>,
    login_delay: Mutex<Duration>,
    delayed: Mutex<Option<(&'static str, Duration)>>,
}

/// Cancels what runs on one connection.
#[derive(Clone, Debug, Default)]
pub struct KillSwitch(Arc<Notify>);

impl KillSwitch {
    /// Does it. Without effect when nothing runs.
    pub fn press(&self) {
        self.0.notify_waiters();
    }
}

impl Database {
    /// From now on, logins are refused like this.
    pub fn refuse_logins(&self, rejection: Option<Rejection>) {
        *self.refuse_with.lock() = rejection;
    }

    /// From now on, cancel requests take this long to arrive.
    pub fn delay_cancels(&self, delay: Duration) {
        *self.cancel_delay.lock() = delay;
    }

    /// From now on, logins take this long.
    pub fn delay_logins(&self, delay: Duration) {
        *self.login_delay.lock() = delay;
    }

    /// From now on, this command takes so long.
    pub fn slow_down(&self, command: &'static str, time: Duration) {
        *self.delayed.lock() = Some((command, time));
    }

    pub(super) fn cancel_delay(&self) -> Duration {
        *self.cancel_delay.lock()
    }

    pub(super) fn login_delay(&self) -> Duration {
        *self.login_delay.lock()
    }

    /// Connections at the moment.
    pub fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    /// Most connections at one time so far.
    pub fn most_open(&self) -> u32 {
        self.most_open.load(Ordering::Relaxed)
    }

    /// Everything that was executed, in order.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().clone()
    }

    pub(super) fn connect(self: &Arc<Self>) -> Result<(DuplexStream, KillSwitch), OpenError> {
        if let Some(rejection) = self.refuse_with.lock().clone() {
            return Err(OpenError::Rejected(rejection));
        }
        let (near, far) = tokio::io::duplex(4096);
        let kill_switch = KillSwitch::default();
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_open.fetch_max(open, Ordering::Relaxed);
        tokio::spawn(self.clone().serve(far, kill_switch.clone()));
        Ok((near, kill_switch))
    }

    async fn serve(self: Arc<Self>, mut io: DuplexStream, kill_switch: KillSwitch) {
        let (mut variable, mut status) = (String::new(), b'i');
        while let Some(text) = read_request(&mut io).await {
            self.log.lock().push(text.clone());
            let (command, argument) = text.split_once(' ').unwrap_or((&text, ""));
            let delayed = *self.delayed.lock();
            if let Some((_, time)) = delayed.filter(|(delayed, _)| *delayed == command) {
                tokio::time::sleep(time).await;
            }
            let said = match command {
                "echo" => argument.to_owned(),
                "get" => variable.clone(),
                "big" => "x".repeat(argument.parse().unwrap_or(0)),
                "set" => {
                    variable = argument.to_owned();
                    "set".to_owned()
                }
                "reset" => {
                    variable.clear();
                    "reset".to_owned()
                }
                "slow" | "preslow" => {
                    let nap = tokio::time::sleep(Duration::from_millis(argument.parse().unwrap_or(0)));
                    tokio::select! {
                        () = nap => "slept".to_owned(),
                        () = kill_switch.0.notified() => "cancelled".to_owned(),
                    }
                }
                "begin" => {
                    status = b't';
                    "begun".to_owned()
                }
                "commit" | "rollback" => {
                    status = b'i';
                    "ended".to_owned()
                }
                "die" => break,
                _ => "what?".to_owned(),
            };
            if io.write_all(&answer(status, said.as_bytes())).await.is_err() {
                break;
            }
            if command == "half" && io.write_all(&answer(status, b"more")[..3]).await.is_err() {
                break;
            }
        }
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn read_request(io: &mut DuplexStream) -> Option<String> {
    let length = io.read_u32().await.ok()?.checked_sub(4)?;
    let mut text = Vec::new();
    let read = io.take(length.into()).read_to_end(&mut text).await.ok()?;
    (read as u64 == u64::from(length)).then(|| String::from_utf8_lossy(&text).into_owned())
}
