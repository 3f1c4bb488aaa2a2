"""Durations with a unit."""

import pytest

from dagster_project.lib.durations import seconds_of


@pytest.mark.parametrize(
    ("text", "seconds"), [("250ms", 0.25), ("10s", 10), ("1m 30s", 90), ("2h", 7200), ("1day", 86_400), ("1.5h", 5400)]
)
def test_a_duration_with_its_unit(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "s", "10 parsecs", "-5s", "5m and more"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration with a unit"):
        seconds_of(text)
