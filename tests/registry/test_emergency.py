"""An emergency stop or a lapsed ground rule denies the next decision on every replica, and can be undone."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import pytest
from sqlmodel import col, select

from api.security import sealing
from api.snapshot.current import CurrentSnapshot
from models.consents.partners import Stage
from models.log.events import Event
from tests.grants.test_grants import problem
from tests.worlds.world import NAMES, Answer, World, world_on

CONNECTION: Final = "/v1/connections/rekenrijk"
PARTNER: Final = "/v1/partners/90000001"
WHY: Final = {"reason": "Er lekken gegevens."}


@pytest.fixture
async def replicas(store_url: str, tmp_path: Path) -> AsyncIterator[list[World]]:
    """Three replicas of the service on one store, each with its own snapshot; and a grant that permits."""
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(world_on(store_url, tmp_path))
        others = [await stack.enter_async_context(world_on(store_url, tmp_path, populated=True)) for _ in range(2)]
        await first.register()
        await first.granted()
        for replica in (first, *others):
            assert await replica.reason() == "granted"
        yield [first, *others]


async def reasons(replicas: list[World]) -> set[str]:
    """The next decision of each replica, that of the replica that made the change last."""
    return {await replica.reason() for replica in reversed(replicas)}


@pytest.mark.parametrize("whose", [CONNECTION, PARTNER])
async def test_a_stop_denies_the_next_decision_on_every_replica_and_is_undone(
    replicas: list[World], whose: str
) -> None:
    for _ in range(3):
        assert (await replicas[0].operate("POST", f"{whose}/_stop", WHY)).status_code == 200
        assert await reasons(replicas) == {"partner_not_eligible"}
        assert (await replicas[1].operate("POST", f"{whose}/_lift", {"reason": "Loos alarm."})).status_code == 200
        assert await reasons(replicas) == {"granted"}


async def test_a_lapsed_ground_rule_denies_the_next_decision_on_every_replica_and_is_restored(
    replicas: list[World],
) -> None:
    first = replicas[0]
    before = (await first.administer("GET", "/grants")).json()
    assert (await first.keep("rekenrijk", "kvk", kept=False)).status_code == 201
    assert await reasons(replicas) == {"partner_not_eligible"}
    assert (await first.keep("rekenrijk", "kvk")).status_code == 201
    assert await reasons(replicas) == {"granted"}
    assert (await first.administer("GET", "/grants")).json() == before


async def test_a_ground_rule_lapses_by_the_clock_alone_on_every_replica(replicas: list[World]) -> None:
    first = replicas[0]
    facts = (await first.operate("GET", f"{CONNECTION}/ground-rules")).json()["items"]
    (fact,) = [each["groundRuleId"] for each in facts if each["rule"] == "doelbinding"]
    await first.keep("rekenrijk", "doelbinding", validUntil="2026-09-08T08:00:00Z")
    await first.operate("POST", f"{CONNECTION}/ground-rules/{fact}/_withdraw", WHY)
    assert await reasons(replicas) == {"granted"}
    for replica in replicas:
        replica.clock.advance(days=7)
    assert await reasons(replicas) == {"partner_not_eligible"}


@pytest.mark.empty_world
async def test_a_stop_touches_no_grant_and_the_partners_reaches_all_its_connections(world: World) -> None:
    for client_id in ("rekenrijk", "taalrijk"):
        await world.register(client_id)
        await world.granted(client_id)
    await world.register("taalhuis", kvk_number="90000002")
    await world.granted("taalhuis")
    before = (await world.administer("GET", "/grants")).content
    await world.operate("POST", f"{PARTNER}/_stop", WHY)
    told = [await world.reason(client_id) for client_id in ("rekenrijk", "taalrijk", "taalhuis")]
    assert told == ["partner_not_eligible", "partner_not_eligible", "granted"]
    await world.operate("POST", f"{PARTNER}/_lift", WHY)
    assert (await world.administer("GET", "/grants")).content == before


@pytest.mark.parametrize("whose", [CONNECTION, PARTNER])
async def test_both_calls_need_a_reason_and_count_once(world: World, whose: str) -> None:
    for step in ("_stop", "_lift"):
        for nothing in ({}, {"reason": ""}, {"reason": "  "}, {"reason": None}):
            assert problem(await world.operate("POST", f"{whose}/{step}", nothing)) == (400, "invalid_input")
    assert problem(await world.operate("POST", f"{whose}/_lift", WHY)) == (409, "transition_not_allowed")
    assert (await world.operate("POST", f"{whose}/_stop", WHY)).status_code == 200
    assert problem(await world.operate("POST", f"{whose}/_stop", WHY)) == (409, "transition_not_allowed")
    async with world.store.reading() as session:
        last = (await session.exec(select(Event).order_by(col(Event.number).desc()).limit(1))).one()
        reasons = await sealing.named(session, [last.reason])
    assert last.reason is not None
    assert (last.kind.rpartition(".")[2], last.actor_role) == ("stopped", "operator")
    assert reasons[last.reason] == WHY["reason"]


async def test_a_stop_and_a_lapse_show_in_every_list(world: World) -> None:
    await world.granted()
    await world.operate("POST", f"{PARTNER}/_stop", WHY)
    await world.keep("rekenrijk", "kvk", kept=False)
    (to_school,) = (await world.administer("GET", "/connections")).json()["items"]
    (to_operator,) = (await world.operate("GET", "/v1/connections")).json()["items"]
    to_partner = (await world.call("GET", CONNECTION, world.token("partner", client_id="rekenrijk"))).json()
    for shown in (to_school, to_operator, to_partner):
        assert (shown["stopped"], shown["eligible"]) == (True, False)
        assert [rule["rule"] for rule in shown["groundRules"] if not rule["kept"]] == ["kvk"]
    assert (await world.look()).json()["items"][0]["reason"] == "partner_not_eligible"
    (partner,) = (await world.operate("GET", "/v1/partners")).json()["items"]
    assert partner["stoppedAt"] == "2026-09-01T08:00:00Z"


async def test_under_a_stop_a_school_can_take_back_and_not_give(world: World) -> None:
    given = await world.granted()
    await world.operate("POST", f"{CONNECTION}/_stop", WHY)
    assert problem(await world.grant(location="16SW00")) == (409, "partner_not_eligible")
    assert problem(await world.amend(given, scopes=[*NAMES, "leerling.jaargroep"])) == (409, "partner_not_eligible")
    narrowed: Answer = await world.amend(given, scopes=NAMES[:2])
    assert narrowed.status_code == 200
    assert (await world.step(given["grantId"], "revoke")).json()["status"] == "revoked"


@pytest.mark.empty_world
async def test_a_connection_that_is_stopped_on_its_road_stays_denied_when_it_goes_live(world: World) -> None:
    await world.register(stage=Stage.PLACED)
    await world.granted()
    await world.operate("POST", f"{CONNECTION}/_stop", WHY)
    await world.bring("rekenrijk", Stage.LIVE)
    assert await world.reason() == "partner_not_eligible"


async def test_a_connection_that_is_registered_under_a_stopped_partner_is_denied(world: World) -> None:
    await world.operate("POST", f"{PARTNER}/_stop", WHY)
    await world.register("taalrijk", rules=(), agreed=[])
    shown = (await world.operate("GET", "/v1/connections/taalrijk")).json()
    assert (shown["stopped"], shown["stoppedAt"]) == (True, None)


@pytest.mark.both_stores
async def test_a_decision_still_costs_one_read_and_a_change_one_catching_up(world: World) -> None:
    """Stages, stops and grace periods are read with the rows that decisions read anyway."""
    await world.granted()
    await world.reason()
    counted = _Counting(world.service.services.of(CurrentSnapshot)._source)
    world.service.services.of(CurrentSnapshot)._source = counted
    for _ in range(3):
        assert await world.reason() == "granted"
    assert (counted.reads, counted.catching_up) == (3, 0)
    await world.operate("POST", f"{PARTNER}/_stop", WHY)
    # A write reads the store too, for as long as it lasts.
    reads = counted.reads
    assert await world.reason() == "partner_not_eligible"
    assert (counted.reads, counted.catching_up) == (reads + 1, 1)


class _Counting:
    """The fact source, with counted calls."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self.reads = self.catching_up = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    async def read(self, within: float, draft: Any = None) -> Any:
        self.reads += 1
        return await self._source.read(within, draft)

    async def changes(self, since: int) -> Any:
        self.catching_up += 1
        return await self._source.changes(since)
