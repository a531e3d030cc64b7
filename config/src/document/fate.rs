//! What `gateway.yaml` says of a source follows the source: its entry in `sources`, and its name in the lists of users.
//!
//! Invariant: a name in `gateway.yaml` never comes to mean another source than the one that it was written for.

use serde_json::Value;

/// What has become of a source, in the order in which it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is there, maybe again.
    Added(String),
    /// It is gone.
    Dropped(String),
    /// It has another name.
    Renamed {
        /// The one that it had.
        from: String,
        /// The one that it has.
        to: String,
    },
}

/// The name that what was written for the source `written` has to bear afterwards; `None` when that source is gone. One
/// that is dropped and added again is the same one.
fn name_after(written: &str, fates: &[Fate]) -> Option<String> {
    enum Source {
        There(String),
        Dropped(String),
        Gone,
    }
    let mut source = Source::There(written.to_owned());
    for fate in fates {
        source = match (source, fate) {
            (Source::There(name), Fate::Dropped(dropped)) if name == *dropped => Source::Dropped(name),
            (Source::There(name), Fate::Renamed { from, to }) if name == *from => Source::There(to.clone()),
            (Source::Dropped(name), Fate::Added(added)) if name == *added => Source::There(name),
            // Its name is another one's now.
            (Source::Dropped(name), Fate::Renamed { to, .. }) if name == *to => Source::Gone,
            (source, _) => source,
        };
    }
    match source {
        Source::There(name) => Some(name),
        Source::Dropped(_) | Source::Gone => None,
    }
}

/// `gateway.yaml` afterwards. Names that are not written as texts (`{from_env: X}`) stay: the loader says what is wrong
/// with them then.
pub(super) fn follow(gateway: &Value, fates: &[Fate]) -> Value {
    let mut gateway = gateway.clone();
    let is_emptied = gateway
        .get_mut("sources")
        .and_then(Value::as_array_mut)
        .is_some_and(|entries| {
            let before = entries.len();
            entries.retain_mut(|entry| entry.get_mut("name").is_none_or(|name| follows(name, fates)));
            before > 0 && entries.is_empty()
        });
    if let Some(fields) = gateway.as_object_mut().filter(|_| is_emptied) {
        fields.shift_remove("sources");
    }
    let users = gateway.get_mut("users").and_then(Value::as_array_mut);
    for user in users.into_iter().flatten() {
        if let Some(names) = user.get_mut("sources").and_then(Value::as_array_mut) {
            names.retain_mut(|name| follows(name, fates));
        }
    }
    gateway
}

/// Gives a name its fate; false when its source is gone.
fn follows(name: &mut Value, fates: &[Fate]) -> bool {
    let Some(written) = name.as_str() else { return true };
    match name_after(written, fates) {
        Some(after) => {
            *name = after.into();
            true
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn dropped(name: &str) -> Fate {
        Fate::Dropped(name.to_owned())
    }

    fn added(name: &str) -> Fate {
        Fate::Added(name.to_owned())
    }

    fn renamed(from: &str, to: &str) -> Fate {
        let (from, to) = (from.to_owned(), to.to_owned());
        Fate::Renamed { from, to }
    }

    #[test]
    fn a_name_means_the_same_source_afterwards_or_is_gone() {
        for (written, fates, after) in [
            ("a", vec![], Some("a")),
            ("a", vec![dropped("b"), added("c")], Some("a")),
            ("a", vec![dropped("a")], None),
            ("a", vec![dropped("a"), added("a")], Some("a")),
            ("a", vec![renamed("a", "b"), renamed("b", "c")], Some("c")),
            ("a", vec![renamed("a", "b"), dropped("b")], None),
            // The new bearer of the name is another source.
            ("a", vec![dropped("a"), renamed("b", "a")], None),
            ("b", vec![dropped("a"), renamed("b", "a")], Some("a")),
            ("a", vec![renamed("a", "c"), renamed("b", "a")], Some("c")),
            (
                "a",
                vec![dropped("a"), renamed("b", "a"), dropped("a"), added("a")],
                None,
            ),
        ] {
            assert_eq!(name_after(written, &fates).as_deref(), after, "{written} {fates:?}");
        }
    }

    #[test]
    fn settings_and_rights_go_with_the_source() {
        let gateway = json!({
            "sources": [{ "name": "a", "query_timeout": 5 }, { "name": { "from_env": "A" } }, { "name": "b" }],
            "users": [{ "name": "x", "sources": ["a", "b"] }, { "name": "y", "sources": "*" }, { "name": "z" }],
        });
        let after = follow(&gateway, &[renamed("a", "c"), dropped("b")]);
        assert_eq!(
            after,
            json!({
                "sources": [{ "name": "c", "query_timeout": 5 }, { "name": { "from_env": "A" } }],
                "users": [{ "name": "x", "sources": ["c"] }, { "name": "y", "sources": "*" }, { "name": "z" }],
            })
        );
        let gateway = json!({ "version": 1, "sources": [{ "name": "a" }] });
        assert_eq!(follow(&gateway, &[dropped("a")]), json!({ "version": 1 }));
    }
}
