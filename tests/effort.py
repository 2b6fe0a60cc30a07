"""How much a run proves. The asserts are the same; `make prove` makes more of them.

The environment variable PROVE says it: empty for `make test`, `short` for what CI proves besides, `long` for all.
In `make test` a sample is the same in every run. In the short form it is another one in every run: PROVE_SEED is
printed with the results, and repeats it.
"""

import hashlib
import os
import time
from collections.abc import Callable, Hashable, Iterable
from math import ceil
from typing import Final, TypeVar

PROVE: Final = os.environ.get("PROVE", "")
if PROVE not in ("", "short", "long"):
    raise ValueError(f"PROVE is empty, short or long, not {PROVE}")

#: Everything is proven: every test on both stores, every case, every history.
PROVING: Final = PROVE == "long"

#: Chooses the samples. The processes of one run inherit it.
SEED: Final = int(os.environ.setdefault("PROVE_SEED", str(time.time_ns() % 1_000_000 + 1) if PROVE == "short" else "0"))

TENTH: Final = 0.1

Item = TypeVar("Item")


def share(whole: int, least: int = 1) -> int:
    """How many of `whole` examples this run makes: a tenth, and at least `least`; all of them when proving."""
    return whole if PROVING else min(whole, max(least, ceil(whole * TENTH)))


def sample(items: Iterable[Item], *kinds: Callable[[Item], Hashable], part: float = TENTH) -> list[Item]:
    """Which of these items this run tries, in their order: a tenth, and for each of `kinds` at least one item of every
    value; all of them when proving.

    The choice depends on an item's `repr` alone, so that it stays where other items come or go.
    """
    every = list(items)
    if PROVING:
        return every
    seen: list[set[Hashable]] = [set() for _ in kinds]
    chosen: set[int] = set()
    for luck, at in sorted((_luck(item), at) for at, item in enumerate(every)):
        values = [kind(every[at]) for kind in kinds]
        if luck < part or any(value not in known for value, known in zip(values, seen, strict=True)):
            chosen.add(at)
            for value, known in zip(values, seen, strict=True):
                known.add(value)
    return [item for at, item in enumerate(every) if at in chosen]


def turns(items: Iterable[Item], turn: int) -> list[Item]:
    """Which of these items are tried at this turn: every tenth, and at each turn others; all of them when proving.

    There is at least one at every turn, and ten turns in a row take all.
    """
    every = list(items)
    if PROVING or not every:
        return every
    step = min(len(every), round(1 / TENTH))
    return every[(turn + SEED) % step :: step]


def _luck(item: object) -> float:
    """A number from 0 up to 1 that is drawn for this item."""
    drawn = hashlib.sha256(f"{SEED} {item!r}".encode()).digest()
    return int.from_bytes(drawn[:8]) / 2**64
