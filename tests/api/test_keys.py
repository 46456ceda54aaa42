"""Keys, scopes, projects, and the open mode that ends with the first key."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.routing import APIRoute
from sqlalchemy import select, update
from starlette.testclient import TestClient

from app.api.dependencies import PUBLIC, GuardedRoute
from app.db import keys
from app.db.session import EVERY_PROJECT, Store
from app.db.tables import ApiKey, Base, Project
from app.log import JsonLines
from app.main import create_app
from app.settings import Settings
from tests.conftest import Api

SPACE = {"x": {"type": "float", "low": 0, "high": 1}}


def secret_of(text: str) -> str:
    """The third part of `mt_<id>_<secret>`, which may hold underscores itself."""
    return text.split("_", 2)[2]


def key(store: Store, *scopes: Any, project: str = "default", **options: Any) -> dict[str, str]:
    with store.write(EVERY_PROJECT) as session:
        found = session.scalars(select(Project).where(Project.name == project)).one_or_none()
        owner = found or keys.make_project(session, project, by="test")
        _, text = keys.create(session, owner.id, scopes, by="test", **options)
        return {"Authorization": f"Bearer {text}"}


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


def test_a_strangers_body_is_not_even_read(api: Api, store: Store) -> None:
    """Parsing 16 MiB takes a second and hundreds of megabytes: not for somebody without a key."""
    reader = key(store, "read")
    for headers, status in (({}, 401), (reader, 403)):
        for body in (b"[" * 100_000, b"{", b"\xff", b"{}", b"[0" + b",0" * 2_000_000 + b"]"):
            response = api.client.post(
                "/v1/studies", content=body, headers={"Content-Type": "application/json", **headers}
            )
            assert response.status_code == status


def test_no_route_is_open_but_those_that_say_so(client: TestClient) -> None:
    app: Any = client.app
    open_routes = {
        route.path for route in app.routes if isinstance(route, APIRoute) and not isinstance(route, GuardedRoute)
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


def test_what_one_project_exported_another_imports_as_a_study_of_its_own(api: Api, store: Store) -> None:
    mine, theirs = (key(store, "read", "write", project=name) for name in ("mine", "theirs"))
    made = api.call("PUT", api.base, {"space": SPACE}, headers=mine, status=201)
    whole = api.call("GET", f"{api.base}/export", headers=mine, status=200)
    brought = api.call("POST", "/v1/studies/import", whole, headers=theirs, status=201)
    assert (brought["name"], brought["space"]) == (made["name"], made["space"])
    assert brought["uid"] != made["uid"]


def test_an_idempotency_key_belongs_to_its_project(api: Api, store: Store) -> None:
    answers = []
    for project in ("mine", "theirs"):
        headers = key(store, "read", "write", project=project) | {"Idempotency-Key": "one"}
        answers.append(api.client.post("/v1/studies", json={"name": project, "space": SPACE}, headers=headers))
    assert [answer.status_code for answer in answers] == [201, 201]


def test_only_a_hash_of_a_key_is_stored(api: Api, store: Store) -> None:
    secret = secret_of(key(store, "read")["Authorization"])
    with store.read(EVERY_PROJECT) as session:
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


# --- /v1/keys and /v1/projects ----------------------------------------------------------------------------------


def bearer(made: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {made['key']}"}


def test_a_key_makes_keys_up_to_its_own_scopes_and_project(api: Api, store: Store) -> None:
    admin = key(store, "admin", "read", project="mine")
    made = api.call("POST", "/v1/keys", {"scopes": ["read"], "name": "notebook"}, headers=admin, status=201)
    assert (made["project"], made["scopes"], made["name"], made["instance"]) == ("mine", ["read"], "notebook", False)
    assert api.call("GET", "/v1/me", headers=bearer(made), status=200)["project"] == "mine"
    for body in ({"scopes": ["write"]}, {"scopes": ["read", "write"]}, {"scopes": ["read"], "project": "default"},
                 {"scopes": ["read"], "project": "nowhere"}):  # fmt: skip
        assert api.call("POST", "/v1/keys", body, headers=admin, status=403)["code"] == "forbidden"
    for body in ({"scopes": []}, {"scopes": ["root"]}, {}, {"scopes": ["read"], "expires_in_seconds": 0}):
        api.call("POST", "/v1/keys", body, headers=admin, status=422)
    for method, path in (("GET", "/v1/keys"), ("POST", "/v1/keys"), ("DELETE", f"/v1/keys/{made['id']}")):
        api.call(method, path, {"scopes": ["read"]} if method == "POST" else None, headers=bearer(made), status=403)


def test_a_key_is_shown_once_and_repeated_without_its_text(api: Api, store: Store) -> None:
    admin = key(store, "admin", "read") | {"Idempotency-Key": "one"}
    first, again = (api.call("POST", "/v1/keys", {"scopes": ["read"]}, headers=admin, status=201) for _ in range(2))
    assert (first["note"], "revoke" in again["note"]) == (None, True)
    assert again == {**first, "key": None, "note": again["note"]}
    listed = api.call("GET", "/v1/keys", headers=admin, status=200)["items"]
    assert [one["id"] for one in listed][1:] == [first["id"]]
    assert secret_of(first["key"]) not in repr(listed)


def test_the_first_key_is_not_made_over_http(api: Api) -> None:
    assert "command line" in api.call("POST", "/v1/keys", {"scopes": ["read"]}, status=403)["detail"]
    assert api.call("GET", "/v1/me", status=200)["project"] == "default"


def test_a_revoked_key_is_good_for_nothing_at_once_on_every_replica(api: Api, store: Store, database_url: str) -> None:
    admin, other = key(store, "admin", "read"), key(store, "read")
    key_id = other["Authorization"].split("_")[1]
    settings = Settings(database=database_url, sweep_seconds=3600)
    with TestClient(create_app(settings), base_url="http://127.0.0.1:8000") as replica:
        assert replica.get("/v1/me", headers=other).status_code == 200
        for _ in range(2):
            api.call("DELETE", f"/v1/keys/{key_id}", headers=admin, status=204)
            assert replica.get("/v1/me", headers=other).status_code == 401
            assert api.client.get("/v1/me", headers=other).status_code == 401
    listed = api.call("GET", "/v1/keys", headers=admin, status=200)["items"]
    assert {one["id"]: one["revoked_at"] is not None for one in listed}[key_id]


def test_the_last_key_revoked_opens_nothing(api: Api, store: Store) -> None:
    admin = key(store, "admin")
    api.call("DELETE", f"/v1/keys/{admin['Authorization'].split('_')[1]}", headers=admin, status=204)
    api.call("GET", "/v1/me", status=401)


def test_a_key_ends_when_it_expires_and_none_that_it_made_outlives_it(api: Api, store: Store) -> None:
    admin = key(store, "admin", "read", lasts=timedelta(hours=1))
    made = api.call("POST", "/v1/keys", {"scopes": ["read"]}, headers=admin, status=201)
    assert made["expires_at"] is not None
    api.call("POST", "/v1/keys", {"scopes": ["read"], "expires_in_seconds": 3601}, headers=admin, status=403)
    short = api.call("POST", "/v1/keys", {"scopes": ["read"], "expires_in_seconds": 60}, headers=admin, status=201)
    assert short["expires_at"] < made["expires_at"]
    with store.write(EVERY_PROJECT) as session:
        session.execute(update(ApiKey).values(expires_at=datetime(2020, 1, 1, tzinfo=UTC)))
    for headers in (admin, bearer(made), bearer(short)):
        api.call("GET", "/v1/me", headers=headers, status=401)


def test_an_admin_revokes_no_key_that_may_more(api: Api, store: Store) -> None:
    low, high = key(store, "admin"), key(store, "admin", "write")
    instance = key(store, "admin", is_instance=True)
    for stronger in (high, instance):
        api.call("DELETE", f"/v1/keys/{stronger['Authorization'].split('_')[1]}", headers=low, status=403)
    api.call("DELETE", f"/v1/keys/{low['Authorization'].split('_')[1]}", headers=instance, status=204)


def test_projects_are_made_with_a_key_of_the_instance_which_makes_keys_for_them(api: Api, store: Store) -> None:
    admin = key(store, "admin", "read", "write")
    instance = key(store, "admin", "read", "write", is_instance=True)
    api.call("POST", "/v1/projects", {"name": "vision"}, headers=admin, status=403)
    once = instance | {"Idempotency-Key": "p"}
    made = [api.call("POST", "/v1/projects", {"name": "vision"}, headers=once, status=201) for _ in range(2)]
    assert made[0] == made[1]
    assert api.call("POST", "/v1/projects", {"name": "vision"}, headers=instance, status=409)["code"] == "name-taken"
    api.call("POST", "/v1/projects", {"name": "../x"}, headers=instance, status=422)
    assert api.call("POST", "/v1/keys", {"scopes": ["read"], "project": "nowhere"}, headers=instance, status=404)
    theirs = api.call("POST", "/v1/keys", {"scopes": ["read"], "project": "vision"}, headers=instance, status=201)
    assert theirs["project"] == "vision"
    assert not theirs["instance"]
    listed = {name: [one["name"] for one in api.call("GET", "/v1/projects", headers=headers, status=200)["items"]]
              for name, headers in (("all", instance), ("own", admin), ("theirs", bearer(theirs)))}  # fmt: skip
    assert listed == {"all": ["default", "vision"], "own": ["default"], "theirs": ["vision"]}


def test_keys_and_projects_are_listed_in_pages(api: Api, store: Store) -> None:
    instance = key(store, "admin", "read", is_instance=True)
    for number in range(4):
        api.call("POST", "/v1/projects", {"name": f"p{number}"}, headers=instance, status=201)
        api.call("POST", "/v1/keys", {"scopes": ["admin"], "name": f"k{number}"}, headers=instance, status=201)
    for path, wanted in (("/v1/keys", ["", "k0", "k1", "k2", "k3"]),
                         ("/v1/projects", ["default", "p0", "p1", "p2", "p3"])):  # fmt: skip
        found, after = [], ""
        while True:
            page = api.call("GET", f"{path}?limit=2{after}", headers=instance, status=200)
            found += [one["name"] for one in page["items"]]
            if page["next"] is None:
                break
            after = f"&after={page['next']}"
        assert found == wanted
        api.call("GET", f"{path}?after=x", headers=instance, status=422)


def test_the_last_use_of_a_key_is_written_down_beside_the_requests(api: Api, store: Store) -> None:
    used, unused = key(store, "read"), key(store, "read")
    uses = keys.Uses()
    for headers in (used, used):
        uses.note(headers["Authorization"].split("_")[1])
    uses.write(store, every_seconds=3600)
    with store.read(EVERY_PROJECT) as session:
        assert session.scalars(select(ApiKey.last_used_at)).all() == [None, None]
    uses.write(store, every_seconds=0)
    with store.read(EVERY_PROJECT) as session:
        last = {row.id: row.last_used_at for row in session.scalars(select(ApiKey))}
    assert last[used["Authorization"].split("_")[1]] is not None
    assert last[unused["Authorization"].split("_")[1]] is None


def test_every_call_with_a_key_is_a_use_of_it(database_url: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys.Uses.write, "__kwdefaults__", {"every_seconds": 0})
    used = key(store, "read")
    app = create_app(Settings(database=database_url, sweep_seconds=0.01))
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        client.get("/v1/me", headers=used)
        for _ in range(500):
            with store.read(EVERY_PROJECT) as session:
                if session.scalars(select(ApiKey.last_used_at)).one() is not None:
                    return
            time.sleep(0.01)
    raise AssertionError("its use was never written down")


def test_a_stream_ends_with_its_key(api: Api, store: Store) -> None:
    api.create()
    reader = key(store, "read")
    with store.write(EVERY_PROJECT) as session:
        row = session.scalars(select(ApiKey)).one()

        def revoke_soon() -> None:
            with store.write(EVERY_PROJECT) as session:
                keys.revoke(session, session.merge(row), by="test")

    threading.Timer(0.7, revoke_soon).start()
    response = api.client.get(f"{api.base}/events", headers=reader)  # returns when the stream has ended
    assert response.status_code == 200
    assert "watching" in response.text


def test_no_secret_of_a_key_is_in_logs_figures_or_errors(
    api: Api, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        admin = key(store, "admin", "read", "write")
        made = api.call("POST", "/v1/keys", {"scopes": ["read"]}, headers=admin, status=201)
        secrets = [secret_of(text) for text in (admin["Authorization"], made["key"])]
        said = []
        for method, path, body in (("GET", "/v1/keys", None), ("DELETE", f"/v1/keys/{made['key']}", None),
                                   ("POST", "/v1/keys", {"scopes": [made["key"]]}), ("POST", "/v1/keys", "nonsense"),
                                   ("PUT", api.base, {"space": {}}), ("GET", "/v1/nothing", None),
                                   ("GET", "/metrics", None), ("DELETE", f"/v1/keys/{made['id']}", None)):  # fmt: skip
            said.append(api.client.request(method, path, json=body, headers=admin))
        said += [api.client.get("/v1/me", headers=bearer(made))]
        lines = [JsonLines().format(record) for record in caplog.records if not record.name.startswith("httpx")]
    assert len(lines) > 8
    for secret in secrets:
        assert not [line for line in lines if secret in line]
        given_back = [one.status_code for one in said if secret in one.text]  # only to whom sent it in a wrong place
        assert set(given_back) <= {422}
