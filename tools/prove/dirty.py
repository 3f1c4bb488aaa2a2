"""Records as they come in the wild: broken, odd but readable, and how each must end.

The cases are those of the data dictionary's list of dirty data; each is made for a topic from a valid event of it.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

SECOND = 1_000


@dataclass(frozen=True)
class Dirty:
    """One delivery and what must become of it."""

    kind: str
    value: bytes | None
    is_row: bool


def _event(topic: str, number: int, now_ms: int) -> dict[str, object]:
    """Returns a valid event of a topic; sessions from 900,000,000 on belong to no one else."""
    event: dict[str, object] = {
        "ts": now_ms,
        "sessionId": 900_000_000 + number,
        "level": "free",
        "itemInSession": number,
        "city": "Bear",
        "zip": "01970",
        "state": "DE",
        "userAgent": '"Mozilla/5.0 (X11)"',
        "lon": -75.7,
        "lat": 39.5,
        "userId": 77,
        "lastName": "Ash",
        "firstName": "Leo",
        "gender": "M",
        "registration": now_ms - SECOND,
    }
    extra: dict[str, dict[str, object]] = {
        "listen_events": {"artist": "Nora Vale", "song": "Slow Harbour", "duration": 223.4, "auth": "Logged In"},
        "page_view_events": {"page": "Home", "method": "GET", "status": 200, "auth": "Logged In"},
        "auth_events": {"success": True},
        "status_change_events": {"auth": "Logged In"},
    }
    return event | extra[topic]


def _line(event: dict[str, object]) -> bytes:
    return json.dumps(event, ensure_ascii=False).encode() + b"\n"


def records(topic: str, now_ms: int, first: int) -> Iterator[Dirty]:
    """Yields one record of each kind; `first` numbers the sessions, so that each readable one is a new event."""
    number = iter(range(first, first + 1000))

    def event(**changes: object) -> dict[str, object]:
        made = _event(topic, next(number), now_ms) | changes
        return {name: value for name, value in made.items() if value is not ...}

    line = _line(event())
    broken: dict[str, bytes | None] = {
        "tombstone": None,
        "empty value": b"",
        "an array": b"[]",
        "a string": b'"text"',
        "two objects": line.strip() + line,
        "cut in the middle": line[: len(line) // 2],
        "two megabytes": _line(event(city="x" * 2_000_000)),
        "not UTF-8": line.replace(b"Bear", b"B\xffar"),
        "a lone surrogate": line.replace(b"Bear", rb"B\ud83dar"),
        "no event time": _line(event(ts=...)),
        "event time zero": _line(event(ts=0)),
        "event time negative": _line(event(ts=-5)),
        "event time in seconds": _line(event(ts=now_ms // SECOND)),
        "event time in the far future": _line(event(ts=now_ms + 400 * 86_400 * SECOND)),
        "session id a word": _line(event(sessionId="abc")),
        "session id a float": _line(event(sessionId=1.5)),
        "level a number": _line(event(level=5)),
        "zip an object": _line(event(zip={"a": 1})),
    }
    readable: dict[str, bytes] = {
        "CR LF at the end": _line(event()).rstrip() + b"\r\n",
        "user id as text": _line(event(userId="42")),
        "user id empty": _line(event(userId="")),
        "user id null": _line(event(userId=None)),
        "user id absent": _line(event(userId=...)),
        "an unknown field": _line(event(mood="fine", nested={"a": [1, 2]})),
        "mojibake": _line(event(city="SÃ£o Paulo")),
        "quotes and backslash": _line(event(city='The "Bear" \\ Den')),
        "emoji and NUL": _line(event(city="🎵\x00é")),
        "control characters": _line(event(city="a\x85b\x9fc")),
        "names of 300 letters": _line(event(lastName="ö" * 300)),
        "lng for lon": _line(event(lon=..., lng=-1.5)),
    }
    if topic == "listen_events":
        readable["length for duration"] = _line(event(duration=..., length=200.5))
    yield from (Dirty(kind, value, False) for kind, value in broken.items())
    yield from (Dirty(kind, value, True) for kind, value in readable.items())
