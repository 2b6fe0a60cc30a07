"""Schemathesis asks every operation what the contract allows and what it does not, and believes only the contract.

It asks over HTTP, with the token of the right role, and mixes what it makes up with what really exists.
"""

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl

import pytest
import requests
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.cli.demo import DOCUMENT
from tests.effort import share
from tests.worlds.operations import CONTRACT, ENTRIES, OPERATIONS, Operation, Scene, scene_in
from tests.worlds.stores import Templates
from tests.worlds.world import world_on

SEED: Final = 20260901
#: Of each operation, and of either kind: what the contract allows, and what it does not.
EXAMPLES: Final = {"sqlite": 16, "postgresql": 8}
POSITIVE_ONLY: Final = (GenerationMode.POSITIVE,)

for _media_type in ("application/pdf", "image/png", "image/jpeg"):
    schemathesis.serializer.alias(_media_type, "application/octet-stream")

SCHEMA: Final = schemathesis.openapi.from_dict(CONTRACT)
GENERATED: Final = {
    found.ok().definition.raw["operationId"]: found.ok()
    for found in SCHEMA.get_all_operations()
    if isinstance(found, Ok) and not found.ok().path.startswith("/gateway/")
}
CONFORMANCE: Final = [
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]

Result = TypeVar("Result")


@dataclass
class Served:
    """The service behind a port of this machine, in a thread with a loop of its own."""

    kind: str
    address: str
    loop: asyncio.AbstractEventLoop
    scene: Scene

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)


@pytest.fixture(scope="module")
def served(kind_of_store: str, templates: Templates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    store_url = templates.empty(kind_of_store, folder)
    ready: Future[tuple[asyncio.AbstractEventLoop, Scene, uvicorn.Server]] = Future()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=asyncio.run, args=(_serve(store_url, folder, listening, ready),))
        thread.start()
        try:
            loop, scene, server = ready.result(60)
            yield Served(kind_of_store, f"http://127.0.0.1:{listening.getsockname()[1]}", loop, scene)
            server.should_exit = True
        finally:
            thread.join(60)


async def _serve(store_url: str, folder: Path, listening: socket.socket, ready: "Future[Any]") -> None:
    try:
        async with world_on(store_url, folder) as world:
            scene = await scene_in(world)
            config = uvicorn.Config(
                world.service, lifespan="off", log_config=None, access_log=False, server_header=False
            )
            server = uvicorn.Server(config)
            ready.set_result((asyncio.get_running_loop(), scene, server))
            await server.serve(sockets=[listening])
    except BaseException as error:
        if not ready.done():
            ready.set_exception(error)
        raise


def test_schemathesis_knows_every_operation() -> None:
    assert set(GENERATED) == set(OPERATIONS)


@pytest.mark.parametrize("name", list(OPERATIONS))
def test_no_answer_is_a_server_error_or_other_than_documented(name: str, served: Served) -> None:
    operation, statuses = OPERATIONS[name], Counter[int]()
    scene = _scene_for(name, served)
    headers = _headers(operation, scene)
    with requests.Session() as session:

        def ask(case: schemathesis.Case[Any], real: list[bool]) -> None:
            _made_real(case, scene, real)
            response = case.call(served.address, session, headers)
            statuses[response.status_code] += 1
            case.validate_response(response, checks=CONFORMANCE)
            # The one answer above 499 that a request can ask for: by a revision that the store hasn't reached.
            if not (response.status_code == 503 and b"revision_behind" in response.content):
                case.validate_response(response, checks=[not_a_server_error])

        for examples in (share(EXAMPLES[served.kind], least=3), EXAMPLES[served.kind]):
            # With a few examples perhaps none was good enough for the operation to answer: then all are asked.
            if not set(statuses) & {200, 201}:
                for mode in _modes(operation):
                    _ask_examples(name, mode, examples, ask)
    # Else nothing was asked but whether the door is shut.
    assert set(statuses) & {200, 201}, statuses


def _scene_for(name: str, served: Served) -> Scene:
    """One of its own for an operation that changes something."""
    before = ENTRIES[name].before
    if before is None and (OPERATIONS[name].method == "GET" or OPERATIONS[name].on_hook):
        return served.scene
    scene = served.run(scene_in(served.scene.world, for_operation=OPERATIONS[name]))
    if before is not None:
        served.run(before(scene))
    return scene


def _modes(operation: Operation) -> Iterable[GenerationMode]:
    return GenerationMode if operation.document.get("parameters") or operation.has_body else POSITIVE_ONLY


def _ask_examples(
    name: str, mode: GenerationMode, examples: int, ask: Callable[[schemathesis.Case[Any], list[bool]], None]
) -> None:
    strategy = GENERATED[name].as_strategy(generation_mode=mode)
    reals = st.lists(st.booleans(), min_size=12, max_size=12)
    limits = settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    seed(SEED)(limits(given(strategy, reals)(ask)))()


def _headers(operation: Operation, scene: Scene) -> dict[str, str]:
    entry = ENTRIES[operation.id]
    if entry.by_secret:
        return {"X-Application-Secret": scene.secret}
    return {"Authorization": f"Bearer {scene.token(entry.roles[0])}"} if entry.roles else {}


def _made_real(case: schemathesis.Case[Any], scene: Scene, real: list[bool]) -> None:
    """Puts in what exists: mostly in the path, and in the body member by member as `real` says."""
    operation = OPERATIONS[case.operation.definition.raw["operationId"]]
    if any(real[:2]):
        for parameter in case.path_parameters or {}:
            case.path_parameters[parameter] = scene.known(operation)[parameter]
    if (operation.method == "PATCH" or operation.id == "acceptRequest") and real[2]:
        case.headers["If-Match"] = "*"
    if real[3]:
        case.headers.pop("Idempotency-Key", None)
    if operation.takes_file and any(real[:6]):
        case.body, case.media_type, case.query = DOCUMENT, "application/pdf", {"name": "getekend.pdf"}
    entry = ENTRIES[operation.id]
    _make_query_real(case, scene, real)
    if entry.body is not None and isinstance(case.body, dict):
        for index, (member, value) in enumerate(entry.body(scene).items()):
            if any(real[:4]) or real[4 + index % 8]:
                case.body[member] = value


def _make_query_real(case: schemathesis.Case[Any], scene: Scene, real: list[bool]) -> None:
    """Puts in what the query must hold; and who waits for what does not come waits no longer than this test does."""
    entry = ENTRIES[case.operation.definition.raw["operationId"]]
    if entry.query is not None and any(real[:2]):
        case.query = {**(case.query or {}), **dict(parse_qsl(entry.query(scene)))}
    if entry.query is not None and "wait=" in entry.query(scene):
        case.query = {"wait": 0, **(case.query or {})}
    if str((case.query or {}).get("wait", "")).isdigit():
        case.query["wait"] = min(int(case.query["wait"]), 1)
