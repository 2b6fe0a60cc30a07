"""Rows of the snapshot: its load time, memory and changes, and the hook with ten times as many grants."""

import statistics
from contextlib import ExitStack

from bench import servers
from bench.load import put_load
from bench.probes import measured
from bench.servers import Server
from bench.setting import POSTGRESQL, SQLITE, Aim, Bench

MOST_BYTES_A_GRANT = 120
AIMED = 16
SIZES = (40_000, 400_000, 4_000_000)


def with_many_more_grants(bench: Bench) -> None:
    """Measures the hook with ten times as many grants."""
    if bench.options.why_not_large is not None:
        bench.add(8, f"{bench.options.large.grants:,} grants: not measured, {bench.options.why_not_large}")
        return
    for kind in (POSTGRESQL, SQLITE):
        _compare_sizes(bench, kind)


def _compare_sizes(bench: Bench, kind: str) -> None:
    world, large = bench.options.world, bench.options.large
    with ExitStack() as stack:
        processes = {}
        for each in (large, world, None):
            url = bench.store(kind, each)
            bench.say(f"starting the hook on {kind}, {each.grants if each else 0:,} grants")
            processes[each] = stack.enter_context(servers.hook(bench.folder, url))
        targets = [bench.target("hook", processes[each].origin, each) for each in (large, world)]
        for target, each in zip(targets, (large, world), strict=True):
            bench.require_right(target, each)
        own, reference = bench.turns(targets, AIMED)
        what = f"{kind}: {large.grants:,} grants : {world.grants:,}, {AIMED} conn."
        bench.compare(8, what, own, reference, Aim(">=", 0.9))
        # The empty one answers requests too, so that the processes differ only in their grants.
        put_load(bench.target("hook", processes[None].origin, world), AIMED, 1)
        _weigh(bench, kind, processes[large], processes[None])


def _weigh(bench: Bench, kind: str, full: Server, empty: Server) -> None:
    """Adds the memory per grant: the difference between a process with grants and one with an empty store."""
    aim = Aim("<=", MOST_BYTES_A_GRANT)
    for name, taken, idle in (
        ("VmRSS", full.resident_bytes(), empty.resident_bytes()),
        ("PSS", full.proportional_bytes(), empty.proportional_bytes()),
    ):
        shown = (f"{taken / 2**20:,.0f} MiB", f"{idle / 2**20:,.0f} MiB")
        each = (taken - idle) / bench.options.large.grants
        bench.add(8, f"{kind}: bytes a grant, {name} less that of none", *shown, each, aim if name == "VmRSS" else None)


def loading(bench: Bench) -> None:
    """Measures loading the snapshot against streaming its rows."""
    for kind in (POSTGRESQL, SQLITE):
        url = bench.store(kind, bench.options.world)
        bench.say(f"loading the snapshot from {kind}")
        loads, streams = [], []
        for _ in range(bench.options.turns):
            loads.append(measured("in_process", "load", url))
            streams.append(measured("in_process", "stream", url))
        ratio = statistics.median(mine / other for mine, other in zip(loads, streams, strict=True))
        shown = (f"{statistics.median(loads):.2f} s", f"{statistics.median(streams):.2f} s")
        bench.add(9, f"{kind}: loading snapshot : streaming its rows", *shown, ratio, Aim("<=", 3))


def one_change(bench: Bench) -> None:
    """Measures applying one changed grant to snapshots of different sizes."""
    sizes = SIZES if bench.options.why_not_large is None else SIZES[:2]
    bench.say(f"applying changes to {', '.join(f'{size:,}' for size in sizes)} grants")
    smallest, *others = measured("in_process", "change", *map(str, sizes))
    for size, taken in zip(sizes[1:], others, strict=True):
        what = f"one change among {size:,} grants : among {sizes[0]:,}"
        bench.add(10, what, f"{taken:.1f} us", f"{smallest:.1f} us", taken / smallest, Aim("<=", 1.5))
