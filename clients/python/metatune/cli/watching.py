"""`metatune watch`: a study as it happens."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from metatune.cli.context import AsJson, Name, client, errors, out
from metatune.cli.output import shown
from metatune.errors import NotFound
from metatune.study import Study

ROWS = 12
RETRY_SECONDS = 300.0


def watch(
    name: Name,
    after: Annotated[int | None, typer.Option(help="From this revision on; 0: from the beginning.")] = None,
    count: Annotated[int, typer.Option(help="End after so many events; 0: go on.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Events of a study as they happen: a live table on a terminal, a line for each elsewhere."""
    out.is_json = as_json
    with errors(), client(RETRY_SECONDS) as here:
        study = here.study(name)
        events = here.watch(study, after=after)
        if out.is_json or out.is_plain:
            for n, event in enumerate(events, 1):
                fields = asdict(event)
                line = json.dumps(fields) if out.is_json else "\t".join(shown(value) for value in fields.values())
                print(line, flush=True)
                if n == count:
                    return
            return
        seen = {} if after is not None else _newest(study)
        with Live(_picture(study, seen), console=out.console, auto_refresh=False) as live:
            for n, event in enumerate(events, 1):
                if event.number is not None:
                    seen.pop(event.number, None)
                    try:
                        seen[event.number] = dict(study.get_trial(event.number).document)
                    except NotFound:
                        continue
                live.update(_picture(study, seen), refresh=True)
                if n == count:
                    return


def _newest(study: Study) -> dict[int, dict[str, Any]]:
    """What there is to see before anything happens."""
    n_trials = sum(study.info()["counts"].values())
    seen: dict[int, dict[str, Any]] = {}
    for number in range(max(1, n_trials - ROWS + 1), n_trials + 1):
        with contextlib.suppress(NotFound):
            seen[number] = dict(study.get_trial(number).document)
    return seen


def _picture(study: Study, seen: dict[int, dict[str, Any]]) -> Group:
    info = study.info()
    counts = shown({state: n for state, n in info["counts"].items() if n})
    best = info["best"]
    title = f"{study.name} · {info['state']} · {counts}"
    if best:
        title += f"\nbest: trial {best['number']}, {shown(best['values'])}"
    table = Table("trial", "state", "values", "params", "worker", box=None, pad_edge=False)
    for number, one in list(seen.items())[-ROWS:]:
        table.add_row(str(number), one["state"], shown(one["values"]), shown(one["params"]), shown(one["worker"]))
    return Group(Text(title), table)
