//! What a server reports about itself with ParameterStatus: an ordered list of names and values, shared by reference.
//!
//! Invariants: a name occurs once; at most [`limits::MAX_PARAMETERS`] names; two lists that are one allocation are
//! equal, so that the usual comparison costs a pointer.

use std::sync::Arc;

use crate::limits;

/// Reported settings, in the order in which they were first reported. Cloning costs a reference count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters(Arc<Vec<Parameter>>);

/// One reported setting. Names and values are text in the server's encoding; nobody here needs to decode it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Parameter {
    name: Arc<str>,
    value: Arc<str>,
}

impl Parameters {
    /// From pairs; the last value of a name wins. What exceeds [`limits::MAX_PARAMETERS`] is left out.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut parameters = Parameters::default();
        for (name, value) in pairs {
            parameters.set(name.as_ref(), value.as_ref());
        }
        parameters
    }

    /// The value of `name`. Names of reported settings are compared as they are.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|parameter| &*parameter.name == name)
            .map(|parameter| &*parameter.value)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|parameter| (&*parameter.name, &*parameter.value))
    }

    /// Takes note of a new value; says whether that was news. Copies the list if it is shared.
    pub fn set(&mut self, name: &str, value: &str) -> bool {
        if self.get(name) == Some(value) {
            return false;
        }
        let known = self.0.iter().position(|parameter| &*parameter.name == name);
        if known.is_none() && self.0.len() >= limits::MAX_PARAMETERS {
            return true;
        }
        let parameters = Arc::make_mut(&mut self.0);
        match known {
            Some(index) => parameters[index].value = value.into(),
            None => parameters.push(Parameter {
                name: name.into(),
                value: value.into(),
            }),
        }
        true
    }

    /// Whether both are one allocation, and so certainly equal.
    pub fn is_same(&self, other: &Parameters) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Makes one allocation of two lists, if they are equal. Of the two the one at the lower address stays: so whoever
    /// meets whom, all equal lists of a source soon are one.
    pub fn unite(&mut self, other: &mut Parameters) {
        if self.is_same(other) || self != other {
            return;
        }
        if Arc::as_ptr(&self.0) < Arc::as_ptr(&other.0) {
            *other = self.clone();
        } else {
            *self = other.clone();
        }
    }

    /// What `self` says and `other` does not, or says differently.
    pub fn news_for<'a>(&'a self, other: &'a Parameters) -> impl Iterator<Item = (&'a str, &'a str)> {
        let all: &[Parameter] = if self.is_same(other) { &[] } else { &self.0 };
        let is_news = |at: usize, parameter: &Parameter| match other.0.get(at) {
            // As a rule they are in the same order.
            Some(theirs) if theirs.name == parameter.name => theirs.value != parameter.value,
            _ => other.get(&parameter.name) != Some(&parameter.value),
        };
        all.iter()
            .enumerate()
            .filter(move |(at, parameter)| is_news(*at, parameter))
            .map(|(_, parameter)| (&*parameter.name, &*parameter.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_occurs_once_and_the_last_value_wins() {
        let parameters = Parameters::from_pairs([("TimeZone", "UTC"), ("DateStyle", "ISO"), ("TimeZone", "CET")]);
        assert_eq!(
            parameters.iter().collect::<Vec<_>>(),
            [("TimeZone", "CET"), ("DateStyle", "ISO")]
        );
    }

    #[test]
    fn changing_a_copy_leaves_the_original_alone() {
        let original = Parameters::from_pairs([("TimeZone", "UTC")]);
        let mut copy = original.clone();
        assert!(!copy.set("TimeZone", "UTC"));
        assert!(copy.is_same(&original));
        assert!(copy.set("TimeZone", "CET"));
        assert_eq!(original.get("TimeZone"), Some("UTC"));
        assert_eq!(copy.news_for(&original).collect::<Vec<_>>(), [("TimeZone", "CET")]);
    }

    #[test]
    fn equal_lists_become_one_whoever_meets_whom() {
        let mut lists: Vec<Parameters> = (0..8).map(|_| Parameters::from_pairs([("TimeZone", "UTC")])).collect();
        let mut other = Parameters::from_pairs([("TimeZone", "CET")]);
        for _ in 0..3 {
            for at in 1..lists.len() {
                let (before, rest) = lists.split_at_mut(at);
                before[at - 1].unite(&mut rest[0]);
                rest[0].unite(&mut other);
            }
            lists.reverse();
        }
        assert!(lists.iter().all(|list| list.is_same(&lists[0])));
        assert_eq!(other.get("TimeZone"), Some("CET"));
    }

    #[test]
    fn a_server_cannot_grow_the_list_without_end() {
        let parameters = Parameters::from_pairs((0..1000).map(|n| (format!("p{n}"), "x")));
        assert_eq!(parameters.iter().count(), limits::MAX_PARAMETERS);
    }
}
