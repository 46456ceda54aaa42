"""Every environment variable, read once, typed. The command line overrides what it names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

PREFIX = "METATUNE_"


def _split(text: object) -> object:
    return tuple(part.strip() for part in text.split(",") if part.strip()) if isinstance(text, str) else text


Rate = Annotated[str, Field(pattern=r"^([1-9][0-9]{0,8}/(second|minute|hour|day))?$")]


class Settings(BaseModel):
    """`METATUNE_DATABASE`, `METATUNE_HOST`, … : the field's name in capitals behind the prefix."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    database: str = "sqlite:///metatune.db"
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    #: `required`: every call needs a key, also before the first one is made.
    auth: Literal["auto", "required"] = "auto"
    #: Names the server answers to beside loopback, as a browser would send them in `Host`.
    hosts: Annotated[tuple[str, ...], BeforeValidator(_split)] = ()
    #: Serve `/metrics` without a key.
    metrics_open: bool = False
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    #: Where traces go, as OTLP over HTTP: `http://collector:4318/v1/traces`; empty: none are made.
    traces: Annotated[str, Field(pattern=r"^(https?://\S+)?$")] = ""
    max_body_bytes: Annotated[int, Field(ge=1024)] = 16 * 2**20
    max_json_depth: Annotated[int, Field(ge=8, le=200)] = 64
    #: Numbers, strings, lists, … of one body together: each takes far more memory than its few bytes there.
    max_json_values: Annotated[int, Field(ge=1000)] = 1_000_000
    #: Of one dataset, table, checkpoint or model, which lie in the database.
    max_artefact_bytes: Annotated[int, Field(ge=1024)] = 256 * 2**20
    max_studies_per_project: Annotated[int, Field(ge=1)] = 100_000
    max_trials_per_study: Annotated[int, Field(ge=1)] = 1_000_000
    #: How often one key, and one address, may call: `600/minute`; empty: no limit.
    rate_per_key: Rate = ""
    rate_per_address: Rate = ""
    #: Where calls are counted: `memory` (each process for itself), or `redis://host:6379` for all processes together.
    rate_storage: Annotated[str, Field(pattern=r"^(memory|rediss?://\S+)$")] = "memory"
    #: Until a request's headers, and its body, must have come; embedded server.
    header_seconds: Annotated[float, Field(gt=0)] = 10.0
    body_seconds: Annotated[float, Field(gt=0)] = 120.0
    #: Until PostgreSQL must have answered a statement; longer ones are given up, and answered 503.
    answer_seconds: Annotated[float, Field(gt=0)] = 30.0
    #: Of one process at one time; embedded server.
    max_connections: Annotated[int, Field(ge=1)] = 2000
    #: Computations of suggestions at one time in one process; asks beyond wait without holding a thread.
    ask_threads: Annotated[int, Field(ge=1, le=64)] = 2
    #: Compute the next suggestion of a study as soon as a result was told, before anybody asks.
    speculate: bool = True
    #: Evaluations and trainings that one worker process runs at a time.
    job_slots: Annotated[int, Field(ge=1, le=1024)] = 2
    #: Seconds without a word after which a worker is dead, and others take up its work.
    worker_seconds: Annotated[float, Field(ge=2)] = 15.0
    #: Where others reach this worker process (`http://10.0.0.7:8001`); empty: where it listens.
    worker_address: Annotated[str, Field(pattern=r"^(http://\S+)?$")] = ""
    #: Days after which what the engine keeps of a finished job is deleted; its result stays until the job is.
    engine_days: Annotated[float, Field(gt=0)] = 7.0
    #: Seconds between two sweeps of expired leases (they also expire whenever their study is touched).
    sweep_seconds: Annotated[float, Field(gt=0)] = 5.0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Unknown METATUNE_ names are left alone.  Raises: pydantic.ValidationError, naming the wrong variable."""
        given = os.environ if environment is None else environment
        return cls.model_validate(
            {name: given[PREFIX + name.upper()] for name in cls.model_fields if PREFIX + name.upper() in given}
        )
