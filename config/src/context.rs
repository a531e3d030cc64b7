//! What every reader of the metadata needs: the environment, the strictness, and the place to report problems to.

use std::{collections::BTreeMap, path::PathBuf};

use crate::{
    environment::Environment,
    limits,
    model::PATH_PREFIX_VARIABLE,
    problem::{Place, Problem, Severity, Subject},
};

pub(crate) struct Context<'a> {
    pub(crate) env: &'a dyn Environment,
    pub(crate) strict: bool,
    pub(crate) problems: Vec<Problem>,
    /// Every file that was read or looked for.
    pub(crate) files: Vec<PathBuf>,
    /// Contents that stand for those on the disk, by the real path: what would be if they were written. `None` is a file
    /// that would be gone.
    pub(crate) staged: BTreeMap<PathBuf, Option<String>>,
    /// `HASURA_GRAPHQL_DYNAMIC_SECRETS_ALLOWED_PATH_PREFIX`; `None` switches `dynamic_from_file` off.
    pub(crate) secrets_prefix: Option<PathBuf>,
    subject: Subject,
    /// The errors of the current subject.
    reasons: Vec<String>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(env: &'a dyn Environment, strict: bool) -> Self {
        let secrets_prefix = env
            .variable(PATH_PREFIX_VARIABLE)
            .filter(|prefix| !prefix.is_empty())
            .map(PathBuf::from);
        Context {
            env,
            strict,
            problems: Vec::new(),
            files: Vec::new(),
            staged: BTreeMap::new(),
            secrets_prefix,
            subject: Subject::Everything,
            reasons: Vec::new(),
        }
    }

    /// Runs `work` with its problems concerning `subject`, and returns the errors among them.
    pub(crate) fn about<T>(&mut self, subject: Subject, work: impl FnOnce(&mut Self) -> T) -> (T, Vec<String>) {
        let outer = std::mem::replace(&mut self.subject, subject);
        let outer_reasons = std::mem::take(&mut self.reasons);
        let result = work(self);
        self.subject = outer;
        (result, std::mem::replace(&mut self.reasons, outer_reasons))
    }

    pub(crate) fn error(&mut self, place: &Place, message: impl Into<String>) {
        self.report(Severity::Error, place, message);
    }

    /// An error that leaves the subject as good as it was: what is wrong is only left out of it.
    pub(crate) fn error_aside(&mut self, place: &Place, message: impl Into<String>) {
        let reasons = self.reasons.len();
        self.error(place, message);
        self.reasons.truncate(reasons);
    }

    pub(crate) fn warn(&mut self, place: &Place, message: impl Into<String>) {
        self.report(Severity::Warning, place, message);
    }

    pub(crate) fn info(&mut self, place: &Place, message: impl Into<String>) {
        self.report(Severity::Info, place, message);
    }

    /// An error with `strict`, a warning without: what Hasura would silently ignore.
    pub(crate) fn lint(&mut self, place: &Place, message: impl Into<String>) {
        let severity = if self.strict {
            Severity::Error
        } else {
            Severity::Warning
        };
        self.report(severity, place, message);
    }

    pub(crate) fn report(&mut self, severity: Severity, place: &Place, message: impl Into<String>) {
        let problem = Problem {
            severity,
            place: place.clone(),
            message: message.into(),
            subject: self.subject.clone(),
        };
        if severity == Severity::Error && self.reasons.len() < limits::MAX_REASONS {
            self.reasons.push(format!("{place}: {}", problem.message));
        }
        if self.problems.len() < limits::MAX_PROBLEMS {
            self.problems.push(problem);
        }
    }

    /// The value of an environment variable; an error at `place` when it is not set.
    pub(crate) fn variable(&mut self, name: &str, place: &Place) -> Option<String> {
        let value = self.env.variable(name);
        if value.is_none() {
            self.error(
                place,
                format!("environment variable '{}' not set", crate::quote::shorten(name)),
            );
        }
        value
    }

    /// The value of an environment variable that may be missing or empty, and the place to report it as.
    pub(crate) fn setting(&self, name: &str) -> Option<(String, Place)> {
        let value = self.env.variable(name).filter(|value| !value.is_empty())?;
        Some((value, Place::whole(format!("environment variable {name}"))))
    }
}
