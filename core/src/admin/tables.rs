//! The tables of the console. docs/admin.md explains each column.

use std::{collections::HashMap, time::Duration};

use super::{Cell, Column, Console, Kind, Role, SourceView, Table, Topic, command::Command, overview, time};
use crate::{
    clock::{self, Instant},
    front::{ClientView, Standing},
    net::Peer,
    pool::engine::Stage,
    registry::Flow,
    settings::{PoolMode, PoolSettings, ServerReset, Timeouts},
};

pub(super) const fn text(name: &'static str) -> Column {
    Column { name, kind: Kind::Text }
}

pub(super) const fn number(name: &'static str) -> Column {
    Column {
        name,
        kind: Kind::Integer,
    }
}

const POOLS: &[Column] = &[
    text("database"),
    text("user"),
    number("cl_active"),
    number("cl_waiting"),
    number("sv_active"),
    number("sv_idle"),
    number("sv_tested"),
    number("sv_login"),
    number("maxwait"),
    number("maxwait_us"),
    text("pool_mode"),
    number("sv_pinned"),
    number("sv_closing"),
    number("max_connections"),
    text("source"),
];
const CLIENTS: &[Column] = &[
    text("type"),
    text("user"),
    text("database"),
    text("state"),
    text("addr"),
    number("port"),
    text("connect_time"),
    text("request_time"),
    number("wait"),
    number("wait_us"),
    number("link"),
    text("tls"),
    number("id"),
    text("listener"),
    text("pin_reason"),
    text("pinned_since"),
    text("pin_statement"),
    text("application_name"),
];
const SERVERS: &[Column] = &[
    text("type"),
    text("database"),
    text("state"),
    text("connect_time"),
    number("idle_us"),
    number("link"),
    text("user"),
    number("id"),
    number("remote_pid"),
    number("close_needed"),
    text("application_name"),
];
pub(super) const STATS: &[Column] = &[
    text("database"),
    number("total_server_assignment_count"),
    number("total_xact_count"),
    number("total_query_count"),
    number("total_received"),
    number("total_sent"),
    number("total_xact_time"),
    number("total_query_time"),
    number("total_wait_time"),
    number("avg_xact_time"),
    number("avg_query_time"),
    number("avg_wait_time"),
    number("total_server_opened_count"),
    number("total_server_closed_count"),
    number("total_server_error_count"),
];
const PINS: &[Column] = &[
    number("id"),
    text("user"),
    text("database"),
    text("reason"),
    text("since"),
    number("pinned_us"),
    text("statement"),
    number("link"),
];
const PIN_TOTALS: &[Column] = &[
    text("database"),
    text("reason"),
    number("pins"),
    number("pinned"),
    number("pinned_time"),
];
const WAITS: &[Column] = &[
    text("database"),
    number("cl_waiting"),
    number("maxwait"),
    number("maxwait_us"),
    number("total_wait_count"),
    number("total_wait_time"),
    number("avg_wait_time"),
    number("total_timeout_count"),
    number("sv_in_use"),
    number("max_connections"),
    text("max_connections_set_in"),
    text("reason"),
];
const DATABASES: &[Column] = &[
    text("name"),
    text("kind"),
    text("state"),
    text("reason"),
    text("database_names"),
    number("pool_size"),
    number("min_pool_size"),
    number("reserve_pool_size"),
    text("pool_mode"),
    number("current_connections"),
    number("max_client_connections"),
    number("current_client_connections"),
    number("paused"),
    number("disabled"),
];
const CONFIG: &[Column] = &[
    text("key"),
    text("value"),
    text("default"),
    text("changeable"),
    text("set_in"),
];
const HELP: &[Column] = &[text("command"), text("role"), text("what")];
const VERSION: &[Column] = &[text("version")];

pub(super) fn columns(topic: Topic) -> &'static [Column] {
    match topic {
        Topic::Clients => CLIENTS,
        Topic::Config => CONFIG,
        Topic::Databases => DATABASES,
        Topic::Help => HELP,
        Topic::Lists => overview::LISTS,
        Topic::Pins => PINS,
        Topic::PinTotals => PIN_TOTALS,
        Topic::Pools => POOLS,
        Topic::Servers => SERVERS,
        Topic::State => overview::STATE,
        Topic::Stats => STATS,
        Topic::StatsAverages => overview::averages(),
        Topic::StatsTotals => overview::totals(),
        Topic::Users => overview::USERS,
        Topic::Version => VERSION,
        Topic::Waits => WAITS,
    }
}

pub(super) type Rows = Vec<Vec<Cell>>;

impl Console {
    pub(super) fn table(&self, topic: Topic) -> Table {
        let rows = match topic {
            Topic::Clients => self.client_views().iter().map(client).collect(),
            Topic::Config => self.sources().iter().flat_map(config).collect(),
            Topic::Databases => self.sources().iter().map(database).collect(),
            Topic::Help => help(),
            Topic::Lists => self.lists(),
            Topic::Pins => self.client_views().iter().filter_map(pin).collect(),
            Topic::PinTotals => self.sources().iter().flat_map(pin_totals).collect(),
            Topic::Pools => pools(&self.sources(), &self.clients.views()),
            Topic::Servers => servers(&self.sources(), &self.clients.views()),
            Topic::State => self.state(),
            Topic::Stats => self.stats(),
            Topic::StatsAverages => overview::pick(overview::averages(), STATS, self.stats()),
            Topic::StatsTotals => overview::pick(overview::totals(), STATS, self.stats()),
            Topic::Users => self.users(),
            Topic::Version => vec![vec![say(format!("Weir {}", self.version))]],
            Topic::Waits => self.sources().iter().flat_map(waits).collect(),
        };
        Table {
            columns: columns(topic),
            rows,
        }
    }

    fn stats(&self) -> Rows {
        self.sources().iter().flat_map(stats).collect()
    }

    /// Who has been here longest first.
    fn client_views(&self) -> Vec<ClientView> {
        let mut clients = self.clients.views();
        clients.sort_by_key(|client| (client.connected, client.id));
        clients
    }
}

fn client(client: &ClientView) -> Vec<Cell> {
    let (address, port) = address(client.identity.peer);
    let waiting = match client.standing {
        Standing::Waiting => since(client.since),
        Standing::Idle | Standing::Active | Standing::InTransaction | Standing::Holding => Duration::ZERO,
    };
    let pin = client.pin.as_ref();
    vec![
        say("C"),
        say(&*client.identity.user),
        say(&*client.identity.source),
        say(client.standing.as_str()),
        say(address),
        port.map_or(Cell::Null, count),
        say(time::wall(client.connected)),
        say(time::wall(client.since)),
        count(waiting.as_secs()),
        count(waiting.subsec_micros()),
        client.server.map_or(Cell::Null, count),
        say(if client.identity.encrypted { "TLS" } else { "" }),
        count(client.id),
        say(&*client.identity.listener),
        pin.map_or(Cell::Null, |pin| say(pin.reason.as_str())),
        pin.map_or(Cell::Null, |pin| say(time::wall(pin.since))),
        pin.and_then(|pin| pin.statement.as_deref()).map_or(Cell::Null, say),
        say(&*client.identity.application_name),
    ]
}

fn pin(client: &ClientView) -> Option<Vec<Cell>> {
    let pin = client.pin.as_ref()?;
    Some(vec![
        count(client.id),
        say(&*client.identity.user),
        say(&*client.identity.source),
        say(pin.reason.as_str()),
        say(time::wall(pin.since)),
        micros(since(pin.since)),
        pin.statement.as_deref().map_or(Cell::Null, say),
        client.server.map_or(Cell::Null, count),
    ])
}

fn pin_totals(source: &SourceView) -> Rows {
    let pools = source.pools.iter();
    let rows = pools.flat_map(|pool| {
        pool.pins.iter().map(|(reason, pins)| {
            vec![
                say(&*pool.database),
                say(reason.as_str()),
                count(pins.total),
                count(pins.now),
                micros(pins.time),
            ]
        })
    });
    rows.collect()
}

fn pools(sources: &[SourceView], clients: &[ClientView]) -> Rows {
    let mut rows = Vec::new();
    for source in sources {
        for (index, pool) in source.pools.iter().enumerate() {
            // Who holds nothing, and waits for nothing, belongs to the primary's pool.
            let is_active = |client: &&ClientView| match (client.server, client.standing) {
                (Some(server), _) => crate::pool::pool_of(server) == pool.number,
                (None, Standing::Waiting) => false,
                (None, _) => index == 0 && client.identity.source == source.name,
            };
            let stats = pool.stats;
            let pinned: u32 = pool.pins.iter().map(|(_, pins)| pins.now).sum();
            rows.push(vec![
                say(&*pool.database),
                say("*"),
                count(clients.iter().filter(is_active).count() as u64),
                count(stats.waiting),
                count(stats.leased),
                count(stats.idle),
                count(stats.maintenance),
                count(stats.opening),
                count(stats.longest_wait.as_secs()),
                count(stats.longest_wait.subsec_micros()),
                say(mode(pool.settings.pool_mode)),
                count(pinned),
                count(stats.closing),
                count(stats.limit),
                say(&*source.name),
            ]);
        }
    }
    rows
}

fn servers(sources: &[SourceView], clients: &[ClientView]) -> Rows {
    let holders: HashMap<u64, &ClientView> = clients
        .iter()
        .filter_map(|client| Some((client.server?, client)))
        .collect();
    let pools = sources.iter().flat_map(|source| &source.pools);
    let rows = pools.flat_map(|pool| {
        let holders = &holders;
        pool.connections.iter().map(move |connection| {
            let holder = connection.number.and_then(|number| holders.get(&number));
            let state = match connection.stage {
                Stage::Vacant | Stage::Closing => "closing",
                Stage::Opening => "login",
                Stage::Idle { .. } => "idle",
                Stage::Maintenance => "tested",
                Stage::Leased if holder.is_some_and(|holder| holder.standing == Standing::Holding) => "pinned",
                Stage::Leased => "active",
            };
            let began = clock::now().checked_sub(connection.age);
            vec![
                say("S"),
                say(&*pool.database),
                say(state),
                began.map_or(Cell::Null, |began| say(time::wall(began))),
                micros(connection.rest),
                holder.map_or(Cell::Null, |holder| count(holder.id)),
                holder.map_or(Cell::Null, |holder| say(&*holder.identity.user)),
                connection.number.map_or(Cell::Null, count),
                connection.process.map_or(Cell::Null, count),
                count(u64::from(connection.is_unwanted)),
                say(holder.map_or("", |holder| &*holder.identity.application_name)),
            ]
        })
    });
    rows.collect()
}

fn stats(source: &SourceView) -> Rows {
    let rows = source.pools.iter().map(|pool| {
        let (doings, counters) = (&pool.doings, &pool.stats.counters);
        vec![
            say(&*pool.database),
            count(counters.leases),
            count(doings.work.transactions),
            count(doings.work.queries),
            count(doings.from_clients),
            count(doings.from_servers),
            micros(doings.transaction_time),
            micros(doings.query_time),
            micros(counters.wait_time),
            average(doings.transaction_time, doings.work.transactions),
            average(doings.query_time, doings.work.queries),
            average(counters.wait_time, counters.waits),
            count(counters.opened),
            count(counters.closed),
            count(counters.open_errors),
        ]
    });
    rows.collect()
}

fn waits(source: &SourceView) -> Rows {
    let rows = source.pools.iter().map(|pool| {
        let (stats, counters) = (&pool.stats, &pool.stats.counters);
        vec![
            say(&*pool.database),
            count(stats.waiting),
            count(stats.longest_wait.as_secs()),
            count(stats.longest_wait.subsec_micros()),
            count(counters.waits),
            micros(counters.wait_time),
            average(counters.wait_time, counters.waits),
            count(counters.timeouts),
            count(stats.leased + stats.maintenance + stats.opening + stats.closing),
            count(stats.limit),
            say(limit_origin(&pool.settings)),
            pool.wait_reason.as_deref().map_or(Cell::Null, say),
        ]
    });
    rows.collect()
}

fn database(source: &SourceView) -> Vec<Cell> {
    let primary = source.pools.first().map(|pool| &pool.settings);
    let of_primary = |value: fn(&PoolSettings) -> Cell| primary.map_or(Cell::Null, |settings| value(settings));
    let connections: u32 = source.pools.iter().map(|pool| pool.connections.len() as u32).sum();
    vec![
        say(&*source.name),
        say(source.kind),
        say(match source.state() {
            "running" => "ok",
            other => other,
        }),
        source.inconsistent.as_deref().map_or(Cell::Null, say),
        say(source.database_names.join(",")),
        of_primary(|settings| count(settings.max_connections)),
        of_primary(|settings| count(settings.min_connections)),
        of_primary(|settings| count(settings.overflow_connections)),
        of_primary(|settings| say(mode(settings.pool_mode))),
        count(connections),
        source.max_clients.map_or(Cell::Null, count),
        count(source.clients),
        count(u64::from(source.flow == Flow::Paused)),
        count(u64::from(source.is_disabled())),
    ]
}

fn config(source: &SourceView) -> Rows {
    let mut rows = Vec::new();
    for pool in &source.pools {
        let (now, usual) = (pool_settings(&pool.settings), pool_settings(&PoolSettings::default()));
        for ((name, value), (_, default)) in now.into_iter().zip(usual) {
            let set_in = match name {
                "max_connections" => limit_origin(&pool.settings),
                name => pool.settings.origins.of(name),
            };
            rows.push(setting(&pool.database, name, value, default, set_in));
        }
    }
    if source.inconsistent.is_none() {
        let (now, usual) = (time_limits(&source.timeouts), time_limits(&Timeouts::default()));
        for ((name, value), (_, default)) in now.into_iter().zip(usual) {
            rows.push(setting(&source.name, name, value, default, source.origins.of(name)));
        }
    }
    rows
}

fn setting(database: &str, name: &str, value: String, default: String, set_in: &str) -> Vec<Cell> {
    let key = format!("{database}.{name}");
    // Everything that is shown here is taken from the metadata again whenever they change.
    vec![say(key), say(value), say(default), say("yes"), say(set_in)]
}

fn pool_settings(settings: &PoolSettings) -> [(&'static str, String); 11] {
    [
        ("max_connections", settings.max_connections.to_string()),
        ("overflow_connections", settings.overflow_connections.to_string()),
        ("min_connections", settings.min_connections.to_string()),
        ("idle_timeout", seconds(settings.idle_timeout)),
        ("connection_lifetime", seconds(settings.connection_lifetime)),
        ("pool_timeout", seconds(settings.pool_timeout)),
        ("retries", settings.retries.to_string()),
        ("connect_timeout", seconds(Some(settings.connect_timeout))),
        ("pool_mode", mode(settings.pool_mode).to_owned()),
        (
            "server_reset",
            match settings.server_reset {
                ServerReset::Auto => "auto",
                ServerReset::Always => "always",
                ServerReset::Never => "never",
            }
            .to_owned(),
        ),
        ("max_prepared_statements", settings.max_prepared_statements.to_string()),
    ]
}

fn time_limits(timeouts: &Timeouts) -> [(&'static str, String); 4] {
    [
        ("query_timeout", seconds(timeouts.query)),
        ("idle_in_transaction_timeout", seconds(timeouts.idle_in_transaction)),
        ("transaction_timeout", seconds(timeouts.transaction)),
        ("client_idle_timeout", seconds(timeouts.client_idle)),
    ]
}

fn help() -> Rows {
    let row = |command: Command| {
        let role = match Role::Stats.may(&command) {
            true => "stats, admin",
            false => "admin",
        };
        vec![say(command.usage()), say(role), say(command.about())]
    };
    Command::samples().into_iter().map(row).collect()
}

/// The words of the refusal that a client gets when the limit is reached.
pub(super) fn limit_origin(settings: &PoolSettings) -> &str {
    let total = "total_max_connections";
    match settings.origins.0.contains_key(total) {
        true => settings.origins.of(total),
        false => settings.origins.of("max_connections"),
    }
}

pub(super) fn address(peer: Peer) -> (String, Option<u16>) {
    match peer {
        Peer::Tcp(address) | Peer::Proxied(Some(address)) => (address.ip().to_string(), Some(address.port())),
        Peer::Unix => ("unix".to_owned(), None),
        Peer::Proxied(None) => ("proxy".to_owned(), None),
    }
}

pub(super) fn mode(mode: PoolMode) -> &'static str {
    match mode {
        PoolMode::Transaction => "transaction",
        PoolMode::Session => "session",
        PoolMode::Statement => "statement",
    }
}

fn seconds(time: Option<Duration>) -> String {
    time.map_or_else(|| "null".to_owned(), |time| time.as_secs_f64().to_string())
}

fn since(moment: Instant) -> Duration {
    clock::now().duration_since(moment)
}

pub(super) fn say(text: impl Into<String>) -> Cell {
    Cell::Text(text.into())
}

pub(super) fn count(number: impl Into<u64>) -> Cell {
    Cell::Integer(i64::try_from(number.into()).unwrap_or(i64::MAX))
}

fn micros(time: Duration) -> Cell {
    Cell::Integer(i64::try_from(time.as_micros()).unwrap_or(i64::MAX))
}

fn average(time: Duration, times: u64) -> Cell {
    let average = time.as_micros().checked_div(u128::from(times)).unwrap_or(0);
    Cell::Integer(i64::try_from(average).unwrap_or(i64::MAX))
}
