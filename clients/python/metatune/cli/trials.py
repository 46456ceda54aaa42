"""`metatune trial`: ls, show, explain, tell, correct, enqueue, retry, rm."""

from __future__ import annotations

import itertools
from typing import Annotated, Any

import typer

from metatune.cli.context import AsJson, Name, Number, client, errors, out, pairs, usage
from metatune.cli.output import shown
from metatune.trial import Trial
from metatune.wire import given

app = typer.Typer(help="Trials: read, tell, enqueue.", no_args_is_help=True)


@app.command("ls")
def ls(
    name: Name,
    state: Annotated[str | None, typer.Option(help="waiting, running, complete, pruned, failed, …")] = None,
    order_by: Annotated[str | None, typer.Option(help="number, value or -value.")] = None,
    limit: Annotated[int, typer.Option(help="0: all.")] = 0,
    as_json: AsJson = False,
) -> None:
    """List trials."""
    out.is_json = as_json
    with errors(), client() as here:
        found = here.study(name).trials(state=state, order_by=order_by)
        documents = [trial.document for trial in (itertools.islice(found, limit) if limit else found)]
        header = ("trial", "state", "values", "params", "worker", "reason")
        rows = [
            (one["number"], one["state"], one["values"], one["params"], one["worker"], _first_line(one["reason"]))
            for one in documents
        ]
        out.table(documents, header, rows)


@app.command("show")
def show(name: Name, number: Number, as_json: AsJson = False) -> None:
    """One trial with its reports."""
    out.is_json = as_json
    with errors(), client() as here:
        show_trial(here.study(name).get_trial(number))


@app.command("explain")
def explain(name: Name, number: Number, as_json: AsJson = False) -> None:
    """Why this point: what the model believed then and believes now, and what past studies lent."""
    out.is_json = as_json
    with errors(), client() as here:
        found = here.study(name).get_trial(number).explanation()
        prior = found["prior"]
        rows = [("trial", found["number"]), ("params", found["params"]), ("source", found["source"])]
        rows += [(f"then: {name}", value) for name, value in (found["when_suggested"] or {}).items()]
        rows += [(f"now: {name}", found["now"][name]) for name in ("mean", "std") if found["now"]]
        rows += [("prior", f"weight {shown(prior['weight'])} {shown(prior['sources'])}")] if prior["weight"] else []
        out.document(found, [*rows, ("why", found["why"])])


@app.command("tell")
def tell(
    name: Name,
    number: Number,
    result: Annotated[
        list[str] | None, typer.Argument(help="A number, or name=number for several objectives.", show_default=False)
    ] = None,
    state: Annotated[str | None, typer.Option(help="failed, infeasible or pruned, instead of a result.")] = None,
    reason: str | None = None,
    noise: Annotated[float | None, typer.Option(help="Standard error of the value.")] = None,
    cost: float | None = None,
    as_json: AsJson = False,
) -> None:
    """Tell how a trial ended."""
    out.is_json = as_json
    values = _result(result or [])
    if (values is None) == (state is None):
        raise usage("tell a number (or name=number ...), or --state failed, infeasible or pruned")
    with errors(), client() as here:
        trial = here.study(name).get_trial(number)
        if values is not None:
            trial.tell(values, noise=noise, cost=cost)
        elif state in ("failed", "infeasible", "pruned"):
            {
                "failed": lambda: trial.fail(reason or "told by hand"),
                "infeasible": lambda: trial.infeasible(reason),
            }.get(state, lambda: trial.pruned(reason))()
        else:
            raise usage(f"--state is failed, infeasible or pruned, got {state!r}")
        show_trial(trial)


@app.command("correct")
def correct(
    name: Name,
    number: Number,
    result: Annotated[
        list[str] | None, typer.Argument(help="A number, or name=number for several objectives.", show_default=False)
    ] = None,
    reason: str | None = None,
    noise: Annotated[float | None, typer.Option(help="Standard error of the value.")] = None,
    cost: float | None = None,
    as_json: AsJson = False,
) -> None:
    """Change what a finished trial says; the study's log keeps both."""
    out.is_json = as_json
    values = _result(result or [])
    if values is None and noise is None and cost is None:
        raise usage("give a number (or name=number ...), --noise or --cost")
    with errors(), client() as here:
        trial = here.study(name).get_trial(number)
        show_trial(trial.correct(values, **given(reason=reason, noise=noise, cost=cost)))


@app.command("enqueue")
def enqueue(
    name: Name,
    param: Annotated[list[str], typer.Argument(help="name=value; what is left out the study fills in.")],
    as_json: AsJson = False,
) -> None:
    """Hand these parameters out before any new suggestion."""
    out.is_json = as_json
    params = pairs(param, "a parameter")
    with errors(), client() as here:
        show_trial(here.study(name).enqueue(params))


@app.command("retry")
def retry(name: Name, number: Number, as_json: AsJson = False) -> None:
    """Enqueue a failed or lost trial again."""
    out.is_json = as_json
    with errors(), client() as here:
        show_trial(here.study(name).get_trial(number).retry())


@app.command("rm")
def rm(name: Name, number: Number, reason: str | None = None) -> None:
    """Take a trial out of the study for good; its number stays taken. Needs a key with admin."""
    with errors(), client() as here:
        here.study(name).get_trial(number).remove(reason)
        out.say(f"trial {number} of {name} is removed")


def show_trial(trial: Trial) -> None:
    document = trial.document
    names = ("state", "values", "params", "feasible", "noise", "cost", "worker", "attempt", "checkpoint", "reason")
    reports = [(f"step {one['step']}", one["values"]) for one in document.get("reports") or ()]
    rows = [(name, document.get(name)) for name in names if document.get(name) is not None]
    out.document(document, [("trial", document["number"]), *rows, *reports])


def _result(texts: list[str]) -> float | dict[str, float] | None:
    if not texts:
        return None
    try:
        if len(texts) == 1 and "=" not in texts[0]:
            return float(texts[0])
        named: dict[str, Any] = dict(text.rsplit("=", 1) for text in texts)
        return {name: float(value) for name, value in named.items()}
    except ValueError as fault:
        raise usage(f"a result is a number, or name=number for each objective, got {' '.join(texts)!r}") from fault


def _first_line(text: str | None) -> str | None:
    return text and text.splitlines()[0]
