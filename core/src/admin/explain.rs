//! EXPLAIN POOL: why clients wait, who holds what and why, and what to do about it. Pure: views in, rows out.
//!
//! Invariant: every sentence follows from numbers that stand in the rows around it; nothing is guessed.

use std::{collections::HashMap, time::Duration};

use super::{Cell, Column, Console, Kind, PoolView, Problem, SourceView, Table};
use crate::{
    clock::{self, Instant},
    front::{ClientView, Standing},
    pool::pool_of,
    registry::{Admission, Flow},
    settings::Origins,
};

/// Of its answer.
pub(super) const COLUMNS: &[Column] = &[
    Column {
        name: "pool",
        kind: Kind::Text,
    },
    Column {
        name: "subject",
        kind: Kind::Text,
    },
    Column {
        name: "number",
        kind: Kind::Integer,
    },
    Column {
        name: "words",
        kind: Kind::Text,
    },
];

/// Clients of each kind that are named: those that have been at it longest.
const NAMED: usize = 5;

impl Console {
    /// Of the source of this name, or that a database of this name leads to.
    pub(super) fn explain(&self, name: &str) -> Result<Table, Problem> {
        let sources = self.sources();
        let by_name = sources.iter().find(|source| *source.name == *name);
        let by_database = || sources.iter().find(|source| source.is_called(name));
        let source = by_name.or_else(by_database);
        let source = source.ok_or_else(|| Problem::NoSuchSource(name.chars().take(60).collect()))?;
        let mut clients = self.clients.views();
        clients.retain(|client| client.identity.source == source.name);
        clients.sort_by_key(|client| (client.since, client.id));
        Ok(Table {
            columns: COLUMNS,
            rows: Explanation::of(source, &clients, clock::now()).rows,
        })
    }
}

struct Explanation<'a> {
    source: &'a SourceView,
    /// Those of the source, who has been longest at what it does first.
    clients: &'a [ClientView],
    now: Instant,
    rows: Vec<Vec<Cell>>,
}

impl<'a> Explanation<'a> {
    fn of(source: &'a SourceView, clients: &'a [ClientView], now: Instant) -> Self {
        let mut explanation = Explanation {
            source,
            clients,
            now,
            rows: Vec::new(),
        };
        explanation.of_source();
        source.pools.iter().for_each(|pool| explanation.of_pool(pool));
        explanation
    }

    fn of_source(&mut self) {
        let source = self.source;
        if let Some(reason) = &source.inconsistent {
            self.say(&source.name, "verdict", None, format!("does not serve: {reason}"));
            let advice = "correct its metadata; it heals by itself, \"weir check\" lists every problem";
            self.say(&source.name, "advice", None, advice);
        }
        if source.admission == Admission::Disabled {
            let verdict = "disabled: takes no new clients until ENABLE; those that are there are served";
            self.say(&source.name, "verdict", None, verdict);
        }
    }

    fn of_pool(&mut self, pool: &PoolView) {
        let holders = Holders::of(pool, self.clients);
        self.say(&pool.database, "verdict", None, self.verdict(pool, &holders));
        self.numbers(pool, &holders);
        for client in holders.all.iter().take(NAMED) {
            let words = format!("{}: {}", who(client), self.doing(client));
            self.say(&pool.database, "holder", Some(client.id.into()), words);
        }
        if self.is_primary(pool) {
            let waiting = self
                .clients
                .iter()
                .filter(|client| client.standing == Standing::Waiting);
            for client in waiting.take(NAMED) {
                let words = format!("{}: {}", who(client), self.doing(client));
                self.say(&pool.database, "waiter", Some(client.id.into()), words);
            }
        }
        self.say(&pool.database, "advice", None, self.advice(pool, &holders));
    }

    /// In one sentence.
    fn verdict(&self, pool: &PoolView, holders: &Holders<'_>) -> String {
        let stats = &pool.stats;
        let waits = match stats.waiting {
            0 => "nobody waits".to_owned(),
            1 => format!("1 client waits, for {}", lasting(stats.longest_wait)),
            many => format!("{many} clients wait, the first for {}", lasting(stats.longest_wait)),
        };
        if self.source.flow == Flow::Paused {
            return match stats.total() {
                0 => format!("paused, and at rest: {waits}"),
                left => format!("paused, not yet at rest: {left} server connections are left; {waits}"),
            };
        }
        if let Some(trouble) = &pool.trouble {
            return format!("{waits}: no server connection can be opened: {trouble}");
        }
        let of_user = self.waiting_for_their_user();
        if stats.waiting == 0 && self.is_primary(pool) && of_user > 0 {
            return format!("{of_user} clients wait for users[].max_connections of their user, not for this pool");
        }
        let taken = stats.total() - stats.idle;
        match stats.waiting {
            0 => waits,
            _ if taken >= stats.limit => format!(
                "{waits}: all {} server connections are taken, {} of them by clients that are idle in a transaction and \
                 {} by clients that are pinned",
                stats.limit, holders.thinking, holders.pinned
            ),
            _ => format!("{waits}: server connections are being opened"),
        }
    }

    fn numbers(&mut self, pool: &PoolView, holders: &Holders<'_>) {
        let (stats, settings) = (&pool.stats, &pool.settings);
        let limit = super::tables::limit_origin(settings);
        let mut words = format!("max_connections, set in {limit}");
        if settings.overflow_connections > 0 {
            let overflow = settings.overflow_connections;
            let set_in = settings.origins.of("overflow_connections");
            words += &format!("; overflow_connections = {overflow} beyond it, set in {set_in}");
        }
        self.say(&pool.database, "limit", Some(stats.limit.into()), words);
        let leased = format!(
            "with clients: {} at work, {} idle in a transaction, {} pinned between transactions",
            holders.all.len() as u64 - holders.thinking - holders.pinned,
            holders.thinking,
            holders.pinned
        );
        self.say(&pool.database, "in use", Some(stats.leased.into()), leased);
        for (subject, number, words) in [
            ("idle", stats.idle, "at rest, for whoever comes next"),
            ("opening", stats.opening, "logging in"),
            ("resetting", stats.maintenance, "being reset between two clients"),
            (
                "closing",
                stats.closing,
                "they count for the limit until the database has let go of them",
            ),
        ] {
            self.say(&pool.database, subject, Some(number.into()), words);
        }
        let timeout = setting("pool_timeout", settings.pool_timeout, &settings.origins);
        let words = match stats.waiting {
            0 => format!("for a server connection; {timeout}"),
            _ => format!("the first for {}; {timeout}", lasting(stats.longest_wait)),
        };
        self.say(&pool.database, "waiting", Some(stats.waiting.into()), words);
        for (reason, pins) in pool.pins.iter().filter(|(_, pins)| pins.now > 0) {
            let words = format!("pinned: {}", reason.as_str());
            self.say(&pool.database, "pin", Some(pins.now.into()), words);
        }
    }

    /// What to do, the most effective first.
    fn advice(&self, pool: &PoolView, holders: &Holders<'_>) -> String {
        let (stats, settings) = (&pool.stats, &pool.settings);
        let name = super::words::quoted(&self.source.name);
        if self.source.flow == Flow::Paused {
            return match stats.total() {
                0 => format!("RESUME {name} lets clients go on"),
                _ => format!(
                    "KILL_CLIENT with the number of a holder ends the wait for it; RESUME {name} takes the pause back"
                ),
            };
        }
        if pool.trouble.is_some() {
            return "see what the database says; it is tried again by itself, at most a second apart while anybody waits"
                .to_owned();
        }
        if stats.waiting == 0 {
            return "nothing".to_owned();
        }
        let taken = u64::from(stats.total() - stats.idle);
        if holders.thinking * 2 >= taken && holders.thinking > 0 {
            let timeout = &self.source.timeouts.idle_in_transaction;
            return format!(
                "look at what the holders do between their statements; {} ends those that take too long",
                setting("idle_in_transaction_timeout", *timeout, &self.source.origins)
            );
        }
        if holders.pinned * 2 >= taken && holders.pinned > 0 {
            return "SHOW PINS names the statements that pin; without them the connections would be shared".to_owned();
        }
        if taken >= u64::from(stats.limit) {
            return format!(
                "shorter transactions; or a higher max_connections in {}, if the database has room",
                super::tables::limit_origin(settings)
            );
        }
        "nothing: they are served as soon as a login is through".to_owned()
    }

    fn doing(&self, client: &ClientView) -> String {
        let lasts = lasting(self.now.duration_since(client.since));
        match (client.standing, &client.pin) {
            (Standing::Waiting, _) => format!("waits for {lasts}"),
            (Standing::Holding, Some(pin)) => {
                let pinned = lasting(self.now.duration_since(pin.since));
                let statement = pin.statement.as_deref().map(|text| format!(": {text}"));
                let (reason, statement) = (pin.reason.as_str(), statement.unwrap_or_default());
                format!("does nothing for {lasts}, pinned for {pinned} by {reason}{statement}")
            }
            (standing, _) => format!("{} for {lasts}", standing.as_str()),
        }
    }

    /// Clients that wait, but in no pool's queue.
    fn waiting_for_their_user(&self) -> u64 {
        let waiting = self
            .clients
            .iter()
            .filter(|client| client.standing == Standing::Waiting);
        let queued: u64 = self.source.pools.iter().map(|pool| u64::from(pool.stats.waiting)).sum();
        (waiting.count() as u64).saturating_sub(queued)
    }

    fn is_primary(&self, pool: &PoolView) -> bool {
        self.source
            .pools
            .first()
            .is_some_and(|first| first.number == pool.number)
    }

    fn say(&mut self, pool: &str, subject: &str, number: Option<u64>, words: impl Into<String>) {
        self.rows.push(vec![
            Cell::Text(pool.to_owned()),
            Cell::Text(subject.to_owned()),
            number.map_or(Cell::Null, |number| {
                Cell::Integer(i64::try_from(number).unwrap_or(i64::MAX))
            }),
            Cell::Text(words.into()),
        ]);
    }
}

/// The clients that hold server connections of one pool.
struct Holders<'a> {
    all: Vec<&'a ClientView>,
    thinking: u64,
    pinned: u64,
}

impl<'a> Holders<'a> {
    fn of(pool: &PoolView, clients: &'a [ClientView]) -> Self {
        let holds = |client: &&ClientView| client.server.is_some_and(|server| pool_of(server) == pool.number);
        let all: Vec<_> = clients.iter().filter(holds).collect();
        let mut by_standing: HashMap<&str, u64> = HashMap::new();
        for client in &all {
            *by_standing.entry(client.standing.as_str()).or_default() += 1;
        }
        let count = |standing: Standing| by_standing.get(standing.as_str()).copied().unwrap_or(0);
        Holders {
            thinking: count(Standing::InTransaction),
            pinned: count(Standing::Holding),
            all,
        }
    }
}

fn who(client: &ClientView) -> String {
    let (address, _) = super::tables::address(client.identity.peer);
    let identity = &client.identity;
    match &*identity.application_name {
        "" => format!("{} from {address}", identity.user),
        application => format!("{} from {address} ({application})", identity.user),
    }
}

fn setting(name: &str, value: Option<Duration>, origins: &Origins) -> String {
    let value = value.map_or_else(|| "null".to_owned(), |value| format!("{} s", value.as_secs_f64()));
    format!("{name} = {value}, set in {}", origins.of(name))
}

fn lasting(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
