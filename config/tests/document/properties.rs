//! Whatever is changed, the files say it afterwards.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::common::{folder, write};

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        // Texts that look like something else.
        "[-:#&*!|>'\"%@`{}\\[\\], ~a-z0-9.\n\t]{0,12}"
            .prop_filter("an include", |text| !text.trim_start().starts_with("!include"))
            .prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[a-z#:~ ]{0,4}", inner), 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

fn sources() -> impl Strategy<Value = Value> {
    let source =
        ("[a-d]", value(), value(), any::<bool>()).prop_map(|(name, configuration, other, swapped)| match swapped {
            true => json!({"configuration": configuration, "name": name, "tables": [], "customization": other}),
            false => json!({"name": name, "customization": other, "configuration": configuration}),
        });
    prop::collection::vec(source, 0..4).prop_map(Value::from)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_stands_in_actions_graphql_breaks_nothing(text in "(type|input|enum|scalar|extend|[A-Z]|[-{}()\\[\\]:!=@#\\\\ \"\n,é\u{2028}]){0,40}") {
        let folder = folder(&[("version.yaml", "version: 3\n"), ("actions.graphql", &text)]);
        let document = crate::common::read(folder.path());
        // What was read is there already, whatever it is.
        let read = document.metadata().clone();
        prop_assert!(document.changes(&read).unwrap().is_empty());
        // A source beside it can be written.
        let mut more = read.clone();
        more["sources"] = json!([{"name": "a", "configuration": {}, "tables": []}]);
        prop_assert!(!document.changes(&more).unwrap().is_empty());
        // Metadata without what the file describes is refused, or there was nothing in it.
        let sources = json!({"version": 3, "sources": more["sources"]});
        prop_assert!(document.changes(&sources).map_or(true, |changes| !changes.is_empty()));
    }

    #[test]
    fn any_sequence_of_documents_is_written_and_read_again(documents in prop::collection::vec(sources(), 1..5)) {
        let folder = folder(&[
            ("version.yaml", "version: 3\n"),
            ("databases/databases.yaml", "# top\n- name: a # first\n  configuration:\n    # inside\n    x: 1\n\n# second\n- name: b\n  configuration: {}\n"),
        ]);
        for sources in documents {
            write(folder.path(), &json!({"version": 3, "sources": sources}));
        }
    }
}
