//! What `get_pool_stats` answers, as far as the command line shows it. Pure.
//!
//! Lenient: what another version leaves out is 0 or empty, so that an older `weir` can look at a newer gateway.

use serde_json::Value;

/// One look at a gateway.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Snapshot {
    pub(crate) version: String,
    pub(crate) clients: u64,
    pub(crate) sources: Vec<Source>,
}

/// One source.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) pool_mode: String,
    pub(crate) state: String,
    /// What is wrong with it.
    pub(crate) reason: Option<String>,
    pub(crate) disabled: bool,
    pub(crate) clients: u64,
    pub(crate) waiting: u64,
    pub(crate) transactions: u64,
    pub(crate) queries: u64,
    pub(crate) pools: Vec<Pool>,
    pub(crate) pins: Vec<Holder>,
    pub(crate) waits: Vec<Holder>,
}

/// One pool of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Pool {
    pub(crate) limit: u64,
    pub(crate) limit_set_in: String,
    pub(crate) open: u64,
    pub(crate) idle: u64,
    /// With a client that runs something or is in a transaction.
    pub(crate) active: u64,
    pub(crate) pinned: u64,
    pub(crate) longest_wait: f64,
    pub(crate) wait: Percentiles,
    pub(crate) query: Percentiles,
}

/// Seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Percentiles {
    pub(crate) count: u64,
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
}

/// A client that keeps others waiting, or waits.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Holder {
    pub(crate) client: u64,
    pub(crate) user: String,
    pub(crate) address: String,
    pub(crate) application: String,
    pub(crate) seconds: f64,
    /// Of a pin.
    pub(crate) reason: String,
    /// Of a pin: what caused it, without its constants.
    pub(crate) statement: String,
}

impl Snapshot {
    /// Reads an answer.
    pub(crate) fn of(answer: &Value) -> Self {
        Snapshot {
            version: text(answer, "version"),
            clients: number(answer, "clients"),
            sources: list(answer, "sources").map(source).collect(),
        }
    }
}

impl Source {
    /// Server connections in whatever state.
    pub(crate) fn open(&self) -> u64 {
        self.sum(|pool| pool.open)
    }

    /// One number of all pools together.
    pub(crate) fn sum(&self, of: impl Fn(&Pool) -> u64) -> u64 {
        self.pools.iter().map(of).sum()
    }

    /// Of all pools, what is worst.
    pub(crate) fn worst(&self, of: impl Fn(&Pool) -> f64) -> f64 {
        self.pools.iter().map(of).fold(0.0, f64::max)
    }

    /// Whether `weir resume` would change something.
    pub(crate) fn is_paused(&self) -> bool {
        matches!(self.state.as_str(), "paused" | "pausing")
    }

    /// Whether it serves, and without trouble.
    pub(crate) fn is_well(&self) -> bool {
        self.state == "running" && self.reason.is_none() && !self.disabled
    }

    /// Its state as it is shown.
    pub(crate) fn shown_state(&self) -> &str {
        match (self.state.as_str(), &self.reason, self.disabled) {
            ("running", Some(_), _) => "trouble",
            ("running", None, true) => "disabled",
            (state, ..) => state,
        }
    }
}

fn source(value: &Value) -> Source {
    let (clients, totals) = (&value["clients"], &value["totals"]);
    Source {
        name: text(value, "name"),
        kind: text(value, "kind"),
        pool_mode: text(value, "pool_mode"),
        state: text(value, "state"),
        reason: value["reason"].as_str().map(str::to_owned),
        disabled: value["disabled"] == true,
        clients: number(clients, "connected"),
        waiting: number(clients, "waiting"),
        transactions: number(totals, "transactions"),
        queries: number(totals, "queries"),
        pools: list(value, "pools").map(pool).collect(),
        pins: list(value, "pins").map(holder).collect(),
        waits: list(value, "waits").map(holder).collect(),
    }
}

fn pool(value: &Value) -> Pool {
    // What happened lately, when somebody has asked before; else since the start.
    let times = match &value["recent"] {
        Value::Object(_) => &value["recent"],
        _ => &value["latency"],
    };
    Pool {
        limit: number(&value["limit"], "value"),
        limit_set_in: text(&value["limit"], "set_in"),
        open: number(value, "open"),
        idle: number(value, "idle"),
        active: number(value, "active") + number(value, "idle_in_transaction"),
        pinned: number(value, "pinned"),
        longest_wait: value["longest_wait"].as_f64().unwrap_or_default(),
        wait: percentiles(&times["wait"]),
        query: percentiles(&times["query"]),
    }
}

fn percentiles(value: &Value) -> Percentiles {
    let seconds = |key: &str| value[key].as_f64().unwrap_or_default();
    Percentiles {
        count: number(value, "count"),
        p50: seconds("p50"),
        p95: seconds("p95"),
        p99: seconds("p99"),
    }
}

fn holder(value: &Value) -> Holder {
    let pinned = value["pinned_seconds"].as_f64();
    Holder {
        client: number(value, "client_id"),
        user: text(value, "user"),
        address: text(value, "address"),
        application: text(value, "application_name"),
        seconds: pinned.or(value["seconds"].as_f64()).unwrap_or_default(),
        reason: text(value, "reason"),
        statement: text(value, "statement"),
    }
}

fn list<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    value[key].as_array().into_iter().flatten()
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_default()
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

/// Seconds as a person reads them: `850us`, `12ms`, `3.1s`, `4m`, `2h`.
pub(crate) fn duration(seconds: f64) -> String {
    match seconds {
        0.0 => "-".to_owned(),
        s if s < 0.001 => format!("{:.0}us", s * 1e6),
        s if s < 1.0 => format!("{:.0}ms", s * 1e3),
        s if s < 10.0 => format!("{s:.1}s"),
        s if s < 120.0 => format!("{s:.0}s"),
        s if s < 7200.0 => format!("{:.0}m", s / 60.0),
        s => format!("{:.0}h", s / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        let shown = [0.0, 0.00085, 0.0124, 3.12, 42.0, 240.0, 7200.0].map(duration);
        assert_eq!(shown, ["-", "850us", "12ms", "3.1s", "42s", "4m", "2h"]);
    }

    #[test]
    fn what_is_not_there_is_nothing() {
        let snapshot = Snapshot::of(&serde_json::json!({ "sources": [{ "name": "a", "pools": [{}] }] }));
        assert_eq!(snapshot.sources[0].open(), 0);
        assert!(!snapshot.sources[0].is_well());
        assert_eq!(Snapshot::of(&Value::Null), Snapshot::default());
    }
}
