"""Where things are: the checkout, the settings' folder, the binaries."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[2]
PROFILE_FOLDER = "release"  # the workspace has one cargo profile
REMEDY = "build it with `make build`"


class BinaryNotFoundError(RuntimeError):
    """A worker binary is in none of the places it may be in."""


def streamify_home(environ: Mapping[str, str]) -> Path:
    """Returns `STREAMIFY_HOME` (default `.streamify` in the working folder), absolute."""
    return Path(environ.get("STREAMIFY_HOME") or ".streamify").expanduser().absolute()


def contracts_folder(environ: Mapping[str, str]) -> Path:
    """Returns the folder of the event contracts: `STREAMIFY_CONTRACTS`, else the checkout's."""
    configured = environ.get("STREAMIFY_CONTRACTS")
    return Path(configured).expanduser().absolute() if configured else PROJECT_ROOT / "contracts"


def find_binary(name: str, environ: Mapping[str, str]) -> Path:
    """Finds a worker binary.

    Looked in, in this order: `STREAMIFY_BIN_DIR` (alone, if set), `CARGO_TARGET_DIR`, the checkout's `target`,
    `~/.cache/streamify/target`, `PATH`.

    Args:
        name: file name, such as `streamify-stream`.
        environ: the environment.

    Raises:
        BinaryNotFoundError: tells the places and how to build it.
    """
    configured = environ.get("STREAMIFY_BIN_DIR")
    if configured:
        found = _in_folder(Path(configured).expanduser(), name)
        if found is None:
            raise BinaryNotFoundError(f"{name} not found in STREAMIFY_BIN_DIR=`{configured}`; {REMEDY}")
        return found
    folders = _target_folders(environ)
    for folder in folders:
        if found := _in_folder(folder, name):
            return found
    on_path = shutil.which(name, path=environ.get("PATH", ""))
    if on_path is None:
        looked = ", ".join(["$STREAMIFY_BIN_DIR", *(str(folder) for folder in folders), "PATH"])
        raise BinaryNotFoundError(f"{name} not found (looked in {looked}); {REMEDY}")
    return Path(on_path)


def _target_folders(environ: Mapping[str, str]) -> list[Path]:
    targets = [PROJECT_ROOT / "target", Path("~/.cache/streamify/target").expanduser()]
    if configured := environ.get("CARGO_TARGET_DIR"):
        targets.insert(0, Path(configured).expanduser().absolute())
    return [target / PROFILE_FOLDER for target in targets]


def _in_folder(folder: Path, name: str) -> Path | None:
    program = folder / name
    return program if program.is_file() and os.access(program, os.X_OK) else None
