"""The instance settings of the Dagster image: the project's own, and what containers need beside them."""

from typing import Any

import pytest
import sqlalchemy
import yaml

from tests.deploy.compose import services
from tests.deploy.dockerfile import REPOSITORY

BASE = REPOSITORY / "dagster_project" / "dagster.yaml"
MORE = REPOSITORY / "deploy" / "dagster" / "postgres.yaml"


def settings() -> dict[str, Any]:
    """The file as the Dockerfile makes it: one text behind the other."""
    loaded: dict[str, Any] = yaml.safe_load(BASE.read_text(encoding="utf-8") + MORE.read_text(encoding="utf-8"))
    return loaded


def test_nothing_is_said_twice() -> None:
    base, more = (yaml.safe_load(file.read_text(encoding="utf-8")) for file in (BASE, MORE))

    assert not set(base) & set(more), "of two keys YAML takes the last"
    assert settings() == base | more


def test_files_are_written_where_web_server_and_runs_both_look() -> None:
    for name in ("dagster-code", "dagster-webserver", "dagster-daemon"):
        assert "dagster:/var/lib/dagster" in services()[name].settings["volumes"]
    for part in ("local_artifact_storage", "compute_logs"):
        assert settings()[part]["config"]["base_dir"].startswith("/var/lib/dagster")


def test_the_variables_of_the_database_are_those_of_compose() -> None:
    wanted = {value["env"] for value in settings()["storage"]["postgres"]["postgres_db"].values() if isinstance(value, dict)}

    for name in ("dagster-code", "dagster-webserver", "dagster-daemon"):
        assert wanted <= set(services()[name].environment)
    assert len(wanted) == 4


def test_there_is_a_driver_for_the_database() -> None:
    utils = pytest.importorskip("dagster_postgres.utils", reason="needs the extra `postgres`")
    database = settings()["storage"]["postgres"]["postgres_db"]
    values = {
        key: services()["dagster-code"].environment[item["env"]] for key, item in database.items() if isinstance(item, dict)
    }

    url = utils.pg_url_from_config({"postgres_db": database | values | {"params": {}}})

    # Imports the driver, connects to nothing.
    assert sqlalchemy.create_engine(url).driver == "psycopg2"
