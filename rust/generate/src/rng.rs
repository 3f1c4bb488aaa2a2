//! The random numbers behind every run: xoshiro256++ streams, one per listener and one per purpose.
//!
//! The bytes a seed produces are a promise to users, so they depend on the thirty lines here and not on the version of a
//! library. Streams are derived from (seed, purpose, index) alone: a listener draws the same numbers whatever the other
//! listeners do, which is what lets the population be split over threads. Not for cryptography.

use serde::{Deserialize, Serialize};

/// What a stream of random numbers is used for; streams of different purposes are independent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Artists, songs, places, names.
    Catalogue = 1,
    /// One listener: character and behaviour.
    Listener = 2,
    /// Which records have faults, and which.
    Faults = 3,
    /// When new listeners come.
    Arrivals = 4,
    /// When a listener stops coming.
    Departure = 5,
    /// What only the dimensions tell of a listener.
    Dimensions = 20,
}

/// A stream of random numbers (xoshiro256++ 1.0 of Blackman and Vigna, seeded by SplitMix64, as its authors advise).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rng([u64; 4]);

impl Rng {
    /// Returns the stream of a purpose and index under a seed.
    pub fn new(seed: u64, purpose: Purpose, index: u64) -> Self {
        let mut mixer = SplitMix64(seed);
        mixer.0 = mixer.next() ^ (purpose as u64);
        mixer.0 = mixer.next() ^ index;
        Self([mixer.next(), mixer.next(), mixer.next(), mixer.next()])
    }

    /// Returns the words of the state.
    pub fn state(&self) -> [u64; 4] {
        self.0
    }

    /// Returns the stream that goes on from a state.
    pub fn from_state(state: [u64; 4]) -> Self {
        Self(state)
    }

    /// Returns 64 uniform bits.
    pub fn next_u64(&mut self) -> u64 {
        let [s0, s1, s2, s3] = &mut self.0;
        let result = s0.wrapping_add(*s3).rotate_left(23).wrapping_add(*s0);
        let t = *s1 << 17;
        *s2 ^= *s0;
        *s3 ^= *s1;
        *s1 ^= *s2;
        *s0 ^= *s3;
        *s2 ^= t;
        *s3 = s3.rotate_left(45);
        result
    }

    /// Returns a uniform number in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Returns true with probability `probability`.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Returns a uniform index in [0, `bound`); 0 for a bound of 0. The bias of the multiplication is below `bound` / 2^53.
    pub fn below(&mut self, bound: usize) -> usize {
        ((self.unit() * bound as f64) as usize).min(bound.saturating_sub(1))
    }

    /// Returns an exponentially distributed number with the given mean.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    /// Returns an exponentially distributed whole number of seconds, rounded down.
    pub fn exponential_seconds(&mut self, mean: f64) -> i64 {
        self.exponential(mean) as i64
    }

    /// Returns a standard normal number (Box-Muller; the second of the pair is thrown away, so that the state is the stream alone).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

/// Random numbers by position: the n-th of a stream without those before it (SplitMix64, whose state is a counter).
#[derive(Clone, Copy, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Returns the stream of a purpose and index under a seed.
    pub fn new(seed: u64, purpose: Purpose, index: u64) -> Self {
        Self(Rng::new(seed, purpose, index).next_u64())
    }

    /// Returns 64 uniform bits, those of position `place`.
    pub fn at(&self, place: u64) -> u64 {
        SplitMix64(self.0.wrapping_add(place.wrapping_mul(SplitMix64::STEP))).next()
    }

    /// Returns a uniform number in [0, 1), that of position `place`.
    pub fn unit(&self, place: u64) -> f64 {
        (self.at(place) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Returns a uniform index in [0, `bound`), that of position `place`; 0 for a bound of 0.
    pub fn below(&self, place: u64, bound: usize) -> usize {
        ((self.unit(place) * bound as f64) as usize).min(bound.saturating_sub(1))
    }
}

struct SplitMix64(u64);

impl SplitMix64 {
    const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(Self::STEP);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// A discrete distribution over 0..n by weights.
#[derive(Clone, Debug)]
pub struct Weighted {
    cumulative: Vec<f64>,
    /// Entry i is where a point in the i-th of n equal parts is looked for first, so that a draw takes one or two looks.
    guide: Vec<u32>,
}

impl Weighted {
    /// Returns the distribution of the weights; negative ones count as 0.
    pub fn new(weights: impl IntoIterator<Item = f64>) -> Self {
        let mut total = 0.0;
        let cumulative = weights.into_iter().map(|weight| {
            total += f64::max(weight, 0.0);
            total
        });
        let cumulative: Vec<f64> = cumulative.collect();
        let count = cumulative.len();
        let share = |part: usize| part as f64 / count as f64 * cumulative.last().unwrap_or(&0.0);
        let guide = (0..count).map(|part| cumulative.partition_point(|edge| *edge <= share(part)) as u32);
        Self { guide: guide.collect(), cumulative }
    }

    /// Returns the running sums of the weights.
    pub fn edges(&self) -> &[f64] {
        &self.cumulative
    }

    /// Draws an index; 0 if there are no weights.
    pub fn draw(&self, rng: &mut Rng) -> usize {
        let Some(total) = self.cumulative.last() else { return 0 };
        let (unit, last) = (rng.unit(), self.cumulative.len() - 1);
        let point = unit * total;
        let mut index =
            (self.guide[((unit * self.guide.len() as f64) as usize).min(last)] as usize).min(last);
        // Rounding can put the guide one entry too far.
        while index > 0 && self.cumulative[index - 1] > point {
            index -= 1;
        }
        while index < last && self.cumulative[index] <= point {
            index += 1;
        }
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xoshiro_matches_the_reference_implementation() {
        let mut rng = Rng([1, 2, 3, 4]);

        let drawn: Vec<u64> = (0..4).map(|_| rng.next_u64()).collect();

        assert_eq!(drawn, [41_943_041, 58_720_359, 3_588_806_011_781_223, 3_591_011_842_654_386]);
    }

    #[test]
    fn streams_of_neighbours_differ_and_the_same_stream_repeats() {
        let first = |purpose, index| Rng::new(42, purpose, index).next_u64();

        assert_eq!(first(Purpose::Listener, 7), first(Purpose::Listener, 7));
        assert_ne!(first(Purpose::Listener, 7), first(Purpose::Listener, 8));
        assert_ne!(first(Purpose::Listener, 7), first(Purpose::Catalogue, 7));
    }

    #[test]
    fn numbers_by_position_are_those_of_the_stream() {
        let dice = Dice::new(7, Purpose::Faults, 3);
        let mut stream = SplitMix64(dice.0);

        for place in 0..100 {
            assert_eq!(dice.at(place), stream.next());
        }
        assert!((0..1_000).all(|place| dice.below(place, 10) < 10 && dice.below(place, 0) == 0));
    }

    #[test]
    fn distributions_have_their_means() {
        let mut rng = Rng::new(1, Purpose::Listener, 0);
        let n = 200_000;
        let mean = |f: &mut dyn FnMut() -> f64| (0..n).map(|_| f()).sum::<f64>() / f64::from(n);

        let exponential = mean(&mut || rng.exponential(90.0));
        let normal = mean(&mut || rng.normal());
        let square = mean(&mut || rng.normal().powi(2));

        assert!((exponential - 90.0).abs() < 1.0, "{exponential}");
        assert!(normal.abs() < 0.01 && (square - 1.0).abs() < 0.02, "{normal} {square}");
    }

    #[test]
    fn a_draw_finds_what_a_search_finds() {
        for weights in
            [vec![1.0; 7], vec![0.0, 5.0, 0.0, 0.1, 0.0], (1..900).map(|i| 1.0 / f64::from(i)).collect()]
        {
            let weighted = Weighted::new(weights);
            let edges = weighted.edges();
            let mut rng = Rng::new(2, Purpose::Listener, 0);
            for _ in 0..20_000 {
                let point = rng.clone().unit() * edges.last().unwrap();
                let found = edges.partition_point(|edge| *edge <= point).min(edges.len() - 1);
                assert_eq!(weighted.draw(&mut rng), found);
            }
        }
    }

    #[test]
    fn weights_are_respected_and_zero_is_never_drawn() {
        let weighted = Weighted::new([1.0, 0.0, 3.0]);
        let mut rng = Rng::new(1, Purpose::Listener, 0);
        let mut counts = [0u32; 3];

        for _ in 0..100_000 {
            counts[weighted.draw(&mut rng)] += 1;
        }

        assert_eq!(counts[1], 0);
        assert!((f64::from(counts[2]) / 100_000.0 - 0.75).abs() < 0.01);
    }
}
