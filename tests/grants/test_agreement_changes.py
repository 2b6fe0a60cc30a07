"""A new version of an agreement: the grants that need confirmation, from which instant, and the difference shown."""

from pathlib import Path
from typing import Any, Final

import pytest
from sqlmodel import select

from api.grants.expiry_job import expire
from api.registry.schools_import import import_files
from api.store.events import SYSTEM, record
from models.consents.agreements import EEA
from models.consents.grants import Grant
from models.vocabulary.event_kinds import EventKind
from tests.grants.test_grants import problem
from tests.worlds.world import NAMES, OFFERED, OTHER_PURPOSE, PURPOSE, TERMS, World

SCOPES: Final = OFFERED[:4]
GRACE: Final = "2026-09-15T08:00:00Z"
HOSTING: Final = {"name": "Hosting Oost", "country": "NL"}
FIRST: Final[dict[str, Any]] = {
    "subProcessors": [HOSTING, {"name": "Mail West", "country": "IE"}],
    "retentionDays": 90,
    "categories": ["contactgegevens", "leerlingnummer"],
    "storageCountries": ["NL", "DE"],
}
NOTHING: Final[dict[str, Any]] = {
    "scopes": [],
    "purposes": [],
    "categories": [],
    "subProcessors": [],
    "outsideEea": [],
    "retentionDays": None,
}

#: The change of a new version, what it allows in addition, and what it no longer allows.
CHANGES: Final[dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]] = {
    "nothing but its number": ({"agreementVersion": "4.1"}, {}, {}),
    "one scope more": ({"scopes": OFFERED[:5]}, {"scopes": ["groep.basis"]}, {}),
    "one scope less": ({"scopes": OFFERED[:3]}, {}, {"scopes": ["leerling.jaargroep"]}),
    "one purpose more": (
        {"purposes": [PURPOSE, OTHER_PURPOSE, "wettelijke-plicht"]},
        {"purposes": ["wettelijke-plicht"]},
        {},
    ),
    "one purpose less": ({"purposes": [PURPOSE]}, {}, {"purposes": [OTHER_PURPOSE]}),
    "a sub-processor more": (
        {"subProcessors": [*FIRST["subProcessors"], {"name": "Druk Zuid", "country": "BE"}]},
        {"subProcessors": ["Druk Zuid"]},
        {},
    ),
    "a sub-processor less": ({"subProcessors": [HOSTING]}, {}, {"subProcessors": ["Mail West"]}),
    "another sub-processor": (
        {"subProcessors": [HOSTING, {"name": "Post Noord", "country": "IE"}]},
        {"subProcessors": ["Post Noord"]},
        {"subProcessors": ["Mail West"]},
    ),
    "a sub-processor that moved within the EEA": (
        {"subProcessors": [HOSTING, {"name": "Mail West", "country": "IS"}]},
        {},
        {},
    ),
    "a sub-processor that moved out of the EEA": (
        {"subProcessors": [HOSTING, {"name": "Mail West", "country": "US"}]},
        {"outsideEea": ["Mail West (US)"]},
        {},
    ),
    "longer retention": ({"retentionDays": 91}, {"retentionDays": 91}, {}),
    "shorter retention": ({"retentionDays": 89}, {}, {"retentionDays": 90}),
    "a category more": (
        {"categories": ["contactgegevens", "leerlingnummer", "foto"]},
        {"categories": ["foto"]},
        {},
    ),
    "a category less": ({"categories": ["contactgegevens"]}, {}, {"categories": ["leerlingnummer"]}),
    "storage in another country of the EEA": ({"storageCountries": ["NL", "NO"]}, {}, {}),
    "storage outside the EEA": ({"storageCountries": ["NL", "DE", "GB"]}, {"outsideEea": ["GB"]}, {}),
    "mixed: less of one, more of another": (
        {"scopes": OFFERED[:3], "retentionDays": 365, "subProcessors": [HOSTING]},
        {"retentionDays": 365},
        {"scopes": ["leerling.jaargroep"], "subProcessors": ["Mail West"]},
    ),
    "mixed: less of everything but one place of storage": (
        {"purposes": [PURPOSE], "retentionDays": 1, "categories": [], "storageCountries": ["US"]},
        {"outsideEea": ["US"]},
        {"purposes": [OTHER_PURPOSE], "retentionDays": 90, "categories": ["contactgegevens", "leerlingnummer"]},
    ),
}


async def sign(world: World, **changed: Any) -> dict[str, Any]:
    terms: dict[str, Any] = {"scopes": SCOPES, "purposes": [PURPOSE, OTHER_PURPOSE], **FIRST, **changed}
    answer = await world.agree("rekenrijk", terms.pop("scopes"), terms.pop("purposes"), **terms)
    assert answer.status_code == 201, answer.text
    signed: dict[str, Any] = answer.json()
    return signed


async def agreed(world: World) -> dict[str, Any]:
    """A connection with its first agreement, under which 16SW gave a grant."""
    await world.register(agreed=[])
    signed = await sign(world)
    assert (await world.granted())["agreementId"] == signed["agreementId"]
    return signed


async def seen(world: World, brin: str = "16SW") -> dict[str, Any]:
    """The connection as the school sees it."""
    (item,) = (await world.administer("GET", "/connections", brin=brin)).json()["items"]
    shown: dict[str, Any] = item
    return shown


@pytest.mark.empty_world
@pytest.mark.parametrize("change", CHANGES)
async def test_what_widens_is_asked_again_after_its_grace_and_what_narrows_is_not(world: World, change: str) -> None:
    changed, wider, narrower = CHANGES[change]
    first = await agreed(world)
    second = await sign(world, graceUntil=GRACE, **changed)
    shown = await seen(world)
    (told,) = shown["agreementChanges"]
    assert (told["agreedTo"], told["agreement"]["agreementId"]) == (first["agreementId"], second["agreementId"])
    assert told["wider"] == {**NOTHING, **wider}
    assert told["narrower"] == {**NOTHING, **narrower}
    assert told["confirmBy"] == shown["grant"]["reconfirmBy"] == (GRACE if wider else None)
    assert await world.reason() == "granted"
    world.clock.advance(days=14)
    assert await world.reason() == ("needs_reconfirmation" if wider else "granted")
    assert (await seen(world))["grant"]["status"] == ("needs_reconfirmation" if wider else "granted")
    assert await expire(world.store) == (1 if wider else 0)


def test_the_european_economic_area_is_the_union_and_three_more() -> None:
    assert len(EEA) == 30
    assert {"IS", "LI", "NO", "NL", "HR"} <= EEA
    assert not EEA & {"GB", "CH", "US"}


@pytest.mark.empty_world
async def test_a_school_confirms_by_naming_the_agreement_that_it_has_read(world: World) -> None:
    await agreed(world)
    second = await sign(world, retentionDays=365, graceUntil=GRACE)
    grant = (await seen(world))["grant"]
    confirmed = (await world.amend(grant, agreementId=second["agreementId"])).json()
    assert (confirmed["agreementId"], confirmed["reconfirmBy"]) == (second["agreementId"], None)
    assert (await seen(world))["agreementChanges"] == []
    world.clock.advance(days=15)
    assert await world.reason() == "granted"


@pytest.mark.empty_world
async def test_to_narrow_a_grant_is_not_to_agree_to_a_wider_agreement(world: World) -> None:
    first = await agreed(world)
    await sign(world, retentionDays=365, graceUntil=GRACE)
    narrowed = (await world.amend((await seen(world))["grant"], scopes=NAMES[:2])).json()
    assert (narrowed["agreementId"], narrowed["reconfirmBy"]) == (first["agreementId"], GRACE)
    for more in ({"scopes": NAMES}, {"purposes": [PURPOSE, OTHER_PURPOSE]}):
        assert problem(await world.amend(narrowed, **more)) == (409, "agreement_not_confirmed")


@pytest.mark.empty_world
@pytest.mark.parametrize("change", [{}, {"scopes": NAMES[:2]}, {"validUntil": "2027-01-01T00:00:00Z"}])
async def test_after_the_grace_nothing_but_the_agreements_name_confirms(world: World, change: dict[str, Any]) -> None:
    await agreed(world)
    second = await sign(world, storageCountries=["US"])
    grant = (await seen(world))["grant"]
    assert problem(await world.amend(grant, **change)) == (409, "agreement_not_confirmed")
    assert await world.reason() == "needs_reconfirmation"
    assert (await world.amend(grant, agreementId=second["agreementId"], **change)).status_code == 200
    assert await world.reason() == "granted"


@pytest.mark.empty_world
async def test_a_school_that_has_read_one_agreement_does_not_agree_to_the_next(world: World) -> None:
    """The agreement that the school read is no longer in force: confirmation and new grant are both refused."""
    await agreed(world)
    read = await sign(world, retentionDays=365, graceUntil=GRACE)
    await sign(world, retentionDays=3650, graceUntil=GRACE)
    grant = (await seen(world))["grant"]
    named = read["agreementId"]
    assert problem(await world.amend(grant, agreementId=named)) == (409, "agreement_not_confirmed")
    assert problem(await world.grant(location="16SW00", agreementId=named)) == (409, "agreement_not_confirmed")
    (now,) = (await seen(world))["agreementChanges"]
    assert (await world.grant(location="16SW00", agreementId=now["agreement"]["agreementId"])).status_code == 201


@pytest.mark.empty_world
async def test_only_the_agreement_that_counts_for_the_school_can_be_named(world: World) -> None:
    first = await agreed(world)
    elsewhere = await sign(world, retentionDays=365, boardNumber="10002")
    later = await sign(world, retentionDays=365, validFrom="2026-10-01T00:00:00Z")
    await sign(world, retentionDays=365, graceUntil=GRACE)
    grant = (await seen(world))["grant"]
    nothing = {"agreementId": "00000000-0000-0000-0000-000000000007"}
    for other in (elsewhere, first, later, nothing):
        answer = await world.amend(grant, agreementId=other["agreementId"])
        assert problem(answer) == (409, "agreement_not_confirmed")


@pytest.mark.empty_world
async def test_an_agreement_that_begins_later_is_confirmed_once_it_counts(world: World) -> None:
    await agreed(world)
    later = await sign(world, retentionDays=365, validFrom="2026-10-01T00:00:00Z", graceUntil="2026-11-01T00:00:00Z")
    assert (await seen(world))["grant"]["reconfirmBy"] == "2026-11-01T00:00:00Z"
    world.clock.advance(days=30)
    grant = (await seen(world))["grant"]
    confirmed = (await world.amend(grant, agreementId=later["agreementId"])).json()
    assert (confirmed["status"], confirmed["reconfirmBy"]) == ("granted", None)


@pytest.mark.empty_world
async def test_each_grant_of_a_school_shows_its_own_change(world: World) -> None:
    await agreed(world)
    for code in ("16SW00", "16SW01"):
        await world.granted(location=code)
    second = await sign(world, retentionDays=365)
    grants = {each["location"]: each for each in (await world.administer("GET", "/grants")).json()["items"]}
    await world.amend(grants["16SW00"], agreementId=second["agreementId"])
    shown = await seen(world)
    assert shown["grant"]["location"] is None
    asked = sorted((each["location"] or "", each["grantId"]) for each in shown["agreementChanges"])
    assert asked == [("", grants[None]["grantId"]), ("16SW01", grants["16SW01"]["grantId"])]


@pytest.mark.empty_world
async def test_a_school_that_goes_to_another_board_is_asked_again_when_more_is_allowed_there(
    world: World, tmp_path: Path
) -> None:
    await world.register(agreed=[])
    await sign(world, storageCountries=["US"], retentionDays=3650)
    own = await sign(world, boardNumber="10001")
    given = await world.granted()
    assert (given["agreementId"], given["reconfirmBy"]) == (own["agreementId"], None)
    rows = ["16SW;16SW00;Locatie;10003", "16SW;16SW01;Locatie;10003", "17TX;17TX00;Locatie;10002"]
    path = tmp_path / "bo.csv"
    header = "INSTELLINGSCODE;VESTIGINGSCODE;VESTIGINGSNAAM;BEVOEGD GEZAG NUMMER"
    path.write_text("\r\n".join([header, *rows, ""]), encoding="cp1252")
    await import_files(world.store, [path])
    assert await world.reason() == "needs_reconfirmation"
    (told,) = (await seen(world))["agreementChanges"]
    assert told["wider"]["outsideEea"] == ["US"]


@pytest.mark.empty_world
async def test_a_grant_of_which_it_is_not_known_what_was_agreed_to_is_held_against_what_counted_then(
    world: World,
) -> None:
    """Grants from before agreements were compared name no agreement."""
    await agreed(world)
    await sign(world, retentionDays=365, validFrom="2026-10-01T00:00:00Z")
    async with world.store.writing() as write:
        for grant in await write.session.exec(select(Grant)):
            grant.agreement_id, grant.reconfirm_by, grant.revision = None, None, write.revision
            write.session.add(grant)
        record(write, EventKind.SCHOOLS_IMPORTED, SYSTEM, {})
    await sign(world, boardNumber="10002")
    assert (await seen(world))["grant"]["reconfirmBy"] == "2026-10-01T00:00:00Z"


@pytest.mark.empty_world
async def test_a_grant_that_is_given_before_a_wider_agreement_begins_is_asked_again_too(world: World) -> None:
    await world.register(agreed=[])
    await sign(world)
    await sign(world, retentionDays=365, validFrom="2026-10-01T00:00:00Z", graceUntil="2026-10-15T00:00:00Z")
    assert (await world.granted())["reconfirmBy"] == "2026-10-15T00:00:00Z"


@pytest.mark.empty_world
async def test_two_versions_that_each_widen_are_both_held_against_what_was_agreed_to(world: World) -> None:
    await agreed(world)
    await sign(world, retentionDays=365, graceUntil="2026-12-01T00:00:00Z")
    await sign(world, retentionDays=365, categories=[*FIRST["categories"], "foto"], graceUntil=GRACE)
    (told,) = (await seen(world))["agreementChanges"]
    assert (told["wider"]["categories"], told["wider"]["retentionDays"]) == (["foto"], 365)
    world.clock.advance(days=14)
    assert await world.reason() == "needs_reconfirmation"


@pytest.mark.empty_world
async def test_a_version_that_takes_the_widening_back_asks_nobody(world: World) -> None:
    await agreed(world)
    await sign(world, retentionDays=365, graceUntil=GRACE)
    await sign(world)
    assert (await seen(world))["grant"]["reconfirmBy"] is None
    world.clock.advance(days=14)
    assert await world.reason() == "granted"


@pytest.mark.empty_world
async def test_what_was_asked_already_stays_asked_though_the_version_is_taken_back(world: World) -> None:
    await agreed(world)
    await sign(world, retentionDays=365, graceUntil=GRACE)
    world.clock.advance(days=14)
    await sign(world)
    assert await world.reason() == "needs_reconfirmation"


@pytest.mark.empty_world
async def test_a_boards_own_agreement_asks_its_own_schools_alone(world: World) -> None:
    await agreed(world)
    await world.granted(brin="17TX")
    await sign(world, retentionDays=365, boardNumber="10002", graceUntil=GRACE)
    assert (await seen(world))["grant"]["reconfirmBy"] is None
    assert (await seen(world, "17TX"))["grant"]["reconfirmBy"] == GRACE
    world.clock.advance(days=14)
    assert [await world.reason(place=brin) for brin in ("16SW", "17TX")] == ["granted", "needs_reconfirmation"]


@pytest.mark.empty_world
async def test_a_general_agreement_asks_no_school_whose_board_has_its_own(world: World) -> None:
    await world.register(agreed=[])
    await sign(world)
    await sign(world, boardNumber="10002")
    for brin in ("16SW", "17TX"):
        await world.granted(brin=brin)
    await sign(world, retentionDays=365)
    assert [await world.reason(place=brin) for brin in ("16SW", "17TX")] == ["needs_reconfirmation", "granted"]


@pytest.mark.empty_world
async def test_a_boards_own_agreement_that_ends_asks_again_when_the_general_one_is_wider(world: World) -> None:
    await world.register(agreed=[])
    await sign(world, retentionDays=365)
    await sign(world, boardNumber="10001", validUntil="2026-10-01T00:00:00Z")
    assert (await world.granted())["reconfirmBy"] == "2026-10-01T00:00:00Z"


@pytest.mark.empty_world
async def test_every_grant_under_it_is_asked_and_ended_ones_are_left_alone(world: World) -> None:
    await agreed(world)
    ended = await world.granted(location="16SW00")
    await world.step(ended["grantId"], "revoke")
    suspended = await world.granted(location="16SW01")
    await world.step(suspended["grantId"], "suspend")
    await sign(world, retentionDays=365)
    listed = {item["grantId"]: item["status"] for item in (await world.administer("GET", "/grants")).json()["items"]}
    assert sorted(listed.values()) == ["needs_reconfirmation", "revoked", "suspended"]
    resumed = await world.step(suspended["grantId"], "resume")
    assert resumed.json()["status"] == "needs_reconfirmation"


@pytest.mark.empty_world
async def test_the_history_tells_of_the_announcement_and_of_the_end_of_the_grace(world: World) -> None:
    await agreed(world)
    await sign(world, retentionDays=365, graceUntil=GRACE)
    world.clock.advance(days=14)
    await expire(world.store)
    grant = (await seen(world))["grant"]
    events = (await world.administer("GET", f"/grants/{grant['grantId']}/history")).json()["items"]
    assert [event["event"] for event in events] == [
        "grant.granted",
        "grant.reconfirmation_announced",
        "grant.reconfirmation_needed",
    ]
    assert events[1]["grant"]["reconfirmBy"] == GRACE
    assert (await world.look()).json()["items"][0]["status"] == "needs_reconfirmation"


@pytest.mark.empty_world
async def test_nobody_signs_tomorrow(world: World) -> None:
    await world.register(agreed=[])
    signed = [{**each, "signedOn": "2026-09-02"} for each in TERMS["signatories"]]
    for wrong in ({"signedOn": "2026-09-02"}, {"signatories": signed}, {"signedOn": "2999-01-01"}):
        assert problem(await world.agree("rekenrijk", SCOPES, [PURPOSE], **wrong)) == (400, "invalid_input")


@pytest.mark.empty_world
async def test_a_grace_that_is_over_before_the_agreement_begins_is_refused(world: World) -> None:
    await agreed(world)
    wrong = await world.agree(
        "rekenrijk", SCOPES, [PURPOSE], validFrom="2026-10-01T00:00:00Z", graceUntil="2026-09-30T00:00:00Z"
    )
    assert problem(wrong) == (400, "invalid_period")


BAD_TERMS: Final[dict[str, dict[str, Any]]] = {
    "nobody signed": {"signatories": []},
    "the partner alone signed": {"signatories": [{"party": "partner", "name": "A.", "signedOn": "2026-08-01"}]},
    "the board alone signed": {"signatories": [{"party": "board", "name": "B.", "signedOn": "2026-08-01"}]},
}


@pytest.mark.empty_world
@pytest.mark.parametrize("case", BAD_TERMS)
async def test_what_is_not_signed_by_both_is_no_agreement(world: World, case: str) -> None:
    await world.register(agreed=[])
    assert problem(await world.agree("rekenrijk", SCOPES, [PURPOSE], **BAD_TERMS[case])) == (409, "signature_missing")
    assert (await world.operate("GET", "/v1/connections/rekenrijk/agreements")).json()["items"] == []
    assert problem(await world.grant()) == (409, "partner_not_eligible")
