//! Hasura's `opentelemetry.yaml`.

use super::{Default, Key, Kind};
use crate::words;

/// Spans in one message at the most. Hasura has no bound; more than the queue holds never come together.
pub(crate) const MAX_BATCH: u32 = 2048;

pub(crate) const MAX_EXPORT_BATCH_SIZE: Key = Key::hasura(
    "max_export_batch_size",
    Kind::Integer(1, u32::MAX),
    Default::Words("512"),
    "spans in one message; more than 2048 are as good as 2048",
);

/// The file itself.
pub(crate) const KEYS: [Key; 4] = [
    Key::hasura(
        "status",
        Kind::Word(|| words::all(words::TELEMETRY_STATUS)),
        Default::Words("`disabled`"),
        "whether anything of it counts",
    ),
    Key::hasura(
        "data_types",
        Kind::Names,
        Default::Words("`[]`"),
        "`traces`, `metrics`; `logs` are not sent",
    ),
    Key::hasura(
        "exporter_otlp",
        Kind::Group("`exporter_otlp`"),
        Default::None,
        "what is sent where",
    ),
    Key::hasura(
        "batch_span_processor",
        Kind::Group("`batch_span_processor`"),
        Default::None,
        "how spans are put together",
    ),
];

/// `exporter_otlp`
pub(crate) const EXPORTER: [Key; 7] = [
    Key::hasura(
        "otlp_traces_endpoint",
        Kind::Text,
        Default::Words("required for `traces`"),
        "the whole URL; `{{NAME}}` in it is an environment variable. `OTEL_EXPORTER_OTLP_ENDPOINT` and its like win",
    ),
    Key::hasura(
        "otlp_metrics_endpoint",
        Kind::Text,
        Default::Words("required for `metrics`"),
        "the same for metrics",
    ),
    Key::hasura("otlp_logs_endpoint", Kind::Text, Default::None, "not used"),
    Key::hasura(
        "protocol",
        Kind::Text,
        Default::Words("`http/protobuf`"),
        "the only one",
    ),
    Key::hasura(
        "headers",
        Kind::List("`headers`"),
        Default::Words("`[]`"),
        "sent to these endpoints, and to none that a variable names. `OTEL_EXPORTER_OTLP_HEADERS` wins, as a whole",
    ),
    Key::hasura(
        "resource_attributes",
        Kind::List("`resource_attributes`"),
        Default::Words("`[]`"),
        "who sends. `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME` win, one by one",
    ),
    Key::hasura(
        "traces_propagators",
        Kind::Names,
        Default::None,
        "not used: a client's own trace is not continued, because neither protocol carries one",
    ),
];

/// An item of `headers`.
pub(crate) const HEADER: [Key; 3] = [
    Key::hasura("name", Kind::Text, Default::Required, "of the header"),
    Key::hasura(
        "value",
        Kind::Secret,
        Default::Words("this, or `value_from_env`"),
        "its value",
    ),
    Key::hasura(
        "value_from_env",
        Kind::Text,
        Default::None,
        "the environment variable that holds it",
    ),
];

/// An item of `resource_attributes`.
pub(crate) const ATTRIBUTE: [Key; 2] = [
    Key::hasura("name", Kind::Text, Default::Required, "of the attribute"),
    Key::hasura("value", Kind::Text, Default::Required, "its value"),
];

/// `batch_span_processor`
pub(crate) const BATCH: [Key; 1] = [MAX_EXPORT_BATCH_SIZE];
