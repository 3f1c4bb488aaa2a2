//! The dirty-data catalogue D1 to D23: what a producer can do wrong, what is done here to make it happen, and what must become
//! of it downstream.
//!
//! No fault takes an event away. What a reader cannot accept comes as a further delivery beside the sound one, so that whoever
//! was listening, and when, stays true whatever is injected.

use streamify_core::Reason;

/// What a variant does to the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The event is delivered in another form, in its place.
    Altered,
    /// The event is delivered later than its place.
    Late,
    /// The event is delivered as it is, and something else beside it.
    Added,
}

impl Effect {
    /// Returns the word used in lists.
    pub fn name(self) -> &'static str {
        match self {
            Self::Altered => "altered",
            Self::Late => "late",
            Self::Added => "added",
        }
    }
}

/// What must become of the delivery under the event contracts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// A row with the event's own id.
    Row,
    /// A row with another id: another run, or another page.
    OtherRow,
    /// A dead letter with this reason.
    DeadLetter(Reason),
}

/// One way to commit a fault.
#[derive(Debug)]
pub struct Variant {
    /// Short name.
    pub name: &'static str,
    /// What is done, in words.
    pub what: &'static str,
    /// The form of the change.
    pub effect: Effect,
    /// What must become of it.
    pub fate: Fate,
    /// Its share of the fault's rate, beside the others of the fault.
    pub weight: f64,
}

/// Who causes a case of the catalogue.
#[derive(Debug)]
pub enum Cause {
    /// This generator, on request.
    Injected {
        /// Part of the records that `--fault D…` without a rate, or `--fault all`, hits.
        default_rate: f64,
        /// The ways to do it.
        variants: &'static [Variant],
    },
    /// Every run has it: it is how the music service behaves.
    Natural(&'static str),
    /// No producer can cause it.
    Elsewhere(&'static str),
}

/// One case of the catalogue.
#[derive(Debug)]
pub struct Kind {
    /// `D1` to `D23`.
    pub id: &'static str,
    /// A few words.
    pub name: &'static str,
    /// Who causes it.
    pub cause: Cause,
}

const fn variant(name: &'static str, effect: Effect, fate: Fate, what: &'static str) -> Variant {
    Variant { name, what, effect, fate, weight: 1.0 }
}

const fn injected(
    id: &'static str,
    name: &'static str,
    default_rate: f64,
    variants: &'static [Variant],
) -> Kind {
    Kind { id, name, cause: Cause::Injected { default_rate, variants } }
}

const fn natural(id: &'static str, name: &'static str, why: &'static str) -> Kind {
    Kind { id, name, cause: Cause::Natural(why) }
}

const ROW: Fate = Fate::Row;

use Effect::{Added, Altered, Late};
use Fate::{DeadLetter, OtherRow};

/// All cases, in the order of their numbers.
pub const ALL: [Kind; 23] = [
    injected(
        "D1",
        "mojibake",
        0.01,
        &[variant("mojibake", Altered, ROW, "UTF-8 read as Latin-1 in artist, song or city")],
    ),
    injected(
        "D2",
        "quotes and backslashes",
        0.01,
        &[
            variant("quotes", Altered, ROW, "artist, song or city wrapped in literal quotes"),
            variant(
                "backslashes",
                Altered,
                ROW,
                "escaped quotes and a last backslash in artist, song or city",
            ),
        ],
    ),
    injected(
        "D3",
        "ids of another run",
        0.01,
        &[variant(
            "other_people",
            Added,
            OtherRow,
            "session told again by a second run, with the same ids for other people",
        )],
    ),
    injected(
        "D4",
        "a run repeated",
        0.01,
        &[
            variant(
                "shifted",
                Added,
                OtherRow,
                "session told again by a second run, the same people a little later",
            ),
            variant("repeated", Added, ROW, "session told again by the same run, byte for byte"),
        ],
    ),
    natural("D5", "equal times in a session", "pauses are whole seconds, and some are 0"),
    natural("D6", "second result of one login", "Login, a page, then a redirect"),
    injected(
        "D7",
        "spellings of the user",
        0.01,
        &[
            variant("empty", Altered, ROW, "userId is an empty text where it is absent"),
            variant("null", Altered, ROW, "userId is null where it is absent"),
            variant("text", Altered, ROW, "userId is a text where it is a number"),
        ],
    ),
    Kind {
        id: "D8",
        name: "null left out of an identity",
        cause: Cause::Elsewhere("a reader's mistake, met by every anonymous event"),
    },
    natural("D9", "sessions cut by the run", "the window cuts the first and the last"),
    injected(
        "D10",
        "events before registration",
        0.01,
        &[variant("early", Altered, ROW, "registration is up to 8 h after the event")],
    ),
    natural("D11", "heaped registrations", "new listeners, where the run has growth"),
    injected(
        "D12",
        "line ends",
        0.01,
        &[
            variant("crlf", Altered, ROW, "the value ends with CR LF"),
            variant("none", Altered, ROW, "the value ends without a newline"),
        ],
    ),
    natural("D13", "quoted user agent", "every user agent is wrapped in literal quotes"),
    injected(
        "D14",
        "wrong types",
        0.001,
        &[
            variant("zip_number", Added, DeadLetter(Reason::WrongType), "zip is a number"),
            variant("session_text", Added, DeadLetter(Reason::WrongType), "sessionId is a text"),
            variant("duration_text", Added, DeadLetter(Reason::WrongType), "duration is a text"),
            variant("success_text", Added, DeadLetter(Reason::WrongType), "success is a text"),
            variant("lower_case", Added, DeadLetter(Reason::MissingField), "sessionId is spelled sessionid"),
        ],
    ),
    injected(
        "D15",
        "corrupt JSON",
        0.001,
        &[
            variant("cut", Added, DeadLetter(Reason::NotJson), "the value ends in its middle"),
            variant(
                "single_quotes",
                Added,
                DeadLetter(Reason::NotJson),
                "single quotes instead of double ones",
            ),
            variant("bad_byte", Added, DeadLetter(Reason::NotUtf8), "a byte FF in the middle"),
        ],
    ),
    injected(
        "D16",
        "times out of range",
        0.001,
        &[
            variant("zero", Added, DeadLetter(Reason::EventTimeOutOfRange), "ts is 0"),
            variant("negative", Added, DeadLetter(Reason::EventTimeOutOfRange), "ts is negative"),
            variant("seconds", Added, DeadLetter(Reason::EventTimeOutOfRange), "ts in seconds"),
            variant("far_future", Added, DeadLetter(Reason::EventTimeOutOfRange), "ts in the year 2150"),
        ],
    ),
    injected(
        "D17",
        "late and out of order",
        0.01,
        &[variant("late", Late, ROW, "delivered 1 min to 26 h of event time later")],
    ),
    Kind {
        id: "D18",
        name: "offsets go back",
        cause: Cause::Elsewhere("only a broker that lost its state can cause it"),
    },
    injected(
        "D19",
        "delivered twice",
        0.02,
        &[variant("duplicate", Added, ROW, "the same bytes again, up to 2,000 records later")],
    ),
    injected(
        "D20",
        "schema drift",
        0.01,
        &[
            variant("new_field", Altered, ROW, "from --drift-at on: an unknown field"),
            variant("tag", Altered, ROW, "from --drift-at on: the field tag appears"),
            variant("new_page", Altered, OtherRow, "from --drift-at on: a page nobody knows"),
            variant(
                "changed_type",
                Added,
                DeadLetter(Reason::WrongType),
                "from --drift-at on: level is a number",
            ),
        ],
    ),
    injected(
        "D21",
        "awkward characters",
        0.01,
        &[
            variant("control", Altered, ROW, "characters U+0085 and U+009F in artist, song or city"),
            variant("emoji", Altered, ROW, "a character beyond 16 bits in artist, song or city"),
            variant("nul", Altered, ROW, "an escaped NUL in artist, song or city"),
            variant("long", Altered, ROW, "artist, song or city of 300 letters"),
            variant(
                "lone_surrogate",
                Added,
                DeadLetter(Reason::LoneSurrogate),
                "half a surrogate pair in artist, song or city",
            ),
        ],
    ),
    natural("D22", "songs of one name", "the catalogue has some; a row is a row"),
    injected(
        "D23",
        "values that are no events",
        0.001,
        &[
            variant("tombstone", Added, DeadLetter(Reason::Tombstone), "a null value"),
            variant("empty", Added, DeadLetter(Reason::Empty), "a value of no bytes"),
            variant("array", Added, DeadLetter(Reason::NotAnObject), "[]"),
            variant("text", Added, DeadLetter(Reason::NotAnObject), "a JSON text"),
            variant("two_objects", Added, DeadLetter(Reason::TrailingData), "two objects in one value"),
            Variant {
                weight: 0.01,
                ..variant("giant", Added, DeadLetter(Reason::TooLarge), "a city of 2 MB")
            },
        ],
    ),
];
