"""The Rust extension inside Python."""

from importlib.metadata import version

from dagster_project import _native


def test_the_extension_has_the_version_of_the_package():
    assert _native.version() == version("streamify")
