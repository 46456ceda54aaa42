"""Studies: create or join, read, list and change. What they found is in `results`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import Header, Query, Request, Response
from pydantic import ConfigDict, Field, WithJsonSchema, model_validator

from app.api.dependencies import NAME_PATTERN, AddressDep, CallerDep, OnceDep, StoreDep, address_of, router_of
from app.api.trials import TrialOut, with_uid
from app.api.wire import (
    After,
    Answer,
    Body,
    Finite,
    Limit,
    Page,
    Text,
    Time,
    Uid,
    Word,
    cursor,
    read_cursor,
)
from app.db import studies
from app.db.reclaim import reading, reclaim
from app.db.studies import Address, OpenStudy
from app.db.tables import Study
from app.definition import Direction, algorithm_json, pruning_json
from app.errors import FieldError, Invalid
from app.search import options
from app.services import define_study, edit_study
from app.services.define_study import Given
from app.services.learning import learn
from app.services.plan import algorithm_in_use

router = router_of("/v1/studies", tags=["studies"])

#: By this title `app.api.schema` knows where the description of a space belongs.
SEARCH_SPACE = "SearchSpace"
#: The space on the wire: validated by `SearchSpace.from_json`, described from the same dataclasses (app.api.schema).
SpaceIn = Annotated[dict[str, Any], WithJsonSchema({"type": "object", "title": SEARCH_SPACE})]
MAX_CONSTRAINTS = 100


class ObjectiveIn(Body):
    name: Word
    direction: Direction = "minimize"


class OutcomeIn(Body):
    """A measured constraint."""

    name: Word
    at_most: Finite | None = None
    at_least: Finite | None = None

    @model_validator(mode="after")
    def _one_bound(self) -> OutcomeIn:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError("give `at_most` or `at_least`")
        return self


class Stop(Body):
    max_trials: Annotated[int | None, Field(ge=1, le=2**53)] = None
    target: Finite | dict[Word, Finite] | None = None
    patience: Annotated[int | None, Field(ge=1, le=2**53)] = None
    max_seconds: Annotated[float | None, Field(gt=0, allow_inf_nan=False)] = None
    max_cost: Annotated[float | None, Field(gt=0, allow_inf_nan=False)] = None


class Settings(Body):
    """What is set at creation and changed by PATCH; a later PUT leaves it alone."""

    description: Text = ""
    tags: Annotated[dict[Word, Annotated[str, Field(max_length=1000)]], Field(max_length=100)] = Field(
        default_factory=dict
    )
    stop: Stop = Field(default_factory=Stop)
    metafeatures: Annotated[dict[Word, Finite], Field(max_length=1000)] = Field(default_factory=dict)
    warm_start: Annotated[
        Literal["auto", "off"] | Annotated[list[Annotated[str, Field(pattern=NAME_PATTERN)]], Field(max_length=15)],
        Field(description="auto: the server picks the past studies that help; a list names them"),
    ] = "auto"


class Definition(Settings):
    """A study. Only `space` is needed to create one; what is left out of a later PUT is not compared."""

    space: SpaceIn | None = None
    constraints: Annotated[list[Annotated[str, Field(max_length=10_000)]] | None, Field(max_length=MAX_CONSTRAINTS)] = (
        None
    )
    direction: Direction | None = None
    objectives: Annotated[list[ObjectiveIn] | None, Field(min_length=1, max_length=16)] = None
    outcomes: Annotated[list[OutcomeIn] | None, Field(max_length=16)] = None
    algorithm: Annotated[
        str | dict[str, Any] | None,
        Field(description=options.described(), examples=["auto"]),
    ] = None
    seed: Annotated[int | None, Field(ge=0, le=2**53)] = None
    pruning: Annotated[
        Literal["off"] | dict[str, Any] | None,
        Field(
            description=(
                '"off", or an object with `rule`: median (min_step, min_trials), '
                "asha or hyperband (min_step, max_step, eta, promote), "
                "curve (min_step, max_step, min_trials, threshold)"
            ),
            examples=["off"],
        ),
    ] = None
    max_retries: Annotated[int, Field(ge=0, le=1000, description="Expired leases after which a trial is lost")] = 3
    name: Annotated[str | None, Field(pattern=NAME_PATTERN)] = None
    study_uid: Uid = None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "space": {
                        "lr": {"type": "float", "low": 1e-5, "high": 1.0, "scale": "log"},
                        "layers": {"type": "int", "low": 1, "high": 8},
                    },
                    "direction": "minimize",
                }
            ]
        }
    )

    def given(self, name: str) -> Given:
        whole = self.model_dump(exclude_unset=True, exclude={"name", "study_uid"}, exclude_none=True)
        return Given(name, whole)


class StudyOut(Answer):
    name: str
    uid: str
    state: Literal["active", "paused", "stopped"]
    description: str
    space: SpaceIn
    constraints: list[str]
    space_version: int
    direction: Annotated[Direction | None, Field(description="Of a study with one objective")]
    objectives: list[dict[str, Any]]
    outcomes: list[dict[str, Any]]
    algorithm: str | dict[str, Any]
    algorithm_in_use: dict[str, str]
    warm_start: str | list[str]
    seed: int
    stop: dict[str, Any]
    pruning: str | dict[str, Any]
    max_retries: int
    tags: dict[str, str]
    metafeatures: dict[str, float]
    counts: dict[str, int]
    best: TrialOut | None
    created_at: Time
    ignored: Annotated[list[str] | None, Field(description="What a PUT on a study that was there did not change")] = (
        None
    )

    @classmethod
    def of(cls, here: OpenStudy, *, ignored: tuple[str, ...] | None = None) -> StudyOut:
        study, definition = here.study, here.definition
        name, why = algorithm_in_use(here)
        best = studies.best(here)
        return cls(
            name=study.name,
            uid=study.uid,
            state=study.state,
            description=study.description,
            space=definition.space.to_json(),
            constraints=list(definition.space.constraints),
            space_version=study.space_version,
            direction=definition.direction if definition.is_single else None,
            objectives=study.objectives,
            outcomes=study.outcomes,
            algorithm=algorithm_json(study.algorithm),
            algorithm_in_use={"name": name, "why": why},
            warm_start=study.warm_start,
            seed=study.seed,
            stop=study.stop,
            pruning=pruning_json(definition.pruning),
            max_retries=study.max_retries,
            tags=study.tags,
            metafeatures=study.metafeatures,
            counts=study.counts(),
            best=None if best is None else TrialOut.of(best),
            created_at=study.created_at,
            ignored=None if ignored is None else list(ignored),
        )


# --- create or join ---------------------------------------------------------------------------------------------


@router.post("", status_code=201, summary="Create a study", responses={200: {"model": StudyOut}})
def create_study(body: Definition, caller: CallerDep, store: StoreDep, once: OnceDep, response: Response) -> StudyOut:
    """As PUT, with the name in the body; left out, the server makes one."""
    return _put(body, address_of(caller, body.name or define_study.new_name(), body.study_uid), store, once, response)


@router.put("/{study}", status_code=201, summary="Create a study, or verify it", responses={200: {"model": StudyOut}})
def put_study(body: Definition, address: AddressDep, store: StoreDep, response: Response) -> StudyOut:
    """201 when new, 200 when it is there with the same definition, 409 `study-differs` otherwise."""
    if body.name is not None and body.name != address.name:
        raise Invalid(
            f"the body names the study {body.name!r}, the path {address.name!r}; leave `name` out of the body"
        )
    return _put(body, with_uid(address, body.study_uid), store, None, response)


def _put(body: Definition, address: Address, store: StoreDep, once: Any, response: Response) -> StudyOut:
    result = define_study.put(store, address, body.given(address.name), once)
    response.status_code = 201 if result.created else 200
    response.headers["Location"] = f"/v1/studies/{result.here.study.name}"
    with reading(store, Address(address.project_id, result.here.study.name)) as here:
        return StudyOut.of(here, ignored=None if result.created else result.ignored)


# --- read and list ----------------------------------------------------------------------------------------------


@router.get("", summary="List studies")
def list_studies(
    request: Request,
    caller: CallerDep,
    store: StoreDep,
    state: Literal["active", "paused", "stopped"] | None = None,
    prefix: Annotated[str | None, Query(max_length=128, description="Names that begin so")] = None,
    limit: Limit = 100,
    after: After = None,
) -> Page[StudyOut]:
    """By name. `tag.<key>=<value>` filters by a tag; several must all agree."""
    tags = {name[4:]: value for name, value in request.query_params.items() if name.startswith("tag.")}
    last = None if after is None else read_cursor(after, str)[0]
    reclaim(store)
    with store.read(caller.project_id) as session:
        found = studies.page(
            session, caller.project_id, state=state, tags=tags, prefix=prefix, after=last, limit=limit + 1
        )
        items = [StudyOut.of(_opened(session, study)) for study in found[:limit]]
    return Page(items=items, next=cursor(found[limit - 1].name) if len(found) > limit else None)


def _opened(session: Any, study: Study) -> OpenStudy:
    return OpenStudy(session, study, studies.definition_of(session, study), study.created_at)


@router.get("/{study}", summary="Read a study")
def get_study(address: AddressDep, store: StoreDep) -> StudyOut:
    with reading(store, address) as here:
        return StudyOut.of(here)


# --- change -----------------------------------------------------------------------------------------------------


class Change(Settings):
    state: Literal["active", "paused", "stopped"] | None = None
    study_uid: Uid = None

    @model_validator(mode="after")
    def _something(self) -> Change:
        if not self.model_fields_set - {"study_uid"}:
            raise ValueError("give what to change: state, description, tags, stop, metafeatures, warm_start")
        return self


@router.patch("/{study}", summary="Change a study's state and settings")
def patch_study(address: AddressDep, body: Change, store: StoreDep, request: Request) -> StudyOut:
    """`paused` hands nothing out, `stopped` ends the study; results are taken in every state."""
    changes: Mapping[str, Any] = {
        name: value
        for name, value in body.model_dump(exclude_unset=True, exclude={"study_uid"}).items()
        if not (name == "state" and value is None)
    }
    if "stop" in changes:
        changes = {**changes, "stop": {name: value for name, value in changes["stop"].items() if value is not None}}
    edit_study.patch(store, with_uid(address, body.study_uid), changes)
    if changes.get("state") == "stopped":
        learn(store, address, request.app.state.desk.memory)
    with reading(store, address) as here:
        return StudyOut.of(here)


@router.delete("/{study}", status_code=204, summary="Delete a study")
def delete_study(
    address: AddressDep, store: StoreDep, purge: Annotated[bool, Query(description="At once, beyond restoring")] = False
) -> Response:
    """Hidden for 7 days, in which `restore` brings it back; then deleted."""
    edit_study.remove(store, address, purge=purge)
    return Response(status_code=204)


@router.post("/{study}/restore", summary="Bring a deleted study back")
def restore_study(address: AddressDep, store: StoreDep, once: OnceDep) -> StudyOut:
    """Within 7 days; 409 `name-taken` if the name means another study by now. One that is there stays as it is."""
    edit_study.restore(store, address, once)
    with reading(store, address) as here:
        return StudyOut.of(here)


class SpaceEdit(Body):
    """A JSON Merge Patch over the space's parameters: null removes, an added one needs a `default`."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": [{"lr": {"high": 0.1}, "dropout": None}]})


class SpaceEdited(Answer):
    space: SpaceIn
    constraints: list[str]
    space_version: int
    usable_trials: Annotated[int, Field(description="Complete trials that the space allows")]
    dropped_trials: Annotated[
        list[int], Field(description="Waiting trials that it does not allow; removed unless a dry run")
    ]
    best: TrialOut | None


_VERSION = re.compile(r'"?(\d{1,9})"?')


@router.patch("/{study}/space", summary="Edit the space of a living study")
def patch_space(
    address: AddressDep,
    body: SpaceEdit,
    store: StoreDep,
    dry_run: Annotated[bool, Query(description="Only tell what would happen")] = False,
    if_match: Annotated[str | None, Header(description="The space_version the edit was made for")] = None,
) -> SpaceEdited:
    """Makes a new version of the space. `constraints` may be sent beside; running trials stay valid."""
    edit = dict(body.model_extra or {})
    constraints = edit.pop("constraints", None)
    if constraints is not None and not (
        isinstance(constraints, list)
        and all(isinstance(one, str) for one in constraints)
        and len(constraints) <= MAX_CONSTRAINTS
    ):
        raise Invalid(f"constraints must be a list of at most {MAX_CONSTRAINTS} texts")
    uid = edit.pop("study_uid", None)
    if not isinstance(uid, str | None):
        raise Invalid("study_uid must be text", errors=[FieldError("/study_uid", "must be text")])
    expected = None
    if if_match is not None:
        match = _VERSION.fullmatch(if_match.strip())
        if match is None:
            raise Invalid(f"If-Match must be a space_version, got {if_match[:40]!r}")
        expected = int(match[1])
    edited = edit_study.edit_space(
        store, with_uid(address, uid), edit, constraints, expected_version=expected, dry_run=dry_run
    )
    here = edited.here
    return SpaceEdited(
        space=edited.space.to_json(),
        constraints=list(edited.space.constraints),
        space_version=here.study.space_version,
        usable_trials=edited.usable,
        dropped_trials=list(edited.dropped),
        best=None if edited.best is None else TrialOut.of(edited.best),
    )
