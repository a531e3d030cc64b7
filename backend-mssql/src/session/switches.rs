//! SET options that are on or off and that no replay is safe for: each ties its client as long as it is on (TDS 6.3).
//!
//! Invariant: an option that goes off ends what it has begun itself, and nothing of another option.

/// A set of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Switches(pub(super) u16);

const NAMES: [&str; 10] = [
    "IDENTITY_INSERT",
    "FMTONLY",
    "NOEXEC",
    "PARSEONLY",
    "OFFSETS",
    "FIPS_FLAGGER",
    "REMOTE_PROC_TRANSACTIONS",
    "SHOWPLAN_ALL",
    "SHOWPLAN_TEXT",
    "SHOWPLAN_XML",
];

/// What stands behind STATISTICS, of which several may be named.
const STATISTICS: [&str; 4] = ["IO", "TIME", "XML", "PROFILE"];

impl Switches {
    /// The option of this name; of `STATISTICS` those that are still to be named.
    pub(crate) fn named(word: &str) -> Option<Self> {
        if word == "STATISTICS" {
            return Some(Switches::default());
        }
        let index = NAMES.iter().position(|name| *name == word)?;
        Some(Switches(1 << index))
    }

    /// The same and a kind of statistics, if that is what the word is: behind another option it is a table's name.
    pub(crate) fn and(self, word: &str) -> Self {
        const NAMED: u16 = (1 << NAMES.len()) - 1;
        match STATISTICS.iter().position(|name| *name == word) {
            Some(index) if self.0 & NAMED == 0 => Switches(self.0 | 1 << (NAMES.len() + index)),
            _ => self,
        }
    }

    /// These, or all kinds of statistics where none was named.
    pub(crate) fn or_all_statistics(self) -> Self {
        match self.0 {
            0 => STATISTICS.iter().fold(self, |all, name| all.and(name)),
            _ => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_place_of_its_own() {
        let names = NAMES.iter().map(|name| Switches::named(name).unwrap());
        let statistics = STATISTICS.iter().map(|name| Switches::default().and(name));
        let bits: Vec<u16> = names.chain(statistics).map(|one| one.0).collect();
        assert_eq!(
            bits.iter().fold(0, |all, one| all | one).count_ones() as usize,
            bits.len()
        );
        assert_eq!(
            Switches::named("STATISTICS")
                .unwrap()
                .or_all_statistics()
                .0
                .count_ones(),
            4
        );
        assert_eq!(Switches::named("QUOTED_IDENTIFIER"), None);
    }
}
