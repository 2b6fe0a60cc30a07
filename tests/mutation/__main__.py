"""`make mutate`: changes the modules that must not fail, a little at a time, and shows that the tests notice."""

import argparse
import json
import os
import signal
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from tests.mutation.mutants import Mutant, sample
from tests.mutation.reach import Reach, collect
from tests.mutation.trial import Bench, Patience, Result, postgresql

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parent.parent
KEPT: Final = ROOT / "var" / "mutation"
FIRST: Final = 3
Key = tuple[str, str, str, str]


def equivalents() -> dict[Key, str]:
    """The mutants that change nothing that anybody could see, each with the reason."""
    entries = tomllib.loads((HERE / "equivalent.toml").read_text(encoding="utf-8")).get("mutant", [])
    return {(each["path"], each["within"], each["was"], each["becomes"]): each["because"] for each in entries}


def within_budget(reach: Reach, mutant: Mutant, budget: float) -> Iterator[tuple[str, float]]:
    """The tests that reach a mutant, as many as fit, and the first three in any case: they are most about it."""
    total = 0.0
    for place, test in enumerate(reach.tests_of(mutant)):
        seconds = reach.tests[test][0]
        if place >= FIRST and total + seconds > budget:
            continue
        total += seconds
        yield test, seconds


def tried(bench: Bench, reach: Reach, mutants: Sequence[Mutant], budget: float, patience: Patience) -> Iterator[Result]:
    for mutant in mutants:
        tests = list(within_budget(reach, mutant, budget))
        result = bench.trial(mutant, tests, patience, anew=reach.runs_at_import(mutant))
        mark = "." if result.outcome == "killed" else f"\n{result.outcome}: {_named(result)}\n"
        print(mark, end="", file=sys.stderr, flush=True)
        yield result


def not_by_the_mutant(bench: Bench, reach: Reach, results: Sequence[Result], patience: Patience) -> set[str]:
    """The tests that killed a mutant and that fail without it too: what they killed does not count."""
    killers = sorted({result.by for result in results} & reach.tests.keys())
    if not killers:
        return set()
    limit = patience.seconds + patience.times * sum(reach.tests[test][0] for test in killers)
    answer = bench.run(killers, limit, None, anew=False, through=True)
    return set(killers) if answer["outcome"] == "late" else set(answer["tests"])


def table(results: dict[str, list[Result]], known: dict[Key, str], least: float) -> tuple[str, bool]:
    """The table, and whether every module has the share of killed mutants that it must have."""
    lines = ["| module | mutants | killed | survived | equivalent | share |", "|---|---|---|---|---|---|"]
    holds = True
    for module, found in results.items():
        alive = [result for result in found if result.outcome != "killed"]
        same = [result for result in alive if result.key in known]
        share = (len(found) - len(alive) + len(same)) / len(found)
        holds = holds and share >= least
        lines.append(
            f"| {module} | {len(found)} | {len(found) - len(alive)} | {len(alive) - len(same)} | {len(same)}"
            f" | {share:.0%} |"
        )
    return "\n".join(lines), holds


def _named(result: Result) -> str:
    return f"{result.path} {result.within} ({result.kind})\n  - {result.was}\n  + {result.becomes}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("modules", nargs="*", help="those of mutation.toml that are tried; else all")
    parser.add_argument("--collect", nargs="*", metavar="TESTS", help="only find out what these tests reach, or all")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="that collect")
    parser.add_argument("--sample", type=int, help="mutants a module")
    parser.add_argument("--budget", type=float, help="seconds of tests a mutant")
    parser.add_argument("--known", action="store_true", help="only tests of which it is known what they reach")
    parser.add_argument("--survivors", action="store_true", help="only those that survived the last time")
    return parser.parse_args()


def main() -> int:
    begun, chosen = time.monotonic(), _arguments()
    for ending in (signal.SIGINT, signal.SIGTERM):  # the server and the copies end with us
        signal.signal(ending, lambda number, _: sys.exit(128 + number))
    configured: dict[str, Any] = tomllib.loads((HERE / "mutation.toml").read_text(encoding="utf-8"))
    modules: dict[str, list[str]] = configured["modules"]
    paths = [path for every in modules.values() for path in every]
    file = KEPT / "reach.json"
    reach = Reach.read(file, ROOT, paths)
    if chosen.collect is not None:
        reach = collect(ROOT, paths, file, chosen.collect, chosen.processes)
        print(f"{len(reach.tests)} tests reach the modules")
        return 0
    if (unknown := reach.unknown(ROOT)) and not chosen.known:
        reach = collect(ROOT, paths, file, unknown if reach.tests else [], chosen.processes)
    patience, known = Patience(**configured["patience"]), equivalents()
    results: dict[str, list[Result]] = {}
    with postgresql() as server:
        files = sorted({test.split("::")[0] for test in reach.tests})
        warm = ["tests.conftest", *(test.removesuffix(".py").replace("/", ".") for test in files)]
        bench = Bench(ROOT, server, configured["preload"], warm)
        try:
            of_a_store = [test for test in reach.tests if "[postgresql" in test]
            if of_a_store:  # makes the template of the stores, before a mutant can break off in the middle of that
                bench.run([min(of_a_store, key=lambda test: reach.tests[test][0])], 600, None, anew=False)
            for module in chosen.modules or modules:
                print(f"\n{module} ", end="", file=sys.stderr, flush=True)
                mutants = sample(ROOT, modules[module], configured["seed"], chosen.sample or configured["sample"])
                kept = KEPT / f"{module}.json"
                last = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else []
                before = {result.key: result for result in (Result(**each) for each in last)}
                killed = {key for key, each in before.items() if each.outcome == "killed" and chosen.survivors}
                again = [mutant for mutant in mutants if mutant.key not in killed]
                found = list(tried(bench, reach, again, chosen.budget or configured["budget"], patience))
                wrong = not_by_the_mutant(bench, reach, found, patience)
                found = [
                    Result(**{**vars(each), "outcome": "survived"}) if each.by in wrong else each for each in found
                ]
                results[module] = [before[key] for key in (mutant.key for mutant in mutants) if key in killed] + found
                every = [result.as_json() for result in results[module]]
                kept.write_text(json.dumps(every, indent=1), encoding="utf-8")
                if wrong:
                    print(f"\nfail without a mutant, too: {', '.join(sorted(wrong))}", file=sys.stderr)
        finally:
            bench.close()
    printed, holds = table(results, known, configured["least"])
    for module, found in results.items():
        for result in found:
            if result.outcome != "killed":
                because = known.get(result.key)
                print(f"\n{module}, {f'equivalent: {because}' if because else result.outcome}: {_named(result)}")
    print(f"\n{printed}\n\n{time.monotonic() - begun:.0f} s")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
