//! Takes user agents apart: browser, its version, operating system, kind of device.
//!
//! The patterns are those of the ua-parser project (`agents/patterns.json`, built into the binary), evaluated by its Rust
//! crate. They name no kinds of device, only models, so the kind follows from the system and a few well-known words.
//! Each distinct text is evaluated once as long as the cache holds it; the cache is emptied between batches when it is full.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::LazyLock;

use arrow::array::{Array, StringArray};
use serde::Deserialize;
use ua_parser::{device, os, user_agent};

use super::hash::{xxh64, xxh64_word};

/// The number that stands for null.
pub(super) const NONE: u32 = u32::MAX;
/// What stands for a browser or system that no pattern knows, as elsewhere in the ua-parser project.
const UNKNOWN: &str = "Other";
/// Longer texts are known by their beginning.
const MAX_TEXT_BYTES: usize = 1024;
/// The cache is emptied above these.
const MAX_TEXTS: usize = 16_384;
const MAX_CACHE_BYTES: usize = 8 << 20;

/// What a user agent tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Agent {
    pub(super) browser: String,
    /// Numbers joined by dots.
    pub(super) version: Option<String>,
    pub(super) os: String,
    /// `desktop`, `mobile`, `tablet`, `bot` or `other`.
    pub(super) device: &'static str,
}

/// Returns the text without one pair of double quotes around it.
pub(super) fn unquoted(text: &str) -> &str {
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

/// The agents seen, numbered.
#[derive(Default)]
pub(super) struct AgentCache {
    numbers: HashMap<Box<str>, u32, BuildHasherDefault<TextHasher>>,
    agents: Vec<Agent>,
    bytes: usize,
}

impl fmt::Debug for AgentCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentCache").field("len", &self.agents.len()).field("bytes", &self.bytes).finish()
    }
}

impl AgentCache {
    /// Returns the agents by number, up to the next call of [`AgentCache::parse`].
    pub(super) fn known(&self) -> &[Agent] {
        &self.agents
    }

    /// Returns the number of each text's agent, [`NONE`] for null.
    pub(super) fn parse(&mut self, texts: &StringArray) -> Vec<u32> {
        if self.agents.len() > MAX_TEXTS || self.bytes > MAX_CACHE_BYTES {
            *self = Self::default();
        }
        let mut numbers = Vec::with_capacity(texts.len());
        let mut last = ("", NONE);
        for row in 0..texts.len() {
            if texts.is_null(row) {
                numbers.push(NONE);
                continue;
            }
            let text = texts.value(row);
            if last.1 == NONE || last.0 != text {
                last = (text, self.number(text));
            }
            numbers.push(last.1);
        }
        numbers
    }

    fn number(&mut self, text: &str) -> u32 {
        let text = &text[..text.floor_char_boundary(MAX_TEXT_BYTES)];
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = u32::try_from(self.agents.len()).unwrap_or(NONE);
        self.agents.push(PATTERNS.parse(unquoted(text)));
        self.numbers.insert(text.into(), number);
        self.bytes += text.len() + 128;
        number
    }
}

/// Hashes texts; the map compares them whole.
#[derive(Default)]
struct TextHasher(u64);

impl Hasher for TextHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh64(bytes, self.0);
    }

    /// The mark at the end of a text.
    fn write_u8(&mut self, byte: u8) {
        self.0 = xxh64_word(u64::from(byte), self.0);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[derive(Deserialize)]
struct PatternFile {
    user_agent_parsers: Vec<user_agent::Parser<'static>>,
    os_parsers: Vec<os::Parser<'static>>,
    /// Robots that say so next to a device's name.
    bots: Vec<device::Parser<'static>>,
    /// Words of robots, to be looked for only where no device is known.
    other_bots: Vec<device::Parser<'static>>,
}

struct Patterns {
    browsers: user_agent::Extractor<'static>,
    systems: os::Extractor<'static>,
    bots: device::Extractor<'static>,
    other_bots: device::Extractor<'static>,
}

static PATTERNS: LazyLock<Patterns> = LazyLock::new(|| {
    #[expect(
        clippy::panic,
        reason = "embedded text cannot change after the build, and a test compiles all of it"
    )]
    Patterns::read(include_str!("agents/patterns.json")).unwrap_or_else(|error| panic!("{error}"))
});

impl Patterns {
    fn read(text: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let file: PatternFile = serde_json::from_str(text)?;
        Ok(Self {
            browsers: user_agent::Builder::new().push_all(file.user_agent_parsers)?.build()?,
            systems: os::Builder::new().push_all(file.os_parsers)?.build()?,
            bots: device::Builder::new().push_all(file.bots)?.build()?,
            other_bots: device::Builder::new().push_all(file.other_bots)?.build()?,
        })
    }

    fn parse(&self, text: &str) -> Agent {
        let browser = self.browsers.extract(text);
        let os = self.systems.extract(text).map_or_else(|| UNKNOWN.to_owned(), |os| os.os.into_owned());
        let device = self.device(text, &os);
        let Some(browser) = browser else {
            return Agent { browser: UNKNOWN.to_owned(), version: None, os, device };
        };
        let parts = [browser.major, browser.minor, browser.patch, browser.patch_minor];
        let known: Vec<&str> =
            parts.into_iter().map_while(|part| part).filter(|part| !part.is_empty()).collect();
        let version = (!known.is_empty()).then(|| known.join("."));
        Agent { browser: browser.family.into_owned(), version, os, device }
    }

    fn device(&self, text: &str, os: &str) -> &'static str {
        let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
        let is_android = os == "Android" || has(&["Android"]);
        if self.bots.extract(text).is_some() {
            "bot"
        } else if has(&["iPad", "Tablet", "Kindle", "Silk/", "PlayBook"]) && !has(&["Tablet PC"])
            || is_android && !has(&["Mobile", "Opera Mobi", "TV"])
        {
            "tablet"
        } else if is_android && has(&["TV"]) {
            "other"
        } else if is_android || MOBILE_SYSTEMS.contains(&os) || has(&["iPhone", "iPod", "Mobile"]) {
            "mobile"
        } else if self.other_bots.extract(text).is_some() {
            "bot"
        } else if DESKTOP_SYSTEMS.contains(&os) {
            "desktop"
        } else {
            "other"
        }
    }
}

const MOBILE_SYSTEMS: [&str; 8] =
    ["iOS", "Windows Phone", "Windows Mobile", "BlackBerry OS", "Symbian OS", "KaiOS", "Firefox OS", "webOS"];
const DESKTOP_SYSTEMS: [&str; 15] = [
    "Windows",
    "Mac OS X",
    "Mac OS",
    "Linux",
    "Ubuntu",
    "Debian",
    "Fedora",
    "Red Hat",
    "SUSE",
    "Mint",
    "Chrome OS",
    "FreeBSD",
    "OpenBSD",
    "NetBSD",
    "Solaris",
];
