"""Inequalities over numeric parameters, read by a small grammar of our own and evaluated in float64 only.

    constraint := sum (("<=" | ">=" | "<" | ">") sum)+        a chain means that every neighbouring pair holds
    sum        := product (("+" | "-") product)*
    product    := signed (("*" | "/") signed)*
    signed     := ("-" | "+") signed | power
    power      := atom ("**" signed)?                         right associative, binds tighter than a minus before it
    atom       := number | name | "`" any name "`" | "(" sum ")"

Decision: a tokenizer, a recursive descent of bounded depth and a flat postfix program, instead of Python's `ast`.
Context: the text comes from strangers. Price: some lines. Gain: nothing but arithmetic can be expressed, no input
exhausts the stack, and a whole column of candidates is evaluated at once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidConstraint

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

MAX_NODES = 200
MAX_DEPTH = 64
MAX_CHARACTERS = 10_000

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|`(?P<quoted>[^`]+)`|(?P<operator>\*\*|<=|>=|[-+*/<>()]))"
)
_RELATIONS = ("<=", ">=", "<", ">")


@dataclass(frozen=True)
class Step:
    """One step of a postfix program: push a number, push a column, negate, or combine the two on top."""

    operation: str
    number: float = 0.0
    name: str = ""


@dataclass(frozen=True)
class Constraint:
    """`sides[0] relations[0] sides[1] ...`, each side a postfix program; `names` in order of appearance."""

    text: str
    sides: tuple[tuple[Step, ...], ...]
    relations: tuple[str, ...]
    names: tuple[str, ...]

    def margin(self, columns: Mapping[str, Array], n_rows: int) -> Array:
        """How far from broken: >= 0 (> 0 for a strict relation) where the constraint holds.

        Args:
            columns: native values by parameter name, (n,) each; NaN means "not active".
            n_rows: n.
        Returns: (n,), in the constraint's own units; +inf where a parameter is not active, -inf where the arithmetic
            left the finite numbers (division by zero, overflow).
        """
        with np.errstate(all="ignore"):
            finite = np.ones(n_rows, dtype=bool)
            values = [_run(side, columns, finite) for side in self.sides]
            margin = np.full(n_rows, np.inf)
            for relation, left, right in zip(self.relations, values, values[1:], strict=False):
                margin = np.minimum(margin, right - left if relation[0] == "<" else left - right)
        margin = np.where(finite & ~np.isnan(margin), margin, -np.inf)
        return np.where(self._inactive(columns, n_rows), np.inf, margin)

    def holds(self, columns: Mapping[str, Array], n_rows: int) -> Mask:
        """(n,) True where the constraint is satisfied; arguments as in `margin`."""
        with np.errstate(all="ignore"):
            holds = np.ones(n_rows, dtype=bool)
            values = [_run(side, columns, holds) for side in self.sides]
            for relation, left, right in zip(self.relations, values, values[1:], strict=False):
                holds &= _compare(relation, left, right)
        return holds | self._inactive(columns, n_rows)

    def _inactive(self, columns: Mapping[str, Array], n_rows: int) -> Mask:
        inactive = np.zeros(n_rows, dtype=bool)
        for name in self.names:
            inactive |= np.isnan(columns[name])
        return inactive


def parse(text: str) -> Constraint:
    """Read one constraint.

    Raises: InvalidConstraint, for anything outside the grammar, more than 200 nodes, parentheses nested more than
        64 deep, a constraint without a relation, or one without a parameter.
    """
    if not isinstance(text, str):
        raise InvalidConstraint(f"a constraint is a string such as 'a + b <= 1', got {text!r}")
    if len(text) > MAX_CHARACTERS:
        raise InvalidConstraint(f"a constraint has at most {MAX_CHARACTERS} characters, got {len(text)}")
    return _Parser(text).constraint()


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = _tokenize(text)
        self.position = 0
        self.depth = 0
        self.n_nodes = 0
        self.names: dict[str, None] = {}

    def constraint(self) -> Constraint:
        sides = [self.side()]
        relations: list[str] = []
        while self.peek() in _RELATIONS:
            relations.append(self.take())
            self.node()
            sides.append(self.side())
        if self.position < len(self.tokens):
            self.fail(f"did not expect {self.peek()!r}")
        if not relations:
            self.fail("a constraint needs one of <= >= < >")
        if not self.names:
            self.fail("a constraint names at least one parameter")
        return Constraint(self.text, tuple(sides), tuple(relations), tuple(self.names))

    def side(self) -> tuple[Step, ...]:
        program: list[Step] = []
        self.sum(program)
        return tuple(program)

    def sum(self, program: list[Step]) -> None:
        self.product(program)
        while self.peek() in ("+", "-"):
            operator = self.take()
            self.product(program)
            self.emit(program, Step(operator))

    def product(self, program: list[Step]) -> None:
        self.signed(program)
        while self.peek() in ("*", "/"):
            operator = self.take()
            self.signed(program)
            self.emit(program, Step(operator))

    def signed(self, program: list[Step]) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.fail(f"nested more than {MAX_DEPTH} deep")
        if self.peek() in ("-", "+"):
            operator = self.take()
            self.signed(program)
            if operator == "-":
                self.emit(program, Step("negate"))
        else:
            self.atom(program)
            if self.peek() == "**":
                self.take()
                self.signed(program)
                self.emit(program, Step("**"))
        self.depth -= 1

    def atom(self, program: list[Step]) -> None:
        if self.position >= len(self.tokens):
            self.fail("it ends too early")
        kind, token = self.tokens[self.position]
        self.position += 1
        if kind == "number":
            number = float(token)
            if not math.isfinite(number):
                self.fail(f"{token} is too large for a double")
            self.emit(program, Step("number", number=number))
        elif kind in ("name", "quoted"):
            self.names[token] = None
            self.emit(program, Step("name", name=token))
        elif kind == "operator" and token == "(":  # noqa: S105  a token of the grammar
            self.sum(program)
            if self.peek() != ")":
                self.fail("a parenthesis is not closed")
            self.take()
        else:
            self.fail(f"did not expect {token!r}")

    def peek(self) -> str:
        if self.position >= len(self.tokens):
            return ""
        kind, token = self.tokens[self.position]
        return token if kind == "operator" else ""

    def take(self) -> str:
        self.position += 1
        return self.tokens[self.position - 1][1]

    def emit(self, program: list[Step], step: Step) -> None:
        self.node()
        program.append(step)

    def node(self) -> None:
        self.n_nodes += 1
        if self.n_nodes > MAX_NODES:
            self.fail(f"more than {MAX_NODES} nodes")

    def fail(self, why: str) -> NoReturn:
        shown = self.text if len(self.text) <= 200 else self.text[:200] + "…"
        raise InvalidConstraint(f"cannot read the constraint {shown!r}: {why}")


def _tokenize(text: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    position = 0
    text = text.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            shown = text[position : position + 20].strip()
            raise InvalidConstraint(
                f"cannot read the constraint at {shown!r}; it may hold numbers, names, + - * / ** ( ) and <= >= < >"
            )
        tokens.append((match.lastgroup, match.group(match.lastgroup)))
        position = match.end()
    return tokens


def _run(program: tuple[Step, ...], columns: Mapping[str, Array], finite: Mask) -> Array:
    """Evaluate one side; clears `finite` in place wherever any intermediate result is not a finite number."""
    stack: list[Array] = []
    for step in program:
        if step.operation == "number":
            stack.append(np.full(finite.shape, step.number))
            continue
        if step.operation == "name":
            stack.append(columns[step.name])
            continue
        right = stack.pop()
        if step.operation == "negate":
            stack.append(-right)
            continue
        result = _combine(step.operation, stack.pop(), right)
        finite &= np.isfinite(result)
        stack.append(result)
    return stack[0]


def _combine(operation: str, left: Array, right: Array) -> Array:
    if operation == "+":
        return left + right
    if operation == "-":
        return left - right
    if operation == "*":
        return left * right
    if operation == "/":
        return left / right
    return np.asarray(np.power(left, right), dtype=np.float64)


def _compare(relation: str, left: Array, right: Array) -> Mask:
    if relation == "<=":
        return left <= right
    if relation == ">=":
        return left >= right
    if relation == "<":
        return left < right
    return left > right
