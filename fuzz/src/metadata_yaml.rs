//! Metadata from somebody who wants the loader to panic, to loop, to read other files or to tell a secret.

use std::fs;

/// In the environment; no message may quote it.
const CANARY: &str = "canary-5dX81-not-to-be-shown";

/// The first byte cuts the rest into `databases.yaml` and `gateway.yaml`.
pub fn run(data: &[u8]) {
    let Some((databases, gateway)) = crate::cut(data) else {
        return;
    };
    let Ok(folder) = tempfile::tempdir() else { return };
    let write = |name: &str, content: &[u8]| fs::write(folder.path().join(name), content);
    if fs::create_dir(folder.path().join("databases")).is_err()
        || write("version.yaml", b"version: 3\n").is_err()
        || write("databases/databases.yaml", databases).is_err()
        || write("gateway.yaml", gateway).is_err()
    {
        return;
    }
    let environment = [("SECRET", CANARY), ("WEIR_INSTANCE_COUNT", "2")];
    let loaded = weir_config::load(folder.path(), &environment, data.len().is_multiple_of(2));
    assert!(loaded.problems.len() <= weir_config::limits::MAX_PROBLEMS);
    for problem in &loaded.problems {
        assert!(!problem.to_string().contains(CANARY), "a message tells a secret");
    }
    for source in &loaded.metadata.inconsistent {
        assert!(!source.reason.contains(CANARY), "a reason tells a secret");
    }
    assert!(
        !format!("{:?}", loaded.metadata.users).contains(CANARY),
        "a user's password is shown"
    );
    let prefix = folder
        .path()
        .canonicalize()
        .unwrap_or_else(|_| folder.path().to_owned());
    for file in &loaded.files {
        assert!(
            file.starts_with(folder.path()) || file.starts_with(&prefix),
            "{} was read",
            file.display()
        );
    }
}
