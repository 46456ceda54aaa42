"""`metatune study`: create, ls, show, best, prior, export, import, edit, copy, rm, restore."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from metatune.cli.context import AsJson, Name, client, errors, out, pairs, read_json, usage
from metatune.cli.memory import numbers, show_prior
from metatune.cli.output import shown
from metatune.wire import given

app = typer.Typer(help="Studies: make, read, change, carry elsewhere.", no_args_is_help=True)

Objective = Annotated[
    list[str] | None, typer.Option(help="name:minimize or name:maximize; repeat for several objectives.")
]

WarmStart = Annotated[
    list[str] | None, typer.Option(help="auto, off, or a past study that lends to it; repeat for several.")
]


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Left out, the server makes one.", show_default=False)] = "",
    space: Annotated[str, typer.Option(help="Parameters as JSON, @file or - (standard input).")] = "",
    direction: Annotated[str | None, typer.Option(help="minimize or maximize.")] = None,
    objective: Objective = None,
    constraint: Annotated[list[str] | None, typer.Option(help='As "C * gamma <= 100"; repeat for several.')] = None,
    algorithm: Annotated[str | None, typer.Option(help="auto, gp, tpe, cmaes, nsga2, sobol, random, grid.")] = None,
    seed: int | None = None,
    max_trials: int | None = None,
    target: float | None = None,
    patience: int | None = None,
    pruning: Annotated[str | None, typer.Option(help='As JSON: {"rule": "asha", "max_step": 27}.')] = None,
    description: str | None = None,
    tag: Annotated[list[str] | None, typer.Option(help="name=value; repeat for several.")] = None,
    warm_start: WarmStart = None,
    metafeature: Annotated[
        list[str] | None, typer.Option(help="name=number, by which like studies are found; repeat for several.")
    ] = None,
    definition: Annotated[str | None, typer.Option(help="The whole definition as JSON, @file or -.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a study, or join the one of that name with the same definition."""
    out.is_json = as_json
    stop = {"max_trials": max_trials, "target": target, "patience": patience}
    fields: dict[str, Any] = {
        **(read_json(definition, "--definition") if definition else {}),
        **({"space": read_json(space, "--space")} if space else {}),
        **given(direction=direction, algorithm=algorithm, seed=seed, description=description),
        **given(constraints=constraint or None, objectives=[_objective(one) for one in objective or ()] or None),
        **given(tags=_tags(tag)),
        **given(stop=given(**stop) or None, pruning=read_json(pruning, "--pruning") if pruning else None),
        **given(warm_start=_past(warm_start), metafeatures=numbers(metafeature, "--metafeature")),
    }
    if "space" not in fields:
        raise usage('give --space, as \'{"lr": {"type": "float", "low": 1e-5, "high": 1, "scale": "log"}}\' or @file')
    name = name or fields.pop("name", "")
    fields.pop("name", None)
    with errors(), client() as here:
        show_study(here.study(name or None, **fields).document)


@app.command("ls")
def ls(
    state: Annotated[str | None, typer.Option(help="active, paused or stopped.")] = None,
    prefix: Annotated[str | None, typer.Option(help="Names that begin so.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="name=value; repeat for several, which must all agree.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the project's studies."""
    out.is_json = as_json
    with errors(), client() as here:
        found = [study.document for study in here.studies(state=state, prefix=prefix, tags=_tags(tag))]
        rows = [
            (
                document["name"],
                document["state"],
                sum(document["counts"].values()),
                document["counts"].get("complete", 0),
                (document["best"] or {}).get("values"),
                document["algorithm_in_use"]["name"],
            )
            for document in found
        ]
        out.table(found, ("study", "state", "trials", "complete", "best", "algorithm"), rows)


@app.command("show")
def show(name: Name, as_json: AsJson = False) -> None:
    """A study as it stands."""
    out.is_json = as_json
    with errors(), client() as here:
        show_study(here.study(name).info())


@app.command("best")
def best(name: Name, as_json: AsJson = False) -> None:
    """The best trial; of several objectives, those that none other beats."""
    out.is_json = as_json
    with errors(), client() as here:
        study = here.study(name)
        if len(study.directions) == 1:
            document = study.best.document
            rows = [("trial", document["number"]), *document["values"].items(), *document["params"].items()]
            out.document(document, rows)
        else:
            front = study.pareto()
            rows = [(trial["number"], trial["values"], trial["params"]) for trial in front["trials"]]
            if out.is_json:
                out.json(front)
            else:
                out.table(front["trials"], ("trial", "values", "params"), rows)


@app.command("prior")
def prior(
    name: Name,
    exclude: Annotated[list[str] | None, typer.Option(help="Leave this past study out; repeat for several.")] = None,
    include: Annotated[list[str] | None, typer.Option(help="Take it in again.")] = None,
    cap: Annotated[list[str] | None, typer.Option(help="study=share: the most that it may weigh, 0 to 1.")] = None,
    as_json: AsJson = False,
) -> None:
    """What past studies lend to this one, how much each weighs now, and why; or change that."""
    out.is_json = as_json
    caps = numbers(cap, "--cap")
    with errors(), client() as here:
        study = here.study(name)
        if exclude or include or caps:
            show_prior(study.edit_prior(exclude=exclude or (), include=include or (), caps=caps))
        else:
            show_prior(study.prior())


@app.command("export")
def export(
    name: Name,
    file: Annotated[Path | None, typer.Option("--output", "-o", help="Else standard output.")] = None,
    format: Annotated[str, typer.Option(help="json, which imports back, or csv.")] = "json",
) -> None:
    """The whole study, in one file."""
    with errors(), client() as here:
        whole = here.study(name).export(format)
        text = json.dumps(whole) + "\n" if format == "json" else whole
        if file is None:
            sys.stdout.write(text)
        else:
            file.write_text(text)
            out.say(f"{name} is written to {file}")


@app.command("import")
def import_(
    file: Annotated[str, typer.Argument(help="What export wrote; - for standard input.")],
    name: Annotated[str | None, typer.Option(help="Under this name instead.")] = None,
    as_json: AsJson = False,
) -> None:
    """An exported study, with the same trials and numbers."""
    out.is_json = as_json
    document = read_json(file if file == "-" else f"@{file}", "the file")
    with errors(), client() as here:
        show_study(here.import_study(document, name=name).document)


@app.command("edit")
def edit(
    name: Name,
    state: Annotated[str | None, typer.Option(help="active, paused or stopped.")] = None,
    description: str | None = None,
    tag: Annotated[list[str] | None, typer.Option(help="name=value; replaces the tags.")] = None,
    warm_start: WarmStart = None,
    max_trials: int | None = None,
    target: float | None = None,
    patience: int | None = None,
    max_seconds: float | None = None,
    max_cost: float | None = None,
    space: Annotated[
        str | None, typer.Option(help="Changes as JSON or @file: null removes, a new one needs a default.")
    ] = None,
    constraint: Annotated[list[str] | None, typer.Option(help="Replaces the constraints; with --space.")] = None,
    dry_run: Annotated[bool, typer.Option(help="Of --space: only tell what it would do.")] = False,
    as_json: AsJson = False,
) -> None:
    """Change a study while it runs."""
    out.is_json = as_json
    stop = {"max_trials": max_trials, "target": target, "patience": patience}
    stop_given = given(**stop, max_seconds=max_seconds, max_cost=max_cost)
    fields = given(
        state=state,
        description=description,
        tags=_tags(tag),
        warm_start=_past(warm_start),
    )
    if not fields and not stop_given and space is None and constraint is None:
        raise usage("say what to change: --state, --description, --tag, --max-trials, --space, …")
    with errors(), client() as here:
        study = here.study(name)
        if space is not None or constraint is not None:
            changes = read_json(space, "--space") if space else {}
            answer = study.edit_space(changes, constraints=constraint, dry_run=dry_run)
            if dry_run:
                out.document(answer, list(answer.items()))
                return
        if stop_given:
            fields["stop"] = {**study.document["stop"], **stop_given}
        show_study(study.update(**fields) if fields else study.document)


@app.command("copy")
def copy(
    name: Name,
    to: Annotated[str, typer.Argument(help="The copy's name.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """The same study under another name, with its trials and their numbers."""
    out.is_json = as_json
    with errors(), client() as here:
        show_study(here.study(name).copy(to).document)


@app.command("rm")
def rm(
    name: Name, purge: Annotated[bool, typer.Option("--purge", help="At once, for good: nothing restores it.")] = False
) -> None:
    """Delete a study; within 7 days `restore` brings it back. Needs a key with admin."""
    with errors(), client() as here:
        here.study(name).delete(purge=purge)
        out.say(f"{name} is deleted" + (" for good" if purge else f"; metatune study restore {name} brings it back"))


@app.command("restore")
def restore(
    name: Annotated[str, typer.Argument(help="The study's name.", show_default=False)], as_json: AsJson = False
) -> None:
    """Bring a deleted study back."""
    out.is_json = as_json
    with errors(), client() as here:
        show_study(here.restore(name).document)


def show_study(document: Mapping[str, Any]) -> None:
    directions = {one["name"]: one["direction"] for one in document["objectives"]}
    space = {name: _parameter(parameter) for name, parameter in document["space"].items()}
    rows = [
        ("study", document["name"]),
        ("state", document["state"]),
        ("objectives", directions),
        *((f"space.{name}", text) for name, text in space.items()),
        ("constraints", document["constraints"]),
        ("algorithm", document["algorithm_in_use"]["name"]),
        ("warm start", document["warm_start"]),
        ("stop", document["stop"]),
        ("trials", {state: n for state, n in document["counts"].items() if n}),
    ]
    best = document.get("best")
    if best:
        rows += [("best", f"trial {best['number']}: {shown(best['values'])}"), ("best params", best["params"])]
    out.document(document, rows)


def _parameter(parameter: dict[str, Any]) -> str:
    beside = {name: value for name, value in parameter.items() if name not in ("type", "low", "high") and value}
    bounds = f" [{shown(parameter['low'])}, {shown(parameter['high'])}]" if "low" in parameter else ""
    return f"{parameter['type']}{bounds} {shown(beside) if beside else ''}".strip()


def _tags(given: list[str] | None) -> dict[str, str] | None:
    return {name: shown(value) for name, value in pairs(given, "--tag").items()} if given else None


def _past(given: list[str] | None) -> str | list[str] | None:
    return given[0] if given in (["auto"], ["off"]) else given or None


def _objective(text: str) -> dict[str, str]:
    name, colon, direction = text.rpartition(":")
    if not colon or direction not in ("minimize", "maximize"):
        raise usage(f"--objective is name:minimize or name:maximize, got {text!r}")
    return {"name": name, "direction": direction}
