//! A database family in memory: every server connection is a pipe to a task that plays the server.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::mpsc,
};
use weir_core::{
    backend::{
        Backend, Dialogue, Leave, Onward, Opened, Outbox, Reset, ResetDepth, SessionReset, SessionState, Step,
        TransactionDetection,
    },
    pool::Pool,
    refusal::{Fault, OpenError, Refusal, Rejection, Retry},
    settings::PoolSettings,
};

/// What happens to the attempts to open a connection.
#[derive(Clone, Debug)]
pub(crate) enum Weather {
    Fine,
    Error(OpenError),
    Silence,
}

/// What a server connection's server is told to do.
pub(crate) enum Order {
    Say(&'static [u8]),
    HangUp,
}

pub(crate) struct Toy {
    pub(crate) weather: Mutex<Weather>,
    /// Used up before `weather` applies.
    pub(crate) showers: Mutex<VecDeque<Weather>>,
    pub(crate) login_takes: Mutex<Duration>,
    pub(crate) opens: AtomicU32,
    pub(crate) opening: AtomicU32,
    pub(crate) most_opening: AtomicU32,
    /// Connections as the server counts them.
    pub(crate) alive: Arc<AtomicU32>,
    pub(crate) most_alive: AtomicU32,
    pub(crate) servers: Mutex<Vec<mpsc::UnboundedSender<Order>>>,
    pub(crate) resets: Arc<AtomicU64>,
}

impl Toy {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Toy::fresh())
    }

    fn fresh() -> Self {
        Toy {
            weather: Mutex::new(Weather::Fine),
            showers: Mutex::default(),
            login_takes: Mutex::new(Duration::from_millis(5)),
            opens: AtomicU32::new(0),
            opening: AtomicU32::new(0),
            most_opening: AtomicU32::new(0),
            alive: Arc::default(),
            most_alive: AtomicU32::new(0),
            servers: Mutex::default(),
            resets: Arc::default(),
        }
    }

    pub(crate) fn pool(self: &Arc<Self>, settings: PoolSettings) -> Arc<Pool<Toy>> {
        Pool::new("ledger".into(), "primary", self.clone(), settings)
    }

    /// The same server under another password.
    pub(crate) fn beside(self: &Arc<Self>) -> Arc<Self> {
        Arc::new(Toy {
            alive: self.alive.clone(),
            ..Toy::fresh()
        })
    }

    pub(crate) fn opens(&self) -> u32 {
        self.opens.load(Ordering::SeqCst)
    }

    pub(crate) fn alive(&self) -> u32 {
        self.alive.load(Ordering::SeqCst)
    }

    /// Tells the server of the connection that was opened as the `index`th.
    pub(crate) fn order(&self, index: usize, order: Order) {
        let _ = self.servers.lock()[index].send(order);
    }

    fn connect(&self) -> DuplexStream {
        let (client, server) = tokio::io::duplex(1024);
        let (sender, orders) = mpsc::unbounded_channel();
        self.servers.lock().push(sender);
        let alive = self.alive.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_alive.fetch_max(alive, Ordering::SeqCst);
        tokio::spawn(serve(server, orders, self.alive.clone(), self.resets.clone()));
        client
    }
}

/// Answers `R` (reset) with `rr`, leaves `H` without an answer, answers `B` with nonsense.
async fn serve(
    mut io: DuplexStream,
    mut orders: mpsc::UnboundedReceiver<Order>,
    alive: Arc<AtomicU32>,
    resets: Arc<AtomicU64>,
) {
    let mut input = [0; 64];
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Say(bytes)) => { let _ = io.write_all(bytes).await; }
                Some(Order::HangUp) | None => break,
            },
            read = io.read(&mut input) => match read {
                Ok(0) | Err(_) => break,
                Ok(count) => for byte in &input[..count] {
                    match byte {
                        b'R' => {
                            resets.fetch_add(1, Ordering::SeqCst);
                            let _ = io.write_all(b"r").await;
                            tokio::task::yield_now().await;
                            let _ = io.write_all(b"r").await;
                        }
                        b'B' => { let _ = io.write_all(b"?").await; }
                        _ => {}
                    }
                },
            },
        }
    }
    alive.fetch_sub(1, Ordering::SeqCst);
}

pub(crate) struct ToySession {
    pub(crate) state: SessionState,
    /// What a reset will need.
    pub(crate) reset: Reset,
    /// What is sent when that is [`Reset::Await`].
    pub(crate) request: &'static [u8],
    pub(crate) depths: Vec<ResetDepth>,
    pub(crate) noticed: Vec<u8>,
    answers: u32,
}

impl TransactionDetection for ToySession {
    fn state(&self) -> SessionState {
        self.state
    }

    /// `N` is a notice; anything else is the server's end.
    fn while_idle(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.noticed.extend_from_slice(bytes);
        match bytes.iter().all(|byte| *byte == b'N') {
            true => Ok(()),
            false => Err(Fault::Server("fatal error while idle")),
        }
    }
}

impl SessionReset for ToySession {
    fn begin_reset(&mut self, depth: ResetDepth, out: &mut BytesMut) -> Reset {
        self.depths.push(depth);
        self.answers = 0;
        if self.reset == Reset::Await {
            out.extend_from_slice(self.request);
        }
        self.reset
    }

    fn continue_reset(&mut self, input: &mut BytesMut) -> Result<Reset, Fault> {
        let bytes = input.split();
        if bytes.iter().any(|byte| *byte != b'r') {
            return Err(Fault::Server("not the answer to a reset"));
        }
        self.answers += bytes.len() as u32;
        if self.answers < 2 {
            return Ok(Reset::Await);
        }
        self.state = SessionState::Idle;
        self.reset = Reset::Done;
        Ok(Reset::Done)
    }
}

impl Backend for Toy {
    const KIND: &'static str = "toy";
    type ClientIo = DuplexStream;
    type ServerIo = DuplexStream;
    type Session = ToySession;
    type Dialogue = NoDialogue;
    type Profile = &'static str;
    type CancelKey = ();

    async fn open(&self, _profile: &&'static str) -> Result<Opened<Self>, OpenError> {
        self.opens.fetch_add(1, Ordering::SeqCst);
        let opening = Count::new(&self.opening);
        self.most_opening
            .fetch_max(self.opening.load(Ordering::SeqCst), Ordering::SeqCst);
        let takes = *self.login_takes.lock();
        tokio::time::sleep(takes).await;
        let shower = self.showers.lock().pop_front();
        let weather = shower.unwrap_or_else(|| self.weather.lock().clone());
        drop(opening);
        match weather {
            Weather::Fine => Ok(Opened {
                io: self.connect(),
                session: ToySession {
                    state: SessionState::Idle,
                    reset: Reset::Done,
                    request: b"R",
                    depths: Vec::new(),
                    noticed: Vec::new(),
                    answers: 0,
                },
                cancel_key: None,
            }),
            Weather::Error(error) => Err(error),
            Weather::Silence => std::future::pending().await,
        }
    }

    async fn cancel(&self, _key: &()) -> Result<(), OpenError> {
        Ok(())
    }

    fn is_at_same_server(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.alive, &other.alive)
    }
}

struct Count<'a>(&'a AtomicU32);

impl<'a> Count<'a> {
    fn new(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Count(count)
    }
}

impl Drop for Count<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(crate) fn rejected(code: &str) -> OpenError {
    OpenError::Rejected(Rejection {
        code: code.to_owned(),
        message: "no".to_owned(),
        detail: None,
        hint: None,
        retry: match code {
            "53300" => Retry::WhenLessFull,
            "57P03" => Retry::Later,
            _ => Retry::Useless,
        },
    })
}

pub(crate) fn refused() -> OpenError {
    OpenError::Unreachable("connection refused".to_owned())
}

/// The code with which the database refused, if that is what was refused.
pub(crate) fn code_of<T>(outcome: Result<T, Refusal>) -> Option<String> {
    match outcome {
        Err(Refusal::Open {
            error: OpenError::Rejected(rejection),
            ..
        }) => Some(rejection.code),
        _ => None,
    }
}

/// These tests have no clients.
pub(crate) struct NoDialogue;

impl Dialogue for NoDialogue {
    type Session = ToySession;

    fn from_client(&mut self, _: &[u8], _: Option<&mut ToySession>, _: &mut Outbox) -> Result<Step, Fault> {
        Ok(Step::Finish)
    }

    fn from_server(&mut self, bytes: &[u8], _: &mut ToySession, _: &mut Outbox) -> Result<Step, Fault> {
        Ok(Step::Skip(bytes.len() as u64))
    }

    fn adopt(&mut self, _: &mut ToySession, _: &mut Outbox) {}

    fn release(&mut self, _: &mut ToySession) {}

    fn refuse(&mut self, _: &Refusal, _: &mut Outbox) -> Onward {
        Onward::Finish
    }

    fn server_lost(&mut self, _: &mut ToySession, _: bool, _: &mut Outbox) -> Onward {
        Onward::Finish
    }

    fn abandon_transaction(&mut self, _: &mut ToySession, _: &Refusal, _: &mut Outbox) {}

    fn leave(&mut self, _: &mut ToySession, _: bool, _: &mut Outbox) -> Leave {
        Leave::Discard("no dialogue")
    }
}
