//! The settings that a client brings along (StartupMessage and its `options`), which its server connections must have.
//!
//! Invariants: a name occurs once, compared without case as PostgreSQL does; values are compared byte by byte, because
//! schema "A" is not schema "a"; the order is the one of application: `client_encoding` first, `role` last, since the
//! settings before it may need privileges that the role lacks (specification S7.4).

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use crate::limits;

/// Ordered `(name, value)` pairs. Cloning costs a reference count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overlay(Option<Arc<Settings>>);

#[derive(Debug, PartialEq, Eq)]
struct Settings {
    /// First, so that what differs is mostly seen at a glance.
    likeness: u64,
    all: Box<[Setting]>,
}

/// One setting and its value, as `set_config` takes them: raw, without any quoting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// As the client wrote it.
    pub name: Box<str>,
    /// As the client wrote it.
    pub value: Box<str>,
}

impl Overlay {
    /// From pairs in the order in which the client gave them; the last value of a name wins. What exceeds
    /// [`limits::MAX_OVERLAY_SETTINGS`] is left out (a startup packet hardly holds so many).
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut settings: Vec<Setting> = Vec::new();
        for (name, value) in pairs {
            let (name, value) = (name.as_ref(), value.as_ref());
            match settings
                .iter()
                .position(|setting| setting.name.eq_ignore_ascii_case(name))
            {
                Some(known) => settings[known].value = value.into(),
                None if settings.len() < limits::MAX_OVERLAY_SETTINGS => {
                    settings.push(Setting {
                        name: name.into(),
                        value: value.into(),
                    });
                }
                None => {}
            }
        }
        settings.sort_by_key(|setting| rank(&setting.name));
        Overlay((!settings.is_empty()).then(|| {
            Arc::new(Settings {
                likeness: likeness(&settings),
                all: settings.into(),
            })
        }))
    }

    /// The same with one more setting, which wins over an earlier value.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mine = self.iter().map(|setting| (&*setting.name, &*setting.value));
        Overlay::from_pairs(mine.chain([(name, value)]))
    }

    /// The settings in the order of application.
    pub fn iter(&self) -> std::slice::Iter<'_, Setting> {
        self.0.as_deref().map_or(&[][..], |settings| &settings.all).iter()
    }

    /// The value of `name`, compared without case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter()
            .find(|setting| setting.name.eq_ignore_ascii_case(name))
            .map(|setting| &*setting.value)
    }

    /// Nothing to set.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// A number that is the same for the same settings in whatever order; 0 for none. Not proof of equality.
    pub fn likeness(&self) -> u64 {
        self.0.as_deref().map_or(0, |settings| settings.likeness)
    }

    /// Equal, found out by comparing pointers where possible.
    pub fn is_same(&self, other: &Overlay) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(mine), Some(theirs)) => Arc::ptr_eq(mine, theirs) || mine == theirs,
            _ => false,
        }
    }

    /// Makes one allocation of two that are equal, as [`super::Parameters::unite`] does.
    pub fn unite(&mut self, other: &mut Overlay) {
        let (Some(mine), Some(theirs)) = (&self.0, &other.0) else {
            return;
        };
        if Arc::ptr_eq(mine, theirs) || mine != theirs {
            return;
        }
        if Arc::as_ptr(mine) < Arc::as_ptr(theirs) {
            *other = self.clone();
        } else {
            *self = other.clone();
        }
    }
}

impl Setting {
    /// Whether it says whose privileges count.
    pub(crate) fn is_identity(&self) -> bool {
        rank(&self.name) >= 2
    }

    /// Whether it could end the connection, or the very statement that puts it back, before another client has its own
    /// settings: a time limit of less than a second, or any on idle sessions.
    pub(crate) fn limits_what_follows(&self) -> bool {
        let name = &*self.name;
        let is_limit = name.len() >= 7 && name.as_bytes()[name.len() - 7..].eq_ignore_ascii_case(b"timeout");
        if !is_limit {
            return false;
        }
        let value = self.value.trim();
        let digits = value.len() - value.trim_start_matches(|digit: char| digit.is_ascii_digit()).len();
        let Ok(number) = value[..digits].parse::<u64>() else {
            return false;
        };
        let is_short = match value[digits..].trim() {
            "us" => number < 1_000_000,
            "" | "ms" => number < 1_000,
            _ => false,
        };
        number > 0 && (is_short || name.eq_ignore_ascii_case("idle_session_timeout"))
    }
}

fn likeness(settings: &[Setting]) -> u64 {
    let of = |setting: &Setting| {
        // The same in every process: nothing but a preference depends on it, so nobody gains by a collision.
        let mut hasher = DefaultHasher::new();
        let name = setting.name.bytes().map(|byte| byte.to_ascii_lowercase());
        name.for_each(|byte| hasher.write_u8(byte));
        setting.value.hash(&mut hasher);
        hasher.finish()
    };
    settings.iter().map(of).fold(0, u64::wrapping_add)
}

/// `client_encoding` first, `session_authorization` and then `role` last.
fn rank(name: &str) -> u8 {
    match () {
        () if name.eq_ignore_ascii_case("client_encoding") => 0,
        () if name.eq_ignore_ascii_case("session_authorization") => 2,
        () if name.eq_ignore_ascii_case("role") => 3,
        () => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoding_first_role_last_names_once_s7_4() {
        let overlay = Overlay::from_pairs([
            ("role", "r"),
            ("DateStyle", "ISO"),
            ("client_encoding", "UTF8"),
            ("datestyle", "SQL"),
        ]);
        let names: Vec<_> = overlay
            .iter()
            .map(|setting| (&*setting.name, &*setting.value))
            .collect();
        assert_eq!(
            names,
            [("client_encoding", "UTF8"), ("DateStyle", "SQL"), ("role", "r")]
        );
    }

    #[test]
    fn values_keep_their_case() {
        let upper = Overlay::from_pairs([("search_path", "A")]);
        let lower = Overlay::from_pairs([("search_path", "a")]);
        assert!(!upper.is_same(&lower));
        assert!(upper.is_same(&Overlay::from_pairs([("search_path", "A")])));
    }

    #[test]
    fn equal_ones_become_one_whoever_meets_whom() {
        let mut overlays: Vec<Overlay> = (0..8).map(|_| Overlay::from_pairs([("search_path", "a")])).collect();
        let mut other = Overlay::from_pairs([("search_path", "b")]);
        for _ in 0..3 {
            for at in 1..overlays.len() {
                let (before, rest) = overlays.split_at_mut(at);
                before[at - 1].unite(&mut rest[0]);
                rest[0].unite(&mut other);
                rest[0].unite(&mut Overlay::default());
            }
            overlays.reverse();
        }
        let first = overlays[0].0.as_ref().expect("settings");
        assert!(
            overlays
                .iter()
                .all(|overlay| overlay.0.as_ref().is_some_and(|own| Arc::ptr_eq(own, first)))
        );
        assert_eq!(other.get("search_path"), Some("b"));
    }

    #[test]
    fn time_limits_that_others_would_feel() {
        let short = |name: &str, value: &str| {
            let (name, value) = (name.into(), value.into());
            Setting { name, value }.limits_what_follows()
        };
        assert!(short("statement_timeout", "1") && short("LOCK_TIMEOUT", "999ms") && short("lock_timeout", "5us"));
        assert!(short("idle_session_timeout", "1h"));
        assert!(!short("statement_timeout", "0") && !short("statement_timeout", "5000"));
        assert!(!short("statement_timeout", "5s") && !short("statement_timeout", "x") && !short("work_mem", "1"));
    }

    #[test]
    fn likeness_is_of_the_settings_not_of_their_order_or_spelling_s7_5() {
        let some = Overlay::from_pairs([("TimeZone", "UTC"), ("search_path", "a, public")]);
        let same = Overlay::from_pairs([("search_path", "a, public"), ("timezone", "UTC")]);
        let other = Overlay::from_pairs([("search_path", "A, public"), ("timezone", "UTC")]);
        assert_eq!(some.likeness(), same.likeness());
        assert_ne!(some.likeness(), other.likeness());
        assert_eq!(Overlay::default().likeness(), 0);
    }

    #[test]
    fn one_more_wins() {
        let overlay = Overlay::from_pairs([("a.b", "1")]).with("A.B", "2");
        assert_eq!(overlay.get("a.b"), Some("2"));
    }
}
