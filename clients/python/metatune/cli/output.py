"""How the command speaks: JSON if asked, tables on a terminal, plain lines with tabs elsewhere."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass
class Output:
    is_json: bool = False

    @property
    def is_plain(self) -> bool:
        return not sys.stdout.isatty()

    @property
    def console(self) -> Console:
        return Console(highlight=False)

    def document(self, document: Any, rows: Sequence[tuple[str, Any]]) -> None:
        """One thing: as JSON the document, else these names and values."""
        if self.is_json:
            self.json(document)
        elif self.is_plain:
            for name, value in rows:
                print(f"{name}\t{_flat(value)}")
        else:
            table = Table(show_header=False, box=None, pad_edge=False)
            table.add_column(style="bold")
            table.add_column(overflow="fold")
            for name, value in rows:
                table.add_row(name, _escaped(value))
            self.console.print(table)

    def table(self, documents: Sequence[Any], header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Several: as JSON a list of the documents, else a table."""
        if self.is_json:
            self.json(documents)
        elif self.is_plain:
            for row in rows:
                print("\t".join(map(_flat, row)))
        else:
            table = Table(*header, box=None, pad_edge=False, header_style="bold", show_header=any(header))
            for row in rows:
                table.add_row(*map(_escaped, row))
            self.console.print(table)

    def json(self, document: Any) -> None:
        print(json.dumps(document, indent=None if self.is_plain else 2, ensure_ascii=False))

    def say(self, words: str) -> None:
        """Beside the result, for a person; scripts hear nothing."""
        if not self.is_json:
            print(words, file=sys.stderr)


def shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return " ".join(f"{name}={shown(item)}" for name, item in value.items()) or "-"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(shown, value)) or "-"
    return str(value)


def _flat(value: Any) -> str:
    return shown(value).replace("\t", " ").replace("\n", " ")


def _escaped(value: Any) -> str:
    from rich.markup import escape

    return escape(shown(value))
