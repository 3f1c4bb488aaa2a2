"""Text that was read with the wrong character set: how much silver repaired, and whether anything is left or was spoiled."""

from collections.abc import Callable, Sequence

from dagster_project.lib.checks.verdict import NUM_SHOWN, Look, Verdict, all_rows, one_row
from dagster_project.lib.rows import open_rows

_WINDOWS_1252 = "€\x81‚ƒ„…†‡ˆ‰Š‹Œ\x8dŽ\x8f\x90‘’“”•–—˜™š›œ\x9džŸ"  # noqa: RUF001  # the characters of bytes 0x80 to 0x9F
_COMMON = ((0xA0, 0x17F), (0x386, 0x3CE), (0x400, 0x45F), (0x800, 0x10FFFF))


def repair(text: str) -> str:
    """Returns the text as it was meant; the rules are those of silver, said a second time.

    A pass takes every character as its byte in Latin-1, or else in Windows-1252, and reads the bytes as UTF-8. It counts if
    all goes through and there is evidence: a control character in the text, at least three characters that came out, or
    only common ones.
    """
    while (better := _pass(text)) is not None:
        text = better
    return text


def texts_are_repaired(look: Look, table: str, columns: Sequence[str]) -> Verdict:
    """No text is left that silver should have repaired, and what was repaired is what its original gives."""
    counts: dict[str, int] = {}
    wrong: list[dict[str, str]] = []
    num_wrong = 0
    for column in columns:
        stream = open_rows(look.environ, table, [column, f"{column}_original"], look.only("event_date"))
        with look.database(silver=stream) as database:
            # Distinct texts of a catalogue of songs are few, however many rows there are.
            database.execute(
                f"""CREATE TABLE texts AS SELECT "{column}" AS now, "{column}_original" AS before, count(*) AS n FROM silver
                WHERE "{column}_original" IS NOT NULL OR regexp_matches("{column}", '[^\\x00-\\x7F]') GROUP BY ALL"""
            )
            repaired = one_row(database, "SELECT coalesce(sum(n) FILTER (before IS NOT NULL), 0)::BIGINT AS n FROM texts")
            counts[f"repaired_{column}"] = repaired["n"]
            for text in all_rows(database, "SELECT now, before, n FROM texts"):
                if not _is_right(text["now"], text["before"]):
                    num_wrong += text["n"]
                    wrong.append({"column": column, "text": text["now"], "original": text["before"] or ""})
    return Verdict(
        passed=num_wrong == 0,
        text=f"{sum(counts.values()):,} texts were repaired; {num_wrong:,} rows have a text that is left broken or was spoiled",
        metadata={"value": num_wrong, "limit": 0, **counts},
        offending=wrong[:NUM_SHOWN],
    )


def _is_right(now: str | None, before: str | None) -> bool:
    if now is None:
        return before is None
    if repair(now) != now:
        return False
    return before is None or (before != now and repair(before) == now)


def _pass(text: str) -> str | None:
    if text.isascii():
        return None
    encoded = _encode(text, ord) or _encode(text, _windows_byte)
    try:
        repaired = encoded.decode("utf-8") if encoded else text
    except UnicodeDecodeError:
        return None
    return repaired if repaired != text and _has_evidence(text, repaired) else None


def _windows_byte(letter: str) -> int:
    if letter in _WINDOWS_1252:
        return 0x80 + _WINDOWS_1252.index(letter)
    return ord(letter) if not 0x80 <= ord(letter) <= 0x9F else 256


def _encode(text: str, byte: Callable[[str], int]) -> bytes | None:
    codes = [byte(letter) for letter in text]
    return bytes(codes) if max(codes) < 256 else None


def _has_evidence(text: str, repaired: str) -> bool:
    came_out = [ord(letter) for letter in repaired if not letter.isascii()]
    has_control = any(0x80 <= ord(letter) <= 0x9F for letter in text)
    return has_control or len(came_out) >= 3 or all(any(low <= code <= high for low, high in _COMMON) for code in came_out)
