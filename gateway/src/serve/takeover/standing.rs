//! What administrators have made of the sources (PAUSE, DISABLE), the same in both processes.
//!
//! A successor begins with what stands in its predecessor. As long as both live, either tells the other what has changed
//! with it since they last agreed: a PAUSE that somebody thinks better of in the old process ends in the new one as well, and
//! RESUME on the new one's console lets go of clients that wait in the old one. Invariants: what was heard is not said again,
//! so nothing goes in circles; a source that is not declared here is nobody's business here. Of two changes that cross each
//! other, each stands in the other process until the next one.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use weir_core::{
    backend::Backend,
    registry::{Admission, Registry, Source},
};
use weir_mssql::Mssql;
use weir_postgres::Postgres;

/// How a source stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::serve) struct Standing {
    /// Its name.
    pub(super) source: String,
    /// Its clients wait: PAUSE.
    pub(super) paused: bool,
    /// It takes no new clients: DISABLE.
    pub(super) disabled: bool,
}

/// All sources of this process, as far as administrators have a say in them.
#[derive(Clone)]
pub(in crate::serve) struct Standings {
    postgres: Arc<Registry<Postgres>>,
    mssql: Arc<Registry<Mssql>>,
}

/// What this process and another one have agreed on; of sources that are not in it, that they run.
#[derive(Debug, Default)]
pub(super) struct Agreed(Mutex<BTreeMap<String, Standing>>);

impl Standing {
    fn of<B: Backend>(source: &Source<B>) -> Self {
        Standing {
            source: source.name.to_string(),
            paused: source.is_paused(),
            disabled: source.admission() == Admission::Disabled,
        }
    }

    /// As every source is that no administrator has touched.
    fn usual(source: String) -> Self {
        Standing {
            source,
            paused: false,
            disabled: false,
        }
    }

    fn is_usual(&self) -> bool {
        !self.paused && !self.disabled
    }

    fn apply<B: Backend>(&self, source: &Source<B>) {
        match (self.paused, source.is_paused()) {
            (true, false) => drop(source.pause()),
            (false, true) => drop(source.resume()),
            _ => {}
        }
        source.set_admission(match self.disabled {
            true => Admission::Disabled,
            false => Admission::Enabled,
        });
    }
}

impl Standings {
    /// Of the sources that these have now or later.
    pub(in crate::serve) fn new(postgres: Arc<Registry<Postgres>>, mssql: Arc<Registry<Mssql>>) -> Self {
        Standings { postgres, mssql }
    }

    /// Those that an administrator has touched.
    pub(in crate::serve) fn unusual(&self) -> Vec<Standing> {
        let all = self.all().into_iter();
        all.filter(|standing| !standing.is_usual()).collect()
    }

    fn all(&self) -> Vec<Standing> {
        let postgres = self.postgres.sources().into_iter().map(|source| Standing::of(&source));
        let mssql = self.mssql.sources().into_iter().map(|source| Standing::of(&source));
        postgres.chain(mssql).collect()
    }

    /// Makes it so. Whether the source is declared here.
    fn apply(&self, standing: &Standing) -> bool {
        let (postgres, mssql) = (
            self.postgres.source(&standing.source),
            self.mssql.source(&standing.source),
        );
        let is_known = postgres.is_some() || mssql.is_some();
        if let Some(source) = postgres {
            standing.apply(&source);
        }
        if let Some(source) = mssql {
            standing.apply(&source);
        }
        is_known
    }
}

impl std::fmt::Debug for Standings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Standings").finish_non_exhaustive()
    }
}

impl Agreed {
    /// The other process has been told this.
    pub(super) fn told(standings: Vec<Standing>) -> Self {
        let standings = standings.into_iter();
        Agreed(Mutex::new(
            standings.map(|standing| (standing.source.clone(), standing)).collect(),
        ))
    }

    /// The other process says how a source stands: it stands so here as well.
    pub(super) fn hear(&self, standing: Standing, here: &Standings) {
        let mut agreed = self.0.lock();
        if here.apply(&standing) {
            agreed.insert(standing.source.clone(), standing);
        }
    }

    /// What has changed here since, to be told.
    pub(super) fn news(&self, here: &Standings) -> Vec<Standing> {
        let mut agreed = self.0.lock();
        let mut news = Vec::new();
        for standing in here.all() {
            let known = agreed.get(&standing.source).cloned();
            if known.unwrap_or_else(|| Standing::usual(standing.source.clone())) != standing {
                agreed.insert(standing.source.clone(), standing.clone());
                news.push(standing);
            }
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use weir_config::ProcessEnvironment;

    use super::*;
    use crate::serve::sources::Sources;

    /// A process with two sources, of which the other one may lack the second.
    fn process(names: &[&str]) -> (Sources, Standings) {
        let folder = tempfile::tempdir().expect("there is a place for files");
        let source = |name: &&str| {
            format!(
                "- {{name: {name}, kind: postgres, configuration: {{connection_info: {{database_url: 'postgres://u@localhost/{name}'}}}}}}\n"
            )
        };
        std::fs::create_dir(folder.path().join("databases")).expect("a folder");
        let written: String = names.iter().map(source).collect();
        std::fs::write(folder.path().join("databases/databases.yaml"), written).expect("a file");
        let loaded = weir_config::load(folder.path(), &ProcessEnvironment, false);
        let sources = Sources::build(&loaded.metadata);
        assert_eq!(sources.postgres.sources().len(), names.len(), "{:?}", loaded.problems);
        let standings = Standings::new(sources.postgres.clone(), sources.mssql.clone());
        (sources, standings)
    }

    fn tell(from: (&Agreed, &Standings), to: (&Agreed, &Standings)) -> usize {
        let news = from.0.news(from.1);
        let count = news.len();
        news.into_iter().for_each(|standing| to.0.hear(standing, to.1));
        count
    }

    #[tokio::test]
    async fn what_changes_on_one_side_changes_on_the_other_and_is_not_said_back() {
        let ((old, before), (new, behind)) = (process(&["one", "two"]), process(&["one"]));
        let of = |sources: &Sources, name: &str| sources.postgres.source(name).expect("it is declared");
        of(&old, "one").pause();
        of(&old, "two").set_admission(Admission::Disabled);
        let told = before.unusual();
        assert_eq!(told.len(), 2);
        let (here, there) = (Agreed::told(told.clone()), Agreed::default());
        told.into_iter().for_each(|standing| there.hear(standing, &behind));
        assert!(of(&new, "one").is_paused());
        assert_eq!((here.news(&before), there.news(&behind)), (vec![], vec![]));
        // Behind the handshake, from either side.
        of(&new, "one").resume();
        of(&new, "one").set_admission(Admission::Disabled);
        assert_eq!(tell((&there, &behind), (&here, &before)), 1);
        assert!(!of(&old, "one").is_paused());
        assert_eq!(of(&old, "one").admission(), Admission::Disabled);
        assert_eq!(tell((&here, &before), (&there, &behind)), 0);
        let (_, claim) = of(&old, "one").pause_revocably();
        assert_eq!(tell((&here, &before), (&there, &behind)), 1);
        assert!(of(&new, "one").is_paused());
        assert!(of(&old, "one").take_back(claim));
        assert_eq!(tell((&here, &before), (&there, &behind)), 1);
        assert!(!of(&new, "one").is_paused());
        // What is not declared there is nobody's business there.
        of(&old, "two").pause();
        assert_eq!(tell((&here, &before), (&there, &behind)), 1);
        assert_eq!(there.news(&behind), vec![]);
    }
}
