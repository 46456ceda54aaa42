"""What a study found: its best trial, or the trials that no other beats in all objectives."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from fastapi import Query
from pydantic import Field

from app.api.dependencies import AddressDep, StoreDep, router_of
from app.api.trials import TrialOut
from app.api.wire import Answer
from app.db import studies, trials
from app.db.reclaim import reading
from app.db.records import records_of
from app.errors import Invalid, NoResultYet
from app.search import pareto
from app.search.history import History
from app.search.suggest import posterior
from app.services.stopping import minimised

router = router_of("/v1/studies/{study}", tags=["results"])


@router.get("/best", summary="The best trial")
def get_best(
    address: AddressDep,
    store: StoreDep,
    by: Annotated[
        Literal["value", "mean"], Query(description="mean: the model's posterior mean, for noisy objectives")
    ] = "value",
    everywhere: Annotated[
        bool, Query(alias="all", description="Also trials that the current space no longer allows")
    ] = False,
) -> TrialOut:
    with reading(store, address) as here:
        if not here.definition.is_single:
            raise Invalid(
                f"a study with {len(here.definition.objectives)} objectives has no single best; "
                f"GET /v1/studies/{address.name}/pareto lists the non-dominated trials"
            )
        best = studies.best(here, everywhere=everywhere)
        if best is None:
            raise NoResultYet(f"study {address.name!r} has no complete, feasible trial yet")
        if by == "value":
            return TrialOut.of(best)
        candidates, records = trials.measured(here), records_of(here)
        definition = here.definition
    if not candidates:
        raise NoResultYet(f"study {address.name!r} has no complete, feasible trial in its current space yet")
    belief = posterior(
        definition.space,
        definition.goal,
        History.of(definition.space, definition.goal, records),
        [trial.params for trial in candidates],
        seed=definition.seed,
    )
    mean = belief.mean[:, 0]
    return TrialOut.of(candidates[int(np.argmin(mean) if definition.direction == "minimize" else np.argmax(mean))])


class Front(Answer):
    trials: list[TrialOut]
    hypervolume: Annotated[float, Field(description="Of what the front dominates, up to the reference point")]
    reference: Annotated[dict[str, float], Field(description="The point that was used, by objective")]


@router.get("/pareto", summary="The non-dominated trials")
def get_pareto(
    address: AddressDep,
    store: StoreDep,
    reference: Annotated[
        str | None,
        Query(max_length=1000, description="Comma-separated, in the order of the objectives; default: from the data"),
    ] = None,
) -> Front:
    with reading(store, address) as here:
        found = trials.measured(here)
        objectives = here.definition.objectives
        values = minimised(here, found)
        sign = here.definition.goal.signs
    point = _reference(reference, [objective.name for objective in objectives])
    if not found:
        raise NoResultYet(f"study {address.name!r} has no complete, feasible trial yet")
    corner = pareto.default_reference(values) if point is None else point * sign
    front = pareto.non_dominated(values)
    return Front(
        trials=[TrialOut.of(trial) for trial, is_best in zip(found, front, strict=True) if is_best],
        hypervolume=pareto.hypervolume(values[front], corner),
        reference={objective.name: float(x) for objective, x in zip(objectives, corner * sign, strict=True)},
    )


def _reference(text: str | None, names: list[str]) -> np.ndarray[tuple[int], np.dtype[np.float64]] | None:
    if text is None:
        return None
    try:
        numbers = np.array([float(part) for part in text.split(",")])
    except ValueError:
        numbers = np.array([])
    if len(numbers) != len(names) or not np.all(np.isfinite(numbers)):
        raise Invalid(f"reference must be {len(names)} finite numbers, for {', '.join(names)}; got {text[:60]!r}")
    return numbers
