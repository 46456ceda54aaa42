"""The constraint grammar against an independent evaluation, and its limits."""

from __future__ import annotations

import contextlib
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import InvalidConstraint
from app.search.constraints import parse

NAMES = ("a", "b", "with space")
OPERATORS = ("+", "-", "*", "/", "**")


def expressions() -> st.SearchStrategy[tuple[str, object]]:
    """Pairs of a text of the grammar and a nested tuple that Python functions evaluate."""
    numbers = st.floats(0, 100, allow_nan=False).map(lambda x: (repr(x), x))
    names = st.sampled_from(NAMES).map(lambda n: (f"`{n}`" if " " in n else n, n))
    return st.recursive(
        numbers | names,
        lambda inner: (
            st.tuples(inner, st.sampled_from(OPERATORS), inner).map(
                lambda t: (f"({t[0][0]} {t[1]} {t[2][0]})", (t[1], t[0][1], t[2][1]))
            )
            | inner.map(lambda t: (f"(-{t[0]})", ("-", 0.0, t[1])))
        ),
        max_leaves=10,
    )


def evaluate(tree: object, values: dict[str, float]) -> float:
    """Plain Python doubles; NaN for whatever is not a finite number."""
    if isinstance(tree, float):
        return tree
    if isinstance(tree, str):
        return values[tree]
    operator, left_tree, right_tree = tree  # type: ignore[misc]
    left, right = evaluate(left_tree, values), evaluate(right_tree, values)
    try:
        result = {
            "+": lambda: left + right,
            "-": lambda: left - right,
            "*": lambda: left * right,
            "/": lambda: left / right,
            "**": lambda: left**right,
        }[operator]()
    except (ZeroDivisionError, OverflowError):
        return math.nan
    return result if isinstance(result, float) and math.isfinite(result) else math.nan


@given(expressions(), expressions(), st.lists(st.floats(-50, 50), min_size=3, max_size=3))
@settings(max_examples=200, deadline=None)
def test_a_constraint_holds_exactly_where_plain_arithmetic_says_so(left, right, numbers) -> None:
    values = dict(zip(NAMES, numbers, strict=True))
    a, b = evaluate(left[1], values), evaluate(right[1], values)
    constraint = parse(f"{left[0]} + 0 * a <= {right[0]}")
    holds = constraint.holds({name: np.array([value]) for name, value in values.items()}, 1)[0]
    if math.isnan(a) or math.isnan(b) or not math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12):
        assert holds == (a <= b)


@pytest.mark.parametrize(
    ("text", "value"),
    [("a + 0 <= 2 ** 3 ** 2", 512.0), ("a <= -2 ** 2", -4.0), ("a <= 8 / 4 / 2", 1.0), ("a <= 1 - 2 - 3", -4.0),
     ("a <= 2 ** -1", 0.5), ("a <= 2 + 3 * 4", 14.0), ("a <= .5e1", 5.0)],
)  # fmt: skip
def test_operators_bind_as_in_mathematics(text: str, value: float) -> None:
    column = np.array([value, value + 1e-9 * max(1.0, abs(value))])
    assert parse(text).holds({"a": column}, 2).tolist() == [True, False]


def test_a_chain_means_every_neighbouring_pair() -> None:
    assert parse("0 <= a < 1").holds({"a": np.array([-0.1, 0.0, 0.5, 1.0])}, 4).tolist() == [False, True, True, False]


@pytest.mark.parametrize("text", ["1 / a >= 0", "1 / (1 / a) >= 0", "10 ** (a + 400) >= 0", "(a - 1) ** 0.5 <= 9"])
def test_arithmetic_that_leaves_the_finite_numbers_breaks_the_constraint(text: str) -> None:
    assert not parse(text).holds({"a": np.zeros(1)}, 1)[0]
    assert parse(text).margin({"a": np.zeros(1)}, 1)[0] == -np.inf


def test_a_constraint_over_an_inactive_parameter_holds() -> None:
    assert parse("a > 5").holds({"a": np.array([np.nan, 1.0])}, 2).tolist() == [True, False]


@pytest.mark.parametrize(
    "text",
    ["", "a", "a <= ", "<= a", "a == 1", "a = 1", "a <= 1 and b <= 1", "f(a) <= 1", "a <= 1; b", "a.b <= 1", "a <= 'x'",
     "__import__('os') <= 1", "1 <= 2", "a <= 1e999", "a <= (1", "a <= 1)", "a b <= 1", "`a <= 1", "a <= 0x10",
     "a // 2 <= 1"],
)  # fmt: skip
def test_what_the_grammar_does_not_know_is_refused(text: str) -> None:
    with pytest.raises(InvalidConstraint):
        parse(text)


@pytest.mark.parametrize(
    "text",
    ["(" * 10_000 + "a" + ")" * 10_000 + " <= 1", "-" * 10_000 + "a <= 1", "a" + " + a" * 30_000 + " <= 1",
     "a" + " ** a" * 1000 + " <= 1", "a <= " * 3000 + "1", "x" * 100_000 + " <= 1"],
)  # fmt: skip
def test_overlong_or_deep_text_is_refused_without_exhausting_the_stack(text: str) -> None:
    with pytest.raises(InvalidConstraint):
        parse(text)


def test_two_hundred_nodes_pass_and_one_more_does_not() -> None:
    ninety_nine = "a" + " + a" * 98  # 197 nodes; with the relation 198
    assert parse(f"{ninety_nine} <= -a").names == ("a",)
    with pytest.raises(InvalidConstraint, match="200 nodes"):
        parse(f"{ninety_nine} <= --a")


@given(st.text(max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_text_is_either_read_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidConstraint):
        assert parse(text).names
