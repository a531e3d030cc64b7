//! A gateway without sockets around the toy backend: clients are in-memory streams, time may be paused.

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    task::JoinHandle,
};

use super::{
    toy::{Talk, Toy, request},
    toy_server::Database,
};
use crate::{
    front::{Allowance, Bell, Client, Clients, Grant, Identity, Terms},
    net::Peer,
    pool::Pool,
    registry::{Route, Source, SourceParts, Target},
    relay,
    settings::{Origins, PoolSettings, ReplicaRouting, Timeouts},
};

/// The gateway, and the database behind it.
pub struct Gateway {
    /// The database.
    pub database: Arc<Database>,
    /// The directory of clients.
    pub clients: Arc<Clients>,
    /// The only source.
    pub source: Arc<Source<Toy>>,
}

/// A client of it.
pub struct TestClient {
    /// The client's end of its connection.
    pub io: DuplexStream,
    /// Its cancel key.
    pub key: (u32, Vec<u8>),
    /// Its bell.
    pub bell: Bell,
    /// The gateway's task that serves it.
    pub task: JoinHandle<()>,
}

impl Gateway {
    /// A gateway with these settings.
    pub fn new(pool: PoolSettings, timeouts: Timeouts) -> Self {
        let database = Arc::new(Database::default());
        let name: Arc<str> = "toys".into();
        let source = Source::new(
            name.clone(),
            SourceParts {
                database_names: vec!["toys".to_owned()],
                primary: Pool::new(name, "primary", Arc::new(Toy(database.clone())), pool),
                replicas: Vec::new(),
                named: Vec::new(),
                replica_routing: ReplicaRouting::None,
                timeouts,
                max_client_connections: None,
                origins: Origins::default(),
            },
        );
        Gateway {
            database,
            clients: Clients::new(),
            source,
        }
    }

    /// A client that has just logged in. Its receive window is one page, so that back pressure shows early.
    pub fn connect(&self) -> TestClient {
        self.connect_with(None)
    }

    /// The same, of a user whose server connections are counted.
    pub fn connect_with(&self, allowance: Option<Arc<Allowance>>) -> TestClient {
        let (io, far) = tokio::io::duplex(4096);
        let registration = self.clients.register(8).expect("the directory of a test has room");
        let key = (registration.id(), registration.secret().to_vec());
        let bell = registration.bell();
        let count = self.source.admit().expect("the toy source takes any number of clients");
        let route = Route::new(self.source.clone(), Target::Default, count);
        let terms = Terms::new(&route, Arc::new(Grant::everything()), allowance);
        let client = Client {
            io: far,
            read_ahead: BytesMut::new(),
            dialogue: Talk,
            route,
            profile: (),
            terms,
            registration,
            identity: Identity {
                listener: "test".into(),
                user: "somebody".into(),
                source: "toys".into(),
                peer: Peer::Unix,
                encrypted: false,
                application_name: "".into(),
            },
        };
        TestClient {
            io,
            key,
            bell,
            task: tokio::spawn(relay::serve(client)),
        }
    }
}

impl TestClient {
    /// Sends a request.
    pub async fn send(&mut self, text: &str) {
        self.io
            .write_all(&request(text))
            .await
            .expect("the gateway takes a request");
    }

    /// The next answer: status and text. `None` at the end of the stream.
    pub async fn answer(&mut self) -> Option<(u8, String)> {
        let status = self.io.read_u8().await.ok()?;
        let length = self.io.read_u32().await.ok()?;
        let mut text = vec![0; length as usize];
        self.io.read_exact(&mut text).await.ok()?;
        Some((status, String::from_utf8_lossy(&text).into_owned()))
    }

    /// Asks and expects an answer within a (virtual) minute.
    pub async fn ask(&mut self, text: &str) -> String {
        let asked = async {
            self.send(text).await;
            self.answer().await.map(|(_, text)| text)
        };
        let answer = tokio::time::timeout(Duration::from_secs(60), asked).await;
        answer
            .expect("an answer within a minute")
            .unwrap_or_else(|| "(closed)".to_owned())
    }
}
