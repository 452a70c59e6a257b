"""Libraries that some tests use and that need not be installed on every machine."""

import importlib.util
import os

import pytest


def wanted(name: str) -> None:
    """Return if the library is installed; otherwise fail in CI and skip elsewhere."""
    if importlib.util.find_spec(name) is None:
        reason = f"{name} is not installed; pip install -c constraints.txt -e '.[parity]' brings it"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
