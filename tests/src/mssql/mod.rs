//! A stand-in SQL Server: TDS 7.1 to 7.4 and 8.0, over SQLite, with real rows and real transactions.
//!
//! It is written to be wrong for nobody: what it does not know it refuses with an error that names it, and where it must
//! differ from SQL Server `tests/README.md` says how. It knows nothing of the gateway's crates.
//!
//! ```no_run
//! use weir_tests::mssql::{Options, StandIn};
//! let server = StandIn::start(Options::default());
//! server.execute("CREATE TABLE items (id int IDENTITY PRIMARY KEY, name nvarchar(50))");
//! println!("{} as {}", server.address(), weir_tests::mssql::LOGIN);
//! assert!(server.sessions().is_empty());
//! ```

pub mod browser;
mod calendar;
pub mod client;
mod code_page;
mod connection;
mod engine;
mod failure;
mod faults;
mod observe;
pub mod oracle;
mod server;
mod shared;
mod tsql;
mod wire;

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::Arc,
};

pub use faults::{DropPoint, Faults};
pub use observe::{RequestKind, RequestRecord, SessionRecord};
pub use server::{Server, VARIABLE};

use crate::certificates::{Authority, Identity};
use shared::Shared;

/// The login that [`Options::default`] knows.
pub const LOGIN: &str = "app";
/// Its password.
pub const PASSWORD: &str = "Secret-1-of-app";
/// The database that [`Options::default`] has, beside `master` and `tempdb`.
pub const DATABASE: &str = "appdb";

/// How it behaves where servers differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As SQL Server does.
    SqlServer,
    /// As a server does that must be asked for `@@TRANCOUNT`: no ENVCHANGE for transactions in SQL text, none that can
    /// be trusted for others, reset that leaves things behind, Attention answered late, no features, SPID 0.
    Probe,
}

/// Which PRELOGIN encryption it offers. Strict (TDS 8.0) is understood beside all but the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// None at all.
    Unsupported,
    /// What the client asks for: none, the login only, everything.
    Optional,
    /// Everything, or the client may go.
    Required,
    /// TDS 8.0 and nothing else.
    Strict,
}

/// What the server shall be like.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which server it stands in for.
    pub kind: Kind,
    /// PRELOGIN encryption.
    pub encryption: Encryption,
    /// Names and passwords of SQL logins.
    pub logins: Vec<(String, String)>,
    /// Databases beside `master` and `tempdb`; the first is where logins land that name none.
    pub databases: Vec<String>,
    /// Where to listen.
    pub address: SocketAddr,
    /// The packet size of clients that leave it to the server.
    pub packet_size: u16,
    /// Certificate and key instead of one made on the spot.
    pub identity: Option<Identity>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            kind: Kind::SqlServer,
            encryption: Encryption::Optional,
            logins: vec![(LOGIN.to_owned(), PASSWORD.to_owned())],
            databases: vec![DATABASE.to_owned()],
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            packet_size: 4096,
            identity: None,
        }
    }
}

/// A running server. Ends, with all its data, when dropped.
#[derive(Debug)]
pub struct StandIn {
    address: SocketAddr,
    /// Signs its certificate, which is valid for `localhost` and `127.0.0.1`.
    pub authority: Authority,
    /// Its certificate, as PEM: what `ServerCertificate=` of a strict client names.
    pub certificate: String,
    shared: Arc<Shared>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl StandIn {
    /// Starts one, on threads of its own: it works beside any runtime and under a test that blocks.
    ///
    /// # Panics
    /// When it cannot listen or create its files.
    pub fn start(options: Options) -> StandIn {
        let authority = Authority::generate();
        let identity = options
            .identity
            .clone()
            .unwrap_or_else(|| authority.issue("localhost", &["localhost", "127.0.0.1"]));
        let listener = TcpListener::bind(options.address).expect("the stand-in's port is free");
        listener.set_nonblocking(true).expect("a listener can be non-blocking");
        let address = listener.local_addr().expect("a bound listener has an address");
        let shared = Arc::new(Shared::create(options, &identity));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("stand-in")
            .enable_all()
            .build()
            .expect("a runtime starts");
        runtime.spawn(connection::accept(listener, shared.clone()));
        StandIn {
            address,
            authority,
            certificate: identity.certificate,
            shared,
            runtime: Some(runtime),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port of [`StandIn::address`].
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Runs T-SQL in the first database, as no client's session, and returns the rows of all results as text.
    ///
    /// # Panics
    /// When the server answers with an error.
    pub fn execute(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        let database = self.shared.options.databases.first().map_or("master", String::as_str);
        self.execute_in(database, sql)
    }

    /// As [`StandIn::execute`], in a database by name.
    ///
    /// # Panics
    /// When the server answers with an error.
    pub fn execute_in(&self, database: &str, sql: &str) -> Vec<Vec<Option<String>>> {
        let (shared, database, sql) = (self.shared.clone(), database.to_owned(), sql.to_owned());
        // A thread of its own: the engine may wait, and the caller may be inside a runtime.
        std::thread::spawn(move || engine::run_directly(&shared, &database, &sql))
            .join()
            .expect("the statement runs to its end")
            .unwrap_or_else(|failure| panic!("the stand-in's answer: {failure}"))
    }

    /// Runs a script in the first database: batches end with a line that says GO.
    ///
    /// # Panics
    /// When the server answers with an error.
    pub fn execute_script(&self, script: &str) {
        let lines: Vec<&str> = script.lines().collect();
        for batch in lines.split(|line| line.trim().eq_ignore_ascii_case("go")) {
            if batch.iter().any(|line| !line.trim().is_empty()) {
                self.execute(&batch.join("\n"));
            }
        }
    }

    /// All sessions that ever logged in, in order, with what each one asked.
    pub fn sessions(&self) -> Vec<SessionRecord> {
        self.shared.observed.sessions()
    }

    /// Sessions that are logged in now.
    pub fn open_sessions(&self) -> usize {
        self.sessions().iter().filter(|session| session.open).count()
    }

    /// The most sessions that were logged in at one time, since the start or since [`StandIn::forget`].
    pub fn most_sessions(&self) -> usize {
        self.shared.observed.most()
    }

    /// All requests of all sessions, in the order in which they came: the session's number, and the request.
    pub fn requests(&self) -> Vec<(u16, RequestRecord)> {
        self.shared.observed.requests()
    }

    /// Forgets closed sessions and all requests so far.
    pub fn forget(&self) {
        self.shared.observed.forget();
    }

    /// What goes wrong from now on. `Faults::default()` ends it.
    pub fn inflict(&self, faults: Faults) {
        self.shared.faults.set(faults);
    }

    /// Closes the connection of a session, as KILL does. False when there is none of that number.
    pub fn disconnect(&self, spid: u16) -> bool {
        self.shared.disconnect(spid)
    }

    /// Closes every connection, as a server that is shut down does; it goes on listening.
    pub fn disconnect_all(&self) {
        self.shared.disconnect_all();
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.shared.disconnect_all();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
