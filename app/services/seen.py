"""A study as it was at one moment, with the model of it: what everybody looks at who asks what the model says.

One short read for the snapshot, closed before any matrix is touched, of what changed since the process last looked.
The model is the one that suggests: it is made of the same trials with the study's seed, and of what past studies lend,
whatever algorithm the study itself uses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from app.db.reclaim import reading
from app.db.session import Store
from app.db.studies import Address, OpenStudy
from app.definition import Definition
from app.errors import Invalid, NoResultYet
from app.search.history import History
from app.search.space import SearchSpace
from app.services.memory import Memory
from app.services.priors import Lent

if TYPE_CHECKING:  # half a second for SciPy that other answers need not wait for
    from app.search.models import Modelled
    from app.search.prior import Prior

Look = TypeVar("Look")


@dataclass(frozen=True)
class Seen:
    """A study as it was at one moment."""

    name: str
    definition: Definition
    history: History
    lending: Callable[[], Lent]

    @cached_property
    def prior(self) -> Prior | None:
        """What past studies lend to it; made when first asked for."""
        return self.lending().prior

    @property
    def space(self) -> SearchSpace:
        return self.definition.space

    @property
    def n_measured(self) -> int:
        return int(self.history.is_measured.sum())

    @property
    def has_model(self) -> bool:
        from app.search.belief import MIN_MEASURED

        return self.n_measured >= MIN_MEASURED and self.space.n_dimensions > 0

    def require_model(self) -> None:
        """Raises: NoResultYet; Invalid, if there is nothing to model."""
        if self.space.n_dimensions == 0:
            raise Invalid("every parameter of this study is fixed: there is nothing to model")
        if not self.has_model:
            raise NoResultYet(
                f"the model needs two results, study {self.name!r} has {self.n_measured}; tell some trials first"
            )

    def objective(self, j: int) -> Modelled:
        """Raises: FitFailed, NotPositiveDefinite."""
        from app.search.kernels import Embedding
        from app.search.prior import objective_model

        return objective_model(self.history, Embedding.of(self.space), j, self.definition.seed, self.prior)


def see(store: Store, memory: Memory, address: Address, look: Callable[[OpenStudy], Look]) -> tuple[Seen, Look]:
    """The study, and what else `look` reads in the same snapshot.

    Raises: StudyNotFound, StudyReplaced, and what `look` raises.
    """
    with memory.histories.turn(Address(address.project_id, address.name)):
        with reading(store, address) as here:
            looked = look(here)
            lending = memory.priors.look(here)
            news = memory.histories.news(here)
        history = memory.histories.grown(here, news)
    return Seen(here.study.name, here.definition, history, lending), looked
