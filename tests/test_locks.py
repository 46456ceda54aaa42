"""The lock files agree with each other and name nothing but packages, versions and hashes."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PIN = re.compile(r"^(?P<name>[a-z0-9._-]+)(\[[a-z,]+\])?==(?P<version>[^ ;\\]+)(?P<marker>[^\\\n]*)", re.MULTILINE)


def pins(name: str) -> set[tuple[str, str]]:
    return {(pin["name"], pin["version"]) for pin in PIN.finditer((ROOT / name).read_text())}


def test_an_api_process_gets_the_versions_that_the_tests_ran_with():
    slim, everything = pins("requirements-api.lock"), pins("requirements.lock")
    assert slim < everything
    assert slim < pins("requirements-worker.lock") < everything


def test_an_api_process_is_spared_what_only_workers_and_tests_need():
    names = {name for name, _ in pins("requirements-api.lock")}
    assert {"fastapi", "numpy", "sqlalchemy", "psycopg"} <= names
    assert not names & {"scikit-learn", "pytest", "mypy", "httpx", "schemathesis"}


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-api.lock", "requirements-worker.lock"])
def test_a_lock_names_no_host_and_no_path(name):
    text = (ROOT / name).read_text()
    assert "://" not in text
    assert not re.search(r"^\s*-(?!-hash)", text, re.MULTILINE)
    assert text.count("--hash=sha256:") >= len(pins(name))
