//! The word lists that names and titles are put together from. Invented or in common use; nothing comes from a data set.

use crate::rng::Rng;

/// A state of the country the listeners live in.
pub(super) struct State {
    pub(super) code: &'static str,
    /// First three digits of its zip codes.
    pub(super) zip_prefix: u16,
    pub(super) lon: f64,
    pub(super) lat: f64,
    pub(super) region: &'static str,
    pub(super) country: &'static str,
    pub(super) timezone: &'static str,
}

const fn state(
    code: &'static str,
    zip_prefix: u16,
    lon: f64,
    lat: f64,
    region: &'static str,
    timezone: &'static str,
) -> State {
    State { code, zip_prefix, lon, lat, region, country: "US", timezone }
}

/// Some states, roughly where they are; the eastern ones have zip codes that begin with 0.
pub(super) const STATES: &[State] = &[
    state("CA", 900, -119.4, 36.8, "West", "America/Los_Angeles"),
    state("TX", 750, -99.3, 31.3, "South", "America/Chicago"),
    state("NY", 100, -75.5, 42.9, "Northeast", "America/New_York"),
    state("FL", 320, -81.7, 28.6, "South", "America/New_York"),
    state("IL", 600, -89.2, 40.1, "Midwest", "America/Chicago"),
    state("PA", 150, -77.8, 40.9, "Northeast", "America/New_York"),
    state("OH", 430, -82.8, 40.3, "Midwest", "America/New_York"),
    state("MA", 18, -71.8, 42.3, "Northeast", "America/New_York"),
    state("NJ", 70, -74.7, 40.1, "Northeast", "America/New_York"),
    state("CT", 60, -72.7, 41.6, "Northeast", "America/New_York"),
    state("NH", 30, -71.6, 43.7, "Northeast", "America/New_York"),
    state("DE", 197, -75.5, 39.0, "South", "America/New_York"),
    state("GA", 300, -83.4, 32.7, "South", "America/New_York"),
    state("MN", 550, -94.3, 46.3, "Midwest", "America/Chicago"),
    state("WA", 980, -120.4, 47.4, "West", "America/Los_Angeles"),
    state("AZ", 850, -111.7, 34.3, "West", "America/Phoenix"),
    state("CO", 800, -105.5, 39.0, "West", "America/Denver"),
    state("NM", 870, -106.1, 34.4, "West", "America/Denver"),
    state("TN", 370, -86.4, 35.9, "South", "America/Chicago"),
    state("AK", 995, -152.3, 64.2, "West", "America/Anchorage"),
    State {
        code: "PR",
        zip_prefix: 7,
        lon: -66.4,
        lat: 18.2,
        region: "Territories",
        country: "PR",
        timezone: "America/Puerto_Rico",
    },
];

/// Countries that artists come from, and what is sung there.
pub(super) const COUNTRIES: &[(&str, &str)] = &[
    ("US", "en"),
    ("US", "en"),
    ("US", "en"),
    ("GB", "en"),
    ("GB", "en"),
    ("CA", "en"),
    ("CA", "fr"),
    ("AU", "en"),
    ("FR", "fr"),
    ("DE", "de"),
    ("ES", "es"),
    ("MX", "es"),
    ("BR", "pt"),
    ("SE", "sv"),
    ("JP", "ja"),
    ("KR", "ko"),
    ("NG", "en"),
    ("IN", "hi"),
];

pub(super) const LANGUAGES: &[&str] = &["en", "es", "fr", "de", "pt", "it", "ja", "ko", "ar"];

pub(super) const GENRES: &[&str] = &[
    "Pop",
    "Rock",
    "Hip-Hop",
    "R&B",
    "Electronic",
    "Country",
    "Jazz",
    "Classical",
    "Metal",
    "Folk",
    "Latin",
    "Reggae",
    "Blues",
    "Punk",
    "Soul",
    "Ambient",
];

pub(super) const FEMALE: &[&str] = &[
    "Emma", "Olivia", "Ida", "Nora", "Clara", "Ava", "Mia", "Lena", "Zoe", "Alma", "Rosa", "Ruth", "Iris",
    "Edith", "Greta", "Maya", "Noor", "Leila", "Priya", "Mei", "Yuki", "Amara", "Zuri", "Inés", "Chloé",
    "Anaïs", "Siân", "Björk",
];

pub(super) const MALE: &[&str] = &[
    "Leo", "Noah", "Liam", "Theo", "Hugo", "Otto", "Felix", "Oscar", "Arthur", "Jonas", "Emil", "Ivan",
    "Omar", "Karim", "Ravi", "Arjun", "Wei", "Kenji", "Kofi", "Tunde", "Mateo", "Diego", "José", "André",
    "Søren", "Jürgen", "Seán", "Łukasz",
];

pub(super) const SURNAMES: &[&str] = &[
    "Reed",
    "Ash",
    "Vale",
    "Brook",
    "Marsh",
    "Stone",
    "Wells",
    "Hale",
    "Frost",
    "Lane",
    "Pike",
    "Moss",
    "Fox",
    "Wolfe",
    "Lark",
    "Quinn",
    "O'Neill",
    "D'Arcy",
    "van Dijk",
    "Müller",
    "Gómez",
    "Nuñez",
    "Da Silva",
    "Okafor",
    "Nguyen",
    "Kim",
    "Haddad",
    "Sato",
    "Novák",
    "Smith-Jones",
];

pub(super) const SURNAME_ENDS: &[&str] =
    &["son", "man", "well", "ley", "ford", "er", "ski", "berg", "ton", "s"];

pub(super) const SYLLABLES: &[&str] = &[
    "al", "ber", "cor", "da", "el", "fen", "gar", "hol", "is", "jor", "ka", "lun", "mar", "nor", "or", "pel",
    "quin", "ros", "sel", "tor", "ul", "ver", "wes", "yar", "zan", "bri", "cla", "dro", "fla", "gre",
];

pub(super) const CITY_ENDS: &[&str] = &[
    "ton",
    "ville",
    "field",
    " Falls",
    "burg",
    " Springs",
    "port",
    " City",
    "dale",
    " Heights",
    "",
    "wood",
    " St. Mary",
];

pub(super) const ADJECTIVES: &[&str] = &[
    "Slow", "Silver", "Broken", "Golden", "Distant", "Electric", "Quiet", "Burning", "Hollow", "Crystal",
    "Midnight", "Paper", "Velvet", "Restless", "Frozen", "Crooked", "Lonely", "Neon", "Gentle", "Savage",
    "Blue", "Endless", "Second", "Secret",
];

pub(super) const NOUNS: &[&str] = &[
    "Harbour", "River", "Mirror", "Engine", "Garden", "Winter", "Signal", "Shadow", "Letter", "Ocean",
    "Fire", "Ghost", "Highway", "Lantern", "Machine", "Morning", "Mountain", "Pilot", "Planet", "Radio",
    "Rain", "Season", "Stranger", "Street", "Summer", "Thunder", "Tiger", "Tower", "Train", "Window",
];

pub(super) const FOREIGN: &[&str] = &[
    "Déjà vu",
    "Où va l'été",
    "Mañana",
    "Über den Wolken",
    "Corazón",
    "Señorita",
    "Coração",
    "Žal",
    "Ночь",
    "Звезда",
    "夜に歩く",
    "봄날",
    "أغنية",
    "Ωκεανός",
    "Sigur Rósir",
    "Motörhalle",
    "Beyoncée",
    "¿Dónde?",
];

/// Returns one of the words.
pub(super) fn pick<'a, T>(words: &'a [T], rng: &mut Rng) -> &'a T {
    &words[rng.below(words.len())]
}

/// Returns a word that means nothing, with a capital.
pub(super) fn invented_word(rng: &mut Rng, num_syllables: usize) -> String {
    let word: String = (0..num_syllables).map(|_| *pick(SYLLABLES, rng)).collect();
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
