"""What people want of the always-on worker, kept below STREAMIFY_HOME: a worker that was stopped on purpose stays stopped."""

import json
import time
from collections.abc import Mapping
from enum import StrEnum

from dagster_project.lib.worker_process import write_atomically
from dagster_project.lib.worker_status import worker_folder

FILE = "wanted.json"


class Wanted(StrEnum):
    """What was asked for last."""

    RUNNING = "running"
    STOPPED = "stopped"


def wanted(environ: Mapping[str, str]) -> Wanted | None:
    """Returns what was asked for last; None if nobody ever asked."""
    try:
        return Wanted(json.loads((worker_folder(environ) / FILE).read_text(encoding="utf-8"))["wanted"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return None  # nobody's word: whoever starts or stops the worker next writes it anew


def set_wanted(environ: Mapping[str, str], state: Wanted) -> None:
    """Records what is asked for, before anything is done about it."""
    content = {"wanted": state.value, "since_ms": round(time.time() * 1000)}
    write_atomically(worker_folder(environ) / FILE, json.dumps(content))
