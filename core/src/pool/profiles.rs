//! Small numbers for a backend's profiles, so that the engine need not know what a profile is.
//!
//! Bounded: what neither a connection nor a waiter uses is forgotten from time to time.

use std::{collections::HashMap, hash::Hash};

use super::{engine::ProfileId, limits::SPARE_PROFILES};
use crate::refusal::OpenError;

pub(super) struct Profiles<P> {
    ids: HashMap<P, ProfileId>,
    known: Vec<Option<Known<P>>>,
    vacant: Vec<u32>,
    sweep_at: usize,
}

struct Known<P> {
    profile: P,
    /// What the database said to the last attempt to log in with it.
    error: Option<OpenError>,
}

impl<P: Clone + Eq + Hash> Profiles<P> {
    pub(super) fn new() -> Self {
        Profiles {
            ids: HashMap::new(),
            known: Vec::new(),
            vacant: Vec::new(),
            sweep_at: SPARE_PROFILES,
        }
    }

    pub(super) fn find(&self, profile: &P) -> Option<ProfileId> {
        self.ids.get(profile).copied()
    }

    /// The number of a profile that [`Profiles::find`] does not know.
    pub(super) fn add(&mut self, profile: P) -> ProfileId {
        let known = Some(Known {
            profile: profile.clone(),
            error: None,
        });
        let index = match self.vacant.pop() {
            Some(index) => {
                self.known[index as usize] = known;
                index
            }
            None => {
                self.known.push(known);
                self.known.len() as u32 - 1
            }
        };
        self.ids.insert(profile, ProfileId(index));
        ProfileId(index)
    }

    pub(super) fn profile(&self, id: ProfileId) -> Option<&P> {
        self.entry(id).map(|known| &known.profile)
    }

    /// All that are known.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ProfileId, &P)> {
        self.ids.iter().map(|(profile, id)| (*id, profile))
    }

    pub(super) fn error(&self, id: ProfileId) -> Option<&OpenError> {
        self.entry(id).and_then(|known| known.error.as_ref())
    }

    pub(super) fn any_error(&self) -> Option<&OpenError> {
        self.known.iter().flatten().find_map(|known| known.error.as_ref())
    }

    pub(super) fn set_error(&mut self, id: ProfileId, error: Option<OpenError>) {
        if let Some(Some(known)) = self.known.get_mut(id.0 as usize) {
            known.error = error;
        }
    }

    pub(super) fn is_crowded(&self) -> bool {
        self.ids.len() >= self.sweep_at
    }

    /// Forgets what is not `in_use` and says which numbers became free.
    pub(super) fn sweep(&mut self, in_use: impl Fn(ProfileId) -> bool) -> Vec<ProfileId> {
        let mut free = Vec::new();
        self.ids.retain(|_, id| {
            let keep = in_use(*id);
            if !keep {
                free.push(*id);
            }
            keep
        });
        for id in &free {
            self.known[id.0 as usize] = None;
            self.vacant.push(id.0);
        }
        // Those in use may be many: sweep again only when as many have been added.
        self.sweep_at = 2 * self.ids.len() + SPARE_PROFILES;
        free
    }

    fn entry(&self, id: ProfileId) -> Option<&Known<P>> {
        self.known.get(id.0 as usize).and_then(Option::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_uses_is_forgotten_and_what_is_used_keeps_its_number() {
        let mut profiles = Profiles::new();
        let kept = profiles.add("kept".to_owned());
        for number in 0..10_000 {
            if profiles.is_crowded() {
                let free = profiles.sweep(|id| id == kept);
                assert!(!free.is_empty() && !free.contains(&kept));
            }
            let id = profiles.add(number.to_string());
            profiles.set_error(id, Some(OpenError::Unreachable("gone".to_owned())));
        }
        assert!(
            profiles.known.len() <= 2 * SPARE_PROFILES,
            "{} known",
            profiles.known.len()
        );
        assert_eq!(profiles.find(&"kept".to_owned()), Some(kept));
        assert_eq!(profiles.profile(kept).map(String::as_str), Some("kept"));
        assert_eq!(
            profiles.error(kept),
            None,
            "an error stayed behind under a number used again"
        );
    }
}
