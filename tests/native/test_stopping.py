"""A call ends when it is asked to: by a token, a signal, an exception of the callback."""

import multiprocessing
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest

from dagster_project import _native
from dagster_project.lib.paths import find_binary


class SilentCatalog:
    """A server that takes connections and never answers."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.asked = threading.Event()
        self.connections = []
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.connections.append(connection)
            self.asked.set()

    @property
    def env(self):
        return {"POLARIS_URI": f"http://127.0.0.1:{self.socket.getsockname()[1]}/api/catalog"}

    def close(self):
        # Unblocks the accept of the other thread, which a close alone does not.
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        for connection in self.connections:
            connection.close()


@pytest.fixture
def silent_catalog(lake) -> Iterator[SilentCatalog]:
    """A catalog on which a call would wait for half a minute."""
    catalog = SilentCatalog()
    yield catalog
    catalog.close()


@pytest.fixture
def heeds_ctrl_c() -> Iterator[None]:
    """Python's own handling of Ctrl-C, which is off where a shell started the tests in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def when(event, action):
    """Does `action` in another thread, after `event`."""
    thread = threading.Thread(target=lambda: (event.wait(30), action()))
    thread.start()
    return thread


def test_a_token_ends_a_call_from_another_thread(silent_catalog):
    cancel = _native.CancelToken()
    times = {}

    def stop():
        times["asked"] = time.monotonic()
        cancel.cancel()

    stopper = when(silent_catalog.asked, stop)
    with pytest.raises(_native.CancelledError):
        _native.compact("t", env=silent_catalog.env, cancel=cancel)

    assert time.monotonic() - times["asked"] < 2
    assert cancel.cancelled
    stopper.join()


def test_a_token_ends_a_call_in_another_thread(silent_catalog):
    cancel = _native.CancelToken()
    ended = []

    def call():
        with pytest.raises(_native.CancelledError):
            _native.compact("t", env=silent_catalog.env, cancel=cancel)
        ended.append(time.monotonic())

    caller = threading.Thread(target=call)
    caller.start()
    # This thread runs: the interpreter's lock is free while the other one waits.
    assert silent_catalog.asked.wait(30)
    asked = time.monotonic()
    cancel.cancel()
    caller.join()

    assert ended[0] - asked < 2


def test_ctrl_c_ends_a_call_and_the_token_of_others_stays(silent_catalog, heeds_ctrl_c):
    cancel = _native.CancelToken()
    times = {}

    def interrupt():
        times["asked"] = time.monotonic()
        signal.raise_signal(signal.SIGINT)

    stopper = when(silent_catalog.asked, interrupt)
    with pytest.raises(KeyboardInterrupt):
        _native.compact("t", env=silent_catalog.env, cancel=cancel)

    assert time.monotonic() - times["asked"] < 2
    assert not cancel.cancelled
    stopper.join()


def test_ctrl_c_ends_the_preparation_of_a_scan(silent_catalog, heeds_ctrl_c):
    stopper = when(silent_catalog.asked, lambda: signal.raise_signal(signal.SIGINT))

    with pytest.raises(KeyboardInterrupt):
        _native.scan("t", env=silent_catalog.env)
    stopper.join()


def test_what_the_callback_raises_ends_the_call_and_what_is_committed_stays(lake, small_files):
    small_files("t", days=3)
    before = lake.rows("t")

    class EnoughError(Exception):
        pass

    def callback(progress):
        if progress.done == 1:
            raise EnoughError

    with pytest.raises(EnoughError):
        _native.compact("t", progress=callback)

    assert lake.rows("t") == before
    _native.compact("t")
    assert len(lake.table("t").inspect.files()) == 3
    assert lake.rows("t") == before


def test_a_token_that_was_cancelled_before_lets_nothing_begin(lake, small_files):
    table = small_files("t")
    cancel = _native.CancelToken()
    cancel.cancel()

    with pytest.raises(_native.CancelledError, match="stopped before the end"):
        _native.compact("t", cancel=cancel)

    assert lake.table("t").metadata_location == table.metadata_location


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_binary_ends_by_a_signal_and_does_not_look_done(silent_catalog, number):
    command = [find_binary("streamify-batch", os.environ), "compact"]
    environment = os.environ | silent_catalog.env
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert silent_catalog.asked.wait(30)
        asked = time.monotonic()
        process.send_signal(number)
        _, log = process.communicate(timeout=30)

    assert time.monotonic() - asked < 3
    assert process.returncode == 1
    assert "stopped" in log


def _compact_in_child(home, results):
    results.put(_native.compact("t", env={"STREAMIFY_HOME": home})["partitions"])


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own(lake, small_files):
    small_files("t")
    assert _native.compact("t", dry_run=True)["partitions"] == 2
    context = multiprocessing.get_context("fork")
    results = context.Queue()

    child = context.Process(target=_compact_in_child, args=(str(lake.home), results))
    child.start()

    assert results.get(timeout=60) == 2
    child.join(60)
    assert child.exitcode == 0
