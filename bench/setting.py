"""The state shared by the rows of one run: options, stores, tokens, and lines of the table."""

import asyncio
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

import asyncpg
from sqlalchemy.engine import make_url

from api.security.tokens import EmbeddedIssuer
from bench import servers
from bench.filling import driver_url, fill
from bench.load import Target, Turn, in_turns, median, median_ratio, put_load, require_right, write_bodies
from bench.world import AskedQuestion, World

POSTGRESQL, SQLITE = "PostgreSQL", "SQLite"
EVALUATION, EVALUATIONS = "/access/v1/evaluation", "/access/v1/evaluations"
BATCH = 100
_WARM_UP_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Options:
    seconds: float
    turns: int
    world: World
    large: World
    #: The reason if the large store is not measured.
    why_not_large: str | None
    #: The checkout of an earlier version, to be measured beside this one.
    before: Path | None


@dataclass(frozen=True, slots=True)
class Aim:
    """The aim of a ratio: a lower or an upper bound."""

    sign: str
    bound: float

    def __str__(self) -> str:
        return f"{self.sign} {self.bound:g}"

    def is_met_by(self, value: float) -> bool:
        return value >= self.bound if self.sign == ">=" else value <= self.bound


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table. `value`, mostly a ratio, is compared to the aim."""

    row: int
    what: str
    own: str = ""
    reference: str = ""
    value: float | None = None
    aim: Aim | None = None


@dataclass
class Bench:
    options: Options
    folder: Path
    stack: ExitStack
    say: Callable[[str], None]
    lines: list[Line] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _stores: dict[tuple[str, World | None], str] = field(default_factory=dict)

    def add(
        self,
        row: int,
        what: str,
        own: str = "",
        reference: str = "",
        value: float | None = None,
        aim: Aim | None = None,
    ) -> None:
        self.lines.append(Line(row, what, own, reference, value, aim))

    @cached_property
    def issuer(self) -> EmbeddedIssuer:
        return EmbeddedIssuer.at(self.folder / "embedded-issuer.jwk")

    @cached_property
    def gateway_token(self) -> str:
        return self.issuer.mint("gateway", subject="bench", lifetime=timedelta(hours=12), now=datetime.now(UTC))

    @cached_property
    def _postgresql(self) -> str:
        return self.stack.enter_context(servers.postgresql(self.folder / "postgresql"))

    def store(self, kind: str, world: World | None) -> str:
        """The URL of a store with `world`, or an empty one. Cached."""
        if (kind, world) not in self._stores:
            grants = world.grants if world is not None else 0
            self.say(f"filling {kind} with {grants:,} grants")
            self._stores[kind, world] = self.new_store(kind, f"bench_{grants}", world)
        return self._stores[kind, world]

    def new_store(self, kind: str, name: str, world: World | None = None) -> str:
        """The URL of a new store of this name with `world`, or an empty one."""
        if kind == SQLITE:
            url = f"sqlite+aiosqlite:///{self.folder}/{name}.db"
        else:
            asyncio.run(_create_database(driver_url(self._postgresql), name))
            url = make_url(self._postgresql).set(database=name).render_as_string(hide_password=False)
        fill(url, world)
        return url

    def asked(self, world: World) -> list[AskedQuestion]:
        if world not in self._asked:
            self._asked[world] = world.asked()
        return self._asked[world]

    @cached_property
    def _asked(self) -> dict[World, list[AskedQuestion]]:
        return {}

    def bodies(self, world: World) -> Path:
        path = self.folder / f"questions-{world.grants}.jsonl"
        return path if path.exists() else write_bodies(path, (asked.body for asked in self.asked(world)))

    def batches(self, world: World) -> Path:
        """The same questions, a hundred per body, with AuthZEN's defaults for their common members."""
        path, asked = self.folder / f"batches-{world.grants}.jsonl", self.asked(world)
        shared = {name: asked[0].body[name] for name in ("action", "context")}
        own = [{name: each.body[name] for name in ("subject", "resource")} for each in asked]
        batches = [own[first : first + BATCH] for first in range(0, len(own) - BATCH + 1, BATCH)]
        return write_bodies(path, ({**shared, "evaluations": batch} for batch in batches))

    @contextmanager
    def hook(self, kind: str, world: World, workers: int = 1, *, logged: bool = False) -> Iterator[Target]:
        """The service on such a store, after a check of its answers."""
        url = self.store(kind, world)
        self.say(f"starting the hook on {kind}, {world.grants:,} grants, workers: {workers}")
        with servers.hook(self.folder, url, workers, logged=logged) as server:
            target = self.target("hook with its log" if logged else "hook", server.origin, world)
            self.require_right(target, world)
            yield target

    def target(self, name: str, origin: str, world: World) -> Target:
        return Target(name, origin + EVALUATION, self.bodies(world), self.gateway_token)

    def require_right(self, target: Target, world: World) -> None:
        expected = [asked.permit for asked in self.asked(world)]
        require_right(target, expected, lambda answer: answer["decision"])

    def turns(self, targets: list[Target], connections: int) -> list[list[Turn]]:
        """The turns of each target with `connections` connections, after a warm-up."""
        self.say(f"{', '.join(target.name for target in targets)}: {connections} connections")
        for target in targets:
            put_load(target, connections, _WARM_UP_SECONDS)
        return in_turns([self._turn(target, connections) for target in targets], self.options.turns)

    def _turn(self, target: Target, connections: int) -> Callable[[], Turn]:
        def turn() -> Turn:
            taken = put_load(target, connections, self.options.seconds)
            if taken.errors:
                self.notes.append(f"{target.name}: {taken.errors} answers were not 200, at {connections} connections")
            return taken

        return turn

    def compare(
        self, row: int, what: str, own: list[Turn], reference: list[Turn], aim: Aim | None, unit: str = "/s"
    ) -> None:
        """Adds a line with decisions a second."""
        mine, others = [turn.per_second for turn in own], [turn.per_second for turn in reference]
        shown = (f"{median(mine):,.0f} {unit}", f"{median(others):,.0f} {unit}")
        self.add(row, what, *shown, median_ratio(mine, others), aim)

    def compare_p99(self, row: int, what: str, own: list[Turn], reference: list[Turn], aim: Aim | None) -> None:
        """Adds a line with the 99th percentile of the latency."""
        mine, others = [turn.p99 for turn in own], [turn.p99 for turn in reference]
        self.add(row, what, f"{median(mine):.2f} ms", f"{median(others):.2f} ms", median_ratio(mine, others), aim)


async def _create_database(url: str, name: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f'CREATE DATABASE "{name}"')
    finally:
        await connection.close()


def progress() -> Callable[[str], None]:
    """Shows the current step in one line of a terminal; does nothing elsewhere."""
    if not sys.stderr.isatty():
        return lambda _: None

    def say(text: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        sys.stderr.write(f"\r{text[:width]:<{width}}\r")
        sys.stderr.flush()

    return say
