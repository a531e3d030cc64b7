//! A hasher for what nobody gains by making collide: numbers of our own, and mere preferences.
//!
//! A few instructions for each eight bytes, and the same in every process. Invariant: nothing that a peer chooses decides
//! where it stands in a table by this hash; whatever does is hashed with `RandomState`.

use std::hash::{BuildHasherDefault, Hasher};

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spread(u64);

/// Makes [`Spread`]s, for a map by numbers of our own.
pub type BuildSpread = BuildHasherDefault<Spread>;

/// 2^64 divided by the golden ratio: odd, and its bits look like nothing.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u64(u64::from(number));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(23) ^ number).wrapping_mul(FACTOR);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashSet,
        hash::{BuildHasher, BuildHasherDefault},
    };

    use super::*;

    #[test]
    fn numbers_in_order_are_spread_over_the_table() {
        let build = BuildSpread::default();
        // A table looks at the lowest bits and at the highest seven.
        let lowest: HashSet<u64> = (0..1024_u64).map(|number| build.hash_one(number) % 1024).collect();
        let highest: HashSet<u64> = (0..1024_u64).map(|number| build.hash_one(number) >> 57).collect();
        assert_eq!((lowest.len(), highest.len()), (1024, 128));
    }

    #[test]
    fn what_differs_hashes_differently() {
        let build = BuildHasherDefault::<Spread>::default();
        let texts = [
            "",
            "a",
            "b",
            "ab",
            "ba",
            "utf8 utf8",
            "utf8 utf9",
            "12345678",
            "123456780",
        ];
        let hashes: HashSet<u64> = texts.iter().map(|text| build.hash_one(text)).collect();
        assert_eq!(hashes.len(), texts.len());
    }
}
