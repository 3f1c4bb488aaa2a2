"""The Iceberg REST fixture: the reference implementation over SQLite, on loopback; no authentication of its own."""

from typing import ClassVar

from tools.stack import build
from tools.stack.component import Component
from tools.stack.http import answers_ok
from tools.stack.minio import WAREHOUSE_BUCKET
from tools.stack.paths import StatePaths
from tools.stack.s3 import S3Endpoint


class RestFixture(Component):
    """The catalog behind the gateway."""

    name: ClassVar[str] = "rest"

    def __init__(self, paths: StatePaths, ports: list[int], store: S3Endpoint) -> None:
        """Describes the fixture on a store."""
        super().__init__(paths, ports)
        self.store = store
        self._class_path = ""

    @property
    def url(self) -> str:
        """The base URL, without `/v1`."""
        return f"http://127.0.0.1:{self.port}"

    def prepare(self) -> None:
        """Fetches the jars and compiles the launcher."""
        libraries = build.jars("rest")
        self._class_path = f"{build.launcher_classes(libraries)}:{libraries}/*"

    def command(self) -> list[str]:
        """Returns the command line."""
        java = build.program("java", "openjdk-17-jre-headless")
        quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        options = ["-Xmx384m", "-XX:+UseSerialGC", quiet, "-cp", self._class_path]
        return [java, *options, "org.apache.iceberg.rest.LoopbackCatalogServer", str(self.port)]

    def environment(self) -> dict[str, str]:
        """Returns the catalog's properties, in the fixture's spelling (`__` is a dash)."""
        return {
            "CATALOG_WAREHOUSE": f"s3://{WAREHOUSE_BUCKET}",
            "CATALOG_URI": f"jdbc:sqlite:{self.data / 'catalog.db'}",
            "CATALOG_IO__IMPL": "org.apache.iceberg.aws.s3.S3FileIO",
            "CATALOG_S3_ENDPOINT": self.store.url,
            "CATALOG_S3_PATH__STYLE__ACCESS": "true",
            "CATALOG_S3_ACCESS__KEY__ID": self.store.access_key,
            "CATALOG_S3_SECRET__ACCESS__KEY": self.store.secret_key,
            "CATALOG_CLIENT_REGION": self.store.region,
        }

    def is_ready(self) -> bool:
        """Returns whether the catalog answers."""
        return answers_ok(f"{self.url}/v1/config")
