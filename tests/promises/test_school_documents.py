"""The documents that a school may read: those that its own grants rest on."""

from typing import Final

import pytest

from tests.grants.test_grants import problem
from tests.worlds.tenants import NOWHERE, agreed, assert_not_found, beside_another_partner, document_of, neighbours
from tests.worlds.world import Answer, World

pytestmark = pytest.mark.empty_world

# -- the documents that concern a school's grants ---------------------------------------------------------------------


async def fetched(world: World, brin: str, agreement_id: str, token: str | None = None) -> Answer:
    """The document of an agreement, by an administrator of the school unless another token is given."""
    path = f"/v1/schools/{brin}/agreements/{agreement_id}/document"
    return await world.call("GET", path, token or world.token("school", school=brin))


async def found(world: World, brin: str, agreements: dict[str, str]) -> set[str]:
    """Which of these agreements a school may read; all others are the same as one that does not exist."""
    missing = await fetched(world, brin, NOWHERE)
    readable = set()
    for name, agreement_id in agreements.items():
        answer = await fetched(world, brin, agreement_id)
        if answer.status_code == 200:
            assert answer.content == document_of("taalhuis" if name == "another's" else "rekenrijk", agreement_id)
            readable.add(name)
        else:
            assert_not_found(answer, missing)
    return readable


async def agreements_of_two(world: World) -> dict[str, str]:
    """The agreements of `rekenrijk`, for all and for the boards of 16SW and of 17TX, and that of `taalhuis`."""
    general = {}
    for client_id, kvk_number in (("rekenrijk", "90000001"), ("taalhuis", "90000002")):
        await world.register(client_id, kvk_number=kvk_number, agreed=())
        general[client_id] = await agreed(world, client_id)
    return {
        "the general one": general["rekenrijk"],
        "that of board 10001": await agreed(world, "rekenrijk", boardNumber="10001"),
        "that of board 10002": await agreed(world, "rekenrijk", boardNumber="10002"),
        "another's": general["taalhuis"],
    }


#: Which agreements a school may read by the grants that there are: each the school's, the connection's, and where.
GRANTED: Final[dict[str, tuple[tuple[tuple[str, str, str | None], ...], set[str], set[str]]]] = {
    "nobody has granted anything": ((), set(), set()),
    "one school has": (
        (("16SW", "rekenrijk", None),),
        {"the general one", "that of board 10001"},
        set(),
    ),
    "one school has for a location": (
        (("16SW", "rekenrijk", "16SW01"),),
        {"the general one", "that of board 10001"},
        set(),
    ),
    "the other school has": (
        (("17TX", "rekenrijk", None),),
        set(),
        {"the general one", "that of board 10002"},
    ),
    "both have, to different connections": (
        (("16SW", "rekenrijk", None), ("17TX", "taalhuis", None)),
        {"the general one", "that of board 10001"},
        {"another's"},
    ),
    "one has to both connections": (
        (("16SW", "rekenrijk", None), ("16SW", "taalhuis", None)),
        {"the general one", "that of board 10001", "another's"},
        set(),
    ),
}


@pytest.mark.parametrize("name", GRANTED)
async def test_a_school_reads_the_agreements_that_its_own_grants_rest_on(world: World, name: str) -> None:
    grants, of_16sw, of_17tx = GRANTED[name]
    agreements = await agreements_of_two(world)
    for brin, client_id, location in grants:
        await world.granted(client_id, brin=brin, **({"location": location} if location else {}))
    assert await found(world, "16SW", agreements) == of_16sw
    assert await found(world, "17TX", agreements) == of_17tx


async def test_no_other_caller_reads_an_agreement_by_the_schools_address(world: World) -> None:
    agreements = await agreements_of_two(world)
    await world.granted()
    general = agreements["the general one"]
    assert (await fetched(world, "16SW", general)).status_code == 200
    for role, client_id in (("partner", "rekenrijk"), ("gateway", None), ("operator", None)):
        answer = await fetched(world, "16SW", general, world.token(role, client_id=client_id))
        assert problem(answer) == (403, "forbidden")
    other_school = world.token("school", school="17TX")
    foreign = await fetched(world, "16SW", general, other_school)
    assert_not_found(foreign, await fetched(world, "99ZZ", general, other_school))
    own = world.token("school", school="99ZZ")
    assert_not_found(foreign, await fetched(world, "99ZZ", general, own))


@beside_another_partner
async def test_nothing_that_a_school_reads_tells_of_a_case_an_incident_a_file_or_another_boards_agreement(
    world: World,
) -> None:
    ours, theirs = neighbours(world)
    foreign = [await agreed(world, ours.client_id, boardNumber="10002") for _ in range(2)]
    grant = await world.granted(ours.client_id)
    paths = ("", "/grants", f"/grants/{grant['grantId']}", f"/grants/{grant['grantId']}/history", "/connections")
    hidden = set(foreign)
    for tenant in (ours, theirs):
        hidden |= {
            tenant.case_id,
            tenant.reference,
            tenant.incident_id,
            tenant.file_id,
            f"Storing bij {tenant.client_id}",
        }
    for path in paths:
        answer = await world.administer("GET", path)
        assert answer.status_code == 200
        assert not [each for each in hidden if each in answer.text], path
