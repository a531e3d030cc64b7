//! Operations on the document, with Hasura's words.

use serde_json::{Map, Value, json};
use weir_config::document::{Kind, Operation, OperationError};

fn metadata() -> Value {
    json!({"version": 3, "sources": [
        {"name": "a", "kind": "postgres", "configuration": {"x": 1}, "tables": [
            {"table": {"name": "t", "schema": "public"}, "remote_relationships": [
                {"name": "to_b", "definition": {"to_source": {"source": "b", "table": "u"}}},
                {"name": "to_r", "definition": {"to_remote_schema": {"remote_schema": "r"}}},
            ]},
        ]},
        {"name": "b", "kind": "mssql", "configuration": {}, "tables": []},
        {"name": "c", "configuration": {}, "tables": []},
    ], "remote_schemas": [1]})
}

fn apply(operation: &Operation) -> Result<Value, OperationError> {
    let mut changed = metadata();
    let outcome = operation.apply(&mut changed);
    if outcome.is_err() {
        assert_eq!(changed, metadata(), "an error has changed something");
    }
    outcome.map(|()| changed)
}

fn drop(kind: Kind, name: &str, cascade: bool) -> Operation {
    Operation::DropSource {
        kind,
        name: name.to_owned(),
        cascade,
    }
}

#[test]
fn adding() {
    let add = |name: &str, replace_configuration| Operation::AddSource {
        kind: Kind::Postgres,
        name: name.to_owned(),
        configuration: json!({"y": 2}),
        replace_configuration,
        others: [("customization".to_owned(), json!({"z": 3}))].into_iter().collect(),
    };
    let added = apply(&add("d", false)).unwrap();
    let expected =
        json!({"name": "d", "kind": "postgres", "tables": [], "configuration": {"y": 2}, "customization": {"z": 3}});
    assert_eq!(added["sources"][3], expected);
    let taken = OperationError::AlreadyExists("source with name \"a\" already exists".to_owned());
    assert_eq!(apply(&add("a", false)), Err(taken));
    assert_eq!(
        apply(&add("a", true)).unwrap()["sources"][0]["configuration"],
        json!({"y": 2})
    );
}

#[test]
fn updating_replaces_what_is_given_as_a_whole() {
    let update = |kind, name: &str| Operation::UpdateSource {
        kind,
        name: name.to_owned(),
        fields: [("configuration".to_owned(), json!({"y": 2}))]
            .into_iter()
            .collect::<Map<_, _>>(),
    };
    let updated = apply(&update(Kind::Postgres, "a")).unwrap();
    assert_eq!(updated["sources"][0]["configuration"], json!({"y": 2}));
    assert_eq!(updated["sources"][0]["tables"], metadata()["sources"][0]["tables"]);
    // A source without a kind is one of PostgreSQL.
    assert!(apply(&update(Kind::Postgres, "c")).is_ok());
    for (kind, name) in [(Kind::Postgres, "b"), (Kind::Citus, "a"), (Kind::Postgres, "x")] {
        let unknown = OperationError::NotExists(format!("source with name \"{name}\" does not exist"));
        assert_eq!(apply(&update(kind, name)), Err(unknown));
    }
}

#[test]
fn dropping_minds_who_depends_on_it() {
    let refused = apply(&drop(Kind::Mssql, "b", false)).unwrap_err();
    let expected =
        "cannot drop due to the following dependent objects: remote_relationship to_b in table t in source a";
    assert_eq!(refused, OperationError::Dependency(expected.to_owned()));
    let dropped = apply(&drop(Kind::Mssql, "b", true)).unwrap();
    assert_eq!(dropped["sources"].as_array().unwrap().len(), 2);
    let left = &dropped["sources"][0]["tables"][0]["remote_relationships"];
    assert_eq!(left.as_array().unwrap().len(), 1);
    assert_eq!(left[0]["name"], "to_r");
    assert!(apply(&drop(Kind::Postgres, "c", false)).is_ok());
}

#[test]
fn renaming() {
    let rename = |name: &str, new_name: &str| Operation::RenameSource {
        name: name.to_owned(),
        new_name: new_name.to_owned(),
    };
    assert_eq!(apply(&rename("b", "d")).unwrap()["sources"][1]["name"], "d");
    let unknown = OperationError::NotExists("Could not find source with name \"x\"".to_owned());
    assert_eq!(apply(&rename("x", "d")), Err(unknown));
    let taken = OperationError::AlreadyExists("Source with name \"a\" already exists".to_owned());
    assert_eq!(apply(&rename("b", "a")), Err(taken));
}

#[test]
fn replacing_and_clearing() {
    let new = json!({"version": 3, "sources": [{"name": "z"}], "later": true});
    assert_eq!(apply(&Operation::Replace(new.clone())).unwrap(), new);
    assert_eq!(apply(&Operation::Clear).unwrap(), json!({"version": 3, "sources": []}));
    let forgotten = apply(&Operation::Forget(vec!["a".to_owned(), "c".to_owned()])).unwrap();
    assert_eq!(forgotten["sources"], json!([metadata()["sources"][1]]));
    assert_eq!(forgotten["remote_schemas"], json!([1]));
    for wrong in [
        json!([]),
        json!({}),
        json!({"version": 2, "tables": []}),
        json!({"version": 3}),
        json!({"version": 3, "sources": {}}),
        json!({"version": 3, "sources": [1]}),
        json!({"version": 3, "sources": [{"name": "a"}, {"name": "a"}]}),
    ] {
        let refused = apply(&Operation::Replace(wrong.clone()));
        assert!(matches!(refused, Err(OperationError::ParseFailed(_))), "{wrong}");
    }
}
