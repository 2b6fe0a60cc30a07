"""Throughput of the hook: against a bare server and an ordinary implementation, with workers, and in batches."""

from contextlib import ExitStack

from bench import servers
from bench.load import CONNECTIONS, Target
from bench.setting import BATCH, EVALUATIONS, POSTGRESQL, SQLITE, Aim, Bench

#: Number of connections that the aims are for.
AIMED = 16


def against_bare_uvicorn(bench: Bench, row: int, kind: str) -> None:
    world = bench.options.world
    with ExitStack() as stack:
        hook = stack.enter_context(bench.hook(kind, world))
        bare = stack.enter_context(servers.uvicorn("bench.constant:app", bench.folder))
        quick = stack.enter_context(servers.uvicorn_with_own_protocol("bench.constant:app", bench.folder))
        targets = [
            hook,
            bench.target("bare uvicorn", bare.origin, world),
            bench.target("bare uvicorn with StrictConnection", quick.origin, world),
        ]
        for connections in CONNECTIONS:
            own, reference, quicker = bench.turns(targets, connections)
            is_aimed = connections == AIMED
            what = f"hook on {kind} : bare uvicorn, {connections} conn."
            bench.compare(row, what, own, reference, Aim(">=", 0.65) if is_aimed else None)
            bench.compare_p99(row, "  p99 of the same", own, reference, Aim("<=", 1.6) if is_aimed else None)
            bench.compare(row, "  and to bare uvicorn with our HTTP protocol", own, quicker, None)


def on_postgresql(bench: Bench) -> None:
    """The hook on PostgreSQL against bare uvicorn."""
    against_bare_uvicorn(bench, 1, POSTGRESQL)


def on_sqlite(bench: Bench) -> None:
    """The hook on SQLite against bare uvicorn."""
    against_bare_uvicorn(bench, 2, SQLITE)


def against_the_ordinary_way(bench: Bench) -> None:
    """The hook against FastAPI with a session and one query for each request."""
    world = bench.options.world
    url = bench.store(POSTGRESQL, world)
    settings = {"BENCH_STORE": url, "BENCH_ISSUER": str(bench.folder / "embedded-issuer.jwk")}
    with bench.hook(POSTGRESQL, world) as hook, servers.uvicorn("bench.plain:app", bench.folder, settings) as server:
        plain = bench.target("FastAPI and SQLModel", server.origin, world)
        bench.require_right(plain, world)
        for connections in CONNECTIONS:
            own, reference = bench.turns([hook, plain], connections)
            what = f"hook : FastAPI, SQLModel, one query, {connections} conn."
            bench.compare(3, what, own, reference, Aim(">=", 20) if connections == AIMED else None)


def with_the_log(bench: Bench) -> None:
    """Each decision stored as a line before it is answered, against no line."""
    aims = {16: Aim(">=", 0.65), 64: Aim(">=", 0.9)}
    for kind in (POSTGRESQL, SQLITE):
        world = bench.options.world
        with bench.hook(kind, world, logged=True) as logged, bench.hook(kind, world) as silent:
            for connections in CONNECTIONS[1:]:
                own, reference = bench.turns([logged, silent], connections)
                what = f"decisions logged on {kind} : not, {connections} conn."
                bench.compare(17, what, own, reference, aims[connections])
                bench.compare_p99(17, "  p99 of the same", own, reference, None)


def with_workers(bench: Bench) -> None:
    """2 and 4 processes against one."""
    world = bench.options.world
    with ExitStack() as stack:
        targets = [stack.enter_context(bench.hook(POSTGRESQL, world, workers)) for workers in (1, 2, 4)]
        for connections in CONNECTIONS[1:]:
            one, *more = bench.turns(targets, connections)
            for workers, turns in zip((2, 4), more, strict=True):
                bench.compare(6, f"hook, {workers} workers : 1 worker, {connections} conn.", turns, one, None)


def in_batches(bench: Bench) -> None:
    """A hundred questions a request against one."""
    world = bench.options.world
    with bench.hook(POSTGRESQL, world) as single:
        url = single.url.rsplit("/", 1)[0] + "/" + EVALUATIONS.rsplit("/", 1)[1]
        batch = Target("batches", url, bench.batches(world), bench.gateway_token, decisions=BATCH)
        own, reference = bench.turns([batch, single], AIMED)
        bench.compare(7, f"{BATCH} questions a request : one, {AIMED} conn.", own, reference, Aim(">=", 12))
