"""The two ways into ask and tell: one answer."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.dependencies import utils
from httpx2 import Response
from starlette.testclient import TestClient

from app.api import loop
from app.api.body import Unusual
from tests.conftest import Api

#: What differs between two studies of one definition, and between two moments.
OF_ITS_OWN = {"study_uid", "token", "expires_at", "created_at", "started_at", "finished_at", "request_id", "instance"}
JSON = {"Content-Type": "application/json"}

USUAL: list[tuple[str, dict[str, Any]]] = [
    ("ask", {}),
    ("ask", {"json": {}}),
    ("ask", {"json": {"count": 2, "worker": "w", "lease_seconds": 60, "fixed": {"x": 0.5}}}),
    ("ask", {"json": {"worker": "w", "resume": True}}),
    ("ask", {"json": {}, "headers": {"Idempotency-Key": "k"}}),
    ("ask", {"json": {}, "headers": {"Accept": "text/plain"}}),
    ("ask", {"json": {}, "headers": {"Accept": "image/png"}}),
    ("ask", {"json": {"fixed": {"nobody": 1}}}),
    ("ask", {"json": {}, "headers": {"Idempotency-Key": "a\tb"}}),
    ("trials/1/tell", {"json": {"value": 0.5, "metadata": {"ü": [1, None]}}}),
    ("trials/1/tell", {"json": {"value": "nan"}}),
    ("trials/1/tell", {"json": {"state": "failed", "reason": "no memory"}}),
    ("trials/1/tell", {"json": {"values": {"other": 1}}}),
    ("trials/99/tell", {"json": {"value": 0.5}}),
    ("trials/1/tell", {"json": {"value": 0.5, "study_uid": "another"}}),
]
UNUSUAL: list[tuple[str, dict[str, Any]]] = [
    ("ask?study_uid=another", {}),
    ("ask?study_uid=" + 65 * "a", {}),
    ("ask", {"content": b"null", "headers": JSON}),
    ("ask", {"json": {"resume": True}}),
    ("ask", {"json": {"count": 0, "unknown": 1}}),
    ("ask", {"json": [1]}),
    ("ask", {"json": {}, "headers": {"Idempotency-Key": 256 * "k"}}),
    ("trials/1/tell", {}),
    ("trials/1/tell", {"json": {"value": [1]}}),
    ("trials/0/tell", {"json": {"value": 1}}),
    ("trials/01/tell", {"json": {"value": 1}}),
    ("trials/9007199254740993/tell", {"json": {"value": 1}}),
    ("trials/one/tell", {"json": {"value": 1}}),
]
#: Refused before anybody asks what it is for.
UNREADABLE: list[tuple[str, dict[str, Any]]] = [
    ("ask", {"content": b"{", "headers": JSON}),
    ("ask", {"content": b"{}", "headers": {"Content-Type": "text/plain"}}),
    ("ask", {"content": b'{"worker": "\\u0000"}', "headers": JSON}),
    ("trials/1/tell", {"content": b"\xff", "headers": JSON}),
    ("trials/1/tell", {"content": 100 * b"[" + 100 * b"]", "headers": JSON}),
]


def the_long_way(request: Any) -> Any:
    raise Unusual


def answered(client: TestClient, name: str, call: tuple[str, dict[str, Any]]) -> tuple[int, str, Any]:
    """Of a fresh study that has handed out one trial: status, type and content of the answer."""
    base = f"/v1/studies/{name}"
    definition = {"space": {"x": {"type": "float", "low": 0, "high": 1}}, "algorithm": "random", "seed": 3}
    made = client.put(base, json=definition)
    assert made.status_code == 201
    assert client.post(f"{base}/ask").status_code == 200
    path, content = call
    headers = content.get("headers", {})
    if "Idempotency-Key" in headers:  # one of each study
        headers = {**headers, "Idempotency-Key": headers["Idempotency-Key"] + name}
    response: Response = client.post(f"{base}/{path}", **{**content, "headers": headers})
    kind = response.headers["content-type"]
    if "json" not in kind:
        return response.status_code, kind, [line for line in response.text.splitlines() if "lease" not in line]
    return response.status_code, kind, plain(response.json(), name, made.json()["uid"])


def plain(value: Any, *own: str) -> Any:
    if isinstance(value, dict):
        return {key: key if key in OF_ITS_OWN and item else plain(item, *own) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item, *own) for item in value]
    for word in own if isinstance(value, str) else ():
        value = value.replace(word, "its")
    return value


@pytest.mark.parametrize(
    "call", [*USUAL, *UNUSUAL, *UNREADABLE], ids=lambda call: f"{call[0][:24]}-{str(call[1])[:60]}"
)
def test_both_ways_answer_alike(
    client: TestClient, call: tuple[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    short = answered(client, "short", call)
    monkeypatch.setattr(loop, "usual_address", the_long_way)
    assert answered(client, "longer", call) == short
    assert (short[0] == 422) <= (short[1] == "application/problem+json")


def test_usual_calls_and_no_others_take_the_shortcut(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    solve = utils.solve_dependencies
    solved: list[str] = []

    async def noting(**arguments: Any) -> Any:
        solved.append(arguments["request"].url.path)
        return await solve(**arguments)

    monkeypatch.setattr("fastapi.routing.solve_dependencies", noting)
    for kind, calls in (("usual", USUAL), ("unusual", UNUSUAL), ("unreadable", UNREADABLE)):
        for k, call in enumerate(calls):
            name = f"{kind}-{k}"
            answered(client, name, call)
            loops = [path for path in solved if path.startswith(f"/v1/studies/{name}/")]
            assert loops == ([f"/v1/studies/{name}/{call[0].partition('?')[0]}"] if kind == "unusual" else []), call


def test_an_idempotent_ask_is_one_by_either_way(api: Api, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    api.create(algorithm="random")
    call: dict[str, Any] = {"json": {"count": 2}, "headers": {"Idempotency-Key": "once"}}
    first = client.post(f"{api.base}/ask", **call).json()
    monkeypatch.setattr(loop, "usual_address", the_long_way)
    assert client.post(f"{api.base}/ask", **call).json() == first
