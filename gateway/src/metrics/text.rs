//! The two text formats that Prometheus reads: its own (0.0.4) and OpenMetrics, which is asked for by name.
//!
//! Written by hand because a label may be any text (a source's name, a URL), which has to be escaped: the crate of the
//! format's maintainers (prometheus-client 0.24) passes label values on as they are.

use std::fmt::Write as _;

use super::{Family, Kind, Sample, Samples, Value};

/// Which of the formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// `text/plain; version=0.0.4`
    Plain,
    /// `application/openmetrics-text; version=1.0.0`
    OpenMetrics,
}

impl Format {
    /// The one that a client's `Accept` asks for.
    pub(crate) fn accepted(accept: &str) -> Self {
        match accept.contains("application/openmetrics-text") {
            true => Format::OpenMetrics,
            false => Format::Plain,
        }
    }

    /// For the answer.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Format::Plain => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Writes all samples.
pub(crate) fn write(samples: &Samples, format: Format) -> String {
    let mut out = String::with_capacity(64 * 1024);
    for (family, samples) in samples.families() {
        head(&mut out, family, format);
        for sample in &samples {
            match (sample.value, family.kind) {
                (Value::Times(_), Kind::Histogram(bounds)) => histogram(&mut out, family.name, bounds, sample),
                (Value::Number(number), _) => line(&mut out, family.name, "", sample, None, *number),
                (Value::Times(_), Kind::Gauge | Kind::Counter) => {}
            }
        }
    }
    if format == Format::OpenMetrics {
        out.push_str("# EOF\n");
    }
    out
}

fn head(out: &mut String, family: &Family, format: Format) {
    // OpenMetrics names a counter without the ending of its samples.
    let name = match format {
        Format::Plain => family.name,
        Format::OpenMetrics => family.name.trim_end_matches("_total"),
    };
    out.push_str("# HELP ");
    out.push_str(name);
    out.push(' ');
    escape(out, family.help);
    out.push_str("\n# TYPE ");
    out.push_str(name);
    out.push(' ');
    out.push_str(family.kind.as_str());
    out.push('\n');
}

fn histogram(out: &mut String, name: &str, bounds: &'static [u64], sample: &Sample<'_>) {
    let Value::Times(times) = sample.value else { return };
    let count = times.count();
    for (bound, cumulative) in bounds.iter().zip(times.cumulative(bounds)) {
        let bound = format!("{:?}", *bound as f64 / 1e9);
        line(out, name, "_bucket", sample, Some(&bound), cumulative as f64);
    }
    line(out, name, "_bucket", sample, Some("+Inf"), count as f64);
    line(out, name, "_sum", sample, None, times.sum().as_secs_f64());
    line(out, name, "_count", sample, None, count as f64);
}

fn line(out: &mut String, name: &str, suffix: &str, sample: &Sample<'_>, bound: Option<&str>, number: f64) {
    out.push_str(name);
    out.push_str(suffix);
    let labels = sample
        .names
        .iter()
        .copied()
        .zip(sample.values.iter().map(String::as_str));
    let labels = labels.chain(bound.map(|bound| ("le", bound)));
    let mut before = '{';
    for (label, value) in labels {
        out.push(before);
        out.push_str(label);
        out.push_str("=\"");
        escape(out, value);
        out.push('"');
        before = ',';
    }
    if before == ',' {
        out.push('}');
    }
    // Writing to a string does not fail. Rust's shortest form that reads back the same is what Prometheus wants.
    let _ = writeln!(out, " {number}");
}

/// Backslash, quote and line end; valid in help texts as well, which have no quotes.
fn escape(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use weir_core::observe::Histogram;

    use super::{super::table::name, *};

    #[test]
    fn both_formats_are_written_and_labels_cannot_break_out() {
        let mut samples = Samples::default();
        samples.add(name::SOURCE_HEALTH, &["a\"} 7\nb\\"], 3_u32);
        samples.add(name::RELOADS, &["applied"], 12_u64);
        samples.add(name::RESIDENT, &[], 0.5);
        assert_eq!(
            write(&samples, Format::Plain),
            "# HELP hasura_source_health What the health_check of the source found last: 0 OK, 1 TIMEOUT, 2 FAILED, 3 ERROR\n\
             # TYPE hasura_source_health gauge\n\
             hasura_source_health{source_name=\"a\\\"} 7\\nb\\\\\"} 3\n\
             # HELP weir_reloads_total Attempts to apply the metadata again: applied, unchanged, refused\n\
             # TYPE weir_reloads_total counter\n\
             weir_reloads_total{result=\"applied\"} 12\n\
             # HELP process_resident_memory_bytes Memory of the process that is in RAM\n\
             # TYPE process_resident_memory_bytes gauge\n\
             process_resident_memory_bytes 0.5\n"
        );
        let open = write(&samples, Format::OpenMetrics);
        assert!(
            open.contains("# TYPE weir_reloads counter\nweir_reloads_total{"),
            "{open}"
        );
        assert!(open.ends_with("\n# EOF\n"), "{open}");
    }

    #[test]
    fn a_histogram_has_cumulative_buckets_sum_and_count() {
        let histogram = Histogram::default();
        for millis in [0, 5, 200, 400_000] {
            histogram.record(Duration::from_millis(millis));
        }
        let mut samples = Samples::default();
        let labels = ["ledger", "PG_URL", "primary"];
        samples.add(name::POSTGRES_WAIT_TIME, &labels, &histogram.snapshot());
        // The same again, of a pool that is not told apart.
        samples.add(name::POSTGRES_WAIT_TIME, &labels, &histogram.snapshot());
        let text = write(&samples, Format::Plain);
        let labels = "source_name=\"ledger\",conn_info=\"PG_URL\",role=\"primary\"";
        let expected = [
            ("1e-6", 2),
            ("0.0001", 2),
            ("0.01", 4),
            ("0.1", 4),
            ("0.3", 6),
            ("1.0", 6),
            ("3.0", 6),
            ("10.0", 6),
            ("30.0", 6),
            ("100.0", 6),
            ("+Inf", 8),
        ];
        for (bound, count) in expected {
            let line = format!("hasura_postgres_pool_wait_time_bucket{{{labels},le=\"{bound}\"}} {count}\n");
            assert!(text.contains(&line), "{line} in {text}");
        }
        assert!(
            text.contains(&format!("hasura_postgres_pool_wait_time_sum{{{labels}}} 800.41\n")),
            "{text}"
        );
        assert!(
            text.contains(&format!("hasura_postgres_pool_wait_time_count{{{labels}}} 8\n")),
            "{text}"
        );
    }

    #[test]
    fn who_asks_for_open_metrics_gets_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
        assert_eq!(Format::accepted(prometheus), Format::OpenMetrics);
        assert_eq!(Format::accepted("*/*"), Format::Plain);
        assert_eq!(Format::accepted(""), Format::Plain);
    }
}
