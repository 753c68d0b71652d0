//! Random numbers that can be thrown again.

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

/// A sequence of random numbers (splitmix64). Its seed is printed, which the test harness shows where the test fails.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// Another sequence each time.
    pub(crate) fn new() -> Self {
        // The one source of randomness in std.
        Self::with_seed(RandomState::new().hash_one(0))
    }

    /// The sequence of a run that failed.
    pub(crate) fn with_seed(seed: u64) -> Self {
        println!("dice: seed {seed:#x}");
        Self(seed)
    }

    /// A number below 2^64, any as likely as any other.
    pub(crate) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number of the range.
    pub(crate) fn within(&mut self, range: Range<usize>) -> usize {
        range.start + (self.number() % (range.end - range.start) as u64) as usize
    }
}
