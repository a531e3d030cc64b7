//! Whatever is in the files, the loader returns.

use proptest::prelude::*;
use weir_config::*;

use crate::common::*;

fn load_bytes(databases: &[u8], gateway: &[u8]) -> Loaded {
    let directory = directory(&[
        ("version.yaml", "version: 3"),
        ("databases/databases.yaml", ""),
        ("gateway.yaml", ""),
    ]);
    std::fs::write(directory.path().join("databases/databases.yaml"), databases).unwrap();
    std::fs::write(directory.path().join("gateway.yaml"), gateway).unwrap();
    let env = [
        ("URL", "postgres://u:p@h/d"),
        ("HASURA_GRAPHQL_DYNAMIC_SECRETS_ALLOWED_PATH_PREFIX", "/run/secrets"),
    ];
    load(directory.path(), &env, false)
}

/// What has to be true of every result.
fn check(databases: &[u8], gateway: &[u8]) {
    let loaded = &load_bytes(databases, gateway);
    let metadata = &loaded.metadata;
    let mut names: Vec<_> = metadata
        .sources
        .iter()
        .flat_map(|source| &source.database_names)
        .collect();
    assert!(metadata.sources.iter().all(|source| !source.database_names.is_empty()));
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "database names are unique");
    assert!(metadata.inconsistent.iter().all(|source| !source.reason.is_empty()));
    assert!(loaded.has_errors() || metadata.inconsistent.is_empty());
    for source in &metadata.sources {
        if let Definition::Postgres(definition) = &source.definition {
            let pool = &definition.primary.pool;
            assert!(pool.max_connections >= 1 && pool.min_connections <= pool.max_connections);
            if let AddressSource::Fixed(_) = definition.primary.address {
                definition.primary.resolve().unwrap();
            }
        }
    }
    for listener in &metadata.listeners {
        let explicit = gateway.windows(14).any(|window| window == b"trust_loopback");
        assert!(
            explicit || !listener.trust_loopback || listener.is_loopback(),
            "only loopback is trusted unasked"
        );
    }
}

fn sample_texts() -> Vec<Vec<u8>> {
    let files = [
        "1-minimal/metadata/databases/databases.yaml",
        "2-postgres-full/metadata/databases/databases.yaml",
        "3-mssql/metadata/databases/databases.yaml",
        "4-mixed/metadata/databases/databases.yaml",
        "5-gateway-overlay/metadata/gateway.yaml",
    ];
    files.iter().map(|file| std::fs::read(sample(file)).unwrap()).collect()
}

/// Pieces that mean something to the loader.
fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let pieces = [
        "- ",
        "  ",
        "\n",
        ": ",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "'",
        "&a ",
        "*a",
        "<<: ",
        "!include ",
        "!!int ",
        "null",
        "0",
        "-1",
        "1e999",
        "name",
        "kind",
        "postgres",
        "mssql",
        "configuration",
        "connection_info",
        "database_url",
        "from_env",
        "URL",
        "pool_settings",
        "max_connections",
        "users",
        "listeners",
        "sources",
        "gateway",
        "auth_query",
        "dynamic_from_file",
        "/run/secrets/x",
        "postgres://u:p@h/d?",
        "sslmode=",
        "{{URL}}",
        "@",
        "%",
        "#",
        "|\n",
        ">-\n",
        "é",
        "\t",
    ];
    prop_oneof![
        4 => prop::sample::select(pieces.to_vec()).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes(databases in prop::collection::vec(any::<u8>(), 0..200), gateway in prop::collection::vec(any::<u8>(), 0..200)) {
        check(&databases, &gateway);
    }

    #[test]
    fn arbitrary_fragments(databases in prop::collection::vec(fragment(), 0..40), gateway in prop::collection::vec(fragment(), 0..40)) {
        check(&databases.concat(), &gateway.concat());
    }

    #[test]
    fn mutated_samples(which in 0usize..5, other in 0usize..5, edits in prop::collection::vec((any::<prop::sample::Index>(), 0usize..12, fragment()), 1..6)) {
        let texts = sample_texts();
        let mut text = texts[which].clone();
        for (index, length, insert) in edits {
            let start = index.index(text.len() + 1);
            let end = (start + length).min(text.len());
            text.splice(start..end, insert);
        }
        check(&text, &texts[other]);
        check(&texts[other], &text);
    }

    #[test]
    fn a_value_anywhere_becomes_anything(which in 0usize..5, line in any::<prop::sample::Index>(), value in prop::sample::select(vec!["null", "[]", "{}", "5", "-1", "true", "text", "''", "{from_env: URL}", "[[{}]]", "1e40", "!include x.yaml"])) {
        let texts = sample_texts();
        let text = String::from_utf8(texts[which].clone()).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let line = line.index(lines.len());
        if let Some((key, _)) = lines[line].split_once(": ") {
            lines[line] = format!("{key}: {value}");
        }
        let text = lines.join("\n");
        check(text.as_bytes(), text.as_bytes());
    }
}
