"""The asynchronous client: the same names as the synchronous one, the same requests, and what becomes of its trials."""

import asyncio
import inspect
import json

import httpx
import pytest

import metatune
from benchmarks.server import Server
from metatune.async_fewshot import AsyncAdaptation, AsyncEvaluation, AsyncFewShot, AsyncLearner
from metatune.async_nas import AsyncSearch, AsyncSearches
from metatune.fewshot import Adaptation, Evaluation, FewShot, Learner
from metatune.nas import Search, Searches

PAIRS = [
    (metatune.Client, metatune.AsyncClient),
    (metatune.Study, metatune.AsyncStudy),
    (metatune.Trial, metatune.AsyncTrial),
    (Searches, AsyncSearches),
    (Search, AsyncSearch),
    (FewShot, AsyncFewShot),
    (Learner, AsyncLearner),
    (Adaptation, AsyncAdaptation),
    (Evaluation, AsyncEvaluation),
]
SPACE = {"x": metatune.float_(0, 1)}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("server")) as server:
        yield server


def names_of(kind):
    return {name for name in dir(kind) if not name.startswith("_")}


@pytest.mark.parametrize(("sync", "asynchronous"), PAIRS)
def test_both_clients_have_the_same_names_and_arguments(sync, asynchronous):
    assert names_of(sync) == names_of(asynchronous)
    for name in names_of(sync):
        one, other = getattr(sync, name), getattr(asynchronous, name)
        if callable(one):
            assert list(inspect.signature(one).parameters) == list(inspect.signature(other).parameters), name


def test_both_clients_send_the_same():
    sent: list[list[tuple[str, str, object, object]]] = [[], []]
    answers = {
        "ask": {"trials": [{"number": 1, "state": "running", "params": {"x": 1.0}, "lease": {"token": "t"}}]},
        "tell": {"number": 1, "state": "complete", "params": {}},
        "report": {"prune": False, "stop": False},
        "heartbeat": {},
        "best": {"number": 1},
        "trials": {"trials": []},
        "studies": {"items": [{"name": "s"}], "next": None},
        "knowledge": {"items": [], "next": None},
        "import": {"imported": 0},
    }

    def answer(requests):
        def handle(request):
            body = json.loads(request.content) if request.content else None
            requests.append((request.method, str(request.url), body, sorted(request.headers)))
            return httpx.Response(200, json=answers.get(request.url.path.rsplit("/", 1)[-1], {"name": "s", "uid": "u"}))

        return httpx.MockTransport(handle)

    def sync():
        client = metatune.Client("http://t", "k", transport=answer(sent[0]))
        study = client.study("s", SPACE, seed=1, warm_start=["a"], metafeatures={"rows": 3})
        with study.trial(worker="w") as trial:
            trial.report(1, 0.5)
            trial.checkpoint("s3://there")
            trial.tell(0.25, noise=0.1)
        trial.explanation()
        trial.remove("by mistake")
        study.update(tags={"a": "b"})
        study.edit_space({"x": None}, dry_run=True)
        study.find_best("mean", everywhere=True)
        study.pareto({"value": 2})
        study.prior()
        study.edit_prior(exclude=["a"], include=["b"], caps={"c": 0.5})
        study.add_many([{"params": {"x": 1}, "value": 2}])
        study.copy("t").delete(purge=True)
        client.restore("t")
        list(client.studies(tags={"a": "b"}))
        client.recommend(SPACE, count=2, metafeatures={"rows": 3})
        list(client.knowledge())
        client.export_knowledge(raw=False)
        client.import_knowledge({"entries": []})
        client.forget_knowledge("a")

    async def asynchronous():
        client = metatune.AsyncClient("http://t", "k", transport=answer(sent[1]))
        study = await client.study("s", SPACE, seed=1, warm_start=["a"], metafeatures={"rows": 3})
        async with study.trial(worker="w") as trial:
            await trial.report(1, 0.5)
            await trial.checkpoint("s3://there")
            await trial.tell(0.25, noise=0.1)
        await trial.explanation()
        await trial.remove("by mistake")
        await study.update(tags={"a": "b"})
        await study.edit_space({"x": None}, dry_run=True)
        await study.find_best("mean", everywhere=True)
        await study.pareto({"value": 2})
        await study.prior()
        await study.edit_prior(exclude=["a"], include=["b"], caps={"c": 0.5})
        await study.add_many([{"params": {"x": 1}, "value": 2}])
        await (await study.copy("t")).delete(purge=True)
        await client.restore("t")
        [one async for one in client.studies(tags={"a": "b"})]
        await client.recommend(SPACE, count=2, metafeatures={"rows": 3})
        [one async for one in client.knowledge()]
        await client.export_knowledge(raw=False)
        await client.import_knowledge({"entries": []})
        await client.forget_knowledge("a")

    sync()
    asyncio.run(asynchronous())
    assert sent[0] == sent[1]
    assert len(sent[0]) == 23


def test_a_search_is_submitted_and_followed_alike(capsys):
    info = {"name": "n", "state": "succeeded", "progress": 1.0, "error": None}
    answers = {
        "pareto": {"best": {"id": 1}, "items": [{"id": 1}]},
        "architectures": {"items": [{"id": 1}], "next": None},
    }
    sent: list[list[tuple[str, str, object]]] = [[], []]

    def answer(requests):
        def handle(request):
            requests.append((request.method, str(request.url), json.loads(request.content or b"null")))
            return httpx.Response(200, json=answers.get(request.url.path.rsplit("/", 1)[-1], info))

        return httpx.MockTransport(handle)

    async def asynchronous():
        client = metatune.AsyncClient("http://t", transport=answer(sent[1]))
        search = await client.nas.search("n", space={"type": "cell"}, evaluator={"name": "train"})
        await (await search.wait()).cancel()
        return await search.best, [one async for one in search.architectures()]

    search = metatune.Client("http://t", transport=answer(sent[0])).nas.search(
        "n", space={"type": "cell"}, evaluator={"name": "train"}
    )
    search.wait().cancel()
    assert (search.best, list(search.architectures())) == asyncio.run(asynchronous())
    assert sent[0] == sent[1]
    assert len(sent[0]) == 5


def run(server, name, work, **definition):
    """`work(study)` on a new study of that name."""

    async def inside():
        async with metatune.AsyncClient(server.url) as client:
            return await work(await client.study(name, SPACE, algorithm="random", **definition))

    return asyncio.run(asyncio.wait_for(inside(), 60))


def test_a_study_is_optimised_by_tasks_and_listed(server):
    all_four: asyncio.Barrier

    async def objective(trial):
        await all_four.wait()  # each waits for three others
        return trial.params["x"]

    async def work(study):
        nonlocal all_four
        all_four = asyncio.Barrier(4)
        await study.optimize(objective, n_trials=12, n_jobs=4, progress=False)
        return [trial async for trial in study.trials(state="complete")], await study.best

    trials, best = run(server, "tasks", work)
    assert [trial.number for trial in trials] == list(range(1, 13))
    assert best.value == min(trial.value for trial in trials)


def test_each_end_of_a_block_is_told(server):
    async def work(study):
        async with study.trial() as trial:
            await trial.tell(1.0)
        async with study.trial() as trial:
            raise metatune.Pruned("no hope")
        with pytest.raises(ZeroDivisionError):
            async with study.trial():
                print(1 / 0)
        with pytest.raises(metatune.Invalid):
            async with study.trial() as trial:
                await trial.tell({"speed": 2.0})
        return [trial async for trial in study.trials()]

    trials = run(server, "ends", work)
    assert [trial.state for trial in trials] == ["complete", "pruned", "failed", "failed"]
    assert trials[2].document["reason"].startswith("ZeroDivisionError: division by zero\n\nTraceback")


def test_a_cancelled_task_gives_its_trials_back(server):
    async def work(study):
        all_four = asyncio.Barrier(4)  # the three objectives, and we

        async def objective(_):
            await all_four.wait()
            await asyncio.sleep(60)

        loop = asyncio.create_task(study.optimize(objective, n_jobs=3, progress=False))
        await all_four.wait()
        loop.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loop
        return [trial async for trial in study.trials()]

    trials = run(server, "cancelled", work)
    assert len(trials) == 3
    assert {trial.state for trial in trials} == {"waiting"}


def test_heartbeats_outlast_the_lease_also_beside_a_function_that_blocks(server):
    async def work(study):
        import time

        def objective(trial):
            time.sleep(1.6)
            return 1.0

        await study.optimize(objective, n_trials=1, lease_seconds=1, progress=False)
        return [trial async for trial in study.trials()]

    [trial] = run(server, "heartbeats", work)
    assert (trial.state, trial.attempt) == ("complete", 1)


def test_an_objective_that_only_fails_ends_the_loop(server):
    async def objective(_):
        raise OSError("disk full")

    async def work(study):
        with pytest.raises(OSError, match="disk full"):
            await study.optimize(objective, n_trials=100, max_failures=3, progress=False)
        return [trial async for trial in study.trials()]

    assert [trial.state for trial in run(server, "fails", work)] == ["failed"] * 3


def test_a_result_that_waits_is_delivered(server, outbox):
    async def work(study):
        [trial] = await study.ask()
        async with metatune.AsyncClient("http://127.0.0.1:9", retry_seconds=0) as away:
            lost = metatune.AsyncTrial(away._connection, study.name, study.uid, trial.document)
            await lost.tell(0.5)
        assert not lost.is_delivered
        for file in outbox.rglob("*.json"):  # as if it had been this server that was away
            target = study._connection.outbox.folder / study.uid / file.name
            target.parent.mkdir(parents=True)
            file.rename(target)
        delivered = await study.deliver()
        return delivered, await study.get_trial(trial.number)

    delivered, trial = run(server, "waits", work)
    assert delivered == metatune.Delivered(delivered=1)
    assert trial.value == 0.5
