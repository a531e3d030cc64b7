//! Reads everything that is counted, and turns it into samples.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use weir_core::{
    admin::{PoolView, SourceView},
    front::{ClientView, Standing},
    observe::LoginsView,
    registry::Flow,
};

use super::{Samples, process, table::name};
use crate::serve::{control::Control, health::Health};

/// Everything that there is to read.
pub(crate) struct Inputs {
    /// All sources.
    pub(crate) sources: Vec<SourceView>,
    /// All clients.
    pub(crate) clients: Vec<ClientView>,
    /// By listener.
    pub(crate) logins: Vec<(Arc<str>, LoginsView)>,
    /// By source: 0 OK, 1 TIMEOUT, 2 FAILED, 3 ERROR.
    pub(crate) health: Vec<(String, u32)>,
    /// Attempts to apply metadata, by result.
    pub(crate) reloads: [(&'static str, u64); 3],
    /// Whether the last one was refused.
    pub(crate) last_reload_refused: bool,
    /// Of the present metadata.
    pub(crate) resource_version: u64,
    /// When it was applied.
    pub(crate) applied: SystemTime,
    /// When the process started.
    pub(crate) started: SystemTime,
    /// Whether pools of the same source and role are told apart (`HASURA_GRAPHQL_METRICS_ENABLE_HIGH_CARDINALITY_LABELS`).
    pub(crate) high_cardinality: bool,
}

impl Inputs {
    /// What there is to read now.
    pub(crate) fn of(control: &Control) -> Self {
        let (views, state) = (control.views(), control.state());
        let findings = views.health.findings();
        let health = findings.into_iter().map(|(source, finding)| {
            let status = match finding.health {
                Health::Ok => 0,
                Health::Timeout(_) => 1,
                Health::Failed(_) => 2,
                Health::Error(_) => 3,
            };
            (source, status)
        });
        Inputs {
            sources: control.sources(),
            clients: views.clients.views(),
            logins: views.clients.login_views(),
            health: health.collect(),
            reloads: views.reloads.counts(),
            last_reload_refused: views.reloads.was_refused(),
            resource_version: state.resource_version,
            applied: state.applied,
            started: views.started,
            high_cardinality: state.metadata.admin.high_cardinality_labels,
        }
    }
}

/// All samples at this moment. Looks at files of the system: not on a thread that serves.
pub(crate) fn gather(inputs: &Inputs) -> Samples {
    let mut samples = Samples::default();
    for source in &inputs.sources {
        for pool in &source.pools {
            hasura(&mut samples, source, pool, inputs.high_cardinality);
            let database = if inputs.high_cardinality { &*pool.database } else { "" };
            let labels = [&*source.name, pool.role, database];
            connections(&mut samples, pool, labels);
            work(&mut samples, pool, labels);
            pins(&mut samples, pool, labels);
        }
        for (kind, count) in source.refusals.iter().filter(|(_, count)| *count > 0) {
            samples.add(name::REFUSALS, &[&source.name, kind.as_str()], *count);
        }
        if source.inconsistent.is_none() {
            let is_paused = u32::from(source.flow == Flow::Paused);
            samples.add(name::SOURCE_PAUSED, &[&source.name], is_paused);
        }
        if let Some(most) = source.max_clients {
            samples.add(name::MAX_CLIENT_CONNECTIONS, &[&source.name], most);
        }
    }
    for (source, status) in &inputs.health {
        samples.add(name::SOURCE_HEALTH, &[source], *status);
    }
    clients(&mut samples, inputs);
    logins(&mut samples, inputs);
    metadata(&mut samples, inputs);
    of_process(&mut samples, inputs.started);
    samples
}

fn hasura(samples: &mut Samples, source: &SourceView, pool: &PoolView, high_cardinality: bool) {
    let endpoint = if high_cardinality { &*pool.endpoint } else { "" };
    let labels = [&*source.name, endpoint, pool.role];
    let [connections, init_time, wait_time] = match source.kind {
        "mssql" => [name::MSSQL_CONNECTIONS, name::MSSQL_INIT_TIME, name::MSSQL_WAIT_TIME],
        _ => [
            name::POSTGRES_CONNECTIONS,
            name::POSTGRES_INIT_TIME,
            name::POSTGRES_WAIT_TIME,
        ],
    };
    let stats = pool.stats;
    samples.add(connections, &labels, stats.idle + stats.leased + stats.maintenance);
    samples.add(init_time, &labels, &pool.latency.connect);
    samples.add(wait_time, &labels, &pool.latency.wait);
}

fn connections(samples: &mut Samples, pool: &PoolView, labels: [&str; 3]) {
    let (stats, counters) = (pool.stats, pool.stats.counters);
    // A client that keeps its connection may be at work as well; it is the keeping that matters to others.
    let pinned = pool
        .pins
        .iter()
        .map(|(_, pins)| pins.now)
        .sum::<u32>()
        .min(stats.leased);
    for (state, count) in [
        ("idle", stats.idle),
        ("active", stats.leased - pinned),
        ("pinned", pinned),
        ("opening", stats.opening),
        ("resetting", stats.maintenance),
        ("closing", stats.closing),
    ] {
        samples.add(name::POOL_CONNECTIONS, &with(labels, state), count);
    }
    samples.add(name::POOL_MAX_CONNECTIONS, &labels, stats.limit);
    samples.add(name::POOL_WAITING_CLIENTS, &labels, stats.waiting);
    samples.add(name::POOL_LONGEST_WAIT, &labels, stats.longest_wait);
    samples.add(name::POOL_UP, &labels, u32::from(pool.is_up));
    samples.add(name::POOL_LEASES, &labels, counters.leases);
    samples.add(name::POOL_WAITS, &labels, counters.waits);
    samples.add(name::POOL_TIMEOUTS, &labels, counters.timeouts);
    samples.add(name::OPENED, &labels, counters.opened);
    samples.add(name::CLOSED, &labels, counters.closed);
    samples.add(name::OPEN_ERRORS, &labels, counters.open_errors);
    samples.add(name::RESET_TIME, &labels, &pool.latency.reset);
}

fn work(samples: &mut Samples, pool: &PoolView, labels: [&str; 3]) {
    let doings = &pool.doings;
    samples.add(name::TRANSACTIONS, &labels, doings.work.transactions);
    samples.add(name::QUERIES, &labels, doings.work.queries);
    samples.add(name::TRANSACTION_TIME, &labels, &pool.latency.transaction);
    samples.add(name::QUERY_LATENCY, &labels, &pool.latency.query);
    for (part, time) in pool.latency.split.parts() {
        samples.add(name::TIME, &with(labels, part), time);
    }
    samples.add(name::RECEIVED, &labels, doings.from_clients);
    samples.add(name::SENT, &labels, doings.from_servers);
}

/// Only reasons that there were: most never come up.
fn pins(samples: &mut Samples, pool: &PoolView, labels: [&str; 3]) {
    for (reason, pins) in pool.pins.iter().filter(|(_, pins)| pins.total > 0) {
        let labels = with(labels, reason.as_str());
        samples.add(name::PINS, &labels, pins.total);
        samples.add(name::PINNED_CLIENTS, &labels, pins.now);
        samples.add(name::PINNED_TIME, &labels, pins.time);
    }
}

fn clients(samples: &mut Samples, inputs: &Inputs) {
    let mut counts: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    for source in inputs.sources.iter().filter(|source| source.inconsistent.is_none()) {
        counts.extend(Standing::ALL.map(|state| ((&*source.name, state.as_str()), 0)));
    }
    for client in &inputs.clients {
        *counts
            .entry((&client.identity.source, client.standing.as_str()))
            .or_default() += 1;
    }
    for ((source, state), count) in counts {
        samples.add(name::CLIENT_CONNECTIONS, &[source, state], count);
    }
}

fn logins(samples: &mut Samples, inputs: &Inputs) {
    for (listener, logins) in &inputs.logins {
        let refused: u64 = logins.refused.iter().map(|(_, count)| count).sum();
        for (result, count) in [
            ("accepted", logins.accepted.count()),
            ("refused", refused),
            ("cancel_request", logins.cancels),
            ("broken_off", logins.broken_off),
        ] {
            samples.add(name::LOGINS, &[listener, result], count);
        }
        for (kind, count) in logins.refused.iter().filter(|(_, count)| *count > 0) {
            samples.add(name::LOGIN_REFUSALS, &[listener, kind.as_str()], *count);
        }
        samples.add(name::LOGIN_TIME, &[listener], &logins.accepted);
    }
}

fn metadata(samples: &mut Samples, inputs: &Inputs) {
    let inconsistent = inputs.sources.iter().filter(|source| source.inconsistent.is_some());
    let inconsistent = inconsistent.count() as u64;
    let consistent = inputs.sources.len() as u64 - inconsistent;
    samples.add(name::SOURCES, &["consistent"], consistent);
    samples.add(name::SOURCES, &["inconsistent"], inconsistent);
    for (result, count) in &inputs.reloads {
        samples.add(name::RELOADS, &[result], *count);
    }
    samples.add(name::LAST_RELOAD, &[], u32::from(!inputs.last_reload_refused));
    samples.add(name::LAST_RELOAD_TIME, &[], since_epoch(inputs.applied));
    samples.add(name::RESOURCE_VERSION, &[], inputs.resource_version);
    samples.add(name::BUILD, &[env!("CARGO_PKG_VERSION")], 1_u32);
}

fn of_process(samples: &mut Samples, started: SystemTime) {
    let process = process::look();
    if let Some(cpu) = process.cpu {
        samples.add(name::CPU, &[], cpu);
    }
    for (name, value) in [
        (name::RESIDENT, process.resident),
        (name::VIRTUAL, process.virtual_memory),
        (name::OPEN_FILES, process.open_files),
        (name::MAX_FILES, process.max_files),
        (name::THREADS, process.threads),
    ] {
        if let Some(value) = value {
            samples.add(name, &[], value);
        }
    }
    samples.add(name::START_TIME, &[], since_epoch(started));
}

fn with<'a>(labels: [&'a str; 3], more: &'a str) -> [&'a str; 4] {
    [labels[0], labels[1], labels[2], more]
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}
