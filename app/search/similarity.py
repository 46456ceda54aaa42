"""How alike a past study is to a new one, before the new one has results: by space, words and metafeatures."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.search.space import SearchSpace
from app.search.transfer import matching

MIN_COVERAGE = 0.5  # of the new study's parameters: below, a source says too little about where to look
UNKNOWN = 0.5  # likeness of what one of the two does not tell


@dataclass(frozen=True)
class Portrait:
    """What is known of a study without its trials; space None: somebody described it in words alone."""

    space: SearchSpace | None
    words: Sequence[str]
    metafeatures: Mapping[str, float]


@dataclass(frozen=True)
class Likeness:
    """similarity, coverage, words and metafeatures in [0, 1]; the last two None where one of the two says nothing.

    matched: parameters of the new study, and what the past one calls them.
    """

    similarity: float
    coverage: float
    words: float | None
    metafeatures: float | None
    matched: Mapping[str, str]

    @property
    def covers(self) -> bool:
        return self.coverage >= MIN_COVERAGE

    @property
    def why(self) -> str:
        parts = [f"it tuned {round(100 * self.coverage)} % of the parameters"]
        if self.words is not None:
            parts.append(f"its words agree to {round(100 * self.words)} %")
        if self.metafeatures is not None:
            parts.append(f"its metafeatures to {round(100 * self.metafeatures)} %")
        return ", ".join(parts)


def likenesses(
    new: Portrait, past: Sequence[Portrait], aliases: Mapping[str, Sequence[str]] | None = None
) -> list[Likeness]:
    """Of each past study, in the order given: its coverage times the mean of what else speaks for it."""
    documents = [set(one.words) for one in (new, *past)]
    count = Counter(word for words in documents for word in words)
    weight = {word: math.log((1 + len(documents)) / n) for word, n in count.items()}
    found = []
    for one in past:
        matched = {} if new.space is None or one.space is None else matching(new.space, one.space, aliases)
        coverage = len(matched) / max(new.space.n_dimensions, 1) if new.space is not None else 1.0
        words = _cosine(set(new.words), set(one.words), weight)
        metafeatures = _nearness(new.metafeatures, one.metafeatures)
        parts = [1.0, UNKNOWN if words is None else words, UNKNOWN if metafeatures is None else metafeatures]
        found.append(Likeness(coverage * sum(parts) / 3, coverage, words, metafeatures, matched))
    return found


def _cosine(a: set[str], b: set[str], weight: Mapping[str, float]) -> float | None:
    """Of two bags of words weighted by how rare a word is among the studies compared (TF-IDF)."""
    if not a or not b:
        return None
    size = math.sqrt(sum(weight[word] ** 2 for word in a) * sum(weight[word] ** 2 for word in b))
    return sum(weight[word] ** 2 for word in a & b) / size if size > 0 else None


def _nearness(a: Mapping[str, float], b: Mapping[str, float]) -> float | None:
    """exp(−mean difference) of the common ones, on a scale that is linear near 0 and logarithmic beyond."""
    common = a.keys() & b.keys()
    if not common:
        return None
    return math.exp(-sum(abs(math.asinh(a[name]) - math.asinh(b[name])) for name in common) / len(common))
