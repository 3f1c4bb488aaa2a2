"""Makes the folder that `DAGSTER_HOME` names, with our instance settings in it, and prints its path.

    export DAGSTER_HOME="$(python -m dagster_project.home)"

An existing `dagster.yaml` is replaced only if nobody changed it: the first line of ours carries the mark of the text below it.
"""

import hashlib
import os
import sys
from pathlib import Path

from dagster_project.lib.paths import streamify_home

TEMPLATE = Path(__file__).with_name("dagster.yaml")
MARK = "# streamify: unchanged while the following text has the mark "


def prepare_home(home: Path) -> Path:
    """Creates `home/dagster` with `dagster.yaml` and returns it, absolute.

    Args:
        home: the settings' folder, `STREAMIFY_HOME`.
    """
    folder = home.absolute() / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "dagster.yaml"
    if not target.exists() or _is_ours(target.read_text(encoding="utf-8")):
        _write_atomically(target, _marked(TEMPLATE.read_text(encoding="utf-8")))
    return folder


def _marked(text: str) -> str:
    return f"{MARK}{hashlib.sha256(text.encode()).hexdigest()[:16]}\n{text}"


def _is_ours(content: str) -> bool:
    return content == _marked(content.partition("\n")[2])


def _write_atomically(target: Path, content: str) -> None:
    temporary = target.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(content, encoding="utf-8")
    temporary.replace(target)


if __name__ == "__main__":
    sys.stdout.write(f"{prepare_home(streamify_home(os.environ))}\n")
