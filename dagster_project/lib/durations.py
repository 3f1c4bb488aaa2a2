"""Durations as people write them in settings, with a unit, as the Rust programs read them."""

import re

PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)")
SECONDS = {
    "ms": 0.001,
    "s": 1.0,
    "sec": 1.0,
    "m": 60.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86_400.0,
    "day": 86_400.0,
    "days": 86_400.0,
}


def seconds_of(text: str) -> float:
    """Returns the seconds in `250ms`, `10s`, `1m 30s`, `2h`, `1day`.

    Raises:
        ValueError: the text is no duration, or has no unit.
    """
    parts = PART.findall(text)
    if not parts or PART.sub("", text).strip() or any(unit not in SECONDS for _, unit in parts):
        raise ValueError(f"`{text}` is no duration with a unit (expected e.g. `5m`)")
    return sum(float(number) * SECONDS[unit] for number, unit in parts)
