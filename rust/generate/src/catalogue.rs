//! The catalogue: artists, songs, places, names and user agents, all invented from a seed, or the songs of a file.
//!
//! Nothing in it is taken from a licensed data set. Shapes follow what pipelines meet in the wild: durations log-normal around
//! 223 s, popularity flat (exponent 0.3 gives the best hundredth of the songs 4 % of the plays; 0 makes all alike, 1 is Zipf's
//! law), zip codes with leading zeros, and a few percent of awkward strings: quotes, backslashes, text that was decoded with the
//! wrong character set, emoji, very long names, the same song listed twice. What events say is kept as JSON text that is ready
//! to be copied; the rest is for [`crate::dimensions`].

mod agents;
mod music;
mod places;
mod tracks;
mod words;

use crate::{
    profile::CatalogueSize,
    rng::{Purpose, Rng, Weighted},
};
use words::{FEMALE, MALE, SURNAME_ENDS, SURNAMES, invented_word, pick};

pub use self::{
    agents::{AGENTS, Agent},
    music::{Album, Artist, Track},
    places::Place,
    tracks::{Encoding, TrackFile, TrackFileError},
};

/// A catalogue.
#[derive(Clone, Debug)]
pub struct Catalogue {
    /// Songs, as in the events; invented ones begin with the most popular.
    pub songs: Vec<Song>,
    /// The rest of what is known of each song, in the same order.
    pub tracks: Vec<Track>,
    /// Artists.
    pub artists: Vec<Artist>,
    /// Albums.
    pub albums: Vec<Album>,
    /// Places, the largest first.
    pub places: Vec<Place>,
    /// User agents, as JSON strings (with the literal quotes around the value that Eventsim writes), in the order of [`AGENTS`].
    pub agents: Vec<String>,
    /// First names.
    pub first_names: Vec<FirstName>,
    /// Last names.
    pub last_names: Vec<LastName>,
    song_weights: Weighted,
    place_weights: Weighted,
    agent_weights: Weighted,
    first_name_weights: Weighted,
    last_name_weights: Weighted,
}

/// A song.
#[derive(Clone, Debug)]
pub struct Song {
    /// `"artist":…,"song":…,"duration":…`
    pub json: String,
    /// Seconds until the next song can start, rounded down.
    pub seconds: i64,
}

/// A first name with the gender that goes with it.
#[derive(Clone, Debug)]
pub struct FirstName {
    /// `"firstName":…,"gender":…`
    pub json: String,
    /// The name.
    pub name: String,
    /// `F` or `M`.
    pub gender: &'static str,
}

/// A last name.
#[derive(Clone, Debug)]
pub struct LastName {
    /// As a JSON string.
    pub json: String,
    /// The name.
    pub name: String,
}

/// Who and where a listener is, as indices into the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Index of the place.
    pub place: u32,
    /// Index of the user agent.
    pub agent: u32,
    /// Index of the first name.
    pub first_name: u32,
    /// Index of the last name.
    pub last_name: u32,
}

impl Catalogue {
    /// Invents the catalogue of a seed, around the songs of a file if there is one.
    pub fn invent(size: &CatalogueSize, seed: u64) -> Self {
        let stream = |index| Rng::new(seed, Purpose::Catalogue, index);
        let rank = |exponent: f64| move |index: usize| ((index + 1) as f64).powf(-exponent);
        let (music, song_weights) = match &size.tracks {
            Some(file) => (file.music(&mut stream(0)), Weighted::new(file.counts())),
            None => {
                let music = music::invent(size.artists, size.songs, size.awkward_share, &mut stream(0));
                (music, Weighted::new((0..size.songs).map(rank(size.song_weight_exponent))))
            }
        };
        let places = places::invent(size.places, &mut stream(1));
        let first_names = invent_first_names(size.first_names, &mut stream(2));
        let last_names = invent_last_names(size.last_names, &mut stream(3));
        Self {
            songs: music.tracks.iter().map(|track| song(track, &music.artists)).collect(),
            tracks: music.tracks,
            artists: music.artists,
            albums: music.albums,
            song_weights,
            place_weights: Weighted::new(places.iter().map(|place| place.population as f64)),
            agent_weights: Weighted::new(AGENTS.iter().map(|agent| agent.weight)),
            first_name_weights: Weighted::new((0..first_names.len()).map(rank(0.6))),
            last_name_weights: Weighted::new((0..last_names.len()).map(rank(0.7))),
            agents: AGENTS.iter().map(|agent| json(&format!("\"{}\"", agent.text))).collect(),
            places,
            first_names,
            last_names,
        }
    }

    /// Draws a song by popularity.
    pub fn draw_song(&self, rng: &mut Rng) -> u32 {
        self.song_weights.draw(rng) as u32
    }

    /// Draws who a new listener is.
    pub fn draw_identity(&self, rng: &mut Rng) -> Identity {
        Identity {
            place: self.place_weights.draw(rng) as u32,
            agent: self.agent_weights.draw(rng) as u32,
            first_name: self.first_name_weights.draw(rng) as u32,
            last_name: self.last_name_weights.draw(rng) as u32,
        }
    }
}

/// Returns `text` as a JSON string.
fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn song(track: &Track, artists: &[Artist]) -> Song {
    let artist = json(&artists[track.artist as usize].name);
    let Track { title, duration, .. } = track;
    Song {
        json: format!(r#""artist":{artist},"song":{},"duration":{duration}"#, json(title)),
        seconds: *duration as i64,
    }
}

fn invent_first_names(count: usize, rng: &mut Rng) -> Vec<FirstName> {
    let mut names = Vec::with_capacity(count);
    for index in 0..count {
        let (gender, known) = if index % 2 == 0 { ("F", FEMALE) } else { ("M", MALE) };
        let syllables = 2 + rng.below(2);
        let name =
            known.get(index / 2).map_or_else(|| invented_word(rng, syllables), |name| (*name).to_owned());
        let json = format!(r#""firstName":{},"gender":"{gender}""#, json(&name));
        names.push(FirstName { json, name, gender });
    }
    names
}

fn invent_last_names(count: usize, rng: &mut Rng) -> Vec<LastName> {
    let mut names = Vec::with_capacity(count);
    for index in 0..count {
        let syllables = 1 + rng.below(2);
        let invented = format!("{}{}", invented_word(rng, syllables), pick(SURNAME_ENDS, rng));
        let name = SURNAMES.get(index).map_or(invented, |name| (*name).to_owned());
        names.push(LastName { json: json(&name), name });
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profile;

    fn catalogue(seed: u64) -> Catalogue {
        Catalogue::invent(&Profile::builtin("example").unwrap().catalogue, seed)
    }

    #[test]
    fn every_fragment_is_json_and_the_seed_decides() {
        let catalogue = catalogue(1);

        for song in &catalogue.songs {
            let value: serde_json::Value = serde_json::from_str(&format!("{{{}}}", song.json)).unwrap();
            assert_eq!(value["duration"].as_f64().unwrap() as i64, song.seconds, "{}", song.json);
        }
        for (song, track) in catalogue.songs.iter().zip(&catalogue.tracks) {
            let value: serde_json::Value = serde_json::from_str(&format!("{{{}}}", song.json)).unwrap();
            assert_eq!(value["song"], track.title.as_str());
            assert_eq!(value["artist"], catalogue.artists[track.artist as usize].name.as_str());
            assert_eq!(value["duration"], track.duration);
        }
        for place in &catalogue.places {
            let text = format!("{{{},{}}}", place.name_json, place.position_json);
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(value["zip"].as_str().unwrap().len(), 5, "{text}");
            assert_eq!(value["state"].as_str().unwrap().len(), 2, "{text}");
        }
        assert_eq!(catalogue.songs[17].json, self::catalogue(1).songs[17].json);
        assert_ne!(catalogue.songs[17].json, self::catalogue(2).songs[17].json);
    }

    #[test]
    fn awkward_strings_are_there_in_their_share() {
        let catalogue = catalogue(1);
        let has = |needle: &str| catalogue.songs.iter().any(|song| song.json.contains(needle));

        assert!(has("\\\"") && has("\\\\") && has("Ã") && has("\u{1F3B5}") && has("Valley/Orchestra"));
        assert!(
            catalogue.songs.iter().any(|song| song.json.chars().any(|c| ('\u{80}'..'\u{a0}').contains(&c)))
        );
        let zeros = catalogue.places.iter().filter(|place| place.name_json.contains(r#""zip":"0"#)).count();
        assert!(zeros > 5, "{zeros} zip codes begin with 0");
    }

    #[test]
    fn songs_last_as_long_as_real_ones() {
        let catalogue = catalogue(3);
        let mut rng = Rng::new(3, Purpose::Listener, 0);
        let mut plays: Vec<i64> =
            (0..100_000).map(|_| catalogue.songs[catalogue.draw_song(&mut rng) as usize].seconds).collect();
        plays.sort_unstable();

        let mean = plays.iter().sum::<i64>() as f64 / plays.len() as f64;

        assert!((mean / 238.7 - 1.0).abs() < 0.015, "mean {mean}");
        assert!((plays[50_000] - 224).abs() < 5, "median {}", plays[50_000]);
    }

    #[test]
    fn popularity_is_flat() {
        let catalogue = catalogue(1);
        let edges = catalogue.song_weights.edges();
        let share = |count: usize| edges[count - 1] / edges.last().unwrap();

        assert!((share(100) - 0.039).abs() < 0.003, "best hundredth {}", share(100));
        assert!((share(1_000) - 0.209).abs() < 0.015, "best tenth {}", share(1_000));
    }
}
