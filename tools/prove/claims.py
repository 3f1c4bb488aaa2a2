"""A claim with its figure and limit, and the table of verdicts."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """One line of the proof."""

    text: str
    figure: str
    limit: str
    holds: bool


def equal(text: str, figure: object, limit: object) -> Claim:
    """Returns a claim that holds if both are the same."""
    return Claim(text, _shown(figure), _shown(limit), figure == limit)


def at_most(text: str, figure: float, limit: float, unit: str = "") -> Claim:
    """Returns a claim that holds if the figure is not above the limit."""
    return Claim(text, f"{_shown(figure)}{unit}", f"≤ {_shown(limit)}{unit}", figure <= limit)


def at_least(text: str, figure: float, limit: float, unit: str = "") -> Claim:
    """Returns a claim that holds if the figure is not below the limit."""
    return Claim(text, f"{_shown(figure)}{unit}", f"≥ {_shown(limit)}{unit}", figure >= limit)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.2f}"
    return str(value)


def table(claims: Iterable[Claim]) -> str:
    """Returns the claims as an aligned table."""
    rows = [("claim", "figure", "limit", "verdict")]
    rows += [(claim.text, claim.figure, claim.limit, "holds" if claim.holds else "FALLS SHORT") for claim in claims]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("─" * width for width in widths))
    return "\n".join(lines)
