"""Objectives in three languages: the same function, with reports on the way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

PYTHON = """
import argparse, json
parser = argparse.ArgumentParser()
parser.add_argument("--x", type=float)
parser.add_argument("--kind")
given = parser.parse_args()
print("some words first")
for step in (1, 2):
    print(json.dumps({"step": step, "value": given.x + step}), flush=True)
print(json.dumps({"value": given.x ** 2, "cost": 2.0, "metadata": {"kind": given.kind}}))
"""

SHELL = """#!/bin/sh
# parameters from the environment; the square by awk
echo "trying $METATUNE_PARAM_X of trial $METATUNE_TRIAL" >&2
awk -v x="$METATUNE_PARAM_X" 'BEGIN { printf "{\\"step\\": 1, \\"value\\": %.17g}\\n", x + 1 }'
awk -v x="$METATUNE_PARAM_X" 'BEGIN { printf "{\\"value\\": %.17g}\\n", x * x }'
"""

C = r"""
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    double x = strtod(argv[1], NULL);
    printf("{\"step\": 1, \"value\": %.17g}\n", x + 1);
    fflush(stdout);
    printf("%.17g\n", x * x);  /* a lone number on the last line will do */
    return 0;
}
"""


def command(language: str, folder: Path) -> list[str]:
    """The program, written and, if need be, compiled; with its placeholders."""
    if language == "python":
        (folder / "train.py").write_text(PYTHON)
        return [sys.executable, str(folder / "train.py"), "--x", "{x}", "--kind", "{kind}"]
    if language == "shell":
        (folder / "train.sh").write_text(SHELL)
        return ["sh", str(folder / "train.sh")]
    compiler = shutil.which(os.environ.get("CC", "cc"))
    assert compiler, "no C compiler: install one (Debian: apt-get install gcc), or name it with CC=..."
    (folder / "train.c").write_text(C)
    subprocess.run([compiler, "-o", str(folder / "train"), str(folder / "train.c")], check=True, timeout=60)
    return [str(folder / "train"), "{x}"]
