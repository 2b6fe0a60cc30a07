"""This version against an earlier one, in turns of one run."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from api.store.migrations import migrate
from bench import servers
from bench.load import CONNECTIONS, Target
from bench.setting import POSTGRESQL, SQLITE, Bench

ROW = 19


def against_before(bench: Bench) -> None:
    """Decisions of this version against those of the checkout that `--before` names."""
    before = bench.options.before
    if before is None:
        bench.add(ROW, "this version : an earlier one (--before FOLDER)")
        return
    for kind, logged in ((POSTGRESQL, False), (SQLITE, False), (POSTGRESQL, True), (SQLITE, True)):
        with bench.hook(kind, bench.options.world, logged=logged) as now, _earlier(bench, before, kind, logged) as then:
            for connections in CONNECTIONS:
                own, reference = bench.turns([now, then], connections)
                what = f"{kind}{', logged' if logged else ''}: this version : before, {connections} conn."
                bench.compare(ROW, what, own, reference, None)
                bench.compare_p99(ROW, "  p99 of the same", own, reference, None)


@contextmanager
def _earlier(bench: Bench, checkout: Path, kind: str, logged: bool) -> Iterator[Target]:
    """The earlier version on a store of its own, at the revision of the schema that it knows."""
    world = bench.options.world
    url = bench.new_store(kind, f"before_{'logged' if logged else 'silent'}", world)
    migrate(url, _newest_revision(checkout))
    with servers.hook(bench.folder, url, logged=logged, checkout=checkout) as server:
        target = bench.target("before", server.origin, world)
        bench.require_right(target, world)
        yield target


def _newest_revision(checkout: Path) -> str:
    newest = max((checkout / "alembic" / "versions").glob("[0-9]*.py"))
    found = re.search(r'^revision(?:: str)? = "(\w+)"', newest.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise ValueError(f"{newest} names no revision")
    return found[1]
