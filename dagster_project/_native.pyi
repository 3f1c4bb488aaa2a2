"""The Rust side of Streamify, built from `rust/py`."""

def version() -> str:
    """Returns the version of the Rust side; it equals the version of the Python package."""
