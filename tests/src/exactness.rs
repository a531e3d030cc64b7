//! Whether a limit that has just been lowered holds: counted in the database and on the console, connection by connection.
//!
//! What a connection may do that is too many: end the transaction that it was in when the limit changed. It is excused
//! for as long as that lasts, and [`GRACE`] longer, in which the gateway hears of the end and the database of the
//! farewell.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, SimpleQueryMessage, types::ToSql};

use crate::clock::{self, Instant};

/// Within this time a limit is exact.
pub const GRACE: Duration = Duration::from_millis(100);

/// Between two looks.
const PERIOD: Duration = Duration::from_millis(10);

/// Looks again and again until stopped.
#[derive(Debug)]
pub struct Watch {
    present: Arc<Mutex<Present>>,
    task: JoinHandle<Vec<Seen>>,
}

/// What is to be held against what is seen.
#[derive(Debug)]
enum Present {
    /// Another limit is about to apply.
    Nothing,
    Change(Arc<Change>),
    Over,
}

/// What was seen while one limit applied.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// The limit.
    pub limit: u32,
    /// How often it was looked.
    pub looks: u32,
    /// The longest time between two looks: what happened in between was not seen.
    pub longest_gap: Duration,
    /// Most connections in the database after [`GRACE`], excused ones included.
    pub most: u32,
    /// And on the console.
    pub most_on_console: u32,
    /// How long after the change there were too many that nothing excuses: in the database.
    pub late: Duration,
    /// And on the console.
    pub late_on_console: Duration,
}

/// A limit that applies.
#[derive(Clone, Debug)]
pub struct Change {
    /// Of server connections.
    pub limit: u32,
    /// When it was told that it applies.
    pub told: Instant,
    /// The same on the database's clock, which is this machine's.
    pub wall: SystemTime,
}

impl Change {
    /// Told just now.
    pub fn now(limit: u32) -> Self {
        Change {
            limit,
            told: clock::now(),
            wall: SystemTime::now(),
        }
    }
}

impl Watch {
    /// `admin` is a client of the database's server, `console` one of the gateway's console.
    pub fn start(admin: Client, console: Client, database: &str) -> Watch {
        let present = Arc::new(Mutex::new(Present::Nothing));
        let task = tokio::spawn(watch(admin, console, database.to_owned(), present.clone()));
        Watch { present, task }
    }

    /// From now on this applies.
    pub fn told(&self, change: Change) {
        *self.present.lock() = Present::Change(Arc::new(change));
    }

    /// Another limit may apply at any time.
    pub fn look_away(&self) {
        *self.present.lock() = Present::Nothing;
    }

    /// Ends it: what was seen of each limit.
    pub async fn stop(self) -> Vec<Seen> {
        *self.present.lock() = Present::Over;
        self.task.await.expect("looking does not fail")
    }
}

async fn watch(admin: Client, console: Client, database: String, present: Arc<Mutex<Present>>) -> Vec<Seen> {
    let (mut all, mut excused, mut watched) = (Vec::new(), Excused::default(), None::<Arc<Change>>);
    let mut last = clock::now();
    loop {
        let change = match &*present.lock() {
            Present::Nothing => None,
            Present::Change(change) => Some(change.clone()),
            Present::Over => return all,
        };
        if let Some(change) = change {
            if !watched.as_ref().is_some_and(|watched| Arc::ptr_eq(watched, &change)) {
                excused.clear();
                last = change.told;
                all.push(Seen {
                    limit: change.limit,
                    ..Seen::default()
                });
                watched = Some(change.clone());
            }
            let look = look(&admin, &console, &database, &change, &mut excused).await;
            let still = matches!(&*present.lock(), Present::Change(now) if Arc::ptr_eq(now, &change));
            if let Some(seen) = all.last_mut().filter(|_| still) {
                seen.take_in(&look, last.elapsed());
                last = clock::now();
            }
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// What is there at one moment.
struct Look {
    /// Since the change.
    since: Duration,
    in_database: u32,
    on_console: u32,
    excuses: u32,
}

impl Seen {
    fn take_in(&mut self, look: &Look, gap: Duration) {
        self.looks += 1;
        self.longest_gap = self.longest_gap.max(gap);
        if look.since >= GRACE {
            self.most = self.most.max(look.in_database);
            self.most_on_console = self.most_on_console.max(look.on_console);
        }
        if look.in_database.saturating_sub(look.excuses) > self.limit {
            self.late = look.since;
        }
        if look.on_console.saturating_sub(look.excuses) > self.limit {
            self.late_on_console = look.since;
        }
    }
}

/// When a connection was last seen in a transaction from before the change.
type Excused = HashMap<i32, Instant>;

async fn look(admin: &Client, console: &Client, database: &str, change: &Change, excused: &mut Excused) -> Look {
    const SQL: &str = "SELECT pid, coalesce(xact_start < $2, false) FROM pg_catalog.pg_stat_activity \
                       WHERE datname = $1 AND backend_type = 'client backend' AND pid <> pg_catalog.pg_backend_pid()";
    let began = clock::now();
    let about: [&(dyn ToSql + Sync); 2] = [&database, &change.wall];
    let (rows, on_console) = tokio::join!(admin.query(SQL, &about), console_count(console, database));
    let rows = rows.expect("pg_stat_activity can be read");
    let mut excuses = 0;
    for row in &rows {
        let (process, is_old): (i32, bool) = (row.get(0), row.get(1));
        if is_old {
            excused.insert(process, clock::now());
        }
        let last = excused.get(&process);
        excuses += u32::from(last.is_some_and(|last| began.saturating_duration_since(*last) <= GRACE));
    }
    Look {
        since: began.saturating_duration_since(change.told),
        in_database: rows.len() as u32,
        on_console,
        excuses,
    }
}

/// Server connections of a source in any state, as SHOW POOLS tells them.
async fn console_count(console: &Client, source: &str) -> u32 {
    let messages = console.simple_query("SHOW POOLS").await.expect("the console answers");
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) if row.get("source") == Some(source) => Some(row),
        _ => None,
    });
    let states = ["sv_active", "sv_idle", "sv_tested", "sv_login", "sv_closing"];
    rows.flat_map(|row| states.map(|state| row.get(state).and_then(|count| count.parse::<u32>().ok())))
        .map(|count| count.expect("SHOW POOLS counts server connections by state"))
        .sum()
}
