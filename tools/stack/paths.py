"""Where things live: sources beside this file, builds in the user's cache, running state in a folder of its own."""

import os
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent.parent
POMS = HERE / "poms"
JAVA = HERE / "java"
BOOTSTRAP = PROJECT / "polaris-config" / "bootstrap.py"


def cache_dir() -> Path:
    """Returns the folder for downloads and builds; shared by all checkouts of a user."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "streamify" / "stack"


def default_state_dir() -> Path:
    """Returns `$STREAMIFY_HOME/stack`, `.streamify/stack` of this checkout if the variable is not set."""
    home = os.environ.get("STREAMIFY_HOME")
    return (Path(home) if home else PROJECT / ".streamify").absolute() / "stack"


@dataclass(frozen=True)
class StatePaths:
    """The files of one running stack."""

    root: Path

    @property
    def file(self) -> Path:
        """The state file: processes, ports, credentials; mode 0600."""
        return self.root / "state.json"

    @property
    def credentials(self) -> Path:
        """The principals' credentials that the catalog bootstrap wrote; mode 0600."""
        return self.root / "polaris-credentials.json"

    def data(self, component: str) -> Path:
        """The data folder of a component; survives a restart of the component."""
        return self.root / component

    def log(self, component: str) -> Path:
        """The file with stdout and stderr of a component."""
        return self.root / "logs" / f"{component}.log"
