"""Changing a living study: its settings and state, its name's life (copy, delete, restore), and its space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.db import audit, idempotency, knowledge, reports, rungs, studies, trials
from app.db.idempotency import Once
from app.db.session import EVERY_PROJECT, Store, database_now
from app.db.studies import Address, OpenStudy
from app.db.tables import Study, Trial
from app.definition import differences
from app.errors import FieldError, Invalid, NameTaken, SpaceVersionDiffers, SpaceViolation, StudyNotFound
from app.search.space import SearchSpace
from app.services.define_study import SETTINGS, check_settings, check_sources

#: How long a deleted study can be restored.
RESTORABLE = timedelta(days=7)


def patch(store: Store, address: Address, changes: Mapping[str, Any]) -> OpenStudy:
    """Changes the state and the settings.  Raises: Invalid."""
    with store.write(address.project_id) as session:
        here = studies.open_study(session, address, lock=True)
        study = here.study
        chooses_anew = "warm_start" in changes and changes["warm_start"] != study.warm_start
        settings = {name: getattr(study, name) for name in SETTINGS} | {
            n: v for n, v in changes.items() if n in SETTINGS
        }
        check_settings(here.definition, settings)
        if chooses_anew:
            check_sources(session, address.project_id, settings["warm_start"])
        before = {name: getattr(study, name) for name in changes}
        if before == changes:
            return here
        if changes.get("state", study.state) != study.state:
            set_state(here, changes["state"])
        for name, value in settings.items():
            setattr(study, name, value)
        if "tags" in changes:
            studies.write_tags(session, study)
        if chooses_anew and study.knowledge_version is not None:
            study.knowledge_version = -abs(study.knowledge_version) - 1  # at the next ask
        here.record("study.updated", study.state)
        here.log("patched", before=before, after=dict(changes))
        here.audit("changed", before=before, after=dict(changes))
        return here


def set_state(here: OpenStudy, state: str) -> None:
    """The clock of `max_seconds` stands while the study is paused."""
    study = here.study
    if study.paused_at is not None:
        study.paused_seconds += (here.now - study.paused_at).total_seconds()
        study.paused_at = None
    if state == "paused" and study.first_ask_at is not None:
        study.paused_at = here.now
    study.state = state


def remove(store: Store, address: Address, *, purge: bool) -> None:
    """Hides the study for a while, or deletes it at once.  Raises: StudyNotFound."""
    with store.write(address.project_id) as session:
        if purge:
            try:
                study = studies.open_study(session, address, lock=True).study
            except StudyNotFound:
                found = _deleted(session, address)
                if found is None:
                    raise
                study = found
            knowledge.take_away(session, knowledge.lesson_ids(session, study.id), study.name, by=address.by)
            _purge(session, study, address.by)
            return
        here = studies.open_study(session, address, lock=True)
        here.study.deleted_at = here.now
        knowledge.take_away(session, knowledge.lesson_ids(session, here.study.id), here.study.name, by=here.by)
        here.record("study.updated", "deleted")
        here.audit("deleted", uid=here.study.uid)


def restore(store: Store, address: Address, once: Once | None) -> OpenStudy:
    """Brings back the study of that name deleted last; one that is there is left as it is.

    Raises: StudyNotFound, NameTaken.
    """
    with store.write(address.project_id) as session:
        before = idempotency.remembered(session, once)
        if before is not None:
            return studies.open_study(session, replace(address, uid=before["uid"]))
        study = _deleted(session, address)
        if study is None:
            try:
                return studies.open_study(session, address)
            except StudyNotFound as problem:
                raise StudyNotFound(
                    f"there is no study {address.name!r}, nor one deleted within {RESTORABLE.days} days"
                ) from problem
        study.deleted_at = None
        try:
            session.flush()
        except IntegrityError as problem:
            raise NameTaken(
                f"the name {address.name!r} means another study by now; delete or rename that one first"
            ) from problem
        here = studies.open_study(session, replace(address, uid=study.uid), lock=True)
        here.record("study.updated", study.state)
        here.audit("restored", uid=study.uid)
        idempotency.remember(session, once, {"uid": study.uid}, here.now)
        return here


def _deleted(session: Session, address: Address) -> Study | None:
    """Locked: of two that restore it at once one finds it there."""
    now = session.execute(select(database_now())).scalar_one()
    query = (
        select(Study)
        .where(Study.project_id == address.project_id, Study.name == address.name, Study.deleted_at > now - RESTORABLE)
        .order_by(Study.deleted_at.desc())
        .limit(1)
        .with_for_update()
    )
    if address.uid is not None:
        query = query.where(Study.uid == address.uid)
    return session.scalars(query).one_or_none()


def purge_deleted(store: Store) -> None:
    """Deletes what can no longer be restored."""
    with store.write(EVERY_PROJECT) as session:
        now = session.execute(select(database_now())).scalar_one()
        for study in session.scalars(select(Study).where(Study.deleted_at <= now - RESTORABLE)):
            _purge(session, study, audit.SERVER)


def _purge(session: Session, study: Study, by: str) -> None:
    at, target = session.execute(select(database_now())).scalar_one(), f"studies/{study.name}"
    audit.record(session, study.project_id, by=by, action="study.purged", target=target, at=at, uid=study.uid)
    session.execute(delete(Study).where(Study.id == study.id))


# --- the space --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SpaceEdit:
    here: OpenStudy
    space: SearchSpace
    usable: int
    dropped: tuple[int, ...]  # numbers of waiting trials that the new space does not allow
    best: Trial | None
    made: bool


def edit_space(
    store: Store,
    address: Address,
    edit: Mapping[str, Any],
    constraints: Sequence[str] | None,
    *,
    expected_version: int | None,
    dry_run: bool,
) -> SpaceEdit:
    """Applies a JSON Merge Patch (RFC 7396) to the space and makes a new version of it.

    Running trials stay valid; waiting ones that the new space does not allow are removed; every old trial is looked at
    once: does the new space allow it?
    Raises: SpaceVersionDiffers, InvalidSearchSpace, and Invalid for an added parameter without a default.
    """
    with store.write(address.project_id) as session:
        here = studies.open_study(session, address, lock=True)
        version = here.study.space_version
        if expected_version is not None and expected_version != version:
            raise SpaceVersionDiffers(
                f"the space is at version {version}, not {expected_version}; read it again and repeat the edit",
                space_version=version,
            )
        old = here.definition.space
        new = merged(old, edit, constraints)
        made = bool(differences(_space_json(old), _space_json(new)))
        rows = trials.every(here)
        legal = {trial.number: _is_legal(new, trial) for trial in rows}
        dropped = tuple(trial.number for trial in rows if trial.state == "waiting" and not legal[trial.number])
        usable = sum(legal[trial.number] for trial in rows if trial.state == "complete")
        if dry_run or not made:
            best = _best_of(here, [trial for trial in rows if legal[trial.number]])
            return SpaceEdit(here, new, usable, dropped, best, made=False)
        studies.add_space_version(here, new, version=_next_version(here))
        for trial in rows:
            trial.in_space = legal[trial.number]
            if trial.number in dropped:
                here.move(trial, "removed")
                trial.waiting_rank = trial.waiting_since = None
                reports.forget(here, trial)
                here.record("trial.removed", trial.state, trial.number)
            elif trial.state == "waiting" and trial.attempt == 0:
                _carry_over(here, trial, new)
        if here.study.n_paused:
            rungs.mark_all(here)
        here.record("study.updated", here.study.state)
        here.log("space", before=_space_json(old), after=_space_json(new))
        here.audit("space-edited", version=here.study.space_version, dropped=list(dropped))
        session.flush()
        changed = OpenStudy(session, here.study, replace(here.definition, space=new), here.now)
        return SpaceEdit(changed, new, usable, dropped, studies.best(changed), made=True)


def merged(old: SearchSpace, edit: Mapping[str, Any], constraints: Sequence[str] | None) -> SearchSpace:
    before = old.to_json()
    after = merge_patch(before, edit)
    without = [name for name in after if name not in before and _needs_default(after[name])]
    if without:
        raise Invalid(
            f"an added parameter needs a `default`, which old trials then have: {', '.join(without)}",
            errors=[FieldError(f"/space/{name}/default", "is missing") for name in without],
        )
    return SearchSpace.from_json(after, list(old.constraints) if constraints is None else constraints)


def _needs_default(parameter: Any) -> bool:
    return isinstance(parameter, Mapping) and parameter.get("type") != "fixed" and parameter.get("default") is None


def merge_patch(target: Any, edit: Any) -> Any:
    """RFC 7396: null removes, objects merge, anything else replaces."""
    if not isinstance(edit, Mapping):
        return edit
    result = dict(target) if isinstance(target, Mapping) else {}
    for name, value in edit.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge_patch(result.get(name), value)
    return result


def adapted(space: SearchSpace, params: Mapping[str, Any]) -> dict[str, Any]:
    """An old trial's parameters in a newer space: removed ones dropped, added ones at their default."""
    known = _known(space, params)
    defaults = {
        name: parameter.value if parameter.type == "fixed" else parameter.default
        for name, parameter in space.parameters.items()
    }
    complete = {name: known.get(name, defaults[name]) for name in space.parameters}
    active = space.active({name: value for name, value in complete.items() if value is not None})
    return {name: complete[name] for name in space.parameters if name in active and complete[name] is not None}


def _carry_over(here: OpenStudy, trial: Trial, space: SearchSpace) -> None:
    """An enqueued trial that nobody began is run in the new space."""
    trial.space_version = here.study.space_version
    if trial.is_partial:
        trial.params = _known(space, trial.params)
    else:
        trial.params = adapted(space, trial.params)
        trial.config_key = space.key(trial.params)


def _is_legal(space: SearchSpace, trial: Trial) -> bool:
    """Does the space allow the trial? One given in part only has to be completable: no default speaks for it."""
    params = _known(space, trial.params) if trial.is_partial else adapted(space, trial.params)
    try:
        space.check(params, partial=trial.is_partial)
    except SpaceViolation:
        return False
    return True


def _known(space: SearchSpace, params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if name in space.parameters}


def _best_of(here: OpenStudy, candidates: Sequence[Trial]) -> Trial | None:
    complete = [
        trial for trial in candidates if trial.state == "complete" and trial.feasible and trial.value is not None
    ]
    sign = 1.0 if here.definition.direction == "minimize" else -1.0
    return min(complete, key=lambda trial: (sign * (trial.value or 0.0), trial.number), default=None)


def _next_version(here: OpenStudy) -> int:
    return max(version.version for version in studies.space_versions(here)) + 1


def _space_json(space: SearchSpace) -> dict[str, Any]:
    return {"space": space.to_json(), "constraints": list(space.constraints)}
