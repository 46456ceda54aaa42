"""A space from a dataclass or a Pydantic model is the space that the functions would write."""

import enum
from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field

import metatune
from metatune.annotations import instance_of, space_of


class Kernel(enum.Enum):
    RBF = "rbf"
    POLY = "poly"


@dataclass
class Machine:
    C: Annotated[float, metatune.float_(1e-3, 1e3, scale="log")]
    kernel: Kernel = Kernel.RBF
    degree: Annotated[int | None, metatune.int_(2, 6, when={"kernel": ["poly"]})] = None
    decay: Literal["none", "cosine"] = "none"
    shrinking: bool = True
    cache_mb: Annotated[int, metatune.fixed(200)] = 200
    notes: list[str] = field(default_factory=list, init=False)


class Network(BaseModel):
    lr: Annotated[float, metatune.float_(1e-5, 1.0, scale="log")] = 1e-3
    layers: int = Field(3, ge=1, le=8)
    dropout: Annotated[float, Field(ge=0.0, le=0.5)]
    optimizer: Literal["sgd", "adam"] = "adam"


def test_a_dataclass_says_what_the_functions_would():
    assert space_of(Machine) == {
        "C": metatune.float_(1e-3, 1e3, scale="log"),
        "kernel": metatune.categorical(["rbf", "poly"], default="rbf"),
        "degree": metatune.int_(2, 6, when={"kernel": ["poly"]}),
        "decay": metatune.categorical(["none", "cosine"], default="none"),
        "shrinking": metatune.bool_(default=True),
        "cache_mb": metatune.fixed(200),
    }


def test_a_pydantic_model_says_what_the_functions_would():
    assert space_of(Network) == {
        "lr": metatune.float_(1e-5, 1.0, scale="log", default=1e-3),
        "layers": metatune.int_(1, 8, default=3),
        "dropout": metatune.float_(0.0, 0.5),
        "optimizer": metatune.categorical(["sgd", "adam"], default="adam"),
    }


def test_params_become_an_instance_again():
    poly = instance_of(Machine, {"C": 2.0, "kernel": "poly", "degree": 3, "decay": "cosine", "shrinking": False})
    assert (poly.kernel, poly.degree, poly.shrinking, poly.cache_mb) == (Kernel.POLY, 3, False, 200)
    assert instance_of(Machine, {"C": 2.0, "kernel": "rbf"}).degree is None
    assert instance_of(Network, {"lr": 0.1, "layers": 2, "dropout": 0.1, "optimizer": "sgd"}).layers == 2


def test_a_model_validates_its_own_params():
    with pytest.raises(ValueError, match="dropout"):
        instance_of(Network, {"lr": 0.1, "layers": 2, "dropout": 0.9, "optimizer": "sgd"})


def test_params_of_another_space_are_refused_by_name():
    with pytest.raises(TypeError, match="Machine has no field momentum"):
        instance_of(Machine, {"C": 1.0, "momentum": 0.9})


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (float, r"Write lr: Annotated\[float, metatune.float_\(1e-5, 1, scale='log'\)\]"),
        (int, r"metatune.int_\(1, 8\)"),
        (str, r"metatune.categorical\(\[\.\.\.\]\)"),
        (Annotated[float, "a comment"], "does not say what to search over"),
        (Annotated[float, metatune.float_(0, 1), metatune.float_(0, 2)], "one is enough"),
    ],
)
def test_a_field_that_says_too_little_is_taught_what_to_say(annotation, message):
    wrong = dataclass(type("Wrong", (), {"__annotations__": {"lr": annotation}}))
    with pytest.raises(TypeError, match=message):
        space_of(wrong)


@pytest.mark.parametrize("thing", [3, "lr", Network(dropout=0.1), int])
def test_what_is_no_space_is_refused(thing):
    with pytest.raises(TypeError, match=r"dataclass|annotations"):
        space_of(thing)


def test_a_dictionary_is_taken_as_it_is():
    assert space_of({"x": metatune.bool_()}) == {"x": {"type": "bool"}}
