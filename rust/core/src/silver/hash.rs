//! A 32-bit hash of a row's payload, to tell deliveries of one event that disagree.
//!
//! Every value that is not null adds `XXH64(bytes of the value, seed = XXH64(column name, seed = 0))` to a 64-bit sum that
//! wraps around; the hash is the exclusive or of the sum's halves. The bytes of a text are its UTF-8, those of any number its
//! eight bytes as a little-endian integer (doubles by their bits, so -0.0 is not 0.0), those of a boolean the number 0 or 1.
//!
//! The consequences wanted: the order of columns does not matter, null differs from the empty text, an int column that was
//! widened to long keeps its hashes, and a column that joins the contract later changes nothing where it is null.
//! The result is stored with each row, so it is fixed for good. In Python, with the package `xxhash`:
//!
//! ```python
//! total = sum(xxh64_intdigest(value, seed=xxh64_intdigest(column)) for column, value in row if value is not None)
//! payload_hash = (total ^ total >> 32) & 0xFFFFFFFF   # as a signed number
//! ```

const PRIME_1: u64 = 0x9E37_79B1_85EB_CA87;
const PRIME_2: u64 = 0xC2B2_AE3D_27D4_EB4F;
const PRIME_3: u64 = 0x1656_67B1_9E37_79F9;
const PRIME_4: u64 = 0x85EB_CA77_C2B2_AE63;
const PRIME_5: u64 = 0x27D4_EB2F_1656_67C5;

/// Returns the XXH64 hash, as <https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md> defines it.
pub(crate) fn xxh64(bytes: &[u8], seed: u64) -> u64 {
    let (stripes, mut rest) = bytes.as_chunks::<32>();
    let mut hash = if stripes.is_empty() {
        seed.wrapping_add(PRIME_5)
    } else {
        let mut lanes = [
            seed.wrapping_add(PRIME_1).wrapping_add(PRIME_2),
            seed.wrapping_add(PRIME_2),
            seed,
            seed.wrapping_sub(PRIME_1),
        ];
        for stripe in stripes {
            let (words, _) = stripe.as_chunks::<8>();
            for (lane, word) in lanes.iter_mut().zip(words) {
                *lane = round(*lane, u64::from_le_bytes(*word));
            }
        }
        let [a, b, c, d] = lanes;
        let joined = a
            .rotate_left(1)
            .wrapping_add(b.rotate_left(7))
            .wrapping_add(c.rotate_left(12))
            .wrapping_add(d.rotate_left(18));
        lanes
            .iter()
            .fold(joined, |hash, lane| (hash ^ round(0, *lane)).wrapping_mul(PRIME_1).wrapping_add(PRIME_4))
    };
    hash = hash.wrapping_add(bytes.len() as u64);
    while let Some((word, tail)) = rest.split_first_chunk::<8>() {
        hash = add_word(hash, u64::from_le_bytes(*word));
        rest = tail;
    }
    if let Some((word, tail)) = rest.split_first_chunk::<4>() {
        let word = u64::from(u32::from_le_bytes(*word));
        hash =
            (hash ^ word.wrapping_mul(PRIME_1)).rotate_left(23).wrapping_mul(PRIME_2).wrapping_add(PRIME_3);
        rest = tail;
    }
    for byte in rest {
        hash = (hash ^ u64::from(*byte).wrapping_mul(PRIME_5)).rotate_left(11).wrapping_mul(PRIME_1);
    }
    avalanche(hash)
}

/// Returns `xxh64` of a number's eight bytes, little-endian.
pub(crate) fn xxh64_word(word: u64, seed: u64) -> u64 {
    avalanche(add_word(seed.wrapping_add(PRIME_5).wrapping_add(8), word))
}

fn round(lane: u64, word: u64) -> u64 {
    lane.wrapping_add(word.wrapping_mul(PRIME_2)).rotate_left(31).wrapping_mul(PRIME_1)
}

fn add_word(hash: u64, word: u64) -> u64 {
    (hash ^ round(0, word)).rotate_left(27).wrapping_mul(PRIME_1).wrapping_add(PRIME_4)
}

fn avalanche(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 33)).wrapping_mul(PRIME_2);
    let hash = (hash ^ (hash >> 29)).wrapping_mul(PRIME_3);
    hash ^ (hash >> 32)
}

/// The sums of a batch's rows.
#[derive(Debug)]
pub(crate) struct PayloadHashes {
    sums: Vec<u64>,
}

impl PayloadHashes {
    pub(crate) fn new(rows: usize) -> Self {
        Self { sums: vec![0; rows] }
    }

    /// The seed of a column's values.
    pub(crate) fn seed(column: &str) -> u64 {
        xxh64(column.as_bytes(), 0)
    }

    /// Adds a column; `hash` gets a row and the column's seed, and gives `None` for null.
    pub(crate) fn add(&mut self, column: &str, hash: impl Fn(usize, u64) -> Option<u64>) {
        let seed = Self::seed(column);
        for (row, sum) in self.sums.iter_mut().enumerate() {
            if let Some(hash) = hash(row, seed) {
                *sum = sum.wrapping_add(hash);
            }
        }
    }

    pub(crate) fn finish(self) -> Vec<i32> {
        let fold = |sum: u64| ((sum ^ (sum >> 32)) as u32).cast_signed();
        self.sums.into_iter().map(fold).collect()
    }
}
