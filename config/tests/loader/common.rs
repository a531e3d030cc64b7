//! What the tests of the loader share: temporary metadata directories and short ways to look at a result.
#![allow(unreachable_pub)]

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use weir_config::*;

/// One of the sample directories.
pub fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples").join(name)
}

/// A metadata directory with these files.
pub fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    directory
}

/// Loads `databases/databases.yaml` with this content.
pub fn databases(content: &str, env: &[(&str, &str)]) -> Loaded {
    both(content, None, env)
}

/// Loads `databases/databases.yaml` and `gateway.yaml`.
pub fn both(databases: &str, gateway: Option<&str>, env: &[(&str, &str)]) -> Loaded {
    let mut files = vec![
        ("databases/databases.yaml", databases),
        ("version.yaml", "version: 3\n"),
    ];
    files.extend(gateway.map(|gateway| ("gateway.yaml", gateway)));
    let directory = directory(&files);
    load(directory.path(), &env, false)
}

/// All problems, one per line, as a person sees them.
pub fn problems(loaded: &Loaded) -> String {
    loaded.problems.iter().map(|problem| format!("{problem}\n")).collect()
}

/// The Postgres part of a source.
pub fn postgres<'l>(loaded: &'l Loaded, name: &str) -> &'l PostgresSource {
    match &source(loaded, name).definition {
        Definition::Postgres(definition) => definition,
        Definition::Mssql(_) => panic!("{name} is of SQL Server"),
    }
}

/// The SQL Server part of a source.
pub fn mssql<'l>(loaded: &'l Loaded, name: &str) -> &'l MssqlSource {
    match &source(loaded, name).definition {
        Definition::Mssql(definition) => definition,
        Definition::Postgres(_) => panic!("{name} is of Postgres"),
    }
}

/// A consistent source.
pub fn source<'l>(loaded: &'l Loaded, name: &str) -> &'l Source {
    let found = loaded.metadata.sources.iter().find(|source| source.name == name);
    found.unwrap_or_else(|| panic!("no consistent source {name}:\n{}", problems(loaded)))
}

/// A source `s` whose `connection_info` is this, indented by six spaces, plus further text behind the source.
pub fn connection(info: &str, further: &str) -> String {
    let indented: String = info.lines().map(|line| format!("      {line}\n")).collect();
    format!("- name: s\n  kind: postgres\n  configuration:\n    connection_info:\n{indented}{further}")
}

/// A source `s` with a fixed URL and these pool settings, one per line. The first stands in line 8, column 9.
pub fn pool(settings: &str) -> String {
    let indented: String = settings.lines().map(|line| format!("        {line}\n")).collect();
    let pool = if settings.is_empty() {
        String::new()
    } else {
        format!("      pool_settings:\n{indented}")
    };
    format!(
        "- name: s\n  kind: postgres\n  configuration:\n    connection_info:\n      # a comment\n      database_url: postgres://u@h/d\n{pool}"
    )
}

/// The endpoint of a source's primary.
pub fn endpoint(loaded: &Loaded, name: &str) -> PostgresEndpoint {
    postgres(loaded, name).primary.resolve().unwrap()
}

/// The only reason why source `s` is inconsistent.
pub fn reason(loaded: &Loaded) -> &str {
    match loaded.metadata.inconsistent.as_slice() {
        [source] => &source.reason,
        other => panic!("{other:?}\n{}", problems(loaded)),
    }
}
