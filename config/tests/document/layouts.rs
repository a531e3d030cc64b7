//! Each layout read as the same document.

use serde_json::json;

use crate::common::{folder, read, write};

#[test]
fn a_directory_is_one_document_with_its_includes() {
    let folder = folder(&[
        ("version.yaml", "version: 3\n"),
        (
            "databases/databases.yaml",
            "- name: orders\n  kind: postgres\n  configuration: {connection_info: {database_url: {from_env: URL}}}\n  tables: \"!include orders/tables/tables.yaml\"\n  functions: !include orders/functions/functions.yaml\n",
        ),
        ("databases/orders/tables/tables.yaml", "- \"!include public_a.yaml\"\n"),
        (
            "databases/orders/tables/public_a.yaml",
            "table: {name: a, schema: public}\n",
        ),
        (
            "remote_schemas.yaml",
            "- name: r\n  definition: {url: http://r, timeout_seconds: 60}\n",
        ),
        ("allow_list.yaml", "- collection: c\n"),
        ("query_collections.yaml", "[]\n"),
        ("network.yaml", "{}\n"),
        (
            "actions.yaml",
            "actions: []\ncustom_types: {enums: [], input_objects: [], objects: [], scalars: []}\n",
        ),
        ("api_limits.yaml", "rate_limit: {global: {max_reqs_per_min: 100}}\n"),
        ("notes.yaml", "something: else\n"),
    ]);
    let expected = json!({
        "version": 3,
        "sources": [{
            "name": "orders",
            "kind": "postgres",
            "configuration": {"connection_info": {"database_url": {"from_env": "URL"}}},
            "tables": [{"table": {"name": "a", "schema": "public"}}],
            // The file is missing, which a pooler tolerates.
            "functions": [],
        }],
        "remote_schemas": [{"name": "r", "definition": {"url": "http://r", "timeout_seconds": 60}}],
        "allowlist": [{"collection": "c"}],
        "api_limits": {"rate_limit": {"global": {"max_reqs_per_min": 100}}},
    });
    let document = read(folder.path());
    assert_eq!(*document.metadata(), expected);
    assert!(document.changes(&expected).unwrap().is_empty());
}

#[test]
fn a_single_file_in_each_form() {
    let source = json!({"name": "a", "configuration": {}, "tables": []});
    let whole = json!({"version": 3, "sources": [source], "remote_schemas": [], "unheard_of": {"x": 1.5}});
    for (name, text) in [
        ("metadata.json", whole.to_string()),
        ("metadata.yaml", "version: 3\nsources:\n- {name: a, configuration: {}, tables: []}\nremote_schemas: []\nunheard_of: {x: 1.5}\n".to_owned()),
        ("metadata.json", json!({"resource_version": 7, "metadata": whole}).to_string()),
    ] {
        let folder = folder(&[(name, &text)]);
        assert_eq!(*read(folder.path()).metadata(), whole, "{text}");
        let mut more = whole.clone();
        more["sources"][0]["configuration"]["x"] = json!(true);
        write(folder.path(), &more);
    }
    let folder = folder(&[("databases.yaml", &json!([source]).to_string())]);
    let expected = json!({"version": 3, "sources": [source]});
    assert_eq!(*read(folder.path()).metadata(), expected);
    write(folder.path(), &json!({"version": 3, "sources": []}));
}

#[test]
fn what_cannot_be_read_is_told_with_its_place() {
    let nothing: [(&str, &str); 0] = [];
    for (text, expected) in [
        ("- name: [", "databases/databases.yaml:"),
        ("- name: a\n  name: b\n", "databases/databases.yaml:2:3"),
        (
            "- !include a.yaml\n",
            "databases/databases.yaml:1:12: error: !include a.yaml: there is no such file",
        ),
        ("- !include ../../a.yaml\n", "outside of the metadata directory"),
    ] {
        let folder = folder(&[("version.yaml", "version: 3\n"), ("databases/databases.yaml", text)]);
        let problems = weir_config::document::Document::read(folder.path(), &nothing).unwrap_err();
        let told = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(told.contains(expected), "{text:?}: {told}");
    }
}
