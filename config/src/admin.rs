//! The HTTP interface: `HASURA_GRAPHQL_*`, then `admin` of `gateway.yaml`.

use weir_core::secret::Secret;

use crate::{
    context::Context,
    fields::Fields,
    keys,
    model::{Admin, SecretSource},
    scalars,
    yaml::Node,
};

pub(crate) const APIS: [&str; 3] = ["metadata", "config", "metrics"];

/// Reads the settings; what is wrong is reported and replaced by its default, a secret by one that nobody knows.
pub(crate) fn read(cx: &mut Context<'_>, node: Option<&Node>) -> Admin {
    let fields = node.and_then(|node| Fields::of(cx, node, "admin", &keys::admin::KEYS));
    let admin_secret = secret(cx, fields, "HASURA_GRAPHQL_ADMIN_SECRET", "admin_secret");
    let metrics_secret = secret(cx, fields, "HASURA_GRAPHQL_METRICS_SECRET", "metrics_secret");
    let host = match (
        cx.setting("HASURA_GRAPHQL_SERVER_HOST"),
        fields.and_then(|fields| fields.get("host")),
    ) {
        (Some((host, _)), _) => Some(host),
        (None, Some(node)) => scalars::name(cx, "host", node),
        (None, None) => None,
    };
    let port = port(cx, fields);
    let disabled = fields.and_then(|fields| fields.get("disabled"));
    Admin {
        disabled: disabled
            .and_then(|node| scalars::boolean(cx, "disabled", node))
            .unwrap_or_default(),
        address_is_asked_for: host.is_some() || port.is_some(),
        host: match host.as_deref() {
            Some("*") => "0.0.0.0".to_owned(),
            Some("localhost") => "127.0.0.1".to_owned(),
            Some(host) => host.to_owned(),
            None if admin_secret.is_some() => "0.0.0.0".to_owned(),
            None => "127.0.0.1".to_owned(),
        },
        port: port.unwrap_or(8080),
        admin_secret,
        metrics_secret,
        enabled_apis: apis(cx, fields),
        high_cardinality_labels: high_cardinality_labels(cx, fields),
    }
}

fn secret(cx: &mut Context<'_>, fields: Option<Fields<'_>>, variable: &str, key: &str) -> Option<SecretSource> {
    if let Some((secret, _)) = cx.setting(variable) {
        return Some(SecretSource::Literal(Secret::new(secret)));
    }
    let node = fields?.get(key)?;
    match scalars::secret(cx, key, node) {
        Some(SecretSource::Literal(secret)) if secret.expose().is_empty() => {
            cx.error(&node.place, format!("{key} is empty"));
            Some(unusable())
        }
        // An interface that was meant to be closed must not become open because its secret is missing.
        None => Some(unusable()),
        found => found,
    }
}

/// A file that cannot exist: resolving it fails, so that nobody gets in.
fn unusable() -> SecretSource {
    SecretSource::File(crate::model::SecretFile {
        path: "/nonexistent".into(),
        allowed_prefix: Some("/nonexistent".into()),
    })
}

fn port(cx: &mut Context<'_>, fields: Option<Fields<'_>>) -> Option<u16> {
    if let Some((text, place)) = cx.setting("HASURA_GRAPHQL_SERVER_PORT") {
        let port = text.trim().parse().ok();
        if port.is_none() {
            cx.error(&place, "must be a port number");
        }
        return port;
    }
    let node = fields?.get("port")?;
    scalars::integer(cx, &keys::admin::PORT, node).and_then(|port| u16::try_from(port).ok())
}

fn high_cardinality_labels(cx: &mut Context<'_>, fields: Option<Fields<'_>>) -> bool {
    if let Some((text, place)) = cx.setting("HASURA_GRAPHQL_METRICS_ENABLE_HIGH_CARDINALITY_LABELS") {
        return match text.trim().to_ascii_lowercase().as_str() {
            "true" | "t" | "yes" | "y" => true,
            "false" | "f" | "no" | "n" => false,
            _ => {
                cx.error(&place, "must be true or false");
                true
            }
        };
    }
    let node = fields.and_then(|fields| fields.get("high_cardinality_labels"));
    node.and_then(|node| scalars::boolean(cx, "high_cardinality_labels", node))
        .unwrap_or(true)
}

fn apis(cx: &mut Context<'_>, fields: Option<Fields<'_>>) -> Vec<String> {
    if let Some((text, _)) = cx.setting("HASURA_GRAPHQL_ENABLED_APIS") {
        return text
            .split(',')
            .map(|api| api.trim().to_ascii_lowercase())
            .filter(|api| !api.is_empty())
            .collect();
    }
    let node = fields.and_then(|fields| fields.get("enabled_apis"));
    let names = node.and_then(|node| scalars::names(cx, "enabled_apis", node));
    names.map_or_else(
        || APIS.map(str::to_owned).to_vec(),
        |names| names.into_iter().map(|name| name.value.to_ascii_lowercase()).collect(),
    )
}
