"""The OpenAPI document: FastAPI's, with what it cannot know by itself."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import Field, TypeAdapter

from app.api.dependencies import PUBLIC
from app.api.problems import MEDIA_TYPE, Problem
from app.api.studies import SEARCH_SPACE
from app.search.space import MAX_PARAMETERS, Bool, Categorical, Fixed, Float, Int, Ordinal

Parameter = Annotated[Float | Int | Ordinal | Categorical | Bool | Fixed, Field(discriminator="type")]

#: What any call may answer beside its own statuses; bodies are problem documents.
COMMON = {
    "400": "The body is no JSON",
    "401": "No key, or a bad one",
    "403": "The key lacks the scope, or a browser's page is foreign",
    "404": "No such thing here, or it is another project's",
    "406": "The answer cannot be given in that form",
    "409": "Conflicts with the state",
    "413": "The body is too large",
    "415": "The body is not application/json",
    "422": "Readable, but wrong; `errors` names the places",
    "503": "Not now; see Retry-After",
}
SUMMARY = "Hyperparameter tuning as a service you host yourself: ask for the next configuration, tell how well it did."


def document(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        app.openapi_schema = _completed(
            get_openapi(title="metatune", version=app.version, summary=SUMMARY, routes=app.routes)
        )
    return app.openapi_schema


def _completed(whole: dict[str, Any]) -> dict[str, Any]:
    schemas: dict[str, Any] = whole.setdefault("components", {}).setdefault("schemas", {})
    kinds = TypeAdapter(Parameter).json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(kinds.pop("$defs"))
    schemas["Parameter"] = kinds
    _refer_to_space(whole)
    schemas["SearchSpace"] = {
        "type": "object",
        "description": "Parameters by name; their order is kept",
        "additionalProperties": {"$ref": "#/components/schemas/Parameter"},
        "minProperties": 1,
        "maxProperties": MAX_PARAMETERS,
    }
    schemas.setdefault("Problem", Problem.model_json_schema(ref_template="#/components/schemas/{model}"))
    for nested, schema in schemas["Problem"].pop("$defs", {}).items():
        schemas.setdefault(nested, schema)
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    whole["components"]["securitySchemes"] = {
        "key": {
            "type": "http",
            "scheme": "bearer",
            "description": "Only once a key exists; make one with metatune-server keys create",
        }
    }
    error = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for path, methods in whole["paths"].items():
        for operation in methods.values():
            if path not in PUBLIC:
                operation["security"] = [{"key": []}, {}]
            responses = operation["responses"]
            for status, description in COMMON.items():
                given = responses.get(status, {})
                if status == "422" or "content" not in given or MEDIA_TYPE not in given["content"]:
                    responses[status] = {"description": given.get("description") or description, "content": error}
    _link(whole)
    return whole


def _refer_to_space(node: Any) -> None:
    """Puts a reference wherever a field is a space."""
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        if isinstance(child, dict) and child.get("title") == SEARCH_SPACE:
            child.clear()
            child["$ref"] = f"#/components/schemas/{SEARCH_SPACE}"
        _refer_to_space(child)


def _link(whole: dict[str, Any]) -> None:
    """From the answer of one call to the next: create, ask, tell, best."""
    paths = whole["paths"]
    study = {"study": "$request.path.study"}
    ask = {"operationId": paths["/v1/studies/{study}/ask"]["post"]["operationId"], "parameters": study}
    tell = {
        "operationId": paths["/v1/studies/{study}/trials/{number}/tell"]["post"]["operationId"],
        "parameters": {**study, "number": "$response.body#/trials/0/number"},
    }
    best = {"operationId": paths["/v1/studies/{study}/best"]["get"]["operationId"], "parameters": study}
    for status in ("200", "201"):
        paths["/v1/studies/{study}"]["put"]["responses"][status]["links"] = {"ask": ask}
    paths["/v1/studies/{study}/ask"]["post"]["responses"]["200"]["links"] = {"tell": tell}
    paths["/v1/studies/{study}/trials/{number}/tell"]["post"]["responses"]["200"]["links"] = {"ask": ask, "best": best}
