"""Programs of other packages that the checks need."""

import shutil

import pytest


def _binary(name: str, package: str) -> str:
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if path is None:
        pytest.fail(f"{name} is not installed: apt install {package}")
    return path


@pytest.fixture(scope="session")
def promtool() -> str:
    return _binary("promtool", "prometheus")


@pytest.fixture(scope="session")
def nginx() -> str:
    return _binary("nginx", "nginx-light")
