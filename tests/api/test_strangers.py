"""Denied by default: every route that the application has is called without a key, and answers nothing."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Mount, Route
from starlette.testclient import TestClient

from app.db import keys
from app.db.session import EVERY_PROJECT, Store
from tests.conftest import Api

#: The contract's list; `/metrics` joins it where a setting says so, see tests/api/test_keys.py.
OPEN = {"/", "/healthz", "/readyz", "/docs", "/openapi.json"}
OPEN_FOLDERS = {"/ui/swagger"}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
#: Study names that end like something public.
NAMES = ("study", "health", "healthz", "readyz", "docs", "metrics", "static", "openapi.json", "ui", "import")


def every_route(routes: list[BaseRoute], prefix: str = "") -> Iterator[tuple[str, BaseRoute]]:
    """Templates with their routes; a folder of files is one, any other kind of route is a surprise."""
    for route in routes:
        if isinstance(route, Mount):
            inner = list(route.routes)
            yield from every_route(inner, prefix + route.path) if inner else [(prefix + route.path, route)]
        elif isinstance(route, Route):
            yield prefix + route.path, route
        else:
            raise TypeError(f"{route!r} is of a kind that this test does not call")


def addresses(template: str) -> Iterator[str]:
    """The template with every name that could be taken for something else in every place."""
    places = re.findall(r"{(\w+)(?::\w+)?}", template)
    for values in itertools.product(NAMES, repeat=min(1, len(places))):
        address = template
        for place in places:
            given = "1" if place == "number" else (values[0] if place == "study" else "0123456789abcdef")
            address = re.sub(rf"{{{place}(:\w+)?}}", given, address)
        yield address


@pytest.fixture
def guarded(client: TestClient, store: Store) -> TestClient:
    """Studies of all these names, and then a key: the open mode is over."""
    api = Api(client)
    for name in NAMES:
        api.study = name
        api.create()
        api.one()
    with store.write(EVERY_PROJECT) as session:
        keys.create(session, keys.project(session, "default").id, ["read"], by="test")
    return client


def test_no_route_answers_without_a_key_but_those_of_the_contract(guarded: TestClient) -> None:
    app: Any = guarded.app
    answered, called = set(), 0
    for template, route in every_route(app.routes):
        if isinstance(route, Mount):
            answered.add(template)
            continue
        for address in addresses(template):
            asked = [(method, address) for method in METHODS]
            asked += [
                (method, path)
                for method in route.methods or ()
                for path in (f"{address}/", f"/{address}", f"{address}?study=health&key=x")
            ]
            for method, path in asked:
                body = {} if method in ("POST", "PUT", "PATCH") else None
                response = guarded.request(method, f"{guarded.base_url}{path}", json=body)
                called += 1
                if response.status_code == 401:
                    assert response.headers["www-authenticate"].startswith("Bearer")
                elif response.status_code not in (404, 405):  # neither is an answer of a route
                    answered.add(template)
    assert answered == OPEN | OPEN_FOLDERS
    assert called > 1000


def test_the_allow_list_is_the_contracts() -> None:
    from app.api.dependencies import PUBLIC

    assert PUBLIC == OPEN


def test_the_open_folder_holds_files_of_a_package_and_nothing_beside(guarded: TestClient) -> None:
    assert guarded.get("/ui/swagger/swagger-ui.css").status_code == 200
    for path in ("..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/pyproject.toml", "....//", "..\\..\\x", "%00", "/etc/passwd",
                 "..%252f..%252fx", "../__init__.py", "../core.py"):  # fmt: skip
        assert guarded.get(f"/ui/swagger/{path}").status_code in (404, 405), path


def test_a_route_that_forgets_to_ask_for_a_key_is_named(guarded: TestClient) -> None:
    """The control: what this test looks for would be found."""
    app: Any = guarded.app

    async def forgotten() -> dict[str, str]:
        return {}

    app.router.routes.append(APIRoute("/v1/forgotten", forgotten))
    assert guarded.get("/v1/forgotten").status_code == 200
    assert "/v1/forgotten" in {template for template, _ in every_route(app.routes)} - OPEN
