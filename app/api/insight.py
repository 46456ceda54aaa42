"""What the model of a study says: of any point, of a trial, of the parameters.

These answers take a computation each, some seconds at most: they have threads of their own, so that they stand in
nobody's way but each other's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, Literal, TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import Depends, Query, Request
from pydantic import ConfigDict, Field

from app.api.dependencies import AddressDep, Number, StoreDep, router_of
from app.api.trials import Scalar, with_uid
from app.api.wire import Answer, Body, Uid, Word
from app.services import explain, insight
from app.services.memory import Memory

router = router_of("/v1/studies/{study}", tags=["insight"])

#: Computations at one time, in one process.
THREADS = 2
MAX_POINTS = 1000

Result = TypeVar("Result")


class Insights:
    """One per process: where the computations behind these answers take turns."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.limiter = CapacityLimiter(THREADS)

    async def compute(self, work: Callable[[], Result]) -> Result:
        return await run_sync(work, limiter=self.limiter)


async def current_insights(request: Request) -> Insights:
    state = request.app.state
    if state.insights is None:
        state.insights = Insights(state.desk.memory)
    insights: Insights = state.insights
    return insights


InsightsDep = Annotated[Insights, Depends(current_insights)]


def finite(number: float) -> float | None:
    """JSON has no NaN: what is not known is null."""
    return float(number) if number == number else None


class Quality(Answer):
    """How well the model predicts each trial from the others, on its own scale."""

    trials_used: Annotated[int, Field(description="Trials that the model is conditioned on, of those with a result")]
    r2: Annotated[float, Field(description="1: perfect, 0: no better than the mean of the others")]
    rank_correlation: Annotated[float, Field(description="Spearman's, of predicted and measured values")]
    coverage_95: Annotated[float, Field(description="Share of the results within their 95 % interval")]
    trust: Annotated[Literal["good", "fair", "poor", "unknown"], Field(description="`unknown`: too few results")]
    note: str


# --- predict ----------------------------------------------------------------------------------------------------


class Points(Body):
    params: Annotated[
        list[dict[Word, Scalar]],
        Field(min_length=1, max_length=MAX_POINTS, description="Configurations of the study's space, each whole"),
    ]
    study_uid: Uid = None

    model_config = ConfigDict(json_schema_extra={"examples": [{"params": [{"lr": 0.01, "layers": 2}]}]})


class OutcomeBelief(Answer):
    mean: Annotated[float | None, Field(description="null: measured less than twice")]
    std: float | None
    holds: Annotated[float | None, Field(description="Probability that the outcome is within its bound")]


class Prediction(Answer):
    params: dict[str, Scalar]
    mean: Annotated[dict[str, float], Field(description="By objective: the median of what the model believes")]
    std: Annotated[
        dict[str, float],
        Field(description="By objective: half the central 68 % interval of the true value, measurement noise left out"),
    ]
    outcomes: dict[str, OutcomeBelief]
    feasible_probability: Annotated[
        float | None,
        Field(description="That it can be evaluated and keeps every bound; null: the study knows no limit yet"),
    ]
    improvement_probability: Annotated[
        float | None,
        Field(description="That it beats the best trial, as the model sees both; null with several objectives"),
    ]
    trials: Annotated[list[int], Field(description="Finished trials with just these parameters")]


class Predictions(Answer):
    items: Annotated[list[Prediction], Field(description="In the order given")]
    trials_known: Annotated[int, Field(description="Trials with a result")]
    model: Annotated[dict[str, Quality], Field(description="By objective")]


@router.post("/predict", summary="What the model believes of any point")
async def predict(address: AddressDep, body: Points, store: StoreDep, insights: InsightsDep) -> Predictions:
    """404 `no-result-yet` before there are two results; 422 `space-violation` for params outside the space."""
    place = with_uid(address, body.study_uid)
    found = await insights.compute(partial(insight.predict, store, insights.memory, place, body.params))
    return Predictions(
        items=[_prediction(found, k) for k in range(len(found.configurations))],
        trials_known=found.n_measured,
        model={name: Quality.model_validate(one) for name, one in found.qualities.items()},
    )


def _prediction(found: insight.Predicted, k: int) -> Prediction:
    belief = found.belief
    feasible = belief.feasible
    return Prediction(
        params=dict(found.configurations[k]),
        mean=_by_name(found, belief.mean[k]),
        std=_by_name(found, belief.std[k]),
        outcomes={
            outcome.name: OutcomeBelief(
                mean=finite(belief.outcome_mean[k, j]),
                std=finite(belief.outcome_std[k, j]),
                holds=finite(belief.holds[k, j]),
            )
            for j, outcome in enumerate(found.definition.outcomes)
        },
        feasible_probability=None if feasible is None else float(feasible[k]),
        improvement_probability=None if belief.improves is None else float(belief.improves[k]),
        trials=list(found.tried[k]),
    )


def _by_name(found: insight.Predicted | explain.Explanation, values: Sequence[float]) -> dict[str, float]:
    return {one.name: float(value) for one, value in zip(found.definition.objectives, values, strict=True)}


# --- importance -------------------------------------------------------------------------------------------------


class ParameterImportance(Answer):
    """Shares of the variance that the objective has over the whole space."""

    parameter: str
    total: Annotated[float, Field(description="Lost by ignoring it: its own effect and all its part in joint ones")]
    total_interval: Annotated[tuple[float, float], Field(description="Central 90 % of what the model believes")]
    first_order: Annotated[float, Field(description="Known by knowing it alone")]
    first_order_interval: tuple[float, float]
    near_best: Annotated[
        float | None,
        Field(
            description="What the mean loses, in the objective's units, when it alone leaves the best trial by a tenth "
            "of its range, or for the next best choice; null: it is not active there"
        ),
    ]


class ObjectiveImportance(Answer):
    objective: str
    model: Quality
    best_trial: Annotated[int | None, Field(description="Of the best posterior mean; where `near_best` is measured")]
    parameters: Annotated[list[ParameterImportance], Field(description="In the order of the space")]


class Importance(Answer):
    objectives: list[ObjectiveImportance]
    scale: str = "variance of the objective as the model sees it, outliers squashed, over the legal part of the space"
    uncertainty: str = (
        "intervals cover what the trials leave open about the function, not about the model's length scales; "
        "after few trials they are too narrow"
    )


@router.get("/importance", summary="Which parameters matter")
async def importance(
    address: AddressDep,
    store: StoreDep,
    insights: InsightsDep,
    objective: Annotated[str | None, Query(max_length=128, description="Only this one; default: every one")] = None,
) -> Importance:
    """Sobol' indices of the model's belief; look at `model.trust` first. 404 `no-result-yet` before two results."""
    found = await insights.compute(partial(insight.importance, store, insights.memory, address, objective))
    return Importance(
        objectives=[
            ObjectiveImportance(
                objective=one.objective,
                model=Quality.model_validate(one.quality),
                best_trial=one.best_trial,
                parameters=[ParameterImportance.model_validate(item) for item in one.parameters],
            )
            for one in found
        ]
    )


# --- warnings ---------------------------------------------------------------------------------------------------


class Finding(Answer):
    """One finding, what to do about it, and the numbers behind it."""

    code: Annotated[
        Literal[
            "constant-objective",
            "log-scale",
            "many-failures",
            "many-infeasible",
            "many-lost",
            "model-cannot-predict",
            "no-effect",
            "noise-exceeds-signal",
            "nothing-feasible",
            "optimum-at-bound",
            "plateau",
            "space-nearly-exhausted",
            "stagnation",
        ],
        Field(description="Stable: a script can test it"),
    ]
    severity: Annotated[
        Literal["serious", "warning", "info"],
        Field(description="serious: the study cannot succeed so; warning: it loses by it; info: good to know"),
    ]
    message: str
    parameter: str | None
    objective: str | None
    evidence: dict[str, Any]
    patch: Annotated[dict[str, Any] | None, Field(description="Send it to `PATCH …/space`, if that is the remedy")]


class Warnings(Answer):
    items: Annotated[list[Finding], Field(description="The gravest first; empty: nothing to complain about")]
    trials_known: Annotated[int, Field(description="Trials with a result")]
    note: Annotated[str | None, Field(description="What was not looked at, and why")]


@router.get("/warnings", summary="What a specialist would say")
async def warnings(address: AddressDep, store: StoreDep, insights: InsightsDep) -> Warnings:
    """Findings that chance hardly makes; those of the model need 20 results, and 5 for every parameter."""
    found = await insights.compute(partial(insight.advise, store, insights.memory, address))
    note = None
    if found.why_no_model is not None:
        note = f"the model could not be made ({found.why_no_model}): bounds, noise and effects were not looked at"
    elif found.n_measured < found.needed:
        note = f"bounds, noise and effects are looked at from {found.needed} results on; there are {found.n_measured}"
    return Warnings(
        items=[Finding.model_validate(one) for one in found.items], trials_known=found.n_measured, note=note
    )


# --- explanation ------------------------------------------------------------------------------------------------


class Neighbour(Answer):
    number: int
    params: dict[str, Scalar]
    values: Annotated[dict[str, float] | None, Field(description="As they are now, also where it was pending then")]
    distance: Annotated[float, Field(description="In ranges of the parameters; two choices are one apart")]
    likeness: Annotated[float | None, Field(description="The model's correlation of the two, 0 to 1; only in `now`")]


class WhenSuggested(Answer):
    """Kept when the trial was handed out: later results and corrections do not change it."""

    mean: Annotated[dict[str, float] | None, Field(description="By objective; null with more than three")]
    std: Annotated[dict[str, float] | None, Field(description="By objective, with the pending trials counted as done")]
    acquisition: Annotated[
        float,
        Field(
            description="What was maximised: the logarithm of the expected improvement (of the hypervolume, with "
            "several objectives) on the model's scale, times the probability of feasibility"
        ),
    ]
    exploration: Annotated[float | None, Field(description="Share of the expected improvement owed to uncertainty")]
    feasible_probability: float | None
    pending_count: Annotated[int, Field(description="Trials that were out for evaluation")]
    pending: Annotated[list[Neighbour], Field(description="The nearest of them")]
    nearest: Annotated[list[Neighbour], Field(description="Of the trials that were finished then")]


class Hindsight(Answer):
    """The result as all other trials predict it."""

    mean: float
    std: Annotated[float, Field(description="Of a measurement, noise included")]
    surprise: Annotated[float, Field(description="(measured − predicted) / std on the model's scale")]


class Now(Answer):
    """Computed from everything that is known now, this trial's own result included."""

    mean: dict[str, float]
    std: dict[str, float]
    feasible_probability: float | None
    improvement_probability: float | None
    hindsight: Annotated[dict[str, Hindsight], Field(description="By objective, if the trial has a result")]
    nearest: Annotated[list[Neighbour], Field(description="Of the other finished trials")]
    trials_known: int


class PriorShare(Answer):
    """What past studies contributed."""

    weight: float
    sources: list[str]


class Explanation(Answer):
    number: int
    params: dict[str, Scalar]
    source: str
    why: Annotated[str, Field(description="In words")]
    when_suggested: Annotated[WhenSuggested | None, Field(description="null: no model chose it; `why` says what did")]
    now: Annotated[Now | None, Field(description="null: `why_not_now` says why")]
    why_not_now: str | None
    prior: PriorShare


@router.get("/trials/{number}/explanation", summary="Why this point")
async def explanation(
    address: AddressDep,
    number: Number,
    store: StoreDep,
    insights: InsightsDep,
    nearest: Annotated[int, Query(ge=0, le=50, description="Neighbours in each list")] = 5,
) -> Explanation:
    """`when_suggested` is what the model believed then, `now` what it believes with all results in."""
    found = await insights.compute(partial(explain.explain, store, insights.memory, address, number, nearest))
    trial, then, now = found.trial, found.when_suggested, found.now
    return Explanation(
        number=trial.number,
        params=trial.params,
        source=trial.origin["source"],
        why=explain.in_words(found),
        when_suggested=None if then is None else _when_suggested(found, then),
        now=None if now is None else _now(found, now),
        why_not_now=found.why_not_now,
        prior=PriorShare(weight=trial.origin.get("prior_weight", 0.0), sources=[]),
    )


def _when_suggested(found: explain.Explanation, then: explain.WhenSuggested) -> WhenSuggested:
    return WhenSuggested(
        mean=None if then.mean is None else _by_name(found, then.mean),
        std=None if then.std is None else _by_name(found, then.std),
        acquisition=then.acquisition,
        exploration=then.exploration,
        feasible_probability=then.feasibility,
        pending_count=then.n_pending,
        pending=_neighbours(found, then.pending),
        nearest=_neighbours(found, then.nearest),
    )


def _now(found: explain.Explanation, now: explain.Now) -> Now:
    feasible, improves = now.belief.feasible, now.belief.improves
    return Now(
        mean=_by_name(found, now.belief.mean[0]),
        std=_by_name(found, now.belief.std[0]),
        feasible_probability=None if feasible is None else float(feasible[0]),
        improvement_probability=None if improves is None else float(improves[0]),
        hindsight={name: Hindsight.model_validate(one) for name, one in now.hindsight.items()},
        nearest=_neighbours(found, now.nearest),
        trials_known=now.n_measured,
    )


def _neighbours(found: explain.Explanation, nears: Sequence[explain.Near]) -> list[Neighbour]:
    """Without those that were removed at this very moment."""
    return [
        Neighbour(
            number=near.number,
            params=found.others[near.number].params,
            values=found.others[near.number].values,
            distance=near.distance,
            likeness=near.likeness,
        )
        for near in nears
        if near.number in found.others
    ]
