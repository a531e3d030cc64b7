//! One endpoint of a SQL Server source: opens server connections to it, remembers what its servers say of themselves.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use parking_lot::Mutex;
use weir_config::{MssqlConnection, SessionFunctions, SessionStatePolicy};
use weir_core::{
    backend::{Backend, Opened},
    net::Socket,
    refusal::{OpenError, Retry},
};

use crate::{
    dialogue::Conversation,
    login::{
        limits,
        passwords::ProvenLogins,
        reply::Welcome,
        server::{LoggedIn, Opener},
        stream::TdsStream,
    },
    session::{Baseline, Features, Session, SessionInit, SourceState, Tracker},
    settings::{LoginAs, Profile},
    wire::prelogin::ProductVersion,
};

/// The SQL Server family; one value for the primary and each replica.
#[derive(Debug)]
pub struct Mssql {
    opener: Opener,
    /// What its servers say to a login of each kind, as last seen.
    welcomes: Mutex<HashMap<Profile, Arc<Welcome>>>,
    /// How transactions are followed here: found out with the first connection.
    tracker: OnceLock<Tracker>,
    /// What a session starts with that does not ask for ODBC's defaults: found out with the first one, `None` if it could not
    /// be had on another connection.
    baseline: OnceLock<Option<Baseline>>,
    /// Extensions that servers here were asked for and did not acknowledge.
    absent: Mutex<Absent>,
    /// Clients' own logins that were seen to succeed; `None` where they are not passed through.
    proven_logins: Option<ProvenLogins>,
    shared: Arc<SourceState>,
    session_state: SessionStatePolicy,
    session_functions: SessionFunctions,
    pin_notice: bool,
}

/// Extensions that a server does not have: whoever asks for them is served like who does not.
#[derive(Clone, Copy, Debug, Default)]
struct Absent {
    utf8: Absence,
    json: Absence,
    vector: Absence,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Absence {
    #[default]
    Unknown,
    Seen,
}

impl Absent {
    /// From what the server said last: it may have been replaced by a newer one.
    fn learn(&mut self, asked: Features, acknowledged: Features) {
        let note = |absence: &mut Absence, asked: bool, there: bool| {
            if asked {
                *absence = if there { Absence::Unknown } else { Absence::Seen };
            }
        };
        note(&mut self.utf8, asked.utf8, acknowledged.utf8);
        note(&mut self.json, asked.json > 0, acknowledged.json > 0);
        note(&mut self.vector, asked.vector > 0, acknowledged.vector > 0);
    }

    fn remove_from(self, features: &mut Features) {
        if self.utf8 == Absence::Seen {
            features.utf8 = false;
        }
        if self.json == Absence::Seen {
            features.json = 0;
        }
        if self.vector == Absence::Seen {
            features.vector = 0;
        }
    }
}

/// Whether clients that are not gateway users may log in as themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassThrough {
    /// `pass_through_login`
    Allowed,
    /// Only gateway users.
    Refused,
}

impl Mssql {
    /// `application_name`: shown in the database instead of each client's own.
    pub fn new(
        connection: MssqlConnection,
        application_name: Option<String>,
        pass_through: PassThrough,
        shared: Arc<SourceState>,
        session_state: SessionStatePolicy,
        session_functions: SessionFunctions,
    ) -> Self {
        Mssql {
            opener: Opener::new(connection, application_name),
            welcomes: Mutex::default(),
            tracker: OnceLock::new(),
            baseline: OnceLock::new(),
            absent: Mutex::default(),
            proven_logins: (pass_through == PassThrough::Allowed).then(ProvenLogins::default),
            shared,
            session_state,
            session_functions,
            pin_notice: false,
        }
    }

    /// Clients are told when they begin or cease to keep their server connections.
    pub fn with_pin_notice(mut self, pin_notice: bool) -> Self {
        self.pin_notice = pin_notice;
        self
    }

    /// What a server here says to such a login; `None` before the first connection of the kind. With it a client can be
    /// let in without a server connection (TDS 3.3).
    pub fn welcome(&self, profile: &Profile) -> Option<Arc<Welcome>> {
        self.welcomes.lock().get(profile).cloned()
    }

    /// The profile of the connections that serve a client with this one as well, as far as is known by now, and what its
    /// client has to find set on them: so that a pool is shared by the clients of all drivers (TDS 3.2).
    pub fn common(&self, profile: &Profile) -> (Profile, Baseline) {
        let mut common = profile.clone();
        self.absent.lock().remove_from(&mut common.features);
        let baseline = match self.baseline.get() {
            Some(Some(baseline)) if !profile.odbc && profile.tds_version.is_wide() => {
                common.odbc = true;
                baseline.clone()
            }
            _ => Baseline::default(),
        };
        (common, baseline)
    }

    /// The version of the server that was seen last.
    pub fn server_version(&self) -> Option<ProductVersion> {
        self.welcomes.lock().values().next().map(|welcome| welcome.version)
    }

    /// How transactions are followed here; `None` before the first connection.
    pub fn tracker(&self) -> Option<Tracker> {
        self.tracker.get().copied()
    }

    /// Clients' own logins that were seen to succeed; `None` where they are not passed through.
    pub fn proven_logins(&self) -> Option<&ProvenLogins> {
        self.proven_logins.as_ref()
    }

    /// What the clients and server connections of the source share.
    pub fn shared(&self) -> &Arc<SourceState> {
        &self.shared
    }

    /// Whether session state follows clients from one server connection to the next.
    pub fn session_state(&self) -> SessionStatePolicy {
        self.session_state
    }

    /// What `@@IDENTITY`, `@@ROWCOUNT` and their like are worth in transaction mode.
    pub fn session_functions(&self) -> SessionFunctions {
        self.session_functions
    }

    /// Whether clients are told when they begin or cease to keep their server connections.
    pub fn pin_notice(&self) -> bool {
        self.pin_notice
    }

    /// Whether connections opened by either serve the same clients in the same way: the pool of one can stay when the
    /// other is declared. The sizes and time limits of the pool do not matter.
    pub fn is_like(&self, other: &Self) -> bool {
        self.opener.is_like(&other.opener)
            && self.proven_logins.is_some() == other.proven_logins.is_some()
            && self.session_state == other.session_state
            && self.session_functions == other.session_functions
            && self.pin_notice == other.pin_notice
    }

    /// How connections are opened; for the control plane.
    pub fn opener(&self) -> &Opener {
        &self.opener
    }

    fn learn(&self, profile: &Profile, welcome: &Welcome) {
        let mut welcomes = self.welcomes.lock();
        if welcomes.get(profile).is_some_and(|known| **known == *welcome) {
            return;
        }
        if welcomes.len() >= limits::WELCOMES {
            welcomes.clear();
        }
        welcomes.insert(profile.clone(), Arc::new(welcome.clone()));
    }

    /// Logs in, and finds out about transactions if nobody has yet.
    async fn log_in(&self, profile: &Profile) -> Result<(LoggedIn, Tracker), OpenError> {
        let mut opened = self.opener.open(profile).await?;
        let tracker = match self.tracker.get() {
            // Such a server tells nothing of transactions to a client this old.
            _ if !profile.tds_version.is_wide() => Tracker::Probe,
            Some(known) => *known,
            None => {
                let found = self.opener.self_test(&mut opened, profile.tds_version).await?;
                *self.tracker.get_or_init(|| found)
            }
        };
        if !profile.odbc && profile.tds_version.is_wide() && self.baseline.get().is_none() {
            let found = self.opener.defaults(&mut opened, profile.tds_version).await?;
            self.baseline.get_or_init(|| found);
        }
        let welcome = &opened.accepted.welcome;
        self.absent.lock().learn(profile.features, welcome.features);
        Ok((opened, tracker))
    }
}

impl Backend for Mssql {
    const KIND: &'static str = "mssql";
    type ClientIo = TdsStream;
    type ServerIo = TdsStream;
    type Session = Session;
    type Dialogue = Conversation;
    type Profile = Profile;
    /// Cancelling is in band: an Attention (TDS 8).
    type CancelKey = ();

    async fn open(&self, profile: &Profile) -> Result<Opened<Self>, OpenError> {
        let mut result = self.log_in(profile).await;
        if let (Err(OpenError::Rejected(rejection)), LoginAs::Source) = (&mut result, &profile.login)
            && rejection.code == crate::refusals::number::LOGIN_FAILED.to_string()
        {
            rejection.retry = Retry::WithNewPassword;
        }
        if let (Err(OpenError::Rejected(rejection)), LoginAs::Client(login), Some(proven)) =
            (&result, &profile.login, &self.proven_logins)
            && rejection.retry == Retry::Useless
        {
            proven.forget(&login.user, &login.digest);
        }
        let (opened, tracker) = result?;
        let LoggedIn { stream, accepted, spid } = opened;
        self.learn(profile, &accepted.welcome);
        let session = Session::new(SessionInit {
            tds_version: profile.tds_version,
            spid,
            packet_size: accepted.packet_size,
            database: accepted.welcome.database,
            language: accepted.welcome.language,
            collation: accepted.welcome.collation,
            features: accepted.welcome.features,
            initial_state: accepted.initial_state,
            profile: profile.clone(),
            tracker,
            isolation_level: self.opener.connection().isolation_level,
            max_prepared_statements: self.opener.connection().pool.max_prepared_statements,
            shared: self.shared.clone(),
        });
        Ok(Opened {
            io: stream,
            session,
            cancel_key: None,
        })
    }

    fn is_at_same_server(&self, other: &Self) -> bool {
        self.opener.is_at_same_server(&other.opener)
    }

    fn clear_socket(io: &TdsStream) -> Option<&Socket> {
        match io {
            TdsStream::Plain(socket) => Some(socket),
            TdsStream::TlsServer(_) | TdsStream::TlsClient(_) => None,
        }
    }

    fn pack_profile(profile: &Profile) -> Option<Vec<u8>> {
        profile.pack()
    }

    fn label(&self) -> &str {
        &self.opener.connection().label
    }

    async fn cancel(&self, (): &()) -> Result<(), OpenError> {
        Ok(())
    }
}
