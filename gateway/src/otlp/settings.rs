//! OpenTelemetry's own environment variables, as far as they matter here, and Hasura's `opentelemetry.yaml` below them.
//! docs/logs.md lists them.
//!
//! Invariant: headers go where they were meant for: those of the file to the file's endpoints only.

use std::time::Duration;

use reqwest::Url;
use weir_config::{Environment, Telemetry, TelemetryEndpoint};
use weir_core::secret::Secret;

use super::messages::Attributes;

/// The names of the signals.
pub(super) const TRACES: &str = "traces";
pub(super) const METRICS: &str = "metrics";

/// Of a hundred transactions, one is traced unless `OTEL_TRACES_SAMPLER` says otherwise. OpenTelemetry's own default is
/// all of them, which is meant for requests that take milliseconds and not for statements that take microseconds.
const SAMPLE: f64 = 0.01;

/// Spans in one message, unless the file says otherwise: as with OpenTelemetry's own exporters.
const BATCH: usize = 512;

/// What to send, and where.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    pub(super) traces: Option<Signal>,
    pub(super) metrics: Option<Signal>,
    /// The share of transactions and logins that is traced.
    pub(super) sample: Sample,
    /// Spans in one message.
    pub(super) batch: usize,
    /// Who sends.
    pub(super) resource: Attributes,
}

/// A share, and where it was set.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample {
    pub(super) ratio: f64,
    pub(super) set_in: String,
}

/// One kind of telemetry.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Signal {
    pub(super) name: &'static str,
    pub(super) endpoint: Url,
    /// Where that was set.
    pub(super) set_in: String,
    pub(super) headers: Vec<(String, Secret<String>)>,
    /// For one message.
    pub(super) timeout: Duration,
    /// Between two messages.
    pub(super) interval: Duration,
}

impl Settings {
    /// Reads the variables, and below them what the metadata declares. `instance` tells this process from others.
    ///
    /// # Errors
    /// Which one is wrong, why, and what to write.
    pub(super) fn read(environment: &dyn Environment, declared: &Telemetry, instance: &str) -> Result<Self, String> {
        let reader = Reader { environment, declared };
        let batch = declared.max_export_batch_size;
        Ok(Settings {
            traces: reader.signal(TRACES, &declared.traces, ("OTEL_BSP_SCHEDULE_DELAY", 5_000))?,
            metrics: reader.signal(METRICS, &declared.metrics, ("OTEL_METRIC_EXPORT_INTERVAL", 60_000))?,
            sample: reader.sample()?,
            batch: batch.and_then(|batch| usize::try_from(batch).ok()).unwrap_or(BATCH),
            resource: reader.resource(instance)?,
        })
    }
}

struct Reader<'a> {
    environment: &'a dyn Environment,
    declared: &'a Telemetry,
}

/// Who has said where to send.
enum Word {
    Variable,
    File,
}

impl Reader<'_> {
    /// One that is not empty.
    fn variable(&self, name: &str) -> Option<String> {
        self.environment.variable(name).filter(|value| !value.trim().is_empty())
    }

    /// The variable for the signal, or else the one for all; its name and value.
    fn of_signal(&self, signal: &str, what: &str) -> Option<(String, String)> {
        let names = [
            format!("OTEL_EXPORTER_OTLP_{}_{what}", signal.to_ascii_uppercase()),
            format!("OTEL_EXPORTER_OTLP_{what}"),
        ];
        names
            .into_iter()
            .find_map(|name| self.variable(&name).map(|value| (name, value)))
    }

    fn signal(
        &self,
        name: &'static str,
        declared: &Option<TelemetryEndpoint>,
        interval: (&str, u64),
    ) -> Result<Option<Signal>, String> {
        let is_off = self
            .variable("OTEL_SDK_DISABLED")
            .is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let exporter = format!("OTEL_{}_EXPORTER", name.to_ascii_uppercase());
        let is_wanted = match self.variable(&exporter).as_deref().map(str::trim) {
            None | Some("otlp") => true,
            Some("none") => false,
            Some(other) => return Err(format!("{exporter} is {other:?}: only otlp and none are there")),
        };
        let endpoint = self.endpoint(name, declared.as_ref())?.filter(|_| is_wanted && !is_off);
        let Some((endpoint, set_in, word)) = endpoint else {
            return Ok(None);
        };
        if let Some((variable, protocol)) = self.of_signal(name, "PROTOCOL")
            && protocol.trim() != "http/protobuf"
        {
            return Err(format!(
                "{variable} is {protocol:?}: only http/protobuf is spoken (port 4318 of a collector)"
            ));
        }
        let headers = match (self.of_signal(name, "HEADERS"), word) {
            (Some((variable, list)), _) => {
                let pairs = pairs(&variable, &list)?.into_iter();
                pairs.map(|(key, value)| (key, Secret::new(value))).collect()
            }
            (None, Word::File) => self.declared.headers.clone(),
            (None, Word::Variable) => Vec::new(),
        };
        let timeout = match self.of_signal(name, "TIMEOUT") {
            Some((variable, text)) => millis(&variable, &text)?,
            None => Duration::from_secs(10),
        };
        let interval = match self.variable(interval.0) {
            Some(text) => millis(interval.0, &text)?,
            None => Duration::from_millis(interval.1),
        };
        Ok(Some(Signal {
            name,
            endpoint,
            set_in,
            headers,
            timeout,
            interval,
        }))
    }

    /// The signal's own is taken as it is; to the one for all, the signal's path is added. With where it was set.
    fn endpoint(
        &self,
        signal: &str,
        declared: Option<&TelemetryEndpoint>,
    ) -> Result<Option<(Url, String, Word)>, String> {
        let own = format!("OTEL_EXPORTER_OTLP_{}_ENDPOINT", signal.to_ascii_uppercase());
        let general = "OTEL_EXPORTER_OTLP_ENDPOINT";
        let (name, text, word) = match (self.variable(&own), self.variable(general), declared) {
            (Some(text), ..) => (own, text, Word::Variable),
            (None, Some(text), _) => {
                let text = format!("{}/v1/{signal}", text.trim().trim_end_matches('/'));
                (general.to_owned(), text, Word::Variable)
            }
            (None, None, Some(declared)) => (declared.set_in.clone(), declared.url.expose().clone(), Word::File),
            (None, None, None) => return Ok(None),
        };
        // The value is not shown: it may have a password in it.
        let url = Url::parse(text.trim()).map_err(|error| format!("{name} is no URL: {error}"))?;
        match url.scheme() {
            "http" | "https" => Ok(Some((url, set_in(&word, name), word))),
            other => Err(format!("{name} begins with {other}: it must be http or https")),
        }
    }

    fn sample(&self) -> Result<Sample, String> {
        let name = "OTEL_TRACES_SAMPLER";
        let Some(sampler) = self.variable(name) else {
            return Ok(Sample {
                ratio: SAMPLE,
                set_in: "built-in default".to_owned(),
            });
        };
        // Transactions have no parents: nothing in their protocols says so.
        let ratio = match sampler.trim().trim_start_matches("parentbased_") {
            "always_on" => Ok(1.0),
            "always_off" => Ok(0.0),
            "traceidratio" => match self.variable("OTEL_TRACES_SAMPLER_ARG") {
                None => Ok(1.0),
                Some(text) => {
                    let ratio = text.trim().parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
                    ratio.ok_or_else(|| format!("OTEL_TRACES_SAMPLER_ARG is {text:?}: it must be from 0 to 1"))
                }
            },
            other => Err(format!(
                "{name} is {other:?}: always_on, always_off and traceidratio are there"
            )),
        };
        Ok(Sample {
            ratio: ratio?,
            set_in: set_in(&Word::Variable, name.to_owned()),
        })
    }

    fn resource(&self, instance: &str) -> Result<Attributes, String> {
        let name = "OTEL_RESOURCE_ATTRIBUTES";
        let mut resource = match self.variable(name) {
            Some(list) => pairs(name, &list)?,
            None => Vec::new(),
        };
        for (key, value) in &self.declared.resource_attributes {
            if !resource.iter().any(|(known, _)| known == key) {
                resource.push((key.clone(), value.clone()));
            }
        }
        let mut set = |key: &str, value: String, wins: bool| {
            let known = resource.iter_mut().find(|(known, _)| known == key);
            match known {
                Some((_, present)) if wins => *present = value,
                Some(_) => {}
                None => resource.push((key.to_owned(), value)),
            }
        };
        match self.variable("OTEL_SERVICE_NAME") {
            Some(service) => set("service.name", service, true),
            None => set("service.name", "weir".to_owned(), false),
        }
        set("service.version", env!("CARGO_PKG_VERSION").to_owned(), false);
        // A successor and its predecessor count on their own.
        set("service.instance.id", instance.to_owned(), false);
        Ok(resource)
    }
}

/// As in the rest of the configuration.
fn set_in(word: &Word, name: String) -> String {
    match word {
        Word::Variable => format!("environment variable {name}"),
        Word::File => name,
    }
}

fn millis(name: &str, text: &str) -> Result<Duration, String> {
    let millis: Option<u64> = text.trim().parse().ok().filter(|millis| *millis > 0);
    let millis = millis.ok_or_else(|| format!("{name} is {text:?}: it must be a number of milliseconds above 0"))?;
    Ok(Duration::from_millis(millis))
}

/// `key=value,key=value`, with escapes as in URLs. Values are not shown: they may be secret.
fn pairs(name: &str, list: &str) -> Result<Attributes, String> {
    let items = list.split(',').map(str::trim).filter(|item| !item.is_empty());
    let pairs = items.map(|item| {
        let (key, value) = item
            .split_once('=')
            .ok_or_else(|| format!("{name}: an item has no =; it must be key=value,key=value"))?;
        Ok((key.trim().to_owned(), unescape(value.trim())))
    });
    pairs.collect()
}

/// `%20` and its like; what is no escape stays as it is.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        let digits = behind.get(..2).filter(|_| byte == b'%');
        let code = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match code {
            Some(code) => {
                bytes.push(code);
                rest = &behind[2..];
            }
            None => {
                bytes.push(byte);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings, String> {
        let variables: std::collections::HashMap<String, String> = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Settings::read(&variables, &Telemetry::default(), "1")
    }

    #[test]
    fn nothing_is_sent_unless_an_endpoint_is_configured() {
        let settings = read(&[]).expect("nothing is wrong");
        assert!(settings.traces.is_none() && settings.metrics.is_none());
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");
        let settings = read(&[endpoint, ("OTEL_SDK_DISABLED", "true")]).expect("nothing is wrong");
        assert!(settings.traces.is_none() && settings.metrics.is_none());
        let settings = read(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]).expect("nothing is wrong");
        assert!(settings.traces.is_none() && settings.metrics.is_some());
    }

    #[test]
    fn variables_mean_what_opentelemetry_says() {
        let settings = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/base"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces.example/otlp"),
            (
                "OTEL_EXPORTER_OTLP_HEADERS",
                "authorization=Bearer%20canary, x-tenant=7",
            ),
            ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "500"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "250"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
            (
                "OTEL_RESOURCE_ATTRIBUTES",
                "service.name=other,deployment.environment=prod",
            ),
            ("OTEL_SERVICE_NAME", "pooler"),
        ])
        .expect("nothing is wrong");
        let (traces, metrics) = (settings.traces.expect("on"), settings.metrics.expect("on"));
        assert_eq!(traces.endpoint.as_str(), "https://traces.example/otlp");
        assert_eq!(metrics.endpoint.as_str(), "http://collector:4318/base/v1/metrics");
        assert_eq!(traces.timeout, Duration::from_secs(10));
        assert_eq!(metrics.timeout, Duration::from_millis(500));
        assert_eq!(
            (traces.interval, metrics.interval),
            (Duration::from_secs(5), Duration::from_millis(250))
        );
        assert_eq!(traces.headers[0].1.expose(), "Bearer canary");
        assert!(!format!("{traces:?}").contains("canary"));
        assert_eq!(settings.sample.ratio, 0.25);
        let resource = |key: &str| settings.resource.iter().find(|(known, _)| known == key);
        assert_eq!(
            resource("service.name").map(|(_, value)| value.as_str()),
            Some("pooler")
        );
        assert!(resource("deployment.environment").is_some() && resource("service.version").is_some());
    }

    #[test]
    fn variables_win_over_the_file_and_the_file_s_headers_go_to_the_file_s_endpoints() {
        let endpoint = |url: &str, line: u32| {
            Some(TelemetryEndpoint {
                url: Secret::new(url.to_owned()),
                set_in: format!("opentelemetry.yaml:{line}:3"),
            })
        };
        let declared = Telemetry {
            traces: endpoint("https://file.example/v1/traces", 7),
            metrics: endpoint("https://file.example/v1/metrics", 8),
            headers: vec![("x-key".to_owned(), Secret::new("canary".to_owned()))],
            resource_attributes: vec![
                ("stage".to_owned(), "prod".to_owned()),
                ("region".to_owned(), "eu".to_owned()),
            ],
            max_export_batch_size: Some(7),
        };
        let read = |variables: &[(&str, &str)]| Settings::read(&variables, &declared, "1").expect("nothing is wrong");
        let settings = read(&[]);
        let (traces, metrics) = (settings.traces.expect("on"), settings.metrics.expect("on"));
        assert_eq!(traces.endpoint.as_str(), "https://file.example/v1/traces");
        assert_eq!(traces.set_in, "opentelemetry.yaml:7:3");
        assert_eq!(metrics.headers[0].1.expose(), "canary");
        assert_eq!(settings.batch, 7);

        let settings = read(&[
            (
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                "http://elsewhere.example/v1/traces",
            ),
            ("OTEL_RESOURCE_ATTRIBUTES", "region=us"),
        ]);
        let (traces, metrics) = (settings.traces.expect("on"), settings.metrics.expect("on"));
        assert_eq!(traces.endpoint.host_str(), Some("elsewhere.example"));
        assert_eq!(traces.set_in, "environment variable OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
        assert!(traces.headers.is_empty(), "{:?}", traces.headers);
        assert_eq!(metrics.headers.len(), 1);
        let resource = |key: &str| settings.resource.iter().find(|(known, _)| known == key);
        assert_eq!(resource("region").map(|(_, value)| value.as_str()), Some("us"));
        assert_eq!(resource("stage").map(|(_, value)| value.as_str()), Some("prod"));

        let settings = read(&[("OTEL_EXPORTER_OTLP_HEADERS", "x-other=1")]);
        assert_eq!(settings.traces.expect("on").headers[0].0, "x-other");
        let settings = read(&[("OTEL_SDK_DISABLED", "true")]);
        assert!(settings.traces.is_none() && settings.metrics.is_none());
    }

    #[test]
    fn what_is_wrong_is_named_without_what_may_be_secret() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        for (variables, name) in [
            (
                vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "grpc://canary:4317")],
                "OTEL_EXPORTER_OTLP_ENDPOINT",
            ),
            (
                vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "canary")],
                "OTEL_EXPORTER_OTLP_ENDPOINT",
            ),
            (
                vec![endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
                "OTEL_EXPORTER_OTLP_PROTOCOL",
            ),
            (
                vec![endpoint, ("OTEL_EXPORTER_OTLP_HEADERS", "canary")],
                "OTEL_EXPORTER_OTLP_HEADERS",
            ),
            (
                vec![endpoint, ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon")],
                "OTEL_EXPORTER_OTLP_TIMEOUT",
            ),
            (
                vec![endpoint, ("OTEL_TRACES_SAMPLER", "jaeger_remote")],
                "OTEL_TRACES_SAMPLER",
            ),
            (
                vec![endpoint, ("OTEL_METRICS_EXPORTER", "prometheus")],
                "OTEL_METRICS_EXPORTER",
            ),
        ] {
            let error = read(&variables).expect_err("it is wrong");
            assert!(error.starts_with(name) && !error.contains("canary"), "{error}");
        }
    }
}
