"""Our reader of the S3 channel, against a real HTTP server, with the faults that kill or deceive Dagster's own reader."""

import http.server
import threading
import urllib.request
from collections.abc import Iterator

import pytest

from dagster_project.resources.pipes.s3_reader import S3MessageReader, S3Timing, build_client
from tools.stack.faults import Fault, FaultProxy

BUCKET = "pipes"
TIMING = S3Timing(poll=0.02, max_backoff=0.1, linger=0.5, outage_after_end=0.5)


class FaultyFront(http.server.BaseHTTPRequestHandler):
    """A front to the store that can be told to be away: it then cuts every connection, or answers 503 or 403."""

    def _pass_on(self):
        front = self.server
        front.num_requests += 1
        if front.fault == "cut":
            self.close_connection = True
            self.connection.close()
            return
        if front.fault:
            self.send_response(int(front.fault))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = urllib.request.Request(front.target + self.path, body or None, headers, method=self.command)
        try:
            answer = urllib.request.urlopen(request)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            content = answer.read()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                if name.lower() not in {"transfer-encoding", "connection", "content-length"}:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    do_GET = do_PUT = do_HEAD = _pass_on

    def log_message(self, *_args):
        """Says nothing."""


@pytest.fixture
def front(s3_server) -> Iterator[http.server.ThreadingHTTPServer]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), FaultyFront)
    server.target, server.fault, server.num_requests = s3_server, None, 0
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def store(s3_server):
    client = build_client(s3_server)
    client.create_bucket(Bucket=BUCKET)
    yield client
    client.close()


@pytest.fixture
def reader(store, log):
    return S3MessageReader(log, store, BUCKET, "base/run/step/0", TIMING)


@pytest.fixture
def put(store):
    def put(params, number, *lines):
        store.put_object(Bucket=params["bucket"], Key=f"{params['key_prefix']}/{number}.json", Body="\n".join(lines).encode())

    return put


def test_the_prefix_names_run_step_and_retry_and_is_never_used_twice(store, log):
    first, second = (S3MessageReader(log, store, BUCKET, "base/run/step/0", TIMING) for _ in range(2))

    assert first.prefix.startswith("base/run/step/0/")
    assert first.prefix != second.prefix


def test_messages_arrive_while_the_worker_runs(reader, handler, put, message, custom, wait_until):
    with reader.read_messages(handler) as params:
        put(params, 1, message("opened", extras={}), custom(1))
        wait_until(lambda: handler.payloads == [1], "the first chunk, before the session ends")
        put(params, 2, custom(2), message("closed"))

    assert handler.payloads == [1, 2]
    assert (reader.journal.closed, reader.journal.losses) == (True, [])


def test_fifty_chunks_that_are_there_at_the_end_are_all_read(reader, handler, put, message, custom):
    with reader.read_messages(handler) as params:
        for number in range(1, 51):
            put(params, number, custom(number))
        put(params, 51, message("closed"))

    assert handler.payloads == list(range(1, 51))


def test_a_second_session_reads_its_own_messages_from_the_start(store, log, handler, put, message, custom):
    for session in range(2):
        reader = S3MessageReader(log, store, BUCKET, "base/run/step/0", TIMING)
        with reader.read_messages(handler) as params:
            put(params, 1, custom(f"{session}-1"))
            put(params, 2, custom(f"{session}-2"), message("closed"))

    assert handler.payloads == ["0-1", "0-2", "1-1", "1-2"]


def test_a_chunk_that_comes_late_is_waited_for(store, log, handler, put, message, custom):
    patient = S3MessageReader(log, store, BUCKET, "base", S3Timing(poll=0.02, linger=60))

    with patient.read_messages(handler) as params:
        put(params, 1, custom(1))
        late = threading.Thread(target=lambda: patient._worker_ended.wait() and put(params, 2, custom(2), message("closed")))
        late.start()
    late.join()

    assert handler.payloads == [1, 2]
    assert patient.journal.losses == []


def test_without_closed_the_reader_ends_after_its_waiting_time(reader, handler, put, custom):
    with reader.read_messages(handler) as params:
        put(params, 1, custom(1))

    assert handler.payloads == [1]
    assert (reader.journal.closed, reader.journal.losses) == (False, [])


def test_a_missing_chunk_with_later_ones_behind_it_is_a_loss(reader, handler, put, message, custom):
    with reader.read_messages(handler) as params:
        put(params, 1, custom(1))
        put(params, 3, custom(3), message("closed"))

    assert handler.payloads == [1]
    [loss] = reader.journal.losses
    assert loss == f"chunk {reader.prefix}/2.json is missing, 1 later ones are there"


def test_a_bad_message_in_a_chunk_costs_one_warning_and_nothing_else(reader, handler, put, message, custom, log):
    with reader.read_messages(handler) as params:
        put(params, 1, custom(1), custom("POISON"), "7", "", custom(2))
        put(params, 2, custom(3), message("closed"))

    assert handler.payloads == [1, 2, 3]
    assert len(log.warnings) == reader.journal.num_refused == 2


@pytest.mark.parametrize("fault", ["cut", "503", "403"])
def test_an_outage_costs_one_warning_and_no_message(fault, front, store, log, handler, put, message, custom, wait_until):
    client = build_client(f"http://127.0.0.1:{front.server_port}")
    reader = S3MessageReader(log, client, BUCKET, "base", TIMING)

    with reader.read_messages(handler) as params:
        put(params, 1, custom(1))
        wait_until(lambda: handler.payloads == [1], "the chunk before the outage")
        front.fault = fault
        put(params, 2, custom(2))
        requests_before = front.num_requests
        wait_until(lambda: front.num_requests > requests_before + 4, "several attempts during the outage")
        front.fault = None
        wait_until(lambda: handler.payloads == [1, 2], "the chunk after the outage")
        put(params, 3, message("closed"))
    client.close()

    assert len(log.warnings) == 1
    assert "trying on" in log.warnings[0]
    assert any("answers again" in info for info in log.infos)
    assert reader.journal.losses == []


@pytest.mark.parametrize(
    "fault", [Fault(refuse=True), Fault(direction="down", cut_after_bytes=200, reset=True)], ids=["refused", "cut in the middle"]
)
def test_a_broken_network_costs_one_warning_and_no_message(
    fault, s3_server, store, log, handler, put, message, custom, wait_until
):
    with FaultProxy(int(s3_server.rpartition(":")[2])) as proxy:
        client = build_client(f"http://127.0.0.1:{proxy.port}")
        reader = S3MessageReader(log, client, BUCKET, "base", TIMING)
        with reader.read_messages(handler) as params:
            put(params, 1, custom(1))
            wait_until(lambda: handler.payloads == [1], "the chunk before the outage")
            proxy.set(fault)
            wait_until(lambda: log.warnings, "the outage to be noticed")
            for number in range(2, 12):
                put(params, number, *(custom(f"{number} {'x' * 1_000}") for _ in range(20)))
            proxy.heal()
            wait_until(lambda: len(handler.payloads) == 201, "all chunks after the outage")
            put(params, 12, message("closed"))
        client.close()

    assert [payload.split()[0] for payload in handler.payloads[1:]] == [str(number) for number in range(2, 12) for _ in range(20)]
    assert len(log.warnings) == 1
    assert (reader.journal.closed, reader.journal.losses) == (True, [])


def test_chunks_that_were_read_are_deleted_on_demand_unless_they_are_to_be_kept(store, log, handler, put, message):
    readers = [S3MessageReader(log, store, BUCKET, "base", TIMING, keeps_chunks=keeps) for keeps in (False, True)]
    for reader in readers:
        with reader.read_messages(handler) as params:
            put(params, 1, message("opened", extras={}))
            put(params, 2, message("closed"))
        reader.discard()

    keys = [item["Key"] for item in store.list_objects_v2(Bucket=BUCKET)["Contents"]]
    assert keys == [f"{readers[1].prefix}/1.json", f"{readers[1].prefix}/2.json"]
    assert log.warnings == []


def test_a_store_that_does_not_delete_costs_one_warning(front, store, log, handler, put, message):
    client = build_client(f"http://127.0.0.1:{front.server_port}")
    reader = S3MessageReader(log, client, BUCKET, "base", TIMING)
    with reader.read_messages(handler) as params:
        put(params, 1, message("closed"))
    front.fault = "403"

    reader.discard()
    client.close()

    [warning] = log.warnings
    assert "cannot delete the read messages" in warning


def test_a_store_that_stays_away_is_a_loss(front, store, log, handler, put, custom, wait_until):
    client = build_client(f"http://127.0.0.1:{front.server_port}")
    reader = S3MessageReader(log, client, BUCKET, "base", TIMING)

    with reader.read_messages(handler) as params:
        put(params, 1, custom(1))
        wait_until(lambda: handler.payloads == [1], "the chunk before the outage")
        front.fault = "cut"
    client.close()

    [loss] = reader.journal.losses
    assert loss.startswith("the store stayed away")


def test_a_missing_bucket_is_told_and_is_a_loss(store, log, handler):
    reader = S3MessageReader(log, store, "nobody-made-it", "base", TIMING)

    with reader.read_messages(handler):
        pass

    assert "NoSuchBucket" in log.warnings[0]
    assert len(reader.journal.losses) == 1
