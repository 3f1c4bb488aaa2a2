"""Loads tables within a time of the caller's choice, although the catalog's client knows no timeouts.

Guarantees: the caller waits no longer than it says. A load that takes longer goes on in a thread of its own, and what it brings
is the answer of the next call for the same table; so a slow catalog delays, and a silent one costs one thread per table.
"""

import threading
import time
from concurrent.futures import Future, wait
from dataclasses import dataclass, field

from pyiceberg.table import Table

from dagster_project.lib.lake import Environ, load_table

# A request that got no answer for so long never gets one: the connection is gone although nobody said so.
SECONDS_UNTIL_FORGOTTEN = 600.0


@dataclass
class Pending:
    """A load that has begun."""

    future: "Future[Table]" = field(default_factory=Future)
    begun_at: float = field(default_factory=time.monotonic)


class PatientLoader:
    """Loads tables; one caller at a time."""

    def __init__(self) -> None:
        self._pending: dict[str, Pending] = {}

    def load(self, environ: Environ, table: str, seconds: float) -> Table:
        """Loads a table, or takes what an earlier call began.

        Raises:
            TimeoutError: there is no answer yet.
            TableMissingError: if there is no such table.
        """
        pending = self._pending.get(table)
        if pending is None or time.monotonic() - pending.begun_at > SECONDS_UNTIL_FORGOTTEN:
            pending = self._pending[table] = Pending()
            threading.Thread(target=_load, args=(pending.future, dict(environ), table), daemon=True).start()
        wait([pending.future], seconds)
        if not pending.future.done():
            waited = time.monotonic() - pending.begun_at
            raise TimeoutError(f"the catalog has not answered for table `{table}` for {waited:.0f} s")
        del self._pending[table]
        return pending.future.result()


def _load(future: "Future[Table]", environ: Environ, table: str) -> None:
    try:
        future.set_result(load_table(environ, table))
    except BaseException as error:  # noqa: BLE001  # whoever waits gets it
        future.set_exception(error)
