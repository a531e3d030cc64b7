//! The gateway as a process: its metadata, its log, its addresses, its memory.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    clock,
    metadata::Metadata,
    process::{self, Watchdog},
};

/// A running `weir serve`. Stopped when dropped; a panic in its log fails the test.
#[derive(Debug)]
pub struct Gateway {
    folder: Arc<TempDir>,
    running: Option<(Child, Watchdog)>,
    log: Arc<Mutex<String>>,
    listeners: BTreeMap<String, SocketAddr>,
}

impl Gateway {
    /// Writes the metadata, starts the gateway and waits until it listens.
    pub fn start(metadata: &Metadata) -> Gateway {
        Gateway::start_with(metadata, &[], &[])
    }

    /// The same with further arguments and environment variables.
    pub fn start_with(metadata: &Metadata, arguments: &[&str], environment: &[(&str, &str)]) -> Gateway {
        let folder = tempfile::Builder::new()
            .prefix("weir-metadata-")
            .tempdir()
            .expect("a temporary folder can be made");
        metadata.write(folder.path());
        Gateway::serve(folder, arguments, environment)
    }

    /// Starts the gateway on a metadata directory that is written already, with one listener or a JSON `gateway.yaml`.
    pub fn serve(folder: TempDir, arguments: &[&str], environment: &[(&str, &str)]) -> Gateway {
        // Beside the metadata, whose own folder is watched.
        let _ = fs::create_dir(folder.path().join("control"));
        let mut gateway = Gateway::spawn(Arc::new(folder), arguments, environment);
        gateway.await_listeners();
        gateway
    }

    /// Another process on the same metadata, whatever becomes of it.
    pub fn second(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Gateway {
        Gateway::spawn(self.folder.clone(), arguments, environment)
    }

    /// Starts a successor and waits until it has taken over. This one finishes with its clients.
    pub fn succeed(&self) -> Gateway {
        let mut successor = self.second(&["--takeover"], &[]);
        successor.await_log("taken over; the predecessor");
        successor.await_listeners();
        successor
    }

    /// The path of the control socket.
    pub fn control_socket(&self) -> PathBuf {
        self.folder.path().join("control/socket")
    }

    /// Waits until it has logged this; fails the test when it ends without.
    #[track_caller]
    pub fn await_log(&mut self, text: &str) {
        let deadline = clock::now() + Duration::from_secs(60);
        while !self.log().contains(text) {
            let is_running = self.is_running();
            assert!(
                clock::now() < deadline && is_running,
                "{text:?} is not said:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn spawn(folder: Arc<TempDir>, arguments: &[&str], environment: &[(&str, &str)]) -> Gateway {
        let level = env::var("WEIR_TEST_LOG").unwrap_or_else(|_| "info".to_owned());
        let mut command = Command::new(program());
        command
            .arg("serve")
            .arg(folder.path())
            .args(["--log-format", "json"])
            .args(arguments);
        command
            .env("RUST_LOG", &level)
            .env("WEIR_LOG", &level)
            .env("RUST_BACKTRACE", "1")
            .env("WEIR_CONTROL_SOCKET", folder.path().join("control/socket"))
            // Of its own for each gateway; empty in `environment` lets gateway.yaml decide.
            .env("HASURA_GRAPHQL_SERVER_PORT", "0")
            .envs(environment.iter().copied());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        process::isolate(&mut command);
        let mut child = command.spawn().expect("the gateway starts");
        let watchdog = Watchdog::over(Some(&child), folder.path());
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = child.stderr.take().expect("stderr is a pipe");
        std::thread::spawn({
            let log = log.clone();
            move || {
                for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                    let mut log = log.lock();
                    log.push_str(&String::from_utf8_lossy(&line));
                    log.push('\n');
                }
            }
        });
        Gateway {
            folder,
            running: Some((child, watchdog)),
            log,
            listeners: BTreeMap::new(),
        }
    }

    fn await_listeners(&mut self) {
        let text = fs::read_to_string(self.folder.path().join("gateway.yaml")).unwrap_or_default();
        let expected = serde_json::from_str::<Value>(&text)
            .ok()
            .and_then(|value| Some(value["listeners"].as_array()?.len()))
            .unwrap_or(1);
        let deadline = clock::now() + Duration::from_secs(20);
        loop {
            self.listeners = self.log.lock().lines().filter_map(listening).collect();
            if self.listeners.len() >= expected {
                return;
            }
            let gone = self
                .running
                .as_mut()
                .is_none_or(|(child, _)| child.try_wait().is_ok_and(|status| status.is_some()));
            assert!(
                !gone && clock::now() < deadline,
                "the gateway does not listen:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Where the listener of this name listens.
    #[track_caller]
    pub fn address(&self, listener: &str) -> SocketAddr {
        *self
            .listeners
            .get(listener)
            .unwrap_or_else(|| panic!("no listener {listener}:\n{}", self.log()))
    }

    /// Where its HTTP interface listens.
    #[track_caller]
    pub fn http(&self) -> SocketAddr {
        let last = self.log.lock().lines().filter_map(http_listens).next_back();
        last.unwrap_or_else(|| panic!("no HTTP interface:\n{}", self.log()))
    }

    /// Everything it logged so far.
    pub fn log(&self) -> String {
        self.log.lock().clone()
    }

    /// Its metadata directory.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> u64 {
        let (child, _) = self.running.as_ref().expect("the gateway runs");
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap_or("0 kB");
        line.trim()
            .trim_end_matches(" kB")
            .trim()
            .parse::<u64>()
            .expect("a number of kB")
            * 1024
    }

    /// Whether the process is still there.
    pub fn is_running(&mut self) -> bool {
        self.running
            .as_mut()
            .is_some_and(|(child, _)| child.try_wait().is_ok_and(|status| status.is_none()))
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        if let Some((child, _)) = &self.running {
            process::signal(child, name);
        }
    }

    /// Waits for the end of a process that has had its signal; None when it had to be killed.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let (mut child, watchdog) = self.running.take()?;
        let status = process::wait(&mut child, limit);
        if status.is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
        watchdog.dismiss();
        status
    }

    /// SIGTERM, and how it ended; None when it had to be killed.
    pub fn stop(&mut self, limit: Duration) -> Option<ExitStatus> {
        self.signal("TERM");
        self.wait(limit)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop(Duration::from_secs(2));
        let log = self.log();
        if std::thread::panicking() {
            let lines: Vec<&str> = log.lines().collect();
            let from = lines.len().saturating_sub(40);
            eprintln!(
                "--- the gateway's log (last {} lines)\n{}",
                lines.len() - from,
                lines[from..].join("\n")
            );
        } else {
            assert!(!log.contains("panicked at"), "the gateway panicked:\n{log}");
        }
    }
}

/// The binary under test: `WEIR_BIN`, or the one beside the tests.
pub fn program() -> PathBuf {
    if let Some(path) = env::var_os("WEIR_BIN") {
        return path.into();
    }
    let own = env::current_exe().expect("a program knows its path");
    let folder = own.ancestors().find(|folder| folder.join("weir").is_file());
    folder
        .map(|folder| folder.join("weir"))
        .expect("target/debug/weir is missing: run cargo build --workspace --bins (make test does)")
}

/// `{"type":"http-interface-listens","detail":{"address":"127.0.0.1:41234",...},...}`
fn http_listens(line: &str) -> Option<SocketAddr> {
    let event: Value = serde_json::from_str(line).ok()?;
    let is_it = event["type"] == "http-interface-listens";
    is_it
        .then(|| event["detail"]["address"].as_str()?.parse().ok())
        .flatten()
}

/// `{"type":"listening","detail":{"listener":"pg","address":"127.0.0.1:41234",...},...}`
fn listening(line: &str) -> Option<(String, SocketAddr)> {
    let event: Value = serde_json::from_str(line).ok()?;
    let detail = &event["detail"];
    if event["type"] != "listening" {
        return None;
    }
    Some((
        detail["listener"].as_str()?.to_owned(),
        detail["address"].as_str()?.parse().ok()?,
    ))
}
