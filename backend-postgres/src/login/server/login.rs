//! The login itself: tokio-postgres's code over a stream under observation.

use std::{
    borrow::{Borrow, BorrowMut},
    sync::Arc,
};

use tokio::sync::oneshot;
use tokio_postgres::{
    Client, Config, NoTls,
    config::{ChannelBinding, SslMode, SslNegotiation},
};
use weir_config::PostgresEndpoint;
use weir_core::{
    net::{Stream, tls::certificate_binding_hash},
    refusal::OpenError,
};

use super::{
    hashing::{Turn, drive},
    recorder::{PasswordPolicy, Record, Recorder, Veto},
    tee::{After, AlreadySecured, Tee},
};

/// Logs in; the stream comes back at rest, with nothing read ahead.
pub(super) async fn log_in(
    mut stream: Stream,
    endpoint: &PostgresEndpoint,
    startup: &[u8],
    policy: PasswordPolicy,
    host: &str,
) -> Result<(Stream, Record), OpenError> {
    let config = config(endpoint, &stream);
    let startup = startup.to_vec();
    let turn = Arc::new(Turn::default());
    let tees_turn = turn.clone();
    let login = async move {
        let mut recorder = Recorder::new(policy);
        let encrypted = stream.is_encrypted();
        let binding = binding(&stream);
        let tee = Tee::new(&mut stream, &mut recorder, startup, binding, tees_turn, After::Nothing);
        // Client and connection are let go at once; all that matters is that the server said ReadyForQuery.
        let result = if encrypted {
            config.connect_raw(tee, AlreadySecured).await.map(drop)
        } else {
            config.connect_raw(tee, NoTls).await.map(drop)
        };
        (stream, recorder.into_record(), result)
    };
    match drive(login, turn).await? {
        (stream, record, Ok(())) => Ok((stream, record)),
        (_, record, Err(error)) => Err(explain(&record, &error, endpoint, host)),
    }
}

/// Logs in for the control plane: tokio-postgres keeps the stream. The connection is driven in the background and ends
/// when the client is dropped.
pub(super) async fn log_in_typed(
    stream: Stream,
    endpoint: &PostgresEndpoint,
    startup: &[u8],
    policy: PasswordPolicy,
    host: &str,
) -> Result<Client, OpenError> {
    let config = config(endpoint, &stream);
    let startup = startup.to_vec();
    let driver = tokio::runtime::Handle::current();
    let turn = Arc::new(Turn::default());
    let tees_turn = turn.clone();
    let login = async move {
        let (home, mut record) = oneshot::channel();
        let (encrypted, binding) = (stream.is_encrypted(), binding(&stream));
        let recorder = Lent {
            recorder: Recorder::new(policy),
            home: Some(home),
        };
        let tee = Tee::new(stream, recorder, startup, binding, tees_turn, After::Everything);
        let result = if encrypted {
            config
                .connect_raw(tee, AlreadySecured)
                .await
                .map(|(client, connection)| {
                    driver.spawn(connection);
                    client
                })
        } else {
            config.connect_raw(tee, NoTls).await.map(|(client, connection)| {
                driver.spawn(connection);
                client
            })
        };
        // When the login failed, the tee is gone and has sent its record home.
        (record.try_recv().unwrap_or_default(), result)
    };
    let (record, result) = drive(login, turn).await?;
    result.map_err(|error| explain(&record, &error, endpoint, host))
}

/// A recorder that was given away, and sends home what it learned when it is dropped.
struct Lent {
    recorder: Recorder,
    home: Option<oneshot::Sender<Record>>,
}

impl Borrow<Recorder> for Lent {
    fn borrow(&self) -> &Recorder {
        &self.recorder
    }
}

impl BorrowMut<Recorder> for Lent {
    fn borrow_mut(&mut self) -> &mut Recorder {
        &mut self.recorder
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            // Nobody waits for it after a login that succeeded.
            let _ = home.send(self.recorder.take_record());
        }
    }
}

fn binding(stream: &Stream) -> Option<Vec<u8>> {
    stream
        .peer_certificate()
        .and_then(|certificate| certificate_binding_hash(certificate))
}

fn config(endpoint: &PostgresEndpoint, stream: &Stream) -> Config {
    let mut config = Config::new();
    // The startup packet is replaced, but MD5 needs the name.
    config.user(&endpoint.user);
    if let Some(password) = &endpoint.password {
        config.password(password.expose());
    }
    config.channel_binding(match endpoint.channel_binding {
        weir_config::ChannelBinding::Disable => ChannelBinding::Disable,
        weir_config::ChannelBinding::Prefer => ChannelBinding::Prefer,
        weir_config::ChannelBinding::Require => ChannelBinding::Require,
    });
    if stream.is_encrypted() {
        config
            .ssl_mode(SslMode::Require)
            .ssl_negotiation(SslNegotiation::Direct);
    } else {
        config.ssl_mode(SslMode::Disable);
    }
    config
}

fn explain(record: &Record, error: &tokio_postgres::Error, endpoint: &PostgresEndpoint, host: &str) -> OpenError {
    if let Some(veto) = record.veto {
        return OpenError::Untrusted(match veto {
            Veto::ClearText => format!(
                "{host} asks for the password in clear, and nothing proves who it is: no password was sent. \
                 Use SCRAM on the server, or sslmode=verify-full with sslrootcert"
            ),
            Veto::Md5 => format!(
                "{host} asks for an MD5 password, and nothing proves who it is: no password was sent. \
                 Use SCRAM on the server, or sslmode=verify-full with sslrootcert"
            ),
            Veto::Protocol(what) => format!("{host} does not follow PostgreSQL's protocol: {what}"),
        });
    }
    if let Some(rejection) = &record.rejection {
        return OpenError::Rejected(rejection.clone());
    }
    if let Some(kind) = record.broken {
        return OpenError::Unreachable(format!("{host} broke off the login: {kind}"));
    }
    if endpoint.password.is_none() {
        return OpenError::Misconfigured(format!("{host} asks for a password, and the address holds none"));
    }
    // tokio-postgres's words for a failed SCRAM: no secret is in them.
    let reason =
        std::error::Error::source(error).map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
    OpenError::Untrusted(format!("login at {host} failed: {reason}"))
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::UnixStream,
    };
    use weir_config::{Host, HostName, SslMode as Mode};
    use weir_core::{net::Socket, secret::Secret};

    use super::*;

    fn endpoint() -> PostgresEndpoint {
        PostgresEndpoint {
            hosts: vec![Host {
                name: HostName::Tcp("db".to_owned()),
                port: 5432,
                address: None,
            }],
            database: "ledger".to_owned(),
            user: "app".to_owned(),
            password: Some(Secret::new("canary-password".to_owned())),
            ssl_mode: Mode::Disable,
            root_certificate: None,
            client_certificate: None,
            client_key: None,
            client_key_password: None,
            channel_binding: weir_config::ChannelBinding::Prefer,
            ssl_negotiation: weir_config::SslNegotiation::Postgres,
            application_name: None,
            options: None,
            connect_timeout: None,
            target_session_attrs: weir_config::TargetSessionAttrs::Any,
            load_balance_hosts: weir_config::LoadBalanceHosts::Disable,
        }
    }

    /// Logs in at a server that makes one demand; returns the error and everything that was sent.
    async fn demanded(code: u32, policy: PasswordPolicy) -> (Option<OpenError>, Vec<u8>) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let server = tokio::spawn(async move {
            let mut seen = vec![0; 64];
            let read = theirs.read(&mut seen).await.unwrap();
            seen.truncate(read);
            let salt = if code == 5 { &b"salt"[..] } else { b"" };
            let length = 8 + salt.len() as u32;
            theirs
                .write_all(&[b"R", &length.to_be_bytes()[..], &code.to_be_bytes(), salt].concat())
                .await
                .unwrap();
            theirs.read_to_end(&mut seen).await.unwrap();
            seen
        });
        let (endpoint, stream) = (endpoint(), Stream::Plain(Socket::Unix(ours)));
        let login = log_in(stream, &endpoint, b"our startup packet", policy, "db:5432");
        // A server that is obeyed says nothing more; it hears the end of the stream when we give up.
        let result = tokio::time::timeout(std::time::Duration::from_millis(500), login).await;
        (result.ok().and_then(Result::err), server.await.unwrap())
    }

    #[tokio::test]
    async fn no_password_byte_leaves_over_an_unproven_line() {
        for (code, words) in [(3, "in clear"), (5, "MD5")] {
            let (error, seen) = demanded(code, PasswordPolicy::ScramOnly).await;
            assert!(
                matches!(&error, Some(OpenError::Untrusted(why)) if why.contains(words)),
                "{error:?}"
            );
            assert_eq!(seen, b"our startup packet", "nothing but the startup packet");
        }
    }

    #[tokio::test]
    async fn over_a_proven_line_the_server_decides() {
        // Also: a login whose future is dropped ends, and closes its socket.
        let (_, seen) = demanded(3, PasswordPolicy::Any).await;
        assert!(seen.ends_with(b"p\0\0\0\x14canary-password\0"), "{seen:?}");
    }
}
