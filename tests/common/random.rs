//! Numbers that look random and are the same again for the same seed.

#![allow(dead_code, reason = "each test file uses a part of it")]

/// xorshift64*, Vigna 2014.
pub struct Random(u64);

impl Random {
    /// The seed of one round of a test.
    pub fn of(seed: u64, round: u64) -> Self {
        // splitmix64's mixing: neighbouring seeds and rounds have nothing in common. 0 would stay 0.
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(round);
        for factor in [0xbf58_476d_1ce4_e5b9_u64, 0x94d0_49bb_1331_11eb] {
            state = (state ^ (state >> 30)).wrapping_mul(factor);
        }
        Self((state ^ (state >> 31)).max(1))
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Less than `end`, or 0.
    pub fn below(&mut self, end: usize) -> usize {
        (((self.next() >> 32) * end as u64) >> 32) as usize
    }

    /// Once in so many times.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// A number from the environment, for long runs by hand.
pub fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect(name))
}
