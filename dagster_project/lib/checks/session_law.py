"""Sessions by definition, in Python, without care for cost: it shares no code with what it judges."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from dagster_project.lib.checks.session_rules import GAP_MS

DAY_MS = 86_400_000
#: The topics of sessions, in the order of events that are equal in time, session and item.
TOPICS = ("listen_events", "page_view_events", "auth_events", "status_change_events")
LISTEN, PAGE_VIEW, AUTH, STATUS_CHANGE = range(4)
SONG_PAGE = "NextSong"
Row = Mapping[str, object]
Value = TypeVar("Value")


class Person(NamedTuple):
    """A user of a producer run, or a visitor (a producer session) whom nothing names. A run is an empty text if there is none."""

    run: str
    user: int | None
    visit: int | None


@dataclass(frozen=True)
class Event:
    """A row of silver, as far as sessions need it.

    Attributes:
        detail: page of a page view, new level of a status change.
        level: level that the event tells; of a status change the old one.
    """

    time_ms: int
    session: int
    item: int
    topic: int
    run: str
    user: int | None
    detail: str | None
    level: str | None
    city: str | None
    state: str | None
    artist: str | None
    song: str | None
    seconds: float | None

    @property
    def is_song(self) -> bool:
        """Whether the event tells of a song."""
        return self.topic == LISTEN or (self.topic == PAGE_VIEW and self.detail == SONG_PAGE)

    @property
    def order(self) -> tuple[object, ...]:
        """Sorts events of a person; what is equal in time, session and item by content, nulls first."""
        plays = self.topic in (LISTEN, PAGE_VIEW)
        contents = (self.detail, self.level, self.city, self.state)
        played = (self.artist, self.song, self.seconds) if plays else (None, None, None)
        ordered = tuple((value is not None, 0 if value is None else value) for value in (*contents, *played))
        return (self.time_ms, self.session, self.item, self.topic, self.user is not None, *ordered)


def people_of(events: Sequence[Event]) -> Mapping[Person, Sequence[Event]]:
    """Returns the events of each person, in order.

    An event without a user is of the one user that other events of its producer session name, on its UTC day or the days
    beside it; if there is none, or several, it is of a visitor.
    """
    known: dict[tuple[str, int, int], set[int]] = defaultdict(set)
    for event in events:
        if event.user is not None:
            known[event.run, event.session, event.time_ms // DAY_MS].add(event.user)
    people: dict[Person, list[Event]] = defaultdict(list)
    for event in events:
        user = event.user
        if user is None:
            day = event.time_ms // DAY_MS
            near = set().union(*(known.get((event.run, event.session, other), set()) for other in (day - 1, day, day + 1)))
            user = next(iter(near)) if len(near) == 1 else None
        people[Person(event.run, user, event.session if user is None else None)].append(event)
    return {person: sorted(mine, key=lambda event: event.order) for person, mine in people.items()}


def sessions_of(person: Person, events: Sequence[Event], watermark_ms: int) -> Iterable[Row]:
    """Yields the sessions of one person, in order of time, as rows of the table (without key and processing time)."""
    begin = 0
    for end in range(1, len(events) + 1):
        if end == len(events) or events[end].time_ms - events[end - 1].time_ms > GAP_MS:
            yield _row(person, events[begin:end], watermark_ms)
            begin = end


def _row(person: Person, events: Sequence[Event], watermark_ms: int) -> Row:
    first, last = events[0], events[-1]
    songs: dict[tuple[int, int, int], list[Event]] = defaultdict(list)
    for event in events:
        if event.is_song:
            songs[event.time_ms, event.session, event.item].append(event)
    others = [event for event in events if not event.is_song]
    counts = [sum(event.topic == topic for event in others) for topic in (PAGE_VIEW, AUTH, STATUS_CHANGE)]
    told = [level for event in events for level in _levels(event)]
    levels = [level for number, level in enumerate(told) if number == 0 or told[number - 1] != level]
    least_item = min(event.item for event in events if event.session == first.session)
    return {
        "run_id": person.run or None,
        "user_id": person.user,
        "session_ids": sorted({event.session for event in events}),
        "started_ms": first.time_ms,
        "ended_ms": last.time_ms,
        "duration_ms": last.time_ms - first.time_ms,
        "event_count": len(songs) + sum(counts),
        "listen_count": len(songs),
        "page_view_count": counts[0],
        "auth_event_count": counts[1],
        "status_change_count": counts[2],
        "listen_seconds": sum(_first(event.seconds for event in told_of) or 0.0 for told_of in songs.values()),
        "songs": [_first(event.song for event in told_of) or "" for told_of in songs.values()],
        "artists": [_first(event.artist for event in told_of) or "" for told_of in songs.values()],
        "pages": [event.detail or "" for event in others if event.topic == PAGE_VIEW],
        "level_at_start": levels[0] if levels else None,
        "level_at_end": levels[-1] if levels else None,
        "level_changed": len(levels) > 1,
        "city": first.city,
        "state": first.state,
        "first_item": first.item,
        "is_left_truncated": least_item > 0,
        "is_closed": last.time_ms + GAP_MS < watermark_ms,
    }


def _levels(event: Event) -> Iterable[str]:
    after = event.detail if event.topic == STATUS_CHANGE else None
    return (level for level in (event.level, after) if level is not None)


def _first(values: Iterable[Value | None]) -> Value | None:
    return next((value for value in values if value is not None), None)
