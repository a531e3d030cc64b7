//! Tables of the console about the gateway as a whole: LISTS, STATE, USERS, and the halves of STATS.

use std::sync::LazyLock;

use super::{
    Cell, Column, Console, Role,
    tables::{Rows, STATS, count, mode, number, say, text},
};
use crate::{registry::Flow, settings::PoolMode};

/// A declared user, as far as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserView {
    /// Its name.
    pub name: String,
    /// `role`.
    pub role: String,
    /// Instead of its sources'.
    pub pool_mode: Option<PoolMode>,
    /// Server connections that its clients may hold.
    pub max_connections: Option<u32>,
    /// Clients.
    pub max_client_connections: Option<u32>,
}

pub(super) const LISTS: &[Column] = &[text("list"), number("items")];
pub(super) const STATE: &[Column] = &[text("key"), text("value")];
pub(super) const USERS: &[Column] = &[
    text("name"),
    text("role"),
    text("pool_mode"),
    number("max_user_connections"),
    number("current_connections"),
    number("max_user_client_connections"),
    number("current_client_connections"),
];

/// Of SHOW STATS_TOTALS.
pub(super) fn totals() -> &'static [Column] {
    static COLUMNS: LazyLock<Vec<Column>> = LazyLock::new(|| half("total_"));
    &COLUMNS
}

/// Of SHOW STATS_AVERAGES.
pub(super) fn averages() -> &'static [Column] {
    static COLUMNS: LazyLock<Vec<Column>> = LazyLock::new(|| half("avg_"));
    &COLUMNS
}

fn half(prefix: &str) -> Vec<Column> {
    let columns = STATS.iter().copied();
    columns
        .filter(|column| column.name == "database" || column.name.starts_with(prefix))
        .collect()
}

/// Some columns of rows.
pub(super) fn pick(wanted: &[Column], columns: &[Column], rows: Rows) -> Rows {
    let chosen = |row: Vec<Cell>| {
        let cells = columns.iter().zip(row);
        cells
            .filter_map(|(column, cell)| wanted.contains(column).then_some(cell))
            .collect()
    };
    rows.into_iter().map(chosen).collect()
}

impl Console {
    /// Names the users that are declared now.
    pub fn declare_users(&self, users: Vec<UserView>) {
        *self.users.lock() = users;
    }

    /// What is declared now.
    pub(super) fn role_of(&self, user: &str) -> Option<Role> {
        let users = self.users.lock();
        let user = users.iter().find(|known| known.name == user)?;
        Role::of(&user.role)
    }

    pub(super) fn lists(&self) -> Rows {
        let sources = self.sources();
        let pools = || sources.iter().flat_map(|source| &source.pools);
        let servers: u64 = pools().map(|pool| u64::from(pool.stats.total())).sum();
        let logged_in = self.clients.views().len();
        let lists = [
            ("databases", sources.len() as u64),
            ("users", self.users.lock().len() as u64),
            ("pools", pools().count() as u64),
            ("used_clients", logged_in as u64),
            (
                "login_clients",
                u64::from(self.clients.count()).saturating_sub(logged_in as u64),
            ),
            ("used_servers", servers),
        ];
        lists.map(|(list, items)| vec![say(list), count(items)]).into()
    }

    /// PgBouncer's words, of all sources together: paused only if each of them is.
    pub(super) fn state(&self) -> Rows {
        let sources = self.sources();
        let mut serving = sources.iter().filter(|source| source.inconsistent.is_none());
        let is_paused = !sources.is_empty() && serving.all(|source| source.flow == Flow::Paused);
        let yes = |is_so: bool| say(if is_so { "yes" } else { "no" });
        vec![
            vec![say("active"), yes(!is_paused)],
            vec![say("paused"), yes(is_paused)],
            vec![say("suspended"), yes(false)],
        ]
    }

    pub(super) fn users(&self) -> Rows {
        let users = self.users.lock().clone();
        let clients = self.clients.views();
        let row = |user: UserView| {
            let own = || clients.iter().filter(|client| *client.identity.user == *user.name);
            vec![
                say(&*user.name),
                say(&*user.role),
                user.pool_mode.map_or(Cell::Null, |own| say(mode(own))),
                user.max_connections.map_or(Cell::Null, count),
                count(own().filter(|client| client.server.is_some()).count() as u64),
                user.max_client_connections.map_or(Cell::Null, count),
                count(own().count() as u64),
            ]
        };
        users.into_iter().map(row).collect()
    }
}
