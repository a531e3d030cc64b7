//! `get_pool_stats`: everything that a person who watches the gateway wants to see, as of this moment. For `weir top`,
//! `weir status` and the page; docs/http.md describes each key.
//!
//! Invariant: no secret, no parameter, no constant of a statement; the lists of clients are bounded.

use std::time::Duration;

use serde_json::{Value, json};
use weir_core::{
    admin::{PoolView, SourceView, time},
    backend::PinReason,
    clock::{self, Instant},
    front::{ClientView, Standing},
    observe::Snapshot,
    pool::{PinCount, pool_of},
    settings::PoolMode,
};

use super::recent::Recent;
use crate::http::Shared;

/// Clients that each list names: those that have been at it longest.
const NAMED: usize = 20;

/// `{}`, or `{"source": name}` for one of them.
pub(super) fn get(shared: &Shared, args: &Value) -> Value {
    let views = shared.control.views();
    let mut clients = views.clients.views();
    clients.sort_by_key(|client| (client.since, client.id));
    let wanted = args.get("source").and_then(Value::as_str);
    let mut sources = shared.control.sources();
    let recent = shared.recent.look(&sources);
    sources.retain(|source| wanted.is_none_or(|name| source.is_called(name)));
    let moment = Moment {
        now: clock::now(),
        clients: &clients,
        recent: &recent,
    };
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "started": time::iso(views.started),
        "now": time::iso(clock::wall()),
        "resource_version": shared.control.state().resource_version,
        "clients": clients.len(),
        "sources": sources.iter().map(|source| moment.source(source)).collect::<Vec<_>>(),
    })
}

struct Moment<'a> {
    now: Instant,
    /// Who has been longest at what it does first.
    clients: &'a [ClientView],
    recent: &'a Recent,
}

impl Moment<'_> {
    fn source(&self, source: &SourceView) -> Value {
        let clients: Vec<_> = self
            .clients
            .iter()
            .filter(|client| client.identity.source == source.name)
            .collect();
        let standing = |wanted: Standing| clients.iter().filter(move |client| client.standing == wanted);
        let pools = || source.pools.iter();
        let sum = |count: fn(&PoolView) -> u64| pools().map(count).sum::<u64>();
        json!({
            "name": &*source.name,
            "kind": source.kind,
            "pool_mode": pools().next().map(|pool| pool_mode(pool.settings.pool_mode)),
            "state": source.state(),
            "reason": source.inconsistent.clone().or_else(|| pools().find_map(|pool| pool.trouble.clone())),
            "disabled": source.is_disabled(),
            "database_names": source.database_names,
            "clients": {
                "connected": source.clients,
                "max": source.max_clients,
                "max_set_in": source.origins.of("max_client_connections"),
                "waiting": standing(Standing::Waiting).count(),
                "active": standing(Standing::Active).count(),
                "idle_in_transaction": standing(Standing::InTransaction).count(),
                "pinned": standing(Standing::Holding).count(),
                "idle": standing(Standing::Idle).count(),
            },
            "totals": {
                "transactions": sum(|pool| pool.doings.work.transactions),
                "queries": sum(|pool| pool.doings.work.queries),
                "timeouts": sum(|pool| pool.stats.counters.timeouts),
                "open_errors": sum(|pool| pool.stats.counters.open_errors),
                "received_bytes": sum(|pool| pool.doings.from_clients),
                "sent_bytes": sum(|pool| pool.doings.from_servers),
            },
            "pools": pools().map(|pool| self.pool(pool, &clients)).collect::<Vec<_>>(),
            "waits": standing(Standing::Waiting).take(NAMED).map(|client| self.client(client)).collect::<Vec<_>>(),
            "transactions": clients
                .iter()
                .filter(|client| matches!(client.standing, Standing::Active | Standing::InTransaction))
                .take(NAMED)
                .map(|client| self.client(client))
                .collect::<Vec<_>>(),
            "pins": self.pins(&clients),
        })
    }

    fn pool(&self, pool: &PoolView, clients: &[&ClientView]) -> Value {
        let (stats, settings) = (&pool.stats, &pool.settings);
        let holds = |client: &&&ClientView| client.server.is_some_and(|server| pool_of(server) == pool.number);
        let held = |standing: Standing| {
            let holders = clients.iter().filter(holds);
            holders.filter(|client| client.standing == standing).count()
        };
        // Of the two that go together, the one that decided.
        let limit = match settings.origins.0.contains_key("total_max_connections") {
            true => "total_max_connections",
            false => "max_connections",
        };
        let (thinking, pinned) = (held(Standing::InTransaction), held(Standing::Holding));
        json!({
            "database": pool.database,
            "role": pool.role,
            "trouble": pool.trouble,
            "limit": { "value": stats.limit, "name": limit, "set_in": settings.origins.of(limit) },
            "overflow_connections": settings.overflow_connections,
            "min_connections": settings.min_connections,
            "open": stats.total(),
            "idle": stats.idle,
            "active": (stats.leased as usize).saturating_sub(thinking + pinned),
            "idle_in_transaction": thinking,
            "pinned": pinned,
            "resetting": stats.maintenance,
            "opening": stats.opening,
            "closing": stats.closing,
            "close_needed": stats.outdated,
            "waiting": stats.waiting,
            "longest_wait": seconds(stats.longest_wait),
            "totals": totals(pool),
            "latency": {
                "wait": latency(&pool.latency.wait),
                "connect": latency(&pool.latency.connect),
                "reset": latency(&pool.latency.reset),
                "transaction": latency(&pool.latency.transaction),
                "query": latency(&pool.latency.query),
            },
            "time": pool.latency.split.parts().into_iter().map(|(part, time)| (part.to_owned(), seconds(time))).collect::<Value>(),
            "recent": self.recent.of(pool),
            "pins": pool.pins.iter().filter_map(pin_count).collect::<Vec<_>>(),
        })
    }

    fn client(&self, client: &ClientView) -> Value {
        let identity = &client.identity;
        json!({
            "client_id": client.id,
            "user": &*identity.user,
            "address": identity.peer.to_string(),
            "application_name": &*identity.application_name,
            "listener": &*identity.listener,
            "state": client.standing.as_str(),
            "seconds": seconds(self.now.duration_since(client.since)),
            "server_id": client.server,
        })
    }

    /// Those that have been pinned longest first.
    fn pins(&self, clients: &[&ClientView]) -> Vec<Value> {
        let mut pins: Vec<_> = clients
            .iter()
            .filter_map(|client| Some((client.pin.as_ref()?, client)))
            .collect();
        pins.sort_by_key(|(pin, client)| (pin.since, client.id));
        let pins = pins.into_iter().take(NAMED);
        pins.map(|(pin, client)| {
            let mut told = self.client(client);
            told["reason"] = pin.reason.as_str().into();
            told["pinned_seconds"] = seconds(self.now.duration_since(pin.since));
            told["statement"] = pin.statement.as_deref().into();
            told
        })
        .collect()
    }
}

fn totals(pool: &PoolView) -> Value {
    let (doings, counters) = (&pool.doings, &pool.stats.counters);
    json!({
        "transactions": doings.work.transactions,
        "queries": doings.work.queries,
        "received_bytes": doings.from_clients,
        "sent_bytes": doings.from_servers,
        "leases": counters.leases,
        "waits": counters.waits,
        "timeouts": counters.timeouts,
        "opened": counters.opened,
        "closed": counters.closed,
        "open_errors": counters.open_errors,
    })
}

fn pin_count((reason, pins): &(PinReason, PinCount)) -> Option<Value> {
    let count =
        json!({ "reason": reason.as_str(), "now": pins.now, "total": pins.total, "seconds": seconds(pins.time) });
    (pins.total > 0).then_some(count)
}

/// In seconds.
pub(super) fn latency(times: &Snapshot) -> Value {
    json!({
        "count": times.count(),
        "mean": seconds(times.mean()),
        "p50": seconds(times.quantile(0.5)),
        "p90": seconds(times.quantile(0.9)),
        "p95": seconds(times.quantile(0.95)),
        "p99": seconds(times.quantile(0.99)),
    })
}

fn seconds(time: Duration) -> Value {
    // A microsecond is as fine as anything here is measured.
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    (micros as f64 / 1e6).into()
}

fn pool_mode(mode: PoolMode) -> &'static str {
    match mode {
        PoolMode::Transaction => "transaction",
        PoolMode::Session => "session",
        PoolMode::Statement => "statement",
    }
}
