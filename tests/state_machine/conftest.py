import pytest

pytest.register_assert_rewrite("tests.state_machine.machine")
