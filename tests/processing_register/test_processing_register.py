"""The register of processing: of a past date it says what was so then, whatever has happened since."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from api.grants.expiry_job import expire
from api.store.events import SYSTEM, record
from api.store.store import Store
from models.consents.partners import Stage
from models.consents.schools import Board, School
from models.decision.kept_rules import GroundRuleName
from models.past.register_texts import BOARD_OF_NOW, BOARD_OF_THEN
from models.past.replay import listed
from models.vocabulary.event_kinds import EventKind
from tests.grants.test_grants import problem
from tests.worlds.world import BASIS, NAMES, OFFERED, OTHER_PURPOSE, PURPOSE, World

#: What an instant does not tell: when the register was asked for.
UNTOLD: Final = {"drawnUpAt"}


async def register(world: World, at: datetime | None = None, brin: str = "16SW") -> dict[str, Any]:
    query = "" if at is None else f"?at={at.isoformat().replace('+00:00', 'Z')}"
    answer = await world.administer("GET", f"/register{query}", brin=brin)
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def by_grant(shown: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["grantId"]: each for each in (*shown["processings"], *shown["ended"])}


class Diary:
    """What was noted as things happened: the register of then, and what the tables said of each grant and recipient."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.notes: list[tuple[datetime, dict[str, Any], dict[str, Any]]] = []

    async def note(self, **later: float) -> None:
        """Notes how things stand, and lets time go by."""
        self.notes.append((self.world.clock.now, await register(self.world), await self._tables()))
        self.world.clock.advance(**(later or {"hours": 1}))

    async def _tables(self) -> dict[str, Any]:
        grants = (await self.world.administer("GET", "/grants?limit=500")).json()["items"]
        listed = (await self.world.operate("GET", "/v1/connections?limit=500")).json()["items"]
        partners = (await self.world.operate("GET", "/v1/partners?limit=500")).json()["items"]
        connections = {each["clientId"]: each for each in listed}
        names = {each["kvkNumber"]: each["name"] for each in partners}
        return {
            each["grantId"]: (
                *(each[name] for name in ("status", "location", "scopes", "validFrom", "validUntil", "suspendedUntil")),
                connections[each["clientId"]]["name"],
                connections[each["clientId"]]["stage"],
                names[connections[each["clientId"]]["kvkNumber"]],
            )
            for each in grants
        }

    async def require_told(self) -> None:
        """The register of each noted instant, asked for now, is the one of then, and what the tables said then."""
        for at, then, tables in self.notes:
            told = await register(self.world, at)
            assert {**told, **dict.fromkeys(UNTOLD)} == {**then, **dict.fromkeys(UNTOLD)}, at
            assert {key: _as_in_tables(each) for key, each in by_grant(told).items()} == tables, at
            open_ones = {each["grantId"] for each in told["processings"]}
            assert open_ones == {key for key, (status, *_) in tables.items() if status not in ("revoked", "expired")}


def _as_in_tables(each: dict[str, Any]) -> tuple[Any, ...]:
    recipient = each["recipient"]
    scopes = sorted(data["scope"] for data in each["data"])
    period = (each[name] for name in ("validFrom", "validUntil", "suspendedUntil"))
    names = (recipient[name] for name in ("connection", "stage", "name"))
    return each["status"], each["location"], scopes, *period, *names


@pytest.mark.empty_world
async def test_the_register_of_any_past_date_says_what_was_noted_then(world: World) -> None:
    diary = Diary(world)
    await diary.note()
    await world.register()
    await diary.note()
    whole = await world.granted(scopes=BASIS)
    await diary.note()
    await world.register("taalrijk", kvk_number="90000002")
    await world.granted("taalrijk", location="16SW01", validUntil="2026-09-03T08:00:00Z")
    there = await world.granted(location="16SW00")
    await diary.note()
    await world.step(there["grantId"], "suspend", {"until": "2026-09-02T08:00:00Z"})
    await diary.note()
    whole = (await world.amend(whole, scopes=NAMES, validUntil="2026-12-31T23:00:00Z")).json()
    await diary.note()
    await world.operate("PATCH", "/v1/connections/rekenrijk", {"name": "Rekenrijk Plus"})
    await world.operate("PATCH", "/v1/partners/90000002", {"name": "Taalgroep"})
    await diary.note(days=1)
    # By now the suspension has ended by itself, which nobody wrote down.
    await diary.note()
    await world.operate("POST", "/v1/connections/rekenrijk/_stop", {"reason": "Oefening."})
    await diary.note()
    await world.operate("POST", "/v1/connections/rekenrijk/_lift", {"reason": "Voorbij."})
    await world.step(there["grantId"], "revoke", {"reason": "De les is voorbij."})
    await diary.note(days=1)
    # By now taalrijk's has ended by time; the job writes it down after this note.
    await diary.note()
    await expire(world.store)
    await diary.note()
    await world.agree("rekenrijk", OFFERED, [PURPOSE, OTHER_PURPOSE], agreementVersion="5.0", retentionDays=365)
    await diary.note()
    await world.granted("taalrijk", location="16SW01")
    await world.step(whole["grantId"], "revoke")
    await diary.note()
    await diary.require_told()


async def test_a_processing_says_what_article_30_asks_for(world: World) -> None:
    terms = {
        "subProcessors": [{"name": "Hosting Oost", "country": "NL"}, {"name": "Mail West", "country": "US"}],
        "storageCountries": ["NL", "GB"],
        "boardNumber": "10001",
        "validUntil": "2027-08-01T00:00:00Z",
    }
    agreement = (await world.agree("rekenrijk", OFFERED, [PURPOSE], agreementVersion="4.1", **terms)).json()
    grant = await world.granted(location="16SW01", scopes=[*BASIS, "docent.pseudoniem"])
    shown = await register(world)
    assert (shown["controller"], shown["at"], shown["ended"]) == (
        {
            "brin": "16SW",
            "schoolName": "School 16SW",
            "boardNumber": "10001",
            "boardName": None,
            "boardNote": {"nl": BOARD_OF_THEN.nl, "en": BOARD_OF_THEN.en},
        },
        "2026-09-01T08:00:00Z",
        [],
    )
    (processing,) = shown["processings"]
    basis = processing.pop("instruction")
    assert "instructie van de school" in basis["nl"].lower()
    assert "geen toestemming van betrokkenen" in basis["nl"]
    assert "annex" in processing.pop("security")["en"]
    assert [data.pop("description")[:8] for data in processing["data"]] == ["Gegevens", "Een leer", "Een doce"]
    assert processing["data"][0].pop("fields")[:3] == ["schooljaar", "peildatum", "brincode"]
    assert processing == {
        "grantId": grant["grantId"],
        "status": "granted",
        "location": "16SW01",
        "locationName": "Locatie 16SW01",
        "recipient": {
            "name": "Partner 90000001",
            "kvkNumber": "90000001",
            "clientId": "rekenrijk",
            "connection": "Rekenrijk",
            "recipientRole": "processor",
            "stage": "live",
            "stoppedAt": None,
        },
        "purposes": [{"code": PURPOSE, "title": "Onderwijs geven en leerlingen begeleiden"}],
        "lawfulBasis": {"nl": "door de school in te vullen", "en": "to be stated by the school"},
        "dataSubjects": [{"nl": "leerlingen", "en": "pupils"}, {"nl": "docenten", "en": "teachers"}],
        "data": [
            {"scope": "school.basis", "conditions": {}},
            {
                "scope": "leerling.pseudoniem",
                "fields": ["@eckid", "@key"],
                "conditions": {"@key": "alleen als er geen ECK iD is"},
            },
            {"scope": "docent.pseudoniem", "fields": ["@eckid", "@key"], "conditions": {}},
        ],
        "agreement": {
            "agreementId": agreement["agreementId"],
            "agreementVersion": "4.1",
            "privacybijsluiterVersion": "1.0",
            "signedOn": "2026-08-01",
            "validFrom": "2026-09-01T08:00:00Z",
            "validUntil": "2027-08-01T00:00:00Z",
            "inForce": True,
            "replacedBy": None,
            "categories": ["contactgegevens"],
            "subProcessors": terms["subProcessors"],
            "storageCountries": ["GB", "NL"],
            "outsideEea": ["GB", "Mail West (US)"],
            "retentionDays": 90,
        },
        "grantedAt": "2026-09-01T08:00:00Z",
        "validFrom": "2026-09-01T08:00:00Z",
        "validUntil": None,
        "suspendedUntil": None,
        # When this agreement ends the general one counts, which allows more.
        "reconfirmBy": "2027-08-01T00:00:00Z",
        "endedAt": None,
        "retentionDays": 90,
        "retentionFrom": None,
        "deleteBy": None,
        "continuedBy": [],
    }


async def test_a_recipient_that_is_a_controller_gets_no_instruction(world: World) -> None:
    await world.operate("POST", "/v1/partners", {"kvkNumber": "90000001", "name": "Toetsmaker"})
    asked = {"clientId": "toets", "kvkNumber": "90000001", "name": "Toets", "profile": "smalle-set@2.3"}
    scopes = {"required": BASIS, "optional": OFFERED[2:]}
    made = await world.operate(
        "POST", "/v1/connections", {**asked, "recipientRole": "controller", "scopes": scopes, "purposes": [PURPOSE]}
    )
    assert made.status_code == 201
    await world.agree("toets", OFFERED, [PURPOSE])
    for rule in GroundRuleName:
        await world.keep("toets", rule)
    await world.bring("toets", Stage.LIVE)
    await world.granted("toets")
    (processing,) = (await register(world))["processings"]
    assert processing["recipient"]["recipientRole"] == "controller"
    assert processing["instruction"]["nl"].startswith("Besluit van de school")


async def test_what_has_ended_stands_apart_with_the_day_by_which_its_data_are_deleted(world: World) -> None:
    # Midnight in Amsterdam, where summer time ends before the data are deleted.
    timed = await world.granted(validUntil="2026-09-30T22:00:00Z")
    there = await world.granted(location="16SW01")
    world.clock.now = datetime(2026, 9, 10, 23, 30, tzinfo=UTC)
    await world.step(there["grantId"], "revoke")
    shown = await register(world)
    (ended,) = shown["ended"]
    assert (ended["status"], ended["endedAt"], ended["deleteBy"]) == ("revoked", "2026-09-10T23:30:00Z", "2026-12-10")
    assert ended["continuedBy"] == [timed["grantId"]]
    world.clock.now = datetime(2026, 10, 20, tzinfo=UTC)
    for _ in range(2):
        shown = await register(world)
        assert shown["processings"] == []
        assert [each["grantId"] for each in shown["ended"]] == [there["grantId"], timed["grantId"]]
        ended = shown["ended"][1]
        assert (ended["status"], ended["endedAt"], ended["deleteBy"], ended["continuedBy"]) == (
            "expired", "2026-09-30T22:00:00Z", "2026-12-30", []
        )  # fmt: skip
        await expire(world.store)


async def test_a_grant_under_an_agreement_that_another_one_replaced_says_so(world: World) -> None:
    given = await world.granted()
    before = world.clock.now
    world.clock.advance(days=1)
    second = (await world.agree("rekenrijk", OFFERED, [PURPOSE, OTHER_PURPOSE], agreementVersion="5.0")).json()
    (processing,) = (await register(world))["processings"]
    assert (processing["agreement"]["agreementVersion"], processing["agreement"]["inForce"]) == ("4.0", True)
    assert processing["agreement"]["replacedBy"] == {
        "agreementId": second["agreementId"],
        "agreementVersion": "5.0",
        "privacybijsluiterVersion": "1.0",
    }
    path = f"/v1/connections/rekenrijk/agreements/{given['agreementId']}/_end"
    assert (await world.operate("POST", path, {"reason": "Opgezegd."})).status_code == 200
    (processing,) = (await register(world))["processings"]
    assert processing["agreement"]["inForce"] is False
    (processing,) = (await register(world, before))["processings"]
    assert (processing["agreement"]["inForce"], processing["agreement"]["replacedBy"]) == (True, None)


async def test_a_school_without_grants_has_an_empty_register(world: World) -> None:
    shown = await register(world)
    assert (shown["processings"], shown["ended"]) == ([], [])
    assert shown["lastEvent"] > 0


async def test_another_schools_grants_are_in_another_register(world: World) -> None:
    await world.granted(brin="17TX")
    assert (await register(world))["processings"] == []
    assert len((await register(world, brin="17TX"))["processings"]) == 1


@pytest.mark.parametrize("ending", ["", ".csv", ".pdf"])
async def test_the_register_is_its_own_schools_and_the_operators(ending: str, world: World) -> None:
    path = f"/v1/schools/16SW/register{ending}"
    for role, school, status in (
        ("school", "16SW", 200),
        ("operator", None, 200),
        ("school", "17TX", 404),
        ("gateway", None, 403),
        ("partner", None, 403),
    ):
        client_id = "rekenrijk" if role == "partner" else None
        answer = await world.call("GET", path, world.token(role, school=school, client_id=client_id))
        assert answer.status_code == status, (role, school)
    assert problem(await world.call("GET", path, None)) == (401, "unauthenticated")
    late = await world.administer("GET", f"/register{ending}?at=2026-09-01T08:00:01Z")
    assert problem(late) == (400, "invalid_input")
    # The log of this world begins at eight.
    long_ago = ("2026-09-01T07:59:59.999999Z", "2000-01-01T00:00:00Z", "0001-01-01T00:00:00Z")
    malformed = ("2026-09-01", "2026-09-01T08:00:00", "gisteren", "", "1756713600", "2026-13-01T00:00:00Z", "9" * 5000)
    for bad in (*long_ago, *malformed):
        assert problem(await world.administer("GET", f"/register{ending}?at={bad}")) == (400, "invalid_input")
    missing = await world.operate("GET", f"/v1/schools/99ZZ/register{ending}")
    assert problem(missing) == (404, "not_found")
    for bad in ("16sw", "16SW\u0661", "16SW" * 1000):
        refused = await world.operate("GET", f"/v1/schools/{bad}/register{ending}")
        assert problem(refused) == (400, "invalid_input"), bad


async def test_data_is_deleted_so_many_days_after_the_agreement_where_that_ends_first(world: World) -> None:
    given = await world.granted()
    path = f"/v1/connections/rekenrijk/agreements/{given['agreementId']}/_end"
    world.clock.advance(days=1)
    assert (await world.operate("POST", path, {"reason": "Opgezegd."})).status_code == 200
    over = world.clock.now
    world.clock.advance(days=1)
    # The grant still stands, and nobody may process for it.
    (processing,) = (await register(world))["processings"]
    told = [processing[name] for name in ("endedAt", "retentionDays", "retentionFrom", "deleteBy")]
    assert told == [None, 90, "2026-09-02T08:00:00Z", "2026-12-01"]
    await world.step(given["grantId"], "revoke")
    (ended,) = (await register(world))["ended"]
    told = [ended[name] for name in ("endedAt", "retentionDays", "retentionFrom", "deleteBy")]
    assert told == ["2026-09-03T08:00:00Z", 90, "2026-09-02T08:00:00Z", "2026-12-01"]
    (processing,) = (await register(world, over - timedelta(hours=1)))["processings"]
    assert (processing["retentionFrom"], processing["deleteBy"]) == (None, None)


async def test_where_another_agreement_took_its_place_the_grant_goes_on_and_the_shorter_term_counts(
    world: World,
) -> None:
    given = await world.granted()
    world.clock.advance(days=1)
    await world.agree("rekenrijk", OFFERED, [PURPOSE, OTHER_PURPOSE], agreementVersion="5.0", retentionDays=30)
    path = f"/v1/connections/rekenrijk/agreements/{given['agreementId']}/_end"
    assert (await world.operate("POST", path, {"reason": "Opgezegd."})).status_code == 200
    (processing,) = (await register(world))["processings"]
    assert (processing["retentionDays"], processing["retentionFrom"]) == (30, None)
    assert processing["agreement"]["retentionDays"] == 90
    await world.step(given["grantId"], "revoke")
    (ended,) = (await register(world))["ended"]
    assert (ended["retentionFrom"], ended["deleteBy"]) == ("2026-09-02T08:00:00Z", "2026-10-02")


async def test_a_longer_term_that_the_school_has_not_agreed_to_does_not_count(world: World) -> None:
    given = await world.granted()
    await world.agree("rekenrijk", OFFERED, [PURPOSE, OTHER_PURPOSE], agreementVersion="5.0", retentionDays=365)
    await world.step(given["grantId"], "revoke")
    (ended,) = (await register(world))["ended"]
    assert (ended["retentionDays"], ended["deleteBy"]) == (90, "2026-11-30")


@pytest.mark.both_stores
async def test_the_controller_is_the_board_that_the_school_had_then(world: World) -> None:
    grant = await world.granted()
    named = {"agreementVersion": "6.0", "boardNumber": "10001"}
    ours = await world.agree("rekenrijk", OFFERED, [PURPOSE, OTHER_PURPOSE], **named)
    assert ours.status_code == 201
    before = world.clock.now
    world.clock.advance(days=1)
    await move(world.store, "16SW", "10002", board_name="Stichting Nieuw")
    world.clock.advance(days=1)
    shown = (await register(world))["controller"]
    assert (shown["boardNumber"], shown["boardName"]) == ("10002", "Stichting Nieuw")
    then = await register(world, before)
    assert (then["controller"]["boardNumber"], then["controller"]["boardName"]) == ("10001", None)
    assert "boardNote" in shown
    # That board's agreement counted then, and counts no more.
    assert by_grant(then)[grant["grantId"]]["agreement"]["replacedBy"]["agreementVersion"] == "6.0"
    assert by_grant(await register(world))[grant["grantId"]]["agreement"]["replacedBy"] is None


async def test_where_the_log_does_not_tell_the_board_the_register_says_so(world: World) -> None:
    async with world.store.writing() as write:
        write.session.add(School(brin="18AB", name="School 18AB", board_number="10002", revision=write.revision))
        # As imports told it before they named schools.
        record(write, EventKind.SCHOOLS_IMPORTED, SYSTEM, {"rows": 1})
    shown = (await register(world, brin="18AB"))["controller"]
    assert (shown["boardNumber"], shown["boardNote"]) == ("10002", {"nl": BOARD_OF_NOW.nl, "en": BOARD_OF_NOW.en})


async def test_what_the_log_cannot_know_is_left_for_the_school_to_state(world: World) -> None:
    shown = await register(world)
    open_to_state = {"nl": "door de school in te vullen", "en": "to be stated by the school"}
    for name in ("contact", "jointControllers", "dataProtectionOfficer", "security"):
        assert shown[name] == open_to_state, name


async def move(store: Store, brin: str, board_number: str, *, board_name: str) -> None:
    """The school goes to another board, as an import would have it."""
    async with store.writing() as write:
        (await write.session.get_one(Board, board_number)).name = board_name
        school = await write.session.get_one(School, brin)
        school.board_number, school.revision = board_number, write.revision
        told = {"listed": listed([(brin, board_number, None)], [])}
        record(write, EventKind.SCHOOLS_IMPORTED, SYSTEM, told)
