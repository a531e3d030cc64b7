//! Where a named instance listens: asked of the SQL Server Browser on its host, each time a connection is opened, because
//! the port changes when the instance is restarted.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    net::{UdpSocket, lookup_host},
    task::JoinSet,
    time::timeout_at,
};
use weir_core::{clock, refusal::OpenError};

use crate::{
    limits,
    wire::browser::{self, NoPort},
};

/// UDP; the service has no other.
const PORT: u16 = 1434;

/// How long one datagram is waited for, and how often it is sent: datagrams get lost. The caller bounds the time of it all.
const PATIENCE: Duration = Duration::from_secs(1);
const ATTEMPTS: u32 = 4;

/// The port on which `host\instance` listens. All addresses of the host are asked; the first answer that makes sense counts.
///
/// # Errors
/// [`OpenError::Unreachable`] says what was asked and what came, [`OpenError::Misconfigured`] that no instance has that name.
pub(crate) async fn port_of(host: &str, instance: &str) -> Result<u16, OpenError> {
    let question = browser::question(instance)
        .ok_or_else(|| OpenError::Misconfigured(format!("{host}: no instance can be called \"{instance}\"")))?;
    let failed = |why: String| {
        OpenError::Unreachable(format!(
            "{host}\\{instance}: the SQL Server Browser on UDP port {PORT} was asked for its port: {why}; Server=host,port \
             needs no browser"
        ))
    };
    let addresses = lookup_host((host, PORT))
        .await
        .map_err(|error| failed(error.to_string()))?;
    let mut asked = JoinSet::new();
    for address in addresses.take(limits::MAX_BROWSER_ADDRESSES) {
        let (question, instance) = (question.clone(), instance.to_owned());
        asked.spawn(async move { ask(address, &question, &instance).await });
    }
    let mut why = "the name has no address".to_owned();
    while let Some(answer) = asked.join_next().await {
        match answer {
            Ok(Ok(port)) => return Ok(port),
            Ok(Err(reason)) => why = reason,
            Err(_) => why = "the gateway is stopping".to_owned(),
        }
    }
    Err(failed(why))
}

async fn ask(address: SocketAddr, question: &[u8], instance: &str) -> Result<u16, String> {
    let told = |error: io::Error| format!("{}: {error}", address.ip());
    let own: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(own).await.map_err(told)?;
    // Datagrams of others are not seen from now on.
    socket.connect(address).await.map_err(told)?;
    let mut buffer = vec![0; limits::MAX_BROWSER_ANSWER + 4];
    let mut why = "no answer";
    for _ in 0..ATTEMPTS {
        socket.send(question).await.map_err(told)?;
        let until = clock::now() + PATIENCE;
        // However much nonsense comes, it takes no longer.
        while let Ok(received) = timeout_at(until.into(), socket.recv(&mut buffer)).await {
            let length = received.map_err(told)?;
            match browser::port(buffer.get(..length).unwrap_or_default(), instance) {
                Ok(port) => return Ok(port),
                Err(NoPort::Answered(what)) => return Err(format!("{}: {what}", address.ip())),
                Err(NoPort::Nonsense(what)) => why = what,
            }
        }
    }
    Err(format!("{}: {why}", address.ip()))
}
