//! What was played: song, artist and length, each combination once per pass.
//!
//! Hardly any column has as many values as songs, so every lookup of one goes to memory that no cache holds. Song and artist are
//! therefore one text, found by one lookup, and a session keeps that text alone.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::source::same;

/// Song and artist as they stand side by side in one text.
#[derive(Clone, Debug)]
pub(super) struct Played {
    text: Arc<str>,
    song_bytes: usize,
}

impl Played {
    fn of(song: &str, artist: &str) -> Self {
        Self { text: [song, artist].concat().into(), song_bytes: song.len() }
    }

    /// Returns the bytes of both.
    pub(super) fn bytes(&self) -> usize {
        self.text.len()
    }

    pub(super) fn song(&self) -> &str {
        self.text.get(..self.song_bytes).unwrap_or_default()
    }

    pub(super) fn artist(&self) -> &str {
        self.text.get(self.song_bytes..).unwrap_or_default()
    }
}

/// What an event tells of a song; any of it may be missing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told<'a> {
    pub(super) song: Option<&'a str>,
    pub(super) artist: Option<&'a str>,
    pub(super) seconds: Option<f64>,
}

impl Told<'_> {
    fn seconds_bits(&self) -> Option<u64> {
        self.seconds.map(f64::to_bits)
    }
}

#[derive(Debug)]
struct Track {
    played: Played,
    has_song: bool,
    has_artist: bool,
    seconds: Option<f64>,
}

impl Track {
    fn told(&self) -> Told<'_> {
        Told {
            song: self.has_song.then(|| self.played.song()),
            artist: self.has_artist.then(|| self.played.artist()),
            seconds: self.seconds,
        }
    }

    fn is(&self, told: &Told<'_>) -> bool {
        let own = self.told();
        let equal = |left: Option<&str>, right: Option<&str>| match (left, right) {
            (Some(left), Some(right)) => same(left, right),
            (left, right) => left.is_none() && right.is_none(),
        };
        own.seconds_bits() == told.seconds_bits()
            && equal(own.song, told.song)
            && equal(own.artist, told.artist)
    }
}

/// The tracks of one pass by number.
#[derive(Debug, Default)]
pub(super) struct Tracks {
    tracks: Vec<Track>,
    ids: HashTable<(u64, usize)>,
    hasher: RandomState,
}

impl Tracks {
    /// Returns the number of what is told.
    pub(super) fn id(&mut self, told: Told<'_>) -> usize {
        let hash = self.hasher.hash_one((told.song, told.artist, told.seconds_bits()));
        let is_it = |(known, id): &(u64, usize)| *known == hash && self.tracks[*id].is(&told);
        if let Some((_, id)) = self.ids.find(hash, is_it) {
            return *id;
        }
        let id = self.tracks.len();
        self.tracks.push(Track {
            played: Played::of(told.song.unwrap_or_default(), told.artist.unwrap_or_default()),
            has_song: told.song.is_some(),
            has_artist: told.artist.is_some(),
            seconds: told.seconds,
        });
        self.ids.insert_unique(hash, (hash, id), |(hash, _)| *hash);
        id
    }

    /// Returns what is told by a track of that number.
    pub(super) fn told(&self, id: u32) -> Told<'_> {
        self.tracks.get(id as usize).map(Track::told).unwrap_or_default()
    }

    /// Returns what was played by events that tell of one song: of each part the first that is told.
    pub(super) fn played(&self, ids: impl Iterator<Item = u32> + Clone) -> Played {
        let tracks = || ids.clone().filter_map(|id| self.tracks.get(id as usize));
        match tracks().next() {
            Some(track) if track.has_song && track.has_artist => track.played.clone(),
            _ => Played::of(
                tracks().find_map(|track| track.told().song).unwrap_or_default(),
                tracks().find_map(|track| track.told().artist).unwrap_or_default(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told<'a>(song: Option<&'a str>, artist: Option<&'a str>, seconds: Option<f64>) -> Told<'a> {
        Told { song, artist, seconds }
    }

    #[test]
    fn equal_tracks_have_one_number_and_whatever_differs_has_another() {
        let mut tracks = Tracks::default();
        let all = [
            told(Some("ab"), Some("c"), Some(1.0)),
            told(Some("a"), Some("bc"), Some(1.0)),
            told(Some("abc"), Some(""), Some(1.0)),
            told(Some("abc"), None, Some(1.0)),
            told(None, Some("abc"), Some(1.0)),
            told(Some("ab"), Some("c"), Some(2.0)),
            told(Some("ab"), Some("c"), None),
            told(None, None, None),
        ];

        let ids: Vec<usize> = all.iter().map(|told| tracks.id(*told)).collect();

        assert_eq!(ids, (0..all.len()).collect::<Vec<_>>());
        for (id, told) in all.iter().enumerate() {
            assert_eq!(tracks.id(*told), id);
            let found = tracks.told(id as u32);
            assert_eq!((found.song, found.artist, found.seconds), (told.song, told.artist, told.seconds));
        }
    }

    #[test]
    fn of_each_part_the_first_that_is_told_is_taken() {
        let mut tracks = Tracks::default();
        let ids: Vec<u32> =
            [told(None, Some("x"), None), told(Some("s"), Some("y"), None), told(Some("é"), Some("ü"), None)]
                .into_iter()
                .map(|told| tracks.id(told) as u32)
                .collect();

        let played = tracks.played(ids.iter().copied());
        assert_eq!((played.song(), played.artist()), ("s", "x"));
        let played = tracks.played(ids[2..].iter().copied());
        assert_eq!((played.song(), played.artist()), ("é", "ü"));
        assert_eq!(tracks.played(std::iter::empty()).song(), "");
    }
}
