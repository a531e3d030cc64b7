//! The SQL Server that a test runs against: the stand-in, or the one that `WEIR_TEST_MSSQL` names.
//!
//! The named one is shared by all tests of the process, which take turns on it; its tables are dropped and made anew by each.
//! It is spoken to without encryption, so it must not insist on any.

use std::{
    env,
    net::{SocketAddr, ToSocketAddrs as _},
};

use parking_lot::{Mutex, MutexGuard};

use super::{
    DATABASE, Kind, LOGIN, Options, PASSWORD, StandIn,
    client::{Credentials, RawClient},
};

/// The variable that names a server, as a connection string: `Server=tcp:host,port;Database=d;UID=u;PWD=p`.
pub const VARIABLE: &str = "WEIR_TEST_MSSQL";

static TURN: Mutex<()> = Mutex::new(());

/// See the module.
#[derive(Debug)]
pub enum Server {
    /// Made for this test.
    StandIn(Box<StandIn>),
    /// Somebody else's.
    Named(Named),
}

/// A server that was there before.
#[derive(Debug)]
pub struct Named {
    address: SocketAddr,
    login: String,
    password: String,
    database: String,
    _turn: MutexGuard<'static, ()>,
}

impl Server {
    /// The named server if there is one and it may be of this kind, with none of our tables left; the stand-in otherwise.
    ///
    /// # Panics
    /// When the variable says something else than where the server is and who to be.
    pub fn start(options: Options) -> Server {
        let string = env::var(VARIABLE).ok().filter(|_| options.kind == Kind::SqlServer);
        let Some(string) = string else {
            return Server::StandIn(Box::new(StandIn::start(options)));
        };
        let server = Server::Named(Named::parse(&string).unwrap_or_else(|what| panic!("{VARIABLE}: {what}")));
        for table in ["oracle", "numbers"] {
            server.execute(&format!("DROP TABLE IF EXISTS {table}"));
        }
        server
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        match self {
            Server::StandIn(server) => server.address(),
            Server::Named(server) => server.address,
        }
    }

    /// Who to be.
    pub fn credentials(&self) -> Credentials<'_> {
        match self {
            Server::StandIn(_) => Credentials {
                user: LOGIN,
                password: PASSWORD,
                database: DATABASE,
                ..Credentials::default()
            },
            Server::Named(server) => Credentials {
                user: &server.login,
                password: &server.password,
                database: &server.database,
                ..Credentials::default()
            },
        }
    }

    /// What a gateway's metadata says of it.
    pub fn connection_string(&self) -> String {
        let (address, who) = (self.address(), self.credentials());
        format!(
            "Server=tcp:{},{};Database={};UID={};PWD={};Encrypt=optional;TrustServerCertificate=yes",
            address.ip(),
            address.port(),
            who.database,
            who.user,
            who.password
        )
    }

    /// Runs T-SQL beside the test, and returns the rows of all results as text.
    ///
    /// # Panics
    /// When the server answers with an error.
    pub fn execute(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        match self {
            Server::StandIn(server) => server.execute(sql),
            Server::Named(_) => std::thread::scope(|scope| {
                // A thread of its own: the caller may be inside a runtime.
                scope
                    .spawn(|| {
                        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                        runtime.expect("a runtime starts").block_on(self.ask(sql))
                    })
                    .join()
                    .expect("the statement runs to its end")
            }),
        }
    }

    async fn ask(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        let (mut client, lines) = RawClient::log_in(self.address(), &self.credentials())
            .await
            .expect("the server answers");
        assert!(lines.iter().any(|line| line.starts_with("loginack")), "{lines:#?}");
        let lines = client.batch(sql).await;
        assert!(!lines.iter().any(|line| line.starts_with("error")), "{sql}: {lines:#?}");
        let rows = lines.iter().filter_map(|line| line.strip_prefix("row "));
        rows.map(values).collect()
    }

    /// The stand-in, which can be looked into. `None` for a server that cannot.
    pub fn stand_in(&self) -> Option<&StandIn> {
        match self {
            Server::StandIn(server) => Some(server),
            Server::Named(_) => None,
        }
    }
}

impl Named {
    fn parse(string: &str) -> Result<Named, String> {
        let value = |names: &[&str]| {
            let mut pairs = string.split(';').filter_map(|pair| pair.split_once('='));
            let found = pairs.find(|(key, _)| names.iter().any(|name| key.trim().eq_ignore_ascii_case(name)));
            found
                .map(|(_, value)| value.trim().to_owned())
                .ok_or_else(|| format!("{} is missing", names[0]))
        };
        let server = value(&["Server", "Data Source"])?;
        let (host, port) = server
            .trim_start_matches("tcp:")
            .split_once(',')
            .ok_or_else(|| format!("Server={server} names no port"))?;
        let port: u16 = port.trim().parse().map_err(|_| format!("{port} is no port"))?;
        let mut addresses = (host.trim(), port)
            .to_socket_addrs()
            .map_err(|error| format!("{host}: {error}"))?;
        Ok(Named {
            address: addresses.next().ok_or_else(|| format!("{host} has no address"))?,
            login: value(&["UID", "User ID", "User"])?,
            password: value(&["PWD", "Password"])?,
            database: value(&["Database", "Initial Catalog"])?,
            _turn: TURN.lock(),
        })
    }
}

/// `1 'x' null`
fn values(row: &str) -> Vec<Option<String>> {
    let mut values = Vec::new();
    let mut rest = row;
    while !rest.is_empty() {
        let (value, behind) = match rest.strip_prefix('\'') {
            Some(text) => text.split_once("' ").unwrap_or((text.trim_end_matches('\''), "")),
            None => rest.split_once(' ').unwrap_or((rest, "")),
        };
        let is_null = value == "null" && !rest.starts_with('\'');
        values.push((!is_null).then(|| value.to_owned()));
        rest = behind;
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(values("1 'a b' null"), [some("1"), some("a b"), None]);
        assert_eq!(values("'x'"), [some("x")]);
    }

    #[test]
    fn connection_strings_are_read() {
        let named = Named::parse("Server=tcp:127.0.0.1,1433;Database=d;UID=u;PWD=p").unwrap();
        assert_eq!((named.address.port(), &*named.database), (1433, "d"));
        drop(named);
        for string in [
            "Server=h;UID=u;PWD=p;Database=d",
            "Database=d",
            "Server=127.0.0.1,x;UID=u;PWD=p;Database=d",
        ] {
            assert!(Named::parse(string).is_err(), "{string}");
        }
    }
}
