//! The word lists that names and titles are put together from. Invented or in common use; nothing comes from a data set.

/// A state of the country the listeners live in.
pub(super) struct State {
    pub(super) code: &'static str,
    /// First three digits of its zip codes.
    pub(super) zip_prefix: u16,
    pub(super) lon: f64,
    pub(super) lat: f64,
}

const fn state(code: &'static str, zip_prefix: u16, lon: f64, lat: f64) -> State {
    State { code, zip_prefix, lon, lat }
}

/// Some states, roughly where they are; the eastern ones have zip codes that begin with 0.
pub(super) const STATES: &[State] = &[
    state("CA", 900, -119.4, 36.8),
    state("TX", 750, -99.3, 31.3),
    state("NY", 100, -75.5, 42.9),
    state("FL", 320, -81.7, 28.6),
    state("IL", 600, -89.2, 40.1),
    state("PA", 150, -77.8, 40.9),
    state("OH", 430, -82.8, 40.3),
    state("MA", 18, -71.8, 42.3),
    state("NJ", 70, -74.7, 40.1),
    state("CT", 60, -72.7, 41.6),
    state("NH", 30, -71.6, 43.7),
    state("DE", 197, -75.5, 39.0),
    state("GA", 300, -83.4, 32.7),
    state("MN", 550, -94.3, 46.3),
    state("WA", 980, -120.4, 47.4),
    state("AZ", 850, -111.7, 34.3),
    state("CO", 800, -105.5, 39.0),
    state("NM", 870, -106.1, 34.4),
    state("TN", 370, -86.4, 35.9),
    state("AK", 995, -152.3, 64.2),
];

/// User agents and their weights.
pub(super) const AGENTS: &[(&str, f64)] = &[
    (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0 Safari/537.36",
        30.0,
    ),
    (
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0 Safari/537.36",
        14.0,
    ),
    (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.6 Mobile/15E148 Safari/604.1",
        18.0,
    ),
    (
        "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0 Mobile Safari/537.36",
        14.0,
    ),
    (
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_6) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.6 Safari/605.1.15",
        8.0,
    ),
    ("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:129.0) Gecko/20100101 Firefox/129.0", 5.0),
    ("Mozilla/5.0 (X11; Linux x86_64; rv:129.0) Gecko/20100101 Firefox/129.0", 3.0),
    (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0 Safari/537.36 Edg/128.0.0.0",
        4.0,
    ),
    (
        "Mozilla/5.0 (iPad; CPU OS 17_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.6 Mobile/15E148 Safari/604.1",
        3.0,
    ),
    ("Mozilla/5.0 (compatible; MSIE 9.0; Windows NT 6.1; Trident/5.0)", 1.0),
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
