"""How many lines a worker may write into a run's event log: a burst, then a trickle.

Every line is a row of Dagster's database, for as long as the run is kept. What goes beyond the budget is counted, and the count
is told, so nobody takes silence for calm.
"""

import time
from collections.abc import Callable


class LineBudget:
    """Grants lines: `burst` at once, one more every `seconds_per_line`; not safe for several threads.

    Args:
        burst: lines that may come at any speed.
        seconds_per_line: time after which a line that was used is granted again.
        clock: monotonic seconds.
    """

    def __init__(self, burst: int, seconds_per_line: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst = burst
        self._seconds_per_line = seconds_per_line
        self._clock = clock
        self._left = float(burst)
        self._seen_at = clock()
        self._num_left_out = 0

    def take(self) -> bool:
        """Returns whether one more line may be written; if not, it is counted as left out."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._seen_at) / self._seconds_per_line)
        self._seen_at = now
        if self._left < 1:
            self._num_left_out += 1
            return False
        self._left -= 1
        return True

    def take_left_out(self) -> int:
        """Returns how many lines were left out since the last call."""
        number, self._num_left_out = self._num_left_out, 0
        return number
