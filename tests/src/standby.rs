//! Streaming standbys of a private cluster, made by `pg_basebackup -R`.
//!
//! A standby listens on a port of its own, which is how a test tells the servers apart (`current_setting('port')`). Gone when the tests
//! end in whatever way, as clusters are.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Child, Command},
    time::Duration,
};

use parking_lot::Mutex;

use crate::{
    clock,
    cluster::{self, Cluster, SUPERUSER, SUPERUSER_PASSWORD},
    process::{self, Watchdog},
};

/// How long a standby may take for anything: to start, to catch up.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running standby. Its primary has the distribution's version.
#[derive(Debug)]
pub struct Standby {
    /// Loopback port.
    pub port: u16,
    folder: PathBuf,
    /// User and group of the server when we are root, which PostgreSQL refuses to run as.
    owner: Option<(u32, u32)>,
    running: Mutex<Option<(Child, Watchdog)>>,
}

impl Standby {
    /// Copies `primary` and follows it from then on.
    pub fn start(primary: &Cluster) -> Standby {
        let folder = tempfile::Builder::new()
            .prefix("weir-standby-")
            .tempdir()
            .expect("a temporary folder can be made")
            .keep();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let of_primary = fs::metadata(primary.socket_folder().join("data")).expect("the primary has data");
        let is_root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
        let owner = is_root.then(|| (of_primary.uid(), of_primary.gid()));
        if let Some((user, group)) = owner {
            std::os::unix::fs::chown(&folder, Some(user), Some(group)).expect("root may give a folder away");
        }
        let mut standby = Standby {
            port: 0,
            folder,
            owner,
            running: Mutex::new(None),
        };
        standby.copy(primary);
        // A free port may be taken by somebody else before the server binds it.
        for attempt in 1.. {
            standby.port = cluster::free_port();
            standby.write_settings();
            if standby.launch() {
                break;
            }
            assert!(attempt < 3, "the standby does not start:\n{}", standby.log());
        }
        standby
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Everything it logged so far.
    pub fn log(&self) -> String {
        fs::read(self.folder.join("log"))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// A superuser's connection.
    pub async fn admin(&self, database: &str) -> tokio_postgres::Client {
        cluster::connect(self.address(), SUPERUSER, SUPERUSER_PASSWORD, database)
            .await
            .expect("the superuser can log in")
    }

    /// Waits until everything that the primary has written so far can be read here.
    pub async fn catch_up(&self, primary: &Cluster) {
        let row = primary
            .admin("postgres")
            .await
            .query_one("SELECT pg_current_wal_insert_lsn()::text", &[])
            .await
            .expect("a primary knows where its log ends");
        let end: String = row.get(0);
        let admin = self.admin("postgres").await;
        let caught_up = format!("SELECT pg_last_wal_replay_lsn() >= '{end}'::pg_lsn");
        let started = clock::now();
        while !admin
            .query_one(&caught_up, &[])
            .await
            .expect("a standby knows")
            .get::<_, bool>(0)
        {
            assert!(
                started.elapsed() < PATIENCE,
                "the standby does not catch up:\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends it at once, as a crash would.
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
        assert!(self.launch(), "the standby does not start again:\n{}", self.log());
    }

    fn copy(&self, primary: &Cluster) {
        let output = self
            .command("pg_basebackup")
            .env("PGPASSWORD", SUPERUSER_PASSWORD)
            .args(["--host=127.0.0.1", "--username", SUPERUSER, "--no-password"])
            .arg(format!("--port={}", primary.port))
            .args([
                "--wal-method=stream",
                "--checkpoint=fast",
                "--no-sync",
                "--write-recovery-conf",
            ])
            .arg("--pgdata")
            .arg(self.data())
            .output()
            .expect("pg_basebackup starts");
        assert!(
            output.status.success(),
            "pg_basebackup: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Behind the primary's settings, which were copied: of two values for a name the last one wins.
    fn write_settings(&self) {
        let file = self.data().join("postgresql.auto.conf");
        let mut text = fs::read_to_string(&file).expect("the primary's settings were copied");
        text += &format!(
            "\nport = {}\nunix_socket_directories = '{}'\nhot_standby = on\nwal_retrieve_retry_interval = '100ms'\n",
            self.port,
            self.folder.display()
        );
        fs::write(file, text).unwrap();
    }

    /// Whether it came up and accepts connections.
    fn launch(&self) -> bool {
        // A standby that takes readers says "standby" where a primary says "ready", and "standby" it is from the
        // beginning of recovery on, before it is consistent: only a socket that answers is proof.
        let launched = process::postgres(self.command("postgres"), &self.folder, PATIENCE, || self.accepts());
        let is_up = launched.is_some();
        *self.running.lock() = launched;
        is_up
    }

    fn accepts(&self) -> bool {
        self.command("pg_isready")
            .args(["--quiet", "--host=127.0.0.1"])
            .arg(format!("--port={}", self.port))
            .status()
            .is_ok_and(|status| status.success())
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn command(&self, program: &str) -> Command {
        let program = cluster::distribution_binaries().join(program);
        let mut command = as_owner(self.owner, &program);
        command.current_dir(&self.folder).env("LC_ALL", "C").env("TZ", "UTC");
        command
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        self.crash();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn as_owner(owner: Option<(u32, u32)>, program: &Path) -> Command {
    let Some((user, group)) = owner else {
        return Command::new(program);
    };
    // setpriv executes the program in its place, so that the child's process id is the server's.
    let mut command = Command::new("setpriv");
    command
        .args([format!("--reuid={user}"), format!("--regid={group}")])
        .arg("--clear-groups")
        .arg(program);
    command
}
