//! Numbers that follow from a seed, so that what failed once can be tried again.

/// A linear congruential generator (Knuth's MMIX constants).
pub struct Dice(pub u64);

impl Dice {
    /// From 0 to below the limit.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) % limit as u64) as usize
    }
}
