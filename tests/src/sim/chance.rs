//! Chance from a seed: the only source of it in a simulated world.
//!
//! A small generator (SplitMix64) of our own, so that a seed means the same run on every machine
//! and with every version of every library.

/// A stream of chance. The same seed gives the same stream.
#[derive(Debug, Clone)]
pub struct Chance {
    state: u64,
}

impl Chance {
    /// The stream of this seed.
    pub fn new(seed: u64) -> Chance {
        Chance { state: seed ^ 0x7a3d_5e4b_11c0_9f27 }
    }

    /// A stream of its own, so that one part of a world may draw more without changing another.
    pub fn fork(&mut self, name: u64) -> Chance {
        let seed = self.bits();
        Chance::new(seed ^ name.wrapping_mul(0xd6e8_feb8_6659_fd93))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `low` up to and without `high`; `low` when the range is empty.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        if high <= low { low } else { low + self.bits() % (high - low) }
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.bits().is_multiple_of(n.max(1))
    }

    /// One of these.
    ///
    /// # Panics
    /// There is nothing to pick from.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let index = usize::try_from(self.bits() % (from.len() as u64)).unwrap_or(0);
        &from[index]
    }
}
