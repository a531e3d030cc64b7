//! A change of the metadata that somebody asks for: judged as a whole, written to the files, and only then applied.
//!
//! Invariant (I9): what is written has been read by the loader as it will stand in the files, and is what applies. The
//! file events that it causes find nothing new.

use std::path::Path;

use serde_json::Value;
use weir_config::{
    Loaded, Problem, ProcessEnvironment, Severity, Subject,
    document::{Changes, Document, Fate, Operation, OperationError},
};

use super::{
    control::{Refused, State},
    unusable,
};

/// What somebody asks for.
#[derive(Debug)]
pub(crate) struct Change {
    /// For the log.
    pub(crate) cause: &'static str,
    /// The version that it is meant for; `None` is whichever.
    pub(crate) resource_version: Option<u64>,
    /// One after the other; all or none.
    pub(crate) operations: Vec<Step>,
    /// What may be wrong afterwards.
    pub(crate) tolerance: Tolerance,
    /// Whether keys of the document may be lost that the files have no place for.
    pub(crate) allow_losses: bool,
}

/// One of the things that a change does.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// What the document can do by itself.
    Operation(Operation),
    /// `drop_inconsistent_metadata`: the sources that are inconsistent after the steps before this one.
    DropInconsistent,
}

/// What may be wrong afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tolerance {
    /// What is wrong already, but none of the sources that are changed.
    WhatIs,
    /// Nothing.
    Nothing,
    /// Everything.
    Everything,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Changed {
    /// What applies now.
    pub(crate) state: std::sync::Arc<State>,
    /// Keys of the document that the files have no place for; they are lost.
    pub(crate) homeless: Vec<String>,
}

/// Why nothing has changed.
#[derive(Clone, Debug)]
pub(crate) enum ChangeError {
    /// It was meant for this version, which is not the present one.
    Conflict(u64),
    /// One of the operations cannot be.
    Operation(usize, OperationError),
    /// The source of this operation would be inconsistent.
    Source(usize, Vec<Problem>),
    /// There would be these errors.
    Inconsistent(Vec<Problem>),
    /// These would be new ones.
    NewlyInconsistent(Vec<Problem>),
    /// Weir could not start with it, for this reason and these problems.
    Unusable(&'static str, Vec<Problem>),
    /// These keys would be lost.
    Losses(Vec<String>),
    /// The files as they are cannot be read, or their layout cannot say it, or the system refuses; for people.
    Files(String, Vec<Problem>),
    /// What is in the files is refused already.
    Refused(Refused),
}

/// A change that has been judged, and not been written yet.
pub(super) struct Prepared {
    pub(super) changes: Changes,
    pub(super) loaded: Loaded,
    pub(super) homeless: Vec<String>,
}

/// Reads the files, does the operations, and judges the outcome. Blocks.
pub(super) fn prepare(path: &Path, strict: bool, present: &State, change: &Change) -> Result<Prepared, ChangeError> {
    let unreadable = |problems| ChangeError::Files("the metadata as it is cannot be read".to_owned(), problems);
    let document = Document::read(path, &ProcessEnvironment).map_err(unreadable)?;
    let mut metadata = document.metadata().clone();
    let mut fates = Vec::new();
    let as_files = |metadata: &Value, fates: &[Fate]| {
        let changes = document.changes_after(metadata, fates);
        let changes = changes.map_err(|unwritable| ChangeError::Files(unwritable.0, Vec::new()))?;
        let loaded = weir_config::load_changed(path, &ProcessEnvironment, strict, &changes);
        Ok::<_, ChangeError>((changes, loaded))
    };
    for (index, step) in change.operations.iter().enumerate() {
        let operation = match step {
            Step::Operation(operation) => operation.clone(),
            Step::DropInconsistent => {
                let (_, loaded) = as_files(&metadata, &fates)?;
                Operation::Forget(inconsistent_sources(&loaded))
            }
        };
        let done = operation.apply(&mut metadata);
        done.map_err(|error| ChangeError::Operation(index, error))?;
        fates.extend(operation.fates());
    }
    let homeless: Vec<String> = document.homeless(&metadata).into_iter().map(str::to_owned).collect();
    if !homeless.is_empty() && !change.allow_losses {
        return Err(ChangeError::Losses(homeless));
    }
    let (changes, loaded) = as_files(&metadata, &fates)?;
    judge(present, change, &loaded)?;
    must_be_usable(present, strict, &loaded)?;
    Ok(Prepared {
        changes,
        loaded,
        homeless,
    })
}

fn judge(present: &State, change: &Change, loaded: &Loaded) -> Result<(), ChangeError> {
    let errors = || {
        loaded
            .problems
            .iter()
            .filter(|problem| problem.severity == Severity::Error)
    };
    // Whatever else is allowed in the same bulk: a source that is asked for by its name has to serve.
    for (index, step) in change.operations.iter().enumerate() {
        let Step::Operation(operation) = step else { continue };
        let Some(name) = operation.subject() else { continue };
        let is_its = |problem: &&Problem| problem.subject == Subject::Source(name.to_owned());
        let its: Vec<Problem> = errors().filter(is_its).cloned().collect();
        if !its.is_empty() {
            return Err(ChangeError::Source(index, its));
        }
    }
    match change.tolerance {
        Tolerance::Everything => return Ok(()),
        Tolerance::Nothing => {
            let errors: Vec<Problem> = errors().cloned().collect();
            return match errors.is_empty() {
                true => Ok(()),
                false => Err(ChangeError::Inconsistent(errors)),
            };
        }
        Tolerance::WhatIs => {}
    }
    let is_known = |problem: &Problem| {
        let same = |other: &Problem| other.severity == Severity::Error && other.subject == problem.subject;
        present.problems.iter().any(same)
    };
    let new: Vec<Problem> = errors().filter(|problem| !is_known(problem)).cloned().collect();
    match new.is_empty() {
        true => Ok(()),
        false => Err(ChangeError::NewlyInconsistent(new)),
    }
}

/// Whatever is tolerated: files with which Weir can start are not exchanged for some with which it cannot.
fn must_be_usable(present: &State, strict: bool, loaded: &Loaded) -> Result<(), ChangeError> {
    let reason = unusable(&loaded.metadata, &loaded.problems, strict);
    match reason.filter(|_| unusable(&present.metadata, &present.problems, strict).is_none()) {
        Some(reason) => Err(ChangeError::Unusable(reason, loaded.problems.clone())),
        None => Ok(()),
    }
}

fn inconsistent_sources(loaded: &Loaded) -> Vec<String> {
    let errors = loaded
        .problems
        .iter()
        .filter(|problem| problem.severity == Severity::Error);
    let names = errors.filter_map(|problem| match &problem.subject {
        Subject::Source(name) => Some(name.clone()),
        _ => None,
    });
    names.collect()
}

/// The whole document. Blocks.
///
/// # Errors
/// What cannot be read.
pub(super) fn export(path: &Path) -> Result<Value, Vec<Problem>> {
    let document = Document::read(path, &ProcessEnvironment)?;
    match document.incomplete() {
        Some(problem) => Err(vec![problem.clone()]),
        None => Ok(document.metadata().clone()),
    }
}
