//! `weir reference`: docs/configuration.md, from the tables that the readers of the metadata use themselves.

use std::process::ExitCode;

const HEAD: &str = "\
# Configuration reference

Printed by `weir reference` from the tables that the reader of the metadata uses itself; a test fails when this file is
older than they are. What belongs together, and how it is meant, is in [settings.md](settings.md).

Every scalar may be written out or as `{from_env: NAME}`; a secret and PEM text also as `{dynamic_from_file: /path}`.
`null` means the default unless a row says otherwise. Keys of Weir may stand where Hasura ignores them or never looks, so
that a database file stays a valid Hasura file.

";

/// Prints the document.
pub(crate) fn run() -> ExitCode {
    super::print(document().as_bytes())
}

fn document() -> String {
    let mut text = HEAD.to_owned() + &weir_config::reference::markdown();
    text.truncate(text.trim_end().len());
    text + "\n"
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    /// `WEIR_UPDATE_DOCS=1 cargo test -p weir --bin weir reference` writes the file.
    #[test]
    fn the_document_is_what_the_code_says() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
        if std::env::var_os("WEIR_UPDATE_DOCS").is_some() {
            fs::write(&path, document()).unwrap();
        }
        let written = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            written == document(),
            "docs/configuration.md is stale; WEIR_UPDATE_DOCS=1 cargo test -p weir --bin weir reference"
        );
    }

    /// Names of variables in the sources, as whole string literals.
    #[test]
    fn every_variable_that_is_read_is_documented() {
        let known: Vec<_> = weir_config::keys::environment::VARIABLES
            .iter()
            .map(|known| known.name)
            .collect();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut folders = vec![root.join("config/src"), root.join("gateway/src"), root.join("core/src")];
        let mut found = 0;
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let text = fs::read_to_string(&path).unwrap();
                    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
                    for literal in code.split('"').skip(1).step_by(1).filter(|text| is_variable(text)) {
                        found += 1;
                        assert!(
                            known.contains(&literal),
                            "{literal} in {} is not in config/src/keys/environment.rs",
                            path.display()
                        );
                    }
                }
            }
        }
        assert!(found > known.len(), "the search found nothing");
    }

    fn is_variable(text: &str) -> bool {
        let ours = ["WEIR_", "HASURA_", "PG_DATABASE"]
            .iter()
            .any(|prefix| text.starts_with(prefix));
        let built = text.starts_with("WEIR_BUILD_") || text == "WEIR_UPDATE_DOCS" || text.ends_with('_');
        ours && !built
            && text
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
    }
}
