"""Leases that ran out expire for whoever reads next."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from app.db.reclaim import reclaim
from app.db.session import Store, Whose
from app.db.studies import Address
from app.services.edit_study import remove
from tests.conftest import Api


def test_a_study_deleted_between_the_look_and_the_lock_disturbs_nobody(
    api: Api, store: Store, age_leases: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    api.create()
    api.one()
    age_leases()
    write = store.write

    def delete_first(project: Whose) -> object:
        monkeypatch.setattr(store, "write", write)
        remove(store, Address(1, "study"), purge=True)
        return write(project)

    monkeypatch.setattr(store, "write", delete_first)
    reclaim(store)
    assert store.write == write, "the lease was overdue, so reclaiming began"
    api.get(status=404)
