"""`metatune knowledge` and `metatune recommend`: what past studies know."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from metatune.cli.context import AsJson, client, errors, out, pairs, read_json, usage
from metatune.cli.output import shown

app = typer.Typer(help="What past studies know: list, carry elsewhere.", no_args_is_help=True)


@app.command("ls")
def ls(as_json: AsJson = False) -> None:
    """List the past studies that are remembered."""
    out.is_json = as_json
    with errors(), client() as here:
        found = list(here.knowledge())
        header = ("study", "results", "kept", "parameters", "imported", "learnt")
        rows = [
            (
                one["study"],
                one["n_results"],
                one["n_observations"],
                [*one["space"]],
                one["is_imported"],
                one["learnt_at"][:10],
            )
            for one in found
        ]
        out.table(found, header, rows)


@app.command("export")
def export(
    file: Annotated[Path | None, typer.Option("--output", "-o", help="Else standard output.")] = None,
    ranks: Annotated[bool, typer.Option("--ranks", help="Ranks alone: no value leaves this server.")] = False,
) -> None:
    """What is remembered, in one file for another server."""
    with errors(), client() as here:
        document = here.export_knowledge(raw=not ranks)
        text = json.dumps(document) + "\n"
        if file is None:
            sys.stdout.write(text)
        else:
            file.write_text(text)
            out.say(f"{len(document['entries'])} past studies are written to {file}")


@app.command("import")
def import_(
    file: Annotated[str, typer.Argument(help="What export wrote; - for standard input.")], as_json: AsJson = False
) -> None:
    """Take in what another server exported, all or nothing; needs a key with admin."""
    out.is_json = as_json
    document = read_json(file if file == "-" else f"@{file}", "the file")
    with errors(), client() as here:
        n_studies = here.import_knowledge(document)
        out.document({"imported": n_studies}, [("imported", n_studies)])


@app.command("forget")
def forget(study: Annotated[str, typer.Argument(help="An imported study.", show_default=False)]) -> None:
    """Forget an imported study; what a study of this server teaches goes with the study."""
    with errors(), client() as here:
        here.forget_knowledge(study)
        out.say(f"{study} is forgotten")


def recommend(
    space: Annotated[
        str | None, typer.Option(help="Parameters as JSON, @file or -; left out, those of the study most alike.")
    ] = None,
    description: Annotated[str | None, typer.Option(help="What it is about, in words.")] = None,
    metafeature: Annotated[list[str] | None, typer.Option(help="name=number; repeat for several.")] = None,
    constraint: Annotated[list[str] | None, typer.Option(help='As "C * gamma <= 100"; repeat for several.')] = None,
    objective: Annotated[str | None, typer.Option(help="Of past studies with several objectives, which one.")] = None,
    count: Annotated[int, typer.Option(help="So many configurations.", min=1, max=100)] = 5,
    as_json: AsJson = False,
) -> None:
    """What past studies would try, best first, with no study made."""
    out.is_json = as_json
    with errors(), client() as here:
        found = here.recommend(
            read_json(space, "--space") if space else None,
            description=description,
            metafeatures=numbers(metafeature, "--metafeature"),
            constraints=constraint,
            objective=objective,
            count=count,
        )
        if out.is_json:
            out.json(found)
            return
        rows = [(one["params"], one["expected_quantile"], one["from"]) for one in found["items"]]
        out.table(found["items"], ("params", "expected quantile", "from"), rows)
        if not rows:
            left = "; ".join(f"{one['study']}: {one['why']}" for one in found["considered"])
            out.say(f"past studies recommend nothing here. {left or 'None is alike.'}")


def show_prior(prior: Mapping[str, Any]) -> None:
    """The sources as a table, and in words what the guard did."""
    rows = [
        (
            source["study"],
            "excluded" if source["is_excluded"] else "taken" if source["is_taken"] else "left",
            source["similarity"],
            source["weight"],
            source["cap"],
            source["why"],
        )
        for source in prior["sources"]
    ]
    if out.is_json:
        out.json(prior)
        return
    out.table(prior["sources"], ("study", "is", "similarity", "weight now", "cap", "why"), rows)
    guard = prior["guard"]
    out.say(f"guard: {guard['state']}, weight {shown(guard['weight'])}: {guard['why']}")


def numbers(given: list[str] | None, what: str) -> dict[str, float] | None:
    if not given:
        return None
    read = pairs(given, what)
    for name, value in read.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise usage(f"{what} is name=number, got {name}={shown(value)}")
    return read
