//! Hasura's `health_check`.

use std::time::Duration;

use crate::{context::Context, fields::Fields, model::HealthCheck, scalars, yaml::Node};

/// Reads a health check; `interval` has to be there.
pub(crate) fn read(cx: &mut Context<'_>, node: &Node) -> Option<HealthCheck> {
    let fields = Fields::of(
        cx,
        node,
        "health_check",
        &["test", "interval", "retries", "retry_interval", "timeout"],
    )?;
    let sql = match fields.get("test") {
        None => Some("SELECT 1".to_owned()),
        Some(node) => sql(cx, node),
    };
    let interval = fields.required(cx, "interval", "health_check");
    let interval = interval.and_then(|node| scalars::seconds(cx, "interval", node, 1.0));
    let retries = match fields.get("retries") {
        None => Some(3),
        Some(node) => scalars::integer(cx, "retries", node, 0..=1000),
    };
    let mut seconds = |key| match fields.get(key) {
        None => Some(Duration::from_secs(10)),
        Some(node) => scalars::seconds(cx, key, node, 0.1),
    };
    let (retry_interval, timeout) = (seconds("retry_interval"), seconds("timeout"));
    Some(HealthCheck {
        sql: sql?,
        interval: interval?,
        retries: retries?,
        retry_interval: retry_interval?,
        timeout: timeout?,
    })
}

fn sql(cx: &mut Context<'_>, node: &Node) -> Option<String> {
    let fields = Fields::of(cx, node, "health_check.test", &["sql"])?;
    let sql = fields.required(cx, "sql", "health_check.test")?;
    scalars::name(cx, "sql", sql)
}
