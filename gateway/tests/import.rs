//! `weir import`: what a pgbouncer.ini becomes, whole, and that it can be served.
//!
//! `WEIR_UPDATE_GOLDEN=1 cargo test -p weir --test import` writes what is expected anew; read the difference.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

const FILES: [&str; 3] = ["version.yaml", "databases/databases.yaml", "gateway.yaml"];

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/samples/pgbouncer")
        .join(name)
}

fn weir(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command.envs(environment.iter().copied());
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

struct Imported {
    folder: TempDir,
    report: String,
}

impl Imported {
    fn of(ini: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("metadata");
        let output = weir(
            &["import", ini.to_str().unwrap(), "--output", out.to_str().unwrap()],
            &[],
        );
        assert!(output.status.success(), "{}", text(&output));
        Imported {
            folder,
            report: text(&output),
        }
    }

    fn metadata(&self) -> PathBuf {
        self.folder.path().join("metadata")
    }

    /// Without what differs from run to run.
    fn normal(&self, text: &str) -> String {
        text.replace(self.metadata().to_str().unwrap(), "OUT")
    }

    /// Everything that was written but the secrets, and the report.
    fn golden(&self) -> String {
        let mut golden = String::new();
        for file in FILES {
            golden += &format!(
                "=== {file}\n{}",
                fs::read_to_string(self.metadata().join(file)).unwrap()
            );
        }
        golden += &format!("=== secrets\n{}\n", self.secrets().join("\n"));
        golden += &format!("=== report\n{}", self.report);
        self.normal(&golden)
    }

    /// The names of the secret files.
    fn secrets(&self) -> Vec<String> {
        let root = self.metadata().join("secrets");
        let mut folders = vec![root.clone()];
        let mut names = Vec::new();
        while let Some(folder) = folders.pop() {
            assert_eq!(mode(&folder), 0o700, "{}", folder.display());
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                assert_eq!(mode(&path), 0o600, "{}", path.display());
                names.push(path.strip_prefix(&root).unwrap().display().to_string());
            }
        }
        names.sort();
        names
    }

    fn check(&self, environment: &[(&str, &str)]) -> Output {
        let secrets = self.metadata().join("secrets");
        let mut all = vec![(
            "HASURA_GRAPHQL_DYNAMIC_SECRETS_ALLOWED_PATH_PREFIX",
            secrets.to_str().unwrap(),
        )];
        all.extend(environment);
        weir(&["check", "--strict", self.metadata().to_str().unwrap()], &all)
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn compare(name: &str, imported: &Imported) {
    let path = sample(name).join("expected.txt");
    let golden = imported.golden();
    if std::env::var_os("WEIR_UPDATE_GOLDEN").is_some() {
        fs::write(&path, &golden).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(golden == expected, "{} is another:\n{golden}", path.display());
}

/// The sample with files that cannot be kept in a repository.
fn production() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in ["pgbouncer.ini", "databases.ini", "userlist.txt"] {
        fs::copy(sample("production").join(file), folder.path().join(file)).unwrap();
    }
    let made = rcgen::generate_simple_self_signed(vec!["weir.test".to_owned()]).unwrap();
    fs::write(folder.path().join("server.crt"), made.cert.pem()).unwrap();
    fs::write(folder.path().join("server.key"), made.signing_key.serialize_pem()).unwrap();
    folder
}

#[test]
fn the_shipped_example() {
    let imported = Imported::of(&sample("shipped/pgbouncer.ini"));
    compare("shipped", &imported);
    let output = imported.check(&[]);
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn two_applications_with_tls_on_both_sides() {
    let folder = production();
    let imported = Imported::of(&folder.path().join("pgbouncer.ini"));
    compare("production", &imported);
    let output = imported.check(&[("LEGACY_PASSWORD", "x")]);
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn users_that_the_database_knows() {
    let imported = Imported::of(&sample("auth_query/pgbouncer.ini"));
    compare("auth_query", &imported);
    let output = imported.check(&[("LEDGER_USERNAME", "ledger"), ("LEDGER_PASSWORD", "x")]);
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn a_password_is_in_its_file_and_nowhere_else() {
    let folder = production();
    let imported = Imported::of(&folder.path().join("pgbouncer.ini"));
    let golden = imported.golden();
    for secret in [
        "canary-",
        "it's a secret",
        "it''s a secret",
        "SCRAM-SHA-256$",
        "PRIVATE KEY",
    ] {
        assert!(!golden.contains(secret), "{secret} is in\n{golden}");
    }
    let written = |name: &str| fs::read_to_string(imported.metadata().join("secrets").join(name)).unwrap();
    assert_eq!(written("shop.password"), "it's a secret");
    assert_eq!(written("users/ops"), "canary-ops");
    assert!(written("tls/client-sslkey.pem").contains("PRIVATE KEY"));
    let ini = folder.path().join("pgbouncer.ini");
    let dry = weir(&["import", ini.to_str().unwrap(), "--dry-run"], &[]);
    assert!(
        dry.status.success() && !text(&dry).contains("canary-"),
        "{}",
        text(&dry)
    );
}

#[test]
fn nothing_is_overwritten_without_force() {
    let ini = sample("shipped/pgbouncer.ini");
    let imported = Imported::of(&ini);
    let gateway = imported.metadata().join("gateway.yaml");
    fs::write(&gateway, "mine").unwrap();
    let out = imported.metadata();
    let arguments = ["import", ini.to_str().unwrap(), "--output", out.to_str().unwrap()];
    let output = weir(&arguments, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("--force"), "{}", text(&output));
    assert_eq!(fs::read_to_string(&gateway).unwrap(), "mine");
    let output = weir(&[&arguments[..], &["--force"]].concat(), &[]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(fs::read_to_string(&gateway).unwrap().contains("listeners:"));
    imported.secrets();
}

#[test]
fn what_cannot_be_read_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("loop.ini"), "%include loop.ini\n").unwrap();
    fs::write(path("other.ini"), "hello world\n").unwrap();
    for (file, wanted) in [
        ("absent.ini", "cannot read"),
        ("loop.ini", "files deep"),
        ("other.ini", "is it a pgbouncer.ini?"),
    ] {
        let output = weir(&["import", &path(file), "--output", &path("out")], &[]);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert!(text(&output).contains(wanted), "{}", text(&output));
        assert!(!Path::new(&path("out")).exists());
    }
}
