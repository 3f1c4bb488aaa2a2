//! The synthetic catalogue: artists, songs, places, names and user agents, all invented from a seed.
//!
//! Nothing in it is taken from a licensed data set. Shapes follow what pipelines meet in the wild: durations log-normal around
//! 224 s, popularity flat (exponent 0.3 gives the best hundredth of the songs 4 % of the plays), zip codes with leading zeros,
//! and a few percent of awkward strings: quotes, backslashes, text that was decoded with the wrong character set, emoji, very
//! long names, the same song listed twice. Everything is kept as JSON text that is ready to be copied into an event.

mod words;

use crate::{
    profile::CatalogueSize,
    rng::{Purpose, Rng, Weighted},
};
use words::{
    ADJECTIVES, AGENTS, CITY_ENDS, FEMALE, FOREIGN, MALE, NOUNS, STATES, SURNAME_ENDS, SURNAMES, SYLLABLES,
};

/// A catalogue.
#[derive(Clone, Debug)]
pub struct Catalogue {
    /// Songs, the most popular first.
    pub songs: Vec<Song>,
    /// Places.
    pub places: Vec<Place>,
    /// User agents, as JSON strings (with the literal quotes around the value that Eventsim writes).
    pub agents: Vec<String>,
    /// First names.
    pub first_names: Vec<FirstName>,
    /// Last names, as JSON strings.
    pub last_names: Vec<String>,
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

/// A place where a listener lives.
#[derive(Clone, Debug)]
pub struct Place {
    /// `"city":…,"zip":…,"state":…`
    pub name_json: String,
    /// `"lon":…,"lat":…`
    pub position_json: String,
}

/// A first name with the gender that goes with it.
#[derive(Clone, Debug)]
pub struct FirstName {
    /// `"firstName":…,"gender":…`
    pub json: String,
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
    /// Invents the catalogue of a seed.
    pub fn invent(size: &CatalogueSize, seed: u64) -> Self {
        let stream = |index| Rng::new(seed, Purpose::Catalogue, index);
        let songs = invent_songs(size, &mut stream(0));
        let places = invent_places(size.places, &mut stream(1));
        let first_names = invent_first_names(size.first_names, &mut stream(2));
        let last_names = invent_last_names(size.last_names, &mut stream(3));
        let rank = |exponent: f64| move |index: usize| ((index + 1) as f64).powf(-exponent);
        Self {
            song_weights: Weighted::new((0..songs.len()).map(rank(size.song_weight_exponent))),
            place_weights: Weighted::new((0..places.len()).map(rank(0.8))),
            agent_weights: Weighted::new(AGENTS.iter().map(|(_, weight)| *weight)),
            first_name_weights: Weighted::new((0..first_names.len()).map(rank(0.6))),
            last_name_weights: Weighted::new((0..last_names.len()).map(rank(0.7))),
            agents: AGENTS.iter().map(|(agent, _)| json(&format!("\"{agent}\""))).collect(),
            songs,
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

fn pick<'a, T>(words: &'a [T], rng: &mut Rng) -> &'a T {
    &words[rng.below(words.len())]
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn invented_word(rng: &mut Rng, num_syllables: usize) -> String {
    let word: String = (0..num_syllables).map(|_| *pick(SYLLABLES, rng)).collect();
    capitalised(&word)
}

fn artist_name(rng: &mut Rng) -> String {
    let syllables = 2 + rng.below(2);
    match rng.below(8) {
        0 => format!("The {} {}s", pick(ADJECTIVES, rng), pick(NOUNS, rng)),
        1 => format!("{} & {}", pick(FEMALE, rng), pick(MALE, rng)),
        2 => format!("{} {}", pick(ADJECTIVES, rng), pick(NOUNS, rng)),
        3 => pick(FOREIGN, rng).to_string(),
        4 => invented_word(rng, syllables),
        5 => format!("{} {}", pick(MALE, rng), pick(SURNAMES, rng)),
        _ => format!("{} {}", pick(FEMALE, rng), invented_word(rng, syllables)),
    }
}

fn song_title(rng: &mut Rng) -> String {
    match rng.below(7) {
        0 => format!("{} of the {}", pick(NOUNS, rng), pick(NOUNS, rng)),
        1 => format!("My {} {}", pick(ADJECTIVES, rng), pick(NOUNS, rng)),
        2 => format!("{} (Live at {})", pick(NOUNS, rng), invented_word(rng, 2)),
        3 => pick(FOREIGN, rng).to_string(),
        4 => format!("{} {}", invented_word(rng, 2), pick(NOUNS, rng)),
        5 => format!("{} {}, Pt. {}", pick(ADJECTIVES, rng), pick(NOUNS, rng), 1 + rng.below(4)),
        _ => format!("{} {}", pick(ADJECTIVES, rng), pick(NOUNS, rng)),
    }
}

/// Returns `text` as it looks after its UTF-8 bytes were read as ISO-8859-1 (`ù` becomes `Ã¹`), which also makes the control
/// characters U+0080 to U+009F.
fn damaged(text: &str) -> String {
    text.bytes().map(char::from).collect()
}

/// Makes a title or an artist's name awkward in one of the ways known from real catalogues.
fn awkward(text: &str, rng: &mut Rng) -> String {
    match rng.below(8) {
        0 => format!("\"{text}\""),
        1 => format!("{text} (\\\"Remix\\\")"),
        2 => format!("{text} \\"),
        3 => damaged(&format!("{} {text}", pick(FOREIGN, rng))),
        4 => format!("{text} \u{1F3B5}\u{1F469}\u{200D}\u{1F3A4}"),
        5 => format!("{text}; {}", ["Orchestra of the Upper Valley"; 9].join("/")),
        6 => format!(" {text}\t"),
        _ => format!("{text}\u{301}\u{2028}{}", pick(FOREIGN, rng)),
    }
}

fn invent_songs(size: &CatalogueSize, rng: &mut Rng) -> Vec<Song> {
    let artists: Vec<String> = (0..size.artists).map(|_| artist_name(rng)).collect();
    let mut songs: Vec<Song> = Vec::with_capacity(size.songs);
    let mut last = (0, String::new());
    for _ in 0..size.songs {
        let (mut artist, mut title) = (rng.below(artists.len()), song_title(rng));
        // One song in 200 is listed twice, with another duration.
        if rng.chance(0.005) && !songs.is_empty() {
            (artist, title) = last.clone();
        }
        last = (artist, title.clone());
        let mut name = artists[artist].clone();
        if rng.chance(size.awkward_share) {
            let is_title = rng.chance(0.6);
            let text = if is_title { &mut title } else { &mut name };
            *text = awkward(text, rng);
        }
        let seconds = (224.5 * (0.3562 * rng.normal()).exp()).clamp(1.04, 1819.8) as f32;
        // Five decimals of a 32-bit float, as in the files that real generators read.
        let duration = (seconds * 100_000.0).round() / 100_000.0;
        songs.push(Song {
            json: format!(r#""artist":{},"song":{},"duration":{duration}"#, json(&name), json(&title)),
            seconds: duration as i64,
        });
    }
    songs
}

fn invent_places(count: usize, rng: &mut Rng) -> Vec<Place> {
    let mut places = Vec::with_capacity(count);
    for _ in 0..count {
        let state = pick(STATES, rng);
        let num_syllables = 1 + rng.below(2);
        let city = format!("{}{}", invented_word(rng, num_syllables), pick(CITY_ENDS, rng));
        let zip = usize::from(state.zip_prefix) * 100 + rng.below(100);
        let (lon, lat) = (state.lon + 2.0 * rng.unit() - 1.0, state.lat + 2.0 * rng.unit() - 1.0);
        places.push(Place {
            name_json: format!(r#""city":{},"zip":"{zip:05}","state":"{}""#, json(&city), state.code),
            position_json: format!(r#""lon":{lon:.6},"lat":{lat:.6}"#),
        });
    }
    places
}

fn invent_first_names(count: usize, rng: &mut Rng) -> Vec<FirstName> {
    let mut names = Vec::with_capacity(count);
    for index in 0..count {
        let (gender, known) = if index % 2 == 0 { ("F", FEMALE) } else { ("M", MALE) };
        let syllables = 2 + rng.below(2);
        let name =
            known.get(index / 2).map_or_else(|| invented_word(rng, syllables), |name| (*name).to_owned());
        names.push(FirstName { json: format!(r#""firstName":{},"gender":"{gender}""#, json(&name)) });
    }
    names
}

fn invent_last_names(count: usize, rng: &mut Rng) -> Vec<String> {
    let mut names = Vec::with_capacity(count);
    for index in 0..count {
        let syllables = 1 + rng.below(2);
        let invented = format!("{}{}", invented_word(rng, syllables), pick(SURNAME_ENDS, rng));
        names.push(json(SURNAMES.get(index).copied().unwrap_or(&invented)));
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
