"""What past studies lend: the prior of a study, recommendations without one, and the knowledge itself."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import ConfigDict, Field, model_validator

from app.api.dependencies import NAME_PATTERN, AddressDep, CallerDep, Name, OnceDep, StoreDep, router_of
from app.api.insight import InsightsDep
from app.api.studies import MAX_CONSTRAINTS, SpaceIn
from app.api.trials import Scalar, with_uid
from app.api.wire import After, Answer, Body, Finite, Limit, Page, Text, Time, Uid, Word, cursor, read_cursor
from app.db import knowledge
from app.db.tables import Lesson
from app.definition import SINGLE, Direction
from app.errors import FieldError, Invalid
from app.lifecycle import Source
from app.search.space import SearchSpace
from app.services import prior, recommend
from app.services.memory import Memory

router = router_of("/v1", tags=["prior"])

MAX_ITEMS = 100
MAX_ENTRIES = 10_000
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
StudyName = Annotated[str, Field(pattern=NAME_PATTERN)]


# --- the prior of a study ---------------------------------------------------------------------------------------


class SourceOut(Answer):
    """A past study that was considered."""

    study: str
    similarity: Annotated[float, Field(description="In [0, 1], before the study had results of its own")]
    is_taken: bool
    is_excluded: bool
    cap: Annotated[float, Field(description="The most that it may weigh, by hand; 0: excluded, 1: no limit")]
    why: Annotated[str, Field(description="Why it was taken or left")]
    matched: Annotated[dict[str, str], Field(description="Parameters of this study, and what the source calls them")]
    n_results: Annotated[int, Field(description="Its results when this study first asked")]
    weight: Annotated[dict[str, float], Field(description="By objective: its part in the model's mean, now")]
    agreement: Annotated[
        dict[str, float | None],
        Field(description="By objective: Spearman's correlation of what it expected and the study's own results"),
    ]


class ItemOut(Answer):
    """A configuration that the past puts first, now."""

    params: dict[str, Scalar]
    expected_quantile: Annotated[
        dict[str, float], Field(description="By objective: the part of past results that should be better")
    ]


class GuardOut(Answer):
    state: Annotated[
        Literal["waiting", "trusting", "doubting", "cut"],
        Field(description="doubting: the past weighs nearly nothing; cut: its configurations were cut short as well"),
    ]
    weight: Annotated[float, Field(description="Of all sources in the model, in [0, 1]")]
    why: str


class Step(Answer):
    number: int
    source: Source
    prior_weight: float


class PriorOut(Answer):
    knowledge_version: Annotated[int, Field(description="0 before the first ask: what would be considered now")]
    sources: list[SourceOut]
    portfolio: list[ItemOut]
    guard: GuardOut
    course: Annotated[list[Step], Field(description="How much of each trial came from the past, by number")]


def _memory(request: Request) -> Memory:
    memory: Memory = request.app.state.desk.memory
    return memory


@router.get("/studies/{study}/prior", summary="What past studies lend to a study")
async def get_prior(address: AddressDep, store: StoreDep, insights: InsightsDep, request: Request) -> PriorOut:
    """The past studies that were considered, what they put first, and what the guard did."""
    memory = _memory(request)
    return PriorOut.model_validate(await insights.compute(lambda: prior.show(store, address, memory)))


class SourceChange(Body):
    study: StudyName
    excluded: bool | None = None
    cap: Share | None = None

    @model_validator(mode="after")
    def _something(self) -> SourceChange:
        if (self.excluded is None) == (self.cap is None):
            raise ValueError("give `excluded` or `cap`")
        return self


class PriorChange(Body):
    sources: Annotated[list[SourceChange], Field(min_length=1, max_length=100)]
    study_uid: Uid = None

    model_config = ConfigDict(json_schema_extra={"examples": [{"sources": [{"study": "past-1", "excluded": True}]}]})


@router.patch("/studies/{study}/prior", summary="Exclude or cap a source")
async def patch_prior(
    address: AddressDep, body: PriorChange, store: StoreDep, insights: InsightsDep, request: Request
) -> PriorOut:
    """From the next suggestion on, also while the study runs."""
    memory, place = _memory(request), with_uid(address, body.study_uid)
    changes = [change.model_dump(exclude_none=True) for change in body.sources]

    def work() -> prior.PriorNow:
        prior.patch(store, place, changes, memory)
        return prior.show(store, place, memory)

    return PriorOut.model_validate(await insights.compute(work))


# --- recommendations --------------------------------------------------------------------------------------------


class Recommend(Body):
    space: Annotated[SpaceIn | None, Field(description="Left out: that of the past study most alike")] = None
    constraints: Annotated[list[Annotated[str, Field(max_length=10_000)]], Field(max_length=MAX_CONSTRAINTS)] = Field(
        default_factory=list
    )
    description: Text = ""
    metafeatures: Annotated[dict[Word, Finite], Field(max_length=1000)] = Field(default_factory=dict)
    direction: Annotated[
        Direction, Field(description="Past results count by rank, so it makes no difference to them")
    ] = "minimize"
    objective: Annotated[Word, Field(description="Of past studies with several objectives, which one")] = SINGLE
    count: Annotated[int, Field(ge=1, le=MAX_ITEMS)] = 5
    aliases: Annotated[
        dict[Word, list[Word]], Field(max_length=1000, description="Other names of parameters in past studies")
    ] = Field(default_factory=dict)

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "space": {"lr": {"type": "float", "low": 1e-5, "high": 1.0, "scale": "log"}},
                    "description": "a small network on handwritten digits",
                }
            ]
        }
    )


class RecommendedOut(Answer):
    model_config = ConfigDict(from_attributes=True, populate_by_name=True)

    params: dict[str, Scalar]
    expected_quantile: Annotated[float, Field(description="The part of past results that should be better")]
    from_: Annotated[list[str], Field(serialization_alias="from", description="The past studies that say so")]


class ConsideredOut(Answer):
    study: str
    similarity: float
    is_taken: bool
    why: str


class RecommendOut(Answer):
    items: list[RecommendedOut]
    considered: list[ConsideredOut]
    space: Annotated[SpaceIn | None, Field(description="In which the configurations are; null: nothing alike is known")]


@router.post("/recommend", summary="What past studies recommend, with no study created")
async def post_recommend(body: Recommend, caller: CallerDep, store: StoreDep, insights: InsightsDep) -> RecommendOut:
    """Zero-shot. Where the top parameter is the algorithm, past studies of each vote through their branches."""
    space = None if body.space is None else SearchSpace.from_json(body.space, body.constraints)
    wish = recommend.Wish(space, body.description, body.metafeatures, body.objective, body.count, body.aliases)
    found = await insights.compute(lambda: recommend.recommend(store, caller.project_id, wish))
    return RecommendOut(
        items=[
            RecommendedOut(params=dict(one.params), expected_quantile=one.expected_quantile, from_=list(one.sources))
            for one in found.items
        ],
        considered=[
            ConsideredOut(study=one.lesson.name, similarity=one.likeness.similarity, is_taken=one.is_taken, why=one.why)
            for one in found.considered
        ],
        space=None if found.space is None else found.space.to_json(),
    )


# --- the knowledge ----------------------------------------------------------------------------------------------


class LessonOut(Answer):
    """What one past study teaches."""

    study: str
    is_imported: bool
    description: str
    tags: dict[str, str]
    metafeatures: dict[str, float]
    space: SpaceIn
    objectives: list[dict[str, Any]]
    n_results: int
    n_observations: Annotated[int, Field(description="Of its results those that are kept")]
    learnt_at: Time

    @classmethod
    def of(cls, lesson: Lesson) -> LessonOut:
        taught = [objective["lesson"] for objective in lesson.objectives if objective["lesson"] is not None]
        return cls(
            study=lesson.name,
            is_imported=lesson.study_id is None,
            description=lesson.description,
            tags=lesson.tags,
            metafeatures=lesson.metafeatures,
            space=lesson.space,
            objectives=[{"name": one["name"], "direction": one["direction"]} for one in lesson.objectives],
            n_results=lesson.n_results,
            n_observations=max((len(one["scores"]) for one in taught), default=0),
            learnt_at=lesson.created_at,
        )


@router.get("/knowledge", summary="The past studies as a meta-dataset")
def list_knowledge(caller: CallerDep, store: StoreDep, limit: Limit = 100, after: After = None) -> Page[LessonOut]:
    """In the order in which they were learnt."""
    last = None if after is None else read_cursor(after, int)[0]
    with store.read(caller.project_id) as session:
        found = knowledge.page(session, caller.project_id, after=last, limit=limit + 1)
        items = [LessonOut.of(lesson) for lesson in found[:limit]]
    return Page(items=items, next=cursor(found[limit - 1].id) if len(found) > limit else None)


class Entry(Body):
    name: StudyName
    description: Text
    tags: Annotated[dict[Word, Annotated[str, Field(max_length=1000)]], Field(max_length=100)]
    metafeatures: Annotated[dict[Word, Finite], Field(max_length=1000)]
    n_results: Annotated[int, Field(ge=0, le=2**53)]
    space: SpaceIn
    objectives: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=16)]


class KnowledgeDocument(Body):
    """`GET /v1/knowledge/export`."""

    format: Literal[1] = recommend.FORMAT
    kind: Literal["metatune-knowledge"] = recommend.KIND
    entries: Annotated[list[Entry], Field(max_length=MAX_ENTRIES)]


@router.get("/knowledge/export", summary="The knowledge as one file", response_model=KnowledgeDocument)
def export_knowledge(
    caller: CallerDep,
    store: StoreDep,
    raw: Annotated[bool, Query(description="false: rank-normalised observations only")] = True,
) -> Response:
    """For `import` at another site."""
    return JSONResponse(recommend.export(store, caller.project_id, raw=raw))


class Imported(Answer):
    imported: int


@router.post("/knowledge/import", summary="Take in what another site exported")
def import_knowledge(body: KnowledgeDocument, caller: CallerDep, store: StoreDep, once: OnceDep) -> Imported:
    """All or nothing. The same file again changes nothing: an import of the same name is replaced."""
    for k, entry in enumerate(body.entries):
        for objective in entry.objectives:
            if set(objective) != {"name", "direction", "lesson"}:
                detail = "an objective here has name, direction and lesson"
                raise Invalid(detail, errors=[FieldError(f"/entries/{k}/objectives", detail)])
    entries = [entry.model_dump() for entry in body.entries]
    return Imported(imported=recommend.bring(store, caller.project_id, entries, by=caller.by, once=once))


@router.delete("/knowledge/{study}", status_code=204, summary="Forget an imported study")
def delete_knowledge(study: Name, caller: CallerDep, store: StoreDep) -> Response:
    """What a study of this server teaches goes with the study."""
    recommend.forget(store, caller.project_id, study, by=caller.by)
    return Response(status_code=204)
