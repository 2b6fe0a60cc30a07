"""What is built on many events of the past is built beside the decisions, of what is needed for it alone."""

import asyncio
import threading
from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import event

from api.history import decision_log_routes, diff_routes, replay_routes
from api.processing_register import register_routes
from api.queries import past_events
from api.store.events import SYSTEM, record
from api.web.concurrency import RebuildLimiter
from models.consents.grants import Grant
from models.log.events import Event
from models.vocabulary.event_kinds import EventKind
from tests.worlds.world import START, World

REPLAY = "/replay?clientId=rekenrijk&type=leerling"


@pytest.fixture
def loaded() -> Iterator[list[Any]]:
    """The grants, and the events about them, of which the ORM made rows."""
    rows: list[Any] = []

    def note(row: Any, _: Any) -> None:
        # The last event of all is read by those who keep checkpoints.
        if isinstance(row, Grant) or row.kind.startswith("grant."):
            rows.append(row)

    for table in (Event, Grant):
        event.listen(table, "load", note)
    yield rows
    for table in (Event, Grant):
        event.remove(table, "load", note)


@pytest.mark.both_stores
@pytest.mark.parametrize("path", ["/register", REPLAY, "/changes", "/use"])
async def test_many_events_are_read_past_the_orm(path: str, world: World, loaded: list[Any]) -> None:
    await world.granted()
    await world.ask()
    loaded.clear()
    assert (await world.administer("GET", path)).status_code == 200
    assert loaded == []


@pytest.mark.parametrize(
    ("path", "module", "function"),
    [
        ("/register", register_routes, "register_of"),
        ("/register", register_routes, "json_of"),
        (REPLAY, replay_routes, "decision_at"),
        ("/changes", diff_routes, "json_of"),
        ("/use", decision_log_routes, "json_of"),
    ],
)
async def test_what_takes_long_is_built_in_a_thread(
    path: str, module: Any, function: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []
    build = getattr(module, function)

    def watched(*given: Any, **more: Any) -> Any:
        threads.append(threading.current_thread())
        return build(*given, **more)

    monkeypatch.setattr(module, function, watched)
    assert (await world.administer("GET", path)).status_code == 200
    assert threads
    assert threading.main_thread() not in threads


async def test_events_are_read_in_parts_and_in_order(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(4):
        await world.step((await world.granted())["grantId"], "revoke")
    whole = (await world.administer("GET", "/changes")).json()
    register = (await world.administer("GET", "/register")).json()
    monkeypatch.setattr(past_events, "PART", 2)
    monkeypatch.setattr(diff_routes, "PART", 2)
    assert (await world.administer("GET", "/changes")).json() == whole
    assert (await world.administer("GET", "/register")).json() == register
    assert [each["event"] for each in whole["items"]] == ["grant.granted", "grant.revoked"] * 4


async def test_a_replay_reads_of_all_schools_and_partners_those_in_question(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.register("taalhuis", kvk_number="90000002")
    await world.granted()
    read: list[dict[str, Any]] = []

    def watched(entries: Iterable[dict[str, Any]], *given: Any) -> Any:
        read.extend(entries)
        return replay_of(read, *given)

    replay_of = replay_routes.decision_at
    monkeypatch.setattr(replay_routes, "decision_at", watched)
    answer = (await world.administer("GET", REPLAY)).json()
    assert (answer["decision"], answer["reason"]) == (True, "granted")
    lists = [each["state"] for each in read if each["kind"] == "schools.listed"]
    assert lists == [
        {"listed": {"schools": [["16SW", "10001", False]], "locations": [["16SW00", False], ["16SW01", False]]}}
    ]
    assert {each["state"]["kvkNumber"] for each in read if each["kind"].startswith("partner.")} == {"90000001"}


async def test_a_replay_as_of_an_import_that_lists_other_schools_counts_it(world: World) -> None:
    await world.granted()
    async with world.store.writing() as write:
        listed = {"schools": [["17TX", "10002", True]], "locations": [["17TX00", True]]}
        record(write, EventKind.SCHOOLS_IMPORTED, SYSTEM, {"listed": listed})
    answer = (await world.administer("GET", REPLAY)).json()
    assert (answer["reason"], answer["revision"]) == ("granted", write.revision)
    answer = (await world.administer("GET", REPLAY, brin="17TX")).json()
    assert answer["reason"] == "unknown_school"


async def test_of_what_was_before_a_change_the_last_alone_is_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    grant = await world.granted()
    for days in range(1, 6):
        until = f"2027-09-0{days}T00:00:00Z"
        grant = (await world.amend(grant, validUntil=until)).json()
    before: list[int] = []
    compare = diff_routes._compared

    def watched(found: Any, rows: Any) -> Any:
        before.append(len(rows))
        return compare(found, rows)

    monkeypatch.setattr(diff_routes, "_compared", watched)
    whole = (await world.administer("GET", "/changes")).json()["items"]
    one_by_one: list[Any] = []
    cursor = ""
    while len(one_by_one) < len(whole):
        page = (await world.administer("GET", f"/changes?limit=1{cursor}")).json()
        one_by_one += page["items"]
        cursor = f"&cursor={page['next']}"
    assert one_by_one == whole
    assert before == [0, 0, *[1] * 5]


def test_the_use_of_grants_goes_once_through_what_was_counted() -> None:
    class Once(list[Any]):
        times = 0

        def __iter__(self) -> Iterator[Any]:
            self.times += 1
            return super().__iter__()

    names: dict[str, Any] = {"client_id": "rekenrijk", "location": None, "status": "granted", "scopes": []}
    grants = [SimpleNamespace(grant_id=str(number), **names) for number in range(20)]
    counted = Once()
    decision_log_routes._use_of(grants, counted, (START, START))
    assert counted.times == 1


async def test_who_asks_for_much_waits_for_itself_alone() -> None:
    limiter = RebuildLimiter(most=2)
    had: list[str] = []
    go_on = asyncio.Event()

    async def asks(whose: str) -> None:
        async with limiter.slot(whose):
            had.append(whose)
            await go_on.wait()

    waiting = [asyncio.create_task(asks(whose)) for whose in ("16SW", "16SW", "16SW", "17TX", "18AB")]
    for _ in range(10):
        await asyncio.sleep(0)
    assert had == ["16SW", "17TX"]
    go_on.set()
    await asyncio.gather(*waiting)
    assert sorted(had) == ["16SW", "16SW", "16SW", "17TX", "18AB"]
