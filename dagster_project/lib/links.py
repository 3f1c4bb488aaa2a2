"""Addresses of pages in Dagster's UI, for people who read an alert elsewhere."""

from collections.abc import Mapping

DEFAULT_UI = "http://127.0.0.1:3000"


def run_link(environ: Mapping[str, str], run_id: str) -> str:
    """Returns the page of a run."""
    return f"{_base(environ)}/runs/{run_id}"


def asset_link(environ: Mapping[str, str], asset: str) -> str:
    """Returns the page of an asset, by its key as text."""
    return f"{_base(environ)}/assets/{asset}"


def _base(environ: Mapping[str, str]) -> str:
    return (environ.get("DAGSTER_UI_URL") or DEFAULT_UI).rstrip("/")
