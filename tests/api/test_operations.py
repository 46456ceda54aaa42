"""The server itself: is it up, ready, how does it fare, what does it offer."""

from __future__ import annotations

import re

from sqlalchemy import text
from starlette.testclient import TestClient

from app.db.session import EVERY_PROJECT, Store
from tests.conftest import Api


def test_the_root_says_what_is_here(client: TestClient) -> None:
    welcome = client.get("/").json()
    assert welcome["name"] == "metatune"
    for link in ("documentation", "openapi", "studies"):
        assert client.get(welcome[link]).status_code == 200


def test_healthz_and_readyz_are_green_on_a_migrated_database(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ok"}


def test_readyz_is_red_when_migrations_are_missing_and_says_what_to_do(client: TestClient, store: Store) -> None:
    with store.write(EVERY_PROJECT) as session:
        session.execute(text("DELETE FROM alembic_version"))
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["retry-after"]
    assert response.json()["code"] == "migrations-missing"
    assert "metatune-server migrate" in response.json()["detail"]
    assert client.get("/healthz").status_code == 200


def test_readyz_is_red_when_the_database_is_newer_than_the_server(client: TestClient, store: Store) -> None:
    with store.write(EVERY_PROJECT) as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert client.get("/readyz").status_code == 503


def test_metrics_count_requests_by_route_and_never_by_what_was_typed(api: Api) -> None:
    api.study = "very-secret-study"
    api.create()
    api.one()
    api.client.get("/typed/by/a/stranger")
    figures = api.client.get("/metrics")
    assert figures.headers["content-type"].startswith("text/plain")
    assert re.search(
        r'metatune_http_requests_total\{method="POST",route="/v1/studies/{study}/ask",status="200"\}', figures.text
    )
    assert 'route="unmatched"' in figures.text
    assert "very-secret-study" not in figures.text
    assert "stranger" not in figures.text


def test_me_says_version_project_scopes_and_limits(client: TestClient) -> None:
    me = client.get("/v1/me").json()
    assert set(me) >= {"version", "project", "scopes", "limits"}
    assert me["version"] == client.get("/").json()["version"]
    assert me["limits"]["trials_per_call"] >= 1000


def test_docs_load_nothing_from_outside(client: TestClient) -> None:
    page = client.get("/docs")
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert addresses
    for address in addresses:
        assert address.startswith("/ui/swagger/")
        assert client.get(address).status_code == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_openapi_lists_only_what_answers_and_promises_problems_everywhere(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            address = path.replace("{study}", "nobody").replace("{number}", "1")
            answer = client.request(method, address, json={} if method in ("post", "put", "patch") else None)
            assert answer.status_code != 405, (method, path)
            assert not (answer.status_code == 404 and answer.json()["code"] == "no-such-route"), path
            assert "application/problem+json" in operation["responses"]["422"]["content"]
    for reference in set(re.findall(r'"#/components/schemas/([^"]+)"', client.get("/openapi.json").text)):
        assert reference in schemas
    assert "/plots" not in str(document)


def test_routes_of_later_versions_are_404_and_not_something_else(client: TestClient) -> None:
    assert client.get("/v1/studies/x/plots/slice").json()["code"] == "no-such-route"
