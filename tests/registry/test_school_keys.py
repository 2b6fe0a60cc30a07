"""Schoolkeys: operators register them, gateways look them up, and each identifies one place at a time."""

import pytest
from sqlmodel import col, select

from api.security import sealing
from models.log.events import Event
from models.vocabulary.identifiers import is_schoolkey
from tests.worlds.world import Answer, World

KEYS = "/v1/schools/16SW/keys"


async def _asked(world: World, schoolkey: str) -> Answer:
    return await world.call("GET", f"/v1/school-keys/{schoolkey}", world.token("gateway"))


async def test_a_key_stands_for_its_school_until_it_is_removed(world: World) -> None:
    added = await world.operate("POST", KEYS, {"schoolkey": "las-0042"})
    assert added.status_code == 201
    assert (await _asked(world, "las-0042")).json() == added.json()
    assert (added.json()["brin"], added.json()["location"]) == ("16SW", None)
    removed = await world.operate("POST", f"{KEYS}/las-0042/_remove", {"reason": "Ander LAS."})
    assert removed.json()["revision"] == added.json()["revision"] + 1
    assert (await _asked(world, "las-0042")).status_code == 404
    assert (await world.operate("POST", f"{KEYS}/las-0042/_remove", {})).status_code == 404
    elsewhere = await world.operate("POST", "/v1/schools/17TX/keys", {"schoolkey": "las-0042"})
    assert elsewhere.status_code == 201
    assert (await _asked(world, "las-0042")).json()["brin"] == "17TX"


async def test_a_key_that_is_kept_is_nobody_elses(world: World) -> None:
    await world.operate("POST", KEYS, {"schoolkey": "las-0042", "location": "16SW01"})
    for brin in ("16SW", "17TX"):
        again = await world.operate("POST", f"/v1/schools/{brin}/keys", {"schoolkey": "las-0042"})
        assert (again.status_code, again.json()["type"].rpartition("/")[2]) == (409, "already_exists")
    assert (await world.operate("POST", "/v1/schools/17TX/keys/las-0042/_remove", {})).status_code == 404
    assert (await _asked(world, "las-0042")).json()["location"] == "16SW01"


async def test_a_key_is_told_from_one_in_other_letters(world: World) -> None:
    await world.operate("POST", KEYS, {"schoolkey": "las-ab"})
    assert (await _asked(world, "LAS-AB")).status_code == 404
    assert (await world.operate("POST", "/v1/schools/17TX/keys", {"schoolkey": "LAS-AB"})).status_code == 201
    assert (await _asked(world, "las-ab")).json()["brin"] == "16SW"


@pytest.mark.parametrize("location", ["17TX00", "16SW99", "16SW", "00", ""])
async def test_a_key_is_not_of_a_location_that_the_school_has_not(world: World, location: str) -> None:
    refused = await world.operate("POST", KEYS, {"schoolkey": "las-0042", "location": location})
    assert (refused.status_code, (await _asked(world, "las-0042")).status_code) == (400, 404)


@pytest.mark.parametrize("schoolkey", ["", ".", "..", "../x", "a/b", "a b", "é", "a\n", "a\0", "x" * 65, "%2e%2e"])
async def test_what_could_not_stand_in_an_address_is_no_key(world: World, schoolkey: str) -> None:
    assert not is_schoolkey(schoolkey)
    assert (await world.operate("POST", KEYS, {"schoolkey": schoolkey})).status_code == 400


@pytest.mark.parametrize(
    ("schoolkey", "encoded"), [("{0f8e-1}", "%7B0f8e-1%7D"), ("a%2Fb?c#d", "a%252Fb%3Fc%23d"), ("a+b=", "a%2Bb%3D")]
)
async def test_a_key_of_odd_characters_is_found_under_its_own_name(world: World, schoolkey: str, encoded: str) -> None:
    assert is_schoolkey(schoolkey)
    assert (await world.operate("POST", KEYS, {"schoolkey": schoolkey})).status_code == 201
    assert (await _asked(world, encoded)).json()["schoolkey"] == schoolkey
    assert (await world.operate("POST", f"{KEYS}/{encoded}/_remove", {})).status_code == 200


async def test_a_school_sees_its_own_keys_in_pages_and_cannot_add_one(world: World) -> None:
    for number in range(5):
        await world.operate("POST", KEYS, {"schoolkey": f"las-{number}"})
    await world.operate("POST", "/v1/schools/17TX/keys", {"schoolkey": "las-9"})
    seen: list[str] = []
    following: str | None = ""
    while following is not None:
        page = (await world.administer("GET", f"/keys?limit=2{following}")).json()
        seen += [item["schoolkey"] for item in page["items"]]
        following = f"&cursor={page['next']}" if page["next"] else None
    assert seen == [f"las-{number}" for number in range(5)]
    assert (await world.administer("POST", "/keys", {"schoolkey": "las-9"})).status_code == 403
    assert (await world.administer("POST", "/keys/las-1/_remove", {})).status_code == 403


async def test_every_change_of_a_key_leaves_an_event(world: World) -> None:
    await world.operate("POST", KEYS, {"schoolkey": "las-0042"})
    await world.operate("POST", f"{KEYS}/las-0042/_remove", {"reason": "Ander LAS."})
    async with world.store.reading() as session:
        found = await session.exec(select(Event).order_by(col(Event.number).desc()).limit(2))
        removed, added = found.all()
        reasons = await sealing.named(session, [removed.reason])
    assert (added.kind, added.brin, added.state["schoolkey"]) == ("school.key_added", "16SW", "las-0042")
    assert (removed.kind, removed.brin) == ("school.key_removed", "16SW")
    assert list(reasons.values()) == ["Ander LAS."]
