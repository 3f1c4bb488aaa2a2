"""The S3 store: MinIO with root keys of its own per start; buckets are created when it is up."""

from typing import ClassVar

from tools.stack import build
from tools.stack.component import Component
from tools.stack.http import answers_ok
from tools.stack.paths import StatePaths
from tools.stack.s3 import S3Endpoint, ensure_bucket

REGION = "us-east-1"
WAREHOUSE_BUCKET = "lakehouse"
PIPES_BUCKET = "dagster-pipes"


class Minio(Component):
    """MinIO on one folder."""

    name: ClassVar[str] = "minio"
    num_ports: ClassVar[int] = 2

    def __init__(self, paths: StatePaths, ports: list[int], access_key: str, secret_key: str) -> None:
        """Describes the store; `ports` are API and console."""
        super().__init__(paths, ports)
        self.endpoint = S3Endpoint(f"http://127.0.0.1:{self.port}", access_key, secret_key, REGION)
        self._program = ""

    def prepare(self) -> None:
        """Builds MinIO if the cache has none."""
        self._program = str(build.minio())

    def command(self) -> list[str]:
        """Returns the command line."""
        addresses = ["--address", f"127.0.0.1:{self.port}", "--console-address", f"127.0.0.1:{self.ports[1]}"]
        return [self._program, "server", "--quiet", *addresses, str(self.data)]

    def environment(self) -> dict[str, str]:
        """Returns the root keys; the browser is off, the telemetry too."""
        return {
            "MINIO_ROOT_USER": self.endpoint.access_key,
            "MINIO_ROOT_PASSWORD": self.endpoint.secret_key,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
        }

    def is_ready(self) -> bool:
        """Creates the buckets; that they can be created is the sign that the store works (its health answers come earlier)."""
        if not answers_ok(f"{self.endpoint.url}/minio/health/ready"):
            return False
        return all(ensure_bucket(self.endpoint, bucket) for bucket in (WAREHOUSE_BUCKET, PIPES_BUCKET))
