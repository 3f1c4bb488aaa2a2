//! What a status means: for a commit above all whether it may have been applied.

use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::StatusCode;
use serde_json::Value;

use super::super::{CatalogError, CommitFailure};
use super::transport::Answer;

const MAX_EXPLANATION_CHARS: usize = 500;

/// Lets successful answers (and 304) pass and classifies the others, for everything but commits.
pub(super) fn check(answer: Answer) -> Result<Answer, CatalogError> {
    let status = answer.status;
    if status.is_success() || status == StatusCode::NOT_MODIFIED {
        return Ok(answer);
    }
    let text = explain(&answer);
    Err(match status.as_u16() {
        401 => CatalogError::Unauthorized(text),
        404 => CatalogError::NotFound(text),
        408 | 429 => CatalogError::Unavailable { message: text, retry_after: retry_after(&answer) },
        _ if status.is_server_error() => {
            CatalogError::Unavailable { message: text, retry_after: retry_after(&answer) }
        }
        _ => CatalogError::Refused(text),
    })
}

/// Lets the answer to an applied commit pass and classifies the others.
pub(super) fn check_commit(answer: Answer) -> Result<Answer, CommitFailure> {
    let status = answer.status;
    if status.is_success() {
        return Ok(answer);
    }
    let message = explain(&answer);
    let retry_after = retry_after(&answer);
    Err(match status.as_u16() {
        409 => CommitFailure::Conflict(message),
        // Polaris 1.7 answers this to a snapshot built on a state that is no longer the newest.
        400 if is_stale_sequence_number(&message) => CommitFailure::Conflict(message),
        429 => CommitFailure::Unavailable { message, retry_after },
        503 if retry_after.is_some() => CommitFailure::Unavailable { message, retry_after },
        408 => CommitFailure::Unknown(message),
        _ if status.is_server_error() => CommitFailure::Unknown(message),
        _ => CommitFailure::Rejected(message),
    })
}

fn is_stale_sequence_number(message: &str) -> bool {
    message.to_lowercase().contains("sequence number")
}

/// Returns what an answer says, in one line: status, kind and message of the error.
pub(super) fn explain(answer: &Answer) -> String {
    let status = answer.status.as_u16();
    let text = match serde_json::from_slice::<Value>(&answer.body) {
        Ok(body) => explain_json(&body),
        Err(_) => String::from_utf8_lossy(&answer.body).trim().to_owned(),
    };
    let text: String = text.replace('\n', " ").chars().take(MAX_EXPLANATION_CHARS).collect();
    if text.is_empty() { format!("status {status}") } else { format!("{text} (status {status})") }
}

/// Understands Iceberg's form `{"error": {"message", "type"}}` and OAuth2's `{"error", "error_description"}`.
fn explain_json(body: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (kind, message) = match &body["error"] {
        Value::Object(error) => (
            error.get("type").map(text).unwrap_or_default(),
            error.get("message").map(text).unwrap_or_default(),
        ),
        Value::String(kind) => (kind.clone(), text(&body["error_description"])),
        _ => (String::new(), text(&body["message"])),
    };
    match (kind.is_empty(), message.is_empty()) {
        (false, false) => format!("{kind}: {message}"),
        (true, true) => body.to_string(),
        _ => kind + &message,
    }
}

/// Reads `Retry-After`, which is a number of seconds or a date.
fn retry_after(answer: &Answer) -> Option<Duration> {
    let text = answer.header("retry-after")?;
    if let Ok(seconds) = text.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let until = DateTime::parse_from_rfc2822(text.trim()).ok()?;
    Some((until.with_timezone(&Utc) - Utc::now()).to_std().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderMap, HeaderValue};

    use super::*;

    fn answer(status: u16, body: &str, retry_after: Option<&str>) -> Answer {
        let mut headers = HeaderMap::new();
        if let Some(text) = retry_after {
            headers.insert("retry-after", HeaderValue::from_str(text).unwrap());
        }
        Answer { status: StatusCode::from_u16(status).unwrap(), headers, body: body.to_owned().into() }
    }

    fn class(status: u16, body: &str, retry_after: Option<&str>) -> &'static str {
        match check_commit(answer(status, body, retry_after)) {
            Ok(_) => "applied",
            Err(CommitFailure::Conflict(_)) => "conflict",
            Err(CommitFailure::Unavailable { .. }) => "unavailable",
            Err(CommitFailure::Unknown(_)) => "unknown",
            Err(CommitFailure::Rejected(_)) => "rejected",
        }
    }

    #[test]
    fn each_status_of_a_commit_has_its_class() {
        let stale = r#"{"error":{"message":"Cannot add snapshot with sequence number 4 older than last sequence number 5",
                        "type":"BadRequestException","code":400}}"#;

        for (status, body, wait, expected) in [
            (200, "", None, "applied"),
            (204, "", None, "applied"),
            (409, "", None, "conflict"),
            (400, stale, None, "conflict"),
            (400, "{}", None, "rejected"),
            (403, "", None, "rejected"),
            (404, "", None, "rejected"),
            (302, "", None, "rejected"),
            (429, "", None, "unavailable"),
            (429, "", Some("2"), "unavailable"),
            (503, "", Some("2"), "unavailable"),
            (503, "", None, "unknown"),
            (500, "", None, "unknown"),
            (502, "<html>", None, "unknown"),
            (504, "", Some("1"), "unknown"),
            (408, "", None, "unknown"),
        ] {
            assert_eq!(class(status, body, wait), expected, "status {status}, retry-after {wait:?}");
        }
    }

    #[test]
    fn the_waiting_time_is_read_in_both_forms() {
        let date = (Utc::now() + chrono::Duration::seconds(30)).to_rfc2822();

        assert_eq!(retry_after(&answer(503, "", Some("7"))), Some(Duration::from_secs(7)));
        let wait = retry_after(&answer(503, "", Some(&date))).unwrap();
        assert!(wait > Duration::from_secs(20) && wait <= Duration::from_secs(30), "{wait:?}");
        assert_eq!(retry_after(&answer(503, "", Some("soon"))), None);
    }

    #[test]
    fn errors_are_explained_in_one_line() {
        for (body, expected) in [
            (
                r#"{"error":{"message":"no","type":"ForbiddenException","code":403}}"#,
                "ForbiddenException: no (status 403)",
            ),
            (r#"{"error":"invalid_scope","error_description":"bad"}"#, "invalid_scope: bad (status 403)"),
            ("a proxy\nsaid no", "a proxy said no (status 403)"),
            ("", "status 403"),
        ] {
            assert_eq!(explain(&answer(403, body, None)), expected);
        }
    }
}
