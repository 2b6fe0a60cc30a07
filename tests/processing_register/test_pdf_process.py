"""Documents are drawn in a process of their own: decisions don't notice, and what becomes of it spoils no document."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, cast

import psutil
import pytest

from api.edge.problems import DOCUMENT_NOT_DRAWN, Refused
from api.processing_register import pdf_process
from api.processing_register.document import document_of
from api.processing_register.pdf_model import Document
from api.processing_register.pdf_process import Drawing, DrawingFailed
from tests.grants.test_grants import problem
from tests.processing_register.test_register_documents import processing, register_with, text_of
from tests.worlds.world import World

ROOT: Final = Path(__file__).resolve().parents[2]
#: What is started in place of the process that draws, and never answers; or is gone at once.
NEVER_ANSWERS: Final = (sys.executable, "-c", "import time; time.sleep(600)")
IS_GONE: Final = (sys.executable, "-c", "pass")
PATIENCE: Final = 60.0


@pytest.fixture
async def drawer() -> AsyncIterator[Drawing]:
    made = Drawing()
    yield made
    await made.aclose()


def of(world: World) -> Drawing:
    return cast(Drawing, cast(Any, world.service)._app.state.drawing)


def started(drawer: Drawing) -> int:
    assert drawer.process_id is not None
    return drawer.process_id


async def until_gone(process_id: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while _lives(process_id):  # noqa: ASYNC110 - another process offers nothing to wait for
            await asyncio.sleep(0.02)


def _lives(process_id: int) -> bool:
    try:
        return bool(psutil.Process(process_id).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


async def under_way(drawer: Drawing, documents: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while drawer._under_way < documents or drawer.process_id is None:  # noqa: ASYNC110 - as it stands
            await asyncio.sleep(0.01)


def named(name: str) -> Document:
    return document_of(register_with(processing(name), name=name))


# -- beside the decisions ---------------------------------------------------------------------------------------------


async def test_decisions_and_changes_go_on_while_a_document_is_drawn(world: World) -> None:
    given = await world.granted()
    drawer = of(world)
    assert drawer.process_id is None
    assert (await world.administer("GET", "/register.pdf")).status_code == 200
    process_id = started(drawer)
    assert process_id != os.getpid()
    # Stopped in the middle of it, as long as we like.
    os.kill(process_id, signal.SIGSTOP)
    try:
        asked = asyncio.create_task(world.administer("GET", "/register.pdf"))
        await under_way(drawer, 1)
        assert await world.reason() == "granted"
        assert (await world.step(given["grantId"], "revoke")).status_code == 200
        assert await world.reason() == "revoked"
        assert not asked.done()
    finally:
        os.kill(process_id, signal.SIGCONT)
    answer = await asked
    assert answer.status_code == 200
    assert answer.content.startswith(b"%PDF-")
    assert started(drawer) == process_id


async def test_it_is_told_when_a_document_cannot_be_drawn_now(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf_process, "_COMMAND", IS_GONE)
    answer = await world.administer("GET", "/register.pdf")
    assert (problem(answer), answer.headers["Retry-After"]) == ((503, "document_not_drawn"), "1")
    monkeypatch.undo()
    assert (await world.administer("GET", "/register.pdf")).status_code == 200


def test_the_server_has_no_part_in_drawing() -> None:
    program = "import sys, api.app; print(sorted({'reportlab', 'pymupdf_fonts', 'PIL'} & sys.modules.keys()))"
    found = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_the_process_that_draws_has_no_part_in_the_store() -> None:
    program = (
        "import sys, api.processing_register.pdf_worker;"
        " print(sorted({'sqlalchemy', 'pydantic', 'models'} & sys.modules.keys()))"
    )
    found = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


# -- what becomes of the process --------------------------------------------------------------------------------------


async def test_one_that_died_is_replaced_unnoticed(drawer: Drawing) -> None:
    await drawer.draw(named("Een"))
    first = started(drawer)
    os.kill(first, signal.SIGKILL)
    assert "Twee" in text_of(await drawer.draw(named("Twee")))
    second = started(drawer)
    assert second != first
    # And one that dies while it draws.
    os.kill(second, signal.SIGSTOP)
    asked = asyncio.create_task(drawer.draw(named("Drie")))
    await under_way(drawer, 1)
    os.kill(second, signal.SIGKILL)
    assert "Drie" in text_of(await asked)


async def test_one_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    drawer = Drawing(seconds=0.3)
    monkeypatch.setattr(pdf_process, "_COMMAND", NEVER_ANSWERS)
    asked = asyncio.create_task(drawer.draw(named("Een")))
    await under_way(drawer, 1)
    process_id = started(drawer)
    with pytest.raises(Refused) as refused:
        await asked
    assert (refused.value.problem, refused.value.sent_with) == (DOCUMENT_NOT_DRAWN, {"Retry-After": "60"})
    assert (drawer.process_id, _lives(process_id)) == (None, False)


async def test_no_more_than_so_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    drawer = Drawing(most_waiting=2)
    monkeypatch.setattr(pdf_process, "_COMMAND", NEVER_ANSWERS)
    asked = [asyncio.create_task(drawer.draw(named("Een"))) for _ in range(3)]
    await under_way(drawer, 3)
    with pytest.raises(Refused) as refused:
        await drawer.draw(named("Vier"))
    assert (refused.value.problem, refused.value.sent_with) == (DOCUMENT_NOT_DRAWN, {"Retry-After": "10"})
    for each in asked:
        each.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    assert (drawer._under_way, drawer.process_id) == (0, None)
    monkeypatch.undo()
    assert (await drawer.draw(named("Vijf"))).startswith(b"%PDF-")
    await drawer.aclose()


async def test_one_school_leaves_places_to_the_others(world: World) -> None:
    drawer = of(world)
    assert (await world.administer("GET", "/register.pdf")).status_code == 200
    os.kill(started(drawer), signal.SIGSTOP)
    asked = [asyncio.create_task(world.administer("GET", "/register.pdf")) for _ in range(2)]
    await under_way(drawer, 2)
    refused = await world.administer("GET", "/register.pdf")
    assert (problem(refused), refused.headers["Retry-After"]) == ((503, "document_not_drawn"), "10")
    asked.append(asyncio.create_task(world.administer("GET", "/register.pdf", brin="17TX")))
    await under_way(drawer, 3)
    os.kill(started(drawer), signal.SIGCONT)
    assert [answer.status_code for answer in await asyncio.gather(*asked)] == [200, 200, 200]
    assert (await world.administer("GET", "/register.pdf")).status_code == 200


async def test_an_answer_that_nobody_waits_for_is_not_given_to_the_next(drawer: Drawing) -> None:
    await drawer.draw(named("Een"))
    process_id = started(drawer)
    os.kill(process_id, signal.SIGSTOP)
    asked = asyncio.create_task(drawer.draw(named("Twee")))
    await under_way(drawer, 1)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert not _lives(process_id)
    text = text_of(await drawer.draw(named("Drie")))
    assert "Drie" in text
    assert "Twee" not in text


async def test_many_at_once_each_get_their_own(drawer: Drawing) -> None:
    names = [f"Naam{number}" for number in range(6)]
    drawn = await asyncio.gather(*(drawer.draw(named(name)) for name in names))
    assert [name in text_of(content) for name, content in zip(names, drawn, strict=True)] == [True] * 6


async def test_one_document_that_cannot_be_drawn_spoils_no_other(
    drawer: Drawing, capfd: pytest.CaptureFixture[str]
) -> None:
    spoilt = replace(named("Een"), parts=cast(Any, None))
    with pytest.raises(DrawingFailed):
        await drawer.draw(spoilt)
    assert "TypeError" in capfd.readouterr().err
    process_id = started(drawer)
    assert (await drawer.draw(named("Een"))).startswith(b"%PDF-")
    assert started(drawer) == process_id


async def test_nothing_of_the_servers_goes_along(drawer: Drawing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRIVACY_MANAGER_DATABASE_URL", "postgresql+asyncpg://iemand:geheim@db/x")
    server = await asyncio.start_server(lambda _, __: None, "127.0.0.1", 0)
    async with server:
        await drawer.draw(named("Een"))
        process = psutil.Process(started(drawer))
        assert process.net_connections(kind="inet") == []
        assert not [name for name in process.environ() if name.startswith("PRIVACY_MANAGER_")]
        assert process.children() == []


#: Names in a server's environment that hold a secret, or that have Python run or warn of what was not meant.
SECRETS: Final = (
    "PGPASSWORD",
    "PGPASSFILE",
    "PRIVACY_MANAGER_DATABASE_URL",
    "privacy_manager_database_url",
    "Privacy_Manager_Issuer_Key",
    "AWS_SECRET_ACCESS_KEY",
    "DATABASE_URL",
    "PATH_TO_SECRET",
    "MY_PATH",
    "path",
    "LC_ALL_SECRET",
    "PYTHONSTARTUP",
    "PYTHONINSPECT",
    "PYTHON_SECRET",
    "LD_PRELOADED",
    "VIRTUAL_ENV_TOKEN",
)


async def test_no_secret_of_the_servers_environment_goes_along(
    drawer: Drawing, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, "zq-geheim-4711")
    for name in ("LC_ALL", "LANG"):
        monkeypatch.setenv(name, "C.UTF-8")
    assert "Een" in text_of(await drawer.draw(named("Een")))
    given = Path(f"/proc/{started(drawer)}/environ").read_bytes().decode().split("\0")
    assert "zq-geheim-4711" not in "".join(given)
    assert not {line.partition("=")[0] for line in given} & set(SECRETS)
    assert {"LC_ALL=C.UTF-8", "LANG=C.UTF-8", f"PATH={os.environ['PATH']}"} <= set(given)


async def test_a_socket_that_uvicorn_lets_be_inherited_is_let_go() -> None:
    program = textwrap.dedent(
        """
        import asyncio, socket, psutil, uvloop
        from api.document import Document
        from api.processing_register.pdf_process import Drawing

        async def main():
            drawer = Drawing()
            with socket.socket() as listening:
                listening.bind(("127.0.0.1", 0))
                listening.listen()
                listening.set_inheritable(True)
                await drawer.draw(Document("", "", "", "", "", (), (), (), (), ""))
                process = psutil.Process(drawer.process_id)
                print(process.net_connections(kind="inet"), process.num_fds())
            await drawer.aclose()

        uvloop.run(main())
        """
    )
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    told, _ = await server.communicate()
    # Its input, its errors twice, and its answers.
    assert told == b"[] 4\n"


async def test_it_ends_with_the_service(world: World) -> None:
    assert (await world.administer("GET", "/register.pdf")).status_code == 200
    process_id = started(of(world))
    async with cast(Any, world.service).running():
        pass
    assert not _lives(process_id)


@pytest.mark.parametrize("entries", [1, 20000], ids=["idle", "drawing"])
async def test_it_ends_when_the_server_is_killed(entries: int) -> None:
    program = textwrap.dedent(
        """
        import asyncio, sys
        from api.processing_register.pdf_process import Drawing
        from api.document import Document, Entry, Line, Part

        def listing(entries):
            entry = Entry(("Naam",), ("", "", "", "", ""), (Line("Nederlands", "English", ("Waarde",) * 60),))
            part = Part("Deel", "Part", ("", "", "", "", ""), (entry,) * entries, "")
            return Document("", "", "", "", "", (), (), (part,), (), "")

        async def main():
            drawer = Drawing()
            await drawer.draw(listing(0))
            asked = asyncio.create_task(drawer.draw(listing(int(sys.argv[1]))))
            while drawer._under_way == 0:
                await asyncio.sleep(0.01)
            if sys.argv[1] == "1":
                await asked
            print(drawer.process_id, flush=True)
            await asyncio.sleep(600)

        asyncio.run(main())
        """
    )
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(entries), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    async with asyncio.timeout(PATIENCE):
        process_id = int(await server.stdout.readline())
    assert _lives(process_id)
    server.kill()
    await server.wait()
    await until_gone(process_id)
