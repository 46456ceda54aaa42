"""How well few-shot learners do on alphabets that they have never seen, after a few minutes on one core.

Omniglot has five alphabets here; two are held out, drawn by the seed or named with --hold. Time is the CPU time of
this process, which is pinned to one core and computes with one thread; compiling counts. Judged by 5-way 1-shot,
5-way 5-shot and 20-way 1-shot tasks, with 95 % intervals over tasks; --hog is the floor that needs no training.

    python -m benchmarks.fewshot --methods prototypical maml --seconds 300 --seeds 0 1 2
"""

# ruff: noqa: E402  (how many threads compute is read when NumPy and JAX are imported)

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
for threads in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(threads, "1")

import numpy as np

from app.fewshot.dataset import Dataset, made
from app.fewshot.judge import Judgement, Tasks, judged, nearest_centroid
from app.fewshot.learner import Learner
from app.fewshot.spec import METHODS, spec_of
from app.fewshot.split import SplitRule, split
from app.fewshot.training import Training

DATA = Path(__file__).resolve().parents[2] / "shared" / "bench-data" / "omniglot-small1.npz"
RESULTS = Path(__file__).parent / "results" / "fewshot.jsonl"
KINDS = ((5, 1), (5, 5), (20, 1))
N_TASKS = {True: 600, False: 2000}  # of gradient-based methods, whose every task is learnt anew, and of the others
JUDGE_SEED = 1_000_003
CURVE_AT = (30, 60, 100, 150, 200, 300, 450, 600, 900)


def omniglot() -> Dataset:
    if not DATA.exists():
        sys.exit(f"{DATA} is not there: this benchmark needs Omniglot's five alphabets")
    with np.load(DATA) as file:
        images, alphabet = file["images"], file["alphabet"]
    drawers = images.shape[1]
    y = np.repeat(np.arange(len(images)), drawers)
    return made(images.reshape(-1, *images.shape[2:]), y, np.repeat(alphabet, drawers))


def held_out(data: Dataset, seed: int) -> tuple[str, ...]:
    alphabets = sorted(set(data.groups or ()))
    return tuple(alphabets[i] for i in np.random.default_rng(seed).permutation(len(alphabets))[:2])


def scores(learner: Learner, data: Dataset, numbers: tuple[int, ...], n_tasks: int) -> list[Judgement]:
    """On the held-out alphabets, in the order of KINDS."""
    pool = data.pool(numbers)
    return [
        judged(learner, pool, Tasks(ways, shots, 5, n_tasks if ways == 5 else n_tasks // 3, JUDGE_SEED))[0]
        for ways, shots in KINDS
    ]


def run(method: str, seed: int, options: argparse.Namespace, data: Dataset) -> list[dict[str, Any]]:
    hold = tuple(options.hold) or held_out(data, seed)
    parts = split(data, SplitRule(validation=hold), seed)
    spec = spec_of(
        method=method,  # type: ignore[arg-type]
        kind="classification",
        shape=data.shape,
        ways=5,
        shots=1,
        queries=5,
        backbone="hog" if options.hog else None,
        augment=options.augment,
        seed=seed,
        options=json.loads(options.options),
    )
    training = Training(spec, data.pool(parts.train))
    found: list[dict[str, Any]] = []
    times = [at for at in CURVE_AT if at < options.seconds] + [options.seconds]
    used = 0.0
    for at in times if spec.is_trained else [0]:
        while used < at:
            start = time.process_time()
            training.advance(1, used / options.seconds)
            used += time.process_time() - start
        last = at == times[-1] or not spec.is_trained
        learner = training.learner()
        n_tasks = N_TASKS[learner.is_gradient_based] // (1 if last else 4)
        judgements = scores(learner, data, parts.validation, n_tasks)
        line = {"method": method, "backbone": spec.backbone, "seed": seed, "hold": hold, "seconds": round(used, 1)}
        line |= {"updates": training.n_updates, "final": last, "options": options.options}
        line |= {"augment": spec.augment}
        line |= {name_of(kind): [j.mean, j.half_width] for kind, j in zip(KINDS, judgements, strict=True)}
        if last and learner.is_gradient_based:
            for name, steps in (("unadapted", 0), ("one step", 1)):
                less = replace(learner, spec=replace(spec, adapt_steps=steps))
                there = judged(less, data.pool(parts.validation), Tasks(5, 1, 5, n_tasks, JUDGE_SEED))[0]
                line[name] = [there.mean, there.half_width]
        show(line)
        found.append(line)
        if last and options.keep:
            options.keep.mkdir(parents=True, exist_ok=True)
            (options.keep / f"{method}-{seed}-{'-'.join(hold)}.npz").write_bytes(learner.to_bytes())
    return found


def name_of(kind: tuple[int, int]) -> str:
    return f"{kind[0]}-way {kind[1]}-shot"


def show(line: dict[str, Any]) -> None:
    cells = "".join(f"{100 * line[name_of(k)][0]:8.1f} ± {100 * line[name_of(k)][1]:3.1f}" for k in KINDS)
    held = "+".join(line["hold"])
    print(
        f"{line['method']:14}{line['backbone']:8}{line['seed']:3}{line['seconds']:8.0f} s{cells}   {held}", flush=True
    )


def time_an_adaptation(data: Dataset, options: dict[str, Any]) -> None:
    """CPU time of a 5-way 5-shot adaptation with 25 queries, by an untrained learner: the weights do not matter."""
    spec = spec_of(
        method="prototypical", kind="classification", shape=data.shape, ways=5, shots=5, queries=5,
        backbone=None, augment=None, seed=0, options=options,
    )  # fmt: skip
    pool = data.pool(range(len(data.names)))
    learner = Training(spec, pool).learner()
    episodes = [pool.draw(np.random.default_rng(seed), 1, 5, 5, 5) for seed in range(50)]
    spent = {"adapt and 25 queries": [], "nearest centroid on pixels": []}  # type: dict[str, list[float]]
    for episode in episodes:
        support, y, queries, _ = (part[0] for part in episode)
        start = time.process_time()
        learner.adapt(support, y, 5).predict(queries)
        spent["adapt and 25 queries"].append(time.process_time() - start)
        start = time.process_time()
        nearest_centroid(support.reshape(25, -1), y, queries.reshape(25, -1), 5)
        spent["nearest centroid on pixels"].append(time.process_time() - start)
    for name, times in spent.items():
        print(f"{name}: median {1000 * np.median(times):.1f} ms, 95 % within {1000 * np.quantile(times, 0.95):.1f} ms")


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--methods", nargs="*", default=list(METHODS), choices=METHODS)
    options.add_argument("--seconds", type=float, default=300)
    options.add_argument("--seeds", type=int, nargs="*", default=[0])
    options.add_argument("--hold", nargs="*", default=[], help="alphabets to hold out; left out, two by the seed")
    options.add_argument("--options", default="{}", help="as in the call that trains a learner, JSON")
    options.add_argument("--augment", nargs="*", help="as in the call; left out, what is usual")
    options.add_argument("--hog", action="store_true", help="the engine-free backbone")
    options.add_argument("--keep", type=Path, help="folder for the learners at their ends")
    options.add_argument("--adapt", action="store_true", help="time adaptations instead")
    options.add_argument("--core", type=int, default=None)
    chosen = options.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {chosen.core if chosen.core is not None else min(os.sched_getaffinity(0))})
    data = omniglot()
    if chosen.adapt:
        time_an_adaptation(data, json.loads(chosen.options))
        return
    RESULTS.parent.mkdir(exist_ok=True)
    for seed in chosen.seeds:
        for method in chosen.methods:
            lines = run(method, seed, chosen, data)
            with RESULTS.open("a") as file:
                file.writelines(json.dumps(line) + "\n" for line in lines)


if __name__ == "__main__":
    main()
