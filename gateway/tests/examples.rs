//! What `examples/` tells people to run exists. The metadata in there is checked by the tests of `weir-config`.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// Whether `weir` takes these words: `--help` is answered only if all before it is right.
fn is_taken(words: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(words)
        .arg("--help")
        .env_clear()
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{words:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_units_commands_exist_and_its_times_fit() {
    let unit = text("examples/systemd/weir.service");
    let value = |key: &str| {
        unit.lines()
            .find_map(|line| line.strip_prefix(&format!("{key}=")))
            .unwrap()
            .to_owned()
    };
    for key in ["ExecStartPre", "ExecStart"] {
        let line = value(key);
        let mut words = line.split_whitespace();
        assert_eq!(words.next(), Some("/usr/local/bin/weir"));
        is_taken(&words.collect::<Vec<_>>());
    }
    assert_eq!(value("Type"), "notify");
    // The default of --drain-timeout.
    assert!(value("TimeoutStopSec").parse::<u32>().unwrap() > 60);
}

#[test]
fn systemd_accepts_the_unit() {
    let folder = tempfile::tempdir().unwrap();
    let unit = text("examples/systemd/weir.service").replace("/usr/local/bin/weir", env!("CARGO_BIN_EXE_weir"));
    let path = folder.path().join("weir.service");
    fs::write(&path, unit).unwrap();
    let Ok(output) = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&path)
        .output()
    else {
        eprintln!("systemd-analyze is not installed: not checked");
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    // About this file; what it says of others is the machine's.
    let ours: Vec<_> = said.lines().filter(|line| line.contains("weir.service")).collect();
    assert!(ours.is_empty(), "{ours:#?}");
}

#[test]
fn what_the_dockerfile_copies_and_runs_exists() {
    let dockerfile = text("examples/docker/Dockerfile");
    let mut command = Vec::new();
    for line in dockerfile.lines() {
        let (instruction, rest) = line.split_once(' ').unwrap_or((line, ""));
        match instruction {
            "COPY" if !rest.starts_with("--from") => {
                let words: Vec<_> = rest.split_whitespace().collect();
                for source in &words[..words.len() - 1] {
                    assert!(root().join(source).exists(), "COPY {source}");
                }
            }
            "ENTRYPOINT" | "CMD" => command.extend(serde_json::from_str::<Vec<String>>(rest).unwrap()),
            _ => {}
        }
    }
    assert_eq!(command[0], "/usr/local/bin/weir");
    is_taken(&command[1..].iter().map(String::as_str).collect::<Vec<_>>());
    // The workspace builds only with all of its members.
    let workspace = text("Cargo.toml");
    let members = workspace
        .split("members = [")
        .nth(1)
        .unwrap()
        .split(']')
        .next()
        .unwrap();
    for member in members.split('"').skip(1).step_by(2) {
        assert!(
            dockerfile.contains(&format!("COPY {member} {member}")),
            "{member} is not copied"
        );
    }
}

#[test]
fn the_manifests_arguments_exist() {
    let manifest = text("examples/kubernetes/weir.yaml");
    let line = manifest
        .lines()
        .find_map(|line| line.trim().strip_prefix("args: ["))
        .unwrap();
    let words: Vec<_> = line
        .trim_end_matches(']')
        .split(", ")
        .map(|word| word.trim_matches('"'))
        .collect();
    is_taken(&words);
}
