//! The binary as a person meets it: what it prints, how it ends. No database is needed: a source whose database is down
//! is still a source that serves.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, ChildStderr, Command, Output, Stdio},
    time::Duration,
};

use tempfile::TempDir;

/// A port on which nobody listens: reserved for TCP multiplexing, and in no use anywhere.
const DOWN: &str = "postgres://app:canary-3K7@127.0.0.1:1/orders";

fn metadata(databases: &str, gateway: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("databases")).unwrap();
    fs::write(folder.path().join("version.yaml"), "version: 3\n").unwrap();
    fs::write(folder.path().join("databases/databases.yaml"), databases).unwrap();
    fs::write(folder.path().join("gateway.yaml"), gateway).unwrap();
    folder
}

fn source(name: &str, url: &str) -> String {
    format!("- name: {name}\n  kind: postgres\n  configuration: {{connection_info: {{database_url: \"{url}\"}}}}\n")
}

const LOOPBACK: &str = "version: 1\nlisteners: [{name: pg, kind: postgres, host: 127.0.0.1, port: 0}]\n";

fn weir(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> (Output, String) {
    let output = weir(arguments).output().unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    (output, text)
}

fn path(folder: &TempDir) -> &str {
    folder.path().to_str().unwrap()
}

/// A gateway that listens; killed when a test fails.
struct Gateway {
    process: Child,
    address: SocketAddr,
    /// Its log from there on.
    log: Option<BufReader<ChildStderr>>,
}

impl Gateway {
    fn serve(folder: &Path, arguments: &[&str]) -> Gateway {
        let mut command = weir(&["serve", folder.to_str().unwrap(), "--log-format", "json"]);
        let process = command.args(arguments).stderr(Stdio::piped()).spawn().unwrap();
        let mut gateway = Gateway {
            process,
            address: ([127, 0, 0, 1], 0).into(),
            log: None,
        };
        let mut log = BufReader::new(gateway.process.stderr.take().unwrap());
        let mut lines = String::new();
        while gateway.address.port() == 0 {
            let mut line = String::new();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "it ended:\n{lines}");
            let event: serde_json::Value = serde_json::from_str(&line).unwrap();
            if event["type"] == "listening" {
                assert_eq!(event["detail"]["listener"], "pg");
                gateway.address = event["detail"]["address"].as_str().unwrap().parse().unwrap();
            }
            lines.push_str(&line);
        }
        assert!(!lines.contains("canary-3K7"), "{lines}");
        gateway.log = Some(log);
        gateway
    }

    /// Sends a signal and waits for the exit code.
    fn end(&mut self, signal: &str) -> Option<i32> {
        let status = Command::new("kill")
            .args([&format!("-{signal}"), &self.process.id().to_string()])
            .status();
        assert!(status.unwrap().success());
        self.process.wait().unwrap().code()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Sends a start-up packet and reads what comes until the gateway closes.
fn greet(address: SocketAddr, database: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let body = format!("\0\x03\0\0user\0app\0database\0{database}\0\0");
    let length = u32::try_from(body.len() + 4).unwrap();
    stream
        .write_all(&[&length.to_be_bytes(), body.as_bytes()].concat())
        .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_wrong_command_line_is_2_and_shows_the_way() {
    let folder = metadata(&source("orders", DOWN), LOOPBACK);
    let (output, text) = run(&[path(&folder)]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text.contains(&format!("weir serve {}", path(&folder))), "{text}");
    let (output, _) = run(&["serve", path(&folder), "--workers", "0"]);
    assert_eq!(output.status.code(), Some(2));
    let (output, text) = run(&["serve", path(&folder), "--log-level", "weir=loud"]);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("--log-level"), "{text}");
}

#[test]
fn check_tells_everything_and_ends_with_1_if_something_is_wrong() {
    let broken = metadata(
        &format!(
            "{}- {{name: b, kind: nonsense}}\n- {{kind: postgres}}\n",
            source("a", "postgres://")
        ),
        "version: 9",
    );
    let (output, text) = run(&["check", path(&broken)]);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("databases/databases.yaml:") && text.contains("gateway.yaml:1:"),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "colours although nobody looks: {text}");
    let good = metadata(&source("orders", DOWN), LOOPBACK);
    let (output, text) = run(&["check", path(&good)]);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(!text.contains("canary-3K7"), "{text}");
}

#[test]
fn check_connect_names_host_port_and_what_to_do() {
    let folder = metadata(&source("orders", DOWN), LOOPBACK);
    let (output, text) = run(&["check", path(&folder), "--connect"]);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("127.0.0.1:1") && text.contains("is the database running"),
        "{text}"
    );
    let (output, text) = run(&["check", path(&folder), "--connect", "--format", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["connections"][0]["reached"], false, "{text}");
    assert!(!text.contains("canary-3K7"), "{text}");
}

#[test]
fn unknown_keys_are_for_strict_to_refuse() {
    let typo = source("orders", DOWN).replace("connection_info: {", "connection_info: {pool_setings: {}, ");
    let folder = metadata(&typo, LOOPBACK);
    let (output, text) = run(&["check", path(&folder)]);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("did you mean \"pool_settings\"?"), "{text}");
    assert_eq!(run(&["check", path(&folder), "--strict"]).0.status.code(), Some(1));
    let (output, text) = run(&["serve", path(&folder), "--strict"]);
    assert_eq!(output.status.code(), Some(1), "{text}");
}

#[test]
fn nothing_to_serve_is_1_with_the_list() {
    let folder = metadata(
        "- {name: a, kind: postgres, configuration: {connection_info: {database_url: {from_env: NOT_SET}}}}\n",
        LOOPBACK,
    );
    let (output, text) = run(&["serve", path(&folder)]);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("environment variable 'NOT_SET' not set"), "{text}");
    assert!(text.contains("no source can be served"), "{text}");
}

#[test]
fn a_port_in_use_is_1_and_names_the_place() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let folder = metadata(
        &source("orders", DOWN),
        &LOOPBACK.replace("port: 0", &format!("port: {port}")),
    );
    let (output, text) = run(&["serve", path(&folder)]);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(&format!("127.0.0.1:{port}")), "{text}");
}

#[test]
fn clients_of_an_inconsistent_source_are_told_why_and_sigterm_is_0() {
    let broken =
        "- {name: ledger, kind: postgres, configuration: {connection_info: {database_url: {from_env: NOT_SET}}}}\n";
    let folder = metadata(&format!("{}{broken}", source("orders", DOWN)), LOOPBACK);
    for workers in ["1", "2"] {
        let mut gateway = Gateway::serve(folder.path(), &["--workers", workers]);
        let answer = greet(gateway.address, "ledger");
        assert!(answer.contains("NOT_SET"), "{answer:?}");
        let answer = greet(gateway.address, "nobody");
        assert!(answer.contains("3D000"), "{answer:?}");
        assert_eq!(gateway.end("TERM"), Some(0));
    }
}

#[test]
fn sigint_ends_it_even_when_nobody_reads_the_log_any_more() {
    let folder = metadata(&source("orders", DOWN), LOOPBACK);
    let mut gateway = Gateway::serve(folder.path(), &[]);
    drop(gateway.log.take());
    let answer = greet(gateway.address, "nobody");
    assert!(answer.contains("3D000"), "{answer:?}");
    assert_eq!(gateway.end("INT"), Some(0));
}
