//! The task that holds the shared connection: opened when the first client wants it, closed when nobody has wanted it for
//! a while, opened again, ever later, when it fails.
//!
//! The connection is the login's own, outside of the pool. Invariants: what is heard goes to the registry in the order in
//! which it came; a connection that says nothing is asked whether it is still there.

use std::{future::poll_fn, io, sync::Arc, task::Poll, time::Duration};

use bytes::{BufMut as _, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::JoinHandle,
    time::{sleep_until, timeout},
};
use weir_core::{
    clock::{self, Instant},
    net::Stream,
    refusal::{Fault, OpenError, Rejection},
};

use super::{
    hub::Hub,
    line::{Input, Said},
    registry::{Channel, MARK_PREFIX},
};
use crate::{
    limits,
    login::server::Opener,
    settings::{Profile, Replication},
    wire::write,
};

/// The running task; it ends with this, and whoever relied on it is told.
#[derive(Debug)]
pub(crate) struct Listener {
    task: JoinHandle<()>,
    hub: Arc<Hub>,
}

/// How long the connection stays when nobody listens: clients come and go.
const LINGER: Duration = Duration::from_secs(10);
/// How long a mark may take from one connection to the other. Meanwhile its client's notifications are held back.
const MARK_PATIENCE: Duration = Duration::from_secs(5);
/// Silence after which the server is asked whether it is still there.
const PING_AFTER: Duration = Duration::from_secs(30);
/// How long an answer may take.
const ANSWER_PATIENCE: Duration = Duration::from_secs(15);
/// Between attempts: at first, and at most.
const BACK_OFF: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(60)];

/// Time limits that the role or the database may have, and which are not meant for somebody who listens.
const NO_LIMITS: &[u8] = b"SELECT pg_catalog.set_config(s.name, '0', false) FROM pg_catalog.pg_settings s \
    WHERE s.name OPERATOR(pg_catalog.=) ANY (ARRAY['idle_session_timeout','statement_timeout','lock_timeout']); ";

impl Listener {
    /// Starts it; opens nothing yet.
    pub(crate) fn start(hub: Arc<Hub>, opener: Arc<Opener>) -> Self {
        let task = tokio::spawn(run(hub.clone(), opener));
        Listener { task, hub }
    }

    /// The source has gone elsewhere: nothing is heard here any more.
    pub(crate) fn end(&self) {
        self.task.abort();
        self.hub.with(|registry| registry.down(None));
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.end();
    }
}

/// Why a connection ended.
enum End {
    /// Nobody listens any more.
    Unwanted,
    /// It does not hear what clients' connections hear.
    Unfit,
    Lost(Box<Loss>),
}

struct Loss {
    why: String,
    last_words: Option<Rejection>,
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        End::lost(error.to_string())
    }
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        End::lost(fault.to_string())
    }
}

impl End {
    fn lost(why: impl Into<String>) -> Self {
        End::Lost(Box::new(Loss {
            why: why.into(),
            last_words: None,
        }))
    }
}

async fn run(hub: Arc<Hub>, opener: Arc<Opener>) {
    let source = opener.connection().label.clone();
    let mut wait = BACK_OFF[0];
    loop {
        wanted(&hub).await;
        match open(&opener).await {
            Ok(stream) => {
                let began = clock::now();
                let end = serve(&hub, stream, &source).await;
                let last_words = match &end {
                    End::Lost(loss) => loss.last_words.as_ref(),
                    End::Unwanted | End::Unfit => None,
                };
                hub.with(|registry| registry.down(last_words));
                match end {
                    End::Unwanted => {
                        tracing::info!(source, "shared listener closed: nobody listens");
                        wait = BACK_OFF[0];
                        continue;
                    }
                    End::Unfit => {
                        tracing::warn!(
                            source,
                            "the shared listener does not hear what other connections notify of: \
                             clients that listen keep their server connections"
                        );
                        wait = BACK_OFF[1];
                    }
                    End::Lost(loss) => {
                        tracing::warn!(source, reason = loss.why, "shared listener lost");
                        if began.elapsed() > BACK_OFF[1] {
                            wait = BACK_OFF[0];
                        }
                    }
                }
            }
            Err(error) => {
                tracing::warn!(
                    source,
                    %error,
                    "the shared listener cannot be opened: clients that listen keep their server connections"
                );
            }
        }
        tokio::time::sleep(wait).await;
        wait = (2 * wait).min(BACK_OFF[1]);
    }
}

/// Waits until somebody listens.
async fn wanted(hub: &Hub) {
    poll_fn(|cx| {
        hub.with(|registry| {
            registry.wake_me(cx.waker());
            if registry.is_wanted() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
    })
    .await;
}

/// A connection that passes on what it hears as the database has it, whatever its encoding.
async fn open(opener: &Opener) -> Result<Stream, OpenError> {
    let profile = Profile {
        replication: Replication::No,
        settings: [
            ("client_encoding", "SQL_ASCII"),
            ("application_name", "weir shared listener"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into(),
    };
    let patience = opener.connection().pool.connect_timeout;
    let opened = timeout(patience, opener.open(&profile)).await;
    let opened = opened.unwrap_or(Err(OpenError::TimedOut(patience)))?;
    let is = |(name, value): &(String, String)| name == "client_encoding" && value == "SQL_ASCII";
    match opened.parameters.iter().any(is) {
        true => Ok(opened.stream),
        false => Err(OpenError::Misconfigured(
            "the server does not take client_encoding SQL_ASCII".to_owned(),
        )),
    }
}

/// A name that nobody else has.
fn marks_channel() -> Result<Channel, End> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|_| End::lost("the operating system gives no random bytes"))?;
    let digits: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{MARK_PREFIX}{digits}").into_bytes().into())
}

/// Serves until the connection ends or nobody wants it any more.
async fn serve(hub: &Hub, mut stream: Stream, source: &str) -> End {
    match converse(hub, &mut stream, source).await {
        Ok(end) | Err(end) => {
            if !matches!(end, End::Lost(_)) {
                // The server notices the closed socket as well.
                let _ = stream.write_all(b"X\0\0\0\x04").await;
                let _ = stream.shutdown().await;
            }
            end
        }
    }
}

async fn converse(hub: &Hub, stream: &mut Stream, source: &str) -> Result<End, End> {
    let marks = marks_channel()?;
    let mut first = NO_LIMITS.to_vec();
    super::quote_all("LISTEN", std::slice::from_ref(&marks), &mut first);
    let mut line = Conversation::new(hub, stream);
    line.tell(&first).await?;
    let prepared = timeout(ANSWER_PATIENCE, async {
        while line.due.is_some() {
            line.hear().await?;
        }
        Ok::<_, End>(())
    });
    prepared.await.map_err(|_| End::lost("the server does not answer"))??;
    tracing::info!(source, "shared listener opened");
    hub.with(|registry| registry.up(marks));
    loop {
        let version = hub.with(|registry| registry.version());
        if line.due.is_none()
            && let Some(batch) = hub.with(super::registry::Registry::next_batch)
        {
            line.tell(&batch).await?;
        }
        let now = clock::now();
        let marks_due = hub.with(|registry| registry.expire(now, MARK_PATIENCE));
        if hub.with(|registry| registry.is_unfit()) {
            return Ok(End::Unfit);
        }
        let is_wanted = hub.with(|registry| registry.is_wanted());
        line.unwanted_since = match (is_wanted, line.unwanted_since) {
            (true, _) => None,
            (false, since) => since.or(Some(now)),
        };
        if line.unwanted_since.is_some_and(|since| now >= since + LINGER) {
            return Ok(End::Unwanted);
        }
        match line.due {
            Some(due) if now >= due => return Err(End::lost("the server does not answer")),
            None if now >= line.heard_at + PING_AFTER => line.tell(b"").await?,
            _ => {}
        }
        let wake_at = [
            marks_due,
            line.unwanted_since.map(|since| since + LINGER),
            line.due.or(Some(line.heard_at + PING_AFTER)),
        ];
        let wake_at = wake_at.into_iter().flatten().min().unwrap_or(now + PING_AFTER);
        tokio::select! {
            heard = line.hear() => heard?,
            () = news(hub, version) => {}
            () = sleep_until(wake_at.into()) => {}
        }
    }
}

/// Waits until a client has changed something since then.
async fn news(hub: &Hub, since: u64) {
    poll_fn(|cx| {
        hub.with(|registry| {
            registry.wake_me(cx.waker());
            if registry.version() == since {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
    })
    .await;
}

/// The connection, and what is owed on it.
struct Conversation<'a> {
    hub: &'a Hub,
    stream: &'a mut Stream,
    input: Input,
    /// When an answer has to be there at the latest.
    due: Option<Instant>,
    heard_at: Instant,
    unwanted_since: Option<Instant>,
}

impl<'a> Conversation<'a> {
    fn new(hub: &'a Hub, stream: &'a mut Stream) -> Self {
        Conversation {
            hub,
            stream,
            input: Input::default(),
            due: None,
            heard_at: clock::now(),
            unwanted_since: None,
        }
    }

    async fn tell(&mut self, text: &[u8]) -> Result<(), End> {
        let mut out = BytesMut::new();
        write::query(&mut out, text);
        self.due = Some(clock::now() + ANSWER_PATIENCE);
        let written = timeout(ANSWER_PATIENCE, async {
            self.stream.write_all(&out).await?;
            self.stream.flush().await
        });
        written.await.map_err(|_| End::lost("the server does not read"))??;
        Ok(())
    }

    /// One read. Nothing is lost when this is given up half-way.
    async fn hear(&mut self) -> Result<(), End> {
        self.input.bytes.reserve(limits::LISTENER_READ);
        let mut buffer = (&mut self.input.bytes).limit(limits::LISTENER_READ);
        if self.stream.read_buf(&mut buffer).await? == 0 {
            return Err(End::lost("the server closed the connection"));
        }
        self.heard_at = clock::now();
        while let Some(said) = self.input.next()? {
            match said {
                Said::Notification(notification) => self.hub.with(|registry| registry.heard(&notification)),
                Said::Ready => {
                    self.due = None;
                    self.hub.with(super::registry::Registry::answered);
                }
                Said::No(rejection) => {
                    return Err(End::Lost(Box::new(Loss {
                        why: rejection.message.clone(),
                        last_words: Some(rejection),
                    })));
                }
            }
        }
        Ok(())
    }
}
