//! The messages of OTLP 1.0 that are sent: `ExportMetricsServiceRequest` and `ExportTraceServiceRequest`.
//!
//! Pure. Field numbers are those of `opentelemetry/proto/{common,resource,metrics,trace}/v1`, which do not change.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{encode::Message, spans::Span};
use crate::metrics::{Kind, Sample, Samples, Value};

/// Keys and values that say who sends.
pub(super) type Attributes = Vec<(String, String)>;

/// A value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Attribute {
    /// Text.
    Text(String),
    /// A whole number.
    Integer(u64),
    /// Seconds, for instance.
    Double(f64),
}

/// The sum since `start_time_unix_nano`, not since what was sent last.
const CUMULATIVE: u64 = 2;

/// All metrics of one moment.
pub(super) fn metrics(resource: &Attributes, samples: &Samples, started: SystemTime, now: SystemTime) -> Vec<u8> {
    let times = Times {
        started: nanos(started),
        now: nanos(now),
    };
    let scope = samples.families().fold(scope(), |scope, (family, samples)| {
        let points = samples.iter().map(|sample| point(sample, family.kind, times));
        let data = points.fold(Message::new(), |data, point| data.message(1, &point));
        // Units of UCUM, which OpenTelemetry wants: the names say the same in Prometheus's way.
        let unit = match family.name {
            name if name.contains("_seconds") || name.ends_with("_time") => "s",
            name if name.contains("_bytes") => "By",
            _ => "1",
        };
        let metric = Message::new()
            .bytes(1, family.name.trim_end_matches("_total"))
            .bytes(2, family.help)
            .bytes(3, unit);
        let metric = match family.kind {
            Kind::Gauge => metric.message(5, &data),
            Kind::Counter => metric.message(7, &data.number(2, CUMULATIVE).number(3, 1)),
            Kind::Histogram(_) => metric.message(9, &data.number(2, CUMULATIVE)),
        };
        scope.message(2, &metric)
    });
    request(resource, &scope)
}

#[derive(Clone, Copy)]
struct Times {
    started: u64,
    now: u64,
}

fn point(sample: &Sample<'_>, kind: Kind, times: Times) -> Message {
    let labels = sample.names.iter().copied().zip(sample.values);
    let timed = Message::new().fixed(2, times.started).fixed(3, times.now);
    match (sample.value, kind) {
        (Value::Times(snapshot), Kind::Histogram(bounds)) => {
            let cumulative = snapshot.cumulative(bounds);
            let count = snapshot.count();
            // Each bucket for itself, and one more for what is above the last bound.
            let before = [0].into_iter().chain(cumulative.iter().copied());
            let up_to = cumulative.iter().copied().chain([count]);
            let counts = up_to.zip(before).map(|(up_to, before)| up_to.saturating_sub(before));
            let point = timed
                .fixed(4, count)
                .double(5, snapshot.sum().as_secs_f64())
                .packed(6, counts)
                .packed(7, bounds.iter().map(|bound| (*bound as f64 / 1e9).to_bits()));
            labels.fold(point, |point, (name, value)| {
                point.message(9, &key_value(name, &Attribute::Text(value.clone())))
            })
        }
        (value, _) => {
            let number = match value {
                Value::Number(number) => *number,
                Value::Times(_) => 0.0,
            };
            labels.fold(timed.double(4, number), |point, (name, value)| {
                point.message(7, &key_value(name, &Attribute::Text(value.clone())))
            })
        }
    }
}

/// Some spans.
pub(super) fn traces(resource: &Attributes, spans: &[Span]) -> Vec<u8> {
    let scope = spans
        .iter()
        .fold(scope(), |scope, span| scope.message(2, &span_message(span)));
    request(resource, &scope)
}

/// Spans of the gateway's own work; those of a transaction are of kind SERVER, its parts INTERNAL.
fn span_message(span: &Span) -> Message {
    /// `STATUS_CODE_ERROR`
    const ERROR: u64 = 2;
    let message = Message::new().bytes(1, span.trace).bytes(2, span.id);
    let message = match span.parent {
        Some(parent) => message.bytes(4, parent).number(6, 1),
        None => message.number(6, 2),
    };
    let message = message
        .bytes(5, span.name)
        .fixed(7, nanos(span.began))
        .fixed(8, nanos(span.ended))
        // Sampled.
        .fixed_32(16, 1);
    let message = span.attributes.iter().fold(message, |message, (name, value)| {
        message.message(9, &key_value(name, value))
    });
    match span.error {
        Some(why) => message.message(15, &Message::new().bytes(2, why).number(3, ERROR)),
        None => message,
    }
}

fn scope() -> Message {
    let own = Message::new().bytes(1, "weir").bytes(2, env!("CARGO_PKG_VERSION"));
    Message::new().message(1, &own)
}

/// Both requests are one list of one element: a resource and its scopes.
fn request(resource: &Attributes, scope: &Message) -> Vec<u8> {
    let attributes = resource.iter();
    let resource = attributes.fold(Message::new(), |message, (name, value)| {
        message.message(1, &key_value(name, &Attribute::Text(value.clone())))
    });
    let of_resource = Message::new().message(1, &resource).message(2, scope);
    Message::new().message(1, &of_resource).into_bytes()
}

fn key_value(name: &str, value: &Attribute) -> Message {
    let any = match value {
        Attribute::Text(text) => Message::new().bytes(1, text),
        Attribute::Integer(number) => Message::new().number(3, *number),
        Attribute::Double(number) => Message::new().double(4, *number),
    };
    Message::new().bytes(1, name).message(2, &any)
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(0)
}
