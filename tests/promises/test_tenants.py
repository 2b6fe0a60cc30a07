"""Who sees what on the road to live: a partner what is its own connection's, a school what concerns its own grants.

What is another's is the same 404 as what does not exist, to the byte. Every route of a case, a connection, an incident
and what is due stands in one of the tables below.
"""

import itertools
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

import pytest

from api.queries import event_rows
from api.routes import documented_app
from tests.grants.test_grants import problem
from tests.worlds.tenants import (
    BY_OPERATORS_ALONE,
    LISTS,
    NOWHERE,
    READS,
    REPORTS,
    SAID,
    UNKNOWN,
    WRITES,
    Route,
    applied,
    assert_not_found,
    beside_another_partner,
    handed_in,
    neighbours,
    others,
    others_names,
    partner,
    walked,
    whole,
)
from tests.worlds.world import Answer, World

pytestmark = beside_another_partner


def test_every_route_of_the_road_to_live_stands_in_one_table() -> None:
    rooms = ("/v1/cases", "/v1/connections", "/v1/partners", "/v1/incidents", "/v1/due")
    paths = documented_app().openapi()["paths"]
    served = [(method.upper(), path) for path, item in paths.items() if path.startswith(rooms) for method in item]
    for_partners = [*(("GET", path) for path in (*READS.values(), *LISTS.values())), ("POST", REPORTS)]
    for_partners += [("POST", path) for path, _ in WRITES.values()]
    for_operators = [(method, path) for method, path, _ in BY_OPERATORS_ALONE]
    assert sorted(served) == sorted([*for_partners, *for_operators])


# -- what a partner reads ---------------------------------------------------------------------------------------------


@others
@pytest.mark.parametrize("name", READS)
async def test_a_partner_reads_what_is_its_own_and_nothing_else_is_there(world: World, name: str) -> None:
    path = READS[name]
    for ours, theirs in itertools.permutations(neighbours(world)):
        own = await world.call("GET", path.format(**ours.names(path)), partner(world, ours))
        assert own.status_code == 200
        assert ours.client_id in own.text
        assert not [each for each in theirs.ids if each in own.text]
        assert "operator-subject" not in own.text
        for foreign, unknown in others_names(path, ours, theirs):
            answers = [await world.call("GET", each, partner(world, ours)) for each in (foreign, unknown)]
            assert_not_found(*answers)


QUERIES: Final = {
    "its cases": ("", "?limit=1", "?step=agreements_sent"),
    "its incidents": ("", "?limit=1", "?status=resolved"),
    "its figures": ("",),
}


@others
@pytest.mark.parametrize("name", LISTS)
async def test_a_list_holds_what_is_the_partners_own_and_nothing_else(world: World, name: str) -> None:
    for ours, theirs in itertools.permutations(neighbours(world)):
        for query in QUERIES[name]:
            answer = await world.call("GET", f"{LISTS[name]}{query}", partner(world, ours))
            assert answer.status_code == 200
            assert not [each for each in theirs.ids if each in answer.text]
            assert "operator-subject" not in answer.text
            if name != "its figures":
                (item,) = answer.json()["items"]
                assert (item["clientId"], answer.json()["next"]) == (ours.client_id, None)
                assert item[LISTED[name]] in ours.ids


LISTED: Final = {"its cases": "caseId", "its incidents": "incidentId"}


@others
async def test_a_partners_figures_count_its_own_incidents(world: World) -> None:
    for tenant in neighbours(world):
        told = (await world.call("GET", LISTS["its figures"], partner(world, tenant))).json()["severities"]
        assert [each["solution"]["count"] for each in told] == [0, 0, 1, 0]
    all_of_them = (await world.operate("GET", LISTS["its figures"])).json()["severities"]
    assert [each["solution"]["count"] for each in all_of_them] == [0, 0, 2, 0]


async def test_the_operator_reads_what_is_of_either(world: World) -> None:
    ours, theirs = neighbours(world)
    for path, tenant in itertools.product(READS.values(), (ours, theirs)):
        answer = await world.operate("GET", path.format(**tenant.names(path)))
        assert answer.status_code == 200
        assert tenant.client_id in answer.text
    for name, member in LISTED.items():
        items = (await world.operate("GET", LISTS[name])).json()["items"]
        assert {item[member] for item in items} <= ours.ids | theirs.ids
        assert len(items) == 2


async def test_an_operator_too_finds_a_thing_under_its_own_connection_or_incident_alone(world: World) -> None:
    ours, theirs = neighbours(world)
    for name, inner in (("its agreement's document", "agreement_id"), ("its attachment", "file_id")):
        names = ours.names(READS[name])
        crossed = READS[name].format(**names | {inner: getattr(theirs, inner)})
        missing = READS[name].format(**names | {inner: NOWHERE})
        assert_not_found(await world.operate("GET", crossed), await world.operate("GET", missing))


# -- who it was -------------------------------------------------------------------------------------------------------


async def test_who_checked_a_ground_rule_is_told_to_operators_and_not_to_the_partner(world: World) -> None:
    ours, _ = neighbours(world)
    path = READS["its ground rules"].format(**ours.names(READS["its ground rules"]))
    told = (await world.operate("GET", path)).json()["items"]
    untold = (await world.call("GET", path, partner(world, ours))).json()["items"]
    assert [rule["checkedBy"] for rule in told] == ["operator-subject"] * 4
    assert untold == [{**rule, "checkedBy": None} for rule in told]


async def test_who_took_a_step_is_told_to_operators_and_not_to_the_partner(world: World) -> None:
    ours, _ = neighbours(world)
    path = READS["its case"].format(**ours.names(READS["its case"]))
    told = (await world.operate("GET", path)).json()
    assert [(step["step"], step["by"], step["role"]) for step in told["steps"]] == [
        ("applied", f"applicant:{ours.reference}", "applicant"),
        ("contacted", "operator-subject", "operator"),
        ("introduced", "operator-subject", "operator"),
        ("agreements_sent", "operator-subject", "operator"),
    ]
    untold = {**told, "steps": [{**step, "by": None} for step in told["steps"]]}
    assert (await world.call("GET", path, partner(world, ours))).json() == untold
    assert (await world.call("GET", "/v1/cases", partner(world, ours))).json()["items"] == [untold]


# -- before there is anything -----------------------------------------------------------------------------------------


async def test_a_partner_that_is_linked_to_nothing_sees_nothing(world: World) -> None:
    await world.register("stil", kvk_number="90000003")
    for client_id in ("stil", "onbekend"):
        token = world.token("partner", client_id=client_id)
        for name in ("its cases", "its incidents"):
            assert (await world.call("GET", LISTS[name], token)).json() == {"items": [], "next": None}
        told = (await world.call("GET", LISTS["its figures"], token)).json()["severities"]
        assert {(each["open"], each["firstAnswer"]["count"]) for each in told} == {(0, 0)}


async def test_a_partner_that_is_not_registered_has_no_connection_any_more_than_another_has(world: World) -> None:
    ours, _ = neighbours(world)
    token = world.token("partner", client_id="onbekend")
    for name in ("its connection", "its agreements", "its ground rules"):
        own = await world.call("GET", READS[name].format(client_id="onbekend"), token)
        assert_not_found(await world.call("GET", READS[name].format(client_id=ours.client_id), token), own)


@pytest.mark.empty_world
async def test_a_case_is_the_partners_from_the_step_on_that_names_its_connection(world: World) -> None:
    case_id, _, _ = await applied(world, "rekenrijk", "90000001")
    await world.register("rekenrijk")
    await world.register("rekenrijk-oud")
    own, old = (world.token("partner", client_id=client_id) for client_id in ("rekenrijk", "rekenrijk-oud"))
    early, unknown = [await world.call("GET", f"/v1/cases/{each}", own) for each in (case_id, NOWHERE)]
    assert_not_found(early, unknown)
    await walked(world, case_id, "rekenrijk-oud")
    assert (await world.call("GET", f"/v1/cases/{case_id}", old)).status_code == 200
    again = {"step": "agreements_sent", "evidence": "Voor het andere leermiddel.", "clientId": "rekenrijk"}
    assert (await world.operate("POST", f"/v1/cases/{case_id}/steps", again)).status_code == 200
    assert (await world.call("GET", f"/v1/cases/{case_id}", own)).status_code == 200
    assert_not_found(await world.call("GET", f"/v1/cases/{case_id}", old), unknown)
    assert (await world.call("GET", "/v1/cases", old)).json()["items"] == []


# -- what a partner does ----------------------------------------------------------------------------------------------


async def done(world: World, path: str, token: str, **headers: str) -> Answer:
    """One of the `WRITES`."""
    if path.endswith("/attachments"):
        return await handed_in(world, path, token, b"Logboek.", "logboek.txt", **headers)
    return await world.call("POST", path, token, SAID, **headers)


@others
@pytest.mark.parametrize("name", WRITES)
async def test_a_partner_writes_to_its_own_incidents_and_to_no_others(world: World, name: str) -> None:
    path, status = WRITES[name]
    ours, theirs = neighbours(world)
    before = (await world.operate("GET", f"{REPORTS}/{theirs.incident_id}")).json()
    revision = await revision_of(world)
    for headers in ({}, {"If_Match": '"4"'}, {"If_Match": '"1"'}, {"If_Match": "*"}, {"Idempotency_Key": "sleutel"}):
        for foreign, unknown in others_names(path, ours, theirs):
            answers = [await done(world, each, partner(world, ours), **headers) for each in (foreign, unknown)]
            assert_not_found(*answers)
    assert await revision_of(world) == revision
    assert (await world.operate("GET", f"{REPORTS}/{theirs.incident_id}")).json() == before
    own = await done(world, path.format(**ours.names(path)), partner(world, ours))
    assert own.status_code == status
    assert not [each for each in theirs.ids if each in own.text]


@pytest.mark.parametrize("name", WRITES)
async def test_no_partner_is_given_the_answer_to_anothers_write_by_its_key(world: World, name: str) -> None:
    path, status = WRITES[name]
    ours, theirs = neighbours(world)
    own = await done(world, path.format(**theirs.names(path)), partner(world, theirs), Idempotency_Key="sleutel")
    assert own.status_code == status
    (addresses,) = others_names(path, ours, theirs)
    answers = [await done(world, each, partner(world, ours), Idempotency_Key="sleutel") for each in addresses]
    assert_not_found(*answers)


async def revision_of(world: World) -> int:
    """How often anything has changed."""
    async with world.store.reading() as session:
        return await event_rows.revision(session)


# -- what is for operators alone, and for no school -------------------------------------------------------------------


async def refused(world: World, token: str, routes: Sequence[Route], *tenants: dict[str, str]) -> None:
    """Asserts that a role may do none of this, that the answers tell not what there is, and that nothing changed."""
    before = await revision_of(world)
    for method, path, body in routes:
        answers = [await world.call(method, path.format(**names), token, body, If_Match="*") for names in tenants]
        assert problem(answers[0]) == (403, "forbidden"), path
        assert all(whole(answer) == whole(answers[0]) for answer in answers), path
    assert await revision_of(world) == before


async def test_what_is_the_operators_is_refused_to_partners_be_it_about_themselves_or_not(world: World) -> None:
    ours, theirs = neighbours(world)
    await refused(world, partner(world, ours), BY_OPERATORS_ALONE, asdict(ours), asdict(theirs), UNKNOWN)


@pytest.mark.parametrize("role", ["school", "gateway"])
async def test_a_school_and_a_gateway_see_no_case_agreement_incident_or_file_of_a_partner(
    world: World, role: str
) -> None:
    ours, theirs = neighbours(world)
    await world.granted(ours.client_id)
    for_partners: list[Route] = [
        *(("GET", path, None) for path in (*READS.values(), *LISTS.values())),
        *(("POST", path, SAID) for path, _ in WRITES.values()),
        ("POST", REPORTS, {"title": "Storing", "description": "Wit scherm.", "severity": "low"}),
    ]
    token = world.token(role, school="16SW" if role == "school" else None)
    routes = [*for_partners, *BY_OPERATORS_ALONE]
    await refused(world, token, routes, asdict(ours), asdict(theirs), UNKNOWN)
