"""Bounded waiting, for sensors: the daemon's tick goes on in time, whatever a server does.

Guarantees: `outcome` returns or raises within the seconds it is given. A call that takes longer goes on in the background, and
its outcome is for the next who asks. Under one name none is begun beside another, unless that has hung for `HUNG_SECONDS`.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar, cast

#: The longest that a tick of a sensor, or the evaluation of a schedule, waits for others.
TICK_SECONDS = 2.0
#: A request that got no answer for so long never gets one: the connection is gone although nobody said so.
HUNG_SECONDS = 600.0
T = TypeVar("T")


class NotYetError(TimeoutError):
    """A call has not ended in the time that there was; it goes on."""


class Deadline:
    """The time that one tick has for everything together."""

    def __init__(self, seconds: float = TICK_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds

    def left(self, at_most: float = TICK_SECONDS) -> float:
        """Returns the seconds that are left, 0 if none are; never more than `at_most`."""
        return max(0.0, min(at_most, self._end - self._clock()))


@dataclass
class _Call(Generic[T]):
    function: Callable[[], T]
    done: threading.Event = field(default_factory=threading.Event)
    begun_at: float = field(default_factory=time.monotonic)
    ended_at: float = 0.0
    result: T | None = None
    error: BaseException | None = None

    def run(self) -> None:
        try:
            self.result = self.function()
        except BaseException as error:  # noqa: BLE001  # goes on in the thread that asks for the outcome
            self.error = error
        self.ended_at = time.monotonic()
        self.done.set()

    def is_of_use(self, max_age: float) -> bool:
        """Returns whether its outcome is worth waiting for, or young enough to be taken."""
        now = time.monotonic()
        return now - self.ended_at <= max_age if self.done.is_set() else now - self.begun_at <= HUNG_SECONDS


class Background:
    """Calls that may outlive the tick that began them; of one process."""

    def __init__(self) -> None:
        self._calls: dict[str, _Call[object]] = {}
        self._lock = threading.Lock()

    def begin(self, name: str, function: Callable[[], T], max_age: float = float("inf")) -> None:
        """Begins a call, unless one of that name is under way, or has ended in the last `max_age` seconds and nobody asked."""
        with self._lock:
            known = self._calls.get(name)
            if known and known.is_of_use(max_age):
                return
            call = _Call[object](function)
            self._calls[name] = call
            # A daemon: a server that never answers must not keep the process from ending.
            threading.Thread(target=call.run, name=name, daemon=True).start()

    def outcome(self, name: str, seconds: float) -> object:
        """Waits for a call that was begun, and returns what it returned or raises what it raised.

        Raises:
            NotYetError: it has not ended within `seconds`; it goes on, and can be asked for again.
        """
        with self._lock:
            call = self._calls[name]
        if not call.done.wait(seconds):
            raise NotYetError(f"`{name}` did not end within {seconds:.1f} s; it goes on in the background")
        with self._lock:
            self._calls.pop(name, None)
        if call.error is not None:
            raise call.error
        return call.result

    def call(self, name: str, function: Callable[[], T], seconds: float, max_age: float = 0.0) -> T:
        """Begins a call, or takes up the one under way, and waits for it.

        Args:
            name: what it is; calls of one name never run at the same time.
            function: what to call.
            seconds: how long to wait.
            max_age: an outcome that nobody asked for is good for so many seconds.

        Raises:
            NotYetError: as `outcome`.
        """
        self.begin(name, function, max_age)
        return cast(T, self.outcome(name, seconds))

    def forget(self, name: str) -> None:
        """Gives a call up: what it returns is for nobody, and the next `begin` begins anew."""
        with self._lock:
            self._calls.pop(name, None)


#: The one of this process: code servers keep it from tick to tick.
BACKGROUND = Background()
