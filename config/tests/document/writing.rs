//! What is written: as few lines and files as possible.

use std::fs;

use serde_json::{Map, Value, json};
use weir_config::document::{CommitError, Kind, Operation};

use crate::common::{carry_out, carry_out_all, folder, read, text, write};

const DATABASES: &str = "\
# Our databases.
# Ask the platform team.
- name: orders   # the shop
  kind: postgres
  configuration:
    # never the primary
    connection_info:
      database_url: {from_env: ORDERS_URL}
      pool_settings:
        max_connections: 20 # see the runbook
        idle_timeout: 30
  tables: \"!include orders/tables/tables.yaml\"

# Reports only.
- name: reports
  kind: mssql
  configuration:
    connection_info: {connection_string: {from_env: REPORTS}}
  tables: []
# The end.
";

fn directory() -> tempfile::TempDir {
    folder(&[
        ("version.yaml", "version: 3\n"),
        ("databases/databases.yaml", DATABASES),
        (
            "databases/orders/tables/tables.yaml",
            "# tables\n- \"!include public_a.yaml\"\n- \"!include public_b.yaml\"\n",
        ),
        (
            "databases/orders/tables/public_a.yaml",
            "table:\n  name: a # first\n  schema: public\n",
        ),
        (
            "databases/orders/tables/public_b.yaml",
            "table:\n  name: b\n  schema: public\n",
        ),
        ("remote_schemas.yaml", "# none yet\n[]\n"),
    ])
}

fn add(name: &str) -> Operation {
    Operation::AddSource {
        kind: Kind::Postgres,
        name: name.to_owned(),
        configuration: json!({"connection_info": {"database_url": {"from_env": "NEW_URL"}}}),
        replace_configuration: false,
        others: Map::new(),
    }
}

#[test]
fn a_changed_limit_is_a_changed_line() {
    let folder = directory();
    let mut metadata = read(folder.path()).metadata().clone();
    metadata["sources"][0]["configuration"]["connection_info"]["pool_settings"]["max_connections"] = json!(25);
    assert_eq!(write(folder.path(), &metadata), ["databases/databases.yaml"]);
    let expected = DATABASES.replace("max_connections: 20 # see the runbook", "max_connections: 25");
    assert_eq!(text(&folder, "databases/databases.yaml"), expected);
}

#[test]
fn sources_come_and_go_among_the_others() {
    let folder = directory();
    assert_eq!(carry_out(folder.path(), &add("new")), ["databases/databases.yaml"]);
    let added = text(&folder, "databases/databases.yaml");
    let (before, end) = DATABASES.split_at(DATABASES.find("# The end.").unwrap());
    assert!(
        added.starts_with(&format!("{before}- name: new\n")) && added.ends_with(end),
        "{added}"
    );
    let drop = |kind, name: &str| Operation::DropSource {
        kind,
        name: name.to_owned(),
        cascade: false,
    };
    carry_out(folder.path(), &drop(Kind::Postgres, "new"));
    assert_eq!(text(&folder, "databases/databases.yaml"), DATABASES);
    // What only a source that is gone has included is gone.
    carry_out(folder.path(), &drop(Kind::Postgres, "orders"));
    let left = text(&folder, "databases/databases.yaml");
    let tail = DATABASES.split_once("\n\n").unwrap().1;
    assert_eq!(left, format!("# Our databases.\n# Ask the platform team.\n\n{tail}"));
    assert!(!folder.path().join("databases/orders/tables/public_a.yaml").exists());
    // The last one leaves a list, and another can be added to it.
    carry_out(folder.path(), &drop(Kind::Mssql, "reports"));
    carry_out(folder.path(), &add("again"));
}

#[test]
fn a_renamed_source_keeps_its_files() {
    let folder = directory();
    let rename = Operation::RenameSource {
        name: "orders".to_owned(),
        new_name: "shop".to_owned(),
    };
    assert_eq!(carry_out(folder.path(), &rename), ["databases/databases.yaml"]);
    let expected = DATABASES.replace("name: orders   # the shop", "name: shop");
    assert_eq!(text(&folder, "databases/databases.yaml"), expected);
}

#[test]
fn a_changed_table_is_a_changed_file() {
    let folder = directory();
    let mut metadata = read(folder.path()).metadata().clone();
    metadata["sources"][0]["tables"][0]["table"]["schema"] = json!("shop");
    // Another table is another one: its file is gone, and it stands in the list.
    assert_eq!(
        write(folder.path(), &metadata),
        [
            "databases/orders/tables/public_a.yaml",
            "databases/orders/tables/tables.yaml"
        ]
    );
    let mut metadata = read(folder.path()).metadata().clone();
    metadata["sources"][0]["tables"][1]["is_enum"] = json!(true);
    assert_eq!(
        write(folder.path(), &metadata),
        ["databases/orders/tables/public_b.yaml"]
    );
    assert_eq!(
        text(&folder, "databases/orders/tables/public_b.yaml"),
        "table:\n  name: b\n  schema: public\nis_enum: true\n"
    );
}

#[test]
fn what_is_not_ours_is_written_where_hasura_has_it() {
    let folder = directory();
    let mut metadata = read(folder.path()).metadata().clone();
    metadata["remote_schemas"] = json!([{"name": "r", "definition": {"url_from_env": "R"}}]);
    metadata["allowlist"] = json!([{"collection": "allowed"}]);
    metadata["inherited_roles"] = json!([{"role_name": "editor", "role_set": ["writer", "reader"]}]);
    metadata["actions"] = json!([{"name": "act", "definition": {"handler": "http://x", "kind": "synchronous"}}]);
    metadata["custom_types"] = json!({"scalars": [{"name": "date"}]});
    // The order of keys is that of the document, whatever order they are given in.
    let changed = {
        let document = read(folder.path());
        let changes = document.changes(&metadata).unwrap();
        changes.commit().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let names = changes
            .files()
            .map(|file| file.strip_prefix(&root).unwrap().display().to_string());
        names.collect::<Vec<_>>()
    };
    assert_eq!(
        changed,
        [
            "actions.yaml",
            "allow_list.yaml",
            "inherited_roles.yaml",
            "remote_schemas.yaml"
        ]
    );
    assert_eq!(*read(folder.path()).metadata(), metadata);
    for key in [
        "remote_schemas",
        "allowlist",
        "inherited_roles",
        "actions",
        "custom_types",
    ] {
        metadata.as_object_mut().unwrap().shift_remove(key);
    }
    write(folder.path(), &metadata);
    assert_eq!(
        read(folder.path()).homeless(&json!({"version": 3, "sources": [], "later": 1})),
        ["later"]
    );
}

#[test]
fn json_stays_json() {
    let sources: Value = json!([{"name": "a", "configuration": {}, "tables": "!include a.yaml"}]);
    let folder = folder(&[
        ("version.yaml", "version: 3\n"),
        ("databases/databases.yaml", &format!("{sources:#}\n")),
        ("databases/a.yaml", "[]\n"),
    ]);
    carry_out(folder.path(), &add("b"));
    let text = text(&folder, "databases/databases.yaml");
    let written: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(written[0]["tables"], "!include a.yaml");
    assert_eq!(written[1]["name"], "b");
}

#[test]
fn awkward_values_survive() {
    let folder = directory();
    let mut metadata = read(folder.path()).metadata().clone();
    for (index, value) in [
        json!("yes"),
        json!("1e3"),
        json!("0x10"),
        json!("~"),
        json!(""),
        json!(" leading and trailing "),
        json!("a: b # c"),
        json!("line\nline\n\n  indented\n"),
        json!("\u{1}\u{7f}\u{85}\u{2028}\u{feff}\u{1f600}"),
        json!("- x"),
        json!("{a: b}"),
        json!("'quoted' \"twice\""),
        json!("\ttab"),
        json!(null),
        json!(0.1),
        json!(1e300),
        json!(18_446_744_073_709_551_615_u64),
        json!(-1),
        json!({"": [[], {}, [[1], {"k": [2]}]]}),
    ]
    .into_iter()
    .enumerate()
    {
        metadata["sources"][1]["customization"][format!("key {index}")] = value;
        write(folder.path(), &metadata);
    }
    let written = text(&folder, "databases/databases.yaml");
    assert!(
        written.starts_with(DATABASES.split_once("\n- name: reports").unwrap().0),
        "{written}"
    );
}

#[test]
fn a_text_that_would_be_an_include_is_refused() {
    let folder = directory();
    let document = read(folder.path());
    let mut metadata = document.metadata().clone();
    for text in [
        "!include /etc/passwd",
        " !include\t../gateway.yaml",
        "!include \"tables/tables.yaml\"",
    ] {
        metadata["sources"][1]["customization"] = json!({ "deep": [text] });
        let refused = document.changes(&metadata).map(|_| ()).unwrap_err();
        assert!(refused.0.contains("would be read as the content"), "{refused:?}");
    }
    metadata["sources"][1]["customization"] = json!("!included, not included");
    assert!(document.changes(&metadata).is_ok());
}

#[test]
fn a_file_that_two_sources_share_is_neither_changed_for_one_nor_removed_with_it() {
    let shared = "max_connections: 5\n";
    let sources = "- name: a\n  configuration:\n    pool_settings: !include pool.yaml\n- name: b\n  configuration:\n    pool_settings: !include pool.yaml\n";
    let folder = folder(&[
        ("version.yaml", "version: 3\n"),
        ("databases/databases.yaml", sources),
        ("databases/pool.yaml", shared),
    ]);
    let document = read(folder.path());
    let mut metadata = document.metadata().clone();
    metadata["sources"][0]["configuration"]["pool_settings"]["max_connections"] = json!(9);
    let refused = document.changes(&metadata).map(|_| ()).unwrap_err();
    assert!(refused.0.contains("more than one place"), "{refused:?}");
    let mut metadata = document.metadata().clone();
    metadata["sources"].as_array_mut().unwrap().remove(0);
    document.changes(&metadata).unwrap().commit().unwrap();
    assert_eq!(text(&folder, "databases/pool.yaml"), shared);
    assert_eq!(read(folder.path()).metadata(), &metadata);
    // The last one takes it along.
    metadata["sources"] = json!([]);
    read(folder.path()).changes(&metadata).unwrap().commit().unwrap();
    assert!(!folder.path().join("databases/pool.yaml").exists());
}

const GATEWAY: &str = "\
# Ours, not Hasura's.
version: 1
users:
  - name: app
    password: {from_env: APP}   # of the vault
    sources: [orders, reports]
  - name: all
    password: secret
    sources: \"*\"
sources:
  # Many readers.
  - name: orders
    pool_settings: {max_connections: 40}
  - name: reports
    query_timeout: 5   # they are slow
";

/// A source `orders` and a source `reports`, both of which `gateway.yaml` speaks of.
fn with_gateway_file() -> tempfile::TempDir {
    let sources = "- name: orders\n  kind: postgres\n  configuration: {}\n- name: reports\n  kind: postgres\n  configuration: {}\n";
    folder(&[
        ("version.yaml", "version: 3\n"),
        ("databases/databases.yaml", sources),
        ("gateway.yaml", GATEWAY),
    ])
}

fn drop_source(name: &str) -> Operation {
    Operation::DropSource {
        kind: Kind::Postgres,
        name: name.to_owned(),
        cascade: false,
    }
}

fn rename(name: &str, new_name: &str) -> Operation {
    Operation::RenameSource {
        name: name.to_owned(),
        new_name: new_name.to_owned(),
    }
}

#[test]
fn what_gateway_yaml_says_of_a_source_goes_with_it() {
    let folder = with_gateway_file();
    let changed = carry_out(folder.path(), &rename("orders", "shop"));
    assert_eq!(changed, ["databases/databases.yaml", "gateway.yaml"]);
    let expected = GATEWAY
        .replace(
            "    sources: [orders, reports]\n",
            "    sources:\n    - shop\n    - reports\n",
        )
        .replace("- name: orders", "- name: shop");
    assert_eq!(text(&folder, "gateway.yaml"), expected);
    carry_out(folder.path(), &drop_source("reports"));
    let expected = expected.replace("    - reports\n", "");
    let expected = expected.replace("  - name: reports\n    query_timeout: 5   # they are slow\n", "");
    assert_eq!(text(&folder, "gateway.yaml"), expected);
    carry_out(folder.path(), &drop_source("shop"));
    let left = text(&folder, "gateway.yaml");
    assert!(
        left.contains("sources: []") && !left.contains("max_connections"),
        "{left}"
    );
}

#[test]
fn what_is_dropped_and_added_again_keeps_its_settings_and_what_is_replaced_leaves_them_alone() {
    let folder = with_gateway_file();
    carry_out_all(folder.path(), &[drop_source("orders"), add("orders")]);
    assert_eq!(text(&folder, "gateway.yaml"), GATEWAY);
    let changed = carry_out(folder.path(), &Operation::Clear);
    assert_eq!(changed, ["databases/databases.yaml"]);
    assert_eq!(text(&folder, "gateway.yaml"), GATEWAY);
    // A name that somebody else has now is nobody's right to it.
    let folder = with_gateway_file();
    carry_out_all(folder.path(), &[drop_source("orders"), rename("reports", "orders")]);
    let left = text(&folder, "gateway.yaml");
    assert!(
        left.contains("query_timeout: 5") && !left.contains("max_connections"),
        "{left}"
    );
}

#[test]
fn what_is_exchanged_keeps_its_rights_and_a_planted_link_is_not_followed() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let folder = directory();
    let databases = folder.path().join("databases/databases.yaml");
    fs::set_permissions(&databases, fs::Permissions::from_mode(0o604)).unwrap();
    let planted = databases.with_file_name(format!(".databases.yaml.weir-{}", std::process::id()));
    let elsewhere = folder.path().join("elsewhere");
    fs::write(&elsewhere, "mine").unwrap();
    symlink(&elsewhere, &planted).unwrap();
    let document = read(folder.path());
    let mut metadata = document.metadata().clone();
    add("new").apply(&mut metadata).unwrap();
    document.changes(&metadata).unwrap().commit().unwrap();
    assert_eq!(fs::metadata(&databases).unwrap().permissions().mode() & 0o777, 0o604);
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "mine");
    assert!(!planted.exists());
}

#[test]
fn nobody_s_work_is_overwritten() {
    let folder = directory();
    let document = read(folder.path());
    let mut metadata = document.metadata().clone();
    add("new").apply(&mut metadata).unwrap();
    let changes = document.changes(&metadata).unwrap();
    let theirs = format!("{DATABASES}# mine\n");
    fs::write(folder.path().join("databases/databases.yaml"), &theirs).unwrap();
    assert!(matches!(changes.commit(), Err(CommitError::ChangedMeanwhile(_))));
    assert_eq!(text(&folder, "databases/databases.yaml"), theirs);
}
