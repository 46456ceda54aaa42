"""A campaign: servers are killed, databases crashed and networks cut under load, and then we look what is left.

A folder keeps its database, ledgers and progress, so that a campaign that was interrupted goes on where it was.
`chaos` prints the table.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from app.db.migrate import migrate
from app.db.session import Store
from benchmarks.server import Server
from tests.ledger import power
from tests.ledger.audit import Findings, audit, read_ledgers
from tests.ledger.cluster import CRASHES, Cluster
from tests.ledger.proxy import Proxy
from tests.ledger.studies import STUDIES

ROOT = Path(__file__).parents[2]
CLIENTS = 4
#: Seconds of load between two acts, at most: from before the first answer to some hundred answers.
LOAD_SECONDS = 1.2
#: One in so many crashes the database instead of killing a server.
CRASH_EVERY = 4
#: Where there is a network to be cut, one in so many does that.
CUT_EVERY = 3
#: Seconds that the network is away, and that each piece takes while it is slow.
CUT_SECONDS = (0.0, 1.0)
DELAYS = (0.0, 0.0, 0.01, 0.05)
#: A zombie sleeps until its lease of a second has run out for certain.
ZOMBIE_SECONDS = 2.0


@dataclass
class Progress:
    """How far a campaign is, on disk after every kill."""

    path: Path
    kills: int = 0
    crashes: int = 0
    rounds: int = 0
    cuts: int = 0
    zombies: int = 0
    #: Writes that power cuts found unsynced.
    unsynced: int = 0
    #: Seconds from a kill until the server was ready again.
    after_kill: list[float] = field(default_factory=list)
    #: Seconds from a crash of the database, its own recovery included, until every server was ready again.
    after_crash: list[float] = field(default_factory=list)
    #: Of these, those from when the database took connections again.
    after_restart: list[float] = field(default_factory=list)

    @property
    def acts(self) -> int:
        return self.kills + self.crashes + self.cuts

    @classmethod
    def of(cls, folder: Path) -> Progress:
        path = folder / "progress.json"
        return cls(path, **(json.loads(path.read_text()) if path.exists() else {}))

    def save(self) -> None:
        partial = self.path.with_suffix(".partial")  # a campaign may be killed itself
        partial.write_text(json.dumps({name: value for name, value in vars(self).items() if name != "path"}))
        partial.replace(self.path)


@dataclass
class Site:
    """Where a campaign takes place: a folder, its servers, and the cluster behind them, if it is PostgreSQL.

    A server on SQLite has a disk that forgets what it was not told to keep, see `power`.
    """

    folder: Path
    servers: Sequence[Server]
    cluster: Cluster | None = None
    studies: Sequence[str] = field(default_factory=lambda: list(STUDIES))
    #: Between the clients and each server; with them also come zombies among the clients.
    proxies: Sequence[Proxy] = ()

    @property
    def database(self) -> str:
        return self.servers[0].database

    def kill(self, rng: random.Random, progress: Progress) -> None:
        """A server, or all at once, without a word; and starts them again."""
        killed = rng.choice([[rng.choice(self.servers)], self.servers])
        began = time.monotonic()
        for server in killed:
            server.kill()
            server.launch()
        for server in killed:
            server.wait_until_ready()
            progress.after_kill.append(time.monotonic() - began)
        progress.kills += len(killed)

    def crash(self, rng: random.Random, progress: Progress) -> None:
        """The database: PostgreSQL is stopped at once while its servers live; SQLite loses power with its server."""
        if self.cluster is None:
            power.wait_for_unsynced(self.folder / "metatune.db")
        began = time.monotonic()
        if self.cluster is None:
            self.servers[0].kill()
            progress.unsynced += power.cut(self.folder / "metatune.db", rng)
            restarted = time.monotonic()
            self.servers[0].start()
        else:
            self.cluster.crash(CRASHES[progress.crashes % len(CRASHES)])
            self.cluster.start()
            restarted = time.monotonic()
            for server in self.servers:
                server.wait_until_ready()
        progress.crashes += 1
        progress.after_crash.append(time.monotonic() - began)
        progress.after_restart.append(time.monotonic() - restarted)


@contextmanager
def sqlite_site(folder: Path, *bugs: str, has_network: bool = False) -> Iterator[Site]:
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        server = stack.enter_context(Server(folder, command=planted_command("forgetful-disk", *bugs)))
        yield Site(folder, [server], proxies=_proxies(stack, [server]) if has_network else ())


def planted_command(*bugs: str) -> list[str]:
    return [sys.executable, "-m", "tests.ledger.planted", "+".join(bugs)] if bugs else []


def _proxies(stack: ExitStack, servers: Sequence[Server]) -> list[Proxy]:
    return [stack.enter_context(Proxy(server.port)) for server in servers]


@contextmanager
def postgresql_site(
    folder: Path,
    *bugs: str,
    options: str = "",
    servers: int = 2,
    studies: Sequence[str] = (),
    has_network: bool = False,
) -> Iterator[Site]:
    """Several servers on one database; with `bugs`, servers in which they were planted."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        cluster = stack.enter_context(Cluster(folder / "postgresql"))
        cluster.create("ledger")
        _migrate(cluster.url("ledger"))
        url = cluster.url("ledger", options)
        command = planted_command(*bugs)
        running = [stack.enter_context(Server(folder, database=url, command=command)) for _ in range(servers)]
        proxies = _proxies(stack, running) if has_network else ()
        yield Site(folder, running, cluster, list(studies) or list(STUDIES), proxies)


def _migrate(url: str) -> None:
    """Here and durably, so that a planted bug can lose only what the campaign itself did."""
    store = Store(url)
    migrate(store)
    store.dispose()


@contextmanager
def load(site: Site, round_number: int, progress: Progress | None = None) -> Iterator[None]:
    """Client processes at work for the length of the block; afterwards they finish what they began."""
    urls = [server.url for server in site.servers]
    with httpx.Client(base_url=urls[0], timeout=30.0) as http:
        for name in site.studies:
            http.put(f"/v1/studies/{name}", json=dict(STUDIES[name].definition)).raise_for_status()
    clients = []
    for k in range(CLIENTS):
        name = f"round-{round_number}-client-{k}"
        command = [sys.executable, "-m", "tests.ledger.client", "--name", name, "--seed", str(1000 * round_number + k)]
        command += ["--ledger", str(site.folder / f"{name}.ledger")]
        command += ["--zombie"] if site.proxies else []
        command += [word for url in ([proxy.url for proxy in site.proxies] or urls) for word in ("--url", url)]
        command += [word for study in site.studies for word in ("--study", study)]
        clients.append(subprocess.Popen(command, cwd=ROOT))
    is_over = threading.Event()
    waker = threading.Thread(target=_wake, args=(clients, is_over, progress), daemon=True)
    waker.start()
    try:
        yield
        for proxy in site.proxies:
            proxy.delay = 0.0
        for client in clients:
            client.terminate()
        for client in clients:
            if client.wait(timeout=150) != 0:
                raise RuntimeError(f"a client ended with {client.returncode}")
    finally:
        is_over.set()
        waker.join()
        for client in clients:
            if client.poll() is None:
                client.kill()
                client.wait()


def _wake(clients: Sequence[subprocess.Popen[bytes]], is_over: threading.Event, progress: Progress | None) -> None:
    """Lets zombies go on when they have slept long enough."""
    asleep_since: dict[int, float] = {}
    while not is_over.wait(0.1):
        for client in clients:
            if client.returncode is not None or not _is_stopped(client.pid):
                continue
            if time.monotonic() - asleep_since.setdefault(client.pid, time.monotonic()) > ZOMBIE_SECONDS:
                del asleep_since[client.pid]
                os.kill(client.pid, signal.SIGCONT)
                if progress is not None:
                    progress.zombies += 1


def _is_stopped(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("T")
    except (FileNotFoundError, ProcessLookupError):  # it has left meanwhile
        return False


def campaign(
    site: Site, acts: int, *, seed: int = 1, load_seconds: float = LOAD_SECONDS, tells: int = 0
) -> tuple[Findings, Progress]:
    """Kills servers, crashes the database and cuts the network until there were so many; then looks what is left.

    And goes on in peace until there are so many acknowledged tells.
    """
    progress = Progress.of(site.folder)
    rng = random.Random(seed * 1_000_003 + progress.rounds)
    progress.rounds += 1
    progress.save()
    if progress.acts < acts or acknowledged_tells(site.folder) < tells:
        with load(site, progress.rounds, progress):
            wait_for_work(site, progress.rounds)
            while progress.acts < acts:
                time.sleep(rng.uniform(0.0, load_seconds))
                for proxy in site.proxies:
                    proxy.delay = rng.choice(DELAYS)
                if site.proxies and progress.acts % CUT_EVERY == 0:
                    rng.choice(site.proxies).cut(rng.uniform(*CUT_SECONDS))
                    progress.cuts += 1
                elif (progress.kills + progress.crashes) % CRASH_EVERY == 0:
                    site.crash(rng, progress)
                else:
                    site.kill(rng, progress)
                progress.save()
            for proxy in site.proxies:
                proxy.delay = 0.0
            while acknowledged_tells(site.folder) < tells:
                time.sleep(5.0)
        progress.save()  # zombies woke until the end
    return look(site), progress


def acknowledged_tells(folder: Path) -> int:
    return sum(call.do == "tell" and call.is_acknowledged for call in read_ledgers(folder))


def wait_for_work(site: Site, round_number: int, n_answers: int = 40) -> None:
    """Until the clients of this round wrote down so many answers.  Raises: RuntimeError, if they get none."""
    for _ in range(1200):
        ledgers = site.folder.glob(f"round-{round_number}-*.ledger")
        if sum(path.read_bytes().count(b'"status"') for path in ledgers) >= n_answers:
            return
        time.sleep(0.1)
    raise RuntimeError("the clients get no answers")


def look(site: Site) -> Findings:
    store = Store(site.database)
    try:
        return audit(site.folder, store, site.servers[0].url)
    finally:
        store.dispose()


# --- the planted bugs ---------------------------------------------------------------------------------------------

#: A crash right after a sync may lose nothing that was acknowledged; so many are tried until one does.
MOST_CRASHES = 5


def asynchronous_commit_control(folder: Path) -> Findings:
    """The same load on servers that do not wait for the disk, and crashes of the database."""
    options = "&options=-c%20synchronous_commit%3Doff"
    with postgresql_site(folder, "asynchronous-commit", options=options, servers=1) as site:
        assert site.cluster is not None
        for round_number in range(1, MOST_CRASHES + 1):
            with load(site, round_number):
                wait_for_work(site, round_number)
                site.cluster.checkpoint()  # so far all is on disk, the studies too; from here on nothing is
                wait_for_work(site, round_number, 200)
                site.cluster.crash("immediate")
                site.cluster.start()
            findings = look(site)
            if findings.lost:
                break
        return findings


def unsynced_commit_control(folder: Path) -> Findings:
    """The same load on SQLite, whose log is synced now and then instead of with every commit, and power cuts."""
    with sqlite_site(folder, "unsynced-commit") as site:
        progress = Progress.of(folder)
        for round_number in range(1, MOST_CRASHES + 1):
            with load(site, round_number):
                wait_for_work(site, round_number, 200)
                site.crash(random.Random(round_number), progress)
            findings = look(site)
            if findings.lost:
                break
        return findings


def max_plus_one_control(folder: Path) -> Findings:
    """The same load on two servers that number trials by looking; nobody is killed."""
    with postgresql_site(folder, "max-plus-one", studies=["random", "whole"]) as site:
        with load(site, 1):
            wait_for_work(site, 1, 300)
        return look(site)
