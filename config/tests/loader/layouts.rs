//! Every layout that a path may be.

use std::time::Duration;

use weir_config::*;

use crate::common::*;

/// Paths and contents.
type Contents<'c> = &'c [(&'c str, &'c str)];

const SOURCE: &str = "- name: s\n  configuration: {connection_info: {database_url: postgres://u@h/d}}\n";

fn names(loaded: &Loaded) -> Vec<&str> {
    loaded
        .metadata
        .sources
        .iter()
        .map(|source| source.name.as_str())
        .collect()
}

#[test]
fn each_layout_finds_its_sources_and_gateway_yaml() {
    let wrapped = "sources:\n- name: s\n  configuration: {connection_info: {database_url: postgres://u@h/d}}\n";
    let gateway = "defaults: {query_timeout: 9}\n";
    let json = r#"{"version": 3, "sources": [{"name": "s", "kind": "postgres", "tables": [],
                   "configuration": {"connection_info": {"database_url": "postgres://u@h/d"}}}]}"#;
    let exported = format!(r#"{{"resource_version": 8, "metadata": {json}}}"#);
    let layouts: [(&str, Contents<'_>, &str); 10] = [
        (
            "v3 directory",
            &[
                ("version.yaml", "version: 3"),
                ("databases/databases.yaml", SOURCE),
                ("gateway.yaml", gateway),
            ],
            "",
        ),
        (
            "without version",
            &[("databases/databases.yaml", SOURCE), ("gateway.yaml", gateway)],
            "",
        ),
        (
            "project",
            &[
                (
                    "config.yaml",
                    "version: 3\nendpoint: http://localhost:8080\nmetadata_directory: meta\n",
                ),
                ("meta/version.yaml", "version: 3"),
                ("meta/databases/databases.yaml", SOURCE),
                ("meta/gateway.yaml", gateway),
            ],
            "",
        ),
        (
            "project's config.yaml",
            &[
                ("config.yaml", "metadata_directory: m"),
                ("m/databases/databases.yaml", SOURCE),
                ("m/gateway.yaml", gateway),
            ],
            "config.yaml",
        ),
        (
            "project by habit",
            &[
                ("metadata/databases/databases.yaml", SOURCE),
                ("metadata/gateway.yaml", gateway),
            ],
            "",
        ),
        (
            "metadata.yaml in a directory",
            &[("metadata.yaml", wrapped), ("gateway.yaml", gateway)],
            "",
        ),
        (
            "metadata.json",
            &[("metadata.json", json), ("gateway.yaml", gateway)],
            "metadata.json",
        ),
        (
            "exported metadata",
            &[("m.json", &exported), ("gateway.yaml", gateway)],
            "m.json",
        ),
        (
            "bare list",
            &[("databases.yaml", SOURCE), ("gateway.yaml", gateway)],
            "databases.yaml",
        ),
        (
            "list of a directory",
            &[
                ("databases/databases.yaml", SOURCE),
                ("version.yaml", "version: 3"),
                ("gateway.yaml", gateway),
            ],
            "databases/databases.yaml",
        ),
    ];
    for (name, files, path) in layouts {
        let directory = directory(files);
        let loaded = load(&directory.path().join(path), &[("", ""); 1], true);
        assert_eq!(problems(&loaded), "", "{name}");
        assert_eq!(names(&loaded), ["s"], "{name}");
        assert_eq!(
            source(&loaded, "s").timeouts.query,
            Some(Duration::from_secs(9)),
            "{name}"
        );
    }
}

#[test]
fn version_2_takes_its_source_from_the_environment() {
    let directory = directory(&[
        ("version.yaml", "version: 2"),
        ("tables.yaml", "[]"),
        ("gateway.yaml", "defaults: {retries: 5}"),
    ]);
    let env = [
        ("PG_DATABASE_URL", "postgres://other@h/d"),
        ("HASURA_GRAPHQL_DATABASE_URL", "postgres://u:p@h/d"),
        ("HASURA_GRAPHQL_PG_CONNECTIONS", "12"),
        ("HASURA_GRAPHQL_PG_TIMEOUT", "30"),
        ("HASURA_GRAPHQL_PG_CONN_LIFETIME", "0"),
        ("HASURA_GRAPHQL_PG_POOL_TIMEOUT", "2.5"),
        ("HASURA_GRAPHQL_TX_ISOLATION", "serializable"),
    ];
    let loaded = load(directory.path(), &env, true);
    assert_eq!(problems(&loaded), "");
    let connection = &postgres(&loaded, "default").primary;
    let pool = &connection.pool;
    assert_eq!(
        (pool.max_connections, pool.retries, pool.connection_lifetime),
        (12, 5, None)
    );
    assert_eq!(
        (pool.idle_timeout, pool.pool_timeout),
        (Some(Duration::from_secs(30)), Some(Duration::from_millis(2500)))
    );
    assert_eq!(
        pool.origins.of("max_connections"),
        "environment variable HASURA_GRAPHQL_PG_CONNECTIONS"
    );
    assert_eq!(
        (connection.isolation_level, connection.use_prepared_statements),
        (Some(IsolationLevel::Serializable), true)
    );
    assert_eq!(endpoint(&loaded, "default").user, "u");

    let wrong = load(
        directory.path(),
        &[
            ("PG_DATABASE_URL", "postgres://u@h/d"),
            ("HASURA_GRAPHQL_PG_CONNECTIONS", "many"),
        ],
        true,
    );
    assert_eq!(
        problems(&wrong),
        "environment variable HASURA_GRAPHQL_PG_CONNECTIONS: error: max_connections must be a number, got the string \"many\"\n"
    );
    let missing = load(directory.path(), &[("", ""); 1], true);
    assert_eq!(
        problems(&missing),
        "version.yaml: error: cannot import metadata without sources since no default source is defined: set HASURA_GRAPHQL_DATABASE_URL, or use metadata of version 3\n"
    );
}

#[test]
fn what_is_not_metadata_is_said_to_be_so() {
    let empty = directory(&[("README", "")]);
    let root = empty.path().display().to_string();
    let cases: [(Contents<'_>, &str, &str); 6] = [
        (
            &[("databases.yaml", "a: 1")],
            "databases.yaml",
            "databases.yaml:1:1: error: the file has neither \"sources\" nor is it a list of sources\n",
        ),
        (
            &[("databases.yaml", "just text")],
            "databases.yaml",
            "databases.yaml:1:1: error: the list of sources must be a list, got a string\n",
        ),
        (
            &[("version.yaml", "version: 7"), ("databases/databases.yaml", "[]")],
            "",
            "version.yaml:1:10: error: metadata of version 7 is not supported: use version 3 (or 2)\n",
        ),
        (
            &[("databases/databases.yaml", "- name: x\n  configuration: [\n")],
            "",
            "databases/databases.yaml:3:1: error: not valid YAML: while parsing a node, did not find expected node content\n",
        ),
        (
            &[("databases/databases.yaml", "- name: \"x\n")],
            "",
            "databases/databases.yaml:1:9: error: not valid YAML: while scanning a quoted scalar, found unexpected end of stream\n",
        ),
        (
            &[("gateway.yaml", "version: 1")],
            "",
            "databases/databases.yaml: warning: there is no such file: no source is declared\n",
        ),
    ];
    for (files, path, expected) in cases {
        let directory = directory(files);
        assert_eq!(
            problems(&load(&directory.path().join(path), &[("", ""); 1], false)),
            expected
        );
    }
    assert_eq!(
        problems(&load(empty.path(), &[("", ""); 1], false)),
        format!(
            "{root}: error: this is not a metadata directory: it has neither databases/databases.yaml nor version.yaml\n"
        )
    );
    assert_eq!(
        problems(&load(&empty.path().join("nowhere"), &[("", ""); 1], false)),
        format!("{root}/nowhere: error: there is no such file or directory\n")
    );
}

#[test]
fn text_that_is_not_utf8_is_an_error_with_its_position() {
    let directory = directory(&[("version.yaml", "version: 3"), ("databases/databases.yaml", "")]);
    std::fs::write(
        directory.path().join("databases/databases.yaml"),
        b"- name: s\n  kind: \xff\n",
    )
    .unwrap();
    assert_eq!(
        problems(&load(directory.path(), &[("", ""); 1], false)),
        "databases/databases.yaml:2:9: error: the file is not UTF-8\n"
    );
}

#[test]
fn json_beyond_yaml_is_read_without_positions() {
    let json = r#"{"sources": [{"name": "\ud83d\ude00", "configuration": {"connection_info": {"database_url": "postgres://u@h/d"}}}]}"#;
    let directory = directory(&[("metadata.json", json)]);
    let loaded = load(directory.path(), &[("", ""); 1], true);
    assert_eq!(problems(&loaded), "");
    assert_eq!(names(&loaded), ["😀"]);
}

#[test]
fn an_empty_list_is_no_problem() {
    for content in ["", "[]", "# nothing yet\n"] {
        let loaded = databases(content, &[]);
        assert_eq!(problems(&loaded), "", "{content:?}");
        assert!(loaded.metadata.sources.is_empty());
    }
}
