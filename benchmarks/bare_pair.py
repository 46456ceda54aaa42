"""The floor: the least that an ask and a tell can be in FastAPI and SQLAlchemy, with the same promises of durability.

One table; ask inserts a row and returns it, tell updates it. No study, no lease, no keys, no validation to speak of.
"""

from __future__ import annotations

import json
import os
import random
from typing import Annotated, Any

from fastapi import FastAPI, Path
from pydantic import BaseModel
from sqlalchemy import Column, Float, Integer, MetaData, String, Table, Text, create_engine, event, insert, update

URL = os.environ["BARE_DATABASE"]
IS_SQLITE = URL.startswith("sqlite")

engine = create_engine(
    URL, pool_size=20, max_overflow=40, connect_args={"timeout": 20, "check_same_thread": False} if IS_SQLITE else {}
)
metadata = MetaData()
trials = Table(
    "trials",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("state", String(16), nullable=False),
    Column("params", Text, nullable=False),
    Column("value", Float),
)

if IS_SQLITE:

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


metadata.create_all(engine)
app = FastAPI()


class Told(BaseModel):
    value: float


class Trial(BaseModel):
    number: int
    state: str
    params: dict[str, float]
    value: float | None = None


@app.post("/ask")
def ask() -> Trial:
    params = {name: random.random() for name in ("x", "y", "z")}
    with engine.begin() as connection:
        row = connection.execute(
            insert(trials).values(state="running", params=json.dumps(params)).returning(trials.c.number)
        ).one()
    return Trial(number=row.number, state="running", params=params)


@app.post("/tell/{number}")
def tell(number: Annotated[int, Path(ge=1)], body: Told) -> Trial:
    with engine.begin() as connection:
        row = connection.execute(
            update(trials).where(trials.c.number == number).values(state="complete", value=body.value).returning(trials)
        ).one()
    return Trial(number=row.number, state=row.state, params=json.loads(row.params), value=row.value)
