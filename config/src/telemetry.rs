//! Hasura's `opentelemetry.yaml`: where traces and metrics go.
//!
//! Invariants: what is wrong with it is reported and sends nothing, and disturbs no source; while it is disabled, its
//! variables and addresses are not looked at, as in Hasura. Values of headers and addresses are in no message.

use weir_core::secret::Secret;

use crate::{
    context::Context,
    fields::{self, Fields},
    keys,
    model::{Telemetry, TelemetryEndpoint},
    problem::Subject,
    quote::shorten,
    scalars, words,
    yaml::Node,
};

/// Reads it.
pub(crate) fn read(cx: &mut Context<'_>, node: Option<&Node>) -> Telemetry {
    let Some(node) = node.filter(|node| !node.is_null()) else {
        return Telemetry::default();
    };
    let (telemetry, errors) = cx.about(Subject::Telemetry, |cx| whole(cx, node));
    telemetry.filter(|_| errors.is_empty()).unwrap_or_default()
}

/// `None` when nothing is to be sent.
fn whole(cx: &mut Context<'_>, node: &Node) -> Option<Telemetry> {
    let fields = Fields::of(cx, node, "opentelemetry.yaml", &keys::telemetry::KEYS)?;
    let status = fields.get("status")?;
    if !scalars::word(cx, "status", status, words::TELEMETRY_STATUS)? {
        return None;
    }
    let types = fields
        .get("data_types")
        .and_then(|node| scalars::names(cx, "data_types", node));
    let types = types.unwrap_or_default();
    for wrong in types
        .iter()
        .filter(|kind| !["traces", "metrics", "logs"].contains(&kind.value.as_str()))
    {
        let message = format!(
            "data_types: \"{}\" is none of traces, metrics, logs",
            shorten(&wrong.value)
        );
        cx.error(&wrong.place, message);
    }
    if let Some(logs) = types.iter().find(|kind| kind.value == "logs") {
        cx.info(
            &logs.place,
            "data_types: logs are not sent; they are on standard output",
        );
    }
    let exporter = fields
        .get("exporter_otlp")
        .and_then(|node| Fields::of(cx, node, "exporter_otlp", &keys::telemetry::EXPORTER));
    let mut endpoint = |kind: &str, key: &str| {
        let wanted = types.iter().find(|wanted| wanted.value == kind)?;
        match exporter.and_then(|exporter| exporter.get(key)) {
            Some(node) => self::endpoint(cx, key, node),
            None => {
                cx.error(
                    &wanted.place,
                    format!("{kind} are to be sent, and {key} of exporter_otlp is missing"),
                );
                None
            }
        }
    };
    let (traces, metrics) = (
        endpoint("traces", "otlp_traces_endpoint"),
        endpoint("metrics", "otlp_metrics_endpoint"),
    );
    if let Some(node) = exporter.and_then(|exporter| exporter.get("protocol"))
        && scalars::text(cx, "protocol", node).is_some_and(|protocol| protocol != "http/protobuf")
    {
        cx.error(
            &node.place,
            "protocol: only http/protobuf is spoken (port 4318 of a collector)",
        );
    }
    Some(Telemetry {
        traces,
        metrics,
        headers: exporter.map_or_else(Vec::new, |exporter| headers(cx, exporter)),
        resource_attributes: exporter.map_or_else(Vec::new, |exporter| attributes(cx, exporter)),
        max_export_batch_size: batch(cx, fields),
    })
}

fn batch(cx: &mut Context<'_>, fields: Fields<'_>) -> Option<u32> {
    let node = fields.get("batch_span_processor")?;
    let fields = Fields::of(cx, node, "batch_span_processor", &keys::telemetry::BATCH)?;
    let node = fields.get("max_export_batch_size")?;
    let size = scalars::integer(cx, &keys::telemetry::MAX_EXPORT_BATCH_SIZE, node)?;
    Some(size.min(keys::telemetry::MAX_BATCH))
}

/// A URL, taken as it is but for the `{{NAME}}`s in it.
fn endpoint(cx: &mut Context<'_>, key: &str, node: &Node) -> Option<TelemetryEndpoint> {
    let template = scalars::name(cx, key, node)?;
    let url = filled(cx, key, node, &template)?;
    let host = ["http://", "https://"]
        .iter()
        .find_map(|scheme| url.trim().strip_prefix(scheme));
    if host.is_none_or(str::is_empty) {
        cx.error(
            &node.place,
            format!("{key} must be a URL that begins with http:// or https://"),
        );
        return None;
    }
    Some(TelemetryEndpoint {
        url: Secret::from(url.trim().to_owned()),
        set_in: node.place.to_string(),
    })
}

/// The text with the values of its variables.
fn filled(cx: &mut Context<'_>, key: &str, node: &Node, template: &str) -> Option<String> {
    let mut filled = String::new();
    let mut rest = template;
    while let Some((before, behind)) = rest.split_once("{{") {
        let Some((name, after)) = behind.split_once("}}") else {
            cx.error(&node.place, format!("{key}: a {{{{ has no }}}}"));
            return None;
        };
        let name = name.trim();
        if !scalars::is_variable_name(name) {
            cx.error(
                &node.place,
                format!("{key}: between {{{{ and }}}} stands no name of an environment variable"),
            );
            return None;
        }
        filled.push_str(before);
        filled.push_str(&cx.variable(name, &node.place)?);
        rest = after;
    }
    filled.push_str(rest);
    Some(filled)
}

fn headers(cx: &mut Context<'_>, exporter: Fields<'_>) -> Vec<(String, Secret<String>)> {
    let items = exporter
        .get("headers")
        .and_then(|node| fields::list(cx, node, "headers"));
    let items = items.unwrap_or_default().iter();
    items.filter_map(|item| header(cx, item)).collect()
}

fn header(cx: &mut Context<'_>, item: &Node) -> Option<(String, Secret<String>)> {
    let fields = Fields::of(cx, item, "a header", &keys::telemetry::HEADER)?;
    let name = fields.required(cx, "name", "the header")?;
    let name = scalars::name(cx, "name", name)?;
    let value = match (fields.get("value"), fields.get("value_from_env")) {
        (Some(value), None) => scalars::text(cx, "value", value)?,
        (None, Some(variable)) => {
            let name = scalars::name(cx, "value_from_env", variable)?;
            match scalars::is_variable_name(&name) {
                true => cx.variable(&name, &variable.place)?,
                false => {
                    cx.error(
                        &variable.place,
                        "value_from_env must be the name of an environment variable",
                    );
                    return None;
                }
            }
        }
        _ => {
            cx.error(fields.place(), "a header has either value or value_from_env");
            return None;
        }
    };
    Some((name, Secret::from(value)))
}

fn attributes(cx: &mut Context<'_>, exporter: Fields<'_>) -> Vec<(String, String)> {
    let node = exporter.get("resource_attributes");
    let items = node.and_then(|node| fields::list(cx, node, "resource_attributes"));
    let items = items.unwrap_or_default().iter();
    let items = items.filter_map(|item| {
        let fields = Fields::of(cx, item, "a resource attribute", &keys::telemetry::ATTRIBUTE)?;
        let name = fields.required(cx, "name", "the resource attribute")?;
        let value = fields.required(cx, "value", "the resource attribute")?;
        Some((scalars::name(cx, "name", name)?, scalars::text(cx, "value", value)?))
    });
    items.collect()
}
