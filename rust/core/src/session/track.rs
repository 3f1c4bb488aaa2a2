//! What was played: song, artist and length, each combination once per pass.
//!
//! Hardly any column has as many values as songs, so every lookup of one goes to memory that is far away. Song and artist
//! are therefore one text, all texts lie side by side, and a session keeps the number of what it played.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::source::same;

/// Song and artist as they stand side by side in one text, for a session that outlives the pass.
#[derive(Clone, Debug)]
pub(super) struct Played {
    text: Box<str>,
    song_bytes: usize,
}

impl Played {
    pub(super) fn of(told: Told<'_>) -> Self {
        let (song, artist) = (told.song.unwrap_or_default(), told.artist.unwrap_or_default());
        Self { text: [song, artist].concat().into(), song_bytes: song.len() }
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

    /// Returns the bytes of song and artist.
    pub(super) fn bytes(&self) -> usize {
        self.song.map_or(0, str::len) + self.artist.map_or(0, str::len)
    }

    fn is(&self, other: &Told<'_>) -> bool {
        let equal = |left: Option<&str>, right: Option<&str>| match (left, right) {
            (Some(left), Some(right)) => same(left, right),
            (left, right) => left.is_none() && right.is_none(),
        };
        self.seconds_bits() == other.seconds_bits()
            && equal(self.song, other.song)
            && equal(self.artist, other.artist)
    }
}

/// Where in the texts a track stands.
#[derive(Debug)]
struct Track {
    begin: usize,
    song_end: usize,
    end: usize,
    has_song: bool,
    has_artist: bool,
    seconds: Option<f64>,
}

/// The tracks of one pass by number.
#[derive(Debug, Default)]
pub(super) struct Tracks {
    texts: String,
    tracks: Vec<Track>,
    ids: HashTable<(u64, u32)>,
    hasher: RandomState,
}

impl Tracks {
    /// Returns the number of what is told. There are not more of them than events.
    pub(super) fn id(&mut self, told: Told<'_>) -> u32 {
        let hash = self.hasher.hash_one((told.song, told.artist, told.seconds_bits()));
        let is_it = |(known, id): &(u64, u32)| *known == hash && self.told(*id).is(&told);
        if let Some((_, id)) = self.ids.find(hash, is_it) {
            return *id;
        }
        let id = self.tracks.len() as u32;
        let begin = self.texts.len();
        self.texts.push_str(told.song.unwrap_or_default());
        let song_end = self.texts.len();
        self.texts.push_str(told.artist.unwrap_or_default());
        self.tracks.push(Track {
            begin,
            song_end,
            end: self.texts.len(),
            has_song: told.song.is_some(),
            has_artist: told.artist.is_some(),
            seconds: told.seconds,
        });
        self.ids.insert_unique(hash, (hash, id), |(hash, _)| *hash);
        id
    }

    /// Returns what is told by a track of that number.
    pub(super) fn told(&self, id: u32) -> Told<'_> {
        let Some(track) = self.tracks.get(id as usize) else { return Told::default() };
        let text = |begin, end| self.texts.get(begin..end).unwrap_or_default();
        Told {
            song: track.has_song.then(|| text(track.begin, track.song_end)),
            artist: track.has_artist.then(|| text(track.song_end, track.end)),
            seconds: track.seconds,
        }
    }

    /// Returns what was played by events that tell of one song: of each part the first that is told.
    pub(super) fn played(&mut self, ids: impl Iterator<Item = u32> + Clone) -> u32 {
        let tracks = || ids.clone().map(|id| self.told(id));
        let first = tracks().next().unwrap_or_default();
        let is_told = first.song.is_some() && first.artist.is_some() && first.seconds.is_some();
        if let (true, Some(id)) = (is_told, ids.clone().next()) {
            return id;
        }
        let song = tracks().find_map(|told| told.song).map(str::to_owned);
        let artist = tracks().find_map(|told| told.artist).map(str::to_owned);
        let seconds = tracks().find_map(|told| told.seconds);
        self.id(Told { song: song.as_deref(), artist: artist.as_deref(), seconds })
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

        let ids: Vec<u32> = all.iter().map(|told| tracks.id(*told)).collect();

        assert_eq!(ids, (0..all.len() as u32).collect::<Vec<_>>());
        for (id, told) in (0..).zip(all) {
            assert_eq!(tracks.id(told), id);
            let found = tracks.told(id);
            assert_eq!((found.song, found.artist, found.seconds), (told.song, told.artist, told.seconds));
        }
    }

    #[test]
    fn of_each_part_the_first_that_is_told_is_taken() {
        let mut tracks = Tracks::default();
        let ids = [
            told(None, Some("x"), None),
            told(Some("s"), Some("y"), None),
            told(Some("é"), Some("ü"), Some(2.0)),
        ]
        .map(|told| tracks.id(told));

        let played = tracks.played(ids.into_iter());
        let found = tracks.told(played);
        assert_eq!((found.song, found.artist, found.seconds), (Some("s"), Some("x"), Some(2.0)));
        assert_eq!(tracks.played(ids[2..].iter().copied()), ids[2]);
        let nothing = tracks.played(std::iter::empty());
        assert_eq!(tracks.told(nothing).song, None);
    }

    #[test]
    fn what_outlives_the_pass_has_the_same_texts() {
        let played = Played::of(told(Some("é"), Some("ü"), None));
        assert_eq!((played.song(), played.artist()), ("é", "ü"));
        let played = Played::of(told(None, Some("ü"), None));
        assert_eq!((played.song(), played.artist()), ("", "ü"));
    }
}
