"""Search spaces: definition, validation, encoding, identity, enumeration."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any

import numpy as np
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import InvalidSearchSpace, NoFeasiblePoint, SpaceViolation
from app.search import feasible
from app.search.space import Bool, Categorical, Fixed, Float, Int, Ordinal, Parameter, SearchSpace

SVM: dict[str, Any] = {
    "C": {"type": "float", "low": 1e-3, "high": 1e3, "scale": "log"},
    "gamma": {"type": "float", "low": 1e-6, "high": 10, "scale": "log"},
    "kernel": {"type": "categorical", "choices": ["rbf", "poly", "sigmoid"]},
    "degree": {"type": "int", "low": 2, "high": 6, "when": {"kernel": ["poly"]}},
    "batch": {"type": "ordinal", "values": [16, 32, 64, 128]},
    "shrinking": {"type": "bool"},
    "seed": {"type": "fixed", "value": 3},
}


def svm() -> SearchSpace:
    return SearchSpace.from_json(SVM, ["C * gamma <= 100"])


def floats(low: float = -1e6, high: float = 1e6) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False, allow_infinity=False)


@st.composite
def parameters(draw: st.DrawFn) -> Parameter:
    kind = draw(st.sampled_from(["float", "stepped", "int", "ordinal", "categorical", "bool"]))
    scale = draw(st.sampled_from(["linear", "log", "reverse_log"]))
    least = 1e-6 if scale != "linear" else -1e6
    if kind in ("float", "stepped"):
        low = draw(floats(least, 1e6))
        high = low + draw(floats(1e-3, 1e6))
        return Float(low, high, scale, step=(high - low) / draw(st.integers(1, 50)) if kind == "stepped" else None)
    if kind == "int":
        low_integer = draw(st.integers(1 if scale != "linear" else -1000, 1000))
        high_integer = low_integer + draw(st.integers(1, 5000))
        step = draw(st.none() | st.integers(1, high_integer - low_integer))
        return Int(low_integer, high_integer, scale, step=step)
    if kind == "ordinal":
        return Ordinal(tuple(sorted(draw(st.sets(st.integers(-100, 100), min_size=1, max_size=6)))))
    if kind == "categorical":
        return Categorical(tuple(draw(st.sets(st.text("abc", min_size=1, max_size=5), min_size=1, max_size=6))))
    return Bool()


@given(parameters(), st.floats(0, 1))
@settings(max_examples=300, deadline=None)
def test_decoding_gives_legal_values_that_encode_to_the_same_value_again(parameter: Parameter, u: float) -> None:
    space = SearchSpace({"x": parameter})
    value = space.decode(np.array([u]))["x"]
    assert space.check({"x": value}) == {"x": value}
    again = space.decode(space.encode({"x": value}))["x"]
    if parameter.n_levels is not None:
        assert again == value
        assert type(again) is type(value)
    else:
        assert isinstance(parameter, Float)
        assert math.isclose(again, value, rel_tol=1e-12, abs_tol=1e-12 * (parameter.high - parameter.low))


@given(parameters())
@settings(max_examples=200, deadline=None)
def test_bounds_and_levels_survive_the_unit_cube_exactly(parameter: Parameter) -> None:
    space = SearchSpace({"x": parameter})
    if parameter.n_levels is None:
        assert isinstance(parameter, Float)
        assert [space.decode(np.array([u]))["x"] for u in (0.0, 1.0)] == [parameter.low, parameter.high]
        assert space.encode_many([{"x": parameter.low}, {"x": parameter.high}]).ravel().tolist() == [0.0, 1.0]
    elif parameter.n_levels <= 200:
        configurations = list(space.enumerate())
        assert len(configurations) == parameter.n_levels == len({space.key(c) for c in configurations})
        assert [space.decode(row) for row in space.encode_many(configurations)] == configurations


@pytest.mark.parametrize("scale", ["linear", "log", "reverse_log"])
def test_uniform_draws_give_levels_of_a_linear_integer_equal_chances_and_log_ones_their_share(scale: Any) -> None:
    units = (np.arange(100_000) + 0.5)[:, None] / 100_000
    counts = np.bincount(SearchSpace({"x": Int(1, 4, scale)}).codes_of_units(units)[:, 0].astype(int))[1:]
    shares = counts / 100_000
    edges = np.log([0.5, 1.5, 2.5, 3.5, 4.5])
    expected = {"linear": np.full(4, 0.25), "log": np.diff(edges) / np.ptp(edges)}
    expected["reverse_log"] = expected["log"][::-1]
    np.testing.assert_allclose(shares, expected[scale], atol=2e-5)


def test_a_reverse_log_scale_is_fine_near_the_upper_bound() -> None:
    space = SearchSpace({"momentum": Float(0.001, 0.999, "reverse_log")})
    middle = space.decode(np.array([0.5]))["momentum"]
    assert math.isclose(middle, 1.0 - math.sqrt(0.001 * 0.999), rel_tol=1e-12)


def test_levels_of_a_decimal_step_are_the_decimals_a_person_writes() -> None:
    assert [c["x"] for c in SearchSpace({"x": Float(0, 1, step=0.1)}).enumerate()] == [k / 10 for k in range(11)]


@pytest.mark.parametrize(
    ("make", "shown"),
    [
        (lambda: Float(2, 1), "[2.0, 1.0]"),
        (lambda: Float(1, 1), "[1.0, 1.0]"),
        (lambda: Float(math.nan, 1), "nan"),
        (lambda: Float(0, math.inf), "inf"),
        (lambda: Float(0, 1, "log"), "0.0"),
        (lambda: Float(-1, 1, "reverse_log"), "-1.0"),
        (lambda: Float(0, 1, step=0), "0.0"),
        (lambda: Float(0, 1, step=2), "2.0"),
        (lambda: Float(0, 1, default=3), "3"),
        (lambda: Float(0, 1, "cubic"), "'cubic'"),  # type: ignore[arg-type]
        (lambda: Float("0", 1), "'0'"),  # type: ignore[arg-type]
        (lambda: Float(True, 2), "True"),
        (lambda: Int(0, 2**53 + 2), str(2**53 + 2)),
        (lambda: Int(0.5, 2), "0.5"),  # type: ignore[arg-type]
        (lambda: Ordinal((3, 1)), "[3, 1]"),
        (lambda: Ordinal(("a",)), "'a'"),  # type: ignore[arg-type]
        (lambda: Categorical(()), "empty"),
        (lambda: Categorical((1, 1.0)), "1.0"),
        (lambda: Categorical(("a\0",)), "a\\x00"),
        (lambda: Categorical(("\ud800",)), "ud800"),
        (lambda: Categorical(("x" * 129,)), "129"),
        (lambda: Categorical((math.nan,)), "nan"),
        (lambda: Categorical("abc"), "'abc'"),  # type: ignore[arg-type]
        (lambda: Bool(default=1), "1"),  # type: ignore[arg-type]
        (lambda: Fixed(None), "None"),  # type: ignore[arg-type]
        (lambda: Float(0, 1, when={}), "{}"),
    ],
)
def test_an_illegal_parameter_is_refused_with_its_value(make: Any, shown: str) -> None:
    with pytest.raises(InvalidSearchSpace) as caught:
        make()
    assert shown in caught.value.detail


def test_choices_of_different_json_types_are_different_choices() -> None:
    space = SearchSpace({"x": Categorical((1, True, "1"))})
    keys = {space.key({"x": value}) for value in (1, True, "1")}
    assert len(keys) == 3
    assert [type(space.check({"x": value})["x"]) for value in (1, 1.0, True, "1")] == [int, int, bool, str]


@pytest.mark.parametrize(
    ("space", "constraints", "pointer"),
    [
        ({"lr": {"type": "float", "low": 2, "high": 1}}, [], "/space/lr/low"),
        ({"lr": {"type": "float", "low": 0, "high": 1, "color": 1}}, [], "/space/lr/color"),
        ({"lr": {"type": "float", "low": 0}}, [], "/space/lr/high"),
        ({"lr": {"low": 0, "high": 1}}, [], "/space/lr/type"),
        ({"lr": {"type": "complex"}}, [], "/space/lr/type"),
        ({"lr": 3}, [], "/space/lr"),
        ({"a/b": {"type": "float", "low": 2, "high": 1}}, [], "/space/a~1b/low"),
        ({"a\0": {"type": "bool"}}, [], "/space/a\0"),
        ({"e\u0301": {"type": "bool"}}, [], "/space/e\u0301"),
        ({}, [], "/space"),
        ({"a": {"type": "bool", "when": {"b": [1]}}}, [], "/space/a/when/b"),
        ({"a": {"type": "bool"}, "b": {"type": "bool", "when": {"a": ["yes"]}}}, [], "/space/b/when/a/0"),
        ({x: {"type": "bool", "when": {y: [True]}} for x, y in ("ab", "ba")}, [], "/space/a/when"),
        ({"a": {"type": "float", "low": 0, "high": 1}}, ["a <= 1", "b <= 1"], "/constraints/1"),
        ({"a": {"type": "bool"}}, ["a <= 1"], "/constraints/0"),
        ({"a": {"type": "float", "low": 0, "high": 1}}, ["a <="], "/constraints/0"),
        ({"a": {"type": "float", "low": 0, "high": 1, "when": {"a": [1]}}}, [], "/space/a/when"),
    ],
)  # fmt: skip
def test_an_illegal_space_is_refused_with_a_pointer(space: Any, constraints: Any, pointer: str) -> None:
    with pytest.raises(InvalidSearchSpace) as caught:
        SearchSpace.from_json(space, constraints)
    assert pointer in [error.pointer for error in caught.value.errors]


def test_a_definition_survives_json_and_normalises_numbers() -> None:
    space = svm()
    text = json.dumps(space.to_json())
    assert SearchSpace.from_json(json.loads(text), space.constraints) == space
    assert list(json.loads(text)) == list(SVM)
    whole = SearchSpace.from_json({"x": {"type": "float", "low": 0, "high": 1, "scale": "linear", "step": None}})
    assert json.dumps(whole.to_json()) == '{"x": {"type": "float", "low": 0.0, "high": 1.0}}'


def test_parameters_are_members_of_a_pydantic_union_by_type() -> None:
    union = Annotated[Float | Int | Ordinal | Categorical | Bool | Fixed, pydantic.Field(discriminator="type")]
    read = pydantic.TypeAdapter(dict[str, union]).validate_python(SVM)
    assert SearchSpace(read, ("C * gamma <= 100",)) == svm()
    with pytest.raises(pydantic.ValidationError, match="low must be below high"):
        pydantic.TypeAdapter(union).validate_python({"type": "float", "low": 2, "high": 1})


def test_inactive_parameters_are_absent_and_their_columns_nan() -> None:
    space = svm()
    rbf = space.decode(np.array([0.5, 0.1, 0.1, 0.5, 0.5, 0.5]))
    poly = space.decode(np.array([0.5, 0.1, 0.5, 0.5, 0.5, 0.5]))
    assert "degree" not in rbf
    assert poly["degree"] == 4
    assert np.isnan(space.encode(rbf)).tolist() == [False, False, False, True, False, False]
    assert space.active({"kernel": "rbf"}) == frozenset(SVM) - {"degree"}
    assert space.active({"kernel": "poly"}) == frozenset(SVM)


def test_values_are_checked_and_made_canonical_in_the_order_of_the_space() -> None:
    params = {"shrinking": False, "batch": 32.0, "degree": 3.0, "kernel": "poly", "gamma": 1, "C": 2}
    checked = svm().check(params)
    assert list(checked) == list(SVM)
    assert json.dumps(checked) == (
        '{"C": 2.0, "gamma": 1.0, "kernel": "poly", "degree": 3, "batch": 32, "shrinking": false, "seed": 3}'
    )


GOOD = {"C": 1.0, "gamma": 1.0, "kernel": "rbf", "batch": 16, "shrinking": True}


@pytest.mark.parametrize(
    ("change", "name"),
    [({"C": 1e4}, "C"), ({"C": "1"}, "C"), ({"C": math.nan}, "C"), ({"C": True}, "C"), ({"batch": 48}, "batch"),
     ({"kernel": "RBF"}, "kernel"), ({"degree": 3}, "degree"), ({"kernel": "poly"}, "degree"), ({"seed": 4}, "seed"),
     ({"shrinking": 1}, "shrinking"), ({"depth": 1}, "depth"), ({"C": 1e3, "gamma": 10.0}, "C")],
)  # fmt: skip
def test_a_configuration_outside_the_space_is_refused_by_name(change: dict[str, Any], name: str) -> None:
    with pytest.raises(SpaceViolation) as caught:
        svm().check({**GOOD, **change})
    assert [error.pointer for error in caught.value.errors] == [f"/params/{name}"]


def test_a_missing_parameter_is_refused_unless_the_configuration_is_partial() -> None:
    with pytest.raises(SpaceViolation, match="missing"):
        svm().check({"C": 1.0})
    assert svm().check({"C": 1.0}, partial=True) == {"C": 1.0, "seed": 3}


def test_a_child_without_its_parent_selects_the_parents_value_through_all_generations() -> None:
    space = SearchSpace(
        {
            "leaf": Float(0, 1, when={"branch": ("left",)}),
            "branch": Categorical(("left", "right"), when={"tree": (True,)}),
            "tree": Bool(),
        }
    )
    assert space.check({"leaf": 0.5}, partial=True) == {"leaf": 0.5, "branch": "left", "tree": True}
    with pytest.raises(SpaceViolation, match="not active"):
        space.check({"leaf": 0.5, "branch": "right"}, partial=True)


@given(st.integers(0, 2**32), st.integers(1, 8))
@settings(max_examples=20, deadline=None)
def test_encoding_many_rows_equals_encoding_each(seed: int, n: int) -> None:
    space = svm()
    configurations = [space.decode(row) for row in np.random.default_rng(seed).random((n, space.n_dimensions))]
    np.testing.assert_array_equal(space.encode_many(configurations), [space.encode(c) for c in configurations])


def test_a_few_configurations_of_any_version_are_encoded_as_many_are() -> None:
    space = svm()
    known = [space.decode(row) for row in np.random.default_rng(0).random((40, space.n_dimensions))]
    foreign = [{"C": 1e9, "kernel": "linear"}, {"gamma": "0.1", "batch": 48, "shrinking": 1}, {"seed": 3, "C": True}]
    many = space.encode_many([*known, *foreign], strict=False)
    few = [space.encode_many([params], strict=False)[0] for params in [*known, *foreign]]
    np.testing.assert_array_equal(few, many)


def test_straight_continua_are_read_together_as_each_alone() -> None:
    kinds = {"a": Float(-3, 7), "b": Float(1, 2, "log"), "c": Float(0, 1e300), "d": Float(0, 1, step=0.1)}
    space = SearchSpace({**kinds, "k": Categorical(("x", "y")), "e": Float(0, 1, when={"k": ("x",)})})
    rng = np.random.default_rng(0)
    units = np.vstack([rng.random((30, 6)), np.eye(6), np.full((1, 6), -0.5), np.full((1, 6), 1.5)])
    codes = space.codes_of_units(units)
    for j, kind in enumerate(kinds.values()):
        np.testing.assert_array_equal(codes[:, j], kind.codes(units[:, j]))
        np.testing.assert_array_equal(space.units_of_codes(codes)[:, j], kind.units(codes[:, j]))
    missing = space.codes_of_units(np.full((1, 6), np.nan))
    np.testing.assert_array_equal(missing[0, :4], [kind.codes(np.array([0.5]))[0] for kind in kinds.values()])


def test_configurations_of_an_older_version_are_read_as_far_as_they_mean_anything() -> None:
    space = SearchSpace(
        {"x": Float(0, 1), "k": Categorical(("a", "b")), "new": Int(0, 9, default=4), "log": Float(1, 10, "log")}
    )
    old = {"x": 2.0, "k": "gone", "dropped": 1, "log": -1.0}
    row = space.encode_many([old], strict=False)[0]
    np.testing.assert_allclose(row, [2.0, np.nan, 0.45, np.nan])
    with pytest.raises(SpaceViolation):
        space.encode(old)


def test_a_number_far_outside_the_bounds_is_as_far_as_any() -> None:
    rows = SearchSpace({"x": Float(0, 1)}).encode_many([{"x": 1e300}, {"x": -1e300}, {"x": 3.0}], strict=False)
    assert rows.tolist() == [[101.0], [-100.0], [3.0]], "the square of 1e300 is no double"


def test_identity_ignores_order_and_the_spelling_of_floats_but_not_their_values() -> None:
    space = SearchSpace({"a": Float(0, 2), "b": Int(0, 3), "c": Ordinal((1, 2))})
    assert space.key({"a": 1, "b": 2, "c": 1}) == space.key({"c": 1.0, "b": 2.0, "a": 1.0})
    assert space.key({"a": 1, "b": 2, "c": 1}) != space.key({"a": 1, "b": 2, "c": 2})
    assert len(space.key({"a": 1.0})) == 32


def test_enumeration_meets_every_legal_configuration_once() -> None:
    space = SearchSpace(
        {"a": Int(0, 3), "c": Categorical(("p", "q", 1)), "n": Bool(when={"c": ("p",)}), "f": Fixed(3)}, ("a <= 2",)
    )
    configurations = list(space.enumerate())
    expected = [
        {"a": a, "c": c, **({"n": n} if n is not None else {}), "f": 3}
        for a in range(3)
        for c, n in [("p", False), ("p", True), ("q", None), (1, None)]
    ]
    assert configurations == expected
    assert space.size == 16
    assert SearchSpace({"a": Int(0, 10**6)}).size is None
    assert SearchSpace({"a": Float(0, 1)}).size is None
    assert SearchSpace({"a": Float(0, 1, step=0.5), "b": Bool()}).size == 6


@pytest.mark.parametrize(
    ("constraints", "n_integers"),
    [(("x + y >= 1", "x + y <= 1.0000001"), 0), (("x * y == 1".replace("==", "<="), "x * y >= 0.999"), 0),
     (("i * j >= 35", "i * j <= 35"), 2), (("x ** 2 + y ** 2 <= 1e-6",), 0), (("i + j >= 199",), 2)],
)  # fmt: skip
def test_thin_feasible_regions_are_found_and_sampled_legally(constraints: tuple[str, ...], n_integers: int) -> None:
    kinds: dict[str, Parameter] = {"x": Float(0, 1), "y": Float(0, 1)}
    kinds |= {"i": Int(1, 100), "j": Int(1, 100)} if n_integers else {}
    space = SearchSpace(kinds, constraints)
    rows = feasible.draw(space, np.random.default_rng(1), 20, feasible.no_pins(space))
    assert len(rows) == 20
    assert space.satisfied(space.codes_of_units(rows)).all()
    for row in rows:
        space.check(space.decode(row))


@pytest.mark.parametrize("constraints", [("x > 2",), ("x < 0.5", "x > 0.5"), ("1 / (x - x) <= 1",)])
def test_a_space_without_a_legal_point_is_refused(constraints: tuple[str, ...]) -> None:
    with pytest.raises(NoFeasiblePoint):
        SearchSpace({"x": Float(0, 1)}, constraints)


def test_a_small_finite_space_is_settled_by_going_through_it() -> None:
    with pytest.raises(NoFeasiblePoint, match="none of its 10000 configurations"):
        SearchSpace({"i": Int(1, 100), "j": Int(1, 100)}, ("i * j >= 9901", "i * j <= 9999"))


def test_a_uniform_sample_of_a_constrained_space_is_uniform() -> None:
    space = SearchSpace({"x": Float(0, 1), "y": Float(0, 1)}, ("x + y <= 0.02",))
    rows = feasible.draw(space, np.random.default_rng(3), 2000, feasible.no_pins(space)) / 0.02
    # On the triangle each coordinate has mean 1/3 and variance 1/18; 2000 draws, 5 standard errors.
    np.testing.assert_allclose(rows.mean(axis=0), 1 / 3, atol=5 * math.sqrt(1 / 18 / 2000))


def test_the_first_level_of_a_step_grid_is_the_bound_itself() -> None:
    grid = Float(low=90072.02496391829, high=90073.02496391829, step=1.0)
    assert grid.level_codes()[0] == grid.low


@pytest.mark.parametrize(
    ("kind", "codes", "most", "expected"),
    [
        (Int(1, 40), (1.0, 39.0, np.nan), 12, ({2.0, 3.0}, {37.0, 38.0, 40.0}, set())),
        (Int(1, 3), (2.0,), 12, ({1.0, 3.0},)),
        (Float(0.0, 1.0, step=0.3), (0.9, 0.0), 2, ({0.3, 0.6}, {0.3, 0.6})),
        (Int(10, 1000, scale="log", step=10), (10.0,), 12, ({20.0, 30.0},)),
        (Ordinal(tuple(range(20))), (0.0, 10.0), 12, ({1.0, 2.0}, {8.0, 9.0, 11.0, 12.0})),
        (Categorical(("a", "b", "c")), (1.0, np.nan), 0, ({0.0, 2.0}, set())),
    ],
)
def test_neighbours_are_the_other_levels_or_the_nearest_of_many(
    kind: Parameter, codes: tuple[float, ...], most: int, expected: tuple[set[float], ...]
) -> None:
    found = kind.neighbours(np.array(codes), most)
    assert [set(row[~np.isnan(row)].tolist()) for row in found] == list(expected)
