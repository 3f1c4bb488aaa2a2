//! What each way of a fault makes of an event; pure functions of its bytes.

use super::{
    edit,
    kinds::{Kind, Variant},
};
use crate::event::Topic;

/// 2150-01-01, later than any contract accepts.
const FAR_FUTURE_MS: i64 = 5_680_281_600_000;
/// The mean pause between two sessions of Eventsim's example configuration; so long before their first session it makes people.
const SESSION_GAP_MS: u64 = 28_800_000;
const GIANT_BYTES: usize = 2_000_000;
const LONG_LETTERS: usize = 300;

/// What is delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// These bytes.
    Bytes(Vec<u8>),
    /// Null.
    Tombstone,
}

/// Returns what a way makes of an event; `None` where it cannot happen to it. `pick` is any number: it chooses among fields.
pub fn damage(kind: &Kind, variant: &Variant, topic: Topic, json: &[u8], pick: u64) -> Option<Value> {
    let line = |text: &str| Some(format!("{text}\n").into_bytes());
    let event = edit::trimmed(json);
    let changed = match (kind.id, variant.name) {
        ("D1", _) => in_text(json, pick, mojibake),
        ("D2", "quotes") => in_text(json, pick, |text| format!(r#""\"{}\"""#, inner(text))),
        ("D2", _) => in_text(json, pick, |text| format!(r#""{} (\"live\" \\\"take\\\")\\""#, inner(text))),
        ("D7", "text") => edit::raw(json, "userId")
            .and_then(|user| edit::with_value(json, "userId", &format!("\"{user}\""))),
        ("D7", way) => {
            let spelling = if way == "null" { "null" } else { "\"\"" };
            if edit::locate(json, "userId").is_some() {
                return None;
            }
            edit::with_field(json, "userId", spelling)
        }
        ("D10", _) => edit::number(json, "ts").and_then(|ts| {
            let registration = ts + 1 + (pick % SESSION_GAP_MS).cast_signed();
            edit::with_value(json, "registration", &registration.to_string())
        }),
        ("D12", "crlf") => Some([event, b"\r\n"].concat()),
        ("D12", _) => Some(event.to_vec()),
        ("D14", "zip_number") => edit::text(json, "zip").and_then(|zip| {
            let number: u64 = zip.parse().unwrap_or_default();
            edit::with_value(json, "zip", &number.to_string())
        }),
        ("D14", "lower_case") => edit::with_name(json, "sessionId", "sessionid"),
        ("D14", way) => {
            let field = match way {
                "session_text" => "sessionId",
                "duration_text" => "duration",
                _ => "success",
            };
            edit::raw(json, field).and_then(|raw| edit::with_value(json, field, &format!("\"{raw}\"")))
        }
        ("D15", "cut") => {
            let text = std::str::from_utf8(event).ok()?;
            line(&text[..text.floor_char_boundary(text.len() / 2)])
        }
        ("D15", "single_quotes") => Some(json.iter().map(|b| if *b == b'"' { b'\'' } else { *b }).collect()),
        ("D15", _) => Some([&json[..json.len() / 2], b"\xff", &json[json.len() / 2..]].concat()),
        ("D16", way) => {
            let ts = edit::number(json, "ts")?;
            let wrong = match way {
                "zero" => 0,
                "negative" => -ts,
                "seconds" => ts / 1000,
                _ => FAR_FUTURE_MS + ts.rem_euclid(86_400_000),
            };
            edit::with_value(json, "ts", &wrong.to_string())
        }
        ("D20", "new_field") => edit::with_field(json, "mood", r#"{"name":"calm","bpm":72}"#),
        ("D20", "tag") if edit::locate(json, "tag").is_none() => edit::with_field(json, "tag", "\"drift\""),
        ("D20", "new_page") if topic == Topic::PageView => {
            let page = edit::text(json, "page")?;
            let is_plain = ["Home", "About", "Help"].contains(&page.as_str());
            if is_plain { edit::with_value(json, "page", "\"Podcasts\"") } else { None }
        }
        ("D20", "changed_type") => edit::with_value(json, "level", "1"),
        ("D21", "control") => in_text(json, pick, |text| with_end(text, "\u{85}\u{9f}")),
        ("D21", "emoji") => in_text(json, pick, |text| with_end(text, "\u{1f3b5}")),
        ("D21", "nul") => in_text(json, pick, |text| with_end(text, "\\u0000")),
        ("D21", "long") => in_text(json, pick, |text| with_end(text, &"ö".repeat(LONG_LETTERS))),
        ("D21", _) => in_text(json, pick, |text| with_end(text, "\\ud83d")),
        ("D23", "tombstone") => return Some(Value::Tombstone),
        ("D23", "empty") => Some(Vec::new()),
        ("D23", "array") => line("[]"),
        ("D23", "text") => line("\"text\""),
        ("D23", "two_objects") => Some([event, event, b"\n"].concat()),
        ("D23", "giant") => edit::with_value(json, "city", &format!("\"{}\"", "x".repeat(GIANT_BYTES))),
        _ => None,
    };
    changed.map(Value::Bytes)
}

/// Changes a text for people: artist or song where there is one, else the city. `change` gets and returns JSON.
fn in_text(json: &[u8], pick: u64, change: impl FnOnce(&str) -> String) -> Option<Vec<u8>> {
    let songs = if pick.is_multiple_of(2) { "artist" } else { "song" };
    let field = if edit::locate(json, songs).is_some() { songs } else { "city" };
    edit::with_value(json, field, &change(edit::raw(json, field)?))
}

fn inner(text: &str) -> &str {
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

fn with_end(text: &str, end: &str) -> String {
    format!("\"{}{end}\"", inner(text))
}

/// Returns UTF-8 read as Latin-1; a text of ASCII alone gets a letter that shows it.
fn mojibake(text: &str) -> String {
    let text = if text.is_ascii() { with_end(text, " é") } else { text.to_owned() };
    text.bytes().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::kinds::{ALL, Cause};

    const PAGE: &str = "{\"ts\":1793000000926,\"sessionId\":97,\"page\":\"Home\",\"level\":\"free\",\"city\":\"Bear\",\"zip\":\"01970\"}\n";
    const LISTEN: &str = "{\"artist\":\"Nora Välé\",\"song\":\"Slow \\\"Harbour\\\"\",\"duration\":22.5,\"city\":\"Bear\",\"userId\":7}\n";

    fn damaged(id: &str, way: &str, topic: Topic, json: &str) -> Option<String> {
        let kind = ALL.iter().find(|kind| kind.id == id).unwrap();
        let Cause::Injected { variants, .. } = kind.cause else { panic!("{id}") };
        let variant = variants.iter().find(|variant| variant.name == way).unwrap();
        match damage(kind, variant, topic, json.as_bytes(), 0)? {
            Value::Bytes(bytes) => Some(String::from_utf8(bytes).unwrap()),
            Value::Tombstone => Some("null".to_owned()),
        }
    }

    #[test]
    fn each_way_changes_what_it_says() {
        let page = |id, way| damaged(id, way, Topic::PageView, PAGE);
        let with = |from: &str, to: &str| Some(PAGE.replace(from, to));

        assert_eq!(page("D1", "mojibake"), with("Bear", "Bear Ã©"));
        assert_eq!(page("D2", "quotes"), with("Bear", "\\\"Bear\\\""));
        assert_eq!(page("D7", "null"), with("}", ",\"userId\":null}"));
        assert_eq!(page("D7", "text"), None);
        assert_eq!(page("D12", "crlf"), with("\n", "\r\n"));
        assert_eq!(page("D14", "zip_number"), with("\"01970\"", "1970"));
        assert_eq!(page("D14", "success_text"), None);
        assert_eq!(page("D16", "seconds"), with("1793000000926", "1793000000"));
        assert_eq!(page("D20", "new_page"), with("Home", "Podcasts"));
        assert_eq!(page("D23", "two_objects"), Some(format!("{0}{0}\n", PAGE.trim_end())));
        assert_eq!(page("D23", "tombstone").unwrap(), "null");
        let listen = |id, way| damaged(id, way, Topic::Listen, LISTEN);
        assert_eq!(listen("D1", "mojibake").unwrap(), LISTEN.replace("Välé", "VÃ¤lÃ©"));
        assert_eq!(listen("D10", "early"), None, "without a registration there is nothing to be early for");
        assert_eq!(listen("D7", "text").unwrap(), LISTEN.replace(":7", ":\"7\""));
        assert_eq!(listen("D7", "empty"), None);
        assert_eq!(listen("D14", "duration_text").unwrap(), LISTEN.replace("22.5", "\"22.5\""));
    }

    #[test]
    fn an_early_event_comes_at_most_a_session_gap_before_its_registration() {
        let kind = ALL.iter().find(|kind| kind.id == "D10").unwrap();
        let Cause::Injected { variants, .. } = kind.cause else { panic!("D10") };
        let json = b"{\"ts\":1793000000926,\"registration\":1770000000926,\"userId\":7}\n";
        for (pick, expected) in [(0, 1_793_000_000_927), (u64::MAX, 1_793_000_000_926 + 1 + 23_151_615)] {
            let Some(Value::Bytes(made)) = damage(kind, &variants[0], Topic::Listen, json, pick) else {
                panic!("nothing made");
            };
            assert_eq!(edit::number(&made, "registration"), Some(expected));
            assert_eq!(edit::number(&made, "ts"), Some(1_793_000_000_926));
            assert!(expected - 1_793_000_000_926 <= SESSION_GAP_MS.cast_signed());
        }
    }

    #[test]
    fn no_way_makes_more_than_one_line() {
        for kind in &ALL {
            let Cause::Injected { variants, .. } = kind.cause else { continue };
            for variant in variants {
                let made = damage(kind, variant, Topic::Listen, LISTEN.as_bytes(), 1);
                let Some(Value::Bytes(bytes)) = made else { continue };
                let newlines = bytes.iter().filter(|byte| **byte == b'\n').count();
                assert!(newlines <= 1, "{} {}", kind.id, variant.name);
            }
        }
    }
}
