"""Settings come from the environment, typed, once."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from app.settings import Settings


def test_defaults_serve_a_file_on_loopback() -> None:
    settings = Settings.from_environment({})
    assert (settings.host, settings.port, settings.auth) == ("127.0.0.1", 8000, "auto")
    assert settings.database.startswith("sqlite:///")


def test_every_setting_is_read_from_its_variable() -> None:
    settings = Settings.from_environment(
        {
            "METATUNE_DATABASE": "postgresql://host/name",
            "METATUNE_PORT": "0",
            "METATUNE_HOSTS": " tuner.example, other.example,,",
            "METATUNE_METRICS_OPEN": "true",
            "METATUNE_AUTH": "required",
            "METATUNE_SWEEP_SECONDS": "0.5",
        }
    )
    assert (settings.database, settings.port, settings.auth) == ("postgresql://host/name", 0, "required")
    assert settings.hosts == ("tuner.example", "other.example")
    assert (settings.metrics_open, settings.sweep_seconds) == (True, 0.5)


def test_foreign_variables_are_left_alone() -> None:
    assert Settings.from_environment({"METATUNE_COLOUR": "blue", "PORT": "1"}) == Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "x"),
        ("PORT", "65536"),
        ("AUTH", "maybe"),
        ("WORKERS", "0"),
        ("LOG_LEVEL", "loud"),
        ("MAX_BODY_BYTES", "1"),
    ],
)
def test_a_wrong_value_names_its_setting(name: str, value: str) -> None:
    with pytest.raises(ValidationError, match=name.lower()):
        Settings.from_environment({f"METATUNE_{name}": value})


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]
