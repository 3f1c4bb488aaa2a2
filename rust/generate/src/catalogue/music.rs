//! Invented artists, albums and songs.
//!
//! Durations are a mixture of two log-normal distributions, fitted to what is known of real catalogues: median 223 s, mean 238 s,
//! one in a hundred above 610 s, one in ten thousand above half an hour. They are spread evenly over the distribution and then
//! shuffled, so that a small catalogue has the same mean and median as a large one.

use super::words::{
    ADJECTIVES, COUNTRIES, FEMALE, FOREIGN, GENRES, LANGUAGES, MALE, NOUNS, SURNAMES, invented_word, pick,
};
use crate::rng::Rng;

/// An artist or a band.
#[derive(Clone, Debug)]
pub struct Artist {
    /// Name, as in the events.
    pub name: String,
    /// Country, two letters.
    pub country: &'static str,
    /// What they play.
    pub genre: &'static str,
    /// Whether there are several of them.
    pub is_band: bool,
    /// What they sing in, two letters.
    pub language: &'static str,
}

/// An album.
#[derive(Clone, Debug)]
pub struct Album {
    /// Title.
    pub title: String,
    /// Index of the artist.
    pub artist: u32,
    /// Release, days since 1970.
    pub release_day: i32,
    /// Songs on it, those that nobody has among them.
    pub num_tracks: u32,
}

impl Album {
    /// Returns `single`, `ep` or `album`, by the number of songs.
    pub fn kind(&self) -> &'static str {
        match self.num_tracks {
            0..=2 => "single",
            3..=6 => "ep",
            _ => "album",
        }
    }
}

/// What the events do not tell about a song.
#[derive(Clone, Debug)]
pub struct Track {
    /// Id, from the file of tracks or invented.
    pub id: String,
    /// Title, as in the events.
    pub title: String,
    /// Index of the artist.
    pub artist: u32,
    /// Index of the album.
    pub album: u32,
    /// Seconds, as in the events.
    pub duration: f64,
    /// Whether the words are for adults.
    pub is_explicit: bool,
}

/// Artists, albums and songs that belong together.
#[derive(Clone, Debug, Default)]
pub(super) struct Music {
    pub(super) artists: Vec<Artist>,
    pub(super) albums: Vec<Album>,
    pub(super) tracks: Vec<Track>,
}

/// Invents artists and songs; a part of each, `awkward_share`, has names that pipelines stumble over.
pub(super) fn invent(num_artists: usize, num_songs: usize, awkward_share: f64, rng: &mut Rng) -> Music {
    let artists = (0..num_artists).map(|_| {
        let (name, is_band) = artist_name(rng);
        let name = if rng.chance(awkward_share) { awkward(&name, rng) } else { name };
        describe_artist(name, is_band, rng)
    });
    let mut music = Music { artists: artists.collect(), ..Music::default() };
    let durations = durations(num_songs, rng);
    for (index, duration) in durations.into_iter().enumerate() {
        let artist = rng.below(num_artists) as u32;
        let title = song_title(rng);
        let title = if rng.chance(awkward_share) { awkward(&title, rng) } else { title };
        let is_explicit = rng.chance(0.12);
        let id = format!("TR{:07}", index + 1);
        let mut track = Track { id, title, artist, album: 0, duration, is_explicit };
        // One song in 200 is listed twice, with another duration.
        if rng.chance(0.005)
            && let Some(last) = music.tracks.last()
        {
            (track.title, track.artist) = (last.title.clone(), last.artist);
        }
        music.tracks.push(track);
    }
    put_on_albums(&mut music, rng);
    music
}

/// Completes an artist.
pub(super) fn describe_artist(name: String, is_band: bool, rng: &mut Rng) -> Artist {
    let (country, language) = *pick(COUNTRIES, rng);
    // One artist in ten sings in another language than that of the country.
    let language = if rng.chance(0.1) { *pick(LANGUAGES, rng) } else { language };
    Artist { name, country, genre: pick::<&str>(GENRES, rng), is_band, language }
}

/// Distributes each artist's songs over albums of up to fourteen.
pub(super) fn put_on_albums(music: &mut Music, rng: &mut Rng) {
    let Music { artists, albums, tracks } = music;
    // The album an artist's next song goes on, and how many it still takes.
    let mut open: Vec<(u32, u32)> = vec![(0, 0); artists.len()];
    for track in tracks {
        let (album, room) = &mut open[track.artist as usize];
        if *room == 0 {
            let num_tracks = if rng.chance(0.3) { 1 + rng.below(6) } else { 8 + rng.below(7) } as u32;
            // 1960 to 2025; newer ones are likelier.
            let release_day = -3_652 + (24_106.0 * rng.unit().sqrt()) as i32;
            (*album, *room) = (albums.len() as u32, num_tracks);
            albums.push(Album { title: song_title(rng), artist: track.artist, release_day, num_tracks });
        }
        track.album = *album;
        *room -= 1;
    }
}

/// Returns durations in seconds with five decimals, as real files have them, in no particular order.
fn durations(count: usize, rng: &mut Rng) -> Vec<f64> {
    // (part, median, standard deviation of the logarithm)
    const COMPONENTS: [(f64, f64, f64); 2] = [(0.75, 231.0, 0.30), (0.25, 181.0, 0.70)];
    let num_first = (count as f64 * COMPONENTS[0].0).round() as usize;
    let mut durations = Vec::with_capacity(count);
    for ((_, median, deviation), size) in COMPONENTS.into_iter().zip([num_first, count - num_first]) {
        for index in 0..size {
            let normal = normal_quantile((index as f64 + 0.5) / size as f64);
            let seconds = (median * (deviation * normal).exp()).clamp(1.04, 1819.8);
            durations.push((seconds * 100_000.0).round() / 100_000.0);
        }
    }
    for index in (1..durations.len()).rev() {
        durations.swap(index, rng.below(index + 1));
    }
    durations
}

/// Returns the value below which a standard normal variable stays with probability `part`, to 1e-8 (Acklam's rational
/// approximation, 1.15e-9 relative).
fn normal_quantile(part: f64) -> f64 {
    const A: [f64; 6] = [
        -39.696_830_286_653_76,
        220.946_098_424_520_5,
        -275.928_510_446_968_7,
        138.357_751_867_269,
        -30.664_798_066_147_16,
        2.506_628_277_459_239,
    ];
    const B: [f64; 6] = [
        -54.476_098_798_224_06,
        161.585_836_858_040_9,
        -155.698_979_859_886_6,
        66.801_311_887_719_72,
        -13.280_681_552_885_72,
        1.0,
    ];
    const C: [f64; 6] = [
        -0.007_784_894_002_430_293,
        -0.322_396_458_041_136_5,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 5] = [
        0.007_784_695_709_041_462,
        0.322_467_129_070_039_8,
        2.445_134_137_142_996,
        3.754_408_661_907_416,
        1.0,
    ];
    let polynomial = |factors: &[f64], x: f64| factors.iter().fold(0.0, |sum, factor| sum * x + factor);
    let tail = part.min(1.0 - part);
    if tail < 0.02425 {
        let x = (-2.0 * tail.ln()).sqrt();
        let value = polynomial(&C, x) / polynomial(&D, x);
        return if part < 0.5 { value } else { -value };
    }
    let x = part - 0.5;
    x * polynomial(&A, x * x) / polynomial(&B, x * x)
}

fn artist_name(rng: &mut Rng) -> (String, bool) {
    let syllables = 2 + rng.below(2);
    match rng.below(8) {
        0 => (format!("The {} {}s", pick(ADJECTIVES, rng), pick(NOUNS, rng)), true),
        1 => (format!("{} & {}", pick(FEMALE, rng), pick(MALE, rng)), true),
        2 => (format!("{} {}", pick(ADJECTIVES, rng), pick(NOUNS, rng)), true),
        3 => (pick(FOREIGN, rng).to_string(), true),
        4 => (invented_word(rng, syllables), false),
        5 => (format!("{} {}", pick(MALE, rng), pick(SURNAMES, rng)), false),
        _ => (format!("{} {}", pick(FEMALE, rng), invented_word(rng, syllables)), false),
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
pub(super) fn awkward(text: &str, rng: &mut Rng) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;

    #[test]
    fn quantiles_of_the_normal_distribution_are_those_of_tables() {
        for (part, expected) in
            [(0.5, 0.0), (0.975, 1.959_963_985), (0.01, -2.326_347_874), (0.000_05, -3.890_591_886)]
        {
            let found = normal_quantile(part);
            assert!((found - expected).abs() < 1e-7, "{part}: {found}");
        }
    }

    #[test]
    fn durations_are_those_of_real_catalogues_for_every_seed() {
        for seed in 0..5 {
            let mut durations = durations(10_000, &mut Rng::new(seed, Purpose::Catalogue, 0));
            durations.sort_by(f64::total_cmp);

            let mean = durations.iter().sum::<f64>() / 10_000.0;
            assert!((mean - 238.5).abs() < 1.0, "mean {mean}");
            assert!((durations[5_000] - 224.0).abs() < 1.0, "median {}", durations[5_000]);
            assert!((durations[9_900] / 615.0 - 1.0).abs() < 0.03, "p99 {}", durations[9_900]);
            assert!((40.0..60.0).contains(&durations[100]), "p1 {}", durations[100]);
            assert_eq!(durations.iter().filter(|seconds| **seconds > 1_800.0).count(), 1);
        }
    }

    #[test]
    fn albums_hold_songs_of_one_artist_and_no_more_than_they_say() {
        let music = invent(500, 3_000, 0.03, &mut Rng::new(1, Purpose::Catalogue, 0));
        let mut counts = vec![0u32; music.albums.len()];

        for track in &music.tracks {
            assert_eq!(music.albums[track.album as usize].artist, track.artist);
            counts[track.album as usize] += 1;
        }

        assert!(
            counts.iter().zip(&music.albums).all(|(count, album)| (1..=album.num_tracks).contains(count))
        );
        assert!(["single", "ep", "album"].iter().all(|kind| music.albums.iter().any(|a| a.kind() == *kind)));
    }
}
