"""Every POST can be retried: the short form of `make retries`, and the control that shows that it would see a bug."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ledger.retries import ASKED, RECIPES, SPOILED, force, posts, site

#: Of each POST, so that about everything happens to it.
N = 4 * len(SPOILED)


def test_every_post_has_a_recipe() -> None:
    assert set(posts()) == set(RECIPES | ASKED)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_no_post_takes_effect_twice_whatever_becomes_of_its_connection(folder: Path, kind: str) -> None:
    for recipes, roles in ((RECIPES, "api"), (ASKED, "both")):
        with site(folder / roles, kind, roles=roles) as servers:
            tallies = {route: force(servers, route, N) for route in recipes}
        for route, tally in tallies.items():
            assert tally.retries >= N, route
            assert (tally.double, tally.missing, tally.different, tally.refused) == (0, 0, 0, 0), (route, tally.example)


@pytest.mark.slow
def test_keys_that_are_forgotten_are_noticed_where_something_is_made(folder: Path) -> None:
    with site(folder, "sqlite", "forgotten-keys") as servers:
        for route in ("/v1/keys", "/v1/studies", "/v1/studies/{study}/ask", "/v1/studies/{study}/trials"):
            assert force(servers, route, N).double, route


@pytest.mark.slow
def test_a_run_goes_on_where_it_stopped(folder: Path) -> None:
    route = "/v1/studies/{study}/ask"
    tallies = []
    for n in (N, N, 3 * N):
        with site(folder, "sqlite") as servers:
            tallies.append(force(servers, route, n))
    assert tallies[0] == tallies[1]
    assert tallies[0].retries >= N
    assert tallies[2].retries >= 3 * N
    assert tallies[2].calls > tallies[1].calls
