"""What the tutorial, the how-tos and the client's README show runs as it stands, in order, against a real server."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from app import cli
from benchmarks.server import Server
from metatune.cli.main import app

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "docs" / "tutorial.md", ROOT / "clients" / "python" / "README.md"]
DOCUMENTS += sorted((ROOT / "docs" / "howto").glob("*.md"))
EVERY = [ROOT / "README.md", *DOCUMENTS, *sorted({*(ROOT / "docs").rglob("*.md")} - {*DOCUMENTS})]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("documents")) as server:
        yield server


def script_of(document: Path) -> str:
    """One Python program: the Python blocks as they stand, and between them the shell's."""
    lines = ["import subprocess as _subprocess"]
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL):
        if language == "python":
            lines.append(block)
        elif language == "sh":
            lines.append(f"_subprocess.run(['sh', '-ec', {block!r}], check=True)")
    return "\n".join(lines)


@pytest.mark.slow
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_document_runs_from_top_to_bottom(document: Path, server: Server, tmp_path: Path) -> None:
    script = script_of(document)
    assert "metatune" in script, "a document without anything to run"
    (tmp_path / "document.py").write_text(script)
    environment = {
        **os.environ,
        "METATUNE_URL": server.url,
        "METATUNE_OUTBOX": str(tmp_path / "outbox"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    done = subprocess.run(
        [sys.executable, "document.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("document", EVERY, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_between_documents_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


def commands_in(document: Path) -> Iterator[list[str]]:
    """Each call of our two commands in a block of code, word by word."""
    for block in re.findall(r"^```\w*\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = re.sub(r"^(?:\$ )?(?:[A-Z_]+=\S* )*(?:.* exec \S+ )?(?=metatune)", "", line.strip())
            if re.match(r"metatune(-server)? ", words):
                words = re.sub(r"\$\([^)]*\)", "something", words)
                reader = shlex.shlex(words, posix=True, punctuation_chars=True)
                reader.wordchars += "{}[],:+@%"
                yield [*itertools.takewhile(lambda word: word not in ("|", ";", "&&", "..."), reader)]


@pytest.mark.parametrize("document", EVERY, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_that_a_document_shows_is_one_with_these_options(document: Path) -> None:
    for program, *words in commands_in(document):
        if program == "metatune-server":
            cli.parser().parse_args(words)
        else:
            with typer.main.get_command(app).make_context("metatune", words) as context:
                _resolve(context)


def _resolve(context: typer.Context) -> None:
    """Reads the words of each command below, and runs none.  Raises: click's errors, for what it does not take."""
    group, words = context.command, [*context._protected_args, *context.args]
    if isinstance(group, typer.core.TyperGroup):
        name, command, rest = group.resolve_command(context, words)
        assert command is not None
        with command.make_context(name, rest, parent=context) as below:
            _resolve(below)


def test_commands_are_found_in_documents_at_all() -> None:
    found = [words[:3] for document in EVERY for words in commands_in(document)]
    assert ["metatune-server", "keys", "create"] in found
    assert ["metatune", "knowledge", "export"] in found
    assert len(found) > 40
