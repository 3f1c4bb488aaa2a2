//! Rows of a column as stretches that lie side by side: which page each goes to, and copies of them.
//!
//! Copies are made in blocks of a fixed size: a stretch is often a row or two, for which a call of `memcpy` takes longer than
//! the copy.

use std::ops::Range;

/// Bytes of a data page at most, but for a single value that is larger; as the parquet crate has it.
pub(super) const PAGE_BYTES: usize = 1 << 20;

/// Values that may be written beyond the last one: a block.
pub(super) const ROOM: usize = 64;

/// Blocks from which on `memcpy` is the faster way.
const LONG: usize = 16;

/// Returns rows as stretches that follow each other in the order of arrival: what is merged from sorted files has long ones.
pub(super) fn stretches(order: &[u32]) -> Vec<Range<usize>> {
    let stretch = |rows: &[u32]| {
        let first = rows.first().copied().unwrap_or_default() as usize;
        first..first + rows.len()
    };
    order.chunk_by(|row, next| row + 1 == *next).map(stretch).collect()
}

/// Returns how many rows each page takes, by the bytes of each row.
pub(super) fn page_sizes(row_bytes: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut sizes = Vec::new();
    let (mut num_rows, mut num_bytes) = (0, 0);
    for more in row_bytes {
        if num_rows > 0 && num_bytes + more > PAGE_BYTES {
            sizes.push(num_rows);
            (num_rows, num_bytes) = (0, 0);
        }
        num_rows += 1;
        num_bytes += more;
    }
    sizes.push(num_rows);
    sizes
}

/// Returns the stretches of each page.
pub(super) fn pages(
    stretches: &[Range<usize>],
    sizes: impl IntoIterator<Item = usize>,
) -> Vec<Vec<Range<usize>>> {
    let mut stretches = stretches.iter().cloned();
    let mut left = 0..0;
    let mut pages = Vec::new();
    for mut room in sizes {
        let mut page = Vec::new();
        while room > 0 {
            if left.is_empty() {
                let Some(next) = stretches.next() else { break };
                left = next;
            }
            let taken = left.start..left.end.min(left.start + room);
            (left.start, room) = (taken.end, room - taken.len());
            page.push(taken);
        }
        if page.is_empty() {
            break;
        }
        pages.push(page);
    }
    pages
}

/// Appends rows of `width` bytes each.
pub(super) fn gather_rows(values: &[u8], rows: &[Range<usize>], width: usize, page: &mut Vec<u8>) {
    let (begin, num_rows) = (page.len(), rows.iter().map(ExactSizeIterator::len).sum::<usize>());
    let bytes = rows.iter().map(|rows| rows.start * width..rows.end * width);
    page.resize(begin + num_rows * width + ROOM, 0);
    gather::<u8, 64>(values, bytes, &mut page[begin..]);
    page.truncate(begin + num_rows * width);
}

/// Copies the stretches to the beginning of `target`, which has [`ROOM`] for more values than they have.
pub(super) fn gather<T: Copy, const BLOCK: usize>(
    values: &[T],
    stretches: impl Iterator<Item = Range<usize>>,
    target: &mut [T],
) {
    let mut at = 0;
    for stretch in stretches {
        let (mut rest, end) = (stretch.start, at + stretch.len());
        while at < end {
            let source = values.get(rest..).and_then(|values| values.first_chunk::<BLOCK>());
            let room = target.get_mut(at..).and_then(|room| room.first_chunk_mut::<BLOCK>());
            match (source, room) {
                (Some(source), Some(room)) if end - at <= LONG * BLOCK => *room = *source,
                // A long one, or near the end of the values.
                _ => {
                    target[at..end].copy_from_slice(&values[rest..stretch.end]);
                    break;
                }
            }
            (at, rest) = (at + BLOCK, rest + BLOCK);
        }
        at = end;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn stretches_stand_one_after_the_other(
            values in prop::collection::vec(any::<u8>(), 1..200),
            places in prop::collection::vec((0..200_usize, prop_oneof![0..9_usize, 0..200_usize]), 0..20),
            before in prop::collection::vec(any::<u8>(), 0..5),
        ) {
            let stretch = |(start, length): &(usize, usize)| {
                let start = start % values.len();
                start..(start + length).min(values.len())
            };
            let stretches: Vec<Range<usize>> = places.iter().map(stretch).collect();
            let mut expected = before.clone();
            stretches.iter().for_each(|stretch| expected.extend_from_slice(&values[stretch.clone()]));
            let mut found = before.clone();
            gather_rows(&values, &stretches, 1, &mut found);
            prop_assert_eq!(found, expected);
        }
    }
}
