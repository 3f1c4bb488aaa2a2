"""Repaired text: right where silver repaired it, found where it is left broken or was spoiled."""

import pytest

from dagster_project.lib.checks.text_repair import repair, texts_are_repaired

TABLE = "silver_listen_events"


def judge(lake, *rows):
    """Judges a table of listens with these (artist, what it was)."""
    lake.silver("listen_events", [lake.event("listen_events", artist=now, artist_original=before) for now, before in rows])
    return texts_are_repaired(lake.look(), TABLE, ["artist", "song"])


@pytest.mark.parametrize(
    ("text", "repaired"),
    [
        ("Björk", "Björk"),
        ("BjÃ¶rk", "Björk"),
        ("BjÃƒÂ¶rk", "Björk"),
        ("BEYONC\xc9\u2019S", "BEYONC\xc9\u2019S"),
        ("plain", "plain"),
        ("", ""),
        ("Sigur RÃ³s", "Sigur Rós"),
        ("â\x80\x9cHeroesâ\x80\x9d", "“Heroes”"),
        ("Ã", "Ã"),
    ],
)
def test_text_is_read_as_it_was_meant(text, repaired):
    assert repair(text) == repaired
    assert repair(repaired) == repaired


def test_repaired_texts_are_counted(lake):
    verdict = judge(lake, ("Björk", "BjÃ¶rk"), ("Björk", None), ("Nora Vale", None))

    assert verdict.passed, verdict
    assert verdict.metadata == {"value": 0, "limit": 0, "repaired_artist": 1, "repaired_song": 0}


@pytest.mark.parametrize(
    ("now", "before"),
    [
        pytest.param("BjÃ¶rk", None, id="left broken"),
        pytest.param("Bjork", "BjÃ¶rk", id="not what the original gives"),
        pytest.param("Nora Vale", "Nora Vale", id="an original that was not changed"),
    ],
)
def test_a_wrong_text_is_named(lake, now, before):
    verdict = judge(lake, ("Björk", "BjÃ¶rk"), (now, before))

    assert not verdict.passed
    assert verdict.offending == [{"column": "artist", "text": now, "original": before or ""}]
