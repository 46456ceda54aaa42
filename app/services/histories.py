"""What studies have seen, kept from one ask to the next and brought up to date with what changed since.

See docs/decisions/histories-that-grow.md. Nothing is lost with it, and nothing depends on it but time: a history that
grew is, to the last bit, the one that all records would make.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from weakref import WeakValueDictionary

from app.db.records import changes_since
from app.db.studies import Address, OpenStudy
from app.search.history import History, Record

#: Studies and trials that one process keeps; a trial is about a kilobyte.
STUDIES_KEPT = 64
TRIALS_KEPT = 200_000


@dataclass(frozen=True)
class _Live:
    """A study's history after its first `seen` changes, and the record of every trial in it."""

    space_version: int
    seen: int
    history: History
    records: dict[int, Record]


@dataclass(frozen=True)
class News:
    """The trials that changed since a process last looked, in one snapshot; `since` is None, if it never did."""

    since: _Live | None
    seen: int
    records: Mapping[int, Record | None]


class Histories:
    """Kept by one process. Threads may share it: who wants a study's history takes a turn at it."""

    def __init__(self, studies_kept: int = STUDIES_KEPT, trials_kept: int = TRIALS_KEPT) -> None:
        self.studies_kept, self.trials_kept = studies_kept, trials_kept
        self._live: OrderedDict[int, _Live] = OrderedDict()
        self._turns: WeakValueDictionary[Address, threading.Lock] = WeakValueDictionary()
        self._lock = threading.Lock()

    @contextmanager
    def turn(self, address: Address) -> Iterator[None]:
        """From the look at the news until the history has grown: it has only one future."""
        with self._lock:
            own = self._turns.get(address)
            if own is None:
                own = self._turns[address] = threading.Lock()
        with own:
            yield

    def news(self, here: OpenStudy) -> News:
        """In the transaction, which may end then."""
        with self._lock:
            live = self._live.get(here.study.id)
        if live is not None and live.space_version != here.study.space_version:
            live = None
        return News(live, here.study.n_changes, changes_since(here, -1 if live is None else live.seen))

    def grown(self, here: OpenStudy, news: News) -> History:
        """The study's history in the snapshot of the news."""
        live = news.since
        if live is not None and live.seen == news.seen:
            history, records = live.history, live.records
        elif live is not None and _only_grows(live.records, news.records):
            history, records = _grow(live.history, news.records), live.records
            _note(records, news.records)
        else:
            records = {} if live is None else live.records
            _note(records, news.records)
            history = History.of(here.definition.space, here.definition.goal, records.values())
        self._keep(here.study.id, _Live(here.study.space_version, news.seen, history, records))
        return history

    def _keep(self, study_id: int, live: _Live) -> None:
        """Forgets those looked at longest ago, where there are too many."""
        with self._lock:
            self._live[study_id] = live
            self._live.move_to_end(study_id)
            while len(self._live) > 1 and (
                len(self._live) > self.studies_kept
                or sum(len(one.records) for one in self._live.values()) > self.trials_kept
            ):
                self._live.popitem(last=False)


def _only_grows(known: Mapping[int, Record], news: Mapping[int, Record | None]) -> bool:
    """A result that was corrected or taken back, and a trial that is tried again, need the arrays anew."""
    return all(number not in known or known[number].state == "pending" for number in news)


def _grow(history: History, news: Mapping[int, Record | None]) -> History:
    gone = {number for number, record in news.items() if record is None} & history.pending.keys()
    if gone:
        history = replace(history, pending={n: r for n, r in history.pending.items() if n not in gone})
    return history.grown(record for record in news.values() if record is not None)


def _note(known: dict[int, Record], news: Mapping[int, Record | None]) -> None:
    for number, record in news.items():
        if record is None:
            known.pop(number, None)
        else:
            known[number] = record
