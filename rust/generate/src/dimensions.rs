//! Who and what the events are about: users, artists, albums, songs, devices and locations, one JSON object each.
//!
//! Events keep Eventsim's fields and have none of this; the objects repeat what joins them: `user_id` is the events' `userId`,
//! `title`, `artist` and `duration` are `song`, `artist` and `duration`, `user_agent` is `userAgent`, and city, zip and state are
//! the events' own. Users are those there are at the start of the run, as they are then. Everything follows from the settings.

use serde::Serialize;

use crate::{
    catalogue::{AGENTS, Catalogue},
    machine::State,
    model::Model,
    population::Listener,
    rng::{Purpose, Rng},
    simulation::Settings,
};

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Dimension {
    /// Listeners at the start.
    Users,
    /// Artists and bands.
    Artists,
    /// Albums.
    Albums,
    /// Songs.
    Songs,
    /// Devices, by user agent.
    Devices,
    /// Places where listeners live.
    Locations,
}

impl Dimension {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Users, Self::Artists, Self::Albums, Self::Songs, Self::Devices, Self::Locations];

    /// Returns the name of its topic or file, without a prefix.
    pub fn name(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Artists => "artists",
            Self::Albums => "albums",
            Self::Songs => "songs",
            Self::Devices => "devices",
            Self::Locations => "locations",
        }
    }
}

#[derive(Serialize)]
struct User<'a> {
    user_id: u64,
    username: String,
    first_name: &'a str,
    last_name: &'a str,
    age: u32,
    gender: &'a str,
    level: &'a str,
    subscription_type: &'static str,
    registration_date: String,
    country: &'static str,
    location_id: u32,
    device_id: u32,
}

#[derive(Serialize)]
struct ArtistObject<'a> {
    artist_id: usize,
    name: &'a str,
    country: &'static str,
    genre: &'static str,
    is_band: bool,
}

#[derive(Serialize)]
struct AlbumObject<'a> {
    album_id: usize,
    title: &'a str,
    artist_id: u32,
    release_date: String,
    total_tracks: u32,
    album_type: &'static str,
}

#[derive(Serialize)]
struct SongObject<'a> {
    song_id: &'a str,
    title: &'a str,
    artist: &'a str,
    artist_id: u32,
    album_id: u32,
    duration: f64,
    duration_seconds: i64,
    release_date: String,
    genre: &'static str,
    language: &'static str,
    explicit: bool,
}

#[derive(Serialize)]
struct Device<'a> {
    device_id: usize,
    device_type: &'static str,
    os: &'static str,
    browser: &'static str,
    app_version: &'static str,
    user_agent: &'a str,
}

#[derive(Serialize)]
struct Location<'a> {
    location_id: usize,
    country: &'static str,
    region: &'static str,
    state: &'static str,
    city: &'a str,
    zip: &'a str,
    timezone: &'static str,
    population: u64,
}

/// What takes an object: kind, key, and JSON without a newline.
pub type Take<'a, E> = dyn FnMut(Dimension, &str, &[u8]) -> Result<(), E> + 'a;

/// Hands every object to `take`. Users come last: they are the many.
///
/// # Errors
/// What `take` returns.
pub fn for_each<E>(settings: &Settings, take: &mut Take<'_, E>) -> Result<(), E> {
    let catalogue = Catalogue::invent(&settings.profile.catalogue, settings.seed);
    music(&catalogue, take)?;
    for (index, agent) in AGENTS.iter().enumerate() {
        // In events the string stands in quotes.
        let user_agent = &format!("\"{}\"", agent.text);
        let (device_type, os, browser, app_version) = (agent.device, agent.os, agent.browser, agent.version);
        let device = Device { device_id: index + 1, device_type, os, browser, app_version, user_agent };
        take(Dimension::Devices, &(index + 1).to_string(), &json(&device))?;
    }
    for (index, place) in catalogue.places.iter().enumerate() {
        let location = Location {
            location_id: index + 1,
            country: place.country,
            region: place.region,
            state: place.state,
            city: &place.city,
            zip: &place.zip,
            timezone: place.timezone,
            population: place.population,
        };
        take(Dimension::Locations, &(index + 1).to_string(), &json(&location))?;
    }
    users(settings, &catalogue, take)
}

fn music<E>(catalogue: &Catalogue, take: &mut Take<'_, E>) -> Result<(), E> {
    for (index, artist) in catalogue.artists.iter().enumerate() {
        let (name, country, genre, is_band) = (&artist.name, artist.country, artist.genre, artist.is_band);
        let object = ArtistObject { artist_id: index + 1, name, country, genre, is_band };
        take(Dimension::Artists, &(index + 1).to_string(), &json(&object))?;
    }
    for (index, album) in catalogue.albums.iter().enumerate() {
        let object = AlbumObject {
            album_id: index + 1,
            title: &album.title,
            artist_id: album.artist + 1,
            release_date: date(album.release_day),
            total_tracks: album.num_tracks,
            album_type: album.kind(),
        };
        take(Dimension::Albums, &(index + 1).to_string(), &json(&object))?;
    }
    for (track, song) in catalogue.tracks.iter().zip(&catalogue.songs) {
        let artist = &catalogue.artists[track.artist as usize];
        let object = SongObject {
            song_id: &track.id,
            title: &track.title,
            artist: &artist.name,
            artist_id: track.artist + 1,
            album_id: track.album + 1,
            duration: track.duration,
            duration_seconds: song.seconds,
            release_date: date(catalogue.albums[track.album as usize].release_day),
            genre: artist.genre,
            language: artist.language,
            explicit: track.is_explicit,
        };
        take(Dimension::Songs, &track.id, &json(&object))?;
    }
    Ok(())
}

fn users<E>(settings: &Settings, catalogue: &Catalogue, take: &mut Take<'_, E>) -> Result<(), E> {
    let model = &Model::new(settings.clone());
    for index in 0..settings.num_users {
        // Whoever is gone before the start is in no event.
        let Some(listener) = Listener::initial(model, index) else { continue };
        let user_id = settings.first_user_id + u64::from(index);
        let state = model.machine().state(listener.session.state());
        let rng = &mut Rng::new(settings.seed, Purpose::Dimensions, u64::from(index));
        take(
            Dimension::Users,
            &user_id.to_string(),
            &json(&user(user_id, &listener, state, catalogue, rng)),
        )?;
    }
    Ok(())
}

fn user<'a>(
    user_id: u64,
    listener: &Listener,
    state: &'a State,
    catalogue: &'a Catalogue,
    rng: &mut Rng,
) -> User<'a> {
    let identity = &listener.identity;
    let first_name = &catalogue.first_names[identity.first_name as usize];
    let last_name = &catalogue.last_names[identity.last_name as usize];
    // From 13 to 88, most of them around thirty.
    let age = (13.0 + (18.0 * (0.5 * rng.normal()).exp()).min(75.0)) as u32;
    let subscription_type = match (state.level.as_str(), rng.unit()) {
        ("free", _) => "Free",
        (_, part) if age < 27 && part < 0.5 => "Student",
        (_, part) if part < 0.7 => "Premium",
        _ => "Family",
    };
    let plain =
        |text: &str| text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
    User {
        user_id,
        username: format!("{}.{}{user_id}", plain(&first_name.name), plain(&last_name.name)),
        first_name: &first_name.name,
        last_name: &last_name.name,
        age,
        gender: first_name.gender,
        level: &state.level,
        subscription_type,
        registration_date: date(listener.registration.div_euclid(86_400) as i32),
        country: catalogue.places[identity.place as usize].country,
        location_id: identity.place + 1,
        device_id: identity.agent + 1,
    }
}

fn json(object: &impl Serialize) -> Vec<u8> {
    // Plain structs of strings and numbers: there is nothing that could fail.
    serde_json::to_vec(object).unwrap_or_default()
}

/// Returns the date of a day since 1970.
fn date(day: i32) -> String {
    chrono::NaiveDate::from_epoch_days(day).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{profile::Profile, simulation::Simulation};
    use serde_json::Value;
    use std::{
        collections::{BTreeMap, BTreeSet},
        convert::Infallible,
    };

    fn settings() -> Settings {
        let start_ms = 1_771_804_800_926;
        Settings {
            profile: Profile::builtin("example").unwrap(),
            seed: 3,
            num_users: 600,
            first_user_id: 100,
            start_ms,
            end_ms: start_ms + 7 * 86_400_000,
            tag: None,
        }
    }

    fn objects(settings: &Settings) -> BTreeMap<Dimension, BTreeMap<String, Value>> {
        let mut objects: BTreeMap<Dimension, BTreeMap<String, Value>> = BTreeMap::new();
        let Ok(()) = for_each::<Infallible>(settings, &mut |dimension, key, value| {
            let object = serde_json::from_slice(value).unwrap();
            let before = objects.entry(dimension).or_default().insert(key.to_owned(), object);
            assert!(before.is_none(), "{dimension:?} {key} comes twice");
            Ok(())
        });
        objects
    }

    #[test]
    fn every_event_finds_its_objects() {
        let objects = objects(&settings());
        let all = |dimension| objects[&dimension].values();
        let text = |value: &Value| value.to_string();
        let songs: BTreeSet<String> = all(Dimension::Songs)
            .map(|song| format!("{}{}{}", song["title"], song["artist"], song["duration"]))
            .collect();
        let places: BTreeSet<String> = all(Dimension::Locations)
            .map(|place| format!("{}{}{}", place["city"], place["zip"], place["state"]))
            .collect();
        let agents: BTreeMap<String, &Value> = all(Dimension::Devices)
            .map(|device| (text(&device["user_agent"]), &device["device_id"]))
            .collect();
        let mut simulation = Simulation::new(settings());
        let mut num_users = 0;

        while let Some(moment) = simulation.step() {
            for (_, value) in moment.events() {
                let event: Value = serde_json::from_slice(value).unwrap();
                assert!(places.contains(&format!("{}{}{}", event["city"], event["zip"], event["state"])));
                if event["song"].is_string() {
                    let song = format!("{}{}{}", event["song"], event["artist"], event["duration"]);
                    assert!(songs.contains(&song), "{song}");
                }
                if let Some(user) = event["userId"].as_u64() {
                    let object = &objects[&Dimension::Users][&user.to_string()];
                    assert_eq!(object["first_name"], event["firstName"]);
                    assert_eq!(object["last_name"], event["lastName"]);
                    assert_eq!(object["gender"], event["gender"]);
                    assert_eq!(&object["device_id"], agents[&text(&event["userAgent"])]);
                    num_users += 1;
                }
            }
        }

        assert!(num_users > 1_000, "{num_users}");
    }

    #[test]
    fn references_between_objects_hold_and_levels_match() {
        let objects = objects(&settings());
        let has = |dimension, id: &Value| objects[&dimension].contains_key(&id.to_string());

        for song in objects[&Dimension::Songs].values() {
            assert!(has(Dimension::Artists, &song["artist_id"]) && has(Dimension::Albums, &song["album_id"]));
        }
        for user in objects[&Dimension::Users].values() {
            assert!(
                has(Dimension::Locations, &user["location_id"])
                    && has(Dimension::Devices, &user["device_id"])
            );
            assert_eq!(user["level"] == "free", user["subscription_type"] == "Free");
            assert!((13..=88).contains(&user["age"].as_u64().unwrap()), "{user}");
        }
        assert!(objects[&Dimension::Users].len() > 590);
    }
}
