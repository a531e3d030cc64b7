//! The rules of ARCHITECTURE.md that a machine can check: who may import whom, what pure modules may not touch, where
//! time is read, what every module and every document must have.
//!
//! Reads source files as text. That is blunt, and enough: a rule that needs cleverer reading is one that people would
//! not keep in mind either.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Crates of the workspace, and which of the others they may depend on (not counting tests).
const MAY_DEPEND_ON: [(&str, &[&str]); 6] = [
    ("core", &[]),
    ("config", &["weir-core"]),
    ("backend-postgres", &["weir-core", "weir-config"]),
    ("backend-mssql", &["weir-core", "weir-config"]),
    ("gateway", &["weir-core", "weir-config", "weir-postgres", "weir-mssql"]),
    ("tests", &[]),
];

/// Foreign crates that would be a leak of one crate's knowledge into another.
const MUST_NOT_DEPEND_ON: [(&str, &[&str]); 5] = [
    (
        "core",
        &[
            "serde",
            "serde_yaml",
            "saphyr-parser",
            "tokio-postgres",
            "postgres-protocol",
            "tiberius",
            "bb8",
            "clap",
        ],
    ),
    (
        "config",
        &[
            "tokio",
            "tokio-postgres",
            "postgres-protocol",
            "tiberius",
            "rustls",
            "clap",
        ],
    ),
    ("backend-postgres", &["tiberius", "serde_yaml", "saphyr-parser", "clap"]),
    (
        "backend-mssql",
        &[
            "tokio-postgres",
            "postgres-protocol",
            "bb8-postgres",
            "serde_yaml",
            "saphyr-parser",
            "clap",
        ],
    ),
    (
        "gateway",
        &[
            "tokio-postgres",
            "postgres-protocol",
            "tiberius",
            "bytes",
            "serde_yaml",
            "saphyr-parser",
        ],
    ),
];

/// Folders and files (without `.rs`) of pure code: a slice in, a verdict out.
const PURE: [&str; 15] = [
    "core/src/pool/engine",
    "backend-postgres/src/wire",
    "backend-postgres/src/session",
    "backend-postgres/src/dialogue",
    "backend-postgres/src/listen/hub",
    "backend-postgres/src/listen/line",
    "backend-postgres/src/listen/registry",
    "backend-postgres/src/login/handshake",
    "backend-mssql/src/wire",
    "backend-mssql/src/session",
    "backend-mssql/src/dialogue",
    "backend-mssql/src/login/handshake",
    "backend-mssql/src/login/reply",
    "backend-mssql/src/login/request",
    "backend-mssql/src/refusals",
];

/// First segments of `use` paths that pure code may have: nothing here can wait, look at a clock or reach a socket.
const PURE_IMPORTS: [&str; 16] = [
    "std",
    "bytes",
    "crate",
    "super",
    "self",
    "weir_core",
    // Types of settings.
    "weir_config",
    "base64",
    "hmac",
    "sha2",
    "subtle",
    "stringprep",
    "zeroize",
    "postgres_protocol",
    "getrandom",
    // A lock around a table that is shared by the clients of a source; nothing is awaited under it.
    "parking_lot",
];

/// What pure code may not say.
const IMPURE: [&str; 12] = [
    "tokio",
    "async ",
    ".await",
    "tracing::",
    "clock::now",
    "std::net",
    "std::fs",
    "std::env",
    "std::thread",
    "std::io::",
    "SystemTime",
    "Instant::now",
];

#[test]
fn crates_depend_on_each_other_as_the_table_says() {
    for (folder, allowed) in MAY_DEPEND_ON {
        let ours: BTreeSet<String> = dependencies(folder)
            .into_iter()
            .filter(|name| name == "weir" || name.starts_with("weir-"))
            .collect();
        let allowed: BTreeSet<String> = allowed.iter().map(|&name| name.to_owned()).collect();
        let extra: Vec<_> = ours.difference(&allowed).collect();
        assert!(extra.is_empty(), "{folder} must not depend on {extra:?}");
    }
}

#[test]
fn no_crate_knows_what_is_not_its_business() {
    for (folder, banned) in MUST_NOT_DEPEND_ON {
        let found: Vec<String> = dependencies(folder)
            .into_iter()
            .filter(|name| banned.contains(&name.as_str()))
            .collect();
        assert!(found.is_empty(), "{folder} must not depend on {found:?}");
    }
}

#[test]
fn every_crate_takes_the_shared_lints_and_they_forbid_unsafe_code() {
    let workspace = read(&root().join("Cargo.toml"));
    assert!(workspace.contains("unsafe_code = \"forbid\""));
    for (folder, _) in MAY_DEPEND_ON {
        let manifest = read(&root().join(folder).join("Cargo.toml"));
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{folder}/Cargo.toml lacks the shared lints"
        );
    }
}

#[test]
fn pure_modules_cannot_wait_nor_look_at_a_clock() {
    let mut wrong = Vec::new();
    for (path, text) in sources().into_iter().filter(|(path, _)| is_pure(path)) {
        let code = code_of(&text);
        for (number, line) in code.lines().enumerate() {
            if let Some(word) = IMPURE.iter().find(|word| line.contains(*word)) {
                wrong.push(format!("{}:{}: {word}", path.display(), number + 1));
            }
            let import = line.trim_start().trim_start_matches("pub(crate) ").strip_prefix("use ");
            let first = import.and_then(|path| path.split("::").next());
            if let Some(first) = first.filter(|first| !is_allowed_in_pure_code(first, &code)) {
                wrong.push(format!("{}:{}: use {first}", path.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "not pure:\n{}", wrong.join("\n"));
}

#[test]
fn time_is_read_in_one_place() {
    let wrong: Vec<_> = sources()
        .into_iter()
        .filter(|(path, text)| !path.ends_with("clock.rs") && code_of(text).contains("Instant::now"))
        .map(|(path, _)| path)
        .collect();
    assert!(wrong.is_empty(), "use weir_core::clock::now: {wrong:?}");
}

#[test]
fn every_module_says_what_it_is_for() {
    let wrong: Vec<_> = sources()
        .into_iter()
        .filter(|(path, text)| !path.ends_with("tests.rs") && !text.starts_with("//! "))
        .map(|(path, _)| path)
        .collect();
    assert!(wrong.is_empty(), "no //! at the top: {wrong:?}");
}

#[test]
fn nothing_is_left_unfinished() {
    let words = [
        concat!("to", "do!("),
        concat!("un", "implemented!("),
        concat!("//! place", "holder"),
    ];
    let wrong: Vec<_> = sources()
        .into_iter()
        .filter(|(_, text)| words.iter().any(|word| text.contains(word)))
        .map(|(path, _)| path)
        .collect();
    assert!(wrong.is_empty(), "unfinished: {wrong:?}");
}

#[test]
fn rules_that_comments_quote_are_in_the_documents() {
    let rules = rules_of(&read(&root().join("docs/protocol-rules.md")));
    let invariants = read(&root().join("ARCHITECTURE.md"));
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        for comment in text
            .lines()
            .filter_map(|line| line.split_once("//").map(|(_, comment)| comment))
        {
            for word in comment
                .split(|c: char| !c.is_alphanumeric() && c != '.')
                .map(|word| word.trim_matches('.'))
            {
                let known = match quoted_rule(word) {
                    Some(Quoted::Rule(rule)) => rules.contains(&rule),
                    Some(Quoted::Invariant(invariant)) => invariants.contains(&format!("**{invariant}**")),
                    None => true,
                };
                if !known {
                    wrong.push(format!("{}: {word}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "quoted, but not written down:\n{}", wrong.join("\n"));
}

#[test]
fn every_setting_is_in_the_documents() {
    let reference = read(&root().join("docs/configuration.md"));
    let prose = read(&root().join("docs/settings.md"));
    let mut wrong = Vec::new();
    for (path, text) in sources().into_iter().filter(|(path, _)| path.starts_with("config/src")) {
        // A key that is in no table of the reference would be known to the reader only.
        let keys = ["Key::hasura(", "Key::weir("];
        for key in keys
            .iter()
            .flat_map(|start| text.split(start).skip(1))
            .filter_map(quoted)
        {
            if !reference.contains(&format!("| `{key}` |")) {
                wrong.push(format!("{}: {key}", path.display()));
            }
        }
        for table in text.split("KEYS: [&str;").skip(1) {
            let table = table.split("];").next().unwrap_or_default();
            let missing = table
                .split('"')
                .skip(1)
                .step_by(2)
                .filter(|key| !prose.contains(&format!("`{key}`")));
            wrong.extend(missing.map(|key| format!("{}: {key}", path.display())));
        }
    }
    assert!(
        wrong.is_empty(),
        "not in docs/configuration.md or docs/settings.md:\n{}",
        wrong.join("\n")
    );
}

/// What stands between the first two quotes.
fn quoted(text: &str) -> Option<&str> {
    text.split('"').nth(1)
}

#[test]
fn every_table_and_column_of_the_console_is_in_the_documents() {
    let document = read(&root().join("docs/admin.md"));
    for topic in weir_core::admin::Topic::ALL {
        let name = topic.name().to_ascii_uppercase();
        assert!(
            document.contains(&format!("SHOW {name}")),
            "SHOW {name} is not in docs/admin.md"
        );
        let heading = format!("### SHOW {name}\n");
        let Some((_, section)) = document.split_once(&heading) else {
            // VERSION and HELP share one, and explain themselves.
            continue;
        };
        let section = section.split("\n### ").next().unwrap_or_default();
        for column in topic.columns() {
            let column = format!("`{}`", column.name);
            assert!(
                section.contains(&column),
                "SHOW {name}: column {column} is not in docs/admin.md"
            );
        }
    }
}

#[test]
fn every_dependency_is_in_the_documents_with_its_reason() {
    let document = read(&root().join("docs/dependencies.md"));
    let workspace = read(&root().join("Cargo.toml"));
    let section = workspace.split("[workspace.dependencies]").nth(1).unwrap_or_default();
    let wrong: Vec<&str> = section
        .lines()
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.starts_with('#') && !line.starts_with("weir-"))
        .filter_map(|line| line.split_once(" = ").map(|(name, _)| name))
        .filter(|name| !document.contains(&format!("`{name}`")))
        .collect();
    assert!(wrong.is_empty(), "not in docs/dependencies.md: {wrong:?}");
}

/// TLS is rustls's: what a client under test is built with stays in that client's own project.
#[test]
fn no_crate_brings_openssl() {
    let lock = read(&root().join("Cargo.lock"));
    let found: Vec<&str> = ["native-tls", "openssl", "openssl-sys", "mssql-tds"]
        .into_iter()
        .filter(|name| lock.contains(&format!("name = \"{name}\"\n")))
        .collect();
    assert!(found.is_empty(), "in Cargo.lock: {found:?}");
}

#[test]
fn documents_point_at_what_exists() {
    let mut wrong = Vec::new();
    for path in documents() {
        let text = read(&path);
        let folder = path.parent().expect("a file is in a folder");
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = target.split('#').next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !folder.join(target).exists() {
                wrong.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "dead links:\n{}", wrong.join("\n"));
}

/// Test names in documents are written as `test_name` in a column or a bracket that starts with "test"; the two
/// documents that promise tests say so in a table whose last column holds nothing but names.
#[test]
fn tests_that_documents_name_exist() {
    let all: String = sources_and_tests().into_values().collect();
    let mut wrong = Vec::new();
    for document in ["docs/pooler-vulnerabilities.md", "ARCHITECTURE.md"] {
        let text = read(&root().join(document));
        let mut tests_column = false;
        for line in text.lines() {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            match (line.starts_with('|'), cells.last()) {
                (true, Some(&"tests")) => tests_column = true,
                (true, Some(last)) if tests_column => {
                    for name in last.split('`').skip(1).step_by(2) {
                        if !all.contains(&format!("fn {name}(")) {
                            wrong.push(format!("{document}: {name}"));
                        }
                    }
                }
                _ => tests_column = false,
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "tests that are promised and do not exist:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn nothing_depends_on_the_machine_it_was_written_on() {
    let banned = [
        concat!("/work/", "shared"),
        concat!("/work/", "main"),
        concat!("/tmp/", "weir/"),
    ];
    let wrong: Vec<_> = sources_and_tests()
        .into_iter()
        .chain(documents().into_iter().map(|path| (path.clone(), read(&path))))
        .filter(|(_, text)| banned.iter().any(|word| text.contains(word)))
        .map(|(path, _)| path)
        .collect();
    assert!(wrong.is_empty(), "paths of one machine: {wrong:?}");
}

/// `TDS 4.3`, or several as `TDS 4.3, 5.1`: headings of the document, numbered rules below `TDS 0`, or versions of the
/// protocol.
#[test]
fn rules_of_tds_that_comments_quote_are_in_the_documents() {
    const VERSIONS: [&str; 8] = ["7", "7.0", "7.1", "7.2", "7.3", "7.4", "8", "8.0"];
    let rules = tds_rules_of(&read(&root().join("docs/protocol-rules.md")));
    assert!(rules.len() > 40, "the document has other headings: {rules:?}");
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let comments = text.lines().filter_map(|line| line.split_once("//"));
        for quoted in comments.flat_map(|(_, comment)| comment.split("TDS ").skip(1)) {
            let numbers = quoted.split(", ").map_while(|word| {
                let end = word
                    .find(|c: char| !c.is_alphanumeric() && c != '.')
                    .unwrap_or(word.len());
                let number = word[..end].trim_end_matches('.');
                number.starts_with(|c: char| c.is_ascii_digit()).then_some(number)
            });
            for number in numbers.filter(|number| !VERSIONS.contains(number) && !rules.contains(*number)) {
                wrong.push(format!("{}: TDS {number}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "quoted, but not written down:\n{}", wrong.join("\n"));
}

/// The numbers behind `TDS` in headings, and those of the rules in section 0.
fn tds_rules_of(text: &str) -> BTreeSet<String> {
    let mut rules = BTreeSet::new();
    let mut section = "";
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("##") {
            section = heading
                .trim_start_matches('#')
                .trim()
                .strip_prefix("TDS ")
                .unwrap_or_default();
            section = section.split(' ').next().unwrap_or_default();
            rules.insert(section.to_owned());
        } else if let Some((number, _)) = line.split_once(". ")
            && section == "0"
            && number.chars().all(|c| c.is_ascii_digit())
        {
            rules.insert(format!("0.{number}"));
        }
    }
    rules
}

enum Quoted {
    Rule(String),
    Invariant(String),
}

/// `S2.3`, `SA.6`, `S10` or `I5`; nothing else.
fn quoted_rule(word: &str) -> Option<Quoted> {
    let numeric = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    if let Some(number) = word.strip_prefix('I').filter(|number| numeric(number)) {
        return Some(Quoted::Invariant(format!("I{number}")));
    }
    let (section, rule) = word.strip_prefix('S')?.split_once('.')?;
    let is_section = section == "A" || numeric(section);
    (is_section && numeric(rule)).then(|| Quoted::Rule(word.to_owned()))
}

/// Every `S<section>.<number>` of the document.
fn rules_of(text: &str) -> BTreeSet<String> {
    let mut rules = BTreeSet::new();
    let mut section = String::new();
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = heading.split(' ').next().unwrap_or_default().to_owned();
        } else if let Some((number, _)) = line.split_once(". ")
            && number.chars().all(|c| c.is_ascii_digit())
        {
            rules.insert(format!("{section}.{number}"));
        }
    }
    rules
}

/// A known crate, a submodule of the same file, or a type that is in scope already (`use State::*`).
fn is_allowed_in_pure_code(first: &str, code: &str) -> bool {
    let is_type = first.starts_with(|c: char| c.is_ascii_uppercase() || c == '{');
    is_type || PURE_IMPORTS.contains(&first) || code.contains(&format!("mod {first};"))
}

fn is_pure(path: &Path) -> bool {
    let path = path.to_string_lossy().into_owned();
    let is_test = path.ends_with("/tests.rs") || path.contains("/tests/");
    !is_test
        && PURE
            .iter()
            .any(|pure| path.starts_with(&format!("{pure}/")) || path == format!("{pure}.rs"))
}

/// The text without comments, and without the test module at its end; line numbers stay.
fn code_of(text: &str) -> String {
    let text = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    text.lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Names under `[dependencies]`.
fn dependencies(folder: &str) -> Vec<String> {
    let manifest = read(&root().join(folder).join("Cargo.toml"));
    let section = manifest.split("[dependencies]").nth(1).unwrap_or_default();
    section
        .lines()
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['.', '=', ' ']).next())
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

/// Every source file of our crates, by its path from the root.
fn sources() -> BTreeMap<PathBuf, String> {
    let mut files = BTreeMap::new();
    for (folder, _) in MAY_DEPEND_ON {
        collect(&root().join(folder).join("src"), &mut files);
    }
    files
}

fn sources_and_tests() -> BTreeMap<PathBuf, String> {
    let mut files = sources();
    for (folder, _) in MAY_DEPEND_ON {
        collect(&root().join(folder).join("tests"), &mut files);
    }
    files
}

fn collect(folder: &Path, files: &mut BTreeMap<PathBuf, String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "node_modules") {
                collect(&path, files);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let relative = path.strip_prefix(root()).expect("below the root").to_owned();
            files.insert(relative, read(&path));
        }
    }
}

fn documents() -> Vec<PathBuf> {
    let folders = [root(), root().join("docs"), root().join("examples")];
    let files = folders
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten()
        .filter_map(Result::ok);
    files
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate is in the workspace's folder")
        .to_owned()
}
