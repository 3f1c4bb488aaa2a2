"""Interrupts as messages instead of exceptions, for the time a worker runs.

Dagster cancels a step by raising an exception in the main thread, wherever it is. In the middle of starting, stopping or
draining a worker that would leave an orphan or lose results, so here a signal only becomes an item in a queue; when the block
is done it is delivered to whoever was in charge before, who raises what he always raises.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
Handler = Callable[[int, FrameType | None], object] | int | None


@contextmanager
def deferred_interrupts(notify: Callable[[int], None]) -> Iterator[None]:
    """Holds SIGINT and SIGTERM back until the end of the block and calls `notify(signal number)` at once for each.

    Outside the main thread, where Python delivers no signals, this does nothing.

    Args:
        notify: called inside a signal handler: must be re-entrant, such as `queue.SimpleQueue.put`.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def handle(signal_number: int, _frame: FrameType | None) -> None:
        received.append(signal_number)
        notify(signal_number)

    originals: dict[int, Handler] = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, original in originals.items():
            signal.signal(number, original if original is not None else signal.SIG_DFL)
        if received:
            _deliver(received[0], originals[received[0]])


def _deliver(signal_number: int, original: Handler) -> None:
    if original is signal.SIG_IGN:
        return
    if callable(original):
        original(signal_number, None)
        return
    raise KeyboardInterrupt
