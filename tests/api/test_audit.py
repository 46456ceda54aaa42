"""Who did what by hand, written with the deed and never changed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import DatabaseError

from app.db import keys
from app.db.session import EVERY_PROJECT, Store
from app.db.tables import AuditEntry, Study
from app.services.edit_study import purge_deleted
from tests.conftest import Api

SPACE = {"x": {"type": "float", "low": 0, "high": 1}}


@pytest.fixture
def admin(api: Api, store: Store) -> str:
    """The id of the key with which `api` calls from now on."""
    with store.write(EVERY_PROJECT) as session:
        project = keys.project(session, "default")
        row, text = keys.create(session, project.id, keys.SCOPES, by="test")
    api.client.headers["Authorization"] = f"Bearer {text}"
    return row.id


def log(api: Api, query: str = "") -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = api.call("GET", f"/v1/audit{query}", status=200)["items"]
    return items


def test_everything_done_by_hand_is_there_with_its_doer_the_newest_first(api: Api, admin: str) -> None:
    api.create(algorithm="random")
    api.ask(count=4)
    api.tell(1, value=1)
    api.tell(2, state="failed")
    api.patch(description="d")
    api.call("PATCH", f"{api.base}/space", {"x": {"high": 2}}, status=200)
    api.add(params={"x": 0.5})
    api.add(trials=[{"params": {"x": 0.25}, "value": 1}, {"params": {"x": 0.75}, "value": 2}])
    api.call("PATCH", f"{api.base}/trials/1", {"value": 2, "reason": "a typing error"}, status=200)
    api.do("stop", 3)
    api.do("retry", 2)
    api.remove(4)
    whole = api.call("GET", f"{api.base}/export", status=200)
    api.call("POST", "/v1/studies/import?name=brought", whole, status=201)
    api.call("POST", f"{api.base}/copy", {"name": "copied"}, status=201)
    api.call("DELETE", api.base, status=204)
    api.call("POST", f"{api.base}/restore", status=200)
    api.call("DELETE", f"{api.base}?purge=true", status=204)
    made = api.call("POST", "/v1/keys", {"scopes": ["read"], "name": "notebook"}, status=201)
    api.call("DELETE", f"/v1/keys/{made['id']}", status=204)
    found = log(api)[::-1]
    assert [(entry["action"], entry["target"]) for entry in found] == [
        ("key.created", f"keys/{admin}"),
        ("study.created", "studies/study"),
        ("study.changed", "studies/study"),
        ("study.space-edited", "studies/study"),
        ("trial.added", "studies/study/trials/5"),
        ("trial.added", "studies/study/trials/6"),
        ("trial.corrected", "studies/study/trials/1"),
        ("trial.stopped", "studies/study/trials/3"),
        ("trial.retried", "studies/study/trials/2"),
        ("trial.removed", "studies/study/trials/4"),
        ("study.imported", "studies/brought"),
        ("study.copied", "studies/copied"),
        ("study.deleted", "studies/study"),
        ("study.restored", "studies/study"),
        ("study.purged", "studies/study"),
        ("key.created", f"keys/{made['id']}"),
        ("key.revoked", f"keys/{made['id']}"),
    ]
    assert [entry["by"] for entry in found] == ["test"] + [admin] * 16
    assert found[6]["details"] == {
        "before": {"values": {"value": 1.0}, "reason": None},
        "after": {"values": {"value": 2.0}, "reason": "a typing error"},
        "reason": "a typing error",
    }
    assert made["key"].split("_", 2)[2] not in str(found)
    assert log(api, f"?by={admin}") == found[:0:-1]


def test_what_changed_nothing_is_not_in_the_log(api: Api, admin: str) -> None:
    api.create()
    before = log(api)
    api.call("PUT", api.base, {"space": SPACE}, status=200)
    api.patch(description="")
    for path in ("/trials/1", "/trials/9"):
        api.call("DELETE", f"{api.base}{path}", status=404)
    api.one()
    api.call("PATCH", f"{api.base}/trials/1", {"value": 2}, status=409)
    api.tell(1, value=1)
    api.call("PATCH", f"{api.base}/trials/1", {"value": 1}, status=200)
    once = {"Idempotency-Key": "one"}
    for _ in range(2):
        api.call("POST", f"{api.base}/trials", {"params": {"x": 0.5}}, status=201, headers=once)
    assert [entry["action"] for entry in log(api)[: -len(before)]] == ["trial.added"]


def test_the_log_is_its_projects_and_an_admins(api: Api, store: Store, admin: str) -> None:
    api.create()
    for scopes, project, status in ((("read", "write"), "default", 403), (("admin",), "theirs", 200)):
        with store.write(EVERY_PROJECT) as session:
            owner = keys.project(session, project) if status == 403 else keys.make_project(session, project, by="test")
            _, text = keys.create(session, owner.id, scopes, by="test")
        response = api.client.get("/v1/audit", headers={"Authorization": f"Bearer {text}"})
        assert response.status_code == status
        assert "studies/study" not in response.text


def test_the_log_is_read_in_pages(api: Api, admin: str) -> None:
    for number in range(5):
        api.call("PUT", f"/v1/studies/s{number}", {"space": SPACE}, status=201)
    found, after = [], ""
    while True:
        page = api.call("GET", f"/v1/audit?limit=2{after}", status=200)
        found += [entry["target"] for entry in page["items"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert found == ["studies/s4", "studies/s3", "studies/s2", "studies/s1", "studies/s0", f"keys/{admin}"]
    api.call("GET", "/v1/audit?after=x", status=422)


def test_no_entry_is_changed_or_deleted(api: Api, store: Store, admin: str) -> None:
    for statement in (update(AuditEntry).values(by="nobody"), delete(AuditEntry)):
        with pytest.raises(DatabaseError, match="only added to"), store.write(EVERY_PROJECT) as session:
            session.execute(statement)
    assert [entry["by"] for entry in log(api)] == ["test"]


def test_a_deed_that_is_undone_leaves_no_entry(api: Api, store: Store, admin: str, monkeypatch: Any) -> None:
    from app.db import idempotency

    def fail(*_: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(idempotency, "remember", fail)
    api.call("PUT", api.base, {"space": SPACE}, status=500)
    api.get(status=404)
    assert [entry["action"] for entry in log(api)] == ["key.created"]


def test_what_the_server_deletes_by_itself_is_there_too(api: Api, store: Store, admin: str) -> None:
    api.create()
    api.call("DELETE", api.base, status=204)
    with store.write(EVERY_PROJECT) as session:
        session.execute(update(Study).values(deleted_at=datetime(2020, 1, 1, tzinfo=UTC)))
    purge_deleted(store)
    with store.read(EVERY_PROJECT) as session:
        assert session.execute(select(func.count()).select_from(Study)).scalar_one() == 0
    assert (log(api)[0]["action"], log(api)[0]["by"]) == ("study.purged", "server")


def test_in_open_mode_and_on_the_command_line_nobody_has_a_key(api: Api, database_url: str, store: Store) -> None:
    from app.cli import main

    api.create()
    assert [(entry["action"], entry["by"]) for entry in log(api)] == [("study.created", "open")]
    main(["projects", "create", "vision", "--database", database_url])
    main(["keys", "create", "--project", "vision", "--database", database_url])
    with store.read(EVERY_PROJECT) as session:
        last = session.scalars(select(AuditEntry).order_by(AuditEntry.id.desc()).limit(2)).all()
    assert [(entry.action, entry.by) for entry in last] == [("key.created", "command line"),
                                                           ("project.created", "command line")]  # fmt: skip
