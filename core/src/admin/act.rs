//! Commands that change something, and that may take their time.
//!
//! Invariant: dropping the future of a command ends its waiting. A PAUSE that is dropped before everything is at rest is
//! taken back: what nobody waits for any more must not keep clients waiting; but not where somebody else was told that
//! the source is paused, or waits for it. Everything else stays done.

use std::sync::Arc;

use tracing::info;

use super::{Answer, Command, Console, Problem, Scope, SourceControl};
use crate::{
    pool::Rest,
    registry::{Admission, Claim, Flow},
};

type Sources = Vec<Arc<dyn SourceControl>>;

impl Console {
    /// Carries out a command that is no question.
    pub(super) async fn act(&self, command: &Command) -> Result<Answer, Problem> {
        match command {
            Command::Show(_) | Command::ExplainPool(_) => {}
            Command::Pause(scope) => pause(self.scope(scope)?).await?,
            Command::Resume(scope) => each(&self.scope(scope)?, "resumed", |source| {
                source.resume();
            }),
            Command::Reconnect(scope) => each(&self.scope(scope)?, "told to reconnect", |source| source.reconnect()),
            Command::WaitClose(scope) => {
                for source in self.scope(scope)? {
                    source.renewed().await;
                }
            }
            Command::Kill(scope) => self.kill(self.scope(scope)?).await?,
            Command::KillClient(id) => {
                if !self.clients.terminate_one(*id) {
                    return Err(Problem::NoSuchClient(*id));
                }
            }
            Command::Disable(name) => each(&self.named(name)?, "disabled", |source| {
                source.set_admission(Admission::Disabled);
            }),
            Command::Enable(name) => each(&self.named(name)?, "enabled", |source| {
                source.set_admission(Admission::Enabled);
            }),
            Command::Reload => return self.reload().await,
            Command::Shutdown(how) => {
                let operator = self.operator.get().ok_or(Problem::Unavailable("SHUTDOWN"))?;
                operator.shut_down(*how);
            }
        }
        Ok(Answer::done(command.tag()))
    }

    async fn reload(&self) -> Result<Answer, Problem> {
        let operator = self.operator.get().ok_or(Problem::Unavailable("RELOAD"))?;
        match operator.reload().await {
            Ok(notice) => Ok(Answer::Done {
                tag: "RELOAD",
                notice: Some(notice),
            }),
            Err(reasons) => Err(Problem::NotReloaded(reasons)),
        }
    }

    async fn kill(&self, sources: Sources) -> Result<(), Problem> {
        each(&sources, "killed", |source| {
            source.kill();
            self.clients.terminate_source(source.name());
        });
        at_rest(&sources).await
    }

    fn scope(&self, scope: &Scope) -> Result<Sources, Problem> {
        match scope {
            Scope::All => Ok(self.controls()),
            Scope::One(name) => self.named(name),
        }
    }

    /// The source of this name, else the one that a database of this name leads to.
    pub(super) fn named(&self, name: &str) -> Result<Sources, Problem> {
        let sources = self.controls();
        let by_name = sources.iter().find(|source| **source.name() == *name);
        let by_database = || sources.iter().find(|source| source.is_reached_by(name));
        let found = by_name.or_else(by_database).cloned();
        found
            .map(|source| vec![source])
            .ok_or_else(|| Problem::NoSuchSource(name.chars().take(QUOTED).collect()))
    }

    fn controls(&self) -> Sources {
        self.families.iter().flat_map(|family| family.controls()).collect()
    }
}

/// Characters of an unknown name that are quoted.
const QUOTED: usize = 60;

fn each(sources: &Sources, what: &'static str, change: impl Fn(&dyn SourceControl)) {
    for source in sources {
        change(&**source);
        log(&**source, what);
    }
}

fn log(source: &dyn SourceControl, action: &'static str) {
    info!(source = &**source.name(), action, "administrator");
}

/// Pauses all, then waits for all.
async fn pause(sources: Sources) -> Result<(), Problem> {
    let mut pausing = Pausing(Vec::new());
    for source in &sources {
        let (before, claim) = source.pause_revocably();
        pausing.0.push((source.clone(), claim));
        if before == Flow::Running {
            log(&**source, "paused");
        }
    }
    at_rest(&sources).await?;
    for (source, claim) in pausing.0.drain(..) {
        source.settle(claim);
    }
    Ok(())
}

async fn at_rest(sources: &Sources) -> Result<(), Problem> {
    for source in sources {
        if source.at_rest().await == Rest::Resumed {
            return Err(Problem::Resumed(source.name().clone()));
        }
    }
    Ok(())
}

/// What a PAUSE has paused and has not told its user yet.
struct Pausing(Vec<(Arc<dyn SourceControl>, Claim)>);

impl Drop for Pausing {
    fn drop(&mut self) {
        for (source, claim) in self.0.drain(..) {
            if source.take_back(claim) {
                log(&*source, "resumed: whoever paused it did not wait until it was at rest");
            }
        }
    }
}
