"""An applicant's secret gives access to its own application, and to nothing else."""

import itertools
from typing import Final

import pytest

from tests.grants.test_grants import problem
from tests.promises.test_tenants import revision_of
from tests.worlds.tenants import LISTS, READS, REASON, assert_not_found, beside_another_partner, neighbours, whole
from tests.worlds.world import Answer, World

pytestmark = beside_another_partner

# -- the applicants ---------------------------------------------------------------------------------------------------


async def follow(world: World, reference: str, secret: str | None, token: str | None = None) -> Answer:
    headers = {"X_Application_Secret": secret} if secret is not None else {}
    return await world.call("GET", f"/v1/applications/{reference}", token, **headers)


async def withdraw(world: World, reference: str, secret: str | None, token: str | None = None) -> Answer:
    headers = {"X_Application_Secret": secret} if secret is not None else {}
    return await world.call("POST", f"/v1/applications/{reference}/_withdraw", token, REASON, **headers)


#: A reference and a secret that were never issued.
NO_REFERENCE, NO_SECRET = "00000-00000", "x" * 43
DOORS: Final = {"to follow it": follow, "to withdraw it": withdraw}


async def test_an_applicant_follows_its_own_application_and_reads_of_no_other_and_of_nobody(world: World) -> None:
    for ours, theirs in itertools.permutations(neighbours(world)):
        answer = await follow(world, ours.reference, ours.secret)
        seen = answer.json()
        assert (answer.status_code, seen["reference"], seen["step"]) == (200, ours.reference, "agreements_sent")
        assert seen["companyName"] == f"Uitgeverij {ours.client_id}"
        assert [set(step) for step in seen["steps"]] == [{"step", "at"}] * 4
        untold = {*theirs.ids, ours.secret, ours.case_id, ours.incident_id, "operator-subject", "Roos van", "Gesproken"}
        assert not [each for each in untold if each in answer.text]


@pytest.mark.parametrize("door", DOORS)
async def test_an_applicants_secret_opens_its_own_reference_alone(world: World, door: str) -> None:
    ours, theirs = neighbours(world)
    missing = await DOORS[door](world, NO_REFERENCE, NO_SECRET)
    pairs = [
        (ours.reference, NO_SECRET),
        (ours.reference, theirs.secret),
        (theirs.reference, ours.secret),
        (NO_REFERENCE, ours.secret),
        (ours.reference, ours.secret[:-1]),
        (ours.reference, f"{ours.secret}x"),
        (ours.reference, ours.secret.swapcase()),
        (ours.reference, ours.reference),
        (ours.reference, ""),
    ]
    before = await revision_of(world)
    for reference, secret in pairs:
        assert_not_found(await DOORS[door](world, reference, secret), missing)
    assert await revision_of(world) == before
    assert (await DOORS[door](world, ours.reference, ours.secret)).status_code == 200
    assert (await follow(world, theirs.reference, theirs.secret)).json()["step"] == "agreements_sent"


@pytest.mark.parametrize("door", DOORS)
async def test_without_a_secret_an_application_is_closed_be_it_there_or_not(world: World, door: str) -> None:
    ours, _ = neighbours(world)
    answers = [await DOORS[door](world, reference, None) for reference in (ours.reference, NO_REFERENCE)]
    assert problem(answers[0]) == (401, "unauthenticated")
    assert whole(answers[0]) == whole(answers[1])


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("role", ["operator", "partner", "school", "gateway"])
async def test_no_token_opens_an_application(world: World, role: str, door: str) -> None:
    ours, _ = neighbours(world)
    token = world.token(
        role,
        school="16SW" if role == "school" else None,
        client_id=ours.client_id if role == "partner" else None,
    )
    assert whole(await DOORS[door](world, ours.reference, None, token)) == whole(
        await DOORS[door](world, ours.reference, None)
    )
    missing = await DOORS[door](world, NO_REFERENCE, NO_SECRET)
    assert_not_found(await DOORS[door](world, ours.reference, NO_SECRET, token), missing)
    assert (await follow(world, ours.reference, ours.secret)).json()["step"] == "agreements_sent"


async def test_an_applicants_secret_opens_nothing_else(world: World) -> None:
    ours, _ = neighbours(world)
    for path in (READS["its case"], READS["its connection"], READS["its incident"], *LISTS.values()):
        address = path.format(**ours.names(path))
        for token in (None, ours.secret):
            answer = await world.call("GET", address, token, X_Application_Secret=ours.secret)
            assert problem(answer) == (401, "unauthenticated")
