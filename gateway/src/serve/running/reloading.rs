//! New metadata: read at rest, judged as a whole, and applied as a whole or refused as a whole (I9).

use std::sync::Arc;

use tracing::{error, info};
use weir_config::{Loaded, Problem, Severity};
use weir_core::clock;

use super::{
    super::{
        change::{self, Change, ChangeError, Changed, Prepared},
        control::{Applied, Refused, State},
        listener_tls::Renewal,
        log_problem, unusable,
    },
    Running,
};
use crate::usable;

/// Why metadata are refused whose listeners cannot be what they are declared to be.
const UNUSABLE_TLS: &str = "a listener that is open could not use the TLS that is declared for it";

impl Running {
    /// Reads the metadata again and applies it, or says why not.
    pub(super) async fn reload(&mut self, cause: &'static str) -> Result<Applied, Refused> {
        let loaded = match self.settled.load(&self.args).await {
            Ok(loaded) => loaded,
            Err(unread) => {
                // Whatever has come of it meanwhile is looked at without being told to.
                self.changes.again();
                self.reloads.refused();
                error!(cause, reason = unread, "metadata refused; the present one stays");
                return Err(Refused {
                    reason: unread.to_owned(),
                    problems: Vec::new(),
                });
            }
        };
        self.changes.follow(&loaded.files);
        self.listeners.look_at_certificates();
        let present = self.orders.state();
        if loaded.metadata == *present.metadata && loaded.problems == *present.problems {
            self.reloads.unchanged();
            info!(cause, "metadata unchanged");
            return Ok(self.retry(present).await);
        }
        if let Some(reason) = self.objection(&present, &loaded) {
            return Err(self.refuse(cause, reason, loaded.problems));
        }
        match self.listeners.prepare(&loaded.metadata).await {
            Ok(renewal) => Ok(self.apply(cause, &present, loaded, renewal).await),
            Err(problems) => Err(self.refuse(cause, UNUSABLE_TLS, problems)),
        }
    }

    fn refuse(&self, cause: &'static str, reason: &'static str, problems: Vec<Problem>) -> Refused {
        problems.iter().for_each(log_problem);
        self.reloads.refused();
        error!(
            cause,
            reason,
            hint = "weir check shows all problems at once",
            "metadata refused; the present one stays"
        );
        Refused {
            reason: reason.to_owned(),
            problems,
        }
    }

    /// What could not be opened may be now.
    async fn retry(&mut self, present: Arc<State>) -> Applied {
        if self.has_successor() {
            return Applied { state: present };
        }
        self.http.reload().await;
        if present.closed.is_empty() {
            return Applied { state: present };
        }
        self.listeners.retry(&present.metadata, &self.sources).await;
        Applied {
            state: self.orders.closed(self.listeners.closed()),
        }
    }

    /// Changes the metadata, or says why not. What is in the files and not applied yet is applied first.
    pub(super) async fn change(&mut self, change: Change) -> Result<Changed, ChangeError> {
        self.reload(change.cause).await.map_err(ChangeError::Refused)?;
        let present = self.orders.state();
        match change.resource_version {
            Some(referenced) if referenced != present.resource_version => {
                return Err(ChangeError::Conflict(referenced));
            }
            _ => {}
        }
        let broke_off = |_| ChangeError::Files("changing the metadata broke off".to_owned(), Vec::new());
        let (path, strict, cause) = (self.args.metadata.clone(), self.args.strict, change.cause);
        let before = present.clone();
        let preparing = tokio::task::spawn_blocking(move || change::prepare(&path, strict, &before, &change));
        let Prepared {
            changes,
            loaded,
            homeless,
        } = preparing.await.map_err(broke_off)??;
        if changes.is_empty() {
            return Ok(Changed {
                state: present,
                homeless,
            });
        }
        let renewal = self.listeners.prepare(&loaded.metadata).await;
        let renewal = renewal.map_err(ChangeError::Inconsistent)?;
        let files = changes.files().count();
        let committing = tokio::task::spawn_blocking(move || changes.commit());
        let committed = committing.await.map_err(broke_off)?;
        committed.map_err(|error| {
            error!(cause, %error, "metadata not written; the present one stays");
            ChangeError::Files(error.to_string(), Vec::new())
        })?;
        self.settled.written();
        info!(cause, files, "metadata written");
        self.changes.follow(&loaded.files);
        let Applied { state } = self.apply(cause, &present, loaded, renewal).await;
        Ok(Changed { state, homeless })
    }

    async fn apply(&mut self, cause: &'static str, present: &State, loaded: Loaded, renewal: Renewal) -> Applied {
        let began = clock::now();
        let news = loaded
            .problems
            .iter()
            .filter(|problem| !present.problems.contains(problem));
        news.for_each(log_problem);
        self.sources.reload(&loaded.metadata, self.listeners.clients());
        // The places are a successor's, once there is one.
        if !self.has_successor() {
            self.listeners.reload(&loaded.metadata, renewal, &self.sources).await;
        }
        self.orders.apply(loaded.metadata, loaded.problems);
        let state = self.orders.closed(self.listeners.closed());
        self.otlp.reload();
        if !self.has_successor() {
            self.http.reload().await;
        }
        self.reloads.applied();
        info!(
            cause,
            resource_version = state.resource_version,
            sources = state.metadata.sources.len(),
            listeners = state.metadata.listeners.len(),
            users = state.metadata.users.len(),
            took = began.elapsed().as_secs_f64(),
            "metadata applied"
        );
        Applied { state }
    }

    /// Why it must not be applied.
    fn objection(&self, present: &State, loaded: &Loaded) -> Option<&'static str> {
        let known = |problem: &Problem| {
            let same = |other: &Problem| other.severity == Severity::Error && other.subject == problem.subject;
            present.problems.iter().any(same)
        };
        let mut errors = loaded
            .problems
            .iter()
            .filter(|problem| problem.severity == Severity::Error);
        if errors.any(|problem| !known(problem)) {
            return Some("it has errors that the present one has not");
        }
        // The metadata API may have left nothing to serve; then less than nothing is no news.
        let present = usable::reason_against(&present.metadata);
        unusable(&loaded.metadata, &loaded.problems, self.args.strict).filter(|_| present.is_none())
    }
}
