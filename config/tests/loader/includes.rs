//! `!include`, in all its spellings, and what it must not do.

use weir_config::*;

use crate::common::*;

const CONFIGURATION: &str = "connection_info: {database_url: postgres://u@h/d}\n";

fn load_files(files: &[(&str, &str)]) -> Loaded {
    let mut all = vec![("version.yaml", "version: 3")];
    all.extend(files);
    let directory = directory(&all);
    load(directory.path(), &[("", ""); 1], true)
}

#[test]
fn all_spellings_below_any_key() {
    for include in [
        "\"!include s 5/c.yaml\"",
        "'!include s 5/c.yaml'",
        "\"!include \\\"s 5/c.yaml\\\"\"",
        "!include s 5/c.yaml",
        "!include \"s 5/c.yaml\"",
        "!include 's 5/c.yaml'",
    ] {
        let list = format!("- name: s\n  configuration: {include}\n");
        let loaded = load_files(&[
            ("databases/databases.yaml", &list),
            ("databases/s 5/c.yaml", CONFIGURATION),
        ]);
        assert_eq!(problems(&loaded), "", "{include}");
        assert_eq!(endpoint(&loaded, "s").user, "u");
    }
}

#[test]
fn nested_ones_are_relative_to_their_own_file_and_keep_positions() {
    let loaded = load_files(&[
        (
            "databases/databases.yaml",
            "- !include one/source.yaml\n- \"!include two/source.yaml\"\n",
        ),
        (
            "databases/one/source.yaml",
            "name: one\nconfiguration: !include deep/c.yaml\n",
        ),
        (
            "databases/one/deep/c.yaml",
            "connection_info:\n  database_url: postgres://u@h/d\n  pool_settings:\n    max_connections: 0\n",
        ),
        (
            "databases/two/source.yaml",
            "name: two\nconfiguration: !include ../one/good.yaml\n",
        ),
        ("databases/one/good.yaml", CONFIGURATION),
    ]);
    assert_eq!(
        problems(&loaded),
        "databases/one/deep/c.yaml:4:22: error: max_connections must be at least 1, got 0\n"
    );
    assert_eq!(loaded.metadata.inconsistent[0].name, "one");
    assert_eq!(loaded.metadata.sources[0].name, "two");
}

#[test]
fn the_whole_list_and_gateway_yaml_may_be_included() {
    let loaded = load_files(&[
        ("databases/databases.yaml", "!include list.yaml\n"),
        ("databases/list.yaml", "- name: s\n  configuration: !include c.yaml\n"),
        ("databases/c.yaml", CONFIGURATION),
        ("gateway.yaml", "defaults: !include defaults.yaml\n"),
        ("defaults.yaml", "retries: 4\n"),
    ]);
    assert_eq!(problems(&loaded), "");
    assert_eq!(postgres(&loaded, "s").primary.pool.retries, 4);
}

#[test]
fn what_a_pooler_does_not_need_may_be_missing_or_broken() {
    let list = format!(
        "- name: s\n  configuration: {{{}}}\n  tables: !include nowhere.yaml\n  functions: \"!include f.yaml\"\n  logical_models: [!include x.yaml]\n  native_queries: 5\n  stored_procedures: {{a: !include b.yaml}}\n",
        CONFIGURATION.trim()
    );
    let loaded = load_files(&[
        ("databases/databases.yaml", &list),
        ("databases/f.yaml", "- \"!include gone.yaml\"\n"),
    ]);
    assert_eq!(problems(&loaded), "");
    assert_eq!(loaded.metadata.sources.len(), 1);

    let broken = load_files(&[("databases/databases.yaml", &list), ("databases/f.yaml", "[")]);
    assert_eq!(
        problems(&broken),
        "databases/f.yaml:2:1: warning: not valid YAML: while parsing a node, did not find expected node content\n"
    );
    assert_eq!(broken.metadata.sources.len(), 1);
}

#[test]
fn a_missing_file_elsewhere_makes_the_source_inconsistent_and_nothing_else() {
    let list = format!(
        "- name: bad\n  configuration: !include nowhere.yaml\n- name: s\n  configuration: {{{}}}\n",
        CONFIGURATION.trim()
    );
    let loaded = load_files(&[("databases/databases.yaml", &list)]);
    assert_eq!(
        problems(&loaded),
        "databases/databases.yaml:2:27: error: !include nowhere.yaml: there is no such file\n"
    );
    assert_eq!(loaded.metadata.inconsistent[0].name, "bad");
    assert_eq!(loaded.metadata.sources[0].name, "s");
}

#[test]
fn files_outside_of_the_metadata_are_refused() {
    for target in ["/etc/passwd", "../../outside.yaml", "a/../../../x.yaml"] {
        let list = format!("- name: s\n  configuration: !include {target}\n");
        let loaded = load_files(&[("databases/databases.yaml", &list)]);
        assert_eq!(
            problems(&loaded),
            format!(
                "databases/databases.yaml:2:27: error: !include {target}: the file is outside of the metadata directory\n"
            )
        );
    }
    // Through a symbolic link, too.
    let outside = directory(&[("c.yaml", CONFIGURATION)]);
    let inside = directory(&[(
        "databases/databases.yaml",
        "- name: s\n  configuration: !include link/c.yaml\n",
    )]);
    std::os::unix::fs::symlink(outside.path(), inside.path().join("databases/link")).unwrap();
    let loaded = load(inside.path(), &[("", ""); 1], false);
    assert_eq!(
        problems(&loaded),
        "databases/databases.yaml:2:27: error: !include link/c.yaml: the file is outside of the metadata directory\n"
    );
}

#[test]
fn circles_end() {
    let loaded = load_files(&[
        (
            "databases/databases.yaml",
            "- name: s\n  configuration: !include a.yaml\n",
        ),
        ("databases/a.yaml", "connection_info: !include b.yaml\n"),
        ("databases/b.yaml", "!include a.yaml\n"),
    ]);
    assert_eq!(
        problems(&loaded),
        "databases/b.yaml:1:10: error: !include a.yaml: the files include each other in a circle (databases/databases.yaml -> databases/a.yaml -> databases/b.yaml -> databases/a.yaml)\n"
    );
    let tolerated = load_files(&[
        (
            "databases/databases.yaml",
            &format!(
                "- name: s\n  configuration: {{{}}}\n  tables: !include t.yaml\n",
                CONFIGURATION.trim()
            ),
        ),
        ("databases/t.yaml", "- !include t.yaml\n"),
    ]);
    assert_eq!(tolerated.metadata.sources.len(), 1);
    assert!(
        problems(&tolerated).contains("warning: !include t.yaml: the files include each other in a circle"),
        "{}",
        problems(&tolerated)
    );
}

#[test]
fn other_files_are_texts() {
    let list = "- name: s\n  configuration:\n    connection_info:\n      database_url: !include url.txt\n";
    let loaded = load_files(&[
        ("databases/databases.yaml", list),
        ("databases/url.txt", "postgres://u@h/d\n"),
    ]);
    assert_eq!(problems(&loaded), "");
    assert_eq!(endpoint(&loaded, "s").user, "u");
}

#[test]
fn every_file_that_was_looked_for_can_be_watched() {
    let directory = directory(&[
        ("version.yaml", "version: 3"),
        (
            "databases/databases.yaml",
            "- name: s\n  configuration: !include c.yaml\n",
        ),
    ]);
    let loaded = load(directory.path(), &[("", ""); 1], false);
    let names: Vec<_> = loaded
        .files
        .iter()
        .map(|path| path.strip_prefix(directory.path()).unwrap().to_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "databases/c.yaml",
            "databases/databases.yaml",
            "gateway.yaml",
            "opentelemetry.yaml",
            "version.yaml"
        ]
    );
}
