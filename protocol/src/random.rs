//! Chance as an argument: a small generator fed by the driver's seed.
//!
//! SplitMix64 (Steele, Lea, Flood 2014): enough for names and jitter. Nonces need to be new, not
//! secret; the pair's secret is never derived from it.

/// A stream of numbers.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Never zero: zero names the empty history.
    pub(crate) fn name(&mut self) -> u64 {
        self.next().max(1)
    }

    pub(crate) fn nonce(&mut self) -> [u8; 32] {
        let mut nonce = [0; 32];
        for part in nonce.chunks_mut(8) {
            let bytes = self.next().to_be_bytes();
            part.copy_from_slice(bytes.get(..part.len()).unwrap_or(&bytes));
        }
        nonce
    }
}
