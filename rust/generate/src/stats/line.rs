//! One record as the statistics see it: a few fields, borrowed from the text where they can be.
//!
//! Accepts what is met in the wild: `userId` as a number, a numeric string, an empty string or `null`; fields in any order;
//! fields nobody knows; records in an envelope `{"topic": …, "value": {…}}`, as `--out -` writes them.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, Visitor},
};
use serde_json::value::RawValue;

/// Event times that are taken for ones: 2000 to 2100, in milliseconds since 1970.
const TIME_RANGE_MS: std::ops::Range<i64> = 946_684_800_000..4_102_444_800_000;

/// A record.
#[derive(Debug, PartialEq)]
pub enum Line<'a> {
    /// A page is entered.
    PageView(PageView<'a>),
    /// A song begins.
    Listen,
    /// The result of a login.
    Auth {
        /// Whether it succeeded.
        success: bool,
    },
    /// An upgrade or downgrade is asked for.
    StatusChange,
    /// Something else that is an object: a dimension, for instance.
    Other,
}

/// A page view.
#[derive(Debug, PartialEq)]
pub struct PageView<'a> {
    /// Event time, milliseconds since 1970.
    pub ts_ms: i64,
    /// Number of the session.
    pub session: u64,
    /// Number in the session.
    pub item: Option<u32>,
    /// Who, if it says so.
    pub user: Option<u64>,
    /// Name of the page.
    pub page: Cow<'a, str>,
    /// Authentication.
    pub auth: Auth,
    /// Subscription.
    pub level: Level,
    /// HTTP status.
    pub status: u16,
}

/// How a listener is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// Not registered yet.
    Guest,
    /// Known.
    LoggedIn,
    /// Registered, and not known.
    LoggedOut,
    /// Gone.
    Cancelled,
    /// None of these.
    #[default]
    Other,
}

/// What a listener pays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// Nothing.
    Free,
    /// Something.
    Paid,
    /// Unknown.
    #[default]
    Other,
}

/// Why a record was not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// Not a JSON object with fields of the expected types.
    Malformed,
    /// The event time is not between 2000 and 2100.
    Time,
}

#[derive(Deserialize)]
struct Fields<'a> {
    ts: Option<i64>,
    #[serde(rename = "sessionId")]
    session: Option<u64>,
    #[serde(rename = "itemInSession")]
    item: Option<u32>,
    #[serde(rename = "userId", default)]
    user: UserId,
    #[serde(borrow)]
    page: Option<Text<'a>>,
    #[serde(borrow)]
    auth: Option<Text<'a>>,
    #[serde(borrow)]
    level: Option<Text<'a>>,
    status: Option<u16>,
    success: Option<bool>,
    song: Option<IgnoredAny>,
    topic: Option<IgnoredAny>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
}

impl<'a> Line<'a> {
    /// Reads a record.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &'a [u8]) -> Result<Self, Unreadable> {
        let fields: Fields<'a> = serde_json::from_slice(text).map_err(|_| Unreadable::Malformed)?;
        if let (Some(_), Some(value)) = (&fields.topic, fields.value) {
            let inner: Fields<'a> = serde_json::from_str(value.get()).map_err(|_| Unreadable::Malformed)?;
            return inner.line();
        }
        fields.line()
    }
}

impl<'a> Fields<'a> {
    fn line(self) -> Result<Line<'a>, Unreadable> {
        let (Some(ts_ms), Some(session)) = (self.ts, self.session) else { return Ok(Line::Other) };
        if !TIME_RANGE_MS.contains(&ts_ms) {
            return Err(Unreadable::Time);
        }
        if let Some(success) = self.success {
            return Ok(Line::Auth { success });
        }
        let Some(page) = self.page else {
            return Ok(if self.song.is_some() { Line::Listen } else { Line::StatusChange });
        };
        let auth = match self.auth.as_ref().map(|auth| auth.0.as_ref()) {
            Some("Guest") => Auth::Guest,
            Some("Logged In") => Auth::LoggedIn,
            Some("Logged Out") => Auth::LoggedOut,
            Some("Cancelled") => Auth::Cancelled,
            _ => Auth::Other,
        };
        let level = match self.level.as_ref().map(|level| level.0.as_ref()) {
            Some("free") => Level::Free,
            Some("paid") => Level::Paid,
            _ => Level::Other,
        };
        let (item, user, status) = (self.item, self.user.0, self.status.unwrap_or(0));
        Ok(Line::PageView(PageView { ts_ms, session, item, user, page: page.0, auth, level, status }))
    }
}

/// A string that is borrowed unless it has escapes. (`Option<Cow<str>>` would always copy.)
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}

/// A user id; `None` where it is absent, `null` or empty. Ids that are no numbers become their hash.
#[derive(Default)]
struct UserId(Option<u64>);

impl<'de> Deserialize<'de> for UserId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct UserVisitor;

        impl Visitor<'_> for UserVisitor {
            type Value = UserId;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a user id")
            }

            fn visit_u64<E: de::Error>(self, id: u64) -> Result<UserId, E> {
                Ok(UserId(Some(id)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<UserId, E> {
                if text.is_empty() {
                    return Ok(UserId(None));
                }
                let hash = || {
                    let [a, b, c, d, e, f, g, h, ..] = *blake3::hash(text.as_bytes()).as_bytes();
                    u64::from_le_bytes([a, b, c, d, e, f, g, h])
                };
                Ok(UserId(Some(text.parse().unwrap_or_else(|_| hash()))))
            }

            fn visit_unit<E: de::Error>(self) -> Result<UserId, E> {
                Ok(UserId(None))
            }
        }

        deserializer.deserialize_any(UserVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page_view(text: &str) -> PageView<'_> {
        match Line::parse(text.as_bytes()) {
            Ok(Line::PageView(view)) => view,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn page_views_of_all_known_shapes_are_read() {
        let ours = r#"{"ts":1793000123926,"sessionId":98,"page":"Login","auth":"Logged Out","method":"PUT","status":307,"level":"paid","itemInSession":1,"city":"Lowell"}"#;
        let first = r#"{"ts":1793000123926,"userId":"","sessionId":98,"page":"Home","auth":"Logged Out","method":"GET","status":200,"level":"free","itemInSession":0,"location":"Bear, DE","length":null}"#;

        let view = page_view(ours);
        assert_eq!((view.session, view.item, view.user, view.status), (98, Some(1), None, 307));
        assert_eq!((view.auth, view.level), (Auth::LoggedOut, Level::Paid));
        assert!(matches!(view.page, Cow::Borrowed("Login")));
        assert_eq!(page_view(first).user, None);
        assert_eq!(page_view(&first.replace(r#""userId":"""#, r#""userId":"30""#)).user, Some(30));
        assert_eq!(page_view(&first.replace(r#""userId":"""#, r#""userId":null"#)).user, None);
        assert_eq!(page_view(&first.replace(r#""userId":"""#, r#""userId":42"#)).user, Some(42));
        assert!(page_view(&first.replace(r#""userId":"""#, r#""userId":"abc""#)).user.is_some());
        assert_eq!(page_view(&format!(r#"{{"topic":"page_view_events","key":null,"value":{ours}}}"#)), view);
    }

    #[test]
    fn records_are_told_apart_by_their_fields() {
        let parse = |text: &'static str| Line::parse(text.as_bytes());

        assert_eq!(parse(r#"{"artist":"a","song":"b","ts":1793000000926,"sessionId":9}"#), Ok(Line::Listen));
        let auth = parse(r#"{"ts":1793000000926,"sessionId":9,"level":"free","success":true}"#);
        assert_eq!(auth, Ok(Line::Auth { success: true }));
        let change = parse(r#"{"ts":1793000000926,"sessionId":9,"auth":"Logged In","level":"free"}"#);
        assert_eq!(change, Ok(Line::StatusChange));
        assert_eq!(parse(r#"{"artist_id":7,"name":"Nora Vale"}"#), Ok(Line::Other));
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let parse = |text: &'static str| Line::parse(text.as_bytes());

        assert_eq!(parse("[]"), Err(Unreadable::Malformed));
        assert_eq!(parse(r#"{"ts":"yesterday","sessionId":1}"#), Err(Unreadable::Malformed));
        assert_eq!(parse(r#"{"ts":1793000,"sessionId":1,"page":"Home"}"#), Err(Unreadable::Time));
    }
}
