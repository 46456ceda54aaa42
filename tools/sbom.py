"""A CycloneDX bill of materials from a lock file: `python tools/sbom.py requirements-api.lock > build/sbom.json`."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PIN = re.compile(
    r"^([a-z0-9._-]+)(?:\[[a-z,]+\])?==([^ ;\\]+)(?: *;([^\\\n]*))?[^\n]*\n((?:    --hash=.*\n)*)", re.MULTILINE
)


def bill(lock: str) -> dict[str, Any]:
    """Everything that the lock names; what a platform leaves out is `optional`, with its condition."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": project["name"], "version": project["version"]}},
        "components": [_component(*found.groups(default="")) for found in PIN.finditer(lock)],
    }


def _component(name: str, version: str, marker: str, hashes: str) -> dict[str, Any]:
    purl = f"pkg:pypi/{name}@{version}"
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        "hashes": [{"alg": "SHA-256", "content": digest} for digest in re.findall(r"sha256:([0-9a-f]{64})", hashes)],
    }
    if marker.strip():
        component["scope"] = "optional"
        component["properties"] = [{"name": "python:marker", "value": marker.strip()}]
    return component


if __name__ == "__main__":
    print(json.dumps(bill(Path(sys.argv[1]).read_text()), indent=1))
