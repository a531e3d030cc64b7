//! What was gathered: for each metric its label values, and for each of those a number.

use std::{collections::BTreeMap, time::Duration};

use weir_core::observe::Snapshot;

use super::{Family, TABLE};

/// All samples, by the place of their metric in [`TABLE`].
#[derive(Debug, Default)]
pub(crate) struct Samples {
    families: BTreeMap<usize, BTreeMap<Vec<String>, Value>>,
}

/// One number with its labels.
#[derive(Clone, Debug)]
pub(crate) struct Sample<'a> {
    /// The labels' names.
    pub(crate) names: &'static [&'static str],
    /// Their values.
    pub(crate) values: &'a [String],
    /// The number.
    pub(crate) value: &'a Value,
}

/// A number.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// Of a gauge or counter.
    Number(f64),
    /// Of a histogram.
    Times(Snapshot),
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Value::Number(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Value::Number(number.into())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        // Beyond 2^53 the last digits are lost, as in every monitoring system.
        Value::Number(number as f64)
    }
}

impl From<Duration> for Value {
    fn from(time: Duration) -> Self {
        Value::Number(time.as_secs_f64())
    }
}

impl From<&Snapshot> for Value {
    fn from(times: &Snapshot) -> Self {
        Value::Times(times.clone())
    }
}

impl Samples {
    /// Adds a sample. Samples with the same labels are added together: pools that are not told apart.
    pub(crate) fn add(&mut self, name: &'static str, labels: &[&str], value: impl Into<Value>) {
        let place = TABLE.iter().position(|family| family.name == name);
        let place = place.expect("only names of the table are used");
        debug_assert_eq!(TABLE[place].labels.len(), labels.len(), "{name}");
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        let value = value.into();
        match self.families.entry(place).or_default().entry(labels) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(value);
            }
            std::collections::btree_map::Entry::Occupied(mut entry) => match (entry.get_mut(), value) {
                (Value::Number(sum), Value::Number(more)) => *sum += more,
                (Value::Times(sum), Value::Times(more)) => sum.add(&more),
                (Value::Number(_), Value::Times(_)) | (Value::Times(_), Value::Number(_)) => {}
            },
        }
    }

    /// Metrics that have samples, in the order of the table.
    pub(crate) fn families(&self) -> impl Iterator<Item = (&'static Family, Vec<Sample<'_>>)> {
        self.families.iter().map(|(place, samples)| {
            let family = &TABLE[*place];
            let samples = samples.iter().map(|(values, value)| Sample {
                names: family.labels,
                values,
                value,
            });
            (family, samples.collect())
        })
    }
}
