"""One client process: asks, tells, enqueues and gives back at random, and keeps a ledger of it.

Every line is on disk before the call it announces is sent, or before the answer it records is used:
`{"call", "do", "study", …}` before, `{"call", "status", …}` after. A call that got no answer is sent again,
with the same Idempotency-Key, until it has one. SIGTERM: finish what is under way, and leave.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from tests.ledger.studies import STUDIES

#: Answers that ask for the same call again.
NOT_NOW = frozenset({429, 503})


class Ledger:
    """Lines that are on disk when `write` returns."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("ab")

    def write(self, **line: Any) -> None:
        self.file.write(json.dumps(line).encode() + b"\n")
        self.file.flush()
        os.fsync(self.file.fileno())


class Worker:
    def __init__(
        self,
        urls: list[str],
        name: str,
        ledger: Ledger,
        rng: random.Random,
        studies: list[str],
        is_zombie: bool = False,
    ) -> None:
        self.urls = urls
        self.name = name
        self.ledger = ledger
        self.rng = rng
        self.studies = studies
        #: Now and then it is stopped until its lease has run out, and then goes on as if nothing had been.
        self.is_zombie = is_zombie
        self.http = httpx.Client(timeout=20.0)
        self.is_leaving = False
        self.calls = 0

    def run(self) -> None:
        while not self.is_leaving:
            study = self.rng.choice(self.studies)
            if STUDIES[study].is_enqueued and self.rng.random() < 0.1:
                self.enqueue(study)
            else:
                self.ask_and_tell(study)

    def ask_and_tell(self, study: str) -> None:
        body: dict[str, Any] = {"count": self.rng.choice((1, 1, 1, 2, 4)), "worker": self.name}
        falls_asleep = self.is_zombie and self.rng.random() < 0.15
        # asked for a second and left alone: somebody else gets it then
        is_brief = not falls_asleep and self.rng.random() < 0.1
        if is_brief or falls_asleep:
            body["lease_seconds"] = 1.0
        elif self.rng.random() < 0.05:
            body["resume"] = True
        key = f"{self.rng.getrandbits(128):032x}"
        asked = self.call("ask", study, f"/v1/studies/{study}/ask", body, key=key)
        if self.rng.random() < 0.1:  # as a client that did not hear the answer
            self.call("ask", study, f"/v1/studies/{study}/ask", body, key=key)
        if asked is None or not asked["trials"]:
            time.sleep(0.05)
            return
        if falls_asleep:
            os.kill(os.getpid(), signal.SIGSTOP)
        for trial in asked["trials"]:
            token = (trial["lease"] or {}).get("token")  # none: when the answer was heard somebody else had it
            if token is not None and not is_brief:
                self.work_on(study, trial["number"], token)

    def work_on(self, study: str, number: int, token: str) -> None:
        trial = f"/v1/studies/{study}/trials/{number}"
        dice = self.rng.random()
        if dice < (0.25 if self.is_zombie else 0.08):  # left alone: it becomes somebody else's once its lease is aged
            return
        if dice < (0.3 if self.is_zombie else 0.16):
            self.call("release", study, f"{trial}/release", {"lease": token}, number=number)
            return
        if dice < (0.4 if self.is_zombie else 0.26):
            report = {"step": 1, "value": self.rng.random(), "lease": token}
            self.call("report", study, f"{trial}/report", report, number=number)
        result: dict[str, Any] = {"value": self.rng.gauss(0.0, 1.0) * 10.0 ** self.rng.randint(-12, 12), "lease": token}
        if dice > 0.97:
            result = {"state": "failed", "reason": "no luck", "lease": token}
        elif dice > 0.94:
            result = {"value": "nan", "lease": token}
        told = self.call("tell", study, f"{trial}/tell", result, number=number)
        if self.rng.random() < 0.1:
            self.call("tell", study, f"{trial}/tell", result, number=number)
        if self.rng.random() < 0.05 and told is not None:  # else, without a lease, it would be a late word, and welcome
            self.call("tell differently", study, f"{trial}/tell", {"value": 0.125}, number=number)

    def enqueue(self, study: str) -> None:
        params = {name: draw(self.rng) for name, draw in STUDIES[study].draws.items()}
        key = f"{self.rng.getrandbits(128):032x}"
        self.call("enqueue", study, f"/v1/studies/{study}/trials", {"params": params}, key=key)

    def call(
        self, do: str, study: str, path: str, body: Any, *, key: str | None = None, number: int | None = None
    ) -> Any:
        """Sends until there is an answer, through any of the servers."""
        self.calls += 1
        call = f"{self.name}-{os.getpid()}-{self.calls}"
        self.ledger.write(call=call, do=do, study=study, key=key, number=number, body=body)
        headers = {} if key is None else {"Idempotency-Key": key}
        for pause in self.pauses():
            try:
                response = self.http.post(self.rng.choice(self.urls) + path, json=body, headers=headers)
            except httpx.TransportError:
                time.sleep(pause)
                continue
            if response.status_code in NOT_NOW:
                time.sleep(pause)
                continue
            answer = response.json() if response.content else None
            self.ledger.write(call=call, status=response.status_code, answer=answer)
            return answer if response.is_success else None
        return None

    def pauses(self) -> Iterator[float]:
        """Seconds between one attempt and the next; the server may be away for a minute."""
        give_up_at = time.monotonic() + 120
        while time.monotonic() < give_up_at:
            yield 0.05 + 0.1 * self.rng.random()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", action="append", required=True)
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--study", action="append", required=True)
    parser.add_argument("--zombie", action="store_true")
    given = parser.parse_args()
    ledger, rng = Ledger(given.ledger), random.Random(given.seed)
    worker = Worker(given.url, given.name, ledger, rng, given.study, given.zombie)

    def leave(*_: object) -> None:
        worker.is_leaving = True

    signal.signal(signal.SIGTERM, leave)
    with suppress(KeyboardInterrupt):
        worker.run()


if __name__ == "__main__":
    main()
