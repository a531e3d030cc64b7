//! `examples/hasura`, a project as Hasura's command line exports it: loads as it is, and comes back as it is.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::json;
use weir_config::{
    Severity, SourceKind,
    document::{Kind, Operation},
    load,
};

use crate::common::{carry_out, read, write};

const ENVIRONMENT: [(&str, &str); 4] = [
    ("SHOP_DATABASE_URL", "postgres://app:secret@shop.internal/shop"),
    ("SHOP_REPLICA_URL", "postgres://app:secret@shop-replica.internal/shop"),
    ("EVENTS_COORDINATOR_URL", "postgres://app:secret@events.internal/events"),
    (
        "ERP_ODBC",
        "Driver={ODBC Driver 18 for SQL Server};Server=tcp:erp.internal,1433;Database=erp;UID=app;PWD=secret",
    ),
];

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/hasura")
}

/// A copy that may be written to.
fn copy() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files(&example().join("metadata")) {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

/// All files below a folder.
fn files(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    let name = path.strip_prefix(root).unwrap().display().to_string();
                    found.insert(name, fs::read_to_string(path).unwrap());
                }
            }
        }
    }
    found
}

#[test]
fn it_loads_unchanged() {
    let loaded = load(&example(), &ENVIRONMENT, true);
    let worse = loaded
        .problems
        .iter()
        .filter(|problem| problem.severity < Severity::Info);
    assert_eq!(worse.collect::<Vec<_>>(), Vec::<&weir_config::Problem>::new());
    let kinds: Vec<_> = loaded
        .metadata
        .sources
        .iter()
        .map(|source| (source.name.as_str(), source.kind))
        .collect();
    let expected = [
        ("shop", SourceKind::Postgres),
        ("events", SourceKind::Citus),
        ("accounts", SourceKind::Cockroach),
        ("erp", SourceKind::Mssql),
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn it_comes_back_untouched() {
    let folder = copy();
    let before = files(folder.path());
    let exported = read(folder.path()).metadata().clone();
    // Everything is in it, the kinds that are not served as well.
    assert_eq!(exported["sources"].as_array().unwrap().len(), 5);
    assert_eq!(
        exported["sources"][0]["tables"][1]["event_triggers"][0]["name"],
        "order_placed"
    );
    assert_eq!(
        exported["query_collections"][0]["definition"]["queries"][0]["name"],
        "my_orders"
    );
    assert_eq!(exported["cron_triggers"][0]["payload"], json!({}));
    assert!(exported.get("network").is_none());
    let definition = json!({
        "kind": "synchronous",
        "handler": "{{ACTIONS_URL}}/refund",
        "forward_client_headers": true,
        "arguments": [{"name": "order_id", "type": "Int!"}, {"name": "reason", "type": "String"}],
        "output_type": "RefundResult",
        "type": "mutation",
    });
    assert_eq!(exported["actions"][0]["definition"], definition);
    assert_eq!(exported["actions"][1]["definition"]["output_type"], "[Quote!]!");
    assert_eq!(exported["actions"][1]["definition"]["type"], "query");
    let types = &exported["custom_types"];
    let country = json!([{"name": "Country", "values": [{"value": "DE"}, {"value": "FR"}]}]);
    assert_eq!(
        (&types["enums"], &types["scalars"]),
        (&country, &json!([{"name": "Instant"}]))
    );
    let field = json!({"name": "country", "type": "Country!", "description": "Where it goes"});
    assert_eq!(types["input_objects"][0]["fields"][0], field);
    assert_eq!(types["objects"][0]["relationships"][0]["name"], "order");
    let mut replaced = exported.clone();
    Operation::Replace(exported).apply(&mut replaced).unwrap();
    assert_eq!(write(folder.path(), &replaced), Vec::<String>::new());
    assert_eq!(files(folder.path()), before);
}

#[test]
fn actions_change_in_their_own_file_only() {
    let folder = copy();
    let document = read(folder.path());
    let mut metadata = document.metadata().clone();
    metadata["actions"][0]["definition"]["output_type"] = json!("String");
    let refused = document.changes(&metadata).unwrap_err();
    assert!(refused.0.contains("actions.graphql"), "{}", refused.0);
    for broken in [
        "type {",
        "union A = B",
        "type A { b }",
        "type A { b: [C }",
        "\"",
        "type A { b: C = [",
        "type A @x(",
        "extend",
    ] {
        fs::write(folder.path().join("actions.graphql"), broken).unwrap();
        let document = read(folder.path());
        assert!(document.incomplete().is_some(), "{broken}");
        // Whatever it says: sources come and go.
        let mut metadata = document.metadata().clone();
        metadata["sources"].as_array_mut().unwrap().pop();
        assert!(!document.changes(&metadata).unwrap().is_empty());
    }
}

#[test]
fn what_changes_is_all_that_changes() {
    let folder = copy();
    let before = files(folder.path());
    let drop = |kind, name: &str, cascade| Operation::DropSource {
        kind,
        name: name.to_owned(),
        cascade,
    };
    carry_out(folder.path(), &drop(Kind::Mssql, "erp", false));
    let mut after = files(folder.path());
    for gone in [
        "databases/erp/tables/tables.yaml",
        "databases/erp/tables/dbo_invoices.yaml",
    ] {
        assert!(!after.contains_key(gone), "{gone}");
    }
    let databases = after.remove("databases/databases.yaml").unwrap();
    let expected = &before["databases/databases.yaml"];
    let (from, to) = (
        expected.find("- name: erp").unwrap(),
        expected.find("- name: warehouse").unwrap(),
    );
    assert_eq!(databases, format!("{}{}", &expected[..from], &expected[to..]));
    for (name, text) in &after {
        assert_eq!(Some(text), before.get(name), "{name}");
    }
    // Its relationships go with a source that another one leads to, and no more.
    let mut metadata = read(folder.path()).metadata().clone();
    assert!(drop(Kind::Citus, "events", false).apply(&mut metadata).is_err());
    let changed = carry_out(folder.path(), &drop(Kind::Citus, "events", true));
    assert!(
        changed.contains(&"databases/shop/tables/public_orders.yaml".to_owned()),
        "{changed:?}"
    );
    let orders = &files(folder.path())["databases/shop/tables/public_orders.yaml"];
    let expected = &before["databases/shop/tables/public_orders.yaml"];
    let (from, to) = (
        expected.find("  - name: events").unwrap(),
        expected.find("event_triggers").unwrap(),
    );
    assert_eq!(
        *orders,
        format!("{} []\n{}", expected[..from].trim_end(), &expected[to..])
    );
}
