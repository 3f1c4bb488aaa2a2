//! Small changes to an event's JSON text that leave every other byte as it is.
//!
//! Works on what [`crate::event`] writes: one flat object, fields in any order, no white space between its tokens. A name is
//! found as `"name":` after `{` or `,`; inside a text each quote has a backslash before it, so that no text can pass for a name.

use std::ops::Range;

use memchr::memmem;

/// Returns where the value of a field stands, quotes included.
pub fn locate(json: &[u8], name: &str) -> Option<Range<usize>> {
    let pattern = format!("\"{name}\":");
    let is_name = |at: &usize| at.checked_sub(1).is_some_and(|before| matches!(json[before], b'{' | b','));
    let at = memmem::find_iter(json, pattern.as_bytes()).find(is_name)?;
    let start = at + pattern.len();
    Some(start..start + length(&json[start..]))
}

/// Returns the length of the value that `json` begins with.
fn length(json: &[u8]) -> usize {
    if json.first() != Some(&b'"') {
        return json.iter().position(|byte| matches!(byte, b',' | b'}')).unwrap_or(json.len());
    }
    let mut is_escaped = false;
    for (index, byte) in json.iter().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return index + 1,
            _ => {}
        }
    }
    json.len()
}

/// Returns the JSON text of a field's value.
pub fn raw<'a>(json: &'a [u8], name: &str) -> Option<&'a str> {
    std::str::from_utf8(&json[locate(json, name)?]).ok()
}

/// Returns a field that is a whole number.
pub fn number(json: &[u8], name: &str) -> Option<i64> {
    raw(json, name)?.parse().ok()
}

/// Returns a field that is a text.
pub fn text(json: &[u8], name: &str) -> Option<String> {
    serde_json::from_str(raw(json, name)?).ok()
}

/// Returns the event with another value of a field, given as JSON; `None` without the field.
pub fn with_value(json: &[u8], name: &str, value: &str) -> Option<Vec<u8>> {
    let place = locate(json, name)?;
    Some([&json[..place.start], value.as_bytes(), &json[place.end..]].concat())
}

/// Returns the event with a field more, at its end; `value` is JSON.
pub fn with_field(json: &[u8], name: &str, value: &str) -> Option<Vec<u8>> {
    let end = json.iter().rposition(|byte| *byte == b'}')?;
    Some([&json[..end], format!(",\"{name}\":{value}").as_bytes(), &json[end..]].concat())
}

/// Returns the event with another name of a field; `None` without the field.
pub fn with_name(json: &[u8], name: &str, other: &str) -> Option<Vec<u8>> {
    let end = locate(json, name)?.start - 2;
    Some([&json[..end - name.len()], other.as_bytes(), &json[end..]].concat())
}

/// Returns the event without white space at its end.
pub fn trimmed(json: &[u8]) -> &[u8] {
    json.trim_ascii_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &[u8] = b"{\"song\":\"\\\"ts\\\":1,\\\\\",\"ts\":1793,\"zip\":\"01850\",\"success\":true}\n";

    #[test]
    fn fields_are_found_behind_texts_that_look_like_them() {
        assert_eq!(number(EVENT, "ts"), Some(1793));
        assert_eq!(text(EVENT, "song").unwrap(), "\"ts\":1,\\");
        assert_eq!(raw(EVENT, "zip"), Some("\"01850\""));
        assert_eq!(raw(EVENT, "success"), Some("true"));
        assert_eq!(raw(EVENT, "userId"), None);
        assert_eq!(number(EVENT, "zip"), None);
    }

    #[test]
    fn changes_leave_the_other_bytes_as_they_are() {
        let show = |json: Option<Vec<u8>>| String::from_utf8(json.unwrap()).unwrap();
        let original = String::from_utf8(EVENT.to_vec()).unwrap();

        assert_eq!(show(with_value(EVENT, "zip", "1850")), original.replace("\"01850\"", "1850"));
        assert_eq!(show(with_field(EVENT, "a", "[]")), original.replace("true}", "true,\"a\":[]}"));
        assert_eq!(show(with_name(EVENT, "ts", "TS")), original.replace(",\"ts\":", ",\"TS\":"));
        assert_eq!(with_value(EVENT, "userId", "1"), None);
        assert_eq!(trimmed(EVENT).last(), Some(&b'}'));
    }
}
