//! Exact distributions of whole numbers.

use std::collections::BTreeMap;

/// How often each number occurred.
#[derive(Clone, Debug, Default)]
pub struct Distribution {
    counts: BTreeMap<i64, u64>,
    num_values: u64,
    sum: i128,
}

impl Distribution {
    /// Counts a number.
    pub fn add(&mut self, value: i64) {
        *self.counts.entry(value).or_default() += 1;
        self.num_values += 1;
        self.sum += i128::from(value);
    }

    /// Returns how many numbers were counted.
    pub fn len(&self) -> u64 {
        self.num_values
    }

    /// Returns whether none was counted.
    pub fn is_empty(&self) -> bool {
        self.num_values == 0
    }

    /// Returns the mean, `None` of nothing.
    pub fn mean(&self) -> Option<f64> {
        (!self.is_empty()).then(|| self.sum as f64 / self.num_values as f64)
    }

    /// Returns the largest number.
    pub fn max(&self) -> Option<i64> {
        self.counts.last_key_value().map(|(value, _)| *value)
    }

    /// Returns the quantile at `part` (0 to 1), interpolated between neighbours in rank.
    pub fn quantile(&self, part: f64) -> Option<f64> {
        let last_rank = self.num_values.checked_sub(1)?;
        let rank = part.clamp(0.0, 1.0) * last_rank as f64;
        let low = self.at(rank.floor() as u64)? as f64;
        let high = self.at(rank.ceil() as u64)? as f64;
        Some(low + (high - low) * rank.fract())
    }

    /// Returns the part of the numbers that lie in a range, 0 to 1.
    pub fn share(&self, range: impl std::ops::RangeBounds<i64>) -> Option<f64> {
        let inside: u64 = self.counts.range(range).map(|(_, count)| count).sum();
        (!self.is_empty()).then(|| inside as f64 / self.num_values as f64)
    }

    fn at(&self, rank: u64) -> Option<i64> {
        let mut seen = 0;
        self.counts.iter().find_map(|(value, count)| {
            seen += count;
            (seen > rank).then_some(*value)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_small_set_are_known() {
        let mut distribution = Distribution::default();
        for value in [4, 1, 1, 10] {
            distribution.add(value);
        }

        assert_eq!(distribution.mean(), Some(4.0));
        assert_eq!(distribution.quantile(0.5), Some(2.5));
        assert_eq!(distribution.quantile(0.0), Some(1.0));
        assert_eq!(distribution.quantile(1.0), Some(10.0));
        assert_eq!(distribution.share(1..=4), Some(0.75));
        assert_eq!(distribution.share(5..), Some(0.25));
        assert_eq!(distribution.max(), Some(10));
        assert_eq!(Distribution::default().mean(), None);
        assert_eq!(Distribution::default().quantile(0.5), None);
    }
}
