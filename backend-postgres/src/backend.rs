//! One endpoint of a PostgreSQL source: opens server connections to it, cancels what runs on them, remembers what its
//! servers say of themselves.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use weir_config::{PostgresConnection, SequenceFunctions, SessionStatePolicy};
use weir_core::{
    backend::{Backend, Opened},
    net::{Socket, Stream},
    refusal::OpenError,
};

use crate::{
    dialogue::Conversation,
    listen::Listener,
    login::server::{self, CancelKey, Opener},
    session::{Parameters, Session, SessionInit, SourceState},
    settings::{Profile, Replication},
};

/// The PostgreSQL family; one value for the primary, each replica and each member of a connection set.
#[derive(Debug)]
pub struct Postgres {
    opener: Arc<Opener>,
    /// Shown in the database instead of each client's own.
    application_name: Option<String>,
    /// What its servers report of a fresh session, as last seen.
    welcome: ArcSwapOption<Parameters>,
    shared: Arc<SourceState>,
    session_state: SessionStatePolicy,
    sequence_functions: SequenceFunctions,
    /// Hears notifications for all clients; started with the first connection.
    listener: OnceLock<Listener>,
    pin_notice: bool,
}

impl Postgres {
    /// `parameters`: startup parameters of the source; they win over those in the address. `application_name`: shown in the
    /// database instead of each client's own.
    pub fn new(
        connection: PostgresConnection,
        parameters: Vec<(String, String)>,
        application_name: Option<String>,
        shared: Arc<SourceState>,
        session_state: SessionStatePolicy,
        sequence_functions: SequenceFunctions,
    ) -> Self {
        Postgres {
            opener: Arc::new(Opener::new(connection, parameters)),
            application_name,
            welcome: ArcSwapOption::empty(),
            shared,
            session_state,
            sequence_functions,
            listener: OnceLock::new(),
            pin_notice: false,
        }
    }

    /// The same, and whether clients are told when they begin or cease to keep their server connection.
    #[must_use]
    pub fn with_pin_notice(mut self, pin_notice: bool) -> Self {
        self.pin_notice = pin_notice;
        self
    }

    /// What a fresh session here looks like; `None` before the first connection. With it a client can be let in without
    /// a server connection (specification S10 rule 1).
    pub fn welcome(&self) -> Option<Arc<Parameters>> {
        self.welcome.load_full()
    }

    /// The name that every session here has in `pg_stat_activity`, if the source sets one.
    pub fn application_name(&self) -> Option<&str> {
        self.application_name.as_deref()
    }

    /// What the clients and server connections of the source share.
    pub fn shared(&self) -> &Arc<SourceState> {
        &self.shared
    }

    /// Whether session state follows clients from one server connection to the next.
    pub fn session_state(&self) -> SessionStatePolicy {
        self.session_state
    }

    /// What becomes of `currval` and `lastval`.
    pub fn sequence_functions(&self) -> SequenceFunctions {
        self.sequence_functions
    }

    /// Whether clients are told when they begin or cease to keep their server connection.
    pub fn pin_notice(&self) -> bool {
        self.pin_notice
    }

    /// Whether connections opened by either serve the same clients in the same way: the pool of one can stay when the
    /// other is declared. The sizes and time limits of the pool do not matter.
    pub fn is_like(&self, other: &Self) -> bool {
        self.opener.is_like(&other.opener)
            && self.application_name == other.application_name
            && self.session_state == other.session_state
            && self.sequence_functions == other.sequence_functions
            && self.shared.hub().is_some() == other.shared.hub().is_some()
            && self.pin_notice == other.pin_notice
    }

    /// How connections are opened; for the control plane.
    pub fn opener(&self) -> &Opener {
        &self.opener
    }

    fn learn(&self, reported: &Parameters) {
        let news = self.welcome.load().as_deref() != Some(reported);
        if news {
            self.welcome.store(Some(Arc::new(reported.clone())));
        }
    }
}

impl Backend for Postgres {
    const KIND: &'static str = "postgres";
    type ClientIo = Stream;
    type ServerIo = Stream;
    type Session = Session;
    type Dialogue = Conversation;
    type Profile = Profile;
    type CancelKey = CancelKey;

    fn clear_socket(io: &Stream) -> Option<&Socket> {
        match io {
            Stream::Plain(socket) => Some(socket),
            Stream::TlsServer(_) | Stream::TlsClient(_) => None,
        }
    }

    async fn open(&self, profile: &Profile) -> Result<Opened<Self>, OpenError> {
        let opened = self.opener.open(profile).await?;
        if let Some(hub) = self.shared.hub() {
            self.listener
                .get_or_init(|| Listener::start(hub.clone(), self.opener.clone()));
        }
        let parameters = Parameters::from_pairs(opened.parameters);
        let replication = profile.replication != Replication::No;
        if !replication {
            self.learn(&parameters);
        }
        let session = Session::new(SessionInit {
            parameters,
            max_prepared_statements: self.opener.connection().pool.max_prepared_statements,
            shared: self.shared.clone(),
            replication,
        });
        Ok(Opened {
            io: opened.stream,
            session,
            cancel_key: opened.cancel_key,
        })
    }

    fn is_at_same_server(&self, other: &Self) -> bool {
        self.opener.is_at_same_server(&other.opener)
    }

    fn label(&self) -> &str {
        &self.opener.connection().label
    }

    async fn cancel(&self, key: &CancelKey) -> Result<(), OpenError> {
        server::cancel(key).await
    }

    fn retired(&self) {
        if let Some(listener) = self.listener.get() {
            listener.end();
        }
    }

    fn process(key: &CancelKey) -> Option<u32> {
        key.process()
    }
}
