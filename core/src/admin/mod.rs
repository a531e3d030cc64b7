//! The console: what an administrator may ask and do, whatever protocol they speak.
//!
//! Commands are parsed once ([`Command::parse`]), who may give which is one table ([`Role::may`]), and every answer is
//! rows of text and numbers ([`Table`]), which a backend only encodes. Invariants: nothing secret is in any row (settings
//! come from the validated ones, which hold no address and no password; statements come without their constants); looking
//! takes each pool's lock once, for as long as it takes to copy its numbers; what a command waits for ends with the
//! future of its answer.

mod act;
mod command;
mod explain;
mod overview;
mod problem;
mod tables;
pub mod time;
mod view;
mod visit;
mod words;

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use parking_lot::Mutex;

pub use command::{Command, Scope, Shutdown, SourceName, Topic};
pub use overview::UserView;
pub use problem::Problem;
pub use view::{Family, PoolView, SourceControl, SourceView};
pub use visit::{Parting, Unanswered, Visit};

use crate::front::Clients;

/// Database names under which the console is reached, unless a source has the name: the name of this program, and that of
/// PgBouncer's console, so that tools made for it find it.
pub const DATABASES: [&str; 2] = ["weir", "pgbouncer"];

/// What an administrator may do: `users[].role`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `admin`: look, and act.
    Admin,
    /// `stats`: look.
    Stats,
}

/// What a command needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    Look,
    Act,
}

impl Role {
    /// From `users[].role`; every other role has nothing to do here.
    pub fn of(role: &str) -> Option<Role> {
        match role {
            "admin" => Some(Role::Admin),
            "stats" => Some(Role::Stats),
            _ => None,
        }
    }

    /// The only place where it is decided who may do what.
    pub fn may(self, command: &Command) -> bool {
        let right = match command {
            Command::Show(_) | Command::ExplainPool(_) => Right::Look,
            Command::Pause(_)
            | Command::Resume(_)
            | Command::Reconnect(_)
            | Command::WaitClose(_)
            | Command::Kill(_)
            | Command::KillClient(_)
            | Command::Disable(_)
            | Command::Enable(_)
            | Command::Reload
            | Command::Shutdown(_) => Right::Act,
        };
        match (self, right) {
            (Role::Admin, Right::Look | Right::Act) | (Role::Stats, Right::Look) => true,
            (Role::Stats, Right::Act) => false,
        }
    }
}

/// What the console answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To a question.
    Table(Table),
    /// To a command.
    Done {
        /// Its name.
        tag: &'static str,
        /// What there is to say about it: for people, in a notice.
        notice: Option<String>,
    },
}

impl Answer {
    fn done(tag: &'static str) -> Self {
        Answer::Done { tag, notice: None }
    }
}

/// Whoever runs this process, for commands that are about more than sources and clients.
#[async_trait]
pub trait Operator: Send + Sync {
    /// Reads the metadata again and applies it as a whole; what came of it.
    ///
    /// # Errors
    /// Everything that is wrong with it. Then nothing has changed.
    async fn reload(&self) -> Result<String, Vec<String>>;

    /// Begins to end the process.
    fn shut_down(&self, how: Shutdown);
}

/// Rows of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// What is in each of their columns.
    pub columns: &'static [Column],
    /// As many cells each as there are columns.
    pub rows: Vec<Vec<Cell>>,
}

/// One column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// PgBouncer's name where it has one.
    pub name: &'static str,
    /// What its cells are, if they are not null.
    pub kind: Kind,
}

/// What is in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// A signed number of 64 bits.
    Integer,
}

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// In a column of [`Kind::Text`].
    Text(String),
    /// In a column of [`Kind::Integer`].
    Integer(i64),
    /// In any column.
    Null,
}

/// See the module.
pub struct Console {
    families: Vec<Arc<dyn Family>>,
    clients: Arc<Clients>,
    version: &'static str,
    operator: OnceLock<Arc<dyn Operator>>,
    users: Mutex<Vec<UserView>>,
}

impl Console {
    /// A console for these sources and clients.
    pub fn new(families: Vec<Arc<dyn Family>>, clients: Arc<Clients>, version: &'static str) -> Arc<Self> {
        Arc::new(Console {
            families,
            clients,
            version,
            operator: OnceLock::new(),
            users: Mutex::default(),
        })
    }

    /// Names whoever runs the process, once; without it RELOAD and SHUTDOWN are not available.
    pub fn set_operator(&self, operator: Arc<dyn Operator>) {
        // A second one would be the same.
        let _ = self.operator.set(operator);
    }

    /// Answers a command, or carries it out. PAUSE, KILL, WAIT_CLOSE and RELOAD may take as long as they like; dropping the
    /// future is how their user takes them back: nothing is waited for any more, and a PAUSE that has not come to its end
    /// is undone. Everything else that was begun stays.
    ///
    /// # Errors
    /// [`Problem::Denied`], or what stands against it.
    pub async fn answer(&self, command: &Command, role: Role) -> Result<Answer, Problem> {
        if !role.may(command) {
            return Err(Problem::Denied(command.to_string()));
        }
        match command {
            Command::Show(topic) => Ok(Answer::Table(self.table(*topic))),
            Command::ExplainPool(name) => self.explain(name).map(Answer::Table),
            action => self.act(action).await,
        }
    }

    /// The same for a user: what it may do is what is declared of it now, not when it logged in. A user that has gone, or
    /// is no administrator any more, may do nothing.
    ///
    /// # Errors
    /// As [`Console::answer`].
    pub async fn answer_to(&self, user: &str, command: &Command) -> Result<Answer, Problem> {
        match self.role_of(user) {
            Some(role) => self.answer(command, role).await,
            None => Err(Problem::Denied(command.to_string())),
        }
    }

    /// Pauses a source and does not wait: PAUSE, whose waiting is for whoever looks.
    ///
    /// # Errors
    /// [`Problem::NoSuchSource`].
    pub fn begin_pause(&self, name: &str) -> Result<(), Problem> {
        self.named(name)?.iter().for_each(|source| {
            source.pause();
        });
        Ok(())
    }

    fn sources(&self) -> Vec<SourceView> {
        let mut sources: Vec<_> = self.families.iter().flat_map(|family| family.sources()).collect();
        sources.sort_by(|a, b| a.name.cmp(&b.name));
        sources
    }
}

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Console").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::gateway::Gateway;

    fn console(gateway: &Gateway) -> Arc<Console> {
        let registry = crate::registry::Registry::new();
        let entry = crate::registry::Entry::Ready(gateway.source.clone());
        registry.replace([("toys".to_owned(), entry)].into());
        Console::new(vec![registry], gateway.clients.clone(), "1.2.3")
    }

    #[tokio::test]
    async fn every_table_has_as_many_cells_as_columns_and_of_their_kinds() {
        let gateway = Gateway::new(Default::default(), Default::default());
        let _client = gateway.connect();
        tokio::task::yield_now().await;
        let console = console(&gateway);
        for topic in Topic::ALL {
            let Ok(Answer::Table(table)) = console.answer(&Command::Show(topic), Role::Stats).await else {
                panic!("{topic:?} has no table");
            };
            assert_eq!(table.columns, topic.columns());
            if !matches!(topic, Topic::Servers | Topic::Pins | Topic::Users) {
                assert!(!table.rows.is_empty(), "{topic:?} is empty");
            }
            for row in &table.rows {
                assert_eq!(row.len(), table.columns.len(), "{topic:?}: {row:?}");
                for (cell, column) in row.iter().zip(table.columns) {
                    let fits = match cell {
                        Cell::Null => true,
                        Cell::Text(_) => column.kind == Kind::Text,
                        Cell::Integer(_) => column.kind == Kind::Integer,
                    };
                    assert!(fits, "{topic:?}.{}: {cell:?}", column.name);
                }
            }
        }
    }

    #[tokio::test]
    async fn who_may_look_may_not_act() {
        let gateway = Gateway::new(Default::default(), Default::default());
        let client = gateway.connect();
        tokio::task::yield_now().await;
        let console = console(&gateway);
        let kill = Command::KillClient(client.key.0);
        assert!(matches!(
            console.answer(&kill, Role::Stats).await,
            Err(Problem::Denied(_))
        ));
        assert_eq!(
            console.answer(&kill, Role::Admin).await,
            Ok(Answer::done("KILL_CLIENT"))
        );
        client.task.await.expect("it ends");
        assert_eq!(
            console.answer(&kill, Role::Admin).await,
            Err(Problem::NoSuchClient(client.key.0))
        );
        assert_eq!(Role::of("user"), None);
        assert_eq!(Role::of("Admin"), None);
    }
}
