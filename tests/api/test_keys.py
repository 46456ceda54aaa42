"""Keys, scopes, projects, and the open mode that ends with the first key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute
from sqlalchemy import select
from starlette.testclient import TestClient

from app.api.dependencies import PUBLIC, authenticate
from app.db import keys
from app.db.session import Store
from app.db.tables import ApiKey, Base
from app.main import create_app
from app.settings import Settings
from tests.conftest import Api

SPACE = {"x": {"type": "float", "low": 0, "high": 1}}


def key(store: Store, *scopes: Any, project: str = "default") -> dict[str, str]:
    with store.write() as session:
        return {"Authorization": f"Bearer {keys.create(session, project, scopes)}"}


def test_without_any_key_everybody_is_project_default_with_every_scope(client: TestClient) -> None:
    me = client.get("/v1/me").json()
    assert (me["project"], me["scopes"]) == ("default", ["admin", "read", "write"])


def test_open_mode_ends_as_soon_as_a_key_exists_and_public_routes_stay(api: Api, store: Store) -> None:
    api.create()
    headers = key(store, "read", project="elsewhere")
    for method, path in (("GET", api.base), ("POST", f"{api.base}/ask"), ("GET", "/v1/me"), ("GET", "/metrics"),
                         ("GET", f"{api.base}/events"), ("GET", "/v1/studies")):  # fmt: skip
        response = api.client.request(method, path)
        assert response.status_code == 401, path
        assert response.headers["www-authenticate"].startswith("Bearer")
        assert response.headers["content-type"] == "application/problem+json"
    for path in ("/", "/healthz", "/readyz", "/docs", "/openapi.json", "/ui/swagger/swagger-ui.css"):
        assert api.client.get(path).status_code == 200, path
    assert api.client.get("/v1/me", headers=headers).json()["project"] == "elsewhere"


def test_no_route_is_open_but_those_that_say_so(client: TestClient) -> None:
    app: Any = client.app
    open_routes = {
        route.path
        for route in app.routes
        if isinstance(route, APIRoute) and authenticate not in [one.call for one in route.dependant.dependencies]
    }
    assert open_routes <= PUBLIC


def test_a_bad_key_is_401(api: Api, store: Store) -> None:
    good = key(store, "read")["Authorization"]
    for bad in ("Bearer x", "Bearer ", "Basic dTpw", good[:-1], good + "x", good.replace("mt_", "MT_"), "x" * 9000):
        assert api.client.get("/v1/me", headers={"Authorization": bad}).status_code == 401, bad
    assert api.client.get("/v1/me", headers={"Authorization": good.replace("Bearer", "bearer")}).status_code == 200


def test_a_key_in_the_url_opens_nothing(api: Api, store: Store) -> None:
    token = key(store, "read", "write", "admin")["Authorization"].split()[1]
    for query in (f"?key={token}", f"?access_token={token}", f"?authorization=Bearer+{token}"):
        assert api.client.get(f"/v1/me{query}").status_code == 401


def test_each_scope_opens_its_calls_and_no_others(api: Api, store: Store) -> None:
    api.create(algorithm="random")
    api.ask(count=4)
    read, write, admin = key(store, "read"), key(store, "write"), key(store, "admin")
    calls: list[tuple[str, str, Any, dict[str, str]]] = [
        ("GET", "", None, read),
        ("GET", "/trials/1", None, read),
        ("GET", "/export", None, read),
        ("PUT", "", {"space": SPACE}, write),
        ("PATCH", "", {"description": "d"}, write),
        ("PATCH", "/space?dry_run=true", {"x": {"high": 2}}, write),
        ("POST", "/ask", {}, write),
        ("POST", "/trials/1/tell", {"value": 1}, write),
        ("POST", "/trials/2/report", {"step": 1, "value": 1}, write),
        ("POST", "/trials", {"params": {"x": 0.5}}, write),
        ("PATCH", "/trials/1", {"value": 2}, write),
        ("DELETE", "/trials/1", None, admin),
        ("DELETE", "", None, admin),
    ]
    for method, path, body, needed in calls:
        for headers in (read, write, admin):
            if headers is not needed:
                response = api.client.request(method, f"{api.base}{path}", json=body, headers=headers)
                assert response.status_code == 403, (method, path, response.text)
                assert response.json()["code"] == "forbidden"
        response = api.client.request(method, f"{api.base}{path}", json=body, headers=needed)
        assert response.status_code in (200, 201, 204), (method, path, response.text)


def test_another_projects_things_are_404_and_names_are_free_there(api: Api, store: Store) -> None:
    mine, theirs = (key(store, "read", "write", "admin", project=name) for name in ("mine", "theirs"))
    made = api.client.put(api.base, json={"space": SPACE}, headers=mine).json()
    for method, path, body in (("GET", "", None), ("POST", "/ask", {}), ("GET", "/trials", None), ("DELETE", "", None),
                               ("POST", "/restore", None), ("POST", "/copy", {"name": "b"})):  # fmt: skip
        response = api.client.request(method, f"{api.base}{path}", json=body, headers=theirs)
        assert (response.status_code, response.json()["code"]) == (404, "study-not-found"), path
    assert api.client.get("/v1/studies", headers=theirs).json()["items"] == []
    other = api.client.put(api.base, json={"space": SPACE}, headers=theirs)
    assert other.status_code == 201
    assert other.json()["uid"] != made["uid"]


def test_an_idempotency_key_belongs_to_its_project(api: Api, store: Store) -> None:
    answers = []
    for project in ("mine", "theirs"):
        headers = key(store, "read", "write", project=project) | {"Idempotency-Key": "one"}
        answers.append(api.client.post("/v1/studies", json={"name": project, "space": SPACE}, headers=headers))
    assert [answer.status_code for answer in answers] == [201, 201]


def test_only_a_hash_of_a_key_is_stored(api: Api, store: Store) -> None:
    secret = key(store, "read")["Authorization"].rpartition("_")[2]
    with store.read() as session:
        for table in Base.metadata.sorted_tables:
            assert secret not in repr(session.execute(select(table)).all())
        assert session.scalars(select(ApiKey)).one().scopes == ["read"]


@pytest.fixture
def strict(database_url: str) -> Iterator[TestClient]:
    settings = Settings(database=database_url, auth="required", metrics_open=True, hosts=("tuner.example",))
    with TestClient(create_app(settings), base_url="http://127.0.0.1:8000") as client:
        yield client


def test_auth_required_asks_for_a_key_before_the_first_is_made(strict: TestClient, store: Store) -> None:
    assert strict.get("/v1/me").status_code == 401
    assert strict.get("/healthz").status_code == 200
    assert strict.get("/v1/me", headers=key(store, "read")).status_code == 200


def test_metrics_are_open_only_where_a_setting_says_so(strict: TestClient, client: TestClient, store: Store) -> None:
    headers = key(store, "read")
    assert strict.get("/metrics").status_code == 200
    assert client.get("/metrics").status_code == 401
    assert client.get("/metrics", headers=headers).status_code == 200


def test_a_named_host_is_answered(strict: TestClient) -> None:
    assert strict.get("/healthz", headers={"Host": "Tuner.example:8000"}).status_code == 200
    assert strict.get("/healthz", headers={"Host": "other.example"}).status_code == 403
