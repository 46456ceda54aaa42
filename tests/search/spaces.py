"""Search spaces that several tests ask in."""

from __future__ import annotations

from app.search.space import Bool, Categorical, Fixed, Float, Int, Ordinal, SearchSpace

BOX = SearchSpace({f"x{j}": Float(-5, 5) for j in range(5)})
SMALL = SearchSpace(
    {"a": Int(0, 3), "c": Categorical(("p", "q", 1)), "n": Bool(when={"c": ("p",)}), "f": Fixed(3)}, ("a <= 2",)
)
CHOICES = SearchSpace({f"c{j}": Categorical(("a", "b", "c", "d")) for j in range(4)})
MIXED = SearchSpace(
    {
        "C": Float(1e-3, 1e3, "log"),
        "gamma": Float(1e-6, 10, "log"),
        "kernel": Categorical(("rbf", "poly", "sigmoid")),
        "degree": Int(2, 6, when={"kernel": ("poly",)}),
        "batch": Ordinal((16, 32, 64, 128)),
        "width": Int(8, 512, "log"),
        "rate": Float(0, 1, step=0.1, when={"shrinking": (True,)}),
        "shrinking": Bool(),
    },
    ("C * gamma <= 100", "rate + 0.001 * width <= 1.2"),
)
BAND = SearchSpace({"x": Float(0, 1), "y": Float(0, 1)}, ("x + y <= 1.001", "x + y >= 0.999"))
