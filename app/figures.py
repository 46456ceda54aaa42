"""What the server counts of itself for `/metrics`, beside the figures of every request (`app.api.middleware`).

No label holds a word that a caller typed. `docs/grafana/metatune.json` draws them.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

ASK_SECONDS = Histogram(
    "metatune_ask_seconds",
    "Seconds until an ask had its answer, by where its first point came from; none: nothing was handed out",
    ["source"],
    buckets=SECONDS,
)
ASKS_OPEN = Gauge("metatune_asks_open", "Asks that wait for their answer", multiprocess_mode="livesum")
HANDED_OUT = Counter(
    "metatune_trials_handed_out_total",
    "Trials handed out, by where their point came from; again: not for the first time",
    ["source"],
)
TELLS = Counter("metatune_tells_total", "Results told, by the state told; refused: answered with a problem", ["state"])
EXPIRIES = Counter(
    "metatune_lease_expiries_total", "Leases that ran out, by what became of their trials: waiting or lost", ["state"]
)
MODEL_SECONDS = Histogram(
    "metatune_model_seconds",
    "Seconds that a model took for a point, by the point's source; of several in a row the first includes the fit",
    ["source", "point"],
    buckets=SECONDS,
)
