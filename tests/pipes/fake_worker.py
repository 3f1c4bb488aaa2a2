"""A stand-in for the stream worker: speaks Pipes by hand, so that a test can make it misbehave.

Usage: fake_worker.py SCENARIO_FILE [arguments of the real worker, which are ignored]

The scenario is JSON: {"steps": [[name, argument], …], "exit": code}. Every step is a method of `Worker`.
"""

import base64
import json
import os
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import boto3

VERSION = {"__dagster_pipes_version": "0.1"}
NO_MORE_THAN_SECONDS = 60


def decode(variable):
    """Decodes a bootstrap variable."""
    return json.loads(zlib.decompress(base64.b64decode(os.environ[variable])))


def line(method, **params):
    """Returns a message as a line."""
    return json.dumps({**VERSION, "method": method, "params": params}) + "\n"


class Worker:
    """Carries out steps."""

    def __init__(self):
        self.messages = decode("DAGSTER_PIPES_MESSAGES")
        self.context = json.loads(Path(decode("DAGSTER_PIPES_CONTEXT")["path"]).read_text(encoding="utf-8"))
        self.num_chunks = 0
        self.stopped = False

    def raw(self, text):
        """Writes text as it is: to the file, or as one chunk."""
        if "path" in self.messages:
            with Path(self.messages["path"]).open("a", encoding="utf-8") as file:
                file.write(text)
            return
        self.num_chunks += 1
        self._put(self.num_chunks, text)

    def gap(self, _argument):
        """Leaves out a chunk number."""
        self.num_chunks += 1

    def _put(self, number, text):
        endpoint = os.environ["AWS_ENDPOINT_URL"]
        key = f"{self.messages['key_prefix']}/{number}.json"
        boto3.client("s3", endpoint_url=endpoint).put_object(Bucket=self.messages["bucket"], Key=key, Body=text.encode())

    def opened(self, _argument):
        """Opens the session."""
        self.raw(line("opened", extras={}))

    def log(self, argument):
        """Logs `[level, message]`."""
        self.raw(line("log", level=argument[0], message=argument[1]))

    def report(self, metadata):
        """Reports the only selected asset."""
        [key] = self.context["asset_keys"]
        self.raw(line("report_asset_materialization", asset_key=key, metadata=metadata, data_version=None))

    def message(self, argument):
        """Sends `[method, params]`."""
        self.raw(line(argument[0], **argument[1]))

    def flood(self, argument):
        """Sends `[[method, params], count]`: one message many times."""
        (method, params), count = argument
        self.raw(line(method, **params) * count)

    def custom(self, payload):
        """Reports a custom message; the text `CONTEXT` stands for the context."""
        self.raw(line("report_custom_message", payload=self.context if payload == "CONTEXT" else payload))

    def closed(self, exception):
        """Closes the session, with an exception if one is given."""
        self.raw(line("closed", **({"exception": exception} if exception else {})))

    def stdout(self, text):
        """Prints."""
        print(text, flush=True)

    def stderr(self, text):
        """Prints to standard error."""
        print(text, file=sys.stderr, flush=True)

    def touch(self, path):
        """Creates a file holding the process id, so that the test knows where we are."""
        temporary = Path(f"{path}.tmp")
        temporary.write_text(str(os.getpid()), encoding="utf-8")
        temporary.rename(path)

    def ignore(self, names):
        """Ignores signals."""
        for name in names:
            signal.signal(getattr(signal, name), signal.SIG_IGN)

    def catch(self, _argument):
        """From now on SIGINT ends `until_stopped`."""
        signal.signal(signal.SIGINT, lambda *_: setattr(self, "stopped", True))

    def until_stopped(self, _argument):
        """Waits for a signal."""
        deadline = time.monotonic() + NO_MORE_THAN_SECONDS
        while not self.stopped and time.monotonic() < deadline:
            time.sleep(0.01)

    def until_file(self, path):
        """Waits until the test makes a file."""
        deadline = time.monotonic() + NO_MORE_THAN_SECONDS
        while not Path(path).exists() and time.monotonic() < deadline:
            time.sleep(0.01)

    def child(self, path):
        """Leaves a child process behind, its id in the file `path`."""
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        Path(path).write_text(str(child.pid), encoding="utf-8")

    def suicide(self, name):
        """Ends by a signal."""
        os.kill(os.getpid(), getattr(signal, name))


def main():
    """Runs the scenario."""
    scenario = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    worker = Worker()
    for name, argument in scenario["steps"]:
        getattr(worker, name)(argument)
    return scenario.get("exit", 0)


if __name__ == "__main__":
    sys.exit(main())
