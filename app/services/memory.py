"""What one process remembers from one ask to the next. Nothing but time is lost with it."""

from __future__ import annotations

from dataclasses import dataclass, field

from app.services.expected import Expected
from app.services.histories import Histories
from app.services.lines import Lines
from app.services.priors import Priors
from app.services.spare import Spare


@dataclass(frozen=True)
class Memory:
    histories: Histories = field(default_factory=Histories)
    lines: Lines = field(default_factory=Lines)
    spare: Spare = field(default_factory=Spare)
    priors: Priors = field(default_factory=Priors)
    expected: Expected = field(default_factory=Expected)
