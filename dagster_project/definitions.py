"""The code location: everything below `defs/`, found by itself."""

from pathlib import Path

import dagster as dg


@dg.definitions
def defs() -> dg.Definitions:
    """Loads every definition below `defs/`."""
    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
