"""The store that a module's tests of every operation share, whom they meet there, and how they tell what went wrong."""

import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio

from api.edge.problems import MEDIA_TYPE, TYPE_BASE
from api.security.tokens import DEMO_AUDIENCE, DEMO_ISSUER
from tests.security.signing_keys import SigningKey, good_claims
from tests.worlds.operations import ENTRIES, OPERATIONS, Operation, Scene, scene_in
from tests.worlds.stores import Templates
from tests.worlds.world import Answer, world_on

MEGABYTE: Final = 1024 * 1024


def each(wanted: Callable[[Operation], Any] = lambda _: True) -> pytest.MarkDecorator:
    chosen = [name for name, operation in OPERATIONS.items() if name in ENTRIES and wanted(operation)]
    return pytest.mark.parametrize("name", chosen)


def turn_of(name: str, place: object = "") -> int:
    """Which of its inputs an operation, or one place in it, is tried with in this run: see `turns` of `effort.py`.

    Places follow one another, so that the operations together are tried with all.
    """
    return list(ENTRIES).index(name) + sum(map(ord, str(place)))


def names_in(operation: Operation) -> list[str]:
    return list(operation.parameters("path"))


# -- the store that the tests of a module share -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def standing_store(
    request: pytest.FixtureRequest, templates: Templates, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("standing")
    return templates.empty(request.param, folder), folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scenes(standing_store: tuple[str, Path]) -> AsyncIterator[tuple[Scene, Scene]]:
    """Ours, and one of another school and another partner."""
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(world_on(*standing_store))
        yield await scene_in(world), await scene_in(world, "17TX")


@pytest.fixture(scope="module")
def key(standing_store: tuple[str, Path], scenes: tuple[Scene, Scene]) -> SigningKey:
    """The key of the issuer that the service trusts."""
    return SigningKey.of(json.loads((standing_store[1] / "embedded-issuer.jwk").read_text()))


def claims() -> dict[str, Any]:
    return good_claims(DEMO_ISSUER, DEMO_AUDIENCE, int(time.time()))


@pytest.fixture
def ours(scenes: tuple[Scene, Scene]) -> Scene:
    return scenes[0]


@pytest.fixture
def theirs(scenes: tuple[Scene, Scene]) -> Scene:
    return scenes[1]


@dataclass
class Ledger:
    """Gathers what went wrong, so that a test tells all of it at once."""

    faults: list[str] = field(default_factory=list)
    statuses: set[int] = field(default_factory=set)

    async def expect(self, wanted: tuple[int, ...], what: str, answering: Any) -> None:
        """Notes an answer with another status, one without a problem document, and an exception instead of one."""
        try:
            answer: Answer = await answering
        except Exception as error:
            self.faults.append(f"{what}: {error!r}"[:300])
            return
        self.statuses.add(answer.status_code)
        if answer.status_code not in wanted or not _is_sound(answer):
            self.faults.append(f"{what}: {answer.status_code}, not {wanted}: {answer.text[:200]}")

    def close(self) -> None:
        assert not self.faults, "\n".join(self.faults)

    def nothing_was_done(self) -> bool:
        """Whether everything was refused."""
        return not self.faults and min(self.statuses, default=400) >= 400


def _is_sound(answer: Answer) -> bool:
    """A refusal is a problem document that repeats its status, and nothing of the input is echoed at length."""
    if answer.status_code < 400:
        return True
    problem = answer.json()
    if answer.status_code == 503 and "context" in problem:
        return problem["decision"] is False
    sound = answer.headers["Content-Type"] == MEDIA_TYPE and problem["status"] == answer.status_code
    return sound and problem["type"].startswith(TYPE_BASE) and len(answer.content) < 16_384
