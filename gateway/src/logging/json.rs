//! Log lines as JSON, in Hasura's shape: `timestamp`, `level`, `type`, `detail`.
//!
//! Invariants: one line is one JSON object, whatever its fields contain; every event of Weir's own has a `type` that does
//! not change with its particulars, and docs/logs.md explains each one.

use std::fmt;

use serde_json::{Map, Value, json};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};
use weir_core::{admin::time, clock};

use super::is_own;

/// See the module.
pub(super) struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut detail = Detail(Map::new());
        event.record(&mut detail);
        let metadata = event.metadata();
        let kind = match is_own(metadata.target()) {
            true => kind(&detail.0),
            false => {
                detail.0.insert("target".to_owned(), metadata.target().into());
                "library".to_owned()
            }
        };
        let line = json!({
            "timestamp": time::iso_millis(clock::wall()),
            "level": metadata.level().as_str().to_ascii_lowercase(),
            "type": kind,
            "detail": detail.0,
        });
        writeln!(writer, "{line}")
    }
}

/// The type: what the event is called, or else what is made of its message.
fn kind(detail: &Map<String, Value>) -> String {
    let text = |name: &str| detail.get(name).and_then(Value::as_str);
    match text("event") {
        Some(event) => event.to_owned(),
        None => kind_of(text("message").unwrap_or_default()),
    }
}

/// The type of a message: its words up to where it begins to explain itself.
pub(super) fn kind_of(message: &str) -> String {
    let head = message.split(';').next().unwrap_or_default();
    let head = match head.split_once(':') {
        Some((first, _)) if first.split(' ').count() > 2 => first,
        _ => head,
    };
    let words = head.split(|character: char| !character.is_ascii_alphanumeric());
    let words = words.filter(|word| !word.is_empty()).map(str::to_ascii_lowercase);
    words.collect::<Vec<_>>().join("-")
}

/// The fields of an event.
struct Detail(Map<String, Value>);

impl Detail {
    fn set(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Detail {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use super::*;

    #[test]
    fn a_type_is_what_stands_before_the_explanation() {
        for (message, expected) in [
            ("listening", "listening"),
            ("metadata refused; the present one stays", "metadata-refused"),
            ("bug in Weir: a login panicked; its connection is closed", "bug-in-weir"),
            (
                "HTTP interface: a connection could not be accepted",
                "http-interface-a-connection-could-not-be-accepted",
            ),
            ("auth_query failed", "auth-query-failed"),
        ] {
            assert_eq!(kind_of(message), expected);
        }
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("a test").extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_one_object_in_hasuras_shape_whatever_is_in_it() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .event_format(Json)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(source = "a\"}\nb", failures = 3_u64, took = 0.5, error = %"e\u{1}", "metadata refused; because");
            tracing::info!(event = "metadata-problem", "{}", "whatever");
            tracing::info!(target: "h2::client", "hello");
        });
        let text = String::from_utf8(lines.0.lock().expect("a test").clone()).expect("text");
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        let [first, second, third] = &lines[..] else {
            panic!("{text}")
        };
        assert_eq!(
            (&first["level"], &first["type"]),
            (&json!("warn"), &json!("metadata-refused"))
        );
        let detail = json!({ "message": "metadata refused; because", "source": "a\"}\nb", "failures": 3, "took": 0.5, "error": "e\u{1}" });
        assert_eq!(first["detail"], detail);
        assert!(
            first["timestamp"].as_str().is_some_and(|time| time.contains('T')),
            "{first}"
        );
        assert_eq!(second["type"], "metadata-problem");
        assert_eq!(
            (&third["type"], &third["detail"]["target"]),
            (&json!("library"), &json!("h2::client"))
        );
    }
}
