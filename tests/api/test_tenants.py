"""The wall between projects, route by route: another project's id is 404, and its things are in no list.

The routes are the application's own. One that is new and has no entry here fails the test, so that none is forgotten.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from app.api.dependencies import PUBLIC
from app.db import adaptations, artefacts, jobs, keys, uploads
from app.db.session import EVERY_PROJECT, Store
from app.db.tables import Upload
from app.fewshot import reading
from app.fewshot.dataset import packed
from tests.conftest import Api

SPACE = {"x": {"type": "float", "low": 0, "high": 1}}
#: In everything that project `mine` has; whoever reads it elsewhere has seen over the wall.
CANARY = "canary7f3a"
ALL = ("read", "write", "admin")


@dataclass(frozen=True)
class Call:
    """How a route is called on something that is there, and what it answers its owner."""

    body: Any = None
    status: int = 200
    #: The study, the trial or the key that is meant; of a list none.
    study: str = f"{CANARY}-study"
    number: int = 1
    query: str = ""
    #: What a caller of another project gets.
    foreign: tuple[int, str] = (404, "study-not-found")
    #: The dataset, the learner or the evaluation, if it is not the usual one.
    name: str = ""
    #: It names nothing of anybody: it answers each project with its own.
    own: bool = False


#: What another site learnt, of one trial.
LESSONS: dict[str, Any] = {
    "format": 1,
    "kind": "metatune-knowledge",
    "entries": [
        {
            "name": "brought", "description": "", "tags": {}, "metafeatures": {}, "n_results": 1, "space": SPACE,
            "objectives": [
                {
                    "name": "value", "direction": "minimize",
                    "lesson": {
                        "space": SPACE, "configurations": [{"x": 0.5}], "scores": [0.0], "eligible": [True],
                        "theta": [0.0, 0.0, -5.0, 0.0],
                    },
                }
            ],
        }
    ],
}  # fmt: skip
N = "/v1/nas/searches/{name}"
S, T = "/v1/studies/{study}", "/v1/studies/{study}/trials/{number}"
F, L, A = "/v1/fewshot", "/v1/fewshot/learners/{name}", "/v1/fewshot/learners/{name}/adaptations/{adaptation}"
JOB, DATA, TASK = (404, "job-not-found"), (404, "dataset-not-found"), {"x": [[1.0]], "y": ["a"]}
CALLS: dict[tuple[str, str], Call] = {
    ("GET", "/metrics"): Call(own=True),
    ("GET", "/v1/me"): Call(own=True),
    ("GET", "/v1/keys"): Call(own=True),
    ("GET", "/v1/projects"): Call(own=True),
    ("GET", "/v1/studies"): Call(own=True),
    ("GET", "/v1/audit"): Call(own=True),
    ("POST", "/v1/keys"): Call({"scopes": ["read"]}, 201, own=True),
    ("POST", "/v1/projects"): Call({"name": "new"}, 403, own=True),
    ("POST", "/v1/studies"): Call({"space": SPACE}, 201, own=True),
    ("POST", "/v1/studies/import"): Call("export", 201, query="?name=brought", own=True),
    ("POST", "/v1/recommend"): Call({"space": SPACE}, own=True),
    ("GET", "/v1/knowledge"): Call(own=True),
    ("GET", "/v1/knowledge/export"): Call(own=True),
    ("POST", "/v1/knowledge/import"): Call(LESSONS, own=True),
    ("DELETE", "/v1/knowledge/{study}"): Call(status=204, study="brought"),
    ("GET", "/v1/nas/searches"): Call(own=True),
    ("POST", "/v1/nas/searches"): Call({"space": {"type": "mlp"}, "evaluator": {"name": "train"}}, 202, own=True),
    ("GET", "/v1/nas/tables"): Call(own=True),
    ("POST", "/v1/nas/tables"): Call({}, 415, own=True),
    ("DELETE", "/v1/nas/tables/{name}"): Call(status=204, foreign=(404, "dataset-not-found")),
    ("GET", N): Call(foreign=JOB),
    ("DELETE", N): Call(status=204, foreign=JOB),
    ("POST", f"{N}/cancel"): Call({}, foreign=JOB),
    ("GET", f"{N}/events"): Call(foreign=JOB),
    ("GET", f"{N}/architectures"): Call(foreign=JOB),
    ("GET", f"{N}/architectures/{{architecture}}/drawing"): Call(foreign=JOB),
    ("GET", f"{N}/pareto"): Call(foreign=JOB),
    ("GET", f"{N}/model"): Call(foreign=JOB),
    ("POST", f"{N}/predict"): Call({"x": [[1]]}, 503, foreign=JOB),  # forwarded: no worker is alive here
    ("DELETE", "/v1/keys/{key}"): Call(status=204, foreign=(404, "key-not-found")),
    ("GET", S): Call(),
    ("PUT", S): Call({}, foreign=(422, "invalid")),  # the name is free there; to create it takes a space
    ("PATCH", S): Call({"description": "changed"}),
    ("DELETE", S): Call(status=204, study=f"{CANARY}-to-delete"),
    ("POST", f"{S}/restore"): Call(study=f"{CANARY}-deleted"),
    ("POST", f"{S}/copy"): Call({"name": "copied"}, 201),
    ("PATCH", f"{S}/space"): Call({"x": {"high": 2}}),
    ("GET", f"{S}/prior"): Call(),
    ("PATCH", f"{S}/prior"): Call({"sources": [{"study": CANARY, "cap": 0.5}]}, 422),  # it has no source
    ("GET", f"{S}/best"): Call(),
    ("GET", f"{S}/pareto"): Call(),
    ("GET", f"{S}/export"): Call(),
    ("GET", f"{S}/events"): Call(query="?after=0"),
    ("GET", f"{S}/importance"): Call(),
    ("GET", f"{S}/warnings"): Call(),
    ("POST", f"{S}/predict"): Call({"params": [{"x": 0.5}]}),
    ("POST", f"{S}/ask"): Call({}),
    ("POST", f"{S}/tell"): Call({"results": [{"number": 2, "value": 1}]}),
    ("GET", f"{S}/trials"): Call(),
    ("POST", f"{S}/trials"): Call({"params": {"x": 0.25}}, 201),
    ("GET", T): Call(),
    ("PATCH", T): Call({"value": 3}),
    ("DELETE", T): Call(status=204, number=3),
    ("GET", f"{T}/explanation"): Call(),
    ("POST", f"{T}/tell"): Call({"value": 1}),
    ("POST", f"{T}/report"): Call({"step": 1, "value": 1}, number=4),
    ("POST", f"{T}/heartbeat"): Call({}, number=4),
    ("POST", f"{T}/stop"): Call({}, number=4),
    ("POST", f"{T}/release"): Call({}, number=5),
    ("POST", f"{T}/retry"): Call({}, number=6),
    ("GET", f"{F}/datasets"): Call(own=True),
    ("POST", f"{F}/datasets"): Call("file", 201, own=True),
    ("GET", f"{F}/datasets/{{name}}"): Call(name=f"{CANARY}-data", foreign=DATA),
    ("DELETE", f"{F}/datasets/{{name}}"): Call(status=204, name=f"{CANARY}-spare", foreign=DATA),
    ("GET", f"{F}/learners"): Call(own=True),
    ("POST", f"{F}/learners"): Call({"method": "maml", "dataset": f"{CANARY}-data", "ways": 2}, 202, foreign=DATA),
    ("GET", L): Call(foreign=JOB),
    ("DELETE", L): Call(status=204, name=f"{CANARY}-to-delete", foreign=JOB),
    ("POST", f"{L}/cancel"): Call({}, foreign=JOB),
    ("GET", f"{L}/events"): Call(foreign=JOB),
    ("GET", f"{L}/model"): Call(foreign=JOB),
    ("POST", f"{L}/evaluate"): Call({"dataset": f"{CANARY}-data"}, 202, foreign=JOB),
    ("POST", f"{L}/adapt"): Call({"support": TASK, "query": {"x": [[1.0]]}}, 503, foreign=JOB),  # no worker is alive
    ("GET", f"{L}/adaptations"): Call(foreign=JOB),
    ("GET", A): Call(foreign=JOB),
    ("PUT", A): Call({"support": TASK}, 503, foreign=JOB),
    ("DELETE", A): Call(status=204, foreign=JOB),
    ("POST", f"{A}/predict"): Call({"query": {"x": [[1.0]]}}, 503, foreign=JOB),
    ("PATCH", f"{A}/support"): Call({"support": TASK}, 503, foreign=JOB),
    ("GET", f"{F}/evaluations"): Call(own=True),
    ("GET", f"{F}/evaluations/{{name}}"): Call(name=f"{CANARY}-evaluation", foreign=JOB),
    ("DELETE", f"{F}/evaluations/{{name}}"): Call(status=204, name=f"{CANARY}-evaluation", foreign=JOB),
    ("POST", f"{F}/evaluations/{{name}}/cancel"): Call({}, name=f"{CANARY}-evaluation", foreign=JOB),
    ("GET", f"{F}/evaluations/{{name}}/events"): Call(name=f"{CANARY}-evaluation", foreign=JOB),
}
DATASET = b"y,a\n" + b"".join(f"{row % 4},{row}\n".encode() for row in range(40))


def routes(client: TestClient) -> list[tuple[str, str]]:
    """Every route of the application that needs a key; what deletes comes last."""
    app: Any = client.app
    found = [
        (method, route.path)
        for route in app.routes
        if isinstance(route, APIRoute) and route.path not in PUBLIC
        for method in sorted(route.methods)
    ]
    return sorted(found, key=lambda place: place[0] == "DELETE")


class Tenants:
    """Two projects, and what `mine` has."""

    def __init__(self, api: Api, store: Store) -> None:
        with store.write(EVERY_PROJECT) as session:
            made = {
                name: keys.create(session, keys.make_project(session, name, by="test").id, ALL, by="test", name=name)
                for name in (f"{CANARY}-mine", "theirs")
            }
            spare, _ = keys.create(session, made[f"{CANARY}-mine"][0].project_id, ["read"], by="test", name=CANARY)
        self.api = api
        self.key_id = spare.id
        self.mine, self.theirs = ({"Authorization": f"Bearer {text}"} for _, text in made.values())
        api.client.headers.update(self.mine)
        for end in ("study", "to-delete", "deleted"):
            api.study = f"{CANARY}-{end}"
            api.create(algorithm="random", description=CANARY)
        api.call("DELETE", api.base, status=204)
        api.study = f"{CANARY}-study"
        api.ask(count=6, worker=CANARY)
        for number, value in ((1, 1), (2, 1), (3, 0.5)):
            api.tell(number, value=value, metadata={"note": CANARY})
        api.tell(6, state="failed", reason=CANARY)
        self.whole = api.call("GET", f"{api.base}/export", status=200)
        api.call("POST", "/v1/knowledge/import", LESSONS, status=200)
        self._search(store, spare.project_id)
        fill_few_shot(store, made[f"{CANARY}-mine"][0].project_id)
        del api.client.headers["Authorization"]
        self.secrets = {CANARY, self.whole["uid"], spare.id}

    def _search(self, store: Store, project_id: int) -> None:
        """A finished one, with an architecture, a network and a table."""
        body = {"name": f"{CANARY}-search", "space": {"type": "mlp", "max_depth": 1}, "evaluator": {"name": "train"}}
        self.api.call("POST", "/v1/nas/searches", body, status=202)
        first, second = (artefacts.write(store, project_id, [CANARY.encode()], most=100) for _ in range(2))
        with store.write(project_id) as session:
            here = jobs.get(session, jobs.Address(project_id, "search", f"{CANARY}-search"))
            task = {"genes": [1, 0, 0], "key": "1-0-0", "architecture": {"widths": [16]}, "repeat": 0, "epochs": 5}
            (part,) = jobs.add_parts(here, [(1, task | {"complexity": 0.5, "count": 9, "parameters": 9})])
            part.state, part.result = "succeeded", {"value": 0.5}
            here.log(CANARY)
            here.job.model_id = first
            here.move("running")
            here.move("succeeded")
            made = {"rows": 1, "genes": 1, "repeats": 1, "measures": [], "best": 1.0, "file": "table.npz"}
            session.add(
                Upload(
                    project_id=project_id, kind="table", name=f"{CANARY}-search", summary=made, artefact_id=second,
                    created_at=here.now,
                )
            )  # fmt: skip

    def call(self, method: str, route: str, headers: dict[str, str]) -> Any:
        call = CALLS[method, route]
        name = call.name or f"{CANARY}-{'learner' if '/fewshot/' in route else 'search'}"
        places = {"study": call.study, "number": call.number, "key": self.key_id, "name": name}
        path = route.format(**places, architecture="1-0-0", adaptation=f"{CANARY}-task") + call.query
        if call.body == "file":
            form: dict[str, Any] = {"data": {"name": "uploaded"}, "files": {"file": DATASET}}
            return self.api.client.request(method, path, headers=headers, **form)
        body = self.whole if call.body == "export" else call.body
        return self.api.client.request(method, path, json=body, headers=headers)


def fill_few_shot(store: Store, project_id: int) -> None:
    """Datasets, learners, an adaptation and an evaluation, as if a worker had been there."""
    data = reading.read(io.BytesIO(DATASET), most=10_000)
    for name in (f"{CANARY}-data", f"{CANARY}-spare"):
        uploads.keep(store, project_id, "dataset", name, data.to_bytes(), data.summary(), most=10_000)
    body = {"method": "maml", "dataset": [f"{CANARY}-data"], "ways": 2, "shots": 1}
    for kind, name in (("learner", "learner"), ("learner", "to-delete"), ("evaluation", "evaluation")):
        model = artefacts.write(store, project_id, [packed({}, {})], most=10_000)
        support = artefacts.write(store, project_id, [b"support"], most=10_000)
        with store.write(project_id) as session:
            about = {"learner": f"{CANARY}-learner", "dataset": f"{CANARY}-data"} if kind == "evaluation" else body
            here = jobs.insert(session, jobs.Address(project_id, kind, f"{CANARY}-{name}"), about, "heavy")
            here.move("running")
            here.move("succeeded")
            here.job.model_id = model
            adaptations.keep(here, f"{CANARY}-task", support, {"examples": 1, "labels": ["a"], "counts": [1]})


@pytest.fixture
def tenants(api: Api, store: Store) -> Tenants:
    return Tenants(api, store)


def test_every_route_has_an_entry(client: TestClient) -> None:
    assert set(routes(client)) == set(CALLS)


def test_another_projects_id_is_404_on_every_route_and_changes_nothing(tenants: Tenants, client: TestClient) -> None:
    for method, route in routes(client):
        call = CALLS[method, route]
        if not call.own:
            response = tenants.call(method, route, tenants.theirs)
            said = response.json()
            assert (response.status_code, said["code"]) == call.foreign, (method, route, said)
    tenants.api.client.headers.update(tenants.mine)
    assert tenants.api.call("GET", f"{tenants.api.base}/export", status=200) == tenants.whole
    for page in ("/v1/studies", "/v1/keys", "/v1/audit"):
        assert CANARY in tenants.api.client.get(page).text


def test_no_list_of_a_project_shows_anything_of_another(tenants: Tenants, client: TestClient) -> None:
    for method, route in routes(client):
        call = CALLS[method, route]
        if call.own and call.body != "export":
            response = tenants.call(method, route, tenants.theirs)
            assert response.status_code == call.status, (method, route, response.text)
            for secret in tenants.secrets:
                assert secret not in response.text, (method, route)


def test_the_same_calls_reach_what_is_ones_own(tenants: Tenants, client: TestClient) -> None:
    """The control: the calls that are 404 for others are good ones."""
    for method, route in routes(client):
        if route.endswith("/events"):
            continue  # never ends by itself; its own tests read it
        response = tenants.call(method, route, tenants.mine)
        assert response.status_code == CALLS[method, route].status, (method, route, response.text)


def test_names_uids_and_cursors_of_another_project_open_nothing(tenants: Tenants) -> None:
    api, theirs = tenants.api, tenants.theirs
    uid = tenants.whole["uid"]
    for query in (f"?study_uid={uid}", "?purge=true"):
        api.call("DELETE", f"{api.base}{query}", status=404, headers=theirs)
    body = {"name": "new", "space": SPACE, "warm_start": "off", "study_uid": uid}
    assert api.client.post("/v1/studies", json=body, headers=theirs).status_code in (201, 409)
    cursor = api.call("GET", "/v1/keys?limit=1", status=200, headers=tenants.mine)["next"]
    page = api.client.get(f"/v1/keys?after={cursor}", headers=theirs)
    assert page.status_code == 200
    assert CANARY not in page.text
    once = {"Idempotency-Key": "shared"}
    first = api.call("POST", f"{api.base}/ask", {}, status=200, headers=tenants.mine | once)
    api.call("POST", f"{api.base}/ask", {}, status=404, headers=theirs | once)
    assert first["trials"][0]["number"] == 7
