//! The scripts of SQL Server's drivers, and whom they talk to: the stand-in itself, or the gateway before it.

use std::{net::SocketAddr, path::PathBuf, process::Command, time::Duration};

use futures_util::{TryStreamExt as _, future};
use tiberius::{AuthMethod, Client, Config, EncryptionLevel};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt as _};
use weir_tests::{
    mssql::{DATABASE, Kind, LOGIN, PASSWORD, StandIn},
    process::{self, Outcome},
};

/// How long a script may take on a loaded machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// Drivers that a server of either kind can be used with.
pub(crate) const SCRIPTS: [&str; 5] = [
    "tedious_script.mjs",
    "mssql_script.mjs",
    "pymssql_script.py",
    "pytds_script.py",
    "mssql_python_script.py",
];

/// Stops reading at DONE, and a server of the probe kind tells behind it that a transaction has ended: only for SQL Server.
pub(crate) const MSSQL_TDS: &str = "mssql_tds_script.py";

/// The driver behind it, as what it is: a program of its own in `drivers/mssql-tds`. For SQL Server alone, too.
pub(crate) const MSSQL_TDS_CRATE: &str = "mssql-tds";

/// Whom the drivers talk to. Logins are those of the stand-in, at the gateway too.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) server: &'a StandIn,
    pub(crate) kind: Kind,
    /// What strict clients are told to expect.
    pub(crate) certificate: &'a str,
    /// `no`, `yes`, `strict`.
    pub(crate) encrypt: &'static str,
}

impl<'a> Target<'a> {
    /// The server itself, without encryption.
    pub(crate) fn directly(server: &'a StandIn) -> Target<'a> {
        Target {
            address: server.address(),
            server,
            kind: Kind::SqlServer,
            certificate: &server.certificate,
            encrypt: "no",
        }
    }

    /// A script; `argument` is the number of the instance, for most.
    pub(crate) fn command(&self, name: &str, argument: &str) -> Command {
        let drivers = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/drivers"));
        let mut command = if name == MSSQL_TDS_CRATE {
            Command::new(process::cache().join("mssql-tds/debug/mssql-tds-script"))
        } else {
            let interpreter = if name.ends_with(".py") {
                process::cache().join("python/bin/python")
            } else {
                PathBuf::from("node")
            };
            let mut command = Command::new(interpreter);
            command.arg(drivers.join(name));
            command
        };
        let authority = std::env::temp_dir().join(format!("weir-stand-in-{}.pem", self.address.port()));
        self.server.authority.write(&authority);
        let certificate = authority.with_extension("server.pem");
        std::fs::write(&certificate, self.certificate).unwrap();
        command
            .arg(argument)
            .env("NODE_MODULES_OF", process::cache().join("node"))
            .env("MSSQL_HOST", "127.0.0.1")
            .env("MSSQL_PORT", self.address.port().to_string())
            .env("MSSQL_USER", LOGIN)
            .env("MSSQL_PASSWORD", PASSWORD)
            .env("MSSQL_DATABASE", DATABASE)
            .env("MSSQL_ENCRYPT", self.encrypt)
            .env("MSSQL_CA", authority)
            .env("MSSQL_CERTIFICATE", certificate);
        if self.kind == Kind::Probe {
            command.env("MSSQL_PROBE", "1");
        }
        command
    }

    /// Runs scripts at the same time, each as an instance of its own, to their end.
    pub(crate) async fn run_all<'n>(&self, names: impl IntoIterator<Item = &'n str>) {
        let names: Vec<&str> = names.into_iter().collect();
        let runs = (1..)
            .zip(&names)
            .map(|(instance, name)| process::run(self.command(name, &instance.to_string()), LIMIT));
        for (outcome, name) in future::join_all(runs).await.into_iter().zip(&names) {
            expect_end(&outcome, name);
        }
    }

    /// Rows out of a file into `bulk_items` and back.
    pub(crate) async fn freebcp(&self, owner: usize) {
        self.freebcp_as("7.4", owner).await;
    }

    /// The same in this version of TDS.
    pub(crate) async fn freebcp_as(&self, version: &str, owner: usize) {
        let folder = std::env::temp_dir();
        let name = |what: &str| folder.join(format!("weir-{what}-{}-{owner}", self.address.port()));
        let (source, copy) = (name("in"), name("out"));
        let lines: String = (0..200)
            .map(|number| format!("{owner},{number},name {number},{number}.5000,,,\n"))
            .collect();
        std::fs::write(&source, &lines).unwrap();
        for (direction, file) in [("in", &source), ("out", &copy)] {
            let mut command = Command::new("freebcp");
            command.env("TDSVER", version);
            command.args(["bulk_items", direction]).arg(file).args([
                "-S",
                &format!("127.0.0.1:{}", self.address.port()),
                "-U",
                LOGIN,
                "-P",
                PASSWORD,
                "-D",
                DATABASE,
                "-c",
                "-t",
                ",",
            ]);
            process::run(command, LIMIT).await.expect_success("freebcp");
        }
        let prefix = format!("{owner},");
        let back: String = std::fs::read_to_string(&copy)
            .unwrap()
            .split_inclusive('\n')
            .filter(|line| line.starts_with(&prefix))
            .collect();
        assert_eq!(back, lines);
        let _ = (std::fs::remove_file(source), std::fs::remove_file(copy));
    }

    /// A client of tiberius.
    pub(crate) async fn tiberius(&self, encryption: EncryptionLevel) -> Tiberius {
        let mut config = Config::new();
        config.host("localhost");
        config.port(self.address.port());
        config.authentication(AuthMethod::sql_server(LOGIN, PASSWORD));
        config.database(DATABASE);
        config.encryption(encryption);
        config.trust_cert();
        let socket = TcpStream::connect(self.address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        Client::connect(config, socket.compat_write()).await.unwrap()
    }
}

#[track_caller]
pub(crate) fn expect_end(outcome: &Outcome, name: &str) {
    outcome.expect_success(name);
    assert!(
        outcome.output.contains("passed"),
        "{name} ends early:\n{}",
        outcome.output
    );
}

pub(crate) type Tiberius = Client<Compat<TcpStream>>;

/// Everything that a client of tiberius can do, as `me`.
pub(crate) async fn tiberius_script(client: &mut Tiberius, me: i32) -> Result<(), tiberius::error::Error> {
    client
        .execute(
            "INSERT INTO items (owner, name, price) VALUES (@P1, @P2, @P3)",
            &[&me, &"näme", &1.25f64],
        )
        .await?;
    let row = client
        .query("SELECT name, price FROM items WHERE owner = @P1", &[&me])
        .await?
        .into_row()
        .await?
        .unwrap();
    assert_eq!(row.get::<&str, _>(0), Some("näme"));
    client.simple_query("BEGIN TRAN").await?.into_results().await?;
    client.execute("DELETE FROM items WHERE owner = @P1", &[&me]).await?;
    let count = |row: Option<tiberius::Row>| row.unwrap().get::<i32, _>(0).unwrap();
    assert_eq!(
        count(client.query("SELECT @@TRANCOUNT", &[]).await?.into_row().await?),
        1
    );
    client.simple_query("ROLLBACK").await?.into_results().await?;
    assert_eq!(
        count(
            client
                .query("SELECT COUNT(*) FROM items WHERE owner = @P1", &[&me])
                .await?
                .into_row()
                .await?
        ),
        1
    );
    let error = client.execute("SELECT 1 / 0", &[]).await.unwrap_err();
    assert_eq!(error.code(), Some(8134));
    let large = "ä".repeat(100_000);
    let row = client
        .query("SELECT @P1 AS large", &[&large.as_str()])
        .await?
        .into_row()
        .await?
        .unwrap();
    assert_eq!(row.get::<&str, _>(0), Some(large.as_str()));
    let results = client
        .simple_query("SELECT 1; SELECT 2 WHERE 1 = 0; SELECT N'x'")
        .await?
        .into_results()
        .await?;
    // tiberius leaves out a result without rows that follows another.
    assert_eq!(results.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1]);
    let many = "WITH n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 2000) SELECT i FROM n OPTION (MAXRECURSION 0)";
    let rows: Vec<_> = client.query(many, &[]).await?.into_row_stream().try_collect().await?;
    assert_eq!(rows.len(), 2000);
    Ok(())
}
