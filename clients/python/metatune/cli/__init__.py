"""`metatune`: studies, trials and programs from a terminal or a script.

Exit codes: 0 done; 1 the server refused, with its words on standard error; 2 wrong usage; 3 no answer from the server;
4 the study has nothing to hand out, or no result yet; 5 trials failed in a row (`run`), or something is wrong
(`doctor`); 130 and 143: Ctrl-C and SIGTERM.
"""

from __future__ import annotations

import sys


def main() -> None:
    try:
        import rich  # noqa: F401
        import typer  # noqa: F401
    except ImportError:
        sys.exit("the metatune command needs two more packages: pip install 'metatune[cli]'")
    from metatune.cli.main import run

    run()
