"""Prepares a Polaris server for the lakehouse, as often as you like: catalog, namespace, principals, roles, grants.

    python polaris-config/bootstrap.py --url http://127.0.0.1:8181 --credentials FILE

Everything is done by the official command line (`polaris principals create`, `polaris setup apply`). A principal's
secret is shown by the server only once, so each is written to the credentials file (mode 0600) the moment it exists and is
never printed. A second run changes nothing. Where a secret was lost, the run stops and says so; `--reset NAME` asks the
server for a new one. The root credentials come from `POLARIS_ROOT_CLIENT_ID` and `POLARIS_ROOT_CLIENT_SECRET`.

Needs `apache-polaris`; where that is not installed, the script runs itself again under `uv`, which fetches it.
"""

import argparse
import contextlib
import importlib.util
import io
import json
import logging
import os
import shutil
import string
import sys
import tempfile
from pathlib import Path

CLI_PACKAGE = "apache-polaris==1.8.0"
TEMPLATE = Path(__file__).with_name("lakehouse.yaml")
PRINCIPALS = ("worker", "maintenance", "analyst")


class BootstrapError(Exception):
    """The bootstrap cannot go on; the text says what to do."""


class Polaris:
    """The official command line, run in this process; its output is returned, its log kept for errors."""

    def __init__(self, url: str, realm: str | None) -> None:
        """Talks to one server; the root credentials reach the command line by environment, never by argument."""
        self.options = ["--base-url", url]
        if realm:
            self.options += ["--realm", realm, "--header", "Polaris-Realm"]
        os.environ["CLIENT_ID"] = _required("POLARIS_ROOT_CLIENT_ID")
        os.environ["CLIENT_SECRET"] = _required("POLARIS_ROOT_CLIENT_SECRET")

    def run(self, *arguments: str) -> str:
        """Runs one command and returns its stdout.

        Raises:
            BootstrapError: if it fails; stdout, which may hold a secret, is not part of the text.
        """
        # Imported here, because it takes a second and the package may be missing: see `main`.
        from apache_polaris.cli.polaris_cli import PolarisCli  # type: ignore[import-untyped]  # no py.typed in 1.8.0

        output, errors = io.StringIO(), io.StringIO()
        handler = logging.StreamHandler(errors)
        logging.getLogger().handlers = [handler]
        code: object = 0
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            try:
                PolarisCli.execute([*self.options, *arguments])
            except SystemExit as end:
                code = end.code
        if code not in {0, None}:
            text = errors.getvalue().strip()[-3000:]
            raise BootstrapError(f"`polaris {' '.join(arguments)}` failed: {text}")
        return output.getvalue()

    def principals(self) -> dict[str, str]:
        """Returns the client id of each principal by name."""
        lines = [json.loads(line) for line in self.run("principals", "list").splitlines() if line.strip()]
        return {entry["name"]: entry["clientId"] for entry in lines}

    def credentials(self, action: str, name: str) -> dict[str, str]:
        """Creates a principal or resets its secret, and returns the new credentials."""
        kind = ["--type", "service"] if action == "create" else []
        answer = json.loads(self.run("principals", action, *kind, name))
        return {"client_id": answer["clientId"], "client_secret": answer["clientSecret"]}


class Credentials:
    """The credentials file."""

    def __init__(self, path: Path, url: str) -> None:
        """Reads the file, if there is one.

        Raises:
            BootstrapError: if others can read it.
        """
        self.path = path
        self.url = url
        self.entries: dict[str, dict[str, str]] = {}
        if path.exists():
            if path.stat().st_mode & 0o077:
                raise BootstrapError(f"`{path}` can be read by others; run `chmod 600 {path}`")
            self.entries = json.loads(path.read_text(encoding="utf-8"))["principals"]

    def keep(self, name: str, credentials: dict[str, str]) -> None:
        """Writes one principal's credentials."""
        self.entries[name] = credentials
        _write_secretly(self.path, json.dumps({"url": self.url, "principals": self.entries}, indent=1))

    def write_env_file(self, path: Path, name: str) -> None:
        """Writes one principal's credentials as the variables that the project reads; an equal file is left alone."""
        entry = self.entries[name]
        text = f"POLARIS_CLIENT_ID={entry['client_id']}\nPOLARIS_CLIENT_SECRET={entry['client_secret']}\n"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            _write_secretly(path, text)


def _write_secretly(path: Path, text: str) -> None:
    """Writes a file that is complete or unchanged at any moment, and never readable by others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    Path(draft).replace(path)


def _required(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise BootstrapError(f"`{name}` is not set; it is needed to log in to the server as root")
    return value


def ensure_principals(polaris: Polaris, credentials: Credentials, reset: list[str]) -> list[str]:
    """Makes sure that each principal exists and that its credentials are in the file; returns what was done.

    Raises:
        BootstrapError: if a principal exists whose secret the file does not have.
    """
    existing = polaris.principals()
    done = []
    for name in PRINCIPALS:
        if name not in existing:
            credentials.keep(name, polaris.credentials("create", name))
            done.append(f"created principal `{name}`")
        elif name in reset:
            credentials.keep(name, polaris.credentials("reset", name))
            done.append(f"reset the secret of principal `{name}`")
        elif credentials.entries.get(name, {}).get("client_id") != existing[name]:
            raise BootstrapError(
                f"principal `{name}` exists, but its secret is not in `{credentials.path}` and cannot be read again; "
                f"restore the file, or run again with `--reset {name}` to replace the secret"
            )
    return done


def render(template: Path) -> str:
    """Returns the setup file with the values of this installation.

    Raises:
        BootstrapError: if the store's address is not set.
    """
    endpoint = _required("STREAMIFY_S3_ENDPOINT")
    values = {
        "catalog": os.environ.get("POLARIS_CATALOG") or "lakehouse",
        "namespace": os.environ.get("POLARIS_NAMESPACE") or "streamify",
        "bucket": os.environ.get("STREAMIFY_S3_BUCKET") or "lakehouse",
        "region": os.environ.get("STREAMIFY_S3_REGION") or "us-east-1",
        "endpoint": endpoint,
        "endpoint_internal": os.environ.get("STREAMIFY_S3_ENDPOINT_INTERNAL") or endpoint,
    }
    return string.Template(template.read_text(encoding="utf-8").replace("${…}", "$${…}")).substitute(values)


def _again_under_uv() -> int:
    uv = shutil.which("uv")
    if uv is None:
        raise BootstrapError(f"`{CLI_PACKAGE}` is not installed and there is no `uv` to fetch it; install one of them")
    command = [uv, "run", "--no-project", "--with", CLI_PACKAGE, "python", __file__, *sys.argv[1:]]
    os.execv(uv, command)


def bootstrap(arguments: argparse.Namespace) -> None:
    """Does all steps."""
    credentials = Credentials(arguments.credentials, arguments.url)
    setup = render(TEMPLATE)
    polaris = Polaris(arguments.url, arguments.realm)
    done = ensure_principals(polaris, credentials, arguments.reset)
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as file:
        file.write(setup)
        file.flush()
        polaris.run("setup", "apply", file.name)
    if arguments.env_file is not None:
        credentials.write_env_file(arguments.env_file, "worker")
    for line in done:
        sys.stdout.write(f"{line}\n")
    sys.stdout.write(f"catalog, namespace, roles and grants are in place; credentials are in {credentials.path}\n")


def main() -> int:
    """Parses the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", required=True, help="base URL of the server, without /api")
    parser.add_argument("--realm", default=None, help="realm to send in the header (the server's default)")
    parser.add_argument("--credentials", type=Path, required=True, help="file for the principals' credentials")
    parser.add_argument("--reset", action="append", default=[], choices=PRINCIPALS, help="replace a lost secret")
    parser.add_argument("--env-file", type=Path, help="file to write the worker's POLARIS_CLIENT_ID and _SECRET to")
    arguments = parser.parse_args()
    try:
        if importlib.util.find_spec("apache_polaris") is None:
            return _again_under_uv()
        bootstrap(arguments)
    except BootstrapError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
