//! Hasura's `health_check`.

use std::time::Duration;

use crate::{
    context::Context,
    fields::Fields,
    keys::{
        Key,
        source::{HEALTH_CHECK, HEALTH_INTERVAL, HEALTH_RETRIES, HEALTH_RETRY_INTERVAL, HEALTH_TEST, HEALTH_TIMEOUT},
    },
    model::HealthCheck,
    scalars,
    yaml::Node,
};

/// Reads a health check; `interval` has to be there.
pub(crate) fn read(cx: &mut Context<'_>, node: &Node) -> Option<HealthCheck> {
    let fields = Fields::of(cx, node, "health_check", &HEALTH_CHECK)?;
    let sql = match fields.get("test") {
        None => Some("SELECT 1".to_owned()),
        Some(node) => sql(cx, node),
    };
    let interval = fields.required(cx, "interval", "health_check");
    let interval = interval.and_then(|node| scalars::seconds(cx, &HEALTH_INTERVAL, node));
    let retries = match fields.get("retries") {
        None => Some(3),
        Some(node) => scalars::integer(cx, &HEALTH_RETRIES, node),
    };
    let mut seconds = |key: &Key| match fields.get(key.name) {
        None => Some(Duration::from_secs(10)),
        Some(node) => scalars::seconds(cx, key, node),
    };
    let (retry_interval, timeout) = (seconds(&HEALTH_RETRY_INTERVAL), seconds(&HEALTH_TIMEOUT));
    Some(HealthCheck {
        sql: sql?,
        interval: interval?,
        retries: retries?,
        retry_interval: retry_interval?,
        timeout: timeout?,
    })
}

fn sql(cx: &mut Context<'_>, node: &Node) -> Option<String> {
    let fields = Fields::of(cx, node, "health_check.test", &HEALTH_TEST)?;
    let sql = fields.required(cx, "sql", "health_check.test")?;
    scalars::name(cx, "sql", sql)
}
