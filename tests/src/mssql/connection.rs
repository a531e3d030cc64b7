//! A connection: PRELOGIN, TLS, LOGIN7, then requests to the session's thread and its answers back.

use std::{net::TcpListener, sync::Arc};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, WriteHalf},
    net::TcpStream,
    sync::mpsc,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    Encryption,
    engine::{self, Work},
    faults::DropPoint,
    observe::{RequestKind, RequestRecord},
    shared::Shared,
    wire::{
        login::{self, Login, Prelogin},
        packet::{self, Message, ReadError, kind},
        tunnel::Tunnel,
    },
};

/// Packets are at most this large until the login is answered.
const LOGIN_PACKET: usize = 32_767;
/// Answers on their way to a client: a slow one makes its session wait.
const ANSWERS: usize = 16;

/// Accepts connections for as long as the server lives.
pub(crate) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("inside a runtime");
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            continue;
        };
        let shared = shared.clone();
        tokio::spawn(async move {
            if shared.faults.now().drop_at != Some(DropPoint::Accept) {
                // Why a connection ended is its client's business.
                let _ = serve(socket, shared).await;
            }
        });
    }
}

/// A client that is gone or cannot be understood.
#[derive(Debug)]
struct Gone;

impl From<std::io::Error> for Gone {
    fn from(_: std::io::Error) -> Gone {
        Gone
    }
}
impl From<ReadError> for Gone {
    fn from(_: ReadError) -> Gone {
        Gone
    }
}
impl From<super::wire::Malformed> for Gone {
    fn from(_: super::wire::Malformed) -> Gone {
        Gone
    }
}

/// Bytes in both directions, plain or not.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn serve(socket: TcpStream, shared: Arc<Shared>) -> Result<(), Gone> {
    socket.set_nodelay(true)?;
    let mut first = [0];
    if socket.peek(&mut first).await? == 0 {
        return Err(Gone);
    }
    if first[0] == 0x16 && shared.options.encryption != Encryption::Unsupported {
        let mut stream = TlsAcceptor::from(shared.strict_tls.clone()).accept(socket).await?;
        prelogin(&mut stream, &shared, 1).await?;
        let message = packet::read(&mut stream, LOGIN_PACKET).await?;
        return log_in(Box::new(stream), message, shared, "strict").await;
    }
    if shared.options.encryption == Encryption::Strict {
        return Err(Gone);
    }
    in_seven(socket, shared).await
}

/// TDS 7: encryption is negotiated.
async fn in_seven(mut socket: TcpStream, shared: Arc<Shared>) -> Result<(), Gone> {
    let asked = prelogin_question(&mut socket).await?;
    if shared.faults.now().drop_at == Some(DropPoint::Prelogin) {
        return Err(Gone);
    }
    let answer = match (shared.options.encryption, asked.encryption) {
        (Encryption::Unsupported, _) => 2,
        (Encryption::Optional, 0) => 0,
        (Encryption::Optional, 2) => 2,
        (Encryption::Optional, _) => 1,
        (_, 1) => 1,
        _ => 3,
    };
    prelogin_reply(&mut socket, &shared, answer, &asked).await?;
    match (asked.encryption, answer) {
        (_, 2) => {
            let message = packet::read(&mut socket, LOGIN_PACKET).await?;
            log_in(Box::new(socket), message, shared, "none").await
        }
        (2, _) => Err(Gone),
        (_, 0) => {
            let mut stream = tunnel(socket, &shared).await?;
            let message = packet::read(&mut stream, LOGIN_PACKET).await?;
            let (tunnel, tls) = stream.into_inner();
            if tls.wants_write() {
                return Err(Gone);
            }
            log_in(Box::new(tunnel.into_socket()), message, shared, "login").await
        }
        _ => {
            let mut stream = tunnel(socket, &shared).await?;
            let message = packet::read(&mut stream, LOGIN_PACKET).await?;
            log_in(Box::new(stream), message, shared, "full").await
        }
    }
}

async fn tunnel(socket: TcpStream, shared: &Shared) -> Result<TlsStream<Tunnel>, Gone> {
    let acceptor = TlsAcceptor::from(shared.tunnel_tls.clone());
    let mut stream = acceptor.accept(Tunnel::new(socket, true)).await?;
    stream.flush().await?;
    stream.get_mut().0.unwrap_from_now_on();
    Ok(stream)
}

async fn prelogin(stream: &mut impl Stream, shared: &Shared, encryption: u8) -> Result<(), Gone> {
    let asked = prelogin_question(stream).await?;
    prelogin_reply(stream, shared, encryption, &asked).await
}

async fn prelogin_question(stream: &mut impl Stream) -> Result<Prelogin, Gone> {
    let message = packet::read(stream, LOGIN_PACKET).await?;
    if message.kind != kind::PRELOGIN {
        return Err(Gone);
    }
    Ok(login::parse_prelogin(&message.payload)?)
}

async fn prelogin_reply(
    stream: &mut impl Stream,
    shared: &Shared,
    encryption: u8,
    asked: &Prelogin,
) -> Result<(), Gone> {
    let (major, minor, build) = shared.version();
    let [high, low] = build.to_be_bytes();
    let answer = login::prelogin_answer(
        [major, minor, high, low, 0, 0],
        encryption,
        asked.federated && !shared.probe(),
    );
    stream
        .write_all(&packet::split(kind::RESPONSE, &answer, 4096, 0))
        .await?;
    Ok(stream.flush().await?)
}

/// LOGIN7, its answer, and everything after.
async fn log_in(
    mut stream: Box<dyn Stream>,
    message: Message,
    shared: Arc<Shared>,
    encryption: &'static str,
) -> Result<(), Gone> {
    if message.kind != kind::LOGIN7 {
        return Err(Gone);
    }
    let login = login::parse_login(&message.payload)?;
    let faults = shared.faults.now();
    if let Some(delay) = faults.slow_login {
        tokio::time::sleep(delay).await;
    }
    if faults.drop_at == Some(DropPoint::Login) {
        return Err(Gone);
    }
    match engine::login::check(&shared, &login, encryption) {
        Err(refusal) => {
            stream
                .write_all(&packet::split(kind::RESPONSE, &refusal, 4096, 0))
                .await?;
            stream.flush().await?;
            stream.shutdown().await?;
            Err(Gone)
        }
        Ok(admitted) => {
            let spid = if shared.probe() { 0 } else { admitted.spid };
            let answer = packet::split(kind::RESPONSE, &admitted.response, 4096, spid);
            let cancel = admitted.cancel.clone();
            let outcome = async {
                stream.write_all(&answer).await?;
                stream.flush().await?;
                converse(stream, login, admitted, shared.clone()).await
            }
            .await;
            cancel.close();
            outcome
        }
    }
}

async fn converse(
    stream: Box<dyn Stream>,
    login: Login,
    admitted: engine::login::Admitted,
    shared: Arc<Shared>,
) -> Result<(), Gone> {
    let (cancel, spid) = (admitted.cancel.clone(), admitted.spid);
    let size = usize::from(admitted.packet_size);
    let (mut reader, writer) = tokio::io::split(stream);
    let (work, works) = std::sync::mpsc::channel();
    let (answers, answering) = mpsc::channel(ANSWERS);
    let writing = tokio::spawn(write_answers(writer, answering, shared.clone()));
    let session = {
        let (shared, cancel) = (shared.clone(), cancel.clone());
        std::thread::Builder::new()
            .name(format!("spid {spid}"))
            .stack_size(8 << 20)
            .spawn(move || engine::run(shared, login, admitted, cancel, answers, works))?
    };
    loop {
        let message = tokio::select! {
            message = packet::read(&mut reader, size) => message,
            () = cancel.closing() => Err(ReadError::Closed),
        };
        let item = match message {
            Ok(message) if message.kind == kind::ATTENTION => {
                observe_attention(&shared, spid);
                cancel.attention();
                Work::Attention
            }
            Ok(message) => Work::Message(message),
            Err(ReadError::Malformed(malformed)) => Work::Malformed(malformed),
            Err(ReadError::Closed) => break,
        };
        let last = matches!(item, Work::Malformed(_));
        if work.send(item).is_err() || last {
            break;
        }
    }
    drop(work);
    if !cancel.is_closed() {
        // What was asked before the connection closed on the client's side is cancelled, unless it is an error's text.
        cancel.close();
    }
    tokio::task::spawn_blocking(move || session.join()).await.ok();
    writing.abort();
    Ok(())
}

fn observe_attention(shared: &Shared, spid: u16) {
    shared.observed.requested(
        spid,
        RequestRecord {
            kind: RequestKind::Attention,
            text: String::new(),
            reset: false,
            reset_keeping_transaction: false,
            descriptor: 0,
            options: 0,
            packets: 1,
        },
    );
}

async fn write_answers(
    mut writer: WriteHalf<Box<dyn Stream>>,
    mut answers: mpsc::Receiver<Vec<u8>>,
    shared: Arc<Shared>,
) {
    while let Some(bytes) = answers.recv().await {
        // An empty one: the connection ends here.
        if bytes.is_empty() {
            break;
        }
        let written = if shared.faults.now().split_writes {
            split_write(&mut writer, &bytes).await
        } else {
            match writer.write_all(&bytes).await {
                Ok(()) => writer.flush().await,
                error => error,
            }
        };
        if written.is_err() {
            break;
        }
    }
    let _ = writer.shutdown().await;
}

async fn split_write(writer: &mut WriteHalf<Box<dyn Stream>>, bytes: &[u8]) -> std::io::Result<()> {
    for byte in bytes {
        writer.write_all(&[*byte]).await?;
        writer.flush().await?;
        tokio::task::yield_now().await;
    }
    Ok(())
}
