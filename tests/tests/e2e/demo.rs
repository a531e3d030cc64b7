//! `make demo`, run once and short: it ends well and leaves nothing behind.

use std::{path::PathBuf, process::Command, time::Duration};

use weir_tests::{
    process,
    site::{Plan, Site, database_url, is_direct},
    turn,
};

fn demo() -> Command {
    let mut command = Command::new(PathBuf::from(env!("CARGO_BIN_EXE_weir-demo")));
    command
        .args(["--once", "--seconds=3", "--clients=200"])
        .env("WEIR_BIN", weir_tests::gateway::program());
    command
}

fn expect_table(output: &str) {
    // PostgreSQL and SQL Server.
    for (row, expected) in [
        ("wrong answers", ["0", "0"]),
        ("failed clients", ["0", "0"]),
        ("clients", ["200", "50"]),
        ("server connections", ["5", "5"]),
    ] {
        let line = output
            .lines()
            .find(|line| line.trim_start().starts_with(row))
            .unwrap_or_else(|| panic!("no {row}:\n{output}"));
        let values = line.trim_start().trim_start_matches(row).split_whitespace().take(2);
        assert_eq!(values.collect::<Vec<_>>(), expected, "{row}:\n{output}");
    }
    assert!(output.contains("psql postgres://demo:demo@127.0.0.1:"), "{output}");
}

#[tokio::test]
async fn the_demo_runs_on_a_cluster_of_its_own() {
    if is_direct() {
        return;
    }
    let _turn = turn::heavy();
    let folder = tempfile::tempdir().unwrap();
    let mut command = demo();
    // Its temporary files, to see that they go; its server's user must be able to get there.
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    command.env("TMPDIR", folder.path());
    let outcome = process::run(command, Duration::from_secs(60)).await;
    outcome.expect_success("weir-demo");
    expect_table(&outcome.output);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let left: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[tokio::test]
async fn the_demo_runs_on_a_given_database() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan {
        heavy: true,
        ..Plan::default()
    })
    .await;
    let mut command = demo();
    command
        .arg("--url")
        .arg(database_url(site.cluster, site.role, &site.database, "sslmode=disable"));
    let outcome = process::run(command, Duration::from_secs(60)).await;
    outcome.expect_success("weir-demo --url");
    expect_table(&outcome.output);
}
