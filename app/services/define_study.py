"""From what a caller gave to a definition, and to a study: create it, or verify that it is the same."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.db import idempotency, knowledge, studies
from app.db.idempotency import Once
from app.db.session import Store
from app.db.studies import Address, OpenStudy
from app.definition import (
    SINGLE,
    Definition,
    Objective,
    algorithm_json,
    differences,
    objectives_from_json,
    outcomes_from_json,
    pruning_json,
)
from app.errors import FieldError, Invalid, StudyDiffers, StudyNotFound
from app.search import suggest as search
from app.search.pruning import PruningRule
from app.search.space import SearchSpace

#: Set at creation; a later PUT leaves them alone and says so, a PATCH changes all but the last.
SETTINGS: dict[str, Any] = {
    "description": "",
    "tags": {},
    "stop": {},
    "metafeatures": {},
    "warm_start": "auto",
    "max_retries": 3,
}
#: Seeds stay below 2^53, so that every JSON reader keeps them exact.
SEED_BITS = 52


@dataclass(frozen=True)
class Given:
    """A study as a caller gave it: only what was really in the body."""

    name: str
    fields: Mapping[str, Any]

    def has(self, *names: str) -> bool:
        return any(name in self.fields for name in names)


@dataclass(frozen=True)
class Put:
    here: OpenStudy
    created: bool
    ignored: tuple[str, ...] = field(default=())


def new_name() -> str:
    return f"study-{secrets.token_hex(4)}"


def put(store: Store, address: Address, given: Given, once: Once | None = None) -> Put:
    """Creates the study, or verifies that the one there has this definition.

    Raises: StudyDiffers, StudyReplaced, and everything that is wrong with a definition.
    """
    definition = define(given) if given.has("space") else None
    try:
        return _put(store, address, given, definition, once)
    except IntegrityError:  # another call made it between our look and our insert: now it is there to be compared with
        return _put(store, address, given, definition, once)


def _put(store: Store, address: Address, given: Given, definition: Definition | None, once: Once | None) -> Put:
    with store.write(address.project_id) as session:
        before = idempotency.remembered(session, once)
        if before is not None:
            there = Address(address.project_id, before["name"], before["uid"])
            return Put(studies.open_study(session, there), before["created"], tuple(before["ignored"]))
        try:
            here = studies.open_study(session, address, lock=True)
        except StudyNotFound:
            if definition is None:
                raise Invalid(
                    f"study {address.name!r} is not there, and to create it a `space` is needed",
                    errors=[FieldError("/space", "is missing")],
                ) from None
            settings = settings_of(given, definition)
            check_sources(session, address.project_id, settings["warm_start"])
            here = studies.insert(session, address, definition, settings)
            here.audit("created")
            return _remembered(session, Put(here, created=True), once)
        verify(here, given)
        ignored = tuple(name for name in SETTINGS if name in given.fields)
        return _remembered(session, Put(here, created=False, ignored=ignored), once)


def _remembered(session: Session, done: Put, once: Once | None) -> Put:
    study = done.here.study
    reference = {"name": study.name, "uid": study.uid, "created": done.created, "ignored": list(done.ignored)}
    idempotency.remember(session, once, reference, done.here.now)
    return done


def settings_of(given: Given, definition: Definition) -> dict[str, Any]:
    settings = {name: given.fields.get(name, default) for name, default in SETTINGS.items()}
    check_settings(definition, settings)
    return settings


def check_sources(session: Session, project_id: int, warm_start: Any) -> None:
    """Raises: Invalid, for a named study that is not there."""
    if isinstance(warm_start, str):
        return
    there = knowledge.names_among(session, project_id, warm_start)
    for k, name in enumerate(warm_start):
        if name not in there:
            raise Invalid(
                f"warm_start names the study {name!r}, which is not there; GET /v1/knowledge lists what can be named",
                errors=[FieldError(f"/warm_start/{k}", f"there is no study {name!r}")],
            )


def define(given: Given) -> Definition:
    """The definition, with everything left out made explicit.  Raises: Invalid, with the place."""
    fields = given.fields
    space = SearchSpace.from_json(fields["space"], fields.get("constraints", ()))
    definition = Definition(
        space=space,
        objectives=objectives(fields),
        outcomes=outcomes_from_json(fields.get("outcomes", ())),
        algorithm=algorithm(fields.get("algorithm", "auto")),
        pruning=PruningRule.from_json(fields.get("pruning")),
        seed=fields["seed"] if fields.get("seed") is not None else secrets.randbits(SEED_BITS),
    )
    options = {name: value for name, value in definition.algorithm.items() if name != "name"}
    search.check_options(definition.algorithm["name"], options, definition.goal)
    return definition


def objectives(fields: Mapping[str, Any]) -> tuple[Objective, ...]:
    if "objectives" in fields and "direction" in fields:
        raise Invalid(
            "give `direction` (one objective named `value`) or `objectives`, not both",
            errors=[FieldError("/direction", "not beside `objectives`")],
        )
    if "objectives" in fields:
        return objectives_from_json(fields["objectives"])
    return (Objective(SINGLE, fields.get("direction", "minimize")),)


def algorithm(given: Any) -> dict[str, Any]:
    """Raises: Invalid, if an object has no name."""
    if isinstance(given, str):
        return {"name": given}
    if not isinstance(given.get("name"), str):
        raise Invalid(
            'an algorithm is a name or {"name": ..., options}', errors=[FieldError("/algorithm/name", "is missing")]
        )
    return dict(given)


def check_settings(definition: Definition, settings: Mapping[str, Any]) -> None:
    """Raises: Invalid."""
    stop = settings["stop"]
    target = stop.get("target")
    if target is None:
        return
    names = {objective.name for objective in definition.objectives}
    if definition.is_single and isinstance(target, Mapping) and set(target) == names:
        stop["target"] = target[definition.objectives[0].name]
    elif definition.is_single == isinstance(target, Mapping) or (
        isinstance(target, Mapping) and not set(target) <= names
    ):
        right = "a number" if definition.is_single else f"an object by objective's name ({', '.join(sorted(names))})"
        raise Invalid(
            f"stop.target must be {right}, got {target!r}", errors=[FieldError("/stop/target", f"must be {right}")]
        )


def verify(here: OpenStudy, given: Given) -> None:
    """Compares only what was given.  Raises: StudyDiffers, naming every place."""
    fields = given.fields
    there = here.definition.to_json()
    wanted: dict[str, Any] = {}
    if given.has("space", "constraints"):
        wanted |= _nearest_space(here, fields)
    if given.has("objectives", "direction"):
        wanted["objectives"] = [objective.to_json() for objective in objectives(fields)]
    if given.has("outcomes"):
        wanted["outcomes"] = [outcome.to_json() for outcome in outcomes_from_json(fields["outcomes"])]
    if given.has("algorithm"):
        wanted["algorithm"] = algorithm_json(algorithm(fields["algorithm"]))
    if given.has("pruning"):
        wanted["pruning"] = pruning_json(PruningRule.from_json(fields["pruning"]))
    if fields.get("seed") is not None:
        wanted["seed"] = fields["seed"]
    differs = [
        difference for name, value in wanted.items() for difference in differences(there[name], value, f"/{name}")
    ]
    if differs:
        places = ", ".join(difference["pointer"] for difference in differs[:5])
        raise StudyDiffers(
            f"study {here.study.name!r} is there with another definition (at {places}); take another name, "
            "or leave the definition out to join it as it is",
            differs=differs,
        )


def _nearest_space(here: OpenStudy, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The given space and constraints; as the current ones, if they equal any version of the study's."""
    current = here.definition.space
    constraints = fields.get("constraints")
    given = SearchSpace.from_json(
        fields.get("space", current.to_json()), list(current.constraints) if constraints is None else constraints
    )
    given_json = given.to_json(), list(given.constraints)
    for version in studies.space_versions(here):
        is_same = not differences(version.space, given_json[0])
        if is_same and (constraints is None or version.constraints == given_json[1]):
            return {}
    return {"space": given_json[0], "constraints": given_json[1]}
