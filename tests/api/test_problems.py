"""Every error is `application/problem+json`, whoever made it; and nothing that strangers send is a 500."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.conftest import Api

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def database_url(tmp_path: Path, migrated_sqlite: Path) -> str:
    """What is refused at the door never reaches a database: one kind is enough."""
    shutil.copy(migrated_sqlite, tmp_path / "test.db")
    return f"sqlite:///{tmp_path / 'test.db'}"


def problem(response: Any, status: int, code: str | None = None) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert set(body) >= {"type", "title", "status", "detail", "code"}
    assert body["status"] == status
    if code is not None:
        assert body["code"] == code, body
    return body


def raw(api: Api, path: str, text: str | bytes, method: str = "POST") -> Any:
    return api.client.request(method, f"{api.base}{path}", content=text, headers=JSON)


def test_the_frameworks_own_errors_are_problems(client: TestClient, api: Api) -> None:
    api.create()
    problem(client.get("/nothing/here"), 404, "no-such-route")
    problem(client.get("/v1/studies/"), 404, "no-such-route")
    body = problem(client.delete(f"{api.base}/ask"), 405, "method-not-allowed")
    assert "POST" in body["detail"]
    problem(client.put(f"{api.base}/trials/1"), 405)
    problem(client.get(f"{api.base}/trials/x"), 422, "invalid")
    problem(client.get("/v1/studies/nobody"), 404, "study-not-found")
    problem(client.get(f"{api.base}/trials/9"), 404, "trial-not-found")


def test_numbers_of_trials_are_whole_positive_and_not_endless(client: TestClient, api: Api) -> None:
    api.create()
    for number in ("0", "-1", "1.5", "1e3", "9" * 30, "%00", "NaN"):
        problem(client.get(f"{api.base}/trials/{number}"), 422)


def test_an_unexpected_error_is_a_500_with_the_request_id_and_without_the_cause(
    client: TestClient, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.create()
    monkeypatch.setattr("app.api.studies.algorithm_in_use", lambda _: {}["secret-cause"])
    response = client.get(api.base, headers={"X-Request-Id": "my-id"})
    body = problem(response, 500, "internal-error")
    assert body["request_id"] == "my-id"
    assert "secret-cause" not in response.text


def test_unreadable_json_is_400_and_says_where(api: Api) -> None:
    api.create()
    for text in (b"{", b'{"count": 1,}', b"\xff\xfe", b"'", b'{"a": 01}', b'{"count": 1}}', b'{"a": "\x01"}'):
        problem(raw(api, "/ask", text), 400, "unreadable-json")
    assert "line 2, column 3" in problem(raw(api, "/ask", b'{"count": 1,\n  oops}'), 400)["detail"]


def test_a_body_of_another_kind_than_an_object_is_422(api: Api) -> None:
    api.create()
    for text in ("[]", '"text"', "1", "NaN", "true", "[[]]"):
        problem(raw(api, "/trials/1/tell", text), 422)
        problem(raw(api, "/ask", text), 422)


def test_an_empty_body_and_null_are_fine_for_an_ask(api: Api) -> None:
    api.create()
    for text in (b"", b"null", b"{}"):
        assert raw(api, "/ask", text).status_code == 200
    assert api.client.post(f"{api.base}/ask").status_code == 200


def test_lone_surrogates_and_nul_are_refused_wherever_text_stands(api: Api) -> None:
    api.create()
    api.one()
    for bad in (r"\ud800", r"\udfff", r"a\u0000b", r"\udc00\ud800"):
        for path, text in (
            ("/ask", f'{{"worker": "{bad}"}}'),
            ("/trials/1/tell", f'{{"value": 1, "metadata": {{"a": ["{bad}"]}}}}'),
            ("/trials/1/tell", f'{{"value": 1, "metadata": {{"{bad}": 1}}}}'),
            ("/trials/1/tell", f'{{"state": "failed", "reason": "{bad}"}}'),
            ("/trials", f'{{"params": {{"{bad}": 1}}}}'),
        ):
            problem(raw(api, path, text), 422, "unsafe-text")
        problem(raw(api, "", f'{{"space": {{"{bad}": {{"type": "bool"}}}}}}', "PUT"), 422, "unsafe-text")
    assert api.tell(1, value=1, metadata={"a": "\U0001f600"})["metadata"] == {"a": "\U0001f600"}


def test_deep_json_is_refused(api: Api) -> None:
    api.create()
    for depth in (66, 1_000, 200_000):
        problem(raw(api, "/ask", '{"a":' * depth + "1" + "}" * depth), 422, "too-deep")
        problem(raw(api, "/ask", "[" * depth + "]" * depth), 422, "too-deep")


def test_wide_json_is_answered_briefly(api: Api) -> None:
    api.create()
    wide = json.dumps({f"unknown{k}": k for k in range(20_000)})
    body = problem(raw(api, "/ask", wide), 422)
    assert len(body["errors"]) <= 100
    problem(raw(api, "/trials", json.dumps({"params": {f"p{k}": k for k in range(20_000)}})), 422)
    problem(raw(api, "/ask", json.dumps({"worker": "w" * 100_000})), 422)


def test_a_body_of_30_mb_is_413(api: Api) -> None:
    api.create()
    large = b" " * (30 * 2**20) + b"{}"
    response = raw(api, "/ask", large)
    assert str(16 * 2**20) in problem(response, 413, "too-large")["detail"]
    assert response.headers["x-request-id"]
    unannounced = (large[k : k + 2**20] for k in range(0, len(large), 2**20))
    problem(api.client.post(f"{api.base}/ask", content=unannounced, headers=JSON), 413, "too-large")
    problem(raw(api, "/nothing", large), 413, "too-large")
    assert api.counts() == {}


def test_another_content_type_is_415_and_the_answer_holds_the_flag_for_curl(api: Api) -> None:
    api.create()
    for kind in (
        "application/x-www-form-urlencoded",
        "text/plain",
        "application/xml",
        "multipart/form-data; boundary=x",
    ):
        response = api.client.post(f"{api.base}/ask", content=b'{"count": 1}', headers={"Content-Type": kind})
        body = problem(response, 415, "unsupported-media-type")
        assert "-H 'Content-Type: application/json'" in body["detail"]
    assert api.counts() == {}
    ok = api.client.post(f"{api.base}/ask", content=b"{}", headers={"Content-Type": "Application/JSON; charset=utf-8"})
    assert ok.status_code == 200


def test_unknown_fields_are_refused_by_name(api: Api) -> None:
    api.create()
    api.one()
    for path, body in (
        ("/ask", {"cuont": 1}),
        ("/trials/1/tell", {"value": 1, "cuont": 1}),
        ("/trials/1/report", {"step": 1, "value": 1, "cuont": 1}),
        ("/trials/1/heartbeat", {"cuont": 1}),
        ("/trials/1/release", {"cuont": 1}),
        ("/trials/1/stop", {"cuont": 1}),
        ("/trials", {"params": {"x": 0.5}, "cuont": 1}),
        ("/tell", {"results": [], "cuont": 1}),
        ("/copy", {"name": "b", "cuont": 1}),
    ):
        answer = problem(api.client.post(f"{api.base}{path}", json=body), 422)
        assert "/cuont" in [error["pointer"] for error in answer["errors"]], path


def test_several_mistakes_are_named_at_once_each_with_its_place(api: Api) -> None:
    space = {
        "x": {"type": "float", "low": 2, "high": 1},
        "a/b~c": {"type": "int", "low": 0.5, "high": 1},
        "k": {"type": "cat"},
    }
    body = problem(api.client.put(api.base, json={"space": space}), 422, "invalid-space")
    assert {error["pointer"] for error in body["errors"]} == {"/space/x/low", "/space/a~1b~0c/low", "/space/k/type"}
    assert "2" in body["errors"][0]["detail"]


WRONG_DEFINITIONS: list[tuple[dict[str, Any], str]] = [
    ({"x": {"type": "float", "low": 1, "high": 1}}, "/space/x/low"),
    ({"x": {"type": "float", "low": 0, "high": 1, "scale": "log"}}, "/space/x/low"),
    ({"x": {"type": "float", "low": 0, "high": 1, "scale": "cubic"}}, "/space/x/scale"),
    ({"x": {"type": "float", "low": 0, "high": 1, "step": 2}}, "/space/x/step"),
    ({"x": {"type": "float", "low": 0, "high": 1, "default": 2}}, "/space/x/default"),
    ({"x": {"type": "float", "low": 0, "high": 1, "extra": 2}}, "/space/x/extra"),
    ({"x": {"type": "float", "low": 0}}, "/space/x/high"),
    ({"x": {"type": "int", "low": 0, "high": 2**53 + 1}}, "/space/x/high"),
    ({"x": {"type": "int", "low": False, "high": 2}}, "/space/x/low"),
    ({"x": {"type": "ordinal", "values": [2, 1]}}, "/space/x/values"),
    ({"x": {"type": "ordinal", "values": ["a"]}}, "/space/x/values/0"),
    ({"x": {"type": "categorical", "choices": []}}, "/space/x/choices"),
    ({"x": {"type": "categorical", "choices": [1, 1.0]}}, "/space/x/choices/1"),
    ({"x": {"type": "categorical", "choices": ["a", None]}}, "/space/x/choices/1"),
    ({"x": {"type": "fixed"}}, "/space/x/value"),
    ({"x": {"type": "bool", "when": {"y": [1]}}}, "/space/x/when/y"),
    ({"x": {"type": "bool", "when": {"x": [True]}}}, "/space/x/when"),
    ({"x": {"type": "bool"}, "y": {"type": "bool", "when": {"x": ["true"]}}}, "/space/y/when/x/0"),
    ({"": {"type": "bool"}}, "/space/"),
    ({"e\u0301": {"type": "bool"}}, "/space/e\u0301"),
    ({"tab\there": {"type": "bool"}}, "/space/tab\there"),
    ({"x" * 129: {"type": "bool"}}, "/space/" + "x" * 129),
    ({}, "/space"),
]


def test_a_space_that_makes_no_sense_is_refused_with_its_place(api: Api) -> None:
    for space, pointer in WRONG_DEFINITIONS:
        body = problem(api.client.put(api.base, json={"space": space}), 422)
        assert body["errors"][0]["pointer"] == pointer, (space, body)
        assert body["detail"]


def test_bounds_that_are_not_finite_are_refused(api: Api) -> None:
    for low in ("NaN", "-Infinity", "-1e400", '"-inf"', "-1" + "0" * 400):
        text = f'{{"space": {{"x": {{"type": "float", "low": {low}, "high": 1}}}}}}'
        problem(raw(api, "", text, "PUT"), 422)


def test_constraints_are_read_by_a_small_grammar_and_never_run(api: Api) -> None:
    space = {"x": {"type": "float", "low": 0, "high": 1}, "k": {"type": "bool"}}
    for text in (
        "x",
        "x <= ",
        "__import__('os')",
        "x <= y",
        "k <= 1",
        "x <= 1; x",
        "x.real <= 1",
        "x == 1",
        "+".join("x" * 300) + "<=1",
    ):
        body = problem(api.client.put(api.base, json={"space": space, "constraints": [text]}), 422)
        assert body["errors"][0]["pointer"] == "/constraints/0", text
    body = problem(api.client.put(api.base, json={"space": space, "constraints": ["x > 2"]}), 422)
    assert body["code"] == "no-feasible-point"


def test_what_is_not_built_yet_says_so_and_names_what_is(api: Api) -> None:
    api.create()
    api.one()
    body = problem(api.client.get(f"{api.base}/export?format=parquet"), 422, "not-available-yet")
    assert "json, csv" in body["detail"]


UNKNOWN: list[dict[str, Any]] = [
    {"algorithm": "magic"},
    {"algorithm": {"name": "gp", "speed": 1}},
    {"algorithm": {"name": "grid", "resolution": 0}},
    {"algorithm": {"name": "tpe", "n_candidates": 0}},
    {"algorithm": {"name": "cmaes", "sigma": 2}},
    {"algorithm": {"name": "nsga2", "population_size": 1.5}},
    {"algorithm": "cmaes", "objectives": [{"name": "a"}, {"name": "b"}]},
    {"algorithm": 5},
    {"algorithm": {}},
    {"pruning": {"rule": "magic"}},
    {"pruning": "asha"},
    {"pruning": {"rule": "asha"}},
    {"pruning": {"rule": "asha", "max_step": 9, "eta": 1}},
    {"pruning": {"rule": "asha", "max_step": 9, "promote": "yes"}},
    {"pruning": {"rule": "hyperband"}},
    {"pruning": {"rule": "curve", "max_step": 9, "threshold": 2}},
    {"pruning": {"rule": "median", "eta": 1}},
    {"pruning": {}},
    {"direction": "up"},
    {"direction": "minimize", "objectives": [{"name": "a"}]},
    {"objectives": []},
    {"objectives": [{"name": "a"}, {"name": "a"}]},
    {"objectives": [{"name": "a"}], "outcomes": [{"name": "a", "at_most": 1}]},
    {"outcomes": [{"name": "a"}]},
    {"outcomes": [{"name": "a", "at_most": 1, "at_least": 0}]},
    {"seed": -1},
    {"seed": 1.5},
    {"warm_start": "maybe"},
    {"max_retries": -1},
    {"stop": {"target": {"b": 1}}},
    {"tags": {"a": None}},
    {"metafeatures": {"a": "nan"}},
    {"name": "-"},
]


def test_unknown_words_are_invalid_and_not_merely_unbuilt(api: Api) -> None:
    space = {"x": {"type": "float", "low": 0, "high": 1}}
    for given in UNKNOWN:
        body = problem(api.client.put(api.base, json={"space": space, **given}), 422)
        assert body["code"] != "not-available-yet", given


# --- numbers ----------------------------------------------------------------------------------------------------

NON_FINITE = ("NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1" + "0" * 400, '"nan"', '"inf"', '"-inf"')


def test_a_value_that_is_not_finite_records_the_trial_as_failed_with_the_reason(api: Api) -> None:
    api.create(algorithm="random")
    for number, token in enumerate(NON_FINITE, 1):
        api.one()
        response = raw(api, f"/trials/{number}/tell", f'{{"value": {token}, "reason": "exploded"}}')
        assert response.status_code == 200, (token, response.text)
        trial = response.json()
        assert (trial["state"], trial["values"]) == ("failed", None)
        assert trial["reason"].startswith("value is "), token
        assert "exploded" in trial["reason"]
        assert raw(api, f"/trials/{number}/tell", f'{{"value": {token}}}').status_code == 200
    assert api.counts() == {"failed": len(NON_FINITE)}


def test_one_objective_of_several_that_is_not_finite_fails_the_trial(api: Api) -> None:
    api.create(objectives=[{"name": "a"}, {"name": "b"}], algorithm="random")
    api.one()
    trial = raw(api, "/trials/1/tell", '{"values": {"a": 1, "b": NaN}}').json()
    assert (trial["state"], trial["reason"]) == ("failed", "b is nan")


def test_noise_and_cost_are_finite_and_not_negative(api: Api) -> None:
    api.create()
    api.one()
    for field in ("noise", "cost"):
        for token in (*NON_FINITE, "-1", "true", "[1]", "{}"):
            body = problem(raw(api, "/trials/1/tell", f'{{"value": 1, "{field}": {token}}}'), 422)
            assert body["errors"][0]["pointer"] == f"/{field}", token
    assert api.trial(1)["state"] == "running"


def test_values_are_numbers_and_nothing_else(api: Api) -> None:
    api.create()
    api.one()
    for token in ("true", '"1"', '"NaN "', "[1]", "{}", '""'):
        problem(raw(api, "/trials/1/tell", f'{{"value": {token}}}'), 422)
    for body in ({}, {"value": None}, {"values": {}}, {"values": {"other": 1}}, {"values": {"value": 1, "other": 1}},
                 {"value": 1, "values": {"value": 1}}, {"state": "complete"}, {"state": "failed", "value": 1},
                 {"state": "running"}, {"state": "lost"}, {"state": "removed"}):  # fmt: skip
        problem(api.client.post(f"{api.base}/trials/1/tell", json=body), 422)
    assert api.trial(1)["state"] == "running"


def test_a_missing_objective_or_outcome_is_named(api: Api) -> None:
    api.create(objectives=[{"name": "a"}, {"name": "b/c"}], outcomes=[{"name": "mb", "at_most": 1}])
    api.one()
    body = problem(api.client.post(f"{api.base}/trials/1/tell", json={"values": {"a": 1, "d": 2}}), 422)
    assert {error["pointer"] for error in body["errors"]} == {"/values/b~1c", "/values/mb", "/values/d"}


def test_metadata_with_numbers_json_cannot_say_is_kept_as_words(api: Api) -> None:
    api.create()
    api.one()
    trial = raw(api, "/trials/1/tell", '{"value": 1, "metadata": {"loss": [NaN, {"x": -Infinity}, 1e400]}}').json()
    assert trial["metadata"] == {"loss": ["nan", {"x": "-inf"}, "inf"]}


def test_a_report_that_is_not_finite_is_kept_and_not_data(api: Api) -> None:
    api.create(pruning={"rule": "median"})
    api.one()
    assert raw(api, "/trials/1/report", '{"step": 1, "value": NaN}').json()["prune"] is True
    assert raw(api, "/trials/1/report", '{"step": 1, "value": "nan"}').status_code == 200
    assert api.trial(1)["reports"][0]["values"] == {"value": "nan"}


def test_ask_refuses_what_it_cannot_do(api: Api) -> None:
    api.create()
    for body in ({"count": 0}, {"count": 1001}, {"count": 1.5}, {"count": "1"}, {"count": True}, {"lease_seconds": 0},
                 {"lease_seconds": "inf"}, {"lease_seconds": 1e9}, {"deadline_seconds": -1}, {"worker": ""},
                 {"worker": "w" * 129}, {"resume": "yes"}, {"fixed": []}):  # fmt: skip
        problem(api.client.post(f"{api.base}/ask", json=body), 422)
    for text in (
        '{"lease_seconds": NaN}',
        '{"deadline_seconds": Infinity}',
        '{"count": 1e400}',
        '{"fixed": {"x": NaN}}',
    ):
        problem(raw(api, "/ask", text), 422)
    assert api.counts() == {}


# --- browsers, ids, logs ----------------------------------------------------------------------------------------


def test_a_foreign_host_is_403(api: Api, client: TestClient) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "", "evil.example:8000", "[::1"):
        problem(client.get("/v1/me", headers={"Host": host}), 403, "unknown-host")
    for host in ("localhost", "LOCALHOST:1", "127.0.0.2", "[::1]:8000"):
        assert client.get("/v1/me", headers={"Host": host}).status_code == 200, host


def test_a_foreign_origin_is_403_for_reads_and_writes(api: Api, client: TestClient) -> None:
    for origin in ("http://evil.example", "null", "http://127.0.0.1:9", "http://localhost:8000"):
        problem(client.get("/v1/me", headers={"Origin": origin}), 403, "foreign-origin")
        problem(client.post(f"{api.base}/ask", headers={"Origin": origin}), 403, "foreign-origin")
    assert client.get("/v1/me", headers={"Origin": "http://127.0.0.1:8000"}).status_code == 200


def test_what_a_foreign_page_merely_loads_is_403_and_a_link_may_lead_here(api: Api, client: TestClient) -> None:
    api.create()
    for site in ("cross-site", "same-site", "nonsense"):
        for mode in ("no-cors", "cors", "websocket", None):
            headers = {"Sec-Fetch-Site": site} | ({"Sec-Fetch-Mode": mode} if mode else {})
            for path in (api.base, "/v1/studies/nobody", "/docs", "/metrics", "/healthz"):  # equally: it learns nothing
                problem(client.get(path, headers=headers), 403, "foreign-origin")
        link = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate"}
        assert client.get("/docs", headers=link).status_code == 200
        problem(client.post(f"{api.base}/ask", headers=link), 403, "foreign-origin")  # a form that leads here
    for site in ("none", "same-origin"):
        assert client.get(api.base, headers={"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "cors"}).status_code == 200
    assert api.counts() == {}


def test_no_answer_invites_a_foreign_page(api: Api, client: TestClient) -> None:
    preflight = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    for response in (client.options(f"{api.base}/ask", headers=preflight), client.get("/v1/me"), client.get("/docs")):
        assert not [name for name in response.headers if name.startswith("access-control-")]
        assert "set-cookie" not in response.headers


def test_a_form_of_an_old_browser_without_origin_writes_nothing(api: Api, client: TestClient) -> None:
    api.create()
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        headers = {"Content-Type": kind}
        problem(client.post(f"{api.base}/ask", content=b'{"count": 1}', headers=headers), 415)
    assert api.counts() == {}


def test_every_answer_has_a_request_id_and_a_given_one_comes_back(client: TestClient) -> None:
    assert client.get("/healthz", headers={"X-Request-Id": "abc.DEF-1_2"}).headers["x-request-id"] == "abc.DEF-1_2"
    first, second = (client.get("/nothing").headers["x-request-id"] for _ in range(2))
    assert first != second
    for odd in ("a b", "x" * 65, "<script>"):
        assert client.get("/healthz", headers={"X-Request-Id": odd}).headers["x-request-id"] != odd
    assert client.get("/healthz", headers={"Host": "evil.example"}).headers["x-request-id"]


def test_answers_are_not_to_be_stored_or_framed(client: TestClient) -> None:
    headers = client.get("/v1/me").headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"


def test_logs_hold_routes_and_no_secrets(api: Api, client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    from app.log import JsonLines

    api.create()
    with caplog.at_level(logging.DEBUG):
        token = api.one()["lease"]["token"]
        client.post(
            f"{api.base}/trials/1/tell",
            json={"value": 1, "reason": "sesame", "lease": token},
            headers={"Authorization": "Bearer open-sesame", "Idempotency-Key": "sesame-key", "Cookie": "sesame"},
        )
        client.get("/v1/studies/nobody-sesame?tag.a=sesame")
    lines = [JsonLines().format(record) for record in caplog.records if record.name.startswith("metatune")]
    assert any(json.loads(line).get("route") == "/v1/studies/{study}/trials/{number}/tell" for line in lines)
    for line in lines:
        assert "sesame" not in line
        assert token not in line
