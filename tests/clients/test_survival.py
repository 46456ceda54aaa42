"""A run outlives its server, its network and its own processes; the whole of it is `make client-survival`."""

import random

import pytest

from tests.clients.survival import Plan, survive

pytestmark = pytest.mark.slow


def test_a_run_outlives_its_server_its_network_and_its_processes(tmp_path):
    plan = Plan(n_trials=80, n_server_kills=4, n_client_kills=3, cut_seconds=2.0)
    assert survive(tmp_path, plan, random.Random(1)).problems == {}


def test_the_audit_notices_clients_that_keep_nothing(tmp_path):
    plan = Plan(n_trials=60, n_server_kills=3, n_client_kills=0, cut_seconds=3.0, is_careless=True)
    assert survive(tmp_path, plan, random.Random(1)).problems
