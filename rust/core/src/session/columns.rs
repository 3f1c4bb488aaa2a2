//! The columns of the table of sessions.

use crate::contract::{Column, ColumnType};

use ColumnType::{Boolean, Date, Double, Int, Long, LongList, String, StringList, Timestamp};

/// Name, type, whether it may be null, and meaning, in table order.
const COLUMNS: &[(&str, ColumnType, bool, &str)] = &[
    (
        "session_key",
        String,
        false,
        "Identity of the session, 32 hex digits, from its person and its first event.",
    ),
    ("session_date", Date, false, "UTC date of the first event."),
    ("run_id", String, true, "Producer run; part of the identity of people."),
    ("user_id", Long, true, "Number of the user within the run; null for a visitor whom nothing names."),
    ("session_ids", LongList, false, "Numbers of the producer's sessions that the events are of, ascending."),
    ("started_at", Timestamp, false, "Time of the first event, UTC."),
    ("ended_at", Timestamp, false, "Time of the last event, UTC."),
    ("duration_ms", Long, false, "From the first event to the last; 0 for a single event."),
    ("event_count", Int, false, "Events: listens, page views without songs, logins and status changes."),
    ("listen_count", Int, false, "Songs that were played; each once, though two topics tell of it."),
    ("page_view_count", Int, false, "Pages that were entered, without songs."),
    ("auth_event_count", Int, false, "Login results."),
    ("status_change_count", Int, false, "Requested upgrades and downgrades."),
    ("listen_seconds", Double, false, "Sum of the lengths of the songs played; not the time of listening."),
    (
        "songs",
        StringList,
        false,
        "Title of each listen in order of time; empty text where the event has none.",
    ),
    (
        "artists",
        StringList,
        false,
        "Artist of each listen in order of time; empty text where the event has none.",
    ),
    ("pages", StringList, false, "Page of each page view in order of time, without songs."),
    ("level_at_start", String, true, "First subscription level that an event tells: `free` or `paid`."),
    ("level_at_end", String, true, "Last level that an event tells; after a status change its new level."),
    (
        "level_changed",
        Boolean,
        false,
        "Whether the level changed within the session, even if it changed back.",
    ),
    ("city", String, true, "City of the first event."),
    ("state", String, true, "US state of the first event, two letters."),
    ("first_item", Int, false, "Position of the first event in its producer session."),
    (
        "is_left_truncated",
        Boolean,
        false,
        "Whether item 0 of the first event's producer session is not in this session.",
    ),
    (
        "is_closed",
        Boolean,
        false,
        "Whether the end plus 30 min is before the largest event time consumed so far.",
    ),
    ("_processed_at", Timestamp, false, "When the row was computed, UTC."),
];

/// Returns the columns of the table of sessions, in table order.
#[must_use]
pub fn columns() -> Vec<Column> {
    let column = |(name, kind, nullable, doc): &(&str, ColumnType, bool, &str)| {
        let unit = match *name {
            "duration_ms" => Some("ms".to_owned()),
            "listen_seconds" => Some("s".to_owned()),
            _ => None,
        };
        Column { unit, personal: *name == "user_id", ..Column::new(name, *kind, *nullable, doc) }
    };
    COLUMNS.iter().map(column).collect()
}
