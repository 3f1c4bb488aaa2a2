"""Event sets of `bench/gen.py`, made once and kept below `bench/data` (two minutes and 3 GB for five million listens)."""

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "data"


def event_set(name: str, listens: int, seed: int) -> Path:
    """Returns the folder of an event set with 2 % duplicates; makes it unless it is there, whole."""
    folder = FOLDER / f"{name}-{seed}"
    # The truth is written last.
    if not (folder / "truth.json").exists():
        print(f"making the event set in {folder} …", flush=True)
        command = [sys.executable, "-m", "bench.gen", "make", str(folder), "--seed", str(seed), "--listens", str(listens)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder
