"""Basis: what a search builds on, settled when it is submitted and kept in its row.

Which examples a name means, and what earlier searches lend: the same body with the same knowledge is the same search,
and what is uploaded, searched or deleted later changes nothing of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.db import jobs
from app.db.jobs import OpenJob
from app.db.tables import Job
from app.errors import FieldError, Invalid
from app.nas.plan import Plan
from app.nas.problem import Summary, Told
from app.nas.spaces import Genes, Space
from app.services.examples import source_of

#: Searches that lend to one: the newest. Evaluations below which a search says little, and the architectures lent.
MAX_SOURCES = 8
LEAST_EVALUATIONS = 10
LENT = 5
#: Of a space, what changes its networks but not what a gene means.
APART = ("max_parameters", "channels", "cells")


@dataclass(frozen=True)
class Basis:
    #: See `app.services.examples`.
    examples: str | None
    #: Architectures that are tried first.
    advised: tuple[Genes, ...]
    #: Milliseconds of layers; workers time them as they are needed, and add them here before anything builds on them.
    latencies: dict[str, float] = field(default_factory=dict)


def settle(here: OpenJob) -> None:
    """In the transaction that makes the search.  Raises: Invalid, DatasetNotFound."""
    plan = Plan.of(here.job.body)
    here.job.basis = {
        "examples": source_of(here.session, here.job.project_id, plan.evaluator),
        "lent": _lent(here, plan, here.job.body.get("warm_start", "off")),
    }


def basis_of(here: OpenJob) -> Basis:
    """Of a search; one that an older version took settled nothing.  Raises: Invalid, DatasetNotFound."""
    if here.job.basis is None:
        return Basis(source_of(here.session, here.job.project_id, here.job.body["evaluator"]), ())
    basis = here.job.basis
    advised = tuple(tuple(one["genes"]) for one in basis["lent"])
    return Basis(basis["examples"], advised, dict(basis.get("latencies", {})))


def keep_latencies(here: OpenJob, latencies: Mapping[str, float]) -> None:
    here.job.basis = (
        {"lent": [], "examples": basis_of(here).examples} | (here.job.basis or {}) | {"latencies": dict(latencies)}
    )


def _lent(here: OpenJob, plan: Plan, wanted: str | Sequence[str]) -> list[dict[str, Any]]:
    """The best architectures of earlier searches, theirs in turns."""
    if wanted == "off":
        return []
    sources = _newest(here, plan) if wanted == "auto" else [_named(here, plan, i, n) for i, n in enumerate(wanted)]
    taken: dict[Genes, str] = {}
    rankings = [[(source.name, genes) for genes in _ranking(here, source)] for source in sources]
    for name, genes in (one for row in itertools.zip_longest(*rankings) for one in row if one is not None):
        genes = plan.space.canonical(genes)
        if len(taken) < LENT:
            taken.setdefault(genes, name)
    return [{"genes": list(genes), "key": plan.space.key(genes), "search": name} for genes, name in taken.items()]


def _newest(here: OpenJob, plan: Plan) -> list[Job]:
    done = jobs.finished_of(here.session, here.job.project_id, here.job.kind)
    alike = (one for one in done if _meaning(Plan.of(one.body).space) == _meaning(plan.space))
    return list(itertools.islice(alike, MAX_SOURCES))


def _named(here: OpenJob, plan: Plan, place: int, name: str) -> Job:
    found = jobs.find(here.session, jobs.Address(here.job.project_id, here.job.kind, name))
    if found is None or found.job.id == here.job.id:
        raise _wrong(place, f"there is no earlier search {name!r}")
    if _meaning(Plan.of(found.job.body).space) != _meaning(plan.space):
        raise _wrong(place, f"the search {name!r} was over another space, and its architectures are none of this one")
    return found.job


def _ranking(here: OpenJob, source: Job) -> list[Genes]:
    """What a search found, the best mean first; nothing, if it evaluated too little."""
    told = [
        Told(tuple(part.task["genes"]), part.task["repeat"], part.task["epochs"], (part.result or {}).get("value"))
        for part in jobs.parts(here.session, source.id)
    ]
    if sum(one.value is not None for one in told) < LEAST_EVALUATIONS:
        return []
    summary = Summary.of(told)
    return [summary.genes[i] for i in (-summary.means).argsort(kind="stable")[:LENT]]


def _meaning(space: Space) -> dict[str, Any]:
    return {name: value for name, value in space.to_json().items() if name not in APART}


def _wrong(place: int, detail: str) -> Invalid:
    return Invalid(detail, errors=[FieldError(f"/warm_start/{place}", detail)])
